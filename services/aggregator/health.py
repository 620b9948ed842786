"""Measures the lag, and ends an aggregator that stands still although events wait.

A stream processor can stop consuming without crashing. While there is lag, committed offsets have to move. If offsets
stand still, and neither ClickHouse nor Kafka is known to be away, the process ends and its supervisor starts a new one.

A marker at the end of a transaction takes an offset but is no message. Events that are forwarded to their own partition
are written in transactions, so a partition at rest can end in markers, which nobody ever commits. When offsets stand
still before the partition's end, a read finds out whether any message is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from schemas.topic_names import RAW
from services.aggregator import metrics
from services.aggregator.app import Worker
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.errors import AggregatorStuck
from services.aggregator.settings import AggregatorSettings
from services.runtime.brokers import BrokersUnavailable, Place, Reader
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.logging import get_logger

log = get_logger(__name__)
_CHECK_SECONDS = 5.0
_READ_SECONDS = 1.0


class Progress:
    """Finds partitions that stand still, from the positions of successive looks. Pure.

    Args:
        limit_seconds: a partition with lag is stuck after standing still for longer than this.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._seen: dict[int, tuple[int, float]] = {}

    def note(self, partition: int, committed: int, end: int, now: float) -> bool:
        """Note the position of a partition.

        Args:
            committed: the committed offset, which is the next offset to be folded.
            end: the next offset to be written.
            now: seconds of any clock that only goes forward.

        Returns:
            Whether the partition is stuck.
        """
        held = self._seen.get(partition)
        if committed >= end or held is None or held[0] != committed:
            self._seen[partition] = (committed, now)
            return False
        return now - held[1] > self._limit

    def forget(self) -> None:
        """Forget all positions: after a rebalance, and while ClickHouse or Kafka is away."""
        self._seen.clear()


class Ends:
    """Finds where partitions end without counting transaction markers behind the last message.

    Args:
        reader: a reader for any place; it commits nothing.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        # For each partition: committed and end at the last look, and whether a read found no message between the two.
        self._looks: dict[int, tuple[int, int, bool]] = {}

    async def end(self, place: Place, committed: int, end: int) -> int:
        """The partition's end; `committed` when only markers are left.

        The topic is read only if the last look found the same two offsets, and once for these two offsets.
        """
        held = self._looks.get(place.partition)
        is_same = held is not None and held[:2] == (committed, end)
        is_drained = is_same and held is not None and held[2]
        if is_same and not is_drained and committed < end:
            is_drained = await self._is_drained(place, committed, end)
        self._looks[place.partition] = (committed, end, is_drained)
        return committed if is_drained else end

    async def _is_drained(self, place: Place, committed: int, end: int) -> bool:
        self._reader.stand({place: committed})
        return not await self._reader.read(_READ_SECONDS, 1) and await self._reader.position(place) >= end


async def watch(
    settings: AggregatorSettings, worker: Worker, store: ClickHouse, on_stuck: Callable[[BaseException], None]
) -> None:
    """Measure the lag every 5 seconds, until cancelled.

    Args:
        on_stuck: called with the error when a partition stands still for `aggregator_stuck_seconds`.
    """
    reader = KafkaBrokers(settings).reader(is_committed=False, group=settings.aggregator_group)
    progress = Progress(settings.aggregator_stuck_seconds)
    known = Ends(reader)
    started = False
    try:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            metrics.observe_states(task.state for task in worker.partitions)
            places = [Place(RAW, task.partition) for task in worker.partitions]
            # Taking a rebuild over happens between two batches, and may take minutes.
            is_busy = any(task.is_taking_over for task in worker.partitions)
            if store.failing_since is not None or worker.pause.why is not None or is_busy or not places:
                progress.forget()
                continue
            try:
                if not started:
                    await reader.start()
                    started = True
                await _look(reader, places, known, progress, on_stuck)
            except BrokersUnavailable as error:
                log.warning("lag_unknown", error=str(error))
                progress.forget()
    finally:
        await reader.stop()


async def _look(
    reader: Reader,
    places: list[Place],
    known: Ends,
    progress: Progress,
    on_stuck: Callable[[BaseException], None],
) -> None:
    bounds, commits = await reader.bounds(places), await reader.committed(places)
    for place in places:
        committed = commits[place] or 0
        end = await known.end(place, committed, bounds[place].end)
        metrics.LAG.labels(str(place.partition)).set(max(0, end - committed))
        if progress.note(place.partition, committed, end, asyncio.get_running_loop().time()):
            on_stuck(AggregatorStuck(f"partition {place.partition} stands still at offset {committed} of {end}"))
