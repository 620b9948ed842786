"""One channel's targets and when each is due; pure state, no clock, no tasks.

There is an entry for each published post, so entries are small: one object, two texts and three numbers. A channel's
entries lie in a heap a tier, as one integer each that orders by due time; comparing those is done in C.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from schemas.events import CatalogTarget
from schemas.tiers import COMMON, RIDE_ALONG_SHARE, Rule
from services.platforms.base import Channel, Target

if TYPE_CHECKING:
    from services.poller.lane import Lane

# Heaps of a plan; no rule has more tiers.
MOST_TIERS = 3

ChannelKey = tuple[str, str]
"""workspace_id and channel_id."""

# An item of a heap: ms since _BASE above, the position in `Plan.entries` below. 60 bits until 2054: two digits of
# CPython's integers, 32 bytes.
_SLOT_BITS = 20
_SLOTS = (1 << _SLOT_BITS) - 1
_BASE = 1_577_836_800_000
# Bits of Entry.state beneath published_at.
_STATE_BITS = 8
_STORY, _DROPPED, _GONE_ONE = 1, 2, 4
_GONE = 0xFC


class Fate(Enum):
    """What became of one target, or of the channel's own figures, in a round of work."""

    CAPTURED = "captured"  # answered
    SKIPPED = "skipped"  # no figures, and asking sooner than the regular time won't help
    RETRY = "retry"  # not asked, or no answer; due again at `at`
    DEFERRED = "deferred"  # not asked, because the platform's budget is used up; due as before
    GONE = "gone"  # the platform says that it is not there
    NEVER = "never"  # the platform will never have figures


class Settled(NamedTuple):
    """A fate, with the instant (ms) of the next try for RETRY."""

    fate: Fate
    at: int = 0


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


class Entry:
    """One target to poll."""

    __slots__ = ("_state", "_texts", "plan", "post_id", "post_type")

    def __init__(self, plan: Plan, post_id: str, target: CatalogTarget, published_at: int) -> None:
        self.plan = plan
        self.post_id = post_id
        self.post_type = sys.intern(target.post_type)
        # Our own ids have no such character; a platform's may be anything, and comes last.
        self._texts = f"{target.target_id}\0{target.external_id}".encode()
        self._state = published_at << _STATE_BITS | (_STORY if target.is_story else 0)

    @property
    def target_id(self) -> str:
        """Our id of the target."""
        return self._texts.partition(b"\0")[0].decode()

    @property
    def external_id(self) -> str:
        """The platform's id of the post."""
        return self._texts.partition(b"\0")[2].decode()

    @property
    def published_at(self) -> int:
        """When the post went out, ms."""
        return self._state >> _STATE_BITS

    @property
    def is_story(self) -> bool:
        """Whether it is a story."""
        return bool(self._state & _STORY)

    @property
    def dropped(self) -> bool:
        """Whether it is never to be polled again."""
        return bool(self._state & _DROPPED)

    def drop(self) -> None:
        """Never poll it again."""
        self._state |= _DROPPED

    def gone(self) -> int:
        """The platform said again that it is not there; returns how many times in a row."""
        self._state += _GONE_ONE
        return (self._state & _GONE) // _GONE_ONE

    def found(self) -> None:
        """The platform said something else."""
        self._state &= ~_GONE

    def target(self) -> Target:
        """The target as platforms know it."""
        target_id, _, external_id = self._texts.decode().partition("\0")
        return Target(target_id, self.post_id, external_id, self.post_type, self.published_at, self.is_story)

    def same_as(self, target: CatalogTarget, published_at: int) -> bool:
        """Whether the catalog still says of the target what it said before, so that nothing has to be asked anew."""
        return (
            self._texts == f"{target.target_id}\0{target.external_id}".encode()
            and self.plan.key[1] == target.channel_id
            and self.published_at == published_at
            and self.post_type == target.post_type
            and self.is_story == target.is_story
        )


