"""Reads the catalog of one partition: from where the last owner got to, to its end, and on from there.

What was folded is in ClickHouse, so only what is newer than the committed position has to be read at a start. The
position is committed under a consumer group of its own, for `kafka-consumer-groups` and lag exporters to see.
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
    """One partition of the catalog topics.

    Args:
        group: of the aggregator, without prefix; positions are committed for a group of its name and `-catalog`.
        codecs: of both topics, by name without prefix.
        brokers: Kafka's of the settings, if none are given.
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
        """Offsets read to, by topic and partition."""
        return self._follower.positions

    async def to_end(self) -> AsyncIterator[list[CatalogWrite]]:
        """Everything from the committed position to what is the end now, in chunks; waits while Kafka is away."""
        while not self._follower.is_caught_up:
            writes = await self.poll()
            if writes:
                yield writes

    async def poll(self) -> list[CatalogWrite]:
        """The next writes, in offset order a topic; [] when there are none for a while. Waits while Kafka is away.

        Raises:
            RegistryUnavailable: a schema can't be had; the next poll reads the same again.
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
            raise  # not a word of the entry: it is read again
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
        """Note how far the catalog is folded. A failure only means that a restart reads more."""
        try:
            await self._follower.commit(positions)
        except BrokersUnavailable as error:
            log.warning("catalog_commit_failed", error=str(error))

    async def stop(self) -> None:
        """Disconnect."""
        await self._follower.close()
