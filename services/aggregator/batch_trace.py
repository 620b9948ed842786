"""The spans of one batch: one trace of the batch itself, and in each sampled event's own trace the insert of its rows.

A batch holds events of many traces, and only some of these are sampled. The batch's trace begins where at least one
event is sampled, and links to each of these; the event's own trace goes on in a span that lasts until ClickHouse
confirmed the batch, and that links to the batch's trace. So one poll's trace reaches the insert by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from services.aggregator.batch import Batch
from services.aggregator.reading import RawReading
from services.aggregator.rows import RAW_EVENTS, Row
from services.runtime.tracing import NO_SPAN, UNTRACED, Kind, Span, Tracer, Value


class BatchTrace:
    """The trace of one batch; as a context manager it ends every span that is still open, as failed by an error.

    Args:
        reads: the batch's sampled events; without any, nothing is traced.
        events: how many events the batch has.
    """

    def __init__(self, tracer: Tracer, partition: int, reads: Sequence[RawReading], events: int) -> None:
        self._tracer = tracer
        self._reads = reads
        self._open: list[tuple[RawReading, Span]] = []
        self._span = NO_SPAN
        if reads:
            attributes: dict[str, Value] = {
                "tidemark.partition": partition,
                "tidemark.events": events,
                "tidemark.sampled_events": len(reads),
            }
            self._span = tracer.joined("write batch", [read.trace for read in reads], attributes)

    def step(self, name: str) -> Span:
        """A part of the batch's work."""
        return self._tracer.begin(name, within=self._span) if self._reads else NO_SPAN

    def insert(self, table: str, rows: int) -> Span:
        """The insert of the batch's rows into one table; other partitions' rows may share the block."""
        if not self._reads:
            return NO_SPAN
        attributes = {**_insert_into(table), "tidemark.rows": rows}
        return self._tracer.begin(f"INSERT {table}", Kind.CLIENT, self._span, attributes)

    def storing(self) -> None:
        """From now on the rows of the events are being stored."""
        table = RAW_EVENTS[0]
        self._open = [
            (read, self._tracer.linked(f"INSERT {table}", Kind.CLIENT, read.trace, self._span, _insert_into(table)))
            for read in self._reads
        ]

    def stored(self, refused: Sequence[tuple[Row, str]]) -> None:
        """ClickHouse confirmed the rows, but for refused rows of raw events."""
        ids = {(row[0], row[1]) for row, _ in refused} if self._open else ()
        for read, span in self._open:
            if (read.event.workspace_id, read.event.event_id) in ids:
                span.fail("not_stored")
            span.end()
        self._open = []

    def fail(self, error: Exception) -> None:
        """The batch ends here, unwritten."""
        self.__exit__(type(error), error, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for span in (*(span for _, span in self._open), self._span):
            span.__exit__(kind, error, trace)


NO_TRACE = BatchTrace(UNTRACED, 0, (), 0)
"""Of a batch without sampled events."""


def trace_of(tracer: Tracer, partition: int, batch: Batch) -> BatchTrace:
    """The trace of a batch that begins now."""
    reads = [read for read in batch.raw if read.trace.is_recorded] if tracer.is_on else ()
    return BatchTrace(tracer, partition, reads, len(batch.raw)) if reads else NO_TRACE


def _insert_into(table: str) -> dict[str, Value]:
    return {"db.system.name": "clickhouse", "db.operation.name": "INSERT", "db.collection.name": table}
