"""Encodes what a batch publishes and sends it. A message that Kafka will never take is set aside, the others are sent.

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
    """Call again while Kafka is away (`SinkUnavailable`), for as long as it takes; other errors are raised."""
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
        """Send messages and wait until they are committed; those that Kafka will never take are set aside.

        Args:
            batch: whose misplaced events may be among the messages: one that is refused becomes a dead letter.

        Raises:
            OwnershipLost: a newer owner has the partition; nothing is visible.
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
        """Every message of a batch: snapshots and rollups, dead letters, and misplaced events as they came."""
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
            # Sent by a producer with another partitioner: publish it unchanged in its tenant's partition.
            encoded.append(Encoded(self._topic(RAW), home, message.key, message.value, message.headers))
        return encoded


def _shown(key: bytes | None) -> str:
    return (key or b"")[:200].decode(errors="replace")
