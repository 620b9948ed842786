"""The simulated world of the poller: channels and posts of realistic numbers and ages, and a referee of limits.

The same for every run: all numbers come of one seed.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from schemas.events import CatalogChannel, CatalogPost, CatalogTarget
from services.platforms.base import Limit, LimitState
from services.poller.asking.budget import WindowKey
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR, MILLIS_PER_SECOND

START = 1_790_000_000_000
LIFETIME_DAYS = 90
_CHANNELS_A_WORKSPACE = 5
# The share of channels and what their owners post there compared with the others: our estimate of a publishing
# product's mix; the limits don't depend on it.
PLATFORMS: Mapping[str, tuple[float, float]] = {
    "x": (0.16, 1.6),
    "instagram": (0.19, 1.0),
    "facebook": (0.18, 1.0),
    "linkedin": (0.15, 0.8),
    "tiktok": (0.08, 0.9),
    "youtube": (0.06, 0.6),
    "threads": (0.05, 0.7),
    "bluesky": (0.04, 1.0),
    "pinterest": (0.04, 0.7),
    "google_business": (0.03, 0.4),
    "reddit": (0.02, 0.6),
}
# Posts a channel are spread as widely as this (sigma of the logarithm): a few channels post dozens a day, half of them
# less than one a week.
_SPREAD = 1.6
# Posts by hour of the day, UTC: most go out in working hours.
_HOURS = (1, 1, 1, 1, 1, 2, 4, 7, 10, 12, 12, 12, 12, 13, 13, 12, 12, 11, 9, 7, 6, 4, 3, 2)


# One post in so many is a culprit, told by the millisecond at which it goes out.
CULPRIT_OF = 100
_CULPRIT = 37
# And of these one in so many fails for good.
FAILING_OF = 10


class Fault(Enum):
    """What is wrong with a culprit; the value is how the number in its id begins."""

    REFUSED = "1700000000"  # a batch is refused for it, or a metric is refused of it
    GONE = "1800000000"  # left out of answers, or said to be gone
    FAILING = "1600000000"  # every call about it is answered by a page of an error


_WELL = "1900000000"
# Where one post makes a batch fail, or a metric can be refused; elsewhere all culprits are gone.
_REFUSING = frozenset({"x", "linkedin", "bluesky", "facebook", "instagram", "threads"})


def is_culprit(published_at: int) -> bool:
    """Whether a post that goes out then (ms) is a culprit, in a world that has some."""
    return published_at % CULPRIT_OF == _CULPRIT


def fault_in(external_id: str) -> Fault | None:
    """What is wrong with the post of an id."""
    return next((fault for fault in Fault if fault.value in external_id), None)


class Birth(NamedTuple):
    """A post that goes out."""

    at: int
    number: int
    channel: int


@dataclass
class World:
    """Channels, and the posts of all times in order.

    Attributes:
        platforms: of each channel.
        keys: (workspace_id, channel_id) of each channel.
        posts_at: when each post goes out, ms, ascending.
        posts_of: the channel of each post.
        has_culprits: whether one post in a hundred is a culprit.
    """

    platforms: list[str]
    keys: list[tuple[str, str]]
    posts_at: array[int]
    posts_of: array[int]
    has_culprits: bool = False

    def channel(self, number: int) -> CatalogChannel:
        """The catalog's event of a channel."""
        workspace_id, channel_id = self.keys[number]
        platform = self.platforms[number]
        external_id = f"urn:li:organization:{number}" if platform == "linkedin" else f"{10**16 + number}"
        return CatalogChannel(workspace_id, channel_id, platform, external_id, f"name{number}", "active", None, START)

    def post(self, number: int) -> CatalogPost:
        """The catalog's event of a post; its ids are as long as real ones."""
        channel, at = self.posts_of[number], self.posts_at[number]
        workspace_id, channel_id = self.keys[channel]
        external_id = self._external_id(self.platforms[channel], channel, number, at)
        target = CatalogTarget(_uuid(number, 1), channel_id, "post", "published", external_id)
        return CatalogPost(workspace_id, _uuid(number, 2), "published", at, at, (target,), at)

    def _external_id(self, platform: str, channel: int, number: int, at: int) -> str:
        begins = _WELL
        if self.has_culprits and is_culprit(at):
            is_refused = platform in _REFUSING and at // CULPRIT_OF % 2
            is_failing = at // CULPRIT_OF % FAILING_OF == FAILING_OF - 1
            begins = (Fault.FAILING if is_failing else Fault.REFUSED if is_refused else Fault.GONE).value
        told = f"{begins}{number:09}"
        if platform == "linkedin":
            return f"urn:li:share:{told}"
        if platform == "facebook":
            return f"{10**15 + channel}_{told}"
        is_malformed = begins == Fault.REFUSED.value
        if platform == "bluesky":
            # A handle has a dot.
            owner = "nobody" if is_malformed else "did:plc:k7aaaabbbbccccddddeeeeff"
            return f"at://{owner}/app.bsky.feed.post/{told}"
        return f"{told}x" if platform == "x" and is_malformed else told

    def births(self, begin: int, end: int) -> Iterator[Birth]:
        """Posts that go out in [begin, end), in order."""
        position = _first_at(self.posts_at, begin)
        while position < len(self.posts_at) and self.posts_at[position] < end:
            yield Birth(self.posts_at[position], position, self.posts_of[position])
            position += 1


