"""One channel's targets and when each is due; pure state, no clock, no tasks.

A channel's entries (`entry.py`) lie in a heap a tier, as one integer each that orders by due time; comparing those is
done in C.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from schemas.tiers import COMMON, Rule, spread
from services.platforms.base import Channel
from services.poller.keys import ChannelKey
from services.poller.schedule.entry import DROPPED, GONE, STATE_BITS, Entry
from services.runtime.clock import MILLIS_PER_DAY

# Heaps of a plan; no rule has more tiers.
MOST_TIERS = 3

# An item of a heap: ms since _BASE above, the position in `Plan.entries` below. 60 bits until 2054: two digits of
# CPython's integers, 32 bytes.
_SLOT_BITS = 20
_SLOTS = (1 << _SLOT_BITS) - 1
_BASE = 1_577_836_800_000
# Posts of a channel that vanish together, none other being captured: that is the channel's matter.
SEVERAL = 2
# For how long all posts of a channel have to be said to be gone, before it is told that the channel is hidden.
HIDDEN_AFTER = MILLIS_PER_DAY
# Later than any item.
_NEVER = 1 << 62


class ChannelFull(ValueError):
    """More targets of one channel than it can hold."""


def item_of(due_at: int, slot: int) -> int:
    """A heap's item; of two, the less is due first."""
    return due_at - _BASE << _SLOT_BITS | slot


def due_of(item: int) -> int:
    """The instant (ms) of an item."""
    return (item >> _SLOT_BITS) + _BASE


def slot_of(item: int) -> int:
    """The place in `Plan.entries` of an item."""
    return item & _SLOTS


class Spans(NamedTuple):
    """How far from its due time a target may be asked for, by tier; the same for all channels of a platform.

    Attributes:
        patience: how long after it is due it should have been asked for, ms; of the channel's own figures last.
        ride: how long before it is due it may ride along in a call, in items' units.
        join: the same where others of its tier are due.
    """

    patience: tuple[int, ...]
    ride: tuple[int, ...]
    join: tuple[int, ...]


