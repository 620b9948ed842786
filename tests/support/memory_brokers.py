"""Topics in memory that keep offsets as Kafka does, and pass the contract suite of real brokers (`broker_contract`).

With ends of transactions, what retention and compaction take, topics made anew, and times when no broker answers.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from services.runtime.brokers import Bounds, BrokersUnavailable, MessageTooLarge, Place, Record, Sent
from tests.support.manual_clock import START


class _Outcome(Enum):
    OPEN = auto()
    COMMITTED = auto()
    ABORTED = auto()


@dataclass
class _Slot:
    """One offset: a message, or the end of a transaction (no record)."""

    record: Record | None
    transaction: MemoryTransaction | None = None


@dataclass
class _Log:
    """One partition."""

    begin: int = 0
    slots: dict[int, _Slot] = field(default_factory=dict)
    end: int = 0

    def append(self, slot: _Slot) -> int:
        offset, self.end = self.end, self.end + 1
        if slot.record is not None:
            slot.record = slot.record._replace(offset=offset)
        self.slots[offset] = slot
        return offset

    def readable_end(self, *, is_committed: bool) -> int:
        if not is_committed:
            return self.end
        return min((offset for offset, slot in self.slots.items() if _is(slot, _Outcome.OPEN)), default=self.end)

    def readable(self, offset: int, *, is_committed: bool) -> Record | None:
        slot = self.slots.get(offset)
        if slot is None or (is_committed and _is(slot, _Outcome.ABORTED)):
            return None
        return slot.record


def _in_batch(record: Record) -> Record:
    """A batch of one record, as a broker would store it."""
    builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 1 << 30)
    builder.append(0, record.timestamp, record.key, record.value, list(record.headers))
    batch = builder.build()
    struct.pack_into(">q", batch, 0, record.offset)
    return record._replace(key=None, value=bytes(batch), headers=())


def _is(slot: _Slot, outcome: _Outcome) -> bool:
    return slot.transaction is not None and slot.transaction.outcome is outcome


class MemoryBrokers:
    """See `services.runtime.brokers.Brokers`.

    Args:
        topics: names, with their numbers of partitions.
    """

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._logs = {Place(topic, n): _Log() for topic, count in topics.items() for n in range(count)}
        self._changed = asyncio.Event()
        self.groups: dict[tuple[str, Place], int] = {}
        self.is_away = False
        self.sends_to_fail = 0
        """So many of the next messages are taken, and lost."""
        self.slow: set[str] = set()
        """Topics whose messages reach no reader at present, though they are written."""
        self.were_read_in_batches = False
        """Whether a reader was given whole batches."""
        self.readers: list[MemoryReader] = []
        self.writers: list[MemoryWriter] = []

    def make(self, topic: str, partitions: int) -> None:
        """Make a topic; one of that name is gone with all that it held."""
        for place in [place for place in self._logs if place.topic == topic]:
            del self._logs[place]
        self._logs |= {Place(topic, number): _Log() for number in range(partitions)}
        self.tell()

    def put(
        self,
        topic: str,
        partition: int,
        message_key: bytes | None,
        value: bytes | None,
        *,
        timestamp: int = START,
        headers: Sequence[tuple[str, bytes | None]] = (),
        transaction: MemoryTransaction | None = None,
    ) -> int:
        """Write a message; returns its offset."""
        place = Place(topic, partition)
        record = Record(topic, partition, -1, timestamp, message_key, value, headers)
        if transaction is not None:
            transaction.places.add(place)
        offset = self._logs[place].append(_Slot(record, transaction))
        self.tell()
        return offset

    def transaction(self) -> MemoryTransaction:
        """Begin a transaction."""
        return MemoryTransaction(self)

    def mark(self, place: Place) -> None:
        """Write the end of a transaction."""
        self._logs[place].append(_Slot(None))

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Let retention take what lies before an offset."""
        log = self._logs[Place(topic, partition)]
        log.begin = offset
        log.slots = {at: slot for at, slot in log.slots.items() if at >= offset}

    def compact(self, topic: str, partition: int, offset: int) -> None:
        """Let compaction take one message."""
        del self._logs[Place(topic, partition)].slots[offset]

    def go_away(self) -> None:
        """Answer nobody from now on."""
        self.is_away = True
        self.tell()

    def come_back(self) -> None:
        """Answer again."""
        self.is_away = False
        self.tell()

    def tell(self) -> None:
        """Wake whoever waits for messages."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def log(self, place: Place) -> _Log:
        """One partition.

        Raises:
            BrokersUnavailable: nobody answers, or there is no such partition.
        """
        if self.is_away or place not in self._logs:
            raise BrokersUnavailable("away" if self.is_away else f"there is no {place}")
        return self._logs[place]

    async def change(self, seconds: float) -> bool:
        """Wait until something is written or happens; tells whether it was in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def is_read(self, place: Place) -> bool:
        """Whether some reader has everything that a partition holds."""
        return any(reader.has_read(place, self.log(place).end) for reader in self.readers if not reader.is_stopped)

    def values(self, topic: str) -> list[bytes | None]:
        """The values that a topic holds, in order of partitions and offsets."""
        return [
            slot.record.value
            for place, log in sorted(self._logs.items())
            if place.topic == topic
            for slot in log.slots.values()
            if slot.record is not None
        ]

    def reader(
        self, *, is_committed: bool, group: str | None = None, wait_seconds: float = 0.5, in_batches: bool = False
    ) -> MemoryReader:
        """See `Brokers`; a batch has one message."""
        made = MemoryReader(self, is_committed=is_committed, group=group, in_batches=in_batches)
        self.readers.append(made)
        return made

    def writer(self, *, is_durable: bool = True, linger_seconds: float = 0, batch_bytes: int = 0) -> MemoryWriter:
        """See `Brokers`."""
        made = MemoryWriter(self)
        self.writers.append(made)
        return made

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """See `Brokers`."""
        if self.is_away:
            raise BrokersUnavailable("away")
        return {topic: sum(place.topic == topic for place in self._logs) for topic in topics}


