"""Remembers how many targets of a channel a platform answers at once; pure. Instants are ms."""

from __future__ import annotations

from collections import OrderedDict

from services.poller.keys import ChannelKey
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR

MOST_SIZES = 20_000
# A size that was told to be too large doubles after a day without such an answer; one that timed out after an hour,
# since a platform that is slow for everybody says little of the size.
GROWS_AFTER = MILLIS_PER_DAY
GROWS_AFTER_SLOWNESS = MILLIS_PER_HOUR
# Times that a call about several targets has to time out in a row before the number of targets is blamed.
SLOW_CALLS = 2


class _Size:
    __slots__ = ("at", "grows_after", "most")

    def __init__(self, most: int, at: int, grows_after: int) -> None:
        self.most = most
        self.at = at
        self.grows_after = grows_after


class Sizes:
    """The most targets in a call, by channel and shape of call; the longest unused are forgotten first.

    Args:
        speed: divides every interval.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._known: OrderedDict[tuple[ChannelKey, str], _Size] = OrderedDict()
        self._slow: OrderedDict[tuple[ChannelKey, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def most(self, key: ChannelKey, shape: str, now: int) -> int | None:
        """How many targets may be asked for at once; None where nothing is known against any number."""
        size = self._known.get((key, shape))
        if size is None:
            return None
        while now - size.at >= (after := int(size.grows_after / self._speed)):
            size.most *= 2
            size.at += after
            if size.most > 1000:
                del self._known[key, shape]
                return None
        return size.most

    def too_many(self, key: ChannelKey, shape: str, count: int, now: int, *, is_slow: bool = False) -> None:
        """So many were too many."""
        known = self._known.get((key, shape))
        most = max(1, count // 2)
        if known is not None:
            most = min(most, known.most)
        self._known[key, shape] = _Size(most, now, GROWS_AFTER_SLOWNESS if is_slow else GROWS_AFTER)
        self._known.move_to_end((key, shape))
        while len(self._known) > MOST_SIZES:
            self._known.popitem(last=False)

    def timed_out(self, key: ChannelKey, shape: str, count: int, now: int) -> None:
        """A call about several targets timed out; the second one in a row is too large."""
        self._slow[key, shape] = self._slow.pop((key, shape), 0) + 1
        if self._slow[key, shape] >= SLOW_CALLS:
            del self._slow[key, shape]
            self.too_many(key, shape, count, now, is_slow=True)
        while len(self._slow) > MOST_SIZES:
            self._slow.popitem(last=False)

    def blameless(self, key: ChannelKey, shape: str) -> None:
        """What timed out was one target, and not the number of them."""
        size = self._known.get((key, shape))
        if size is not None and size.grows_after == GROWS_AFTER_SLOWNESS:
            del self._known[key, shape]

    def answered(self, key: ChannelKey, shape: str) -> None:
        """An answer came in time."""
        if self._slow:
            self._slow.pop((key, shape), None)

    def forget_channel(self, key: ChannelKey) -> None:
        """A channel is connected anew: ask for any number at once."""
        for known in (self._known, self._slow):
            for held in [one for one in known if one[0] == key]:
                del known[held]

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        for size in self._known.values():
            size.at -= by
