"""How far the reader of partitions is behind what was written to them. Pure but for its clocks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from services.runtime.brokers import Place
from services.runtime.clock import Clock


class Lag(NamedTuple):
    """How far a follower is behind, by Kafka's last answer.

    Attributes:
        messages: offsets written and not taken yet; ends of transactions and records removed by compaction count too.
        seconds: for how long the follower has been out of date: 0 while everything written is taken; during the first
            read, the age of the last message taken; while Kafka is away, the time since Kafka last answered.
    """

    messages: int
    seconds: float


class LagMeter:
    """Compares the positions that a follower has reached with the ends that Kafka told.

    Args:
        positions: the next offset of each partition; the follower goes on changing it.
        clock: the clock that messages' times are compared with.
        now: seconds of a clock that only goes forward.
    """

    def __init__(self, positions: Mapping[Place, int], clock: Clock, now: Callable[[], float]) -> None:
        self._positions = positions
        self._clock = clock
        self._now = now
        # Since when partitions have unread messages, and times (ms) of the messages read last.
        self._behind_since: dict[Place, float] = {}
        self._times: dict[Place, int] = {}
        self.written: dict[Place, int] = {}
        """How far each partition is known to be written, since the connection."""

    def connected(self, ends: Mapping[Place, int]) -> None:
        """Forget what an earlier connection told; the partitions are written up to these ends."""
        self._times = {}
        self.written = {}
        self.wrote(ends)

    def wrote(self, ends: Mapping[Place, int]) -> None:
        """Note how far partitions are known to be written."""
        now = self._now()
        for place, end in ends.items():
            if end > self.written.get(place, -1):
                self.written[place] = end
                if end > self._positions.get(place, 0):
                    self._behind_since.setdefault(place, now)

    def read(self, times: Mapping[Place, int]) -> None:
        """Note when the messages that were read last were written (ms)."""
        self._times |= times

    def moved(self, places: Collection[Place]) -> None:
        """Note that the positions of these partitions have moved."""
        for place in places:
            if self._positions[place] >= self.written.get(place, 0):
                self._behind_since.pop(place, None)

    def lag(self, first_read: Collection[Place], least_seconds: float) -> Lag:
        """How far the follower is behind.

        Args:
            first_read: partitions that are not yet read to their ends at the time of the connection.
            least_seconds: for how long it is unsure whether everything is read.
        """
        behind = {
            place: self.written[place] - at for place, at in self._positions.items() if self.written.get(place, 0) > at
        }
        ages = [self._age(place, place in first_read) for place in behind]
        return Lag(sum(behind.values()), max([least_seconds, *ages, 0.0]))

    def _age(self, place: Place, is_first_read: bool) -> float:
        """For how many seconds a partition with unread messages has been out of date."""
        if is_first_read and place in self._times:
            return (self._clock.now() - self._times[place]) / 1000
        now = self._now()
        return now - self._behind_since.get(place, now)
