"""Renews the tokens of channels, and says so: on `catalog.tokens`, `catalog.channels` and `accounts.events`.

One refresh a channel is under way at a time, whoever asks for it, and it is finished once begun: refresh tokens of
several platforms work once, so what came must not be lost with whoever waited for it. Before a platform is asked there
must be room to publish, and the new pair is durable on `catalog.tokens` before it replaces the old one here. Only the
owner of a channel's partition begins one (`ownership.py`); it is written also by a process that has lost the partition
meanwhile, since nobody else has what the platform gave, and the new owner takes it from the topic.

A channel whose refresh failed for good is `token_expired`: it is not polled, only its refresh is tried again, ever more
seldom; its tokens from a PUT, or a PUT that makes it active, end that at once. What token endpoints answer is read
here, and neither published nor logged.

Guarantee: at-least-once. Writing a pair or a status twice changes nothing. A refresh that meets a PUT loses: the newer
pair is kept, and written again where the topic ends with the older.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from schemas.events import AccountEvent, CatalogChannel, ChannelStatus, ChannelTokens
from schemas.topic_names import TOKENS
from services.platforms.abilities import (
    AppClient,
    ExchangesTokens,
    Refreshable,
    RefreshCall,
    RefreshFailure,
    TokenGrant,
    has,
)
from services.platforms.base import Channel, Outcome, Platform
from services.poller.asking.binding import Binder
from services.poller.asking.channel_writes import ChannelWrites
from services.poller.asking.circuit import Uniform, backoff
from services.poller.asking.cut_waits import CutWaits
from services.poller.asking.directory import Directory
from services.poller.asking.fetch import Fetcher
from services.poller.asking.renewals import DONE, IMPOSSIBLE, Barred, Renewal
from services.poller.catalog import Catalog
from services.poller.connections.accounts import RECOVERED, Accounts
from services.poller.connections.sandbox import SandboxGuard
from services.poller.connections.tokens import REFRESH, TokenStore
from services.poller.errors import PollerError
from services.poller.keys import ChannelKey
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import Ownership, alone
from services.poller.timing import Time
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR, MILLIS_PER_SECOND
from services.runtime.logging import get_logger
from services.runtime.secrets import SecretsError, TokenPair

# After a failure for good only the person can help, but some platforms take a revocation back.
FINAL_BASE = 60 * MILLIS_PER_SECOND
FINAL_CAP = 6 * MILLIS_PER_HOUR
# Refreshes of one platform at a time.
CONCURRENCY = 8
# How soon after Kafka's silence ended a refresh is tried, ms.
_LEASE_LOOK = MILLIS_PER_SECOND
# How long after a channel was written its tokens may be on their way, since they come by a topic of their own, ms; and
# how often that is looked at.
TOKENS_LATE = 5 * MILLIS_PER_SECOND
_TOKENS_LOOK = 500
_log = get_logger(__name__)


class Publisher(Protocol):
    """Where tokens, channels and account events go; see `services.poller.publisher.KafkaPublisher`."""

    async def reserve(self) -> None:
        """Wait until an event more can be held."""

    def release(self) -> None:
        """Give back what `reserve` took."""

    async def write(self, topic: str, event: CatalogChannel | ChannelTokens) -> None:
        """Make a catalog event durable; returns when it is."""

    async def erase(self, topic: str, key: ChannelKey) -> None:
        """Make a tombstone durable; returns when it is."""

    async def announce(self, event: AccountEvent) -> None:
        """Hand over one account event."""


class Refresher:
    """Renews tokens.

    Args:
        clients: our own app by platform; the others have none.
        uniform: random number between two bounds.
        ownership: whose tokens are this process's to renew; by default everybody's.
        sandbox: whose tokens are never shown to the built-in sandbox; by default there is none.
        directory: where accounts have servers of their own; without it every refresh goes where the platform says.
    """

    def __init__(
        self,
        *,
        time: Time,
        platforms: Mapping[str, Platform],
        fetcher: Fetcher,
        publisher: Publisher,
        tokens: TokenStore,
        catalog: Catalog,
        accounts: Accounts,
        metrics: PollerMetrics,
        clients: Mapping[str, AppClient] | None = None,
        uniform: Uniform = random.uniform,
        ownership: Ownership | None = None,
        sandbox: SandboxGuard | None = None,
        directory: Directory | None = None,
    ) -> None:
        self._time = time
        self._directory = directory
        self._sandbox = sandbox or SandboxGuard(tokens)
        self._platforms = platforms
        self._fetcher = fetcher
        self._publisher = publisher
        self._tokens = tokens
        self._catalog = catalog
        self._accounts = accounts
        self._metrics = metrics
        self._clients = clients or {}
        self._uniform = uniform
        self._ownership = ownership or alone()
        self._channels = ChannelWrites(publisher, catalog, time, self._ownership)
        self._under_way: dict[ChannelKey, asyncio.Task[Renewal]] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._barred: dict[ChannelKey, Barred] = {}
        self._expired: dict[ChannelKey, int] = {}
        self._useless: dict[ChannelKey, tuple[int, int]] = {}
        self._waits = CutWaits()
        self._places = {name: asyncio.Semaphore(CONCURRENCY) for name in platforms}
        self._changed = asyncio.Event()
        self._binder = Binder(
            time=time,
            tokens=tokens,
            publisher=publisher,
            ownership=self._ownership,
            is_busy=lambda key: key in self._under_way,
        )
        catalog.on_channel = self._watch
        tokens.on_overwritten = self._write_again
        for key in list(catalog.channels):
            self._watch(key)

    async def ahead(self, name: str, key: ChannelKey) -> int | None:
        """Before a channel is asked: renew its token where it ends soon.

        Returns:
            When to look again (ms), because the token has ended and its refresh has to wait; None to go on.
        """
        held = self._tokens.sealed(key)
        if held is None or held.token_expires_at is None:
            return None
        call = self._call(name, key)
        now = self._time.now()
        if call is None or now < held.token_expires_at - int(call.ahead_seconds * MILLIS_PER_SECOND):
            return None
        renewal = await self.renew(name, key)
        if renewal.done or renewal.retry_at is None or now < held.token_expires_at:
            return None
        return renewal.retry_at

    async def renew(self, name: str, key: ChannelKey) -> Renewal:
        """Renew a channel's tokens, or wait for whoever does; a failure of a while ago is not repeated at once."""
        task = self._under_way.get(key)
        if task is None:
            barred, held, now = self._barred.get(key), self._tokens.sealed(key), self._time.now()
            if barred is not None and barred.tokens is held and now < barred.until:
                return barred.renewal
            if held is not None and held.origin == REFRESH and now - held.updated_at < FINAL_BASE:
                return IMPOSSIBLE  # what was got a moment ago and doesn't work won't work by another refresh
            task = asyncio.create_task(self._renew(name, key))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)

    def was_refused(self, key: ChannelKey) -> bool:
        """Whether the platform refused for good to renew the tokens that a channel holds, which end some time."""
        held, barred = self._tokens.sealed(key), self._barred.get(key)
        return (
            held is not None
            and held.token_expires_at is not None
            and barred is not None
            and barred.tokens is held
            and barred.renewal.retry_at is None
        )

    def awaits_tokens(self, key: ChannelKey, now: int) -> int | None:
        """When to look again (ms) for the tokens of a channel that was written a moment ago; None: it has none."""
        channel = self._catalog.channels.get(key)
        if channel is None or self._tokens.sealed(key) is not None or now - channel.updated_at >= TOKENS_LATE:
            return None
        return now + _TOKENS_LOOK

    async def give_up(self, key: ChannelKey, now: int, *, is_closed: bool = False) -> None:
        """A channel's token ended for good, or it has none: its status says so from `now` on (ms).

        Args:
            is_closed: the platform closed the account itself; only a PUT helps.
        """
        channel = self._catalog.channels.get(key)
        if channel is None:
            return
        if is_closed:
            if channel.status in (ChannelStatus.ACTIVE, ChannelStatus.TOKEN_EXPIRED):
                await self._channels.put(key, replace(channel, status=ChannelStatus.DISABLED.value, updated_at=now))
            return
        if channel.status != ChannelStatus.ACTIVE:
            return
        held, barred = self._tokens.sealed(key), self._barred.get(key)
        if held is not None and held.origin == REFRESH and (barred is None or barred.tokens is not held):
            # The refresh worked, and what it brought does not: not to be repeated at once, for ever.
            count, at = self._useless.get(key, (0, 0))
            count = count + 1 if now - at < MILLIS_PER_DAY else 1
            self._useless[key] = (count, now)
            self._bar(key, held, RefreshFailure(Outcome.TOKEN_EXPIRED), count)
        await self._channels.put(key, replace(channel, status=ChannelStatus.TOKEN_EXPIRED.value, updated_at=now))

    async def works_again(self, key: ChannelKey, now: int) -> bool:
        """The platform took a channel's token: a channel that was thought expired is active, and polled, from `now` on.

        Returns:
            Whether the channel is active now. Not one that the customer disabled or revoked, before or meanwhile.
        """
        channel = self._catalog.channels.get(key)
        if channel is None or not self._ownership.is_active(key[0]):
            return False
        if channel.status == ChannelStatus.TOKEN_EXPIRED:
            await self._reinstate(key, channel, now)
        current = self._catalog.channels.get(key)
        return current is not None and current.status == ChannelStatus.ACTIVE

    async def _reinstate(self, key: ChannelKey, channel: CatalogChannel, now: int) -> None:
        """Make a token_expired channel active, and say so once it is."""
        if await self._channels.put(key, replace(channel, status=ChannelStatus.ACTIVE.value, updated_at=now)):
            announced = self._accounts.works(key, channel.platform, now)
            await self._publisher.announce(announced or AccountEvent(*key, channel.platform, RECOVERED, now))

    async def run(self) -> None:
        """Try the refresh of token_expired channels until cancelled."""
        async with asyncio.TaskGroup() as tries:
            while True:
                self._changed.clear()
                now = self._time.now()
                for key in [key for key, due_at in self._expired.items() if due_at <= now]:
                    del self._expired[key]
                    tries.create_task(self._try(key))
                await self._time.wait(self._changed, min(self._expired.values(), default=None))

    async def close(self, seconds: float) -> None:
        """Wait for what is under way, for at most this long: what a platform has given must not be lost."""
        await self._binder.close()
        tasks = [*self._under_way.values(), *self._writing, *self._channels.under_way()]
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=seconds)
            for task in left:
                task.cancel()

    def _call(self, name: str, key: ChannelKey, *, is_refused: bool = False) -> RefreshCall | None:
        """The call that brings other tokens; one that the platform refused may also be exchanged for another kind."""
        platform, channel = self._platforms.get(name), self._catalog.channels.get(key)
        try:
            if self._sandbox.refuses(name, key):
                return None
            pair = self._tokens.credentials(key, name).pair
        except SecretsError:
            return None  # said where the channel is asked
        client = self._clients.get(name, AppClient())
        if has(platform, Refreshable):
            return platform.refresh_call(pair, client)
        if is_refused and channel is not None and has(platform, ExchangesTokens):
            return platform.exchange_call(Channel(*key, channel.external_id, channel.username), pair, client)
        return None

    async def _renew(self, name: str, key: ChannelKey) -> Renewal:
        with self._ownership.working(key[0]):
            return await self._renew_owned(name, key)

    async def _renew_owned(self, name: str, key: ChannelKey) -> Renewal:
        held, call = self._tokens.sealed(key), self._call(name, key, is_refused=True)
        if held is None or call is None:
            return IMPOSSIBLE
        credentials = self._tokens.credentials(key, name)
        async with self._places[name]:
            answer = await self._ask(name, key, call)
            if answer is None:
                return Renewal(False, self._time.now() + _LEASE_LOOK)
            if isinstance(answer, RefreshFailure):
                detail = credentials.redactor.text(answer.detail)
                _log.warning(
                    "a refresh failed", platform=name, channel=key, outcome=answer.outcome.value, detail=detail
                )
                return self._bar(key, held, answer)
            now = self._time.now()
            life, pair = answer.expires_in_seconds, credentials.pair
            event = self._tokens.renewed(
                held,
                TokenPair(answer.access_token, answer.refresh_token or pair.refresh_token),
                None if life is None else now + int(life * MILLIS_PER_SECOND),
                now,
            )
            await self._publisher.write(TOKENS, event)
        if self._tokens.sealed(key) is None:
            return DONE  # the partition was lost meanwhile, or the channel deleted
        self._barred.pop(key, None)
        # Where a PUT came meanwhile, its pair stays, and is written again.
        self._catalog.put_tokens(key, event, now)
        _log.info("a token was refreshed", platform=name, channel=key)
        await self._renewed(key, event, now)
        return DONE

    async def _ask(self, name: str, key: ChannelKey, call: RefreshCall) -> TokenGrant | RefreshFailure | None:
        """Ask the token endpoint and read what it answers; None when the channel is not this process's to ask for."""
        platform = self._platforms[name]
        read = platform.read_refresh if has(platform, Refreshable) else None
        if has(platform, ExchangesTokens):
            read = platform.read_exchange
        assert read is not None
        channel = self._account(key)
        if self._directory is not None and channel is not None:
            placed = await self._directory.refresh_at_home(name, channel, call)
            if placed is None:
                # A refresh token is shown to nobody but the account's own server.
                self._metrics.refreshes.labels(name, Outcome.PLATFORM_DOWN.value).inc()
                return RefreshFailure(Outcome.PLATFORM_DOWN, detail="the account's server can't be found")
            call = placed
        await self._publisher.reserve()
        try:
            if not self._ownership.may_ask(key[0]):
                return None
            reply = await self._fetcher.fetch_grant(name, call, platform.facts.base_url)
            answer = read(reply.status, reply.headers, reply.body)
        except PollerError as error:
            answer = RefreshFailure(Outcome.PLATFORM_DOWN, detail=error.code)
        except Exception as error:
            # A mistake in a platform's file; the text of the error might hold what was read.
            _log.error("a token answer can't be read", platform=name, error=type(error).__name__)
            answer = RefreshFailure(Outcome.REQUEST_WRONG, detail="unreadable")
        finally:
            self._publisher.release()
        if isinstance(answer, RefreshFailure):
            answer = self._waits.failure(name, answer, self._time.now())
            if self._directory is not None and channel is not None:
                self._directory.forget(name, channel)
        outcome = answer.outcome.value if isinstance(answer, RefreshFailure) else Outcome.OK.value
        self._metrics.refreshes.labels(name, outcome).inc()
        return answer

    def _account(self, key: ChannelKey) -> Channel | None:
        """The channel as its platform knows it."""
        held = self._catalog.channels.get(key)
        return None if held is None else Channel(*key, held.external_id, held.username)

    def _bar(self, key: ChannelKey, held: ChannelTokens, failure: RefreshFailure, failures: int = 0) -> Renewal:
        before, now = self._barred.get(key), self._time.now()
        if not failures:
            failures = 1 if before is None or before.tokens is not held else before.failures + 1
        if failure.is_final or failure.outcome is Outcome.REQUEST_WRONG:
            wait = FINAL_BASE + backoff(failures, self._uniform, FINAL_BASE, FINAL_CAP)
        elif failure.retry_after_seconds is not None:
            wait = int(failure.retry_after_seconds * MILLIS_PER_SECOND) + 1
        else:
            wait = MILLIS_PER_SECOND + backoff(failures, self._uniform)
        renewal = Renewal(False, None if failure.is_final else now + wait)
        self._barred[key] = Barred(held, failures, now + wait, renewal)
        return renewal

    async def _renewed(self, key: ChannelKey, tokens: ChannelTokens, now: int) -> None:
        """Let the catalog show the new end, and a channel that had none of its tokens left be polled again."""
        channel = self._catalog.channels.get(key)
        if channel is None:
            return
        newer = replace(channel, token_expires_at=tokens.token_expires_at, updated_at=now)
        if channel.status == ChannelStatus.TOKEN_EXPIRED:
            await self._reinstate(key, newer, now)
        elif channel.token_expires_at != tokens.token_expires_at:
            await self._channels.put(key, newer)

    async def _try(self, key: ChannelKey) -> None:
        """Try the refresh of a token_expired channel once, and say when to try it again."""
        channel = self._catalog.channels.get(key)
        if channel is None or channel.status != ChannelStatus.TOKEN_EXPIRED or not self._ownership.is_active(key[0]):
            return
        if not self._ownership.may_ask(key[0]):
            self._expired[key] = self._time.now() + _LEASE_LOOK
            self._changed.set()
            return
        try:
            renewal = await self.renew(channel.platform, key)
        except Exception as error:
            # One channel's trouble must not stop the others; the text of the error might hold what was read.
            _log.error("a refresh broke off", channel=key, error=type(error).__name__)
            self._expired[key] = self._time.now() + FINAL_BASE
            return
        barred, held = self._barred.get(key), self._tokens.sealed(key)
        # Without a way to refresh there is nothing to repeat: only a PUT helps, and that is noticed.
        until = barred.until if barred is not None and barred.tokens is held else 0
        if held is not None and held.origin == REFRESH:
            # The partition's former owner may have written it late, after this process had given up the one before.
            until = max(until, held.updated_at + FINAL_BASE)
        if not renewal.done and until > self._time.now():
            self._expired[key] = until
            self._changed.set()

    def _watch(self, key: ChannelKey) -> None:
        """The catalog has news of a channel or of its tokens."""
        self._binder.look(key)
        channel = self._catalog.channels.get(key)
        # Of what is still being read, the news comes again when it is this process's to act by.
        is_ours = self._ownership.is_active(key[0])
        if channel is None or channel.status != ChannelStatus.TOKEN_EXPIRED or not is_ours:
            self._expired.pop(key, None)
            if channel is None:
                self._barred.pop(key, None)
                self._useless.pop(key, None)
            return
        barred = self._barred.get(key)
        stands = barred is not None and barred.tokens is self._tokens.sealed(key)
        self._expired[key] = barred.until if barred is not None and stands else self._time.now()
        self._changed.set()

    def _write_again(self, key: ChannelKey, tokens: ChannelTokens) -> None:
        """A refresh of an older pair came to stand behind a PUT's on the topic: let the topic end with the PUT's."""
        if not self._ownership.is_active(key[0]):
            return  # history that is being read
        task = asyncio.create_task(self._publisher.write(TOKENS, tokens))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
