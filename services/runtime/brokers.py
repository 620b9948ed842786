"""The few operations of Kafka that the project uses, as protocols; `kafka_brokers` implements them on Kafka itself.

Followers (`following`) and producers (`producing`) know brokers by these protocols alone, so that everything built on
them runs on topics in memory too. Topics are named without prefix here. No client, no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol


class BrokersUnavailable(Exception):
    """Kafka does not answer, or answers with an error; try again."""


class MessageTooLarge(Exception):
    """A message is larger than brokers accept; sending it again does not help."""


class Place(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


class Bounds(NamedTuple):
    """Offsets that a partition has: from the first one held (`begin`) to the next one to be read (`end`).

    For a reader of committed transactions the end lies before the first open transaction.
    """

    begin: int
    end: int

    def has(self, position: int) -> bool:
        """Whether a reader may stand at an offset: one that is held, or the end."""
        return self.begin <= position <= self.end


class Record(NamedTuple):
    """One message that was read.

    Attributes:
        timestamp: ms, by the broker's clock.
        value: None is a tombstone.
        headers: in order. The first header of a message that could not be read whole is the reason; see
            `fetching.why_unreadable`.

    Where a reader reads in batches, a record is some whole batches of messages as the broker stored them: their bytes
    are the value, its offset is that of the last message, and it has no key.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()

    @property
    def place(self) -> Place:
        """The partition that the record was read from."""
        return Place(self.topic, self.partition)


def last_of_each(records: Iterable[Record]) -> dict[Place, Record]:
    """The last record of each partition; records come in the order of each partition."""
    # Their first two fields are their place: to make a `Place` of each costs as much as to read it.
    last = {record[:2]: record for record in records}
    return {Place(*at): record for at, record in last.items()}


class Sent(NamedTuple):
    """Partition and offset of a confirmed message."""

    partition: int
    offset: int


class Reader(Protocol):
    """One connection that reads partitions. All methods but `stand` and `written_to` may raise BrokersUnavailable."""

    async def start(self) -> None:
        """Connect to the brokers; other methods may be called once this returns."""

    async def bounds(self, places: Iterable[Place]) -> dict[Place, Bounds]:
        """Ask for the offsets that partitions have now."""

    async def offsets_at(self, instants: Mapping[Place, int]) -> dict[Place, int | None]:
        """The first offset whose message is not older than an instant (ms); None where all messages are older."""

    def stand(self, positions: Mapping[Place, int]) -> None:
        """Read these partitions from now on, each from the given offset, and no others."""

    async def read(self, seconds: float, most: int) -> list[Record]:
        """The next records, in offset order within each partition; [] when none came within the time.

        Raises:
            BrokersUnavailable: also when a partition no longer has the reader's offset.
        """

    async def position(self, place: Place) -> int:
        """The next offset to be read; it also moves past ends of transactions and records removed by compaction."""

    def written_to(self, place: Place) -> int | None:
        """The next offset to be written, as of Kafka's last answer; None before the first answer."""

    async def committed(self, places: Iterable[Place]) -> dict[Place, int | None]:
        """The offsets that the reader's group has committed; None for a partition without one."""

    async def commit(self, positions: Mapping[Place, int]) -> None:
        """Commit offsets for the reader's group."""

    async def stop(self) -> None:
        """Disconnect, whatever state the connection is in; raises nothing."""


class Writer(Protocol):
    """One connection that writes. A message is durable once its future has a result."""

    async def start(self) -> None:
        """Connect.

        Raises:
            BrokersUnavailable: try again, with another writer.
        """

    async def send(
        self,
        topic: str,
        partition: int,
        message_key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[Sent]:
        """Hand over one message; the future's result is the message's place, or it raises BrokersUnavailable.

        Raises:
            BrokersUnavailable: the message was not accepted.
            MessageTooLarge: the message will never be accepted.
        """

    async def stop(self) -> None:
        """Send all held messages, however long that takes, and disconnect; raises nothing."""


class Brokers(Protocol):
    """Makes readers and writers, which are not connected yet, of one set of topics."""

    def reader(
        self, *, is_committed: bool, group: str | None = None, wait_seconds: float = 0.5, in_batches: bool = False
    ) -> Reader:
        """A reader that is no member of any group.

        Args:
            is_committed: whether only messages of committed transactions are read, and none after an open one.
            group: the group in whose name offsets are committed.
            wait_seconds: how long a broker may wait for a message before it answers.
            in_batches: whether a record is some whole batches, for `fetching.unpacked` in another process. The first
                batch may begin before the reader's position.
        """

    def writer(self, *, is_durable: bool = True, linger_seconds: float = 0.0, batch_bytes: int = 16_384) -> Writer:
        """A writer that is not connected yet.

        Args:
            is_durable: whether every replica in sync confirms a message, and the writer's own repeats never double
                one. Otherwise the partition's leader alone confirms.
            linger_seconds: how long a message waits for others to form a batch.
        """

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions each topic has; 0 of one that doesn't exist.

        Raises:
            BrokersUnavailable: Kafka did not answer.
        """
