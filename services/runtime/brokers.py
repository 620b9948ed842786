"""What the project asks of Kafka, as the words that it uses for it; `kafka_brokers` asks Kafka itself.

Followers (`following`) and producers (`producing`) know brokers by these protocols alone, so that all that is built on
them runs on topics in memory too. Topics have their names without prefix here. No client, no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol


class BrokersUnavailable(Exception):
    """Kafka does not answer, or not as it was asked to; try again."""


class MessageTooLarge(Exception):
    """A message is larger than brokers take it; no repeat helps."""


class Place(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


class Bounds(NamedTuple):
    """Offsets that a partition has: from the first one held (`begin`) to the next one that can be read (`end`).

    For a reader of committed transactions the end lies before the first open one.
    """

    begin: int
    end: int

    def has(self, position: int) -> bool:
        """Whether a reader may stand at an offset; the end is one of them."""
        return self.begin <= position <= self.end


class Record(NamedTuple):
    """One message as it was read.

    Attributes:
        timestamp: ms, by the broker's clock.
        value: None is a tombstone.
        headers: in order. Of a message that could not be read whole the first says why (`fetching.why_unreadable`).
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
        """Where it was read."""
        return Place(self.topic, self.partition)


class Sent(NamedTuple):
    """Where a confirmed message lies."""

    partition: int
    offset: int


class Reader(Protocol):
    """One connection that reads partitions. Every method but `stand` and `written_to` may raise BrokersUnavailable."""

    async def start(self) -> None:
        """Connect."""

    async def bounds(self, places: Iterable[Place]) -> dict[Place, Bounds]:
        """The offsets that partitions have now."""

    async def offsets_at(self, instants: Mapping[Place, int]) -> dict[Place, int | None]:
        """The first offset whose message is not older than an instant (ms); None where no message is that young."""

    def stand(self, positions: Mapping[Place, int]) -> None:
        """Read these partitions from now on, and no others, each from an offset."""

    async def read(self, seconds: float, most: int) -> list[Record]:
        """The next records, in offset order of each partition; [] when there are none within the time.

        Raises:
            BrokersUnavailable: also when a partition no longer has the offset that is stood at.
        """

    async def position(self, place: Place) -> int:
        """The next offset to be read; ends of transactions and what compaction took are passed over by and by."""

    def written_to(self, place: Place) -> int | None:
        """The next offset to be written, as far as the last answer told; None before the first one."""

    async def committed(self, places: Iterable[Place]) -> dict[Place, int | None]:
        """Offsets that the reader's group has committed."""

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
        self, topic: str, partition: int, message_key: bytes | None, value: bytes | None
    ) -> asyncio.Future[Sent]:
        """Hand over one message; the future says where it lies, or raises BrokersUnavailable.

        Raises:
            BrokersUnavailable: it was not taken.
            MessageTooLarge: it never will be.
        """

    async def stop(self) -> None:
        """Send what is held, as long as that takes, and disconnect; raises nothing."""


class Brokers(Protocol):
    """Makes readers and writers of the same topics; they are not connected yet."""

    def reader(self, *, is_committed: bool, group: str | None = None, wait_seconds: float = 0.5) -> Reader:
        """A reader that is no member of any group.

        Args:
            is_committed: only messages of committed transactions are seen, and none behind one that is open.
            group: under whose name offsets are committed.
            wait_seconds: how long a broker may hold an answer back while it has no message.
        """

    def writer(self, *, is_durable: bool = True, linger_seconds: float = 0.0, batch_bytes: int = 16_384) -> Writer:
        """A writer.

        Args:
            is_durable: messages are confirmed by every replica in sync, and its own repeats double none. Otherwise the
                partition's leader alone confirms them.
            linger_seconds: how long a message waits for others to go with.
        """

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions each topic has; 0 of one that doesn't exist.

        Raises:
            BrokersUnavailable: no answer.
        """
