"""Which target of which channel is due when; pure state, no clock, no tasks.

The catalog adds and drops entries and says how channels stand; the loop takes work from a platform's lane and settles
it with what became of it. A channel's entries lie in a heap by due time, channels in their lane's heap by their
earliest entry. Entries are small (one object and three texts), because there is one for each published post.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeVar

from schemas.events import CatalogChannel, CatalogTarget
from schemas.tiers import CHANNEL_INTERVAL, COMMON, RIDE_ALONG_SHARE, Rule, next_due, rule_of, spread
from services.platforms.base import Channel, Target

# A new target waits this long for others of its batch; also covers a channel arriving just before its token.
DEBOUNCE = 300
# Times that a platform may say that a target is gone before it is believed.
GONE_LIMIT = 3
DEFAULT_BATCH_SIZE = 50

ChannelKey = tuple[str, str]
"""workspace_id and channel_id."""

Item = TypeVar("Item")


class Fate(Enum):
    """What became of one target, or of the channel's own figures, in a round of work."""

    CAPTURED = "captured"  # answered
    SKIPPED = "skipped"  # no figures, and asking sooner than the regular time won't help
    RETRY = "retry"  # not asked, or no answer; due again at `at`
    GONE = "gone"  # the platform says that it is not there
    NEVER = "never"  # the platform will never have figures


class Settled(NamedTuple):
    """A fate, with the instant (ms) of the next try for RETRY."""

    fate: Fate
    at: int = 0


class Entry:
    """One target to poll."""

    __slots__ = (
        "dropped", "due_at", "external_id", "gone_count", "is_story", "plan", "post_id", "post_type", "published_at",
        "target_id",
    )  # fmt: skip

    def __init__(self, plan: Plan, post_id: str, target: CatalogTarget, published_at: int, due_at: int) -> None:
        self.plan = plan
        self.post_id = post_id
        self.target_id = target.target_id
        self.external_id = target.external_id
        self.post_type = sys.intern(target.post_type)
        self.is_story = target.is_story
        self.published_at = published_at
        self.due_at = due_at
        self.gone_count = 0
        self.dropped = False

    def __lt__(self, other: Entry) -> bool:
        return self.due_at < other.due_at

    def target(self) -> Target:
        """The target as platforms know it."""
        return Target(self.target_id, self.post_id, self.external_id, self.post_type, self.published_at, self.is_story)

    def same_as(self, target: CatalogTarget, published_at: int) -> bool:
        """Whether the catalog still says of the target what it said before, so that nothing has to be asked anew."""
        return (
            self.target_id == target.target_id
            and self.plan.key[1] == target.channel_id
            and self.external_id == target.external_id
            and self.published_at == published_at
            and self.post_type == target.post_type
            and self.is_story == target.is_story
        )


class Plan:
    """One channel's entries, and whether and when it is asked.

    Attributes:
        channel: None until the catalog brings it, and after its deletion.
        paused: its token no longer works, or its account is disabled.
        in_flight: rounds of work taken and not settled.
        failures: rounds in a row that ended without an answer.
    """

    __slots__ = (
        "active", "asked", "channel", "channel_due_at", "channel_in_flight", "failures", "heap", "in_flight", "key",
        "lane", "paused", "rule", "ticket", "wake_at",
    )  # fmt: skip

    def __init__(self, key: ChannelKey) -> None:
        self.key = key
        self.lane: Lane | None = None
        self.rule: Rule = COMMON
        self.channel: Channel | None = None
        self.active = False
        self.paused = False
        self.heap: list[Entry] = []
        self.asked: set[Entry] = set()
        self.channel_due_at = 0
        self.channel_in_flight = False
        self.in_flight = 0
        self.failures = 0
        self.ticket = 0
        self.wake_at = 0

    def next_due(self) -> int | None:
        """The earliest due time, None when nothing of it may be asked."""
        if not self.active or self.paused:
            return None
        while self.heap and self.heap[0].dropped:
            heapq.heappop(self.heap)
        due_at = None if self.channel_in_flight else self.channel_due_at
        if self.heap and (due_at is None or self.heap[0].due_at < due_at):
            due_at = self.heap[0].due_at
        return due_at

    def oldest_polled(self) -> tuple[int, str] | None:
        """The last of the newest posts that the rule allows, as (published_at, target_id); None for no limit."""
        newest = self.rule.newest
        if newest is None or len(self.heap) + len(self.asked) <= newest:
            return None
        held = [(entry.published_at, entry.target_id) for entry in self._live()]
        return heapq.nlargest(newest, held)[-1] if len(held) > newest else None

    def _live(self) -> Iterator[Entry]:
        yield from (entry for entry in self.heap if not entry.dropped)
        yield from (entry for entry in self.asked if not entry.dropped)


