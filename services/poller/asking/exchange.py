"""One exchange with a platform: reserve room, check the lease and the budget, fetch, blank secrets, publish.

Every call about figures goes through here, whoever asks and with whichever token. What its answer leads to is decided
elsewhere (`decide.py`). Nothing is asked without room to publish the answer; nothing is published with a secret that is
held.

Guarantee: at most one process asks for a channel. The lease is checked after room was waited for, and nothing is
awaited between that check and the call.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from schemas.events import Origin, PlatformRaw, RawTarget
from services.platforms.abilities import LimitsByWindow, has
from services.platforms.base import Call, LimitState, Platform, Verdict
from services.platforms.json_reading import Parsed
from services.poller.asking.access import Access
from services.poller.asking.budget import Budget, WindowKey
from services.poller.asking.cut_waits import CutWaits
from services.poller.asking.fetch import Fetcher, Reply
from services.poller.asking.identifiers import EventIds
from services.poller.asking.money import Ledger
from services.poller.asking.questions import Question
from services.poller.connections.redact import Redactor
from services.poller.errors import AnswerTooLarge, NoAnswer, NotSent
from services.poller.keys import ChannelKey
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import Ownership, alone
from services.poller.schedule.plan import Plan
from services.poller.timing import Time
from services.runtime.logging import get_logger
from services.runtime.tracing import NO_SPAN, UNTRACED, Kind, Span, Tracer, Value

_log = get_logger(__name__)
# An answer about 100 posts has 55 kB. A hostile one parses to 24 times its size, which is held while Kafka is away.
_MOST_PARSED_BYTES = 128 * 1024


class Publisher(Protocol):
    """Where answers go; see `services.poller.publisher.KafkaPublisher`."""

    async def reserve(self) -> None:
        """Wait until one more answer can be held."""

    def release(self) -> None:
        """Give back what `reserve` took."""

    async def publish(self, event: PlatformRaw, within: Span = NO_SPAN) -> None:
        """Hand over one raw answer, for which room was reserved, as a part of a call's trace."""


class Answer(NamedTuple):
    """A platform's answer, published.

    Attributes:
        verdict: what it means.
        events: as published; one a channel that was asked for.
        at: when it was received, ms.
        headers: with lower-case names.
        parsed: what was read of it so far; whoever reads on does so within it.
    """

    verdict: Verdict
    events: Sequence[PlatformRaw]
    at: int
    headers: Mapping[str, str]
    parsed: Parsed


class Lost(NamedTuple):
    """Nothing was asked: some channels may not be asked for by this process now."""

    channels: frozenset[ChannelKey]


class Closed(NamedTuple):
    """Nothing was asked: the budget allows no call until then (ms).

    Attributes:
        is_spent: it is the month's budget of money that is spent.
    """

    until: int
    is_spent: bool = False


