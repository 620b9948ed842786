"""Finds raw events without a row and topics that differ from their tables, for a rebuild to mend. Blocking.

The survey uses the audit's own comparisons, so a rebuild mends every difference that an audit reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from services.aggregator.audit.mirror import MirrorAudit
from services.aggregator.audit.raw_events import RawAudit
from services.aggregator.audit.rollups import RollupAudit
from services.aggregator.audit.run import AuditSettings, Options, TopicLink, topic_links
from services.aggregator.audit.store import AuditStore
from services.aggregator.reading import RawReading
from services.aggregator.topic_reader import TopicReader
from services.runtime.clock import Clock

# One second look is enough: mending data that is right already changes nothing.
_OPTIONS = Options(retries=1, grace_seconds=0.5)
_EVENTS_PER_CHUNK = 300


class Survey:
    """Compares every topic with its table once; a context manager that opens and closes the connections.

    Raises:
        AuditFailed: ClickHouse can't be used.
        TopicUnreadable: Kafka can't be used.
        RegistryUnavailable: the registry can't be used.
    """

    def __init__(self, settings: AuditSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._stack = ExitStack()
        self._links: list[TopicLink] = []
        self._done = 0

    def __enter__(self) -> Self:
        store = AuditStore(self._settings, self._clock, _OPTIONS.memory_mebibytes)
        self._stack.callback(store.close)
        reader = self._stack.enter_context(TopicReader(self._settings))
        raw_reader = self._stack.enter_context(TopicReader(self._settings, is_committed=False))
        self._links = list(topic_links(self._settings, _OPTIONS, store, reader, raw_reader))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def partitions(self) -> int:
        """The number of partitions, over all topics, that the survey compares."""
        return sum(len(link.partitions) for link in self._links)

    def missing_events(self, on_done: Callable[[int], None]) -> Iterator[list[RawReading]]:
        """Yield the raw events that have no row, in chunks.

        Args:
            on_done: called with the number of partitions compared so far.
        """
        for link in self._links:
            if not isinstance(link.audit, RawAudit):
                continue
            for partition in link.partitions:
                chunk: list[RawReading] = []
                for read in link.audit.missing(partition):
                    chunk.append(read)
                    if len(chunk) >= _EVENTS_PER_CHUNK:
                        yield chunk
                        chunk = []
                if chunk:
                    yield chunk
                self._done += 1
                on_done(self._done)

    def mirrors(self, on_done: Callable[[int], None]) -> frozenset[int]:
        """Partitions whose mirror differs from the catalog's topics."""
        return self._differing(MirrorAudit, on_done)

    def rollups(self, on_done: Callable[[int], None]) -> frozenset[int]:
        """Partitions whose rollups differ from the stored totals."""
        return self._differing(RollupAudit, on_done)

    def _differing(self, kind: type[MirrorAudit | RollupAudit], on_done: Callable[[int], None]) -> frozenset[int]:
        found = set()
        for link in self._links:
            if not isinstance(link.audit, kind):
                continue
            for partition in link.partitions:
                if next(link.audit.differences(partition), None) is not None:
                    found.add(partition)
                self._done += 1
                on_done(self._done)
        return frozenset(found)
