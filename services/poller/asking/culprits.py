"""Remembers which single targets platforms refuse, so that they spoil no batch again; pure. Instants are ms.

A target is found by asking for it alone. It is asked apart from then on, at intervals that grow, until it is answered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from services.platforms.base import Outcome
from services.poller.keys import ChannelKey
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR

MOST_CULPRITS = 50_000
# Between two tries: from the youngest posts' interval up to a day, each a little shorter, so that a try falls together
# with a regular poll.
FIRST_WAIT = int(0.9 * MILLIS_PER_HOUR / 2)
LONGEST_WAIT = int(0.9 * MILLIS_PER_DAY)
ANY = ""
"""Stands for every shape: what the platform says of a target itself holds for all calls about it."""
# Of these outcomes the shape of the call is of no matter.
_OF_THE_TARGET = frozenset({Outcome.TARGET_GONE, Outcome.NO_DATA_EVER, Outcome.TARGET_REFUSED})
# These stay so whatever connection asks.
_OF_ANY_CONNECTION = frozenset({Outcome.TARGET_GONE, Outcome.NO_DATA_EVER})


class _Culprit:
    __slots__ = ("again_at", "outcome", "tries")

    def __init__(self, outcome: Outcome) -> None:
        self.again_at = 0
        self.outcome = outcome
        self.tries = 0


class Culprits:
    """Targets that are asked for apart, by shape of call; the longest unheard-of are forgotten first.

    Args:
        speed: divides every interval.
    """

    def __init__(self, speed: float = 1.0, most: int = MOST_CULPRITS) -> None:
        self._speed = speed
        self._most = most
        self._known: OrderedDict[tuple[ChannelKey, str], dict[str, _Culprit]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def again_at(self, key: ChannelKey, shape: str, external_id: str) -> int | None:
        """When a target may be asked for, by itself; None for a target that is none of these."""
        shapes = self._known.get((key, external_id))
        if shapes is None:
            return None
        found = [shapes[name].again_at for name in {shape, ANY} if name in shapes]
        return max(found) if found else None

    def refused(self, key: ChannelKey, shape: str, external_id: str, outcome: Outcome, now: int) -> None:
        """A platform refused a target that was asked for alone."""
        name = ANY if outcome in _OF_THE_TARGET else shape
        culprit = self._known.setdefault((key, external_id), {}).setdefault(name, _Culprit(outcome))
        self._known.move_to_end((key, external_id))
        culprit.outcome = outcome
        culprit.tries += 1
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(culprit.tries - 1, 16))
        culprit.again_at = now + int(wait / self._speed)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def answered(self, key: ChannelKey, shape: str, external_id: str) -> None:
        """A platform has figures of a target."""
        shapes = self._known.get((key, external_id))
        if shapes is not None:
            shapes.pop(shape, None)
            shapes.pop(ANY, None)
            if not shapes:
                del self._known[key, external_id]

    def forget(self, key: ChannelKey, external_ids: Iterable[str]) -> bool:
        """Ask for these like for any other; returns whether one of them was known."""
        known = [self._known.pop((key, external_id), None) for external_id in external_ids]
        return any(shapes is not None for shapes in known)

    def forget_channel(self, key: ChannelKey) -> None:
        """A channel is connected anew: ask for what only its connection may have kept from it."""
        for held, shapes in [one for one in self._known.items() if one[0][0] == key]:
            left = {name: one for name, one in shapes.items() if one.outcome in _OF_ANY_CONNECTION}
            if left:
                self._known[held] = left
            else:
                del self._known[held]

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        for shapes in self._known.values():
            for culprit in shapes.values():
                culprit.again_at -= by
