"""Backfills at the owner of their workspace: what nobody waits for, asked when nothing else is due.

In: requests of origin BACKFILL that were taken (`intake.py`). Out: on `poller.replies` that a request is being done,
then each answer without its body, then that it is done, or why something is left; and every answer on `platform.raw`,
like any poll's, with origin BACKFILL.

Scheduled polls come first twice: a call is made only while nothing is due on its platform, and only while the budgets
hold more than what scheduled polls may need at once. The schedule does not change by what is answered here.

Guarantee: at most once a request; whoever sends them (`backfill_run.py`) knows what was answered and repeats the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from schemas.codec import Codec
from schemas.events import ChannelStatus, Origin, PlatformRaw, PollerReply, PollerRequest, PullKind, ReplyKind
from services.platforms.base import Call, Platform, Target
from services.poller.asking.channel_rounds import ChannelRounds
from services.poller.asking.questions import CHANNEL
from services.poller.catalog import Catalog
from services.poller.keys import ChannelKey
from services.poller.partitions.ownership import Ownership
from services.poller.requests.backfill_plan import account_calls
from services.poller.requests.intake import Replies, target_of
from services.poller.schedule.batch import Fate, Settled
from services.poller.schedule.plan import Plan
from services.poller.schedule.schedule import Schedule
from services.poller.timing import Time
from services.runtime.logging import get_logger

# Requests of one platform at a time.
CONCURRENCY = 2
# How soon to look again whether something is due, or a platform has recovered, ms.
LOOK = 250
LOOK_AFTER_REFUSAL = 1_000
# Why something is left, in `PollerReply.error_code`.
LATER = "later"
INACTIVE = "inactive"
_UNSETTLED = frozenset({Fate.RETRY, Fate.DEFERRED})
_log = get_logger(__name__)


class Backfill:
    """Does requests of backfills; see `intake.Server`.

    Args:
        codec: of `platform.raw`.
    """

    # Those that wait for a place included.
    most_requests = 100

    def __init__(
        self,
        *,
        time: Time,
        platforms: Mapping[str, Platform],
        schedule: Schedule,
        catalog: Catalog,
        rounds: ChannelRounds,
        replies: Replies,
        codec: Codec[Any],
        ownership: Ownership,
    ) -> None:
        self._time = time
        self._platforms = platforms
        self._schedule = schedule
        self._catalog = catalog
        self._rounds = rounds
        self._replies = replies
        self._codec = codec
        self._ownership = ownership
        self._places = {name: asyncio.Semaphore(CONCURRENCY) for name in platforms}

    async def serve(self, request: PollerRequest) -> None:
        """Do one request, and reply."""
        await self._reply(request, ReplyKind.ACK)
        try:
            left = await self._do(request)
        except Exception:
            # A mistake in one platform's file must cost the backfill these figures, and nobody else anything.
            _log.exception("a part of a backfill failed", workspace=request.workspace_id, kind=request.kind)
            left = None
        await self._reply(request, ReplyKind.DONE, error_code=left)

    async def _do(self, request: PollerRequest) -> str | None:
        asked: dict[str, list[Target]] = {}
        if request.kind == PullKind.ACCOUNT:
            asked[request.channel_id] = []
        for target in request.targets:
            asked.setdefault(target.channel_id, []).append(target_of(target))
        left = [await self._channel(request, (request.workspace_id, name), own) for name, own in asked.items()]
        return next((why for why in left if why is not None), None)

    async def _channel(self, request: PollerRequest, key: ChannelKey, targets: Sequence[Target]) -> str | None:
        """Ask for what a request wants of one channel; returns why something is left, None when nothing is."""
        event = self._catalog.channels.get(key)
        if event is None or event.status != ChannelStatus.ACTIVE or event.platform not in self._platforms:
            return INACTIVE
        name, events = event.platform, _Events()
        async with self._places[name]:
            teller = asyncio.create_task(self._tell(request, events))
            try:
                return await self._ask(request, name, key, targets, events)
            finally:
                events.close()
                await teller

    async def _ask(
        self, request: PollerRequest, name: str, key: ChannelKey, targets: Sequence[Target], events: _Events
    ) -> str | None:
        platform, own_left = self._platforms[name], not targets
        asked_calls = 0
        while targets or own_left:
            plan, now = self._schedule.plans.get(key), self._time.now()
            if plan is None or plan.channel is None or not plan.is_polled:
                return INACTIVE
            if targets:
                calls = platform.post_calls(plan.channel, targets, now)
            else:
                calls = account_calls(platform, plan.channel, request.as_of or now, now)[asked_calls:][:1]
                if not calls:
                    return None
            at = self._ready_at(name, key, calls, now)
            if at <= now:
                fates = await self._make(name, plan, calls, events)
                at = self._time.now() + LOOK_AFTER_REFUSAL
                if targets:
                    # What a platform has no call for is never answered.
                    asked = {target.target_id for call in calls for target in call.targets}
                    targets = [t for t in targets if t.target_id in asked and _is_left(fates.get(t.target_id))]
                elif not _is_left(fates.get(CHANNEL)):
                    asked_calls += 1
                    continue
                if not targets and not own_left:
                    return None
                at = max([at, *(settled.at for settled in fates.values() if settled.fate is Fate.RETRY)])
            if at >= request.deadline_at:
                return LATER
            await self._time.wait(asyncio.Event(), at)
        return None

    async def _make(self, name: str, plan: Plan, calls: Sequence[Call], events: _Events) -> Mapping[str, Settled]:
        with self._ownership.working(plan.key[0]):
            pulled = await self._rounds.pull(name, plan, calls, events.hear, origin=Origin.BACKFILL)
        return pulled.fates

    def _ready_at(self, name: str, key: ChannelKey, calls: Sequence[Call], now: int) -> int:
        """When to ask (ms): at once, or when to look again."""
        due_at = self._schedule.lanes[name].next_due_at()
        is_busy = due_at is not None and due_at <= now
        if is_busy or not self._ownership.may_ask(key[0]):
            return now + LOOK
        closed_until = self._rounds.closed_until(name, now)
        if closed_until > now:
            return closed_until
        return now if self._rounds.has_to_spare(name, key, calls, now) else now + LOOK_AFTER_REFUSAL

    async def _tell(self, request: PollerRequest, events: _Events) -> None:
        while (event := await events.next()) is not None:
            await self._reply(request, ReplyKind.ANSWER, event=self._codec.encode(replace(event, body=b"")))

    async def _reply(
        self, request: PollerRequest, kind: ReplyKind, *, event: bytes | None = None, error_code: str | None = None
    ) -> None:
        reply = PollerReply(request.request_id, request.workspace_id, kind, event, error_code=error_code)
        await self._replies.reply(request.reply_to, reply)


class _Events:
    """Answers on their way to whoever asked."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[PlatformRaw | None] = asyncio.Queue()

    def hear(self, event: PlatformRaw) -> None:
        self._queue.put_nowait(event)

    def close(self) -> None:
        self._queue.put_nowait(None)

    async def next(self) -> PlatformRaw | None:
        return await self._queue.get()


def _is_left(settled: Settled | None) -> bool:
    """Whether something has to be asked for again: nothing became of it yet."""
    return settled is None or settled.fate in _UNSETTLED
