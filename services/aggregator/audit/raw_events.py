"""Finds raw events that `platform.raw` still holds and ClickHouse does not.

Rows hold the offset of their message, so only messages without a row are read: dead letters, repeated events, and
missing events. Where a partition's log was cut short and written on, the same offsets hold other messages, which an
aggregator that stood behind them never saw: then, and where there are few, every message is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from schemas.codec import Codec
from schemas.events import PlatformRaw
from services.aggregator import erased
from services.aggregator.audit.plan import Sample
from services.aggregator.audit.store import AuditStore, Difference, Key
from services.aggregator.errors import InvalidEvent
from services.aggregator.reading import RawReading, read_message
from services.aggregator.topic_reader import TopicReader
from services.runtime.kafka import partition_of

CHECK = "raw_events"
_TABLE = "raw_events_store"
# The most offsets held in memory at once.
_OFFSETS_PER_PASS = 1_000_000
_EVENTS_PER_QUESTION = 500
# Gaps closer to each other than this are read in one go.
_CLOSE = 200
# So many messages of a partition are read anyway.
_FEW = 2_000
# So many of the longest pauses between two stored events are looked at. A log is cut while its broker is down, which is
# a pause; its last event then has a row whose offset comes after newer messages of the topic.
_PAUSES = 50


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
        codec: Codec[PlatformRaw],
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
        """
        for read in self.missing(partition):
            event = read.event
            row = (("row", "absent", "present"),)
            yield Difference(CHECK, event.workspace_id, event.event_id, event.event_id, row)

    def missing(self, partition: int) -> Iterator[RawReading]:
        """Yield, each once, the valid events that are confirmed as stored but have no row."""
        end = self._reader.committed(self._group, self._topic, partition)
        low, _ = self._reader.bounds(self._topic, partition)
        told: set[Key] = set()
        is_known = end - low > _FEW and self._is_of_this_log(partition, low, end)
        for start in range(low, end, _OFFSETS_PER_PASS):
            stop = min(end, start + _OFFSETS_PER_PASS)
            stored = self._stored(partition, start, stop) if is_known else iter(())
            for first, last in gaps(stored, start, stop):
                for chunk in self._read(partition, first, last):
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

    def _stored(self, partition: int, start: int, stop: int) -> Iterator[int]:
        query = (
            f"SELECT DISTINCT offset FROM {_TABLE} WHERE partition = {{partition:UInt32}} AND topic = {{topic:String}} "
            "AND offset >= {start:UInt64} AND offset < {stop:UInt64} ORDER BY offset"
        )
        parameters = {"partition": partition, "topic": self._topic, "start": start, "stop": stop}
        for row in self._store.stream(query, parameters):
            yield int(row[0])

    def _read(self, partition: int, first: int, last: int) -> Iterator[list[RawReading]]:
        """Yield the usable events of `[first, last)` that belong to this partition and to the sample, in chunks."""
        chunk: list[RawReading] = []
        for message in self._reader.read(self._topic, partition, first, last):
            try:
                read = read_message(self._codec, message)
            except InvalidEvent:
                continue
            workspace_id = read.event.workspace_id
            if (
                partition_of(workspace_id, self._partitions) != partition
                or not self._store.keeps_raw_event(read.event.captured_at)
                or (self._workspace is not None and workspace_id != self._workspace)
                or not self._sample.takes(workspace_id)
                or read.message.timestamp <= self._erased_at(workspace_id)
            ):
                continue
            chunk.append(read)
            if len(chunk) >= _EVENTS_PER_QUESTION:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _erased_at(self, workspace_id: str) -> int:
        """When a workspace was deleted for good, ms; what the topic still holds of it from before is no event."""
        if self._erased is None:
            found = self._store.stream(erased.QUERY, {})
            self._erased = {erased.workspace_of(row[0]): int(row[1]) for row in found}
        return self._erased.get(workspace_id, -1)

    def _without_row(self, chunk: Sequence[RawReading], told: set[Key]) -> Iterator[RawReading]:
        keys = [(read.event.workspace_id, read.event.event_id) for read in chunk]
        query = (
            f"SELECT DISTINCT workspace_id, event_id FROM {_TABLE} "
            "WHERE (workspace_id, event_id) IN {keys:Array(Tuple(String, String))}"
        )
        stored = {(row[0], row[1]) for row in self._store.stream(query, {"keys": keys})}
        for key, read in zip(keys, chunk, strict=True):
            if key not in stored and key not in told:
                told.add(key)
                yield read


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
