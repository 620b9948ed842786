"""Remembers which single targets platforms refuse, so that they spoil no batch again; pure. Instants are ms.

A target is found by asking for it alone. It is asked apart from then on, at intervals that grow, until it is answered.
One that failed without a reason while its neighbours were answered is such a target, too. It may have met an outage in
parts, so for some hours it is tried at each poll; of a channel's targets that fail so, only some are tried at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from services.platforms.base import Outcome
from services.poller.asking.decide import UNEXPLAINED
from services.poller.keys import ChannelKey
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR

MOST_CULPRITS = 50_000
# Between two tries: from the youngest posts' interval up to a day, each a little shorter, so that a try falls together
# with a regular poll.
FIRST_WAIT = int(0.9 * MILLIS_PER_HOUR / 2)
LONGEST_WAIT = int(0.9 * MILLIS_PER_DAY)
# For how long tries of a target for which the platform failed are no further apart than the first two.
PATIENT = 6 * MILLIS_PER_HOUR
# So many of a channel's targets that fail so are tried in this time, until one of them is answered.
AT_ONCE = 3
_ROUND = MILLIS_PER_HOUR // 6
ANY = ""
"""Stands for every shape: what the platform says of a target itself holds for all calls about it."""
_MOST_HEALED = 5_000
# Of these outcomes the shape of the call is of no matter.
_OF_THE_TARGET = frozenset({Outcome.TARGET_GONE, Outcome.NO_DATA_EVER, Outcome.TARGET_REFUSED})


class _Culprit:
    __slots__ = ("again_at", "failing_since", "outcome", "refused_at", "tries", "unsure_since")

    def __init__(self, outcome: Outcome, now: int) -> None:
        self.again_at = 0
        self.unsure_since: int | None = None
        self.outcome = outcome
        self.failing_since = now
        self.refused_at = 0
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
        self._healed: OrderedDict[tuple[ChannelKey, str], int] = OrderedDict()
        # When targets of a channel and shape failed of late, one after the other.
        self._failed: OrderedDict[tuple[ChannelKey, str], list[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def again_at(self, key: ChannelKey, shape: str, external_id: str) -> int | None:
        """When a target may be asked for, by itself; None for a target that is none of these."""
        shapes = self._known.get((key, external_id))
        if shapes is None:
            return None
        found = [shapes[name].again_at for name in {shape, ANY} if name in shapes]
        if not found:
            return None
        failed = shapes.get(shape)
        if (
            failed is not None
            and failed.outcome in UNEXPLAINED
            and self._healed.get((key, shape), 0) > failed.refused_at
        ):
            return 0
        return max(found)

    def is_soon(self, again_at: int, now: int) -> bool:
        """Whether a try is no further away than an interval of the youngest posts."""
        return again_at - now < int(FIRST_WAIT / self._speed)

    def fails(self, key: ChannelKey, shape: str, external_id: str) -> bool:
        """Whether a target is one for which the platform failed, the last time that it was asked for."""
        found = self._known.get((key, external_id), {}).get(shape)
        return found is not None and found.outcome is Outcome.PLATFORM_DOWN

    def turn(self, key: ChannelKey, shape: str, external_id: str, now: int) -> tuple[bool, int]:
        """Sorts targets that fail: those that do so of late come first, and of these the longest untried."""
        found = self._known[key, external_id][shape]
        return not self._is_of_late(found, now), found.refused_at

    def room(self, key: ChannelKey, shape: str, now: int) -> int:
        """How many of a channel's targets that fail may be tried now."""
        begun = now - int(_ROUND / self._speed)
        return max(0, AT_ONCE - sum(at > begun for at in self._failed.get((key, shape), ())))

    def room_at(self, key: ChannelKey, shape: str, now: int) -> int:
        """When (ms) another target that fails may be tried, where there is no room now."""
        return self._failed[key, shape][0] + int(_ROUND / self._speed) if not self.room(key, shape, now) else now

    def refused_at(self, key: ChannelKey, shape: str, external_id: str) -> int | None:
        """When a target was refused the last time."""
        found = self._known.get((key, external_id), {}).get(shape)
        return None if found is None else found.refused_at

    def unsure_since(self, key: ChannelKey, shape: str, external_id: str) -> int | None:
        """Since when (ms) it is not known whether a target failed for itself; None where that is known."""
        found = self._known.get((key, external_id), {}).get(shape)
        return None if found is None else found.unsure_since

    def refused(
        self, key: ChannelKey, shape: str, external_id: str, outcome: Outcome, now: int, *, is_sure: bool = True
    ) -> None:
        """A platform refused a target that was asked for alone.

        Args:
            is_sure: whether it is known that nothing else would have been refused.
        """
        name = ANY if outcome in _OF_THE_TARGET else shape
        culprit = self._known.setdefault((key, external_id), {}).setdefault(name, _Culprit(outcome, now))
        self._known.move_to_end((key, external_id))
        if outcome is Outcome.PLATFORM_DOWN:
            self._note_failure(key, shape, now)
            if culprit.outcome is not outcome:
                culprit.failing_since, culprit.tries = now, 0
        culprit.outcome = outcome
        is_early = outcome is Outcome.PLATFORM_DOWN and self._is_of_late(culprit, now)
        culprit.tries = 1 if is_early else culprit.tries + 1
        culprit.refused_at = now
        culprit.unsure_since = None if is_sure else now
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(culprit.tries - 1, 16))
        culprit.again_at = now + int(wait / self._speed)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def answered(self, key: ChannelKey, shape: str, external_id: str, now: int) -> None:
        """A platform has figures of a target."""
        shapes = self._known.get((key, external_id))
        if shapes is not None:
            failed = shapes.pop(shape, None)
            if failed is not None and failed.outcome in UNEXPLAINED:
                # What it failed for is over, and may be for others.
                self._failed.pop((key, shape), None)
                self._healed[key, shape] = now
                self._healed.move_to_end((key, shape))
                if len(self._healed) > _MOST_HEALED:
                    self._healed.popitem(last=False)
            shapes.pop(ANY, None)
            if not shapes:
                del self._known[key, external_id]

    def forget(self, key: ChannelKey, external_ids: Iterable[str]) -> bool:
        """Ask for these like for any other; returns whether one of them was known."""
        known = [self._known.pop((key, external_id), None) for external_id in external_ids]
        return any(shapes is not None for shapes in known)

    def forget_channel(self, key: ChannelKey) -> None:
        """A channel is connected anew: what was refused of its connection may be given to another."""
        for held in [held for held in self._known if held[0] == key]:
            del self._known[held]

    def _is_of_late(self, culprit: _Culprit, now: int) -> bool:
        return now - culprit.failing_since < int(PATIENT / self._speed)

    def _note_failure(self, key: ChannelKey, shape: str, now: int) -> None:
        self._failed[key, shape] = [*self._failed.get((key, shape), ())[1 - AT_ONCE :], now]
        self._failed.move_to_end((key, shape))
        if len(self._failed) > _MOST_HEALED:
            self._failed.popitem(last=False)

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        self._healed.clear()
        self._failed.clear()
        for shapes in self._known.values():
            for culprit in shapes.values():
                culprit.again_at -= by
                culprit.refused_at -= by
                culprit.failing_since -= by
                culprit.unsure_since = None if culprit.unsure_since is None else culprit.unsure_since - by