class MemoryTransaction:
    """Messages that count together; see `MemoryBrokers.transaction`."""

    def __init__(self, brokers: MemoryBrokers) -> None:
        self._brokers = brokers
        self.places: set[Place] = set()
        self.outcome = _Outcome.OPEN

    def commit(self) -> None:
        """Let the messages count."""
        self._end(_Outcome.COMMITTED)

    def abort(self) -> None:
        """Let none of them count."""
        self._end(_Outcome.ABORTED)

    def _end(self, outcome: _Outcome) -> None:
        self.outcome = outcome
        for place in self.places:
            self._brokers.mark(place)
        self._brokers.tell()


class MemoryReader:
    """See `services.runtime.brokers.Reader`."""

    def __init__(
        self, brokers: MemoryBrokers, *, is_committed: bool, group: str | None, in_batches: bool = False
    ) -> None:
        self._brokers = brokers
        self._is_committed = is_committed
        self._group = group
        self._in_batches = in_batches
        self._positions: dict[Place, int] = {}
        self._written: dict[Place, int] = {}
        self.is_stopped = False

    async def start(self) -> None:
        """See `Reader`."""
        if self._brokers.is_away:
            raise BrokersUnavailable("away")

    async def bounds(self, places: Iterable[Place]) -> dict[Place, Bounds]:
        """See `Reader`."""
        logs = {place: self._brokers.log(place) for place in places}
        return {
            place: Bounds(log.begin, log.readable_end(is_committed=self._is_committed)) for place, log in logs.items()
        }

    async def offsets_at(self, instants: Mapping[Place, int]) -> dict[Place, int | None]:
        """See `Reader`."""
        found = {}
        for place, instant in instants.items():
            slots = self._brokers.log(place).slots.items()
            young = (at for at, slot in slots if slot.record is not None and slot.record.timestamp >= instant)
            found[place] = next(young, None)
        return found

    def stand(self, positions: Mapping[Place, int]) -> None:
        """See `Reader`."""
        self._positions = dict(positions)

    async def read(self, seconds: float, most: int) -> list[Record]:
        """See `Reader`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            found = self._readable(most)
            left = deadline - loop.time()
            if found or left <= 0 or not await self._brokers.change(left):
                return found

    def _readable(self, most: int) -> list[Record]:
        found: list[Record] = []
        for place, position in self._positions.items():
            log = self._brokers.log(place)
            if not log.begin <= position <= log.end:
                raise BrokersUnavailable(f"offset {position} of {place} is out of range")
            if place.topic in self._brokers.slow:
                continue
            self._written[place] = log.end
            end = log.readable_end(is_committed=self._is_committed)
            while position < end and len(found) < most:
                record = log.readable(position, is_committed=self._is_committed)
                position += 1
                if record is not None:
                    found.append(_in_batch(record) if self._in_batches else record)
                    self._brokers.were_read_in_batches |= self._in_batches
            self._positions[place] = position
        return found

    async def position(self, place: Place) -> int:
        """See `Reader`."""
        return self._positions[place]

    def has_read(self, place: Place, end: int) -> bool:
        """Whether the reader stands at or past an offset."""
        return self._positions.get(place, -1) >= end

    def written_to(self, place: Place) -> int | None:
        """See `Reader`."""
        return self._written.get(place)

    async def committed(self, places: Iterable[Place]) -> dict[Place, int | None]:
        """See `Reader`."""
        if self._brokers.is_away:
            raise BrokersUnavailable("away")
        assert self._group is not None
        return {place: self._brokers.groups.get((self._group, place)) for place in places}

    async def commit(self, positions: Mapping[Place, int]) -> None:
        """See `Reader`."""
        if self._brokers.is_away:
            raise BrokersUnavailable("away")
        assert self._group is not None
        self._brokers.groups |= {(self._group, place): offset for place, offset in positions.items()}

    async def stop(self) -> None:
        """See `Reader`."""
        self.is_stopped = True


class MemoryWriter:
    """See `services.runtime.brokers.Writer`; what is sent while nobody answers is written when somebody does."""

    LARGEST = 8 * 1024 * 1024

    def __init__(self, brokers: MemoryBrokers) -> None:
        self._brokers = brokers
        self._held: set[asyncio.Task[None]] = set()
        self.is_stopped = False

    async def start(self) -> None:
        """See `Writer`."""
        if self._brokers.is_away:
            raise BrokersUnavailable("away")

    async def send(
        self,
        topic: str,
        partition: int,
        message_key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[Sent]:
        """See `Writer`."""
        if len(value or b"") > self.LARGEST:
            raise MessageTooLarge(f"{len(value or b'')} bytes")
        told: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        if self._brokers.sends_to_fail:
            self._brokers.sends_to_fail -= 1
            told.set_exception(BrokersUnavailable("lost"))
            return told

        async def write() -> None:
            while self._brokers.is_away:
                await self._brokers.change(3600)
            offset = self._brokers.put(topic, partition, message_key, value, headers=tuple(headers))
            if not told.done():
                told.set_result(Sent(partition, offset))

        if self._brokers.is_away:
            task = asyncio.create_task(write())
            self._held.add(task)
            task.add_done_callback(self._held.discard)
        else:
            await write()
        return told

    async def stop(self) -> None:
        """See `Writer`."""
        if self._held:
            await asyncio.wait(self._held)
        self.is_stopped = True
