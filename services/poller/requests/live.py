"""Live pulls and probes: what somebody waits for, asked at once by the same path as scheduled polls.

In: requests that were taken (`intake.py`). Out: on `poller.replies` at once that a request is being done, then each
answer as it comes, then that it is done; and every answer on `platform.raw`, like any poll's, with origin LIVE.

One flight per target (and per channel's own figures, and per probe), however many ask: whoever asks while it is under
way shares it, and so does whoever had asked before its answers were captured. A flight goes on when nobody waits for it
any more, since its answers are published either way.

Guarantee: at most once. A request that is lost gets no reply, and whoever waits falls back to the last snapshot.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from schemas.codec import Codec
from schemas.events import (
    CatalogChannel,
    ChannelStatus,
    PlatformRaw,
    PollerReply,
    PollerRequest,
    PullKind,
    PullTarget,
    ReplyKind,
)
from services.platforms.base import Call, Outcome, Platform, Target, Verdict
from services.poller.asking.channel_rounds import ChannelRounds
from services.poller.asking.round import Heard
from services.poller.asking.upkeep import Upkeep
from services.poller.catalog import Catalog
from services.poller.keys import ChannelKey
from services.poller.partitions.ownership import Ownership, alone
from services.poller.requests.intake import Replies, target_of
from services.poller.schedule.plan import Plan
from services.poller.schedule.schedule import Schedule
from services.poller.timing import Time
from services.runtime.logging import get_logger

# Flights of one platform at a time: live pulls must not take all of what scheduled polls need.
CONCURRENCY = 16
# How long an answer serves requests that were on their way when it was captured, ms; and how many are kept.
SHARED_FOR = 5_000
MOST_RECENT = 10_000
_log = get_logger(__name__)

ERROR_CODES: Mapping[Outcome, str] = {
    Outcome.TOKEN_EXPIRED: "token_expired",
    Outcome.TOKEN_REVOKED: "token_revoked",
    Outcome.PERMISSION_MISSING: "permission_missing",
    Outcome.METRIC_FORBIDDEN: "permission_missing",
    Outcome.RETRY_LATER: "rate_limited",
    Outcome.QUOTA_EXHAUSTED: "quota_exhausted",
    Outcome.PLATFORM_DOWN: "platform_unavailable",
    Outcome.REQUEST_WRONG: "platform_unavailable",
    Outcome.ACCOUNT_DISABLED: "account_disabled",
    Outcome.TARGET_GONE: "account_disabled",
    Outcome.TARGET_REFUSED: "account_disabled",
}
"""Why a connection doesn't work, by what the identity call's answer meant; any other means that it does."""

ERROR_OF_STATUS: Mapping[str, str] = {
    ChannelStatus.TOKEN_EXPIRED: "token_expired",
    ChannelStatus.REVOKED: "token_revoked",
    ChannelStatus.DISABLED: "account_disabled",
}
"""Why a channel is not polled, by its status: whatever the platform answers, its connection is not healthy then."""

_UNASKED = frozenset({ChannelStatus.DISABLED, ChannelStatus.REVOKED})

FlightKey = tuple[str, str, str]
"""Kind, workspace and the id of the target or channel."""


class Flight:
    """One pull under way: what it has heard so far, and who hears the rest.

    Args:
        begun_at: ms.
    """

    def __init__(self, begun_at: int) -> None:
        self.begun_at = begun_at
        self.events: list[PlatformRaw] = []
        self.verdict: Verdict | None = None
        self.task: asyncio.Task[None] | None = None
        self._listeners: list[Heard] = []

    def hear(self, event: PlatformRaw) -> None:
        """Keep an answer that came, and tell the listeners of it."""
        self.events.append(event)
        for listener in self._listeners:
            listener(event)

    def listen(self, listener: Heard) -> None:
        """Hear what was said so far, and the rest."""
        for event in self.events:
            listener(event)
        self._listeners.append(listener)

    def serves(self, requested_at: int) -> bool:
        """Whether someone who asked at an instant (ms) may have its answers: under way, or captured after it."""
        if self.task is not None and not self.task.done():
            return True
        return bool(self.events) and min(event.captured_at for event in self.events) >= requested_at


class Probe(NamedTuple):
    """What a probe found; see `PollerReply`."""

    is_live: bool
    status: str | None
    error_code: str | None
    token_expires_at: int | None


class Live:
    """Does live requests; see `intake.Server`.

    Args:
        codec: of `platform.raw`.
        ownership: whose requests are this process's; by default everybody's.
    """

    most_requests = 2_000

    def __init__(
        self,
        *,
        time: Time,
        platforms: Mapping[str, Platform],
        schedule: Schedule,
        catalog: Catalog,
        rounds: ChannelRounds,
        upkeep: Upkeep,
        replies: Replies,
        codec: Codec[Any],
        ownership: Ownership | None = None,
    ) -> None:
        self._time = time
        self._platforms = platforms
        self._schedule = schedule
        self._catalog = catalog
        self._rounds = rounds
        self._upkeep = upkeep
        self._replies = replies
        self._codec = codec
        self._ownership = ownership or alone()
        self._flights: OrderedDict[FlightKey, Flight] = OrderedDict()
        self._flying: set[asyncio.Task[None]] = set()
        self._places = {name: asyncio.Semaphore(CONCURRENCY) for name in platforms}

    async def serve(self, request: PollerRequest) -> None:
        """Do one request, and reply."""
        await self._reply(request, PollerReply(request.request_id, request.workspace_id, ReplyKind.ACK))
        flights = self._flights_of(request)
        heard: asyncio.Queue[PlatformRaw | None] = asyncio.Queue()
        for flight in flights:
            flight.listen(heard.put_nowait)
        landed = asyncio.gather(*(_landing(flight) for flight in flights))
        landed.add_done_callback(lambda _: heard.put_nowait(None))
        while (event := await heard.get()) is not None:
            if request.kind != PullKind.HEALTH:
                await self._reply(
                    request,
                    PollerReply(request.request_id, request.workspace_id, ReplyKind.ANSWER, self._codec.encode(event)),
                )
        done = PollerReply(request.request_id, request.workspace_id, ReplyKind.DONE)
        if request.kind == PullKind.HEALTH:
            key = (request.workspace_id, request.channel_id)
            found = self._probed(key, flights[0].verdict if flights else None)
            done = PollerReply(request.request_id, request.workspace_id, ReplyKind.DONE, None, *found)
        await self._reply(request, done)

    async def _reply(self, request: PollerRequest, reply: PollerReply) -> None:
        await self._replies.reply(request.reply_to, reply)

    def _flights_of(self, request: PollerRequest) -> list[Flight]:
        """The flights that serve a request: those under way, and new ones for the rest."""
        workspace_id = request.workspace_id
        if request.kind == PullKind.TARGETS:
            return self._target_flights(request)
        channel, flight_key = (workspace_id, request.channel_id), (request.kind, workspace_id, request.channel_id)
        found = self._join(flight_key, request.requested_at)
        if found is not None:
            return [found]
        is_probe = request.kind == PullKind.HEALTH
        calls = self._identity_calls if is_probe else self._account_calls
        return [self._take_off([flight_key], channel, calls, is_probe=is_probe)]

    def _target_flights(self, request: PollerRequest) -> list[Flight]:
        flights: dict[int, Flight] = {}
        # By their ids: whoever asks may list a target twice, and an event names each target once.
        rest: dict[str, dict[str, PullTarget]] = {}
        for target in request.targets:
            found = self._join((request.kind, request.workspace_id, target.target_id), request.requested_at)
            if found is not None:
                flights[id(found)] = found
            else:
                rest.setdefault(target.channel_id, {})[target.target_id] = target
        for channel_id, targets in rest.items():
            flight = self._take_off(
                [(request.kind, request.workspace_id, target_id) for target_id in targets],
                (request.workspace_id, channel_id),
                partial(self._target_calls, [target_of(target) for target in targets.values()]),
            )
            flights[id(flight)] = flight
        return list(flights.values())

    def _join(self, key: FlightKey, requested_at: int) -> Flight | None:
        flight = self._flights.get(key)
        return flight if flight is not None and flight.serves(requested_at) else None

    def _take_off(
        self,
        keys: Iterable[FlightKey],
        channel: ChannelKey,
        calls: Callable[[Platform, Plan], list[Call]],
        *,
        is_probe: bool = False,
    ) -> Flight:
        self._forget()
        flight = Flight(self._time.now())
        flight.task = asyncio.create_task(self._fly(flight, channel, calls, is_probe=is_probe))
        # Held here, so that it lands also when its request has gone.
        self._flying.add(flight.task)
        flight.task.add_done_callback(self._flying.discard)
        for key in keys:
            self._flights[key] = flight
            self._flights.move_to_end(key)
        return flight

    async def _fly(
        self, flight: Flight, key: ChannelKey, calls: Callable[[Platform, Plan], list[Call]], *, is_probe: bool
    ) -> None:
        event, plan = self._catalog.channels.get(key), self._schedule.plans.get(key)
        if event is None or plan is None or event.platform not in self._platforms or not _may_ask(event, is_probe):
            return
        name = event.platform
        try:
            async with self._places[name]:
                asked = calls(self._platforms[name], plan)
                with self._ownership.working(key[0]):
                    pulled = await self._rounds.pull(name, plan, asked, flight.hear, is_probe=is_probe)
                flight.verdict = pulled.verdict
        except Exception:
            # A mistake in one platform's file must cost its asker the live numbers, and nobody else anything.
            _log.exception("a live pull failed", platform=name, channel=key)

    def _target_calls(self, targets: list[Target], platform: Platform, plan: Plan) -> list[Call]:
        return platform.post_calls(plan.channel, targets, self._time.now()) if plan.channel is not None else []

    def _account_calls(self, platform: Platform, plan: Plan) -> list[Call]:
        return platform.channel_calls(plan.channel, self._time.now()) if plan.channel is not None else []

    def _identity_calls(self, platform: Platform, plan: Plan) -> list[Call]:
        return [platform.identity_call(plan.channel)] if plan.channel is not None else []

    def _probed(self, key: ChannelKey, verdict: Verdict | None) -> Probe:
        channel = self._catalog.channels.get(key)
        if channel is None:
            return Probe(False, None, None, None)
        error_code = ERROR_CODES.get(verdict.outcome) if verdict is not None else None
        error_code = (
            error_code or ERROR_OF_STATUS.get(channel.status) or self._upkeep.unavailable(channel.platform, key)
        )
        return Probe(verdict is not None, channel.status, error_code, channel.token_expires_at)

    def _forget(self) -> None:
        """Drop flights that landed a while ago, the oldest first."""
        until = self._time.now() - SHARED_FOR
        while self._flights:
            key, flight = next(iter(self._flights.items()))
            is_over = flight.task is not None and flight.task.done()
            if not is_over or (flight.begun_at > until and len(self._flights) < MOST_RECENT):
                return
            del self._flights[key]

    async def close(self) -> None:
        """Cancel flights under way."""
        flying = list(self._flying)
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)


def _may_ask(channel: CatalogChannel, is_probe: bool) -> bool:
    if is_probe:
        return ChannelStatus(channel.status) not in _UNASKED
    return channel.status == ChannelStatus.ACTIVE


async def _landing(flight: Flight) -> None:
    if flight.task is not None:
        # Not awaited itself: one asker that goes must not cancel it for the others.
        await asyncio.wait((flight.task,))
