"""Reads the catalog topics into memory, from their beginning to their end and then for good.

In: messages. Out: records to the views. Every instance reads every partition, without a consumer group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.codec import Codec, MalformedEvent
from schemas.keys import Reason, checked_key, reason_of
from services.query_api.observability import FEED_LAG, REFUSED
from services.query_api.publisher import Codecs
from services.query_api.views import Place, TopicView
from services.runtime import brokers
from services.runtime.brokers import Brokers, Record
from services.runtime.ends import Ends
from services.runtime.following import Batch, Follower
from services.runtime.kafka import partition_of
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.logging import get_logger
from services.runtime.registry import RegistryUnavailable
from services.runtime.revisions import Headers
from services.runtime.settings import KafkaSettings

log = get_logger(__name__)

_Decoded = tuple[str, bytes, Any, Place, Headers]


class CatalogFeed:
    """Keeps views of the catalog current.

    While Kafka is away, views keep their present state; when Kafka is back, they go on from there.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        codecs: Codecs,
        views: Sequence[TopicView[Any]],
        brokers: Brokers | None = None,
    ) -> None:
        self._partitions = settings.topic_partitions
        self._codecs = codecs
        self._views = {view.topic: view for view in views}
        of_kafka = brokers or KafkaBrokers(settings)
        self._ends = Ends(of_kafka)
        self._follower = Follower(
            of_kafka,
            self._views,
            range(self._partitions),
            self._take,
            retry_on=(RegistryUnavailable,),
            name="catalog topics",
        )
        self._has_begun = False

    @property
    def missing(self) -> str | None:
        """One line that says what is not read yet; None once all topics were read to their ends, and from then on."""
        if self._follower.is_caught_up:
            return None
        if not self._has_begun:
            return "the catalog topics are not read yet: Kafka has not answered"
        return f"{sum(self._follower.left.values())} catalog events are not read yet"

    def start(self) -> None:
        """Begin reading the topic, in a task of its own."""
        self._follower.start()

    async def caught_up(self) -> None:
        """Wait until all topics are read to their ends."""
        await self._follower.caught_up()

    def read_to(self, topic: str, partition: int) -> int:
        """The offset up to which a topic (name without prefix) is read; 0 before the first message."""
        return self._follower.position(topic, partition)

    async def reached(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Wait until each of these partitions of a topic is read up to its offset."""
        await self._follower.reached({brokers.Place(topic, partition): offset for partition, offset in offsets.items()})

    async def read_present(self, workspace_id: str, topics: Sequence[str]) -> dict[str, int]:
        """Wait until everything of a workspace is read that was written before this call; while Kafka is away, wait.

        Args:
            topics: names without prefix.

        Returns:
            Up to which offset the workspace's partition of each topic is read.
        """
        partition = partition_of(workspace_id, self._partitions)
        await self._follower.read_written(self._ends, [brokers.Place(topic, partition) for topic in topics])
        return {topic: self._follower.position(topic, partition) for topic in topics}

    async def stop(self) -> None:
        """Stop reading, and disconnect."""
        await self._follower.stop()
        await self._ends.close()

    async def _take(self, batch: Batch) -> None:
        codecs = {topic: await self._codecs.get(topic) for topic in self._views}
        self._has_begun = True
        if batch.records:
            # In a thread: the first value of each schema asks the registry, and a start decodes thousands of values.
            decoded = await asyncio.to_thread(_decode, codecs, self._partitions, batch.records)
            for topic, key, event, place, headers in decoded:
                self._views[topic].observe(key, event, place, headers)
        FEED_LAG.set(self._follower.lag().messages)


def _decode(codecs: Mapping[str, Codec[Any]], partitions: int, records: Iterable[Record]) -> list[_Decoded]:
    """Decode the records that count; other records are logged and passed over.

    Args:
        partitions: how many each topic has.
    """
    decoded: list[_Decoded] = []
    for record in records:
        topic = record.topic
        try:
            event = None if record.value is None else codecs[topic].decode(record.value)
            checked_key(topic, record.key, event, lambda name: partition_of(name, partitions) == record.partition)  # noqa: B023 - called at once
        except RegistryUnavailable:
            raise
        except MalformedEvent as error:
            _refuse(topic, record, reason_of(error))
        except Exception as error:
            # One record that breaks its decoder must not keep the others from being read.
            log.error("a catalog entry breaks its decoder", topic=topic, offset=record.offset, error=repr(error))
            _refuse(topic, record, Reason.UNREADABLE_VALUE)
        else:
            # A record without a key was refused above.
            decoded.append((topic, record.key or b"", event, Place(record.partition, record.offset), record.headers))
    return decoded


def _refuse(topic: str, record: Record, reason: Reason) -> None:
    REFUSED.labels(topic, reason.value).inc()
    log.error(
        "a catalog entry does not count",
        topic=topic,
        partition=record.partition,
        offset=record.offset,
        reason=reason.value,
    )
