"""Encodes and publishes the messages of a batch; a message that Kafka will never accept is set aside.

Guarantee: at least once, and all messages of one call become visible together (`publisher.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from schemas.encoder import Encode
from schemas.topic_names import RAW
from services.aggregator import metrics
from services.aggregator.batch import Batch, Effects
from services.aggregator.errors import MessagesRefused, SinkUnavailable
from services.aggregator.publisher import Encoded, PartitionPublisher
from services.aggregator.reading import describe_bug
from services.aggregator.set_aside import BatchReader
from services.runtime.logging import get_logger

log = get_logger(__name__)
Result = TypeVar("Result")


async def until_done(call: Callable[[], Awaitable[Result]]) -> Result:
    """Call, and call again for as long as the call raises `SinkUnavailable`; other errors are raised."""
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
    """Encodes and publishes the messages of one partition.

    Args:
        topic: returns the full name of a topic's name without prefix.
        encoders: the encoders by the topic's name without prefix.
        batches: makes dead letters of messages that Kafka refuses.
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
        """Send messages and wait until they are committed; messages that Kafka will never accept are set aside.

        Args:
            batch: the batch whose misplaced events are among the messages; a refused event becomes a dead letter.

        Raises:
            OwnershipLost: a newer owner has the partition; no message is visible.
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
        """Every message of a batch: snapshots, rollups, dead letters, and misplaced events unchanged."""
        encoders, partition = self._encoders, self._partition
        encoded: list[Encoded] = []
        for name, message_key, fields in (*effects.metrics, *effects.rollups):
            topic, encode = encoders[name]
            try:
                encoded.append(Encoded(topic, partition, message_key, None if fields is None else encode(fields)))
            except Exception as error:  # a bug that only this message causes
                metrics.SET_ASIDE.labels(topic).inc()
                log.error("message_refused", topic=topic, key=_shown(message_key), why=describe_bug(error))
        for dead in batch.dead:
            encoded.append(self._batches.encoded(dead))
        for message, home in batch.misplaced:
            # The producer used another partitioner: the message is published unchanged in its tenant's partition.
            encoded.append(Encoded(self._topic(RAW), home, message.key, message.value, message.headers))
        return encoded


def _shown(key: bytes | None) -> str:
    return (key or b"")[:200].decode(errors="replace")