class Exchange:
    """Makes calls to platforms; holds no state of its own beyond what it is given.

    Args:
        platforms: those that can be asked, by name.
        ownership: for whom may be asked; by default everybody.
        ledgers: the books of the platforms that bill for what is read; by default there are none.
        tracer: traces calls; by default none.
    """

    def __init__(
        self,
        *,
        time: Time,
        platforms: Mapping[str, Platform],
        fetcher: Fetcher,
        publisher: Publisher,
        budget: Budget,
        metrics: PollerMetrics,
        ownership: Ownership | None = None,
        ledgers: Mapping[str, Ledger] | None = None,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._time = time
        self._tracer = tracer
        self._ledgers = ledgers or {}
        self._platforms = platforms
        self._fetcher = fetcher
        self._publisher = publisher
        self._budget = budget
        self._metrics = metrics
        self._ownership = ownership or alone()
        self._ids = EventIds()
        self._waits = CutWaits()

    async def make(
        self, name: str, question: Question, access: Access, origin: Origin, *, is_probe: bool = False
    ) -> Answer | Lost | Closed:
        """Ask a platform, and publish what it answers, whatever the status.

        Args:
            is_probe: ask also for channels that are not polled.

        Raises:
            NoAnswer: nothing came that could be published (or, where it is cut up, not all of it).
        """
        await self._publisher.reserve()
        is_reserved = True
        try:
            # Waiting for room, or frozen, channels may have become another process's. From here to the call nothing is
            # awaited.
            lost = [plan.key for plan in question.plans if not self._may_ask(plan, is_probe=is_probe)]
            if lost:
                return Lost(frozenset(lost))
            now, key = self._time.now(), access.window(name, question.call.limit_group)
            free_at = self._budget.wait_until(key, now)
            if free_at > now:
                return Closed(free_at)
            ledger = self._ledgers.get(name)
            if ledger is not None and (spent_until := ledger.closed_until(question.call, now)):
                return Closed(spent_until, is_spent=True)
            span = self._begin(name, question, access, origin) if self._tracer.is_on else NO_SPAN
            with span:
                reply = await self._fetch(name, question.call, access, key, ledger)
                _note_status(span, reply.status)
            now = self._time.now()
            for state in self._states(name, reply, now):
                self._budget.observe(key, self._waits.state(name, state, now), now)
            parsed = Parsed(_MOST_PARSED_BYTES)
            with parsed:
                events = self._events(name, question, access, reply, origin, now)
                if ledger is not None:
                    for event in events:
                        ledger.book(event, now)
            for event in events:
                if not is_reserved:
                    await self._publisher.reserve()
                    is_reserved = True
                await self._publisher.publish(event, span)
                is_reserved = False
            with parsed:
                body = access.redactor.body(reply.body)
                told = self._platforms[name].classify(reply.status, reply.headers, body, now)
            verdict = self._waits.verdict(name, told, now)
            self._metrics.calls.labels(name, question.call.kind, verdict.outcome.value).inc()
            return Answer(verdict, events, now, reply.headers, parsed)
        except NoAnswer as error:
            self._note(name, question, error)
            raise
        finally:
            if is_reserved:
                self._publisher.release()

    def _begin(self, name: str, question: Question, access: Access, origin: Origin) -> Span:
        """The span of a call: never its path, query, headers or body, which may hold a secret or a person's id."""
        call = question.call
        shape = call.shape or call.kind
        span = self._tracer.begin(f"{call.method} {name} {shape}", Kind.CLIENT)
        if not span.is_recorded:
            return span
        default = access.origin or self._platforms[name].facts.base_url
        attributes: dict[str, Value] = {
            "http.request.method": call.method,
            "server.address": urlsplit(self._fetcher.origin(name, call, default)).hostname or "",
            "tidemark.platform": name,
            "tidemark.kind": call.kind,
            "tidemark.shape": shape,
            "tidemark.origin": origin.value,
            "tidemark.targets": len(call.targets),
            "tidemark.channels": len(question.plans),
        }
        if len(question.plans) == 1:
            attributes["tidemark.workspace_id"], attributes["tidemark.channel_id"] = question.plans[0].key
        span.note(attributes)
        return span

    def _states(self, name: str, reply: Reply, now: int) -> Sequence[LimitState]:
        """The limits that an answer's headers tell of."""
        platform = self._platforms[name]
        if has(platform, LimitsByWindow):
            return platform.all_limits(reply.headers, now)
        state = platform.limits(reply.headers, now)
        return [] if state is None else [state]

    def _may_ask(self, plan: Plan, *, is_probe: bool) -> bool:
        return (plan.is_polled or is_probe) and self._ownership.may_ask(plan.key[0])

    async def _fetch(self, name: str, call: Call, access: Access, key: WindowKey, ledger: Ledger | None) -> Reply:
        cost = 0 if ledger is None else ledger.begin(call, self._time.now())
        self._budget.begin(key, self._time.now())
        started = time.perf_counter()
        origin = access.origin or self._platforms[name].facts.base_url
        # Only what is sent holds the proof: events are made of the question's own call.
        sent = replace(call, query=(*call.query, *access.proof)) if access.proof else call
        try:
            reply = await self._fetcher.fetch(name, sent, origin, access.headers)
        finally:
            self._budget.end(key)
            if ledger is not None:
                ledger.end(cost)
            self._metrics.call_seconds.labels(name).observe(time.perf_counter() - started)
        self._metrics.answer_bytes.labels(name).inc(len(reply.body))
        return reply

    def _events(
        self, name: str, question: Question, access: Access, reply: Reply, origin: Origin, now: int
    ) -> list[PlatformRaw]:
        """One event for each channel that was asked for, with every secret blanked."""
        return [
            raw_event(
                self._ids.next(now),
                part.channel,
                name,
                part.call,
                status=reply.status,
                body=part.body,
                captured_at=now,
                origin=origin,
                redactor=access.redactor,
            )
            for part in question.parts(reply.body)
        ]

    def _note(self, name: str, question: Question, error: NoAnswer) -> None:
        """Count and log why no answer was published."""
        call = question.call
        self._metrics.calls.labels(name, call.kind, error.code).inc()
        if isinstance(error, NotSent):
            channels = [plan.key for plan in question.plans]
            _log.error("a call can't be made", platform=name, channels=channels, error=str(error))
        elif not isinstance(error, AnswerTooLarge):
            _log.info("no answer", platform=name, endpoint=call.path, error=str(error))
        elif len(question.subjects) < 2:
            _log.error("an answer is too large even for one target", platform=name, endpoint=call.path)


def _note_status(span: Span, status: int) -> None:
    span.note({"http.response.status_code": status})
    if status >= 400:
        span.fail(str(status))


def raw_event(
    event_id: str,
    key: ChannelKey,
    platform: str,
    call: Call,
    *,
    status: int,
    body: bytes,
    captured_at: int,
    origin: Origin,
    redactor: Redactor,
) -> PlatformRaw:
    """The event of one answer, with every secret blanked.

    Args:
        call: it names only targets of this channel.
        captured_at: ms.
    """
    return PlatformRaw(
        event_id=event_id,
        workspace_id=key[0],
        channel_id=key[1],
        platform=platform,
        kind=call.kind,
        endpoint=redactor.text(call.path),
        request=redactor.texts(call.request_map()),
        targets=tuple([RawTarget(t.target_id, t.post_id, t.external_id) for t in call.targets]),
        http_status=status,
        body=redactor.body(body),
        captured_at=captured_at,
        origin=origin,
    )
