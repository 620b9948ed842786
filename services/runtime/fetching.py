"""Guards aiokafka's fetching: no message of any producer can end its reader's process or fill that process's memory.

aiokafka decompresses a whole batch before its first record is seen, and the broker bounds only the compressed size:
8 MiB of zstd may be 200 GiB of zeros. It raises on a header name that is not UTF-8, and the reader ends there at each
start.
Here a batch is decompressed as far as a message may be long; a larger one is read record by record. A record that
can't be read comes as one without a value, whose first header is `UNREADABLE`; it never looks like a tombstone.

aiokafka has no such setting, so two names of its fetcher are replaced, once a process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import aiokafka.consumer.fetcher as fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

from services.runtime.inflating import Inflater, Unreadable
from services.runtime.settings import MESSAGE_MAX_BYTES

# Key, value and headers of one record together.
RECORD_MAX_BYTES = MESSAGE_MAX_BYTES + 64 * 1024
# Decompressed to skip records that are too long; what stands behind this much in one batch is not read.
BATCH_MAX_BYTES = 256 * 1024 * 1024
# Handed over at once of each partition.
FETCH_MAX_BYTES = 16 * 1024 * 1024
# Kept of a record that is too long.
HEAD_BYTES = 64 * 1024
_KEY_HEAD_BYTES = 1024


class _Mark(str):
    """A header name that no message can bring: it is compared by identity."""


UNREADABLE = _Mark("unreadable")
"""Name of the first header of a record that can't be read.

Its value is the reason; the second header's value is the beginning of the record.
"""
_BEGINNING = _Mark("beginning")

# Attributes of a batch: https://kafka.apache.org/documentation/#recordbatch
_HEADER_BYTES = 61
_ATTRIBUTES = struct.Struct(">h")
_ATTRIBUTES_AT = 21
_COUNT = struct.Struct(">i")
_COUNT_AT = 57
_CODEC_MASK = 0x07
_LOG_APPEND_TIME = 1


class Record(NamedTuple):
    """A record as aiokafka's own."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


def why_unreadable(headers: Any) -> tuple[str, bytes] | None:
    """Why a record can't be read and how it begins; None of a record that was read."""
    if headers and headers[0][0] is UNREADABLE:
        return headers[0][1].decode(), headers[1][1]
    return None


def whole_or_why(
    value: bytes | None, headers: Iterable[tuple[str, bytes | None]] | Mapping[str, bytes | None] | None
) -> tuple[bytes | None, tuple[tuple[str, bytes | None], ...], str | None]:
    """Value and headers of a record that was read, and None; of another how it begins, no headers, and why.

    Args:
        headers: as a client hands them over.
    """
    held = tuple(headers.items() if isinstance(headers, Mapping) else headers or ())
    damage = why_unreadable(held)
    if damage is None:
        return value, held, None
    why, beginning = damage
    return beginning, (), why


def guard_fetching() -> None:
    """Guard every aiokafka consumer of this process from now on; calling it again changes nothing."""
    fetcher.MemoryRecords = GuardedRecords
    fetcher.FetchResult = BoundedFetchResult


class GuardedRecords(_MemoryRecordsPy):  # type: ignore[misc]  # final for type checkers only
    """The batches of one answer of the broker."""

    def next_batch(self) -> Any:
        """The next batch, or None."""
        data = self._next_slice
        if data is None:
            return None
        if len(data) < _HEADER_BYTES or data[self.MAGIC_OFFSET] < 2:
            # Of brokers before Kafka 0.11, whose logs no producer can write to any more.
            self._cache_next()
            return MemoryRecords(bytes(data)).next_batch()
        self._cache_next()
        return GuardedBatch(data)