class Plan:
    """One channel's entries, and whether and when it is asked.

    Attributes:
        heaps: items of entries that wait, by the tier that they wait in.
        entries: each entry at the slot that its item names, None where a slot is free.
        channel: None until the catalog brings it, and after its deletion.
        paused: its token no longer works, or its account is disabled.
        in_flight: rounds of work taken and not settled.
        alone_until: until when (ms) it is not asked together with other channels.
        ticket, wake_at: its newest place among the lane's waiting.
        rank: the one that it stands with among those that are due, None when it does not.
        put_off: since when (ms) entries have really been due that were put off since, by slot; few at most times.
    """

    __slots__ = (
        "active", "alone_until", "asked_count", "channel", "channel_due_at", "channel_in_flight", "entries",
        "free", "heaps", "in_flight", "key", "lane", "paused", "put_off", "rank", "rule", "ticket", "wake_at",
    )  # fmt: skip

    def __init__(self, key: ChannelKey) -> None:
        self.key = key
        self.lane: Lane | None = None
        self.rule: Rule = COMMON
        self.channel: Channel | None = None
        self.active = False
        self.paused = False
        self.heaps: tuple[list[int], ...] = tuple([] for _ in range(MOST_TIERS))
        self.entries: list[Entry | None] = []
        self.free: list[int] = []
        self.asked_count = 0
        self.channel_due_at = 0
        self.channel_in_flight = False
        self.in_flight = 0
        self.alone_until = 0
        self.ticket = 0
        self.wake_at = 0
        self.rank: int | None = None
        self.put_off: dict[int, int] = {}

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
        """The entry of an item."""
        entry = self.entries[slot_of(item)]
        assert entry is not None, "an item's slot is held until it is released"
        return entry

    def live(self) -> Iterator[Entry]:
        """Every entry that is polled, in flight or not."""
        for entry in self.entries:
            if entry is not None and not entry.dropped:
                yield entry

    def next_due(self) -> int | None:
        """The earliest due time, None when nothing of it may be asked."""
        if not self.active or self.paused:
            return None
        first: int | None = None
        for heap in self.heaps:
            if heap:
                item = heap[0]
                if self.entry(item).dropped:
                    self._clear(heap)
                    if not heap:
                        continue
                    item = heap[0]
                if first is None or item < first:
                    first = item
        due_at = None if first is None else due_of(first)
        if not self.channel_in_flight and (due_at is None or self.channel_due_at < due_at):
            return self.channel_due_at
        return due_at

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

    def pick(self, room: int, now: int, patience: Sequence[int], expired: Callable[[Entry], None]) -> Picked:
        """Take out up to `room` items that are due, the most urgent first.

        Args:
            expired: told of each entry that is too old by now, and so not picked.
        """
        items: list[int] = []
        passed_over: list[int] = []
        limit = item_of(now + 1, 0)
        oldest = None if self.rule.newest is None else self.oldest_polled()
        while len(items) < room:
            chosen: list[int] | None = None
            least = 0
            for tier, heap in enumerate(self.heaps):
                if heap and heap[0] < limit:
                    rank = due_of(heap[0]) + patience[tier]
                    if chosen is None or rank < least:
                        chosen, least = heap, rank
            if chosen is None:
                break
            self._pick(heapq.heappop(chosen), now, oldest, items, passed_over, expired)
        return Picked(items, passed_over)

    def ride_along(self, room: int, now: int, speed: float, expired: Callable[[Entry], None]) -> Picked:
        """Take out up to `room` items that are due soon, youngest tiers first."""
        items: list[int] = []
        passed_over: list[int] = []
        oldest = None if self.rule.newest is None else self.oldest_polled()
        for (_, interval), heap in zip(self.rule.tiers, self.heaps, strict=False):
            limit = item_of(now + int(interval * RIDE_ALONG_SHARE / speed) + 1, 0)
            while heap and heap[0] < limit and len(items) < room:
                self._pick(heapq.heappop(heap), now, oldest, items, passed_over, expired)
        return Picked(items, passed_over)

    def _pick(
        self,
        item: int,
        now: int,
        oldest: tuple[int, str] | None,
        items: list[int],
        passed_over: list[int],
        expired: Callable[[Entry], None],
    ) -> None:
        entry = self.entry(item)
        if entry.dropped:
            self.release(item)
        elif now - entry.published_at >= self.rule.tiers[-1][0]:
            self.release(item)
            expired(entry)
        elif oldest is not None and (entry.published_at, entry.target_id) < oldest:
            passed_over.append(item)
        else:
            items.append(item)

    def _clear(self, heap: list[int]) -> None:
        while heap and self.entry(heap[0]).dropped:
            self.release(heapq.heappop(heap))


class Picked(NamedTuple):
    """Items taken out of their heaps: those to ask for, and those beyond the newest that the rule allows."""

    items: list[int]
    passed_over: list[int]


@dataclass(slots=True)
class Work:
    """One round: targets of one channel that go together, and whether its own figures are asked for too.

    Attributes:
        entries: the targets.
        items: their items, in the same order.
        late_by: ms since the oldest of it was due.
    """

    plan: Plan
    channel: Channel
    entries: list[Entry]
    with_channel: bool
    late_by: int
    items: list[int] = field(default_factory=list)
