"""Guards aiokafka's fetching, so that no producer's message can end its reader's process or fill the process's memory.

aiokafka decompresses a whole batch before it returns the first record, and the broker bounds only the compressed size:
8 MiB of zstd may be 200 GiB of zeros. A header name that is not UTF-8 makes aiokafka raise, at each start again. A
record of 8 MiB may have 4 million headers, which take 400 MB.
Here a batch is decompressed up to the length that a message may have; a larger batch is read record by record, and so
is a batch with a record of too many headers. A record that can't be read is returned without a value, and its first
header is `UNREADABLE`, so it never looks like a tombstone.

A consumer may also be asked for whole batches (`in_batches`), which another process takes apart (`unpacked`).

aiokafka has no setting for this, so three names of its fetcher module are replaced, once in each process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import aiokafka.consumer.fetcher as fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy
from aiokafka.structs import ConsumerRecord

from services.runtime.inflating import Inflater, Unreadable
from services.runtime.record_bounds import (
    HEADERS_MAX,
    PIECE_BYTES,
    has_bounded_headers,
    headers_bytes,
    pieces,
    varint,
    why_too_many,
)
from services.runtime.settings import MESSAGE_MAX_BYTES

# Key, value and headers of one record together.
RECORD_MAX_BYTES = MESSAGE_MAX_BYTES + 64 * 1024
# How far a batch is decompressed to skip records that are too long; records beyond this point are not read.
BATCH_MAX_BYTES = 256 * 1024 * 1024
# The most bytes of each partition that are handed over at once.
FETCH_MAX_BYTES = 16 * 1024 * 1024
# How much is kept of a record that is too long.
HEAD_BYTES = 64 * 1024
_KEY_HEAD_BYTES = 1024
# Whole batches that are handed over as one record.
_JOINED_BYTES = 256 * 1024


class _Mark(str):
    """A header name that no message can have, since it is compared by identity."""


UNREADABLE = _Mark("unreadable")
"""Name of the first header of a record that can't be read.

The header's value is the reason; the second header's value is the beginning of the record, or the whole value of a
record that has too many headers.
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
    """A record with the attributes of aiokafka's own records."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


def why_unreadable(headers: Any) -> tuple[str, bytes] | None:
    """The reason why a record can't be read, and the record's beginning; None for a record that was read."""
    if headers and headers[0][0] is UNREADABLE:
        return headers[0][1].decode(), headers[1][1]
    return None


def whole_or_why(
    value: bytes | None, headers: Iterable[tuple[str, bytes | None]] | Mapping[str, bytes | None] | None
) -> tuple[bytes | None, tuple[tuple[str, bytes | None], ...], str | None]:
    """Value, headers and reason of a record.

    Args:
        headers: in the form in which the client returned them.

    Returns:
        value, headers and None for a record that was read; else the record's beginning, no headers, and the reason
        why it can't be read.
    """
    held = tuple(headers.items() if isinstance(headers, Mapping) else headers or ())
    damage = why_unreadable(held)
    if damage is None:
        return value, held, None
    why, beginning = damage
    return beginning, (), why


def guard_fetching() -> None:
    """Guard every aiokafka consumer of this process from now on; a second call changes nothing."""
    fetcher.MemoryRecords = GuardedRecords
    fetcher.FetchResult = BoundedFetchResult
    fetcher.PartitionRecords = _PartitionRecords


def in_batches(value: bytes) -> bytes:
    """As a consumer's deserializer of values, asks for whole batches: a record's value is the bytes of some."""
    return value


def unpacked(batches: bytes) -> Iterator[Any]:
    """The records of whole batches; those that can't be read are marked as they are everywhere."""
    held = GuardedRecords(batches)
    while (batch := held.next_batch()) is not None:
        yield from batch


class GuardedRecords(_MemoryRecordsPy):  # type: ignore[misc]  # final for type checkers only
    """The batches in one answer of the broker."""

    are_whole = False
    """Whether a batch is handed over as one record."""

    def next_batch(self) -> Any:
        """The next batch; None after the last one."""
        data = self._next_slice
        batch = self._next_batch()
        return _WholeBatch(batch, data) if self.are_whole and batch is not None else batch

    def _next_batch(self) -> Any:
        data = self._next_slice
        if data is None:
            return None
        if len(data) < _HEADER_BYTES or data[self.MAGIC_OFFSET] < 2:
            # A batch in the format before Kafka 0.11, which no producer can write any more.
            self._cache_next()
            return MemoryRecords(bytes(data)).next_batch()
        self._cache_next()
        return GuardedBatch(data)