class GuardedBatch:
    """One batch: its records, each of them readable or marked as not."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._batch = DefaultRecordBatch(data)
        self._iterator: Iterator[Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        self._iterator = self._records()
        return self._iterator

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = self._records()
        return next(self._iterator)

    def _records(self) -> Iterator[Any]:
        codec = self._batch.compression_type
        payload = self._data[_HEADER_BYTES:]
        seen = self._batch.base_offset - 1
        try:
            plain = self._batch if codec == 0 else self._inflated(codec, payload)
            if plain is not None:
                for record in plain:
                    seen = record.offset
                    yield record
                return
        except (Unreadable, ValueError, IndexError, RuntimeError, fetcher.Errors.KafkaError):
            pass  # a record that aiokafka can't read: go on from there with a reader that can
        for record in self._one_by_one(Inflater(codec, payload, BATCH_MAX_BYTES)):
            if record.offset > seen:
                yield record

    def _inflated(self, codec: int, payload: memoryview) -> Any:
        """The same batch without compression; None when it is longer than one message may be."""
        inflater = Inflater(codec, payload, BATCH_MAX_BYTES)
        whole = inflater.read_up_to(RECORD_MAX_BYTES)
        if not inflater.is_at_end():
            return None
        header = bytearray(self._data[:_HEADER_BYTES])
        attributes = _ATTRIBUTES.unpack_from(header, _ATTRIBUTES_AT)[0] & ~_CODEC_MASK
        _ATTRIBUTES.pack_into(header, _ATTRIBUTES_AT, attributes)
        return DefaultRecordBatch(bytes(header) + whole)

    def _one_by_one(self, source: Inflater) -> Iterator[Record]:
        """Records read one after another; none of them holds more than a message may."""
        base, last = self._batch.base_offset, self._batch.next_offset - 1
        count = _COUNT.unpack_from(self._data, _COUNT_AT)[0]
        offset = base - 1
        skip = 0
        try:
            for _ in range(count):
                source.skip(skip)
                length = source.varint()
                skip = max(0, length - RECORD_MAX_BYTES)
                if skip:
                    skip = length - HEAD_BYTES
                    record = self._too_large(source.read(HEAD_BYTES), length, offset + 1)
                else:
                    record = self._parsed(source.read(length), offset + 1)
                offset = record.offset
                yield record
        except Unreadable as error:
            if offset < last:
                yield self._marked(
                    offset + 1, b"", f"unreadable: offsets {offset + 1} to {last} can't be read: {error}", b""
                )

    def _parsed(self, data: bytes, expected: int) -> Record:
        offset, key = expected, None
        try:
            at = 1
            passed, at = _varint(data, at)
            delta, at = _varint(data, at)
            offset = self._batch.base_offset + delta
            key, at = _bytes(data, at)
            value, at = _bytes(data, at)
            count, at = _varint(data, at)
            headers = []
            for _ in range(count):
                name, at = _bytes(data, at)
                held, at = _bytes(data, at)
                headers.append(((name or b"").decode("utf-8", "backslashreplace"), held))
        except (IndexError, Unreadable) as error:
            return self._marked(offset, key, f"unreadable: the record is damaged: {error}", data[:HEAD_BYTES])
        return Record(offset, self._timestamp(passed), self._batch.timestamp_type, key, value, headers)

    def _too_large(self, head: bytes, length: int, expected: int) -> Record:
        offset, key, begins = expected, None, b""
        try:
            _, at = _varint(head, 1)
            delta, at = _varint(head, at)
            offset = self._batch.base_offset + delta
            size, at = _varint(head, at)
            key = head[at : at + max(0, min(size, _KEY_HEAD_BYTES))] if size >= 0 else None
            _, at = _varint(head, at + max(0, size))
            begins = head[at:]
        except (IndexError, Unreadable):
            pass  # its key alone is longer than what is kept
        return self._marked(offset, key, f"too_large: the message has {length} bytes after decompression", begins)

    def _marked(self, offset: int, key: bytes | None, why: str, begins: bytes) -> Record:
        headers: list[tuple[str, bytes | None]] = [(UNREADABLE, why.encode()), (_BEGINNING, begins)]
        return Record(offset, self._timestamp(0), self._batch.timestamp_type, key, b"", headers)

    def _timestamp(self, passed: int) -> int:
        is_append_time = self._batch.timestamp_type == _LOG_APPEND_TIME
        return int(self._batch.max_timestamp if is_append_time else self._batch.first_timestamp + passed)


class BoundedFetchResult(fetcher.FetchResult):  # type: ignore[misc]  # aiokafka is not typed
    """What was fetched of one partition, handed over piece by piece."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        """The next records: at most the number asked for, and not many more bytes than a fetch may have."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        taken: list[Any] = []
        size = 0
        for record in self._partition_records:
            taken.append(record)
            size += record.serialized_value_size + record.serialized_key_size
            if size >= FETCH_MAX_BYTES or (max_records is not None and len(taken) >= max_records):
                self._update_position()
                break
        else:
            self._update_position()
            self._partition_records = None
        return taken


def _varint(data: bytes, at: int) -> tuple[int, int]:
    shift = number = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
        if shift > 63:
            raise Unreadable("an integer is longer than 64 bits")


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = _varint(data, at)
    if size < 0:
        return None, at
    if at + size > len(data):
        raise Unreadable("a field is longer than its record")
    return data[at : at + size], at + size
