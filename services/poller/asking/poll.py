"""Does one round of work: asks a platform, publishes what it answered, and says what became of each target."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from schemas.events import AccountEvent, Origin, PlatformRaw, PollerReply
from services.platforms.base import Call, MappingError, Outcome, Platform, Verdict
from services.poller.asking.answers import raw_event
from services.poller.asking.budget import APP, Budget, Circuit, TokenCircuits, Uniform, WindowKey
from services.poller.asking.calls import Refusals, halves, metric_halves, metrics_of, without_metric, without_target
from services.poller.asking.fetch import Fetcher, Reply
from services.poller.asking.identifiers import EventIds
from services.poller.asking.refresh import DONE, Refresher
from services.poller.asking.round import Heard, Round
from services.poller.connections.accounts import TYPE_OF_OUTCOME, Accounts
from services.poller.connections.sandbox import UNAVAILABLE, WHY, SandboxGuard
from services.poller.connections.tokens import TokenStore
from services.poller.errors import AnswerTooLarge, NotSent, RetryLater
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import Ownership, alone
from services.poller.schedule.schedule import ChannelKey, Fate, Plan, Schedule, Settled, Work
from services.poller.timing import Time
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_SECOND
from services.runtime.logging import get_logger
from services.runtime.secrets import SecretsError

_BROKEN_CONNECTION = frozenset(TYPE_OF_OUTCOME)
# The platform refuses one of the metrics: the call is made again without it.
_WITHOUT_A_METRIC = frozenset({Outcome.REQUEST_WRONG, Outcome.METRIC_FORBIDDEN, Outcome.METRIC_NOT_OFFERED})
_LATER_BY_THEN = frozenset({Outcome.RETRY_LATER, Outcome.QUOTA_EXHAUSTED})
_log = get_logger(__name__)


class Publisher(Protocol):
    """Where answers go; see `services.poller.publisher.KafkaPublisher`."""

    async def reserve(self) -> None:
        """Wait until an answer more can be held."""

    def release(self) -> None:
        """Give back what `reserve` took."""

    async def publish(self, event: PlatformRaw) -> None:
        """Hand over one raw answer, for which room was reserved."""

    async def announce(self, event: AccountEvent) -> None:
        """Hand over one account event."""


class Replies(Protocol):
    """Where replies to requests go; see `services.poller.publisher.KafkaPublisher`."""

    async def reply(self, reply_to: str, reply: PollerReply) -> None:
        """Hand over one part of a reply."""


class Poller:
    """Asks platforms; holds no state of its own beyond what it is given.

    Args:
        platforms: those that can be polled, by name.
        circuits: one a platform.
        refresher: renews tokens; without it a token that ended pauses its channel at once.
        ownership: whom may be asked for; by default everybody.
        sandbox: which channels the built-in sandbox is not asked for; by default there is none.
    """

    def __init__(
        self,
        *,
        time: Time,
        platforms: Mapping[str, Platform],
        schedule: Schedule,
        fetcher: Fetcher,
        publisher: Publisher,
        tokens: TokenStore,
        accounts: Accounts,
        budget: Budget,
        circuits: Mapping[str, Circuit],
        metrics: PollerMetrics,
        refresher: Refresher | None = None,
        uniform: Uniform = random.uniform,
        ownership: Ownership | None = None,
        sandbox: SandboxGuard | None = None,
    ) -> None:
        self._time = time
        self._platforms = platforms
        self._schedule = schedule
        self._sandbox = sandbox or SandboxGuard(tokens)
        self._fetcher = fetcher
        self._publisher = publisher
        self._tokens = tokens
        self._accounts = accounts
        self._budget = budget
        self._circuits = circuits
        self._metrics = metrics
        self._refresher = refresher
        self._token_circuits = TokenCircuits(uniform)
        self._ownership = ownership or alone()
        self._ids = EventIds()
        self._refusals = Refusals(MILLIS_PER_DAY)

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        self._budget.clock_set_back(by)
        self._token_circuits.clock_set_back(by)
        for circuit in self._circuits.values():
            circuit.clock_set_back(by)

    def closed_until(self, name: str, now: int) -> int:
        """Until when (ms) no scheduled poll of a platform begins, for want of our app's budget there; 0: not closed."""
        group = self._platforms[name].facts.post_group
        return self._budget.app_wait_until(WindowKey(name, APP, group), now) if group else 0

    def has_to_spare(self, name: str, key: ChannelKey, calls: Sequence[Call], now: int) -> bool:
        """Whether calls of a channel leave enough of the budgets for scheduled polls that become due meanwhile."""
        owner = "/".join(key)
        return all(self._budget.has_to_spare(WindowKey(name, owner, call.limit_group), now) for call in calls)

    async def run(self, name: str, work: Work) -> None:
        """Do a round of one platform and settle it, whatever happens."""
        plan = work.plan
        fates = [Settled(Fate.RETRY, self._time.now())] * len(work.entries)
        channel_fate = Settled(Fate.RETRY, self._time.now())
        self._metrics.late_seconds.labels(name).observe(work.late_by / 1000)
        try:
            if self._is_refused(name, plan):
                return
            wait_until = None if self._refresher is None else await self._refresher.ahead(name, plan.key)
            if wait_until is not None:
                fates = [Settled(Fate.RETRY, wait_until)] * len(work.entries)
                channel_fate = Settled(Fate.RETRY, wait_until)
                return
            current = Round(work, self._platforms[name], self._tokens.credentials(plan.key, name))
            try:
                await self._ask_all(name, current)
            finally:
                fates, channel_fate = current.fates(), current.channel_fate
        except SecretsError as error:
            _log.error("a channel is paused: its tokens can't be opened", channel=plan.key, error=str(error))
            self._schedule.pause(plan)
        except Exception:
            # A mistake in one platform's file must not stop the others, nor spin on the same target.
            _log.exception("a round of work failed", platform=name, channel=plan.key)
            fates = [Settled(Fate.SKIPPED)] * len(work.entries)
            channel_fate = Settled(Fate.SKIPPED)
        finally:
            self._circuits[name].release()
            self._schedule.settle(work, fates, channel_fate, self._time.now())

    async def ask_now(
        self,
        name: str,
        plan: Plan,
        calls: Sequence[Call],
        heard: Heard,
        *,
        is_probe: bool = False,
        origin: Origin = Origin.LIVE,
        fates: dict[str, Settled] | None = None,
    ) -> Verdict | None:
        """Make calls for somebody who waits: within the budget, and what is answered is published like any poll's.

        Args:
            heard: told of each answer as it comes.
            is_probe: ask although the channel is not polled.
            origin: why.
            fates: filled with what becomes of each target, and under `CHANNEL` of the channel's own figures.

        Returns:
            What the last answer meant; None when there was none, because nothing may be asked now, or nobody answered.
        """
        channel, circuit = plan.channel, self._circuits[name]
        if channel is None or circuit.wait_until(self._time.now()) != 0:
            return None
        circuit.admit()
        try:
            if self._is_refused(name, plan):
                return None
            if self._refresher is not None and await self._refresher.ahead(name, plan.key) is not None:
                return None
            current = Round(
                Work(plan, channel, [], False, 0),
                self._platforms[name],
                self._tokens.credentials(plan.key, name),
                origin=origin,
                heard=heard,
                is_probe=is_probe,
                fates=fates,
            )
            if is_probe and self._refresher is not None and self._refresher.was_refused(plan.key):
                # The token may last for some minutes more; the connection is broken all the same.
                refused = Verdict(Outcome.TOKEN_EXPIRED, detail="refresh refused")
                now = self._time.now()
                await self._pause(name, current, refused, now)
                await self._refresher.give_up(plan.key, now)
                return refused
            current.pending.extend(calls)
            await self._ask_pending(name, current)
            return current.verdict
        except SecretsError as error:
            _log.error("a channel can't be asked: its tokens can't be opened", channel=plan.key, error=str(error))
            return None
        finally:
            circuit.release()

    def unavailable(self, name: str, key: ChannelKey) -> str | None:
        """Why a channel is not asked for at all, as a code; None when it may be."""
        try:
            return UNAVAILABLE if self._sandbox.refuses(name, key) else None
        except SecretsError:
            return None  # said where the channel is asked

    def _is_refused(self, name: str, plan: Plan) -> bool:
        """Whether a channel must not be asked for; it is left alone then until other tokens come."""
        if not self._sandbox.refuses(name, plan.key):
            return False
        if not plan.paused:
            _log.warning(WHY, platform=name, channel=plan.key, error_code=UNAVAILABLE)
            self._schedule.pause(plan)
        return True

    async def _ask_all(self, name: str, current: Round) -> None:
        work, now = current.work, self._time.now()
        if work.entries:
            targets = [entry.target() for entry in work.entries]
            current.pending.extend(current.platform.post_calls(work.channel, targets, now))
        if work.with_channel:
            current.pending.extend(current.platform.channel_calls(work.channel, now))
        await self._ask_pending(name, current)

    async def _ask_pending(self, name: str, current: Round) -> None:
        work = current.work
        while current.pending:
            now = self._time.now()
            if (not work.plan.active or work.plan.paused) and not current.is_probe:
                current.give_up_until(now)
                break
            mended_at = self._token_circuits.wait_until(work.plan.key, now)
            if mended_at:
                current.give_up_until(mended_at)
                break
            call = current.pending.popleft()
            if current.credentials.access_token is None and not current.renewed:
                look_at = None if self._refresher is None else self._refresher.awaits_tokens(work.plan.key, now)
                if look_at is not None:
                    current.say(call, Settled(Fate.RETRY, look_at))
                    current.give_up_until(look_at)
                    break
                # Nothing can be asked without a token; a refresh token may still bring one.
                await self._broken(name, current, call, Verdict(Outcome.TOKEN_EXPIRED, detail="no token"))
                continue
            key = WindowKey(name, "/".join(work.plan.key) if current.headers else APP, call.limit_group)
            free_at = self._budget.wait_until(key, now)
            if free_at > now:
                # The app's budget is closed to everybody: whose turn it is when it opens goes by who has waited.
                is_apps = call.limit_group == current.platform.facts.post_group and self.closed_until(name, now)
                current.say(call, Settled(Fate.DEFERRED) if is_apps else Settled(Fate.RETRY, free_at))
                continue
            await self._ask(name, current, self._refusals.apply(work.plan.key, call, now), key)

    async def _ask(self, name: str, current: Round, call: Call, key: WindowKey) -> None:
        """Make one call and act on what comes; may put other calls in front of what is pending."""
        await self._publisher.reserve()
        reserved = True
        try:
            if not self._ownership.may_ask(current.work.plan.key[0]):
                # Waiting for room, or frozen, its channel may have become another process's.
                current.say(call, Settled(Fate.RETRY, self._time.now()))
                current.give_up_until(self._time.now())
                return
            reply = await self._fetch(name, current, call, key)
            now = self._time.now()
            self._budget.observe(key, current.platform.limits(reply.headers, now), now)
            event = self._event(name, current, call, reply, now)
            await self._publisher.publish(event)
            reserved = False
            verdict = current.platform.classify(reply.status, reply.headers, event.body, now)
            self._metrics.calls.labels(name, call.kind, verdict.outcome.value).inc()
            current.verdict = verdict
            if current.heard is not None and verdict.outcome is Outcome.OK:
                current.heard(event)
            await self._act(name, current, call, event, verdict, key)
        except AnswerTooLarge as error:
            self._metrics.calls.labels(name, call.kind, error.code).inc()
            smaller = halves(current.platform, current.work.channel, call, self._time.now())
            if not smaller:
                _log.error("an answer is too large even for one target", platform=name, endpoint=call.path)
                current.say(call, Settled(Fate.SKIPPED))
            current.pending.extendleft(reversed(smaller))
        except RetryLater as error:
            self._metrics.calls.labels(name, call.kind, error.code).inc()
            _log.info("no answer", platform=name, endpoint=call.path, error=str(error))
            self._failed(name, current, call, None)
        except NotSent as error:
            self._metrics.calls.labels(name, call.kind, error.code).inc()
            _log.error("a call can't be made", platform=name, channel=current.work.plan.key, error=str(error))
            current.say(call, Settled(Fate.SKIPPED))
        finally:
            if reserved:
                self._publisher.release()

    async def _fetch(self, name: str, current: Round, call: Call, key: WindowKey) -> Reply:
        self._budget.begin(key, self._time.now())
        started = time.perf_counter()
        try:
            reply = await self._fetcher.fetch(name, call, current.platform.facts.base_url, current.headers)
        finally:
            self._budget.end(key)
            self._metrics.call_seconds.labels(name).observe(time.perf_counter() - started)
        self._metrics.answer_bytes.labels(name).inc(len(reply.body))
        return reply

    def _event(self, name: str, current: Round, call: Call, reply: Reply, now: int) -> PlatformRaw:
        return raw_event(
            self._ids.next(now),
            current.work.plan.key,
            name,
            call,
            targets=call.targets,
            status=reply.status,
            body=reply.body,
            captured_at=now,
            origin=current.origin,
            redactor=current.credentials.redactor,
        )

    async def _act(
        self, name: str, current: Round, call: Call, event: PlatformRaw, verdict: Verdict, key: WindowKey
    ) -> None:
        outcome, now, plan = verdict.outcome, event.captured_at, current.work.plan
        if outcome is Outcome.PLATFORM_DOWN:
            self._failed(name, current, call, verdict.retry_after_seconds)
            return
        self._circuits[name].success()
        self._token_circuits.success(plan.key)
        if outcome in _LATER_BY_THEN:
            exhausted = outcome is Outcome.QUOTA_EXHAUSTED
            until = self._budget.hold(
                key, verdict.retry_after_seconds, now, exhausted=exhausted, app_wide=verdict.is_app_wide
            )
            current.say(call, Settled(Fate.RETRY, until))
            _log.warning("limit reached", platform=name, channel=plan.key, detail=verdict.detail, until=until)
            return
        self._budget.served(key)
        if outcome is Outcome.OK:
            self._captured(current, call, event)
            await self._works(name, current, now)
        elif outcome in _BROKEN_CONNECTION:
            await self._broken(name, current, call, verdict)
        elif outcome in (Outcome.TARGET_GONE, Outcome.NO_DATA_EVER):
            fate = Settled(Fate.GONE if outcome is Outcome.TARGET_GONE else Fate.NEVER)
            self._refused(current, call, verdict, fate, now)
        elif outcome in _WITHOUT_A_METRIC:
            self._wrong(name, current, call, verdict, now)
        else:  # PERMISSION_MISSING, TARGET_REFUSED, TOO_EARLY: asking sooner won't help
            _log.info("no figures", platform=name, channel=plan.key, outcome=outcome.value, detail=verdict.detail)
            self._refused(current, call, verdict, Settled(Fate.SKIPPED), now)

    async def _works(self, name: str, current: Round, now: int) -> None:
        """The connection works: a channel that was thought broken is polled again, and then that is announced."""
        plan = current.work.plan
        if current.is_probe:
            is_active = plan.active if self._refresher is None else await self._refresher.works_again(plan.key, now)
            if is_active:
                self._schedule.resume(plan, now)
        if plan.active and not plan.paused:
            recovered = self._accounts.works(plan.key, name, now)
            if recovered is not None:
                await self._publisher.announce(recovered)

    def _captured(self, current: Round, call: Call, event: PlatformRaw) -> None:
        gone: set[int] = set()
        if call.targets:
            try:
                gone.update(current.platform.read(event).gone)
            except MappingError:
                pass  # the aggregator says so, in the dead letters
        captured = Settled(Fate.CAPTURED)
        if not gone:
            current.say(call, captured)
            return
        for position, target in enumerate(call.targets):
            current.say_target(target.target_id, Settled(Fate.GONE) if position in gone else captured)

    def _refused(self, current: Round, call: Call, verdict: Verdict, fate: Settled, now: int) -> None:
        """An answer that concerns a target; of several, find out which and ask for the others again."""
        channel, targets = current.work.channel, call.targets
        again: list[Call] = []
        if verdict.refused_target is not None and len(targets) > 1:
            again = without_target(current.platform, channel, call, verdict.refused_target, now)
            for target in targets:
                if target.external_id == verdict.refused_target:
                    current.say_target(target.target_id, fate)
            if sum(len(other.targets) for other in again) == len(targets):
                again = []  # the platform named something else: no way to ask without it
        if not again and fate.fate is not Fate.SKIPPED:
            again = halves(current.platform, channel, call, now)
        if again:
            current.pending.extendleft(reversed(again))
        else:
            current.say(call, fate)

    def _wrong(self, name: str, current: Round, call: Call, verdict: Verdict, now: int) -> None:
        """The platform refuses a metric or the request: ask without the metric it named; else loud where it is ours."""
        if verdict.refused_metric == "":
            self._wrong_somewhere(name, current, call, verdict, now)
            return
        if verdict.refused_metric is not None:
            smaller = without_metric(call, verdict.refused_metric)
            if smaller is not None:
                key = current.work.plan.key
                self._note_refused(name, key, verdict, verdict.refused_metric)
                self._refusals.remember(key, call, smaller, now)
                current.pending.appendleft(smaller)
                return
        if verdict.outcome is Outcome.REQUEST_WRONG:
            _log.error("a request is wrong", platform=name, endpoint=call.path, detail=verdict.detail)
        self._refused(current, call, verdict, Settled(Fate.SKIPPED), now)

    def _wrong_somewhere(self, name: str, current: Round, call: Call, verdict: Verdict, now: int) -> None:
        """A metric is refused without being named: ask in halves until it stands alone."""
        key = current.work.plan.key
        parts = metric_halves(call)
        if parts:
            current.pending.extendleft(reversed(parts))
            return
        refused = metrics_of(call)
        for metric in refused:
            self._refusals.refuse(key, metric, now)
        self._note_refused(name, key, verdict, ",".join(refused))
        current.say(call, Settled(Fate.SKIPPED))

    def _note_refused(self, name: str, key: ChannelKey, verdict: Verdict, metric: str) -> None:
        """A metric that nobody can have any more is ours to look at; one that this post or account lacks is not."""
        log = _log.warning if verdict.outcome is Outcome.REQUEST_WRONG else _log.info
        log("a metric is refused and left out", platform=name, channel=key, metric=metric, detail=verdict.detail)

    def _failed(self, name: str, current: Round, call: Call, retry_after_seconds: float | None) -> None:
        """The platform did not answer, or said that it is down: leave it alone for a while."""
        now, key, circuit = self._time.now(), current.work.plan.key, self._circuits[name]
        if circuit.is_open or not self._token_circuits.is_open(key):
            circuit.failure(now)
        at = self._token_circuits.failure(key, now)
        if retry_after_seconds is not None:
            at = now + int(retry_after_seconds * MILLIS_PER_SECOND) + 1
        current.say(call, Settled(Fate.RETRY, at))
        current.give_up_until(at)

    async def _broken(self, name: str, current: Round, call: Call, verdict: Verdict) -> None:
        """The token or the account doesn't work: ask again with a renewed token, once; else pause the channel."""
        key = current.work.plan.key
        if self._refresher is not None and verdict.outcome is not Outcome.ACCOUNT_DISABLED and not current.renewed:
            current.renewed = True
            newest = self._tokens.credentials(key, name)
            # Another round may have renewed it while this one was asking.
            renewal = DONE if newest is not current.credentials else await self._refresher.renew(name, key)
            if renewal.done:
                current.authorize(self._tokens.credentials(key, name))
                current.pending.appendleft(call)
                return
            if renewal.retry_at is not None:
                current.say(call, Settled(Fate.RETRY, renewal.retry_at))
                current.give_up_until(renewal.retry_at)
                return
        now = self._time.now()
        current.say(call, Settled(Fate.RETRY, now))
        if not self._ownership.is_active(key[0]):
            return  # another process's to find out, and to announce
        await self._pause(name, current, verdict, now)
        if self._refresher is not None:
            await self._refresher.give_up(key, now, is_closed=verdict.outcome is Outcome.ACCOUNT_DISABLED)

    async def _pause(self, name: str, current: Round, verdict: Verdict, now: int) -> None:
        plan = current.work.plan
        self._schedule.pause(plan)
        current.give_up_until(now)
        announcement = self._accounts.broken(plan.key, name, verdict.outcome, self._tokens.updated_at(plan.key), now)
        _log.warning(
            "a channel is paused", platform=name, channel=plan.key, outcome=verdict.outcome.value,
            detail=verdict.detail,
        )  # fmt: skip
        if announcement is not None:
            await self._publisher.announce(announcement)
