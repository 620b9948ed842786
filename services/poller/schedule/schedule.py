"""Which target of which channel is due when; pure state, no clock, no tasks.

The catalog adds and drops entries and says how channels stand. The loop takes batches from a platform's lane, and each
round settles its batches with what became of them. A channel's plan holds its entries (`plan.py`), a platform's lane
its channels (`lane.py`).
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence

from schemas.events import CatalogChannel, CatalogTarget
from schemas.tiers import NextDue, Rule, next_in_tier, rule_of, spread
from services.platforms.base import Channel
from services.poller.keys import ChannelKey
from services.poller.schedule.batch import Batch, Fate, Settled
from services.poller.schedule.entry import Entry
from services.poller.schedule.lane import Lane
from services.poller.schedule.plan import SEVERAL, Plan, due_of, item_of, slot_of
from services.runtime.clock import MILLIS_PER_DAY

# A new target waits this long for others of its batch; also covers a channel arriving just before its token.
DEBOUNCE = 300
# How often a target is looked at that its platform has no figures of for good, as far as is known.
REST = 7 * MILLIS_PER_DAY
_CAPTURED = Settled(Fate.CAPTURED)
_DEFERRED = Settled(Fate.DEFERRED)


class _Captures:
    """When the entries of one channel were last captured (ms, 0 for unknown), by slot."""

    __slots__ = ("_times", "or_later")

    def __init__(self) -> None:
        self._times = array("q")
        self.or_later = False

    def note(self, slot: int, captured_at: int) -> None:
        self._times.extend([0] * (slot + 1 - len(self._times)))
        self._times[slot] = max(self._times[slot], captured_at)

    def at(self, slot: int) -> int:
        return self._times[slot] if slot < len(self._times) else 0


def next_rest(rule: Rule, published_at: int, asked_at: int, identity: bytes, speed: float) -> NextDue | None:
    """When and in which tier a target that rests is due again; None when it is never again."""
    due_at = asked_at + spread(REST, identity, speed)
    tier = rule.tier(due_at - published_at)
    return None if tier is None else NextDue(due_at, tier)


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
        self.lanes = {
            name: Lane(name, rule_of(name), size, channel_concurrency, speed) for name, size in batch_sizes.items()
        }
        self.plans: dict[ChannelKey, Plan] = {}
        self.speed = speed
        self.forget: Callable[[Entry], None] = forget or _nothing_of
        self._captures: dict[ChannelKey, _Captures] = {}

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
            if not plan.in_flight and next(plan.live(), None) is None:
                self._move(plan, None)
                del self.plans[key]
            return
        lane = self.lanes.get(event.platform)
        fresh = active and (not plan.active or self._lane(plan) is not lane)
        plan.channel = Channel(event.workspace_id, event.channel_id, event.external_id, event.username)
        if self._lane(plan) is not lane:
            self._move(plan, lane)
            plan.rule = rule_of(event.platform)
        plan.active = active and lane is not None
        if fresh:
            plan.channel_due_at = now + DEBOUNCE
            self.queue(plan)

    def add(self, plan: Plan, post_id: str, target: CatalogTarget, published_at: int, now: int) -> Entry | None:
        """A new target, due at once (or when it is out); None when it is too old to be polled at all.

        Raises:
            ChannelFull: the channel has a million already.
        """
        tier = plan.rule.tier(now - published_at)
        if tier is None:
            return None
        entry = Entry(plan.key, post_id, target, published_at)
        plan.put(entry, max(now, published_at) + DEBOUNCE, tier)
        self.queue(plan)
        return entry

    def drop(self, entry: Entry) -> None:
        """Never poll this target again; a call in flight ends as it likes."""
        entry.drop()

    def pause(self, plan: Plan) -> None:
        """Ask nothing more of a channel until `resume`."""
        plan.paused = True

    def resume(self, plan: Plan, now: int) -> None:
        """Ask a paused channel again; what became due meanwhile is due now."""
        if plan.paused:
            plan.paused = False
            plan.channel_due_at = min(plan.channel_due_at, now + DEBOUNCE)
            self.queue(plan)

    def hasten(self, keys: Iterable[ChannelKey], now: int) -> None:
        """What was put off of channels is due now; what has never been put off keeps its due time."""
        for key in keys:
            plan = self.plans.get(key)
            if plan is not None and plan.hasten(now):
                self.queue(plan)

    def revive(self, key: ChannelKey, now: int) -> None:
        """Ask for what is said to be gone of a channel as for anything else: a new connection may find it."""
        plan = self.plans.get(key)
        if plan is not None and plan.active and plan.revive(now):
            self.queue(plan)

    def polled_channels(self, platform: str) -> int:
        """How many channels of a platform are polled."""
        lane = self.lanes.get(platform)
        return 0 if lane is None else sum(plan.is_polled for plan in lane.plans)

    def queue(self, plan: Plan) -> None:
        """Place a channel in its lane."""
        lane = self._lane(plan)
        if lane is not None:
            lane.queue(plan)

    def restore(self, entry: Entry, captured_at: int, *, or_later: bool = False) -> None:
        """While its channel is not active yet: this target was last captured then. `rebuild` after the last of these.

        Args:
            or_later: keep the due time that it has, where that is later.
        """
        captures = self._captures.get(entry.key)
        if captures is None:
            captures = self._captures[entry.key] = _Captures()
        captures.or_later = or_later
        captures.note(self.plans[entry.key].entries.index(entry), captured_at)

    def restore_channel(self, key: ChannelKey, captured_at: int) -> None:
        """Before a channel's first `take`: its own figures were last captured then."""
        plan = self.plans.get(key)
        if plan is not None:
            plan.channel_due_at = captured_at + spread(plan.rule.channel_interval, "/".join(key), self.speed)

    def rebuild(self, keys: Iterable[ChannelKey] | None = None) -> None:
        """Put channels (None: all) in order after `restore`."""
        for key in list(self.plans) if keys is None else keys:
            plan, captures = self.plans.get(key), self._captures.pop(key, None)
            if plan is None:
                continue
            if captures is not None:
                waiting = [(item, tier) for tier, heap in enumerate(plan.heaps) for item in heap]
                for heap in plan.heaps:
                    heap.clear()
                for item, tier in waiting:
                    self._restore(plan, item, tier, captures)
                for heap in plan.heaps:
                    heapq.heapify(heap)
            self.queue(plan)

    def _restore(self, plan: Plan, item: int, tier: int, captures: _Captures) -> None:
        entry, captured_at = plan.entry(item), captures.at(slot_of(item))
        if entry.dropped:
            plan.release(item)
            return
        if captured_at:
            due = next_in_tier(plan.rule, entry.published_at, captured_at, entry.identity, self.speed)
            if due is None:
                plan.release(item)
                self._expire(entry)
                return
            if not captures.or_later or due.at > due_of(item):
                tier, item = due.tier, item_of(due.at, slot_of(item))
        plan.heaps[tier].append(item)

    def clock_set_back(self, by: int) -> None:
        """The clock that instants are of was set back by so many ms: what is due in a while stays due in that while."""
        for plan in self.plans.values():
            for heap in plan.heaps:
                # Ordered as before: all of them change alike.
                heap[:] = [item_of(due_of(item) - by, slot_of(item)) for item in heap]
            plan.channel_due_at -= by
            plan.alone_until -= by
            plan.ticket, plan.rank = 0, None
            self.queue(plan)

    def discard(self, keys: Iterable[ChannelKey]) -> None:
        """Forget channels with all their targets, because another process asks for them; rounds in flight end."""
        for key in keys:
            self._captures.pop(key, None)
            plan = self.plans.pop(key, None)
            if plan is None:
                continue
            for entry in plan.live():
                entry.drop()
            self._move(plan, None)
            plan.active, plan.channel = False, None
            for heap in plan.heaps:
                heap.clear()

    def take(self, platform: str, now: int) -> Batch | None:
        """The next batch of a platform, None when nothing is due.

        Workspaces take turns. Of a channel the most urgent of what is due comes first; then near-due targets of the
        same channel fill the batch. The batch must be settled.
        """
        lane = self.lanes[platform]
        while (plan := lane.pop(now)) is not None:
            with_channel = not plan.channel_in_flight and plan.channel_due_at <= now
            batch = self._batch(lane, plan, lane.batch_size, now, with_channel)
            if batch is not None:
                batch.cost = 1.0 if batch.entries else 0.0
                lane.charge(plan, batch.cost + batch.with_channel)
                return batch
            self.queue(plan)
        return None

    def take_shared(self, platform: str, now: int) -> Batch | list[Batch] | None:
        """As `take`, where calls may ask for targets of several channels.

        Returns:
            Batches of several channels, which together fill at most one call; or a single one that goes alone: for the
            channel's own figures, or because the channel may not be asked with others now. Each must be settled.
        """
        lane = self.lanes[platform]
        batches: list[Batch] = []
        # Of these nothing is taken now; back in the lane at once, they would come up again and again.
        left: list[Plan] = []
        room = lane.batch_size
        horizon = now + lane.horizon
        while room and len(left) < lane.batch_size:
            plan = lane.pop(now, horizon if batches else None)
            if plan is None:
                break
            with_channel = not plan.channel_in_flight and plan.channel_due_at <= now
            is_alone = plan.alone_until > now
            if batches and (with_channel or is_alone):
                left.append(plan)
                continue
            batch = self._batch(
                lane, plan, room if is_alone or not with_channel else 0, now, with_channel, is_near_due=bool(batches)
            )
            if batch is None:
                left.append(plan)
            elif with_channel or is_alone:
                batch.cost = 1.0 if batch.entries else 0.0
                lane.charge(plan, batch.cost + batch.with_channel)
                self._queue_all(left)
                return batch
            else:
                batch.cost = len(batch.entries) / lane.batch_size
                lane.charge(plan, batch.cost)
                room -= len(batch.entries)
                batches.append(batch)
        self._queue_all(left)
        return batches or None

    def _queue_all(self, plans: Sequence[Plan]) -> None:
        for plan in plans:
            self.queue(plan)

    def _batch(
        self, lane: Lane, plan: Plan, room: int, now: int, with_channel: bool, *, is_near_due: bool = False
    ) -> Batch | None:
        """Take out of a plan what goes together, and put it back into its lane; None, and it stays out, for nothing."""
        drawn = plan.draw(room, now, lane.spans, self._expire, near_due=is_near_due)
        items = drawn.items
        for item in drawn.passed_over:
            self._put_back(plan, item, Settled(Fate.SKIPPED), now)
        oldest_due = plan.channel_due_at if with_channel else now
        if items:
            oldest_due = min(oldest_due, due_of(min(items)))
        if plan.channel is None or not (items or with_channel):
            return None
        plan.in_flight += 1
        plan.channel_in_flight = plan.channel_in_flight or with_channel
        self.queue(plan)
        return Batch(plan, plan.channel, [plan.entry(item) for item in items], with_channel, now - oldest_due, items)

    def settle(self, batch: Batch, fates: Sequence[Settled], channel_fate: Settled, now: int) -> None:
        """Put the targets of a batch back by what became of them.

        Args:
            fates: one an entry of `batch`, in its order.
            channel_fate: of the channel's own figures; ignored when they weren't asked for.
        """
        plan = batch.plan
        plan.in_flight -= 1
        lane = self._lane(plan)
        if lane is not None:
            # Turns that brought nothing are given back.
            refund = batch.cost if batch.entries and fates.count(_DEFERRED) == len(fates) else 0.0
            refund += batch.with_channel and channel_fate.fate is Fate.DEFERRED
            if refund:
                lane.charge(plan, -refund)
        if batch.with_channel:
            plan.channel_in_flight = False
            if channel_fate.fate is Fate.RETRY:
                plan.channel_due_at = channel_fate.at
            elif channel_fate.fate is not Fate.DEFERRED:
                plan.channel_due_at = now + spread(plan.rule.channel_interval, "/".join(plan.key), self.speed)
        captured = fates.count(_CAPTURED)
        if captured:
            plan.seen()
        if captured == len(batch.items) == len(fates):
            plan.answered(batch.items, now, self.speed, self._expire)
        else:
            for item, settled in zip(batch.items, fates, strict=True):
                self._put_back(plan, item, settled, now)
        self.queue(plan)

    def _put_back(self, plan: Plan, item: int, settled: Settled, now: int) -> None:
        entry, fate = plan.entry(item), settled.fate
        if fate is Fate.RETRY:
            plan.put_off.setdefault(slot_of(item), due_of(item))
        elif fate is not Fate.DEFERRED and plan.put_off:
            plan.put_off.pop(slot_of(item), None)
        if fate is Fate.CAPTURED:
            plan.answered([item], now, self.speed, self._expire)
        elif fate is Fate.RETRY or fate is Fate.DEFERRED:
            due_at = settled.at if fate is Fate.RETRY else due_of(item)
            tier = plan.rule.tier(max(due_at, now) - entry.published_at)
            if entry.dropped:
                plan.release(item)
            elif tier is None:
                plan.release(item)
                self._expire(entry)
            else:
                heapq.heappush(plan.heaps[tier], item_of(due_at, slot_of(item)))
        else:
            if fate is Fate.NEVER:
                entry.rest()
            elif fate is Fate.GONE:
                if not entry.is_missing:
                    plan.vanish(1, now)
                # Where all posts of a channel vanish together, that proves nothing of any of them.
                entry.gone(now, may_rest=plan.vanished < SEVERAL)
            self._ask_again(plan, item, now)

    def _ask_again(self, plan: Plan, item: int, now: int) -> None:
        """A target without figures is due at its regular time, or rests; that it was not found stays known."""
        entry = plan.entry(item)
        if entry.is_resting:
            due = next_rest(plan.rule, entry.published_at, now, entry.identity, self.speed)
        else:
            due = next_in_tier(plan.rule, entry.published_at, now, entry.identity, self.speed)
        if due is None or entry.dropped:
            plan.release(item)
            if not entry.dropped:
                self._expire(entry)
            return
        heapq.heappush(plan.heaps[due.tier], item_of(due.at, slot_of(item)))

    def _expire(self, entry: Entry) -> None:
        entry.drop()
        self.forget(entry)

    def _move(self, plan: Plan, lane: Lane | None) -> None:
        """Put a channel into another lane; its old places are void."""
        old = self._lane(plan)
        if old is not None:
            old.plans.discard(plan)
        if lane is not None:
            lane.plans.add(plan)
        plan.platform, plan.ticket, plan.rank = lane.platform if lane is not None else None, 0, None

    def _lane(self, plan: Plan) -> Lane | None:
        return None if plan.platform is None else self.lanes[plan.platform]


def _nothing_of(_: Entry) -> None:
    """Nobody else holds entries."""
