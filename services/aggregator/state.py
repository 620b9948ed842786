"""States of targets, posts and channels, in bounded memory. Pure.

Every state is also stored in ClickHouse, so a cache entry may be dropped at a batch's end and read again later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from schemas.metrics import CHANNEL_METRICS, POST_METRICS
from schemas.registers import Register, empty_register
from schemas.windows import DAY, LONGEST_RANGE, NATIVE_MAX_AGE, ChannelPeriod, WindowTarget

Key = tuple[str, str]
"""(workspace_id, id)"""
PeriodKey = tuple[str, int | None, int | None]
"""(period, start ms, end ms)"""

NO_POST_REGISTER = empty_register(len(POST_METRICS))
NO_CHANNEL_REGISTER = empty_register(len(CHANNEL_METRICS))
# A target leaves a channel's window memory a day after it left the longest window that can still be shown. The
# platform's own window may have ended a while ago, and posts are summed within that window's bounds.
WINDOW_MEMORY = LONGEST_RANGE + NATIVE_MAX_AGE + DAY
# Days and windows that ended longer ago than this can't be part of any window any more.
PERIOD_MEMORY = LONGEST_RANGE + 10 * DAY


@dataclass(slots=True)
class TargetState:
    """One target: its place in the catalog, and its latest figures.

    Attributes:
        post_id: the target's post in the catalog; for a target that the catalog does not hold, the post named by the
            first event of the target.
        channel_id: the target's channel, found like the post.
        is_listed: whether the catalog holds the target in a post that is not deleted.
        published_at: ms; None for a target that is not published.
    """

    target_id: str
    post_id: str = ""
    channel_id: str = ""
    is_listed: bool = False
    published_at: int | None = None
    register: Register = NO_POST_REGISTER

    @property
    def is_measured(self) -> bool:
        """Whether any answer held figures of the target."""
        return self.register.captured_at is not None


@dataclass(slots=True)
class PostState:
    """One post and its targets.

    Attributes:
        is_held: whether the catalog holds the post; false for a post whose status is `deleted`.
        target_ids: the post's targets in the catalog's order.
        updated_at: when the post was last written to the catalog, ms.
    """

    post_id: str
    is_held: bool = False
    target_ids: tuple[str, ...] = ()
    updated_at: int = 0


class Listing(NamedTuple):
    """An entry of a target in a post of the catalog, where neither the post nor the entry is deleted.

    A target belongs to the greatest of its listings, by the time of the post's last write and then by the post's id. So
    the catalog's contents decide, and not the order or the batches in which catalog writes were read.

    Attributes:
        updated_at: when the post was last written, ms.
        published_at: when the target was published, ms; None for a target that is not published.
    """

    updated_at: int
    post_id: str
    channel_id: str
    published_at: int | None

    @property
    def rank(self) -> tuple[int, str]:
        """The sort key that decides between listings: the post's last write (ms), then the post's id."""
        return self.updated_at, self.post_id


@dataclass(slots=True)
class ChannelState:
    """One channel: its place in the catalog, its own figures, and the targets that its windows can hold.

    Attributes:
        is_held: whether the catalog holds the channel.
        platform: the platform in the catalog; empty while the catalog does not hold the channel.
        is_active: whether the channel is polled, by its status in the catalog.
        periods: the channel's own latest figures, by period.
        window: listed targets that were published within `WINDOW_MEMORY`, by id.
        measured_count: number of listed targets of any age that were ever measured.
    """

    channel_id: str
    is_held: bool = False
    platform: str = ""
    is_active: bool = False
    periods: dict[PeriodKey, Register] = field(default_factory=dict)
    window: dict[str, WindowTarget] = field(default_factory=dict)
    measured_count: int = 0

    @property
    def captured_at(self) -> int | None:
        """When the newest answer with the channel's own figures was captured, ms; None without such an answer."""
        return max((held.captured_at for held in self.periods.values() if held.captured_at is not None), default=None)

    def channel_periods(self) -> list[ChannelPeriod]:
        """The channel's own figures in the form of `schemas.windows`."""
        return [ChannelPeriod(*key, register.values) for key, register in self.periods.items()]

    def take(self, target: TargetState, now: int) -> None:
        """Keep a target's figures for the windows, or drop a target that no window of this channel can hold.

        Args:
            now: ms.
        """
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
        """Drop targets and periods that no window ending at `now` (ms) or later can hold."""
        for target_id in [tid for tid, held in self.window.items() if held.published_at < now - WINDOW_MEMORY]:
            del self.window[target_id]
        for key in [key for key in self.periods if key[2] is not None and key[2] < now - PERIOD_MEMORY]:
            del self.periods[key]


Held = TypeVar("Held")


class BoundedCache(dict[Key, Held]):
    """States by key; only `trim` drops states, the least recently used ones first.

    A dictionary itself, since each snapshot looks up six states; unlike others it is equal to itself alone.

    Args:
        capacity: the number of entries that `trim` keeps.

    Attributes:
        hits: how many keys asked of `missing` were held.
        misses: how many keys asked of `missing` were not held.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self.hits = 0
        self.misses = 0

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__  # type: ignore[assignment]  # dict has None

    def put(self, key: Key, state: Held) -> None:
        """Keep a state as the most recently used entry."""
        self.pop(key, None)
        self[key] = state

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        """The keys that are not held, each once; the held keys become the most recently used ones."""
        absent: dict[Key, None] = {}
        if len(self) <= self._capacity // 2:
            # A cache that is half empty drops nothing soon, so the order of use need not be kept.
            wanted = dict.fromkeys(keys)
            absent = {key: None for key in wanted if key not in self}
            self.hits += len(wanted) - len(absent)
            self.misses += len(absent)
            return list(absent)
        for key in keys:
            state = self.pop(key, None)
            if state is None:
                absent[key] = None
            else:
                self[key] = state
                self.hits += 1
        self.misses += len(absent)
        return list(absent)

    def forget(self, workspace_id: str) -> None:
        """Drop a workspace's entries."""
        for key in [key for key in self if key[0] == workspace_id]:
            del self[key]

    def trim(self) -> None:
        """Drop the least recently used entries above the capacity."""
        excess = len(self) - self._capacity
        if excess > 0:
            for key in list(self)[:excess]:
                del self[key]


@dataclass(slots=True)
class PartitionState:
    """The states of one partition's tenants in memory."""

    targets: BoundedCache[TargetState]
    posts: BoundedCache[PostState]
    channels: BoundedCache[ChannelState]

    @classmethod
    def empty(cls, capacity: int) -> PartitionState:
        """Make a state of a partition without any entries.

        Args:
            capacity: the most targets kept by `trim`, and as many posts; a tenth as many channels.
        """
        return cls(BoundedCache(capacity), BoundedCache(capacity), BoundedCache(max(1, capacity // 10)))

    def forget(self, workspace_id: str) -> None:
        """Drop a workspace's targets, posts and channels."""
        self.targets.forget(workspace_id)
        self.posts.forget(workspace_id)
        self.channels.forget(workspace_id)

    def trim(self) -> None:
        """Drop the least recently used targets, posts and channels above their capacities."""
        self.targets.trim()
        self.posts.trim()
        self.channels.trim()
