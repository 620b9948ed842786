"""Which partitions this process may ask platforms for, and when; pure.

A partition of every topic holds the same workspaces, so one number stands for a share of all channels. The consumer
group says whose it is (`membership.py`); here is what follows from that, and from time.

The group's word grows old: a process that was frozen, or cut off from Kafka, may have lost its place without knowing.
So each call needs a lease. Kafka renews it (a commit that it accepts proves that the sender was a member when it
arrived, and keeps its place for a session), and it ends half a session after the proof was sent. Whoever takes over
does so no earlier than a whole session after that, or after this process has given the partition back.

A partition goes through these stages; each other change is a mistake:

    gain -> LOADING -> activate -> ACTIVE -> drain -> DRAINING -> give_up
               |                     |                               ^
               `---------------------+-------------------------------'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum

Ticks = Callable[[], int]
"""Milliseconds of a clock that only goes forward, also while the process is frozen."""


class Stage(Enum):
    """Where in its life a partition of this process stands."""

    LOADING = "loading"  # its catalog is being read
    ACTIVE = "active"  # its channels are asked for
    DRAINING = "draining"  # calls under way are finished, none is begun


class Ownership:
    """The partitions of this process.

    Args:
        partitions: how many there are in all.
        lease: ms that a proof is good for.
        ticks: the clock.
        partition_of: the partition of a workspace.
    """

    def __init__(self, partitions: int, lease: int, ticks: Ticks, partition_of: Callable[[str], int]) -> None:
        self.partitions = partitions
        self.lease = lease
        self._ticks = ticks
        self._partition_of = partition_of
        self._stages: dict[int, Stage] = {}
        self._not_before: dict[int, int] = {}
        self._working: Counter[int] = Counter()
        self._proven_at: int | None = None
        self.on_idle: Callable[[int], None] = _nothing

    # What the group says

    def gain(self, partition: int, not_before: int = 0) -> None:
        """The group gave this process a partition.

        Args:
            not_before: ticks before which its former owner might still ask.
        """
        if partition in self._stages:
            raise ValueError(f"partition {partition} is gained twice")
        self._stages[partition] = Stage.LOADING
        self._not_before[partition] = not_before

    def activate(self, partition: int) -> None:
        """Its catalog has been read."""
        if self._stages.get(partition) is not Stage.LOADING:
            raise ValueError(f"partition {partition} is {self._stages.get(partition)}, not loading")
        self._stages[partition] = Stage.ACTIVE

    def drain(self, partitions: Iterable[int] | None = None) -> None:
        """Begin no more calls for these of the partitions held (None: all)."""
        for partition in list(self._stages) if partitions is None else partitions:
            if partition in self._stages:
                self._stages[partition] = Stage.DRAINING

    def give_up(self, partition: int) -> None:
        """It belongs to somebody else from here on; once more changes nothing."""
        self._stages.pop(partition, None)
        self._not_before.pop(partition, None)

    def prove(self, sent_at: int) -> None:
        """Kafka accepted what this process sent, at these ticks, as a member of the group."""
        if self._proven_at is None or sent_at > self._proven_at:
            self._proven_at = sent_at

    # What may be done

    def holds(self, partition: int) -> bool:
        """Whether a partition was gained and not given up."""
        return partition in self._stages

    def stage(self, partition: int) -> Stage | None:
        """How far a partition is; None when it is not this process's."""
        return self._stages.get(partition)

    def held(self, *stages: Stage) -> list[int]:
        """The partitions in these stages (none named: all), ascending."""
        return sorted(number for number, stage in self._stages.items() if not stages or stage in stages)

    def share(self) -> float:
        """The part (0..1) of all channels that is this process's, by partitions; budgets are divided by it."""
        return len(self._stages) / self.partitions

    def word_age(self) -> int | None:
        """Ms since Kafka last confirmed the membership; None when it never did."""
        return None if self._proven_at is None else self._ticks() - self._proven_at

    def is_leased(self) -> bool:
        """Whether the last word of Kafka is young enough to act by."""
        age = self.word_age()
        return age is not None and age < self.lease

    def is_active(self, workspace_id: str) -> bool:
        """Whether a workspace's channels are this process's to poll, whatever the lease says at this moment."""
        return self._stages.get(self._partition_of(workspace_id)) is Stage.ACTIVE

    def may_ask(self, workspace_id: str) -> bool:
        """Whether a platform may be called for a workspace; to be asked right before each call."""
        partition = self._partition_of(workspace_id)
        return (
            self._stages.get(partition) is Stage.ACTIVE
            and self.is_leased()
            and self._ticks() >= self._not_before[partition]
        )

    def wait(self, partitions: Iterable[int]) -> int:
        """For how many ms a former owner of these might still ask."""
        return max([0, *(self._not_before.get(partition, 0) - self._ticks() for partition in partitions)])

    # What is under way

    @contextmanager
    def working(self, workspace_id: str) -> Iterator[None]:
        """Something is being done for a workspace that its partition's next owner had better wait for."""
        partition = self._partition_of(workspace_id)
        self._working[partition] += 1
        try:
            yield
        finally:
            self._working[partition] -= 1
            if not self._working[partition]:
                del self._working[partition]
                self.on_idle(partition)

    def is_idle(self, partitions: Iterable[int]) -> bool:
        """Whether nothing is under way for any of these."""
        return not any(self._working[partition] for partition in partitions)


def _nothing(_: int) -> None:
    """Stands in for a listener until one is set."""


def alone() -> Ownership:
    """A process that shares with nobody: everything is its own, at all times."""
    ownership = Ownership(1, 1, lambda: 0, lambda _: 0)
    ownership.gain(0)
    ownership.activate(0)
    ownership.prove(0)
    return ownership