@dataclass(slots=True)
class Work:
    """One round: targets of one channel that go together, and whether its own figures are asked for too."""

    plan: Plan
    channel: Channel
    entries: list[Entry]
    with_channel: bool
    late_by: int


class Due(NamedTuple):
    """How many targets are due, how many of them overdue, and for how long (ms) the oldest has been due."""

    targets: int
    overdue: int
    oldest: int


class Lane:
    """One platform's channels by their next due time.

    Attributes:
        on_sooner: called when something became due sooner than before; the loop wakes by it.
    """

    def __init__(self, platform: str, batch_size: int, channel_concurrency: int) -> None:
        self.platform = platform
        self.batch_size = batch_size
        self.channel_concurrency = channel_concurrency
        self.on_sooner: Callable[[], None] = _nothing
        self._heap: list[tuple[int, int, Plan]] = []
        self._tickets = 0

    def queue(self, plan: Plan) -> None:
        """Place a channel by its next due time; an earlier place that it has already is as good."""
        due_at = plan.next_due()
        if due_at is None or plan.in_flight >= self.channel_concurrency:
            return
        if plan.ticket and plan.wake_at <= due_at:
            return
        self._tickets += 1
        plan.ticket, plan.wake_at = self._tickets, due_at
        sooner = not self._heap or due_at < self._heap[0][0]
        heapq.heappush(self._heap, (due_at, self._tickets, plan))
        if sooner:
            self.on_sooner()

    def next_due_at(self) -> int | None:
        """When to look again, None when nothing is waiting."""
        return self._heap[0][0] if self._heap else None

    def pop(self, now: int) -> Plan | None:
        """The channel that has waited longest and may be asked now."""
        while self._heap and self._heap[0][0] <= now:
            _, ticket, plan = heapq.heappop(self._heap)
            if plan.ticket != ticket or plan.lane is not self:
                continue
            plan.ticket = 0
            due_at = plan.next_due()
            if due_at is None:
                continue
            if due_at > now:
                self.queue(plan)
                continue
            if plan.in_flight < self.channel_concurrency:
                return plan
        return None

    def due(self, now: int, grace: int = 0) -> Due:
        """What is due; visits nothing else.

        Args:
            grace: ms for which something may be due without being overdue.
        """
        found = late = 0
        oldest = now
        for _, ticket, plan in _up_to(self._heap, lambda item: item[0] <= now):
            if plan.ticket != ticket or plan.lane is not self:
                continue
            for entry in _up_to(plan.heap, lambda item: item.due_at <= now):
                if not entry.dropped:
                    found += 1
                    late += entry.due_at < now - grace
                    oldest = min(oldest, entry.due_at)
        return Due(found, late, now - oldest)


