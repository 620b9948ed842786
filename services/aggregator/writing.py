"""Writes one batch: rows into ClickHouse, then messages onto topics, then the acknowledgement.

Guarantee: at least once. A crash between any two steps repeats the whole batch. Repeating gives the same numbers, since
rows follow from registers that ignore a repeated answer, and a row replaces an older version of itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from services.aggregator import metrics, rows
from services.aggregator.batch import Batch, Effects, Inserts
from services.aggregator.batch_trace import NO_TRACE, BatchTrace
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.errors import RowsRefused
from services.aggregator.publisher import Encoded
from services.aggregator.set_aside import BatchReader
from services.aggregator.topic_writer import TopicWriter
from services.runtime.clock import Clock
from services.runtime.logging import get_logger

log = get_logger(__name__)
Acknowledge = Callable[[], Awaitable[None]]
"""Notes in Kafka that all rows and messages of a batch are written."""

_STATES = (rows.LATEST_POST_METRICS, rows.LATEST_CHANNEL_METRICS)
_MIRRORS = (rows.CHANNELS, rows.POSTS)


def insert_stages(effects: Effects) -> list[Inserts]:
    """The stages of a batch's inserts, in order: the consequences, then the states, then the catalog's mirror.

    A batch of answers touches the same states whenever it is repeated, so all of its rows are one stage. A catalog
    write also touches states that only the old state names (the post that a target leaves, the targets of a channel
    that is deleted). So the consequences of such a write are stored and published first, the states next and the mirror
    last. A crash in between repeats the write: either the old states are still stored, and name the same touched
    states, or the consequences were published already. The next owner may fold later writes together with the repeated
    one; what they replace is still touched (`batch.newest_writes`).
    """
    inserts = effects.inserts
    if not any(table in inserts for table in _MIRRORS):
        return [inserts]
    later = (*_STATES, *_MIRRORS)
    return [
        {table: held for table, held in inserts.items() if table not in later},
        {table: inserts[table] for table in _STATES if table in inserts},
        {table: inserts[table] for table in _MIRRORS if table in inserts},
    ]


async def insert_all(store: ClickHouse, inserts: Inserts, trace: BatchTrace = NO_TRACE) -> list[tuple[rows.Row, str]]:
    """Insert rows of all tables at once and wait until they are stored.

    Returns:
        Rows of raw events that ClickHouse will never store, each with the reason. Refused rows of other tables are only
        logged and counted.
    """
    outcomes = await asyncio.gather(
        *(_insert(store, table, some, trace) for table, some in inserts.items()), return_exceptions=True
    )
    refused: list[tuple[rows.Row, str]] = []
    for (name, _), outcome in zip(inserts, outcomes, strict=True):
        if isinstance(outcome, RowsRefused):
            metrics.SET_ASIDE.labels(name).inc(len(outcome.rows))
            log.error("rows_refused", table=name, rows=len(outcome.rows), why=outcome.reason)
            if name == rows.RAW_EVENTS[0]:
                refused += [(row, outcome.reason) for row in outcome.rows]
        elif isinstance(outcome, BaseException):
            raise outcome
    return refused


async def _insert(store: ClickHouse, table: rows.Table, some: Sequence[rows.Row], trace: BatchTrace) -> None:
    with trace.insert(table[0], len(some)):
        await store.insert(table, some)


class BatchWriter:
    """Writes the batches of one partition.

    Args:
        batches: makes dead letters of events that ClickHouse refuses.
    """

    def __init__(self, store: ClickHouse, topics: TopicWriter, batches: BatchReader, clock: Clock) -> None:
        self._store = store
        self._topics = topics
        self._batches = batches
        self._clock = clock

    async def write(
        self, batch: Batch, effects: Effects, started: float, acknowledge: Acknowledge, trace: BatchTrace = NO_TRACE
    ) -> None:
        """Insert, publish and acknowledge one batch; waits while ClickHouse or Kafka is away.

        Args:
            started: when the batch began, in seconds of the event loop's clock; for the metrics.
            trace: of the batch; it ends here.

        Raises:
            OwnershipLost: a newer owner has the partition; nothing is acknowledged.
        """
        with trace:
            consequences, *later = insert_stages(effects)
            trace.storing()
            messages = await self._flush(consequences, batch, effects, trace)
            with trace.step("publish batch"):
                await self._topics.publish(messages, batch)
            for stage in later:
                await insert_all(self._store, stage, trace)
            if later:
                # A reader drops cached answers when a rollup arrives, and must then find the new states stored: so the
                # rollups are published again after the states.
                await self.publish(Effects(rollups=effects.rollups))
            metrics.observe_batch(batch, effects, asyncio.get_running_loop().time() - started, self._clock.now())
            await acknowledge()

    async def publish(self, effects: Effects) -> None:
        """Encode and publish the messages of effects; rows are not inserted.

        Raises:
            OwnershipLost: a newer owner has the partition.
        """
        await self._topics.publish(await asyncio.to_thread(self._topics.encode, Batch(), effects))

    async def _flush(self, consequences: Inserts, batch: Batch, effects: Effects, trace: BatchTrace) -> list[Encoded]:
        """Insert the first stage while the batch's messages are encoded; returns the messages with dead letters."""
        encoding = asyncio.create_task(asyncio.to_thread(self._topics.encode, batch, effects))
        try:
            refused = await insert_all(self._store, consequences, trace)
            trace.stored(refused)
        finally:
            messages = await encoding
        return messages + self._batches.not_stored(batch, refused) if refused else messages
