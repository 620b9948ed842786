"""What the answers of platforms taught: targets, metrics, shapes of call and sizes that are refused; pure.

Held by the process, bounded, and forgotten at its end: what is still so is found again by a few calls.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from services.poller.asking.culprits import Culprits
from services.poller.asking.doubts import Doubts
from services.poller.asking.incidents import Incidents
from services.poller.asking.parts import Parts
from services.poller.asking.refusals import Refusals
from services.poller.asking.refused_shapes import RefusedShapes
from services.poller.asking.searches import Searches
from services.poller.asking.sizes import Sizes
from services.poller.keys import ChannelKey
from services.runtime.clock import MILLIS_PER_DAY

_MOST_TAUGHT = 100_000


def _no_channels(_: str) -> int:
    return 0


class Knowledge:
    """All of it.

    Args:
        channels_of: how many channels of a platform are polled.
        speed: divides every interval.

    Attributes:
        doubts: what failed without a reason.
        limited: what met a limit.
        parts: what was put off while a batch that fails was taken apart.
        refused_tokens: channels whose token is refused for one target as for another.
    """

    def __init__(self, channels_of: Callable[[str], int] = _no_channels, speed: float = 1.0) -> None:
        self.culprits = Culprits(speed)
        self.refusals = Refusals(int(MILLIS_PER_DAY / speed))
        self.shapes = RefusedShapes(speed)
        self.searches = Searches()
        self.sizes = Sizes(speed)
        self.incidents = Incidents(channels_of, speed)
        self.doubts = Doubts()
        self.limited = Doubts()
        self.parts = Parts()
        self.refused_tokens: set[ChannelKey] = set()
        # Of these channels something was learned: the parts are looked through for no other.
        self._taught: OrderedDict[ChannelKey, None] = OrderedDict()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known, so that everything is asked as it is."""
        return not (
            self.culprits or self.refusals or self.searches or self.shapes or self.sizes or self.incidents
            or self.may_doubt or self.parts
        )  # fmt: skip

    @property
    def may_doubt(self) -> bool:
        """Whether anything failed, or met a limit, of which it is not known whose matter that is."""
        return bool(self.doubts or self.limited)

    def culprit_again_at(self, owner: ChannelKey, key: ChannelKey, shape: str, external_id: str) -> int | None:
        """When (ms) a target may be asked for, by itself; None for one that is asked for together with others.

        Where nothing at all was answered when it failed, it is asked for as soon as something is.

        Args:
            owner: whose refusals its question meets.
        """
        again_at = self.culprits.again_at(key, shape, external_id)
        if again_at is None or (since := self.culprits.unsure_since(key, shape, external_id)) is None:
            return again_at
        return 0 if self.shapes.was_answered(owner, shape, since + 1) else again_at

    def forget(self, key: ChannelKey, external_id: str) -> bool:
        """The catalog has a target written again: ask for it; returns whether it was asked for apart."""
        return bool(self.culprits) and self.culprits.forget(key, (external_id,))

    def written(self, key: ChannelKey, now: int) -> bool:
        """The catalog has news of a channel's posts; returns whether something refused of it is tried soon."""
        return bool(self.shapes) and self.shapes.written(key, now)

    def taught(self, keys: Iterable[ChannelKey]) -> None:
        """Something is known of these channels from now on that a new connection may change."""
        for key in keys:
            self._taught[key] = None
            self._taught.move_to_end(key)
        while len(self._taught) > _MOST_TAUGHT:
            self._taught.popitem(last=False)

    def forget_channel(self, key: ChannelKey) -> bool:
        """A channel is connected anew: forget what was refused of it; returns whether anything was known."""
        for memory in (self.doubts, self.limited, self.parts):
            memory.forget_channel(key)
        self.refused_tokens.discard(key)
        if key not in self._taught:
            return False
        del self._taught[key]
        for part in (self.culprits, self.refusals, self.shapes, self.sizes):
            part.forget_channel(key)
        return True

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        for part in (
            self.culprits, self.refusals, self.searches, self.shapes, self.sizes, self.incidents, self.doubts,
            self.limited,
        ):  # fmt: skip
            part.clock_set_back(by)
