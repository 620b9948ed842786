"""Keeps the connections of channels: renews a token that ended, pauses what is broken, resumes what works again.

In: what answers say of a channel's token or account. Out: pauses on the schedule, and announcements on
`accounts.events`. A channel whose token can be renewed is asked again in the same round, once.
"""

from __future__ import annotations

from typing import Protocol

from schemas.events import AccountEvent
from services.platforms.base import Outcome, Verdict
from services.poller.asking.questions import ChannelQuestion
from services.poller.asking.refresh import Refresher
from services.poller.asking.renewals import DONE
from services.poller.asking.round import ChannelRound
from services.poller.connections.accounts import Accounts
from services.poller.connections.sandbox import UNAVAILABLE, SandboxGuard
from services.poller.connections.tokens import Credentials, TokenStore
from services.poller.keys import ChannelKey
from services.poller.partitions.ownership import Ownership, alone
from services.poller.schedule.plan import Plan
from services.poller.schedule.schedule import Schedule
from services.poller.timing import Time
from services.runtime.logging import get_logger
from services.runtime.secrets import SecretsError

_log = get_logger(__name__)


class Publisher(Protocol):
    """Where account events go; see `services.poller.publisher.KafkaPublisher`."""

    async def announce(self, event: AccountEvent) -> None:
        """Hand over one account event."""


class Upkeep:
    """Knows of each channel whether it can be asked, and acts when that changes.

    Args:
        refresher: renews tokens; without it a token that ended pauses its channel at once.
        ownership: whose connections are this process's to pause and to announce; by default everybody's.
        sandbox: which channels the built-in sandbox is not asked for; by default there is none.
    """

    def __init__(
        self,
        *,
        time: Time,
        schedule: Schedule,
        publisher: Publisher,
        tokens: TokenStore,
        accounts: Accounts,
        refresher: Refresher | None = None,
        ownership: Ownership | None = None,
        sandbox: SandboxGuard | None = None,
    ) -> None:
        self._time = time
        self._schedule = schedule
        self._publisher = publisher
        self._tokens = tokens
        self._accounts = accounts
        self._refresher = refresher
        self._ownership = ownership or alone()
        self._sandbox = sandbox or SandboxGuard(tokens)

    def unavailable(self, name: str, key: ChannelKey) -> str | None:
        """Why a channel is not asked for at all, as a code; None when it may be."""
        try:
            return UNAVAILABLE if self._sandbox.refuses(name, key) else None
        except SecretsError:
            return None  # said where the channel is asked

    def refuses(self, name: str, plan: Plan) -> bool:
        """Whether a channel must not be asked for; it is left alone then until other tokens come."""
        if not self._sandbox.refuses(name, plan.key):
            return False
        if not plan.paused:
            _log.warning(self._sandbox.why(name), platform=name, channel=plan.key, error_code=UNAVAILABLE)
            self._schedule.pause(plan)
        return True

    async def ahead(self, name: str, key: ChannelKey) -> int | None:
        """Before a channel is asked: renew its token where it ends soon.

        Returns:
            When to look again (ms), because the token has ended and its refresh has to wait; None to go on.
        """
        return None if self._refresher is None else await self._refresher.ahead(name, key)

    def credentials(self, name: str, key: ChannelKey) -> Credentials:
        """What to authorize a channel's calls with.

        Raises:
            SecretsError: the tokens can't be opened; nothing can be asked until newer ones come.
        """
        return self._tokens.credentials(key, name)

    def has_token(self, name: str, key: ChannelKey) -> bool:
        """Whether a channel can be asked for with a token of its own."""
        try:
            return self._tokens.credentials(key, name).access_token is not None
        except SecretsError:
            return False

    async def is_ending(self, name: str, current: ChannelRound) -> bool:
        """Before a probe: whether the platform refused to renew the token; the channel is paused then."""
        if self._refresher is None or not self._refresher.was_refused(current.plan.key):
            return False
        # The token may last for some minutes more; the connection is broken all the same.
        current.verdict = Verdict(Outcome.TOKEN_EXPIRED, detail="refresh refused")
        await self._pause(name, current, current.verdict, self._time.now())
        return True

    async def without_token(self, name: str, current: ChannelRound, question: ChannelQuestion, now: int) -> None:
        """Nothing can be asked without a token: it may be on its way, or a refresh token may still bring one."""
        look_at = None if self._refresher is None else self._refresher.awaits_tokens(current.plan.key, now)
        if look_at is not None:
            current.put_off([question], look_at)
            current.give_up_until(look_at)
            return
        await self.broken(name, current, question, Verdict(Outcome.TOKEN_EXPIRED, detail="no token"))

    async def broken(self, name: str, current: ChannelRound, question: ChannelQuestion, verdict: Verdict) -> None:
        """The token or the account does not work: ask again with a renewed token, once; else pause the channel."""
        key = current.plan.key
        if self._refresher is not None and verdict.outcome is not Outcome.ACCOUNT_DISABLED and not current.is_renewed:
            current.is_renewed = True
            newest = self._tokens.credentials(key, name)
            # Another round may have renewed it while this one was asking.
            renewal = DONE if newest is not current.credentials else await self._refresher.renew(name, key)
            if renewal.done:
                current.authorize(self._tokens.credentials(key, name))
                current.ask_first([question])
                return
            if renewal.retry_at is not None:
                current.put_off([question], renewal.retry_at)
                current.give_up_until(renewal.retry_at)
                return
        now = self._time.now()
        current.put_off([question], now)
        if self._ownership.is_active(key[0]):
            # Else it is another process's to find out, and to announce.
            await self._pause(name, current, verdict, now)

    async def _pause(self, name: str, current: ChannelRound, verdict: Verdict, now: int) -> None:
        """Ask nothing more for a channel, and announce why."""
        plan = current.plan
        self._schedule.pause(plan)
        current.give_up_until(now)
        updated_at = self._tokens.updated_at(plan.key)
        announcement = self._accounts.broken(plan.key, name, verdict.outcome, updated_at, now, verdict.reason)
        _log.warning(
            "a channel is paused", platform=name, channel=plan.key, outcome=verdict.outcome.value,
            detail=verdict.detail,
        )  # fmt: skip
        if announcement is not None:
            await self._publisher.announce(announcement)
        if self._refresher is not None:
            await self._refresher.give_up(plan.key, now, is_closed=verdict.outcome is Outcome.ACCOUNT_DISABLED)

    async def looked_through(self, name: str, plan: Plan, now: int) -> None:
        """After a round: announce a channel all of whose posts are said to be gone, and that they are back."""
        if not self._ownership.is_active(plan.key[0]):
            return
        if plan.is_hidden(now):
            event = self._accounts.hidden(plan.key, name, now)
            if event is not None:
                _log.warning(
                    "every post of a channel is said to be gone: a permission was lost, or the account is hidden",
                    platform=name, channel=plan.key, since=plan.vanished_at,
                )  # fmt: skip
        else:
            event = self._accounts.shown(plan.key, name, now) if plan.is_seen else None
        if event is not None:
            await self._publisher.announce(event)

    async def works(self, name: str, current: ChannelRound, now: int) -> None:
        """The connection works: a channel that was thought broken is polled again, and then that is announced."""
        plan = current.plan
        if current.is_probe:
            is_active = plan.active if self._refresher is None else await self._refresher.works_again(plan.key, now)
            if is_active:
                self._schedule.resume(plan, now)
        if plan.is_polled:
            recovered = self._accounts.works(plan.key, name, now)
            if recovered is not None:
                await self._publisher.announce(recovered)