class Schedule:
    """All lanes and channels.

    Args:
        batch_sizes: most targets in one request, by platform; what is not in it is not polled.
        speed: divides every interval.
        forget: called with an entry that will never be due again, so that whoever refers to it may let it go.
    """

    def __init__(
        self,
        batch_sizes: Mapping[str, int],
        *,
        speed: float = 1.0,
        channel_concurrency: int = 4,
        forget: Callable[[Entry], None] | None = None,
    ) -> None:
        self.lanes = {name: Lane(name, size, channel_concurrency) for name, size in batch_sizes.items()}
        self.plans: dict[ChannelKey, Plan] = {}
        self.speed = speed
        self.forget: Callable[[Entry], None] = forget or _nothing_of

    def plan(self, key: ChannelKey) -> Plan:
        """A channel's plan, made when there is none yet: its posts may arrive before it."""
        plan = self.plans.get(key)
        if plan is None:
            plan = self.plans[key] = Plan(key)
        return plan

    def connect(self, key: ChannelKey, event: CatalogChannel | None, *, active: bool, now: int) -> None:
        """What the catalog says of a channel; None for its deletion. A channel that becomes active is due at once."""
        plan = self.plan(key)
        if event is None:
            plan.channel, plan.active = None, False
            if not plan.heap and not plan.asked:
                del self.plans[key]
            return
        lane = self.lanes.get(event.platform)
        fresh = active and (not plan.active or plan.lane is not lane)
        plan.channel = Channel(event.workspace_id, event.channel_id, event.external_id, event.username)
        if plan.lane is not lane:
            plan.lane, plan.ticket, plan.rule = lane, 0, rule_of(event.platform)
        plan.active = active and lane is not None
        if fresh:
            plan.failures = 0
            plan.channel_due_at = now + DEBOUNCE
            self.queue(plan)

    def add(self, plan: Plan, post_id: str, target: CatalogTarget, published_at: int, now: int) -> Entry | None:
        """A new target, due at once (or when it is out); None when it is too old to be polled at all."""
        if plan.rule.interval(now - published_at) is None:
            return None
        entry = Entry(plan, post_id, target, published_at, max(now, published_at) + DEBOUNCE)
        heapq.heappush(plan.heap, entry)
        self.queue(plan)
        return entry

    def drop(self, entry: Entry) -> None:
        """Never poll this target again; a call in flight ends as it likes."""
        entry.dropped = True

    def pause(self, plan: Plan) -> None:
        """Ask nothing more of a channel until `resume`."""
        plan.paused = True

    def resume(self, plan: Plan, now: int) -> None:
        """Ask a paused channel again; what became due meanwhile is due now."""
        if plan.paused:
            plan.paused = False
            plan.failures = 0
            plan.channel_due_at = min(plan.channel_due_at, now + DEBOUNCE)
            self.queue(plan)

    def queue(self, plan: Plan) -> None:
        """Place a channel in its lane."""
        if plan.lane is not None:
            plan.lane.queue(plan)

    def restore(self, entry: Entry, captured_at: int, *, or_later: bool = False) -> None:
        """While its channel is not active yet: this target was last captured then. `rebuild` after the last of these.

        Args:
            or_later: keep the due time that it has, where that is later.
        """
        due_at = self._next_due(entry, captured_at)
        if due_at is None:
            self._expire(entry)
        elif not or_later or due_at > entry.due_at:
            entry.due_at = due_at

    def restore_channel(self, key: ChannelKey, captured_at: int) -> None:
        """Before a channel's first `take`: its own figures were last captured then."""
        plan = self.plans.get(key)
        if plan is not None:
            plan.channel_due_at = captured_at + spread(CHANNEL_INTERVAL, "/".join(key), self.speed)

    def rebuild(self, keys: Iterable[ChannelKey] | None = None) -> None:
        """Put channels (None: all) in order after `restore`."""
        plans = self.plans.values() if keys is None else [self.plans[key] for key in keys if key in self.plans]
        for plan in plans:
            plan.heap = [entry for entry in plan.heap if not entry.dropped]
            heapq.heapify(plan.heap)
            plan.ticket = 0
            self.queue(plan)

    def discard(self, keys: Iterable[ChannelKey]) -> None:
        """Forget channels with all their targets, because another process asks for them; rounds in flight end."""
        for key in keys:
            plan = self.plans.pop(key, None)
            if plan is None:
                continue
            for entry in plan.heap:
                entry.dropped = True
            for entry in plan.asked:
                entry.dropped = True
            plan.active, plan.channel, plan.lane = False, None, None
            plan.heap.clear()

    def take(self, platform: str, now: int) -> Work | None:
        """The next round of work of a platform, None when nothing is due.

        Due targets come first, longest due first; then near-due ones of the same channel fill the batch. The round
        must be settled.
        """
        lane = self.lanes[platform]
        while (plan := lane.pop(now)) is not None:
            work = self._work(plan, lane.batch_size, now)
            if work is not None:
                plan.in_flight += 1
                plan.channel_in_flight = plan.channel_in_flight or work.with_channel
                plan.asked.update(work.entries)
                self.queue(plan)
                return work
            self.queue(plan)
        return None

    def settle(self, work: Work, fates: Sequence[Settled], channel_fate: Settled, now: int) -> None:
        """Put the targets of a round back by what became of them.

        Args:
            fates: one an entry of `work`, in its order.
            channel_fate: of the channel's own figures; ignored when they weren't asked for.
        """
        plan = work.plan
        plan.in_flight -= 1
        plan.asked.difference_update(work.entries)
        if work.with_channel:
            plan.channel_in_flight = False
            regular = now + spread(CHANNEL_INTERVAL, "/".join(plan.key), self.speed)
            plan.channel_due_at = channel_fate.at if channel_fate.fate is Fate.RETRY else regular
        for entry, settled in zip(work.entries, fates, strict=True):
            if not entry.dropped:
                self._put_back(entry, settled, now)
        self.queue(plan)

    def _put_back(self, entry: Entry, settled: Settled, now: int) -> None:
        due_at: int | None
        if settled.fate is Fate.RETRY:
            due_at = settled.at if entry.plan.rule.interval(settled.at - entry.published_at) is not None else None
        else:
            entry.gone_count = entry.gone_count + 1 if settled.fate is Fate.GONE else 0
            due_at = self._next_due(entry, now)
            if settled.fate is Fate.NEVER or entry.gone_count >= GONE_LIMIT:
                # Still in the catalog: an unchanged PUT of its post must not start it anew, so it is not forgotten.
                entry.dropped = True
                return
        if due_at is None:
            self._expire(entry)
            return
        entry.due_at = due_at
        heapq.heappush(entry.plan.heap, entry)

    def _expire(self, entry: Entry) -> None:
        entry.dropped = True
        self.forget(entry)

    def _next_due(self, entry: Entry, asked_at: int) -> int | None:
        return next_due(entry.plan.rule, entry.published_at, asked_at, entry.target_id, self.speed)

    def _work(self, plan: Plan, batch_size: int, now: int) -> Work | None:
        with_channel = not plan.channel_in_flight and plan.channel_due_at <= now
        oldest_due = plan.channel_due_at if with_channel else now
        batch: list[Entry] = []
        passed_over: list[Entry] = []
        limit = plan.oldest_polled()
        while plan.heap and len(batch) < batch_size:
            entry = plan.heap[0]
            if entry.dropped:
                heapq.heappop(plan.heap)
                continue
            if entry.due_at > now and not (batch and self._rides_along(entry, now)):
                break
            heapq.heappop(plan.heap)
            if plan.rule.interval(now - entry.published_at) is None:
                self._expire(entry)
            elif limit is not None and (entry.published_at, entry.target_id) < limit:
                passed_over.append(entry)
            else:
                oldest_due = min(oldest_due, entry.due_at)
                batch.append(entry)
        for entry in passed_over:
            self._put_back(entry, Settled(Fate.SKIPPED), now)
        if plan.channel is None or not (batch or with_channel):
            return None
        return Work(plan, plan.channel, batch, with_channel, now - oldest_due)

    def _rides_along(self, entry: Entry, now: int) -> bool:
        interval = entry.plan.rule.interval(now - entry.published_at)
        return interval is not None and entry.due_at - now <= interval * RIDE_ALONG_SHARE / self.speed


def _up_to(heap: Sequence[Item], within: Callable[[Item], bool]) -> Iterator[Item]:
    """Items of a heap that are within a bound, without visiting the others' children."""
    pending = [0] if heap else []
    while pending:
        position = pending.pop()
        if position < len(heap) and within(heap[position]):
            yield heap[position]
            pending.append(2 * position + 1)
            pending.append(2 * position + 2)


def _nothing() -> None:
    """Nobody waits yet."""


def _nothing_of(_: Entry) -> None:
    """Nobody else holds entries."""
