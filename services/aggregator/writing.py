"""Writes what a batch gave: rows into ClickHouse, messages onto topics. What a sink will never take is set aside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from schemas.encoder import Encode
from schemas.topic_names import RAW
from services.aggregator import metrics
from services.aggregator.errors import MessagesRefused, RowsRefused, SinkUnavailable
from services.aggregator.pipeline import Batch, Effects, Inserts
from services.aggregator.publisher import Encoded, PartitionPublisher
from services.aggregator.reading import describe_bug
from services.aggregator.rows import RAW_EVENTS, Row
from services.aggregator.set_aside import BatchReader
from services.aggregator.sink import ClickHouseSink
from services.runtime.logging import get_logger

log = get_logger(__name__)
Result = TypeVar("Result")


async def insert_all(sink: ClickHouseSink, inserts: Inserts) -> list[tuple[Row, str]]:
    """Insert rows of all tables and wait for it; returns rows of raw events that can't be stored, with why."""
    outcomes = await asyncio.gather(
        *(sink.insert(table, rows) for table, rows in inserts.items()), return_exceptions=True
    )
    refused: list[tuple[Row, str]] = []
    for (name, _), outcome in zip(inserts, outcomes, strict=True):
        if isinstance(outcome, RowsRefused):
            metrics.SET_ASIDE.labels(name).inc(len(outcome.rows))
            log.error("rows_refused", table=name, rows=len(outcome.rows), why=outcome.reason)
            if name == RAW_EVENTS[0]:
                refused += [(row, outcome.reason) for row in outcome.rows]
        elif isinstance(outcome, BaseException):
            raise outcome
    return refused


async def until_done(call: Callable[[], Awaitable[Result]]) -> Result:
    """Try again while Kafka is away, for as long as it takes."""
    result: Result
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(SinkUnavailable),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        before_sleep=lambda state: metrics.note_kafka_retry(),
        reraise=True,
    ):
        with attempt:
            result = await call()
    return result


class TopicWriter:
    """Encodes and publishes messages of one partition.

    Args:
        topic: from a topic's name to its full name.
        encoders: by topic's name.
        batches: makes dead letters.
    """

    def __init__(
        self,
        partition: int,
        topic: Callable[[str], str],
        encoders: Mapping[str, Encode],
        publisher: PartitionPublisher,
        batches: BatchReader,
    ) -> None:
        self._partition = partition
        self._topic = topic
        self._encoders = {name: (topic(name), encode) for name, encode in encoders.items()}
        self._publisher = publisher
        self._batches = batches

    async def publish(self, messages: Sequence[Encoded], batch: Batch | None = None) -> None:
        """Send messages; those that Kafka will never take are set aside, and the others sent.

        Args:
            batch: whose misplaced events may be among the messages.
        """
        left = list(messages)
        while left:
            try:
                await until_done(partial(asyncio.to_thread, self._publisher.publish, left))
                return
            except MessagesRefused as error:
                for position, why in error.positions.items():
                    message = left[position]
                    metrics.SET_ASIDE.labels(message.topic).inc()
                    log.error("message_refused", topic=message.topic, key=_shown(message.key), why=why)
                letters = self._batches.not_moved(
                    batch, self._topic(RAW), [left[position] for position in error.positions]
                )
                left = [message for number, message in enumerate(left) if number not in error.positions] + letters

    def encode(self, batch: Batch, effects: Effects) -> list[Encoded]:
        """Everything that a batch publishes."""
        encoders, partition = self._encoders, self._partition
        encoded: list[Encoded] = []
        for name, message_key, fields in (*effects.metrics, *effects.rollups):
            topic, encode = encoders[name]
            try:
                encoded.append(Encoded(topic, partition, message_key, None if fields is None else encode(fields)))
            except Exception as error:  # a bug of ours, of this one message
                metrics.SET_ASIDE.labels(topic).inc()
                log.error("message_refused", topic=topic, key=_shown(message_key), why=describe_bug(error))
        for dead in batch.dead:
            encoded.append(self._batches.encoded(dead))
        for message, home in batch.misplaced:
            # Sent by a producer with another partitioner: bring it to its tenant's partition, as it is.
            encoded.append(Encoded(self._topic(RAW), home, message.key, message.value, message.headers))
        return encoded


def _shown(key: bytes | None) -> str:
    return (key or b"")[:200].decode(errors="replace")
