"""Does rounds that ask for posts of several channels at once, with a token of our app.

The answer is cut up: each channel's event holds the part that is about its own targets, and a request that names only
them, so that no workspace is told anything of another's. Figures of channels themselves, and channels that can't be
asked for together, go the way of their own tokens (`poll.py`).
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.events import Origin, PlatformRaw
from services.platforms.base import AcrossAccounts, Call, MappingError, Outcome, Platform, Target, Verdict
from services.poller.asking.answers import raw_event
from services.poller.asking.budget import APP, Budget, Circuit, Uniform, WindowKey, backoff
from services.poller.asking.fetch import Fetcher, Reply
from services.poller.asking.identifiers import EventIds
from services.poller.asking.poll import Publisher
from services.poller.connections.redact import Redactor
from services.poller.errors import AnswerTooLarge, NotSent, RetryLater
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import Ownership, alone
from services.poller.schedule.schedule import Fate, Schedule, Settled, Work
from services.poller.timing import Time
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR, MILLIS_PER_SECOND
from services.runtime.logging import get_logger

# How long a channel whose targets make the platform refuse a whole batch goes alone.
ALONE = MILLIS_PER_DAY
# How long an app's token that the platform refuses is not tried again.
ASIDE = MILLIS_PER_HOUR
_LATER_BY_THEN = frozenset({Outcome.RETRY_LATER, Outcome.QUOTA_EXHAUSTED})
_APP_REFUSED = frozenset(
    {Outcome.TOKEN_EXPIRED, Outcome.TOKEN_REVOKED, Outcome.PERMISSION_MISSING, Outcome.ACCOUNT_DISABLED}
)
_log = get_logger(__name__)


class App:
    """Our app at one platform.

    Args:
        token: an app-only token or API key.
        secrets: what else has to be blanked in answers.
    """

    def __init__(self, platform: AcrossAccounts, token: str, secrets: Sequence[str] = ()) -> None:
        self.platform = platform
        self.headers = platform.authorize_app(token)
        self.redactor = Redactor((token, *secrets))
        # The same group for any posts.
        self.group = platform.app_post_calls([Target("", "", "")])[0].limit_group
        self.aside_until = 0
        self.failures = 0


class _Asked(NamedTuple):
    """One target of one part of a round."""

    part: int
    position: int
    target: Target


class SharedRounds:
    """Asks across channels; see the module's header.

    Args:
        apps: by platform, those that have a token.
        circuits: one a platform, the same as the other rounds'.
    """

    def __init__(
        self,
        *,
        time: Time,
        platforms: Mapping[str, Platform],
        schedule: Schedule,
        fetcher: Fetcher,
        publisher: Publisher,
        apps: Mapping[str, App],
        budget: Budget,
        circuits: Mapping[str, Circuit],
        metrics: PollerMetrics,
        uniform: Uniform = random.uniform,
        ownership: Ownership | None = None,
    ) -> None:
        self._time = time
        self._platforms = platforms
        self._schedule = schedule
        self._fetcher = fetcher
        self._publisher = publisher
        self._apps = apps
        self._budget = budget
        self._circuits = circuits
        self._metrics = metrics
        self._uniform = uniform
        self._ownership = ownership or alone()
        self._ids = EventIds()

    def serves(self, name: str, now: int) -> bool:
        """Whether a platform's posts are asked for across channels at present."""
        app = self._apps.get(name)
        return app is not None and app.aside_until <= now

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        for app in self._apps.values():
            app.aside_until -= by

    def closed_until(self, name: str, now: int) -> int:
        """Until when (ms) none of these rounds begins, for want of the app's budget; 0: not closed."""
        return self._budget.app_wait_until(WindowKey(name, APP, self._apps[name].group), now)

    async def run(self, name: str, parts: Sequence[Work]) -> None:
        """Do a round and settle its parts, whatever happens."""
        now = self._time.now()
        fates = [[Settled(Fate.RETRY, now)] * len(part.entries) for part in parts]
        self._metrics.late_seconds.labels(name).observe(max(part.late_by for part in parts) / 1000)
        try:
            await self._ask_all(name, parts, fates)
        except Exception:
            _log.exception("a round of work failed", platform=name)
            fates = [[Settled(Fate.SKIPPED)] * len(part.entries) for part in parts]
        finally:
            self._circuits[name].release()
            for part, settled in zip(parts, fates, strict=True):
                self._schedule.settle(part, settled, Settled(Fate.SKIPPED), self._time.now())

    async def _ask_all(self, name: str, parts: Sequence[Work], fates: list[list[Settled]]) -> None:
        pending = deque(
            [
                [
                    _Asked(number, position, entry.target())
                    for number, part in enumerate(parts)
                    for position, entry in enumerate(part.entries)
                ]
            ]
        )
        app = self._apps[name]
        while pending:
            now, batch = self._time.now(), pending.popleft()
            asked = [one for one in batch if self._may_ask(parts[one.part])]
            say(fates, [one for one in batch if one not in asked], Settled(Fate.RETRY, now))
            if not asked:
                continue
            if self._budget.wait_until(WindowKey(name, APP, app.group), now) > now:
                say(fates, asked, Settled(Fate.DEFERRED))
                continue
            for smaller in reversed(await self._ask(name, app, parts, asked, fates)):
                pending.appendleft(smaller)

    def _may_ask(self, part: Work) -> bool:
        plan = part.plan
        return plan.active and not plan.paused and self._ownership.may_ask(plan.key[0])

    async def _ask(
        self, name: str, app: App, parts: Sequence[Work], asked: list[_Asked], fates: list[list[Settled]]
    ) -> list[list[_Asked]]:
        """Make one call and act on what comes; returns smaller batches that have to be asked instead."""
        await self._publisher.reserve()
        reserved = True
        try:
            # Waiting for room, or frozen, channels may have become another process's: between this look and the call
            # nothing is awaited.
            lost = [one for one in asked if not self._may_ask(parts[one.part])]
            if lost:
                say(fates, lost, Settled(Fate.RETRY, self._time.now()))
                asked = [one for one in asked if one not in lost]
                if not asked:
                    return []
            (call,) = app.platform.app_post_calls([one.target for one in asked])
            reply = await self._fetch(name, app, call)
            now = self._time.now()
            key = WindowKey(name, APP, call.limit_group)
            self._budget.observe(key, self._platforms[name].limits(reply.headers, now), now)
            verdict = self._platforms[name].classify(reply.status, reply.headers, reply.body, now)
            self._metrics.calls.labels(name, call.kind, verdict.outcome.value).inc()
            for event, own in self._events(name, app, parts, asked, reply, now):
                if not reserved:
                    await self._publisher.reserve()
                    reserved = True
                await self._publisher.publish(event)
                reserved = False
                if verdict.outcome is Outcome.OK:
                    self._captured(name, event, own, fates)
            return self._act(name, app, parts, asked, fates, verdict, now)
        except AnswerTooLarge as error:
            self._metrics.calls.labels(name, call.kind, error.code).inc()
            middle = len(asked) // 2
            if middle:
                return [asked[:middle], asked[middle:]]
            say(fates, asked, Settled(Fate.SKIPPED))
        except RetryLater as error:
            self._metrics.calls.labels(name, call.kind, error.code).inc()
            _log.info("no answer", platform=name, endpoint=call.path, error=str(error))
            self._failed(name, app, asked, fates, None)
        except NotSent as error:
            self._metrics.calls.labels(name, call.kind, error.code).inc()
            _log.error("a call can't be made", platform=name, error=str(error))
            say(fates, asked, Settled(Fate.SKIPPED))
        finally:
            if reserved:
                self._publisher.release()
        return []

    async def _fetch(self, name: str, app: App, call: Call) -> Reply:
        key = WindowKey(name, APP, call.limit_group)
        self._budget.begin(key, self._time.now())
        started = time.perf_counter()
        try:
            reply = await self._fetcher.fetch(name, call, self._platforms[name].facts.base_url, app.headers)
        finally:
            self._budget.end(key)
            self._metrics.call_seconds.labels(name).observe(time.perf_counter() - started)
        self._metrics.answer_bytes.labels(name).inc(len(reply.body))
        return reply

    def _events(
        self, name: str, app: App, parts: Sequence[Work], asked: Sequence[_Asked], reply: Reply, now: int
    ) -> list[tuple[PlatformRaw, list[_Asked]]]:
        """One event a part, and the targets that it is about."""
        events = []
        for own in by_part(asked):
            targets = [one.target for one in own]
            (call,) = app.platform.app_post_calls(targets)
            event = raw_event(
                self._ids.next(now),
                parts[own[0].part].plan.key,
                name,
                call,
                targets=targets,
                status=reply.status,
                body=app.platform.app_part(reply.body, {target.external_id for target in targets}),
                captured_at=now,
                origin=Origin.SCHEDULE,
                redactor=app.redactor,
            )
            events.append((event, own))
        return events

    def _captured(self, name: str, event: PlatformRaw, own: Sequence[_Asked], fates: list[list[Settled]]) -> None:
        gone: set[int] = set()
        try:
            gone.update(self._platforms[name].read(event).gone)
        except MappingError:
            pass  # the aggregator says so, in the dead letters
        for position, one in enumerate(own):
            say(fates, [one], Settled(Fate.GONE if position in gone else Fate.CAPTURED))

    def _act(
        self,
        name: str,
        app: App,
        parts: Sequence[Work],
        asked: list[_Asked],
        fates: list[list[Settled]],
        verdict: Verdict,
        now: int,
    ) -> list[list[_Asked]]:
        outcome, key = verdict.outcome, WindowKey(name, APP, app.group)
        if outcome is Outcome.PLATFORM_DOWN:
            self._failed(name, app, asked, fates, verdict.retry_after_seconds)
            return []
        self._circuits[name].success()
        app.failures = 0
        if outcome in _LATER_BY_THEN:
            exhausted = outcome is Outcome.QUOTA_EXHAUSTED
            until = self._budget.hold(key, verdict.retry_after_seconds, now, exhausted=exhausted, app_wide=True)
            _log.warning("the app's limit is reached", platform=name, detail=verdict.detail, until=until)
            say(fates, asked, Settled(Fate.DEFERRED))
            return []
        self._budget.served(key)
        if outcome is Outcome.OK:
            return []
        if outcome in _APP_REFUSED:
            app.aside_until = now + ASIDE
            _log.error(
                "the app's token is refused; channels are asked for one by one meanwhile", platform=name,
                setting=f"TIDEMARK_{name.upper()}_APP_TOKEN", detail=verdict.detail,
            )  # fmt: skip
            say(fates, asked, Settled(Fate.RETRY, now))
            return []
        return self._refused(name, parts, asked, fates, verdict, now)

    def _refused(
        self,
        name: str,
        parts: Sequence[Work],
        asked: list[_Asked],
        fates: list[list[Settled]],
        verdict: Verdict,
        now: int,
    ) -> list[list[_Asked]]:
        """Something of one channel makes the platform refuse the batch: find out whose, and let that one go alone."""
        grouped = by_part(asked)
        middle = len(grouped) // 2
        if middle:
            return [[one for own in half for one in own] for half in (grouped[:middle], grouped[middle:])]
        plan = parts[asked[0].part].plan
        plan.alone_until = now + ALONE
        _log.warning("a channel is asked for alone", platform=name, channel=plan.key, detail=verdict.detail)
        say(fates, asked, Settled(Fate.RETRY, now))
        return []

    def _failed(
        self, name: str, app: App, asked: Sequence[_Asked], fates: list[list[Settled]], seconds: float | None
    ) -> None:
        now = self._time.now()
        self._circuits[name].failure(now)
        app.failures += 1
        wait = MILLIS_PER_SECOND + backoff(app.failures, self._uniform)
        if seconds is not None:
            wait = int(seconds * MILLIS_PER_SECOND) + 1
        say(fates, asked, Settled(Fate.RETRY, now + wait))


def by_part(asked: Sequence[_Asked]) -> list[list[_Asked]]:
    """Targets of each part together, in their order."""
    grouped: dict[int, list[_Asked]] = {}
    for one in asked:
        grouped.setdefault(one.part, []).append(one)
    return list(grouped.values())


def say(fates: list[list[Settled]], asked: Sequence[_Asked], settled: Settled) -> None:
    """The same fate for some targets."""
    for one in asked:
        fates[one.part][one.position] = settled
