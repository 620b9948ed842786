"""Writes catalog events to Kafka.

In: typed events. Out: the place of each record, once every in-sync replica has the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.codec import Codec
from services.query_api.errors import BodyTooLarge, WritesUnavailable
from services.query_api.observability import CATALOG_EVENTS
from services.query_api.views import Place
from services.runtime.brokers import Brokers, BrokersUnavailable, MessageTooLarge, Sent
from services.runtime.kafka import key, partition_of
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.logging import get_logger
from services.runtime.producing import Producer
from services.runtime.registry import Registry, RegistryUnavailable
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings

log = get_logger(__name__)

# A write takes milliseconds; a caller that has waited this long gets an error and may repeat the write.
DEADLINE_SECONDS = 8.0
# Room in a message for its key and the batch's own bytes.
_LARGEST_VALUE_BYTES = MESSAGE_MAX_BYTES - 64 * 1024


@dataclass(frozen=True, slots=True)
class Write:
    """One event to write; the event None is a tombstone.

    Attributes:
        topic: name without prefix.
        id: the id of the channel, post or key; the message's key is `workspace_id/id`.
        headers: of the message.
    """

    topic: str
    workspace_id: str
    id: str
    event: Any
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def message_key(self) -> bytes:
        """The message's key, `workspace_id/id`."""
        return key(self.workspace_id, self.id)


class Publisher(Protocol):
    """Makes catalog events durable; Kafka, or a fake."""

    async def publish(self, writes: Sequence[Write]) -> list[Place]:
        """Write events and wait until all are durable.

        Returns:
            The place of each, in order.

        Raises:
            WritesUnavailable: at least one may not be durable; writing all again is safe.

        Guarantee: at-least-once, in the order given for each workspace and topic; the topics are compacted, so a
        repeat changes nothing.
        """


class Codecs:
    """Codecs by topic, each made when first needed, since making one asks the registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._codecs: dict[str, Codec[Any]] = {}

    async def get(self, topic: str) -> Codec[Any]:
        """The codec of a topic (name without prefix).

        Raises:
            RegistryUnavailable: the registry does not answer, or the schema is not registered.
        """
        if topic not in self._codecs:
            self._codecs[topic] = await asyncio.to_thread(self._registry.codec, topic)
        return self._codecs[topic]


class KafkaPublisher:
    """Publishes to Kafka; connects in the background, and again after a failure."""

    def __init__(self, settings: KafkaSettings, codecs: Codecs, brokers: Brokers | None = None) -> None:
        self._partitions = settings.topic_partitions
        self._codecs = codecs
        # Writes keep their order: a failed client's held messages are sent before the next client begins.
        self._producer = Producer(brokers or KafkaBrokers(settings), handover_seconds=DEADLINE_SECONDS)

    def start(self) -> None:
        """Begin to connect to Kafka, in a task of its own."""
        self._producer.start()

    async def stop(self) -> None:
        """Wait until held messages are sent, for the deadline at most, and close the connection to Kafka."""
        await self._producer.close(DEADLINE_SECONDS)

    async def publish(self, writes: Sequence[Write]) -> list[Place]:
        """Write all events, and wait until all are durable; see `Publisher.publish` for results and errors."""
        if not self._producer.is_connected:
            raise WritesUnavailable
        generation = self._producer.generation
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                sent = [await self._send(write) for write in writes]
                records = await asyncio.gather(*sent)
        except TimeoutError:
            log.warning("kafka did not confirm in time", events=len(writes), seconds=DEADLINE_SECONDS)
            raise WritesUnavailable from None
        except RegistryUnavailable as error:
            log.warning("registry is away", error=str(error))
            raise WritesUnavailable from None
        except BrokersUnavailable as error:
            # Some errors end a client for good without saying so, and a new client costs little.
            log.warning("kafka refused a write", error=str(error))
            self._producer.replace(generation)
            raise WritesUnavailable from None
        for write in writes:
            CATALOG_EVENTS.labels(write.topic).inc()
        return [Place(record.partition, record.offset) for record in records]

    async def _send(self, write: Write) -> asyncio.Future[Sent]:
        value = None if write.event is None else (await self._codecs.get(write.topic)).encode(write.event)
        if value is not None and len(value) > _LARGEST_VALUE_BYTES:
            raise BodyTooLarge
        partition = partition_of(write.workspace_id, self._partitions)
        try:
            return await self._producer.send(write.topic, partition, write.message_key, value, write.headers)
        except MessageTooLarge:
            raise BodyTooLarge from None
