"""States of targets, posts and channels, in bounded memory. Pure.

Every state is a row of ClickHouse: a cache entry may be dropped at any batch's end and read again later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from schemas.metrics import CHANNEL_METRICS, POST_METRICS
from schemas.registers import Register, empty_register
from schemas.windows import DAY, LONGEST_RANGE, NATIVE_MAX_AGE, ChannelPeriod, WindowTarget

Key = tuple[str, str]
"""(workspace_id, id)"""
PeriodKey = tuple[str, int | None, int | None]
"""(period, start ms, end ms)"""

NO_POST_REGISTER = empty_register(len(POST_METRICS))
NO_CHANNEL_REGISTER = empty_register(len(CHANNEL_METRICS))
# Targets leave a channel's window memory a day after they left its longest window.
# A platform's own window may have ended a while ago, and posts are summed within its bounds.
WINDOW_MEMORY = LONGEST_RANGE + NATIVE_MAX_AGE + DAY
# Figures of days and windows older than this can't be part of any window any more.
PERIOD_MEMORY = LONGEST_RANGE + 10 * DAY


@dataclass(slots=True)
class TargetState:
    """One target: its place in the catalog, and its latest figures.

    Attributes:
        post_id: its post by the catalog; for a target that the catalog does not hold, by the first event that named it.
        channel_id: its channel, likewise.
        is_listed: whether the catalog holds it, in a post that is not deleted.
        published_at: ms; None when not published.
    """

    target_id: str
    post_id: str = ""
    channel_id: str = ""
    is_listed: bool = False
    published_at: int | None = None
    register: Register = NO_POST_REGISTER

    @property
    def is_measured(self) -> bool:
        """Whether any answer held figures of it."""
        return self.register.captured_at is not None


@dataclass(slots=True)
class PostState:
    """One post of the catalog: whether it is held, and its targets in order.

    Attributes:
        updated_at: ms, of its last catalog write.
    """

    post_id: str
    is_held: bool = False
    target_ids: tuple[str, ...] = ()
    updated_at: int = 0


class Listing(NamedTuple):
    """An entry of a target in a post of the catalog; neither the post nor the entry is deleted.

    A target belongs to the greatest of its listings, by the post's last write and then the post's id. So the catalog's
    contents decide, and not the order or the batches in which its writes were read.

    Attributes:
        updated_at: ms, of the post's last write.
        published_at: ms, of the target; None when not published.
    """

    updated_at: int
    post_id: str
    channel_id: str
    published_at: int | None

    @property
    def rank(self) -> tuple[int, str]:
        """What decides between listings."""
        return self.updated_at, self.post_id


@dataclass(slots=True)
class ChannelState:
    """One channel: its place in the catalog, its own figures, and its targets that windows can hold.

    Attributes:
        is_held: whether the catalog holds it.
        platform: by the catalog; empty while it is not held.
        periods: latest figures by period.
        window: listed targets published lately, by id.
        measured_count: listed targets of any age that were ever measured.
    """

    channel_id: str
    is_held: bool = False
    platform: str = ""
    periods: dict[PeriodKey, Register] = field(default_factory=dict)
    window: dict[str, WindowTarget] = field(default_factory=dict)
    measured_count: int = 0

    @property
    def captured_at(self) -> int | None:
        """When the newest answer with figures of the channel itself was captured, ms; None without any."""
        return max((held.captured_at for held in self.periods.values() if held.captured_at is not None), default=None)

    def channel_periods(self) -> list[ChannelPeriod]:
        """The channel's figures as the window functions take them."""
        return [ChannelPeriod(*key, register.values) for key, register in self.periods.items()]

    def take(self, target: TargetState, now: int) -> None:
        """Keep a target's figures for the windows, or drop a target that no window of this channel holds (any more)."""
        published_at = target.published_at
        is_inside = (
            target.is_listed
            and target.channel_id == self.channel_id
            and published_at is not None
            and published_at >= now - WINDOW_MEMORY
        )
        if is_inside and published_at is not None:
            self.window[target.target_id] = WindowTarget(published_at, target.register.values)
        else:
            self.window.pop(target.target_id, None)

    def forget_old(self, now: int) -> None:
        """Drop targets and periods that no window can hold any more."""
        for target_id in [tid for tid, held in self.window.items() if held.published_at < now - WINDOW_MEMORY]:
            del self.window[target_id]
        for key in [key for key in self.periods if key[2] is not None and key[2] < now - PERIOD_MEMORY]:
            del self.periods[key]


Held = TypeVar("Held")


class BoundedCache(Generic[Held]):
    """States by key; `trim` drops the least recently used ones, and nothing else drops any.

    Args:
        capacity: entries kept by `trim`.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: dict[Key, Held] = {}
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, key: Key) -> Held:
        return self._held[key]

    def put(self, key: Key, state: Held) -> None:
        """Keep an entry as the most recently used."""
        self._held.pop(key, None)
        self._held[key] = state

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        """The keys that are not held, each once; the others are noted as used."""
        absent: dict[Key, None] = {}
        held = self._held
        if len(held) <= self._capacity // 2:
            # Far from full, nothing will be dropped soon, so the order of use need not be kept.
            wanted = dict.fromkeys(keys)
            absent = {key: None for key in wanted if key not in held}
            self.hits += len(wanted) - len(absent)
            self.misses += len(absent)
            return list(absent)
        for key in keys:
            state = held.pop(key, None)
            if state is None:
                absent[key] = None
            else:
                held[key] = state
                self.hits += 1
        self.misses += len(absent)
        return list(absent)

    def trim(self) -> None:
        """Drop the least recently used above the capacity."""
        excess = len(self._held) - self._capacity
        if excess > 0:
            for key in list(self._held)[:excess]:
                del self._held[key]


@dataclass(slots=True)
class PartitionState:
    """The states in memory of one partition's tenants."""

    targets: BoundedCache[TargetState]
    posts: BoundedCache[PostState]
    channels: BoundedCache[ChannelState]

    @classmethod
    def empty(cls, capacity: int) -> PartitionState:
        """No states yet.

        Args:
            capacity: most targets and posts kept each; channels get a tenth.
        """
        return cls(BoundedCache(capacity), BoundedCache(capacity), BoundedCache(max(1, capacity // 10)))

    def trim(self) -> None:
        """Bring all three back to their capacities."""
        self.targets.trim()
        self.posts.trim()
        self.channels.trim()
