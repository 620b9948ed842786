"""One platform's channels by when they are due, and, among those that are, by whose turn it is; pure.

A channel waits in a heap by its earliest due time. Once that has come it stands in a fair queue: workspaces take
turns, and each puts forward its most urgent channel. So where a platform's budget doesn't suffice, every workspace
gets an equal part, and spends it on its youngest posts first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from schemas.tiers import JITTER_SHARE, JOIN_SHARE, RIDE_ALONG_SHARE, Rule
from services.poller.schedule.fairness import FairQueue
from services.poller.schedule.plan import MOST_TIERS, Plan, Spans, due_of, item_of, slot_of

# Of several that are due, the one is next whose due time and this many of its intervals are over first: young posts
# before old ones, and an old one after four days at most even where the budget never suffices for all.
PATIENCE = 4


class Due(NamedTuple):
    """What is due of a platform.

    Attributes:
        targets: how many targets are due.
        overdue: how many of them for longer than they may be.
        oldest: for how long (ms) the oldest has been due.
        stale: targets whose last snapshot is older than their tier's interval, also those that wait for another try.
        freshness: the age of the stalest of those snapshots in intervals of its tier; 0 when nothing is due.
    """

    targets: int
    overdue: int
    oldest: int
    stale: int = 0
    freshness: float = 0.0


class Lane:
    """One platform's channels.

    Args:
        batch_size: most targets in one request.
        channel_concurrency: batches of one channel at a time.

    Attributes:
        spans: how far from their due times its targets may be asked for.
        horizon: how long before it is due a target of the youngest tier may ride along, ms.
        plans: all of its channels.
        on_sooner: called when something became due sooner than before; the loop wakes by it.
    """

    def __init__(self, platform: str, rule: Rule, batch_size: int, channel_concurrency: int, speed: float) -> None:
        self.platform = platform
        self.speed = speed
        self.batch_size = batch_size
        self.channel_concurrency = channel_concurrency
        ride, join = RIDE_ALONG_SHARE / speed, JOIN_SHARE / speed
        self.spans = Spans(patience_of(rule, speed), _in_items(rule, ride), _in_items(rule, join))
        self.horizon = int(rule.tiers[0][1] * RIDE_ALONG_SHARE / speed)
        self.plans: set[Plan] = set()
        self.on_sooner: Callable[[], None] = _nothing
        self._waiting: list[tuple[int, int, Plan]] = []
        self._ready: FairQueue[Plan] = FairQueue()
        self._tickets = 0

    def queue(self, plan: Plan) -> None:
        """Place a channel by its next due time; an earlier place that it has already is as good."""
        due_at = plan.next_due()
        if due_at is None or plan.in_flight >= self.channel_concurrency:
            return
        self._wait(plan, due_at)

    def _wait(self, plan: Plan, due_at: int) -> None:
        if plan.ticket and plan.wake_at <= due_at:
            return
        self._tickets += 1
        plan.ticket, plan.wake_at = self._tickets, due_at
        sooner = not self._waiting or due_at < self._waiting[0][0]
        heapq.heappush(self._waiting, (due_at, self._tickets, plan))
        if sooner:
            self.on_sooner()

    def next_due_at(self) -> int | None:
        """When to look again, None when nothing is waiting; in the past while something stands among the due."""
        if len(self._ready):
            return 0
        return self._waiting[0][0] if self._waiting else None

    def pop(self, now: int, horizon: int | None = None) -> Plan | None:
        """The channel whose turn it is.

        Args:
            horizon: also channels that are due until then (ms), after all that are due now.
        """
        if not len(self._ready) and (alone := self._only_one(now)) is not None:
            return alone
        self._let_in(now)
        while (turn := self._ready.pop()) is not None:
            plan = turn.item
            if plan.rank != turn.rank or plan.platform != self.platform:
                continue
            plan.rank = None
            if plan.in_flight >= self.channel_concurrency:
                continue
            due_at = plan.next_due()
            if due_at is None:
                continue
            if due_at > now:
                self.queue(plan)
                continue
            return plan
        return None if horizon is None else self._soon(horizon)

    def charge(self, plan: Plan, cost: float) -> None:
        """A channel's workspace was given so much of the platform's budget, in calls."""
        self._ready.charge(plan.key[0], cost)

    def _only_one(self, now: int) -> Plan | None:
        """The one channel that is due, which needs no turn; None when there are none or several."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= now:
            if len(waiting) > 1 and (waiting[1][0] <= now or (len(waiting) > 2 and waiting[2][0] <= now)):
                return None
            _, ticket, plan = heapq.heappop(waiting)
            if plan.ticket != ticket or plan.platform != self.platform:
                continue
            plan.ticket = 0
            due_at = plan.next_due()
            if due_at is None or plan.in_flight >= self.channel_concurrency:
                continue
            if due_at <= now:
                return plan
            self._wait(plan, due_at)
        return None

    def _soon(self, horizon: int) -> Plan | None:
        """A channel of which something is due until the horizon; nothing is due now."""
        while self._waiting and self._waiting[0][0] <= horizon:
            _, ticket, plan = heapq.heappop(self._waiting)
            if plan.ticket != ticket or plan.platform != self.platform:
                continue
            plan.ticket = 0
            due_at = plan.next_due()
            if due_at is None or plan.in_flight >= self.channel_concurrency:
                continue
            if due_at <= horizon:
                return plan
            self.queue(plan)
        return None

    def _let_in(self, now: int) -> None:
        """Whatever has become due takes its place among the due."""
        while self._waiting and self._waiting[0][0] <= now:
            _, ticket, plan = heapq.heappop(self._waiting)
            if plan.ticket != ticket or plan.platform != self.platform:
                continue
            plan.ticket = 0
            due_at = plan.next_due()
            if due_at is None or plan.in_flight >= self.channel_concurrency:
                continue
            rank = plan.urgency(now, self.spans.patience)
            if rank is None:
                self._wait(plan, due_at)
                continue
            if plan.rank is None or rank < plan.rank:
                plan.rank = rank
                self._ready.put(plan.key[0], rank, plan)
            more_urgent_at = plan.becomes_urgent(now)
            if more_urgent_at is not None:
                self._wait(plan, more_urgent_at)

    def due(self, now: int, grace: int = 0) -> Due:
        """What is due.

        Args:
            grace: ms for which something may be due without being overdue.
        """
        found = late = stale = 0
        oldest, freshness = now, 0.0
        limit, late_limit = item_of(now + 1, 0), item_of(now - grace, 0)
        for plan in self.plans:
            if not plan.is_polled:
                continue
            for (_, interval), heap in zip(plan.rule.tiers, plan.heaps, strict=False):
                for item in _below(heap, limit):
                    if not plan.entry(item).dropped:
                        found += 1
                        late += item < late_limit
                        oldest = min(oldest, due_of(item))
                        if slot_of(item) not in plan.put_off:
                            age = self._age(due_of(item), interval, now)
                            stale += age > 1
                            freshness = max(freshness, age)
            for slot, due_at in plan.put_off.items():
                entry = plan.entries[slot]
                promised = None if entry is None or entry.dropped else plan.rule.interval(now - entry.published_at)
                if promised is not None:
                    age = self._age(due_at, promised, now)
                    stale += age > 1
                    freshness = max(freshness, age)
        return Due(found, late, now - oldest, stale, freshness)

    def _age(self, due_at: int, interval: int, now: int) -> float:
        """The least age of a snapshot, in intervals, from when its target became due: jitter shortens an interval."""
        return 1 - JITTER_SHARE + (now - due_at) * self.speed / interval


def _in_items(rule: Rule, share: float) -> tuple[int, ...]:
    """A share of each tier's interval, in items' units."""
    return tuple([item_of(int(interval * share), 0) - item_of(0, 0) for _, interval in rule.tiers])


def patience_of(rule: Rule, speed: float) -> tuple[int, ...]:
    """How long (ms) after it is due a target of each tier should have been asked for; of the channel's figures last."""
    intervals = [interval for _, interval in rule.tiers]
    intervals += [rule.channel_interval] * (MOST_TIERS - len(intervals) + 1)
    return tuple([int(PATIENCE * interval / speed) for interval in intervals])


def _below(heap: Sequence[int], limit: int) -> Iterator[int]:
    """Items of a heap below a limit, without visiting the others' children."""
    pending = [0] if heap else []
    while pending:
        position = pending.pop()
        if position < len(heap) and heap[position] < limit:
            yield heap[position]
            pending.append(2 * position + 1)
            pending.append(2 * position + 2)


def _nothing() -> None:
    """Stands in for a listener until one is set."""
