"""Reads the catalog of one partition: from the last owner's committed position to the end, and then new messages.

Folded catalog writes are in ClickHouse, so a start reads only messages after the committed position. The position is
committed under a consumer group of its own, so that `kafka-consumer-groups` and lag exporters show it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from schemas.codec import Codec, MalformedEvent
from schemas.keys import Reason, checked_key, reason_of
from schemas.topic_names import CHANNELS, POSTS
from schemas.writers import SchemasAway
from services.aggregator.batch import CatalogWrite
from services.aggregator.metrics import REFUSED
from services.runtime.brokers import Brokers, BrokersUnavailable, Place, Record
from services.runtime.following import Follower, at_committed
from services.runtime.kafka import partition_of
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.logging import get_logger
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import KafkaSettings

log = get_logger(__name__)


class CatalogReader:
    """Reads one partition of both catalog topics.

    Args:
        group: the aggregator's consumer group, without prefix; positions are committed for `<group>-catalog`.
        codecs: the codecs of both topics, by the topic's name without prefix.
        brokers: where to read; the Kafka of `settings` when None.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        partition: int,
        codecs: dict[str, Codec[Any]],
        brokers: Brokers | None = None,
    ) -> None:
        self._codecs = codecs
        self._count = settings.topic_partitions
        self._follower = Follower(
            brokers or KafkaBrokers(settings),
            (CHANNELS, POSTS),
            (partition,),
            begin=at_committed,
            group=f"{group}-catalog",
            name=f"catalog of partition {partition}",
        )

    def positions(self) -> Mapping[Place, int]:
        """The next offset to read, by topic and partition."""
        return self._follower.positions

    async def to_end(self) -> AsyncIterator[list[CatalogWrite]]:
        """Yield the writes from the committed position to the topics' end, in chunks; waits while Kafka is away.

        Raises:
            RegistryUnavailable: a schema can't be fetched.
        """
        while not self._follower.is_caught_up:
            writes = await self.poll()
            if writes:
                yield writes

    async def poll(self) -> list[CatalogWrite]:
        """The next writes, in offset order within each topic; [] when none came for a while. Waits while Kafka is away.

        Raises:
            RegistryUnavailable: a schema can't be fetched; the next poll reads the same messages again.
        """
        batch = await self._follower.next()
        writes = [write for write in map(self._decoded, batch.records) if write is not None]
        self._follower.took()
        return writes

    def _decoded(self, record: Record) -> CatalogWrite | None:
        topic = record.topic
        try:
            event = None if record.value is None else self._codecs[record.topic].decode(record.value)
            workspace_id, thing_id = checked_key(
                topic, record.key, event, lambda name: partition_of(name, self._count) == record.partition
            )
        except (SchemasAway, RegistryUnavailable):
            raise  # the entry itself may be good: it is read again
        except MalformedEvent as error:
            self._refuse(topic, record, reason_of(error), str(error))
            return None
        except Exception as error:
            # An entry that can't be read must not stop a tenant's numbers, whatever is wrong with it or its decoder.
            self._refuse(topic, record, Reason.UNREADABLE_VALUE, repr(error))
            return None
        return CatalogWrite(workspace_id, thing_id, event, topic == POSTS, record.timestamp)

    def _refuse(self, topic: str, record: Record, reason: Reason, error: str) -> None:
        REFUSED.labels(topic, reason.value).inc()
        log.error(
            "catalog_entry_refused",
            topic=topic,
            partition=record.partition,
            offset=record.offset,
            reason=reason.value,
            error=error,
        )

    async def commit(self, positions: Mapping[Place, int]) -> None:
        """Commit how far the catalog is folded; a failure is logged, and only makes a restart read more."""
        try:
            await self._follower.commit(positions)
        except BrokersUnavailable as error:
            log.warning("catalog_commit_failed", error=str(error))

    async def stop(self) -> None:
        """Close the connection to Kafka; nothing is committed."""
        await self._follower.close()