class GuardedBatch:
    """One batch; iterating gives its records, and those that can't be read are marked so."""

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
            for piece in self._pieces(codec, payload):
                for record in piece:
                    if len(record.headers) > HEADERS_MAX:
                        raise Unreadable("a record has too many headers")
                    seen = record.offset
                    yield record
            return
        except (Unreadable, ValueError, IndexError, RuntimeError, fetcher.Errors.KafkaError):
            pass  # aiokafka can't read a record: go on from there record by record
        for record in self._one_by_one(Inflater(codec, payload, BATCH_MAX_BYTES)):
            if record.offset > seen:
                yield record

    def _pieces(self, codec: int, payload: memoryview) -> Iterator[Any]:
        """The same records without compression, in pieces that aiokafka's parser can take without much memory.

        Raises:
            Unreadable: the batch is longer than one message may be, a record has too many headers, or bytes are
                damaged.
        """
        records: bytes | memoryview = payload
        if codec:
            inflater = Inflater(codec, payload, BATCH_MAX_BYTES)
            records = inflater.read_up_to(RECORD_MAX_BYTES)
            if not inflater.is_at_end():
                raise Unreadable("the batch is longer than one message may be")
        elif len(payload) <= PIECE_BYTES:
            yield self._batch
            return
        header = bytearray(self._data[:_HEADER_BYTES])
        attributes = _ATTRIBUTES.unpack_from(header, _ATTRIBUTES_AT)[0] & ~_CODEC_MASK
        _ATTRIBUTES.pack_into(header, _ATTRIBUTES_AT, attributes)
        if len(records) <= PIECE_BYTES:
            yield DefaultRecordBatch(bytes(header) + records)
            return
        for begin, end, count in pieces(records, self._count):
            piece = records[begin:end]
            if len(piece) > PIECE_BYTES and not has_bounded_headers(piece):
                raise Unreadable("a record has too many headers")
            _COUNT.pack_into(header, _COUNT_AT, count)
            yield DefaultRecordBatch(bytes(header) + piece)

    @property
    def _count(self) -> int:
        return int(_COUNT.unpack_from(self._data, _COUNT_AT)[0])

    def _one_by_one(self, source: Inflater) -> Iterator[Record]:
        """Read the records one after the other; no returned record is longer than a message may be."""
        base, last = self._batch.base_offset, self._batch.next_offset - 1
        offset = base - 1
        skip = 0
        try:
            for _ in range(self._count):
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
            passed, at = varint(data, at)
            delta, at = varint(data, at)
            offset = self._batch.base_offset + delta
            key, at = _bytes(data, at)
            value, at = _bytes(data, at)
            count, at = varint(data, at)
            why = why_too_many(count, len(data) - at)
            if why is not None:
                return self._marked(offset, key, why, value or b"")
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
            _, at = varint(head, 1)
            delta, at = varint(head, at)
            offset = self._batch.base_offset + delta
            size, at = varint(head, at)
            key = head[at : at + max(0, min(size, _KEY_HEAD_BYTES))] if size >= 0 else None
            _, at = varint(head, at + max(0, size))
            begins = head[at:]
        except (IndexError, Unreadable):
            pass  # the key alone is longer than the kept beginning
        return self._marked(offset, key, f"too_large: the message has {length} bytes after decompression", begins)

    def _marked(self, offset: int, key: bytes | None, why: str, begins: bytes) -> Record:
        headers: list[tuple[str, bytes | None]] = [(UNREADABLE, why.encode()), (_BEGINNING, begins)]
        return Record(offset, self._timestamp(0), self._batch.timestamp_type, key, b"", headers)

    def _timestamp(self, passed: int) -> int:
        is_append_time = self._batch.timestamp_type == _LOG_APPEND_TIME
        return int(self._batch.max_timestamp if is_append_time else self._batch.first_timestamp + passed)


class _WholeBatch:
    """One batch that is handed over as one record; a mark of a transaction's end stays what it is."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data
        self._records: Iterator[Any] = iter(batch if batch.is_control_batch else self._whole())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        return self._records

    def __next__(self) -> Any:
        return next(self._records)

    def _whole(self) -> Iterator[Record]:
        last = self._batch.next_offset - 1
        timestamp = getattr(self._batch, "max_timestamp", 0)
        yield Record(last, timestamp, self._batch.timestamp_type, None, bytes(self._data), [])


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka is not typed
    """The fetched records of one partition, or its whole batches where the consumer asked for them."""

    _records_iterator: Iterator[Any]

    def __init__(self, tp: Any, records: Any, aborted: Any, offset: int, key: Any, value: Any, *more: Any) -> None:
        if value is in_batches:
            records.are_whole = True
        self._is_deserialized = key is not None or value is not None
        super().__init__(tp, records, aborted, offset, key, value, *more)
        if value is in_batches:
            self._records_iterator = self._joined(self._records_iterator)

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        """A record as the consumer returns it; without deserializers, in three quarters of aiokafka's time."""
        if self._is_deserialized:
            return super()._consumer_record(tp, record)
        key, value = record.key, record.value
        return ConsumerRecord(
            tp.topic, tp.partition, record.offset, record.timestamp, record.timestamp_type, key, value, None,
            -1 if key is None else len(key), -1 if value is None else len(value), tuple(record.headers),
        )  # fmt: skip

    def _joined(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Whole batches, some as one record: a producer that waits for few messages makes batches of few."""
        some: list[bytes] = []
        size = 0
        batch = None
        for batch in batches:
            some.append(batch.value)
            size += len(batch.value)
            if size >= _JOINED_BYTES:
                yield _with_value(batch, b"".join(some))
                some, size, batch = [], 0, None
        if batch is not None:
            yield _with_value(batch, b"".join(some))


class BoundedFetchResult(fetcher.FetchResult):  # type: ignore[misc]  # aiokafka is not typed
    """The fetched records of one partition, handed over in pieces of bounded size."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        """The next records: at most `max_records`, and not many more bytes than `FETCH_MAX_BYTES`."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        taken: list[Any] = []
        size = 0
        # Not by the records' own `__next__`, which is one call more for each record.
        for record in self._partition_records._records_iterator:
            taken.append(record)
            size += record.serialized_value_size + record.serialized_key_size
            if record.headers:
                size += headers_bytes(record.headers)
            if size >= FETCH_MAX_BYTES or (max_records is not None and len(taken) >= max_records):
                self._update_position()
                break
        else:
            self._update_position()
            self._partition_records = None
        return taken


def _with_value(record: Any, value: bytes) -> Any:
    return replace(record, value=value, serialized_value_size=len(value))


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = varint(data, at)
    if size < 0:
        return None, at
    if at + size > len(data):
        raise Unreadable("a field is longer than its record")
    return data[at : at + size], at + size
