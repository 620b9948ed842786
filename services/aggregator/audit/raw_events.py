"""Finds raw events that `platform.raw` still holds and ClickHouse does not.

Rows hold the offset of their message, so only messages without a row are read: dead letters, repeated events, and
missing events. Where a partition's log was cut short and written on, the same offsets hold other messages, which an
aggregator that stood behind them never saw: then, and where there are few, every message is read.

A message that is read is decoded only if no row of its offset has its ids. Attackers' messages and true events lie
close to each other, so nearly all messages of a partition may have to be read.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator, Sequence

from schemas.codec import HEADER_BYTES, RawCodec
from schemas.events import PlatformRaw
from schemas.ids import ID_MAX_CHARS
from schemas.raw_decoder import read_ids
from services.aggregator import erased
from services.aggregator.audit.plan import Sample
from services.aggregator.audit.store import AuditStore, Difference, Key
from services.aggregator.errors import InvalidEvent
from services.aggregator.reading import (
    SCHEMA_UNAVAILABLE,
    Message,
    RawReading,
    check_message,
    read_message,
)
from services.aggregator.topic_reader import TopicReader
from services.runtime.kafka import partition_of
from services.runtime.registry import RegistryUnavailable

CHECK = "raw_events"
_TABLE = "raw_events_store"
# The most offsets held in memory at once, with four bytes each.
_OFFSETS_PER_PASS = 1_000_000
_EVENTS_PER_QUESTION = 500
# An id has up to 256 bytes, and ClickHouse takes 128 KiB for one value of a question.
_ID_BYTES_PER_QUESTION = 48 * 1024
# Messages wait for their question in memory; a message has 8 MiB at most.
_BYTES_PER_QUESTION = 16 * 1024 * 1024
# Gaps closer to each other than this are read in one go.
_CLOSE = 200
# So many messages of a partition are read anyway.
_FEW = 2_000
# So many of the longest pauses between two stored events are looked at. A log is cut while its broker is down, which is
# a pause; its last event then has a row whose offset comes after newer messages of the topic.
_PAUSES = 50
# The checksum of a row's ids, as `StoredIds` computes it of a message.
_IDS_SUM = "CRC32(concat(event_id, '\\0', workspace_id))"


class RawAudit:
    """Compares the topic of raw events with their table.

    Args:
        topic: the topic's full name.
        partitions: number of partitions of the topic.
        group: the consumer group, without prefix, that commits how far events are stored.
        workspace: compare this workspace only; None for all workspaces.
        sample: chooses the workspaces to compare.
    """

    def __init__(
        self,
        topic: str,
        store: AuditStore,
        reader: TopicReader,
        codec: RawCodec,
        *,
        partitions: int,
        group: str,
        workspace: str | None = None,
        sample: Sample | None = None,
    ) -> None:
        self._topic = topic
        self._store = store
        self._reader = reader
        self._codec = codec
        self._partitions = partitions
        self._group = group
        self._workspace = workspace
        self._sample = sample or Sample()
        self._erased: dict[str, int] | None = None

    def differences(self, partition: int) -> Iterator[Difference]:
        """Yield a difference for every event of a partition that has no row.

        Raises:
            AuditFailed: ClickHouse can't be used.
            TopicUnreadable: Kafka can't be read.
            RegistryUnavailable: a message may be an event of a schema that can't be asked for now.
        """
        for read in self.missing(partition):
            event = read.event
            row = (("row", "absent", "present"),)
            yield Difference(CHECK, event.workspace_id, event.event_id, event.event_id, row)

    def missing(self, partition: int) -> Iterator[RawReading]:
        """Yield, each once, the valid events that are confirmed as stored but have no row; errors as `differences`."""
        end = self._reader.committed(self._group, self._topic, partition)
        low, _ = self._reader.bounds(self._topic, partition)
        told: set[Key] = set()
        is_large = end - low > _FEW
        is_known = is_large and self._is_of_this_log(partition, low, end)
        for start in range(low, end, _OFFSETS_PER_PASS):
            stop = min(end, start + _OFFSETS_PER_PASS)
            rows = StoredIds(start, stop)
            if is_large:
                self._look_up(partition, rows)
            for first, last in gaps(rows.offsets(), start, stop) if is_known else ((start, stop),):
                for chunk in self._read(partition, first, last, rows):
                    yield from self._without_row(chunk, told)

    def _is_of_this_log(self, partition: int, low: int, end: int) -> bool:
        """Whether the topic's messages after the events before long pauses are those that rows say.

        The broker appends in the order of its clock: of a row, every newer message has a greater offset.
        """
        query = (
            "SELECT offset, at FROM (SELECT offset, toUnixTimestamp64Milli(ingested_at) AS at, "
            "leadInFrame(at, 1, 0) OVER (ORDER BY offset, at ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS next "
            f"FROM {_TABLE} WHERE partition = {{partition:UInt32}} AND topic = {{topic:String}} "
            "AND offset >= {start:UInt64} AND offset < {stop:UInt64}) "
            f"ORDER BY next = 0 DESC, next - at DESC LIMIT {_PAUSES}"
        )
        parameters = {"partition": partition, "topic": self._topic, "start": low, "stop": end}
        return all(
            self._reader.since(self._topic, partition, int(at) + 1) > int(offset)
            for offset, at in self._store.stream(query, parameters)
        )

    def _look_up(self, partition: int, rows: StoredIds) -> None:
        query = (
            f"SELECT offset, {_IDS_SUM} FROM {_TABLE} WHERE partition = {{partition:UInt32}} "
            "AND topic = {topic:String} AND offset >= {start:UInt64} AND offset < {stop:UInt64}"
        )
        parameters = {"partition": partition, "topic": self._topic, "start": rows.start, "stop": rows.stop}
        for offset, ids_sum in self._store.stream(query, parameters):
            rows.note(int(offset), int(ids_sum))

    def _read(
        self, partition: int, first: int, last: int, rows: StoredIds
    ) -> Iterator[list[tuple[PlatformRaw, Message]]]:
        """Yield the valid events of `[first, last)` whose offset has no row with their ids, in chunks.

        Only events that belong to this partition and to the sample.
        """
        chunk: list[tuple[PlatformRaw, Message]] = []
        held_bytes = id_bytes = 0
        for message in self._reader.read(self._topic, partition, first, last):
            if rows.has(message) or self._is_of_others(message, partition):
                continue
            try:
                event = check_message(self._codec, message)
            except InvalidEvent as error:
                _require_readable(error)
                continue
            if not self._compares(event.workspace_id, message, partition) or not self._store.keeps_raw_event(
                event.captured_at
            ):
                continue
            chunk.append((event, message))
            held_bytes += message.held_bytes
            id_bytes += len(event.event_id.encode()) + len(event.workspace_id)
            if (
                len(chunk) >= _EVENTS_PER_QUESTION
                or held_bytes >= _BYTES_PER_QUESTION
                or id_bytes >= _ID_BYTES_PER_QUESTION
            ):
                yield chunk
                chunk, held_bytes, id_bytes = [], 0, 0
        if chunk:
            yield chunk

    def _is_of_others(self, message: Message, partition: int) -> bool:
        """Whether the ids in front of a message show that its workspace is not compared in this partition."""
        ids = None if message.intact is None else self._codec.ids(message.intact)
        # A longer name is no workspace's, and must not be remembered with the names of workspaces.
        if ids is None or len(ids[1]) > ID_MAX_CHARS:
            return False
        return not self._compares(ids[1].decode(errors="replace"), message, partition)

    def _compares(self, workspace_id: str, message: Message, partition: int) -> bool:
        return (
            partition_of(workspace_id, self._partitions) == partition
            and (self._workspace is None or workspace_id == self._workspace)
            and self._sample.takes(workspace_id)
            and message.timestamp > self._erased_at(workspace_id)
        )

    def _erased_at(self, workspace_id: str) -> int:
        """When a workspace was deleted for good, ms; what the topic still holds of it from before is no event."""
        if self._erased is None:
            found = self._store.stream(erased.QUERY, {})
            self._erased = {erased.workspace_of(row[0]): int(row[1]) for row in found}
        return self._erased.get(workspace_id, -1)

    def _without_row(self, chunk: Sequence[tuple[PlatformRaw, Message]], told: set[Key]) -> Iterator[RawReading]:
        keys = [(event.workspace_id, event.event_id) for event, _ in chunk]
        query = (
            f"SELECT DISTINCT workspace_id, event_id FROM {_TABLE} "
            "WHERE (workspace_id, event_id) IN {keys:Array(Tuple(String, String))}"
        )
        stored = {(row[0], row[1]) for row in self._store.stream(query, {"keys": keys})}
        for key, (_, message) in zip(keys, chunk, strict=True):
            if key in stored or key in told:
                continue
            try:
                read = read_message(self._codec, message)
            except InvalidEvent as error:
                _require_readable(error)
                continue
            told.add(key)
            yield read


def _require_readable(error: InvalidEvent) -> None:
    """Pass over a message that is no event; what can't be told now must not be taken for none.

    Raises:
        RegistryUnavailable: the registry does not answer, so the message may be an event.
    """
    if error.reason == SCHEMA_UNAVAILABLE:
        raise RegistryUnavailable(f"{error.detail}; it is needed to read {CHECK}: try again once it answers")


class StoredIds:
    """For each offset of `[start, stop)` a checksum of the ids in the row of that offset.

    An offset alone does not prove that a message is stored: after a log was cut, other messages have the offsets.
    """

    def __init__(self, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        # 0 for no row. A row whose checksum is 0 is asked for by its ids, as if there were none.
        self._sums = array("I", bytes(4 * (stop - start)))

    def note(self, offset: int, ids_sum: int) -> None:
        """Take a row; the checksum is that of the SQL."""
        self._sums[offset - self.start] = ids_sum

    def offsets(self) -> Iterator[int]:
        """The offsets with a row, ascending."""
        return (offset for offset, ids_sum in enumerate(self._sums, self.start) if ids_sum)

    def has(self, message: Message) -> bool:
        """Whether the row of a message's offset has the ids that the message has."""
        ids_sum = self._sums[message.offset - self.start]
        if not ids_sum or message.intact is None:
            return False
        ids = read_ids(message.intact, HEADER_BYTES)
        return ids is not None and zlib.crc32(b"\0".join(ids)) == ids_sum


def gaps(stored: Iterator[int], start: int, stop: int) -> list[tuple[int, int]]:
    """Ranges `[first, last)` within `[start, stop)` that together hold every offset without a row.

    Ranges that are close to each other are joined, so a range may also hold some stored offsets.

    Args:
        stored: the stored offsets, ascending.
    """
    gaps: list[tuple[int, int]] = []

    def note(first: int, last: int) -> None:
        if first >= last:
            return
        if gaps and first - gaps[-1][1] < _CLOSE:
            gaps[-1] = (gaps[-1][0], last)
        else:
            gaps.append((first, last))

    place = start
    for offset in stored:
        note(place, offset)
        place = offset + 1
    note(place, stop)
    return gaps