class Plan:
    """One channel's entries, and whether and when it is asked.

    Attributes:
        heaps: items of entries that wait, by the tier that they wait in.
        entries: each entry at the slot that its item names, None where a slot is free.
        channel: None until the catalog brings it, and after its deletion.
        paused: its token no longer works, or its account is disabled.
        platform: in whose lane it waits; None for none.
        in_flight: batches taken and not settled.
        alone_until: until when (ms) it is not asked together with other channels.
        ticket, wake_at: its newest place among the lane's waiting.
        rank: its rank among the plans that are due; None while it is not due.
        put_off: since when (ms) entries have really been due that were put off since, by slot; few at most times.
        is_seen: the last word about its posts are figures of one.
        vanished: how many of its posts were said to be gone since one was captured.
        vanished_at: when (ms) the first of them was.
    """

    __slots__ = (
        "active", "alone_until", "channel", "channel_due_at", "channel_in_flight", "entries",
        "free", "heaps", "in_flight", "is_seen", "key", "paused", "platform", "put_off", "rank", "rule", "ticket",
        "vanished", "vanished_at", "wake_at",
    )  # fmt: skip

    def __init__(self, key: ChannelKey) -> None:
        self.key = key
        self.platform: str | None = None
        self.rule: Rule = COMMON
        self.channel: Channel | None = None
        self.active = False
        self.paused = False
        self.heaps: tuple[list[int], ...] = tuple([] for _ in range(MOST_TIERS))
        self.entries: list[Entry | None] = []
        self.free: list[int] = []
        self.channel_due_at = 0
        self.channel_in_flight = False
        self.in_flight = 0
        self.alone_until = 0
        self.ticket = 0
        self.wake_at = 0
        self.rank: int | None = None
        self.put_off: dict[int, int] = {}
        self.is_seen = False
        self.vanished = 0
        self.vanished_at = 0

    def __len__(self) -> int:
        return len(self.entries) - len(self.free)

    def put(self, entry: Entry, due_at: int, tier: int) -> None:
        """Hold a new entry.

        Raises:
            ChannelFull: a million targets of one channel are waiting already.
        """
        if self.free:
            slot = self.free.pop()
            self.entries[slot] = entry
        else:
            slot = len(self.entries)
            if slot > _SLOTS:
                raise ChannelFull(f"channel {'/'.join(self.key)} has {slot} targets to poll, more than can be held")
            self.entries.append(entry)
        heapq.heappush(self.heaps[tier], item_of(due_at, slot))

    def release(self, item: int) -> None:
        """Let go of the entry of an item that is in no heap."""
        slot = slot_of(item)
        self.entries[slot] = None
        self.free.append(slot)
        if self.put_off:
            self.put_off.pop(slot, None)

    def entry(self, item: int) -> Entry:
        """The entry that an item of this plan's queue stands for."""
        entry = self.entries[slot_of(item)]
        assert entry is not None, "an item's slot is held until it is released"
        return entry

    def live(self) -> Iterator[Entry]:
        """Every entry that is polled, in flight or not."""
        for entry in self.entries:
            if entry is not None and not entry.dropped:
                yield entry

    @property
    def is_polled(self) -> bool:
        """Whether anything of it may be asked for by the schedule."""
        return self.active and not self.paused

    def next_due(self) -> int | None:
        """The earliest due time, of dropped entries too; None when nothing of it may be asked."""
        if not self.active or self.paused:
            return None
        first = _NEVER
        for heap in self.heaps:
            if heap and heap[0] < first:
                first = heap[0]
        due_at = (first >> _SLOT_BITS) + _BASE
        if not self.channel_in_flight and self.channel_due_at < due_at:
            return self.channel_due_at
        return None if first == _NEVER else due_at

    def urgency(self, now: int, patience: Sequence[int]) -> int | None:
        """By when (ms) it should be asked, the least over what is due; None when nothing is.

        Args:
            patience: ms by tier, of the channel's own figures last.
        """
        limit = item_of(now + 1, 0)
        urgent: int | None = None
        for tier, heap in enumerate(self.heaps):
            if heap and heap[0] < limit:
                rank = due_of(heap[0]) + patience[tier]
                if urgent is None or rank < urgent:
                    urgent = rank
        if not self.channel_in_flight and self.channel_due_at <= now:
            rank = self.channel_due_at + patience[-1]
            if urgent is None or rank < urgent:
                urgent = rank
        return urgent

    def becomes_urgent(self, now: int) -> int | None:
        """When something becomes due that is more urgent than what is; None when nothing will."""
        limit = item_of(now + 1, 0)
        later = [heap[0] for heap in self.heaps[:-1] if heap and heap[0] >= limit]
        return due_of(min(later)) if later else None

    def oldest_polled(self) -> tuple[int, str] | None:
        """The last of the newest posts that the rule allows, as (published_at, target_id); None for no limit."""
        newest = self.rule.newest
        if newest is None or len(self) <= newest:
            return None
        held = [(entry.published_at, entry.target_id) for entry in self.live()]
        return heapq.nlargest(newest, held)[-1] if len(held) > newest else None

    def draw(
        self, room: int, now: int, spans: Spans, expired: Callable[[Entry], None], *, near_due: bool = False
    ) -> Drawn:
        """Take out up to `room` items that are due, the most urgent first, and fill up with those that are near due.

        Args:
            expired: told of each entry that is too old by now, and so not drawn.
            near_due: whether to fill up although nothing is due.
        """
        heaps, items = self.heaps, Drawn([], [])
        if not room:
            return items
        base = (now - _BASE + 1) << _SLOT_BITS
        oldest = None if self.rule.newest is None else self.oldest_polled()
        due_in = [tier for tier, heap in enumerate(heaps) if heap and heap[0] < base]
        if len(due_in) == 1:
            self._draw(heaps[due_in[0]], base, room, now, oldest, items, expired)
        elif due_in:
            self._draw_urgent(due_in, base, room, now, oldest, items, expired, spans.patience)
        if items.items or near_due:
            for tier, (ride, join) in enumerate(zip(spans.ride, spans.join, strict=True)):
                heap, limit = heaps[tier], base + (join if tier in due_in else ride)
                if heap and heap[0] < limit:
                    self._draw(heap, limit, room, now, oldest, items, expired)
        return items

    def _draw_urgent(
        self,
        due_in: Sequence[int],
        limit: int,
        room: int,
        now: int,
        oldest: tuple[int, str] | None,
        drawn: Drawn,
        expired: Callable[[Entry], None],
        patience: Sequence[int],
    ) -> None:
        """Of several tiers; where there is room for all, their order is of no matter."""
        by_rank: list[tuple[int, int, int]] = []
        for tier in due_in:
            found = Drawn([], drawn.passed_over)
            self._draw(self.heaps[tier], limit, room, now, oldest, found, expired)
            by_rank += [(due_of(item) + patience[tier], tier, item) for item in found.items]
        by_rank.sort()
        drawn.items.extend([item for _, _, item in by_rank[:room]])
        for _, tier, item in by_rank[room:]:
            heapq.heappush(self.heaps[tier], item)

    def _draw(
        self,
        heap: list[int],
        limit: int,
        room: int,
        now: int,
        oldest: tuple[int, str] | None,
        drawn: Drawn,
        expired: Callable[[Entry], None],
    ) -> None:
        entries, items = self.entries, drawn.items
        born_after = now - self.rule.tiers[-1][0]
        while heap and heap[0] < limit and len(items) < room:
            item = heapq.heappop(heap)
            entry = entries[item & _SLOTS]
            assert entry is not None, "an item's slot is held until it is released"
            state = entry.state
            if state & DROPPED:
                self.release(item)
            elif state >> STATE_BITS <= born_after:
                self.release(item)
                expired(entry)
            elif oldest is not None and (entry.published_at, entry.target_id) < oldest:
                drawn.passed_over.append(item)
            else:
                items.append(item)

    def hasten(self, now: int) -> bool:
        """Let what was put off be due now; returns whether there is any."""
        if not self.put_off:
            return False
        self._bring_forward(self.put_off, now)
        return True

    def _bring_forward(self, slots: Collection[int], now: int) -> None:
        """What waits at these slots is due now."""
        for heap in self.heaps if slots else ():
            heap[:] = [min(item, item_of(now, slot_of(item))) if slot_of(item) in slots else item for item in heap]
            heapq.heapify(heap)

    def vanish(self, count: int, now: int) -> None:
        """So many more of its posts are said to be gone."""
        self.vanished_at = self.vanished_at or now
        self.vanished += count
        self.is_seen = False

    def seen(self) -> None:
        """One of its posts was captured: that others are gone is said of these alone."""
        self.is_seen, self.vanished, self.vanished_at = True, 0, 0

    def is_hidden(self, now: int) -> bool:
        """Whether all of its posts are said to be gone at once, and have been for a day: that is the channel's."""
        return self.vanished >= SEVERAL and now - self.vanished_at >= HIDDEN_AFTER

    def revive(self, now: int) -> bool:
        """Let what is said to be gone be due now, as if nothing had been said; returns whether there is any."""
        are_all = self.vanished >= SEVERAL
        self.is_seen, self.vanished, self.vanished_at = False, 0, 0
        slots = set()
        for slot, entry in enumerate(self.entries):
            if entry is not None and not entry.dropped and (are_all or entry.is_missing):
                entry.found()
                slots.add(slot)
        self._bring_forward(slots, now)
        return bool(slots)

    def answered(self, items: Sequence[int], now: int, speed: float, expired: Callable[[Entry], None]) -> None:
        """Put items back that were asked for now and not gone: each is due an interval later.

        Args:
            expired: told of each entry that is never due again.
        """
        entries, heaps, tiers = self.entries, self.heaps, self.rule.tiers
        for item in items:
            slot = item & _SLOTS
            entry = entries[slot]
            assert entry is not None, "an item's slot is held until it is released"
            state = entry.state
            if state & DROPPED:
                self.release(item)
                continue
            if state & GONE:
                entry.found()
            if self.put_off:
                self.put_off.pop(slot, None)
            # As `next_in_tier`, without a call and an object a step: this is most of what a poll costs here.
            published_at = state >> STATE_BITS
            for heap, (until, interval) in zip(heaps, tiers, strict=False):  # noqa: B007
                if now - published_at < until:
                    break
            else:
                interval = 0
            due_at = now + spread(interval, entry.identity, speed)
            if interval and due_at - published_at < tiers[-1][0]:
                heapq.heappush(heap, (due_at - _BASE) << _SLOT_BITS | slot)
            else:
                self.release(item)
                expired(entry)


class Drawn(NamedTuple):
    """Items taken out of their heaps: those to ask for, and those beyond the newest that the rule allows."""

    items: list[int]
    passed_over: list[int]