def _uuid(number: int, kind: int) -> str:
    mixed = (number * 0x9E3779B97F4A7C15 + kind) & 0xFFFFFFFFFFFFFFFF
    text = f"{mixed:016x}{number:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _first_at(times: array[int], at: int) -> int:
    low, high = 0, len(times)
    while low < high:
        middle = (low + high) // 2
        if times[middle] < at:
            low = middle + 1
        else:
            high = middle
    return low


def world(posts: int, channels: int, begin: int, end: int, seed: int = 7, *, has_culprits: bool = False) -> World:
    """So many posts on so many channels, going out between two instants; see `World` for culprits."""
    chance = random.Random(seed)
    platforms = [name for name, (share, _) in PLATFORMS.items() for _ in range(max(1, round(share * channels)))]
    platforms = (platforms + ["facebook"] * channels)[:channels]
    chance.shuffle(platforms)
    keys = [(f"workspace-{number // _CHANNELS_A_WORKSPACE:06d}", _uuid(number, 3)) for number in range(channels)]
    weights = [PLATFORMS[name][1] * chance.lognormvariate(0.0, _SPREAD) for name in platforms]
    owners = chance.choices(range(channels), weights, k=posts)
    drawn = []
    days = (end - begin) // MILLIS_PER_DAY
    hours = chance.choices(range(24), _HOURS, k=posts)
    for owner, hour in zip(owners, hours, strict=True):
        day = begin - begin % MILLIS_PER_DAY + chance.randrange(days + 1) * MILLIS_PER_DAY
        at = day + hour * MILLIS_PER_HOUR + chance.randrange(MILLIS_PER_HOUR)
        drawn.append((min(max(at, begin), end - 1) << 32) | owner)
    drawn.sort()
    return World(
        platforms,
        keys,
        array("q", (one >> 32 for one in drawn)),
        array("i", (one & 0xFFFFFFFF for one in drawn)),
        has_culprits,
    )


class Referee:
    """Counts every call against the documented limits, apart from the poller's own bookkeeping.

    Attributes:
        calls: made, by platform and limit group.
        violations: calls that were one too many for a limit, whatever stretch of time as long as its window is taken.
        fullest: the greatest part (0..1) of each limit that was used, by platform and group.
    """

    def __init__(self, limits: Mapping[str, Iterable[Limit]]) -> None:
        self._limits: dict[tuple[str, str], list[Limit]] = {}
        for name, listed in limits.items():
            for limit in listed:
                self._limits.setdefault((name, limit.group), []).append(limit)
        self._log: dict[WindowKey, deque[int]] = {}
        self.calls: Counter[tuple[str, str]] = Counter()
        self.violations = 0
        self.fullest: dict[str, float] = {}

    def call(self, key: WindowKey, now: int) -> LimitState | None:
        """A call is made; returns what the platform's headers say where it is X, which has such."""
        self.calls[key.platform, key.limit_group] += 1
        state = None
        for limit in self._limits.get((key.platform, key.limit_group), ()):
            log = self._log.setdefault(key.app if limit.is_app_wide else key, deque())
            window = limit.window_seconds * MILLIS_PER_SECOND
            while log and log[0] <= now - window:
                log.popleft()
            log.append(now)
            used = len(log) / limit.calls
            self.violations += used > 1
            name = f"{key.platform} {key.limit_group}"
            self.fullest[name] = max(self.fullest.get(name, 0.0), used)
            if key.platform == "x":
                state = LimitState(limit.calls, limit.calls - len(log), log[0] + window)
        return state
