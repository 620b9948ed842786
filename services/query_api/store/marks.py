"""By which message a partition's log is known again: a log that was cut short and written on has another at its offset.

Topics that are set back to an older state, by a disk that comes back or a broker that lost its last messages, keep
their ids. Once as much was written as was lost, a position alone does not show that it is of a log that is gone.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from services.runtime.brokers import Brokers, BrokersUnavailable, Place, Record, last_of_each

_PACKED: Final = struct.Struct(">QQI")
_SECONDS: Final = 10.0
_WAIT_SECONDS: Final = 0.2
_MOST: Final = 100


class Mark(NamedTuple):
    """The last message that was taken of a partition: its offset, its time (ms) and a checksum of key and value."""

    offset: int
    timestamp: int
    checksum: int

    def packed(self) -> bytes:
        """As it is stored."""
        return _PACKED.pack(*self)


def unpacked(value: bytes) -> Mark:
    """The inverse of `Mark.packed`."""
    return Mark(*_PACKED.unpack(value))


def mark_of(record: Record) -> Mark:
    """The mark that a message makes."""
    return Mark(record.offset, record.timestamp, zlib.crc32(record.value or b"", zlib.crc32(record.key or b"")))


def last_marks(records: Iterable[Record]) -> dict[Place, Mark]:
    """The mark of each partition's last message; records come in the order of each partition."""
    return {place: mark_of(record) for place, record in last_of_each(records).items()}


async def foreign(brokers: Brokers, marks: Mapping[Place, Mark]) -> list[Place]:
    """Partitions that have another message at a mark's offset. A message that compaction removed says nothing.

    Raises:
        BrokersUnavailable: Kafka does not answer.
    """
    reader = brokers.reader(is_committed=False, wait_seconds=_WAIT_SECONDS)
    try:
        await reader.start()
        bounds = await reader.bounds(marks)
        left = {place: mark for place, mark in marks.items() if bounds[place].begin <= mark.offset < bounds[place].end}
        found = []
        reader.stand({place: mark.offset for place, mark in left.items()})
        try:
            async with asyncio.timeout(_SECONDS):
                while left:
                    count = len(left)
                    for record in await reader.read(_WAIT_SECONDS, _MOST):
                        mark = left.pop(record.place, None)
                        if mark is not None and record.offset == mark.offset and mark_of(record) != mark:
                            found.append(record.place)
                    positions = {place: await reader.position(place) for place in left}
                    left = {place: mark for place, mark in left.items() if positions[place] <= mark.offset}
                    if len(left) < count:
                        # Of the others no more is needed, and there may be millions.
                        reader.stand({place: positions[place] for place in left})
        except TimeoutError:
            raise BrokersUnavailable(f"no answer within {_SECONDS:g} s") from None
        return found
    finally:
        await reader.stop()
