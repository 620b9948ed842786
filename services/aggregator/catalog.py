"""Reads the catalog of one partition: from where the last owner got to, to its end, and on from there.

What was folded is in ClickHouse, so only what is newer than the committed position has to be read at a start. The
position is committed under a consumer group of its own, for `kafka-consumer-groups` and lag exporters to see.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.codec import Codec, MalformedEvent
from schemas.keys import Reason, checked_key, reason_of
from schemas.writers import SchemasAway
from services.aggregator.batch import CatalogWrite
from services.aggregator.errors import SinkUnavailable
from services.aggregator.metrics import REFUSED
from services.runtime.kafka import aiokafka_options, partition_of
from services.runtime.logging import get_logger
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings

log = get_logger(__name__)
CHANNELS = "catalog.channels"
POSTS = "catalog.posts"
_MAX_RECORDS = 2_000


class CatalogReader:
    """One partition of the catalog topics.

    Args:
        codecs: of both topics, by name without prefix.
    """

    def __init__(self, settings: KafkaSettings, group: str, partition: int, codecs: dict[str, Codec[Any]]) -> None:
        self._codecs = {settings.topic(name): codec for name, codec in codecs.items()}
        self._names = {settings.topic(name): name for name in codecs}
        self._count = settings.topic_partitions
        self._partitions = [TopicPartition(settings.topic(name), partition) for name in (CHANNELS, POSTS)]
        self._consumer = AIOKafkaConsumer(
            **aiokafka_options(settings),
            group_id=f"{settings.topic_prefix}{group}-catalog",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=MESSAGE_MAX_BYTES,
        )
        self._next: dict[TopicPartition, int] = {}

    @property
    def position(self) -> int:
        """Sum of the offsets read to: grows with every write."""
        return sum(self._next.values())

    def positions(self) -> dict[TopicPartition, int]:
        """Offsets read to, by topic and partition."""
        return dict(self._next)

    async def start(self) -> None:
        """Connect and go to the committed position.

        Raises:
            SinkUnavailable: Kafka does not answer; try again.
        """
        try:
            await self._consumer.start()
            self._consumer.assign(self._partitions)
            begins = await self._consumer.beginning_offsets(self._partitions)
            ends = await self._consumer.end_offsets(self._partitions)
            for tp in self._partitions:
                committed = await self._consumer.committed(tp)
                # A position that the topic doesn't have is of another topic of the same name: begin anew.
                usable = committed is not None and begins[tp] <= committed <= ends[tp]
                self._next[tp] = committed if usable and committed is not None else begins[tp]
                self._consumer.seek(tp, self._next[tp])
        except KafkaError as error:
            raise SinkUnavailable(f"Kafka: {error}") from None

    async def to_end(self) -> AsyncIterator[list[CatalogWrite]]:
        """Everything up to what is the end now, in chunks."""
        ends = await self._consumer.end_offsets(self._partitions)
        while any(self._next[tp] < ends[tp] for tp in self._partitions):
            writes = await self.poll(timeout_ms=200)
            if writes:
                yield writes

    async def poll(self, timeout_ms: int) -> list[CatalogWrite]:
        """The next writes, in offset order a topic; [] when there are none within the time."""
        found = await self._consumer.getmany(*self._partitions, timeout_ms=timeout_ms, max_records=_MAX_RECORDS)
        writes: list[CatalogWrite] = []
        for records in found.values():
            for record in records:
                write = self._decoded(record)
                if write is not None:
                    writes.append(write)
        # Transaction markers and compacted offsets have no record: go by the consumer's own position.
        for tp in self._partitions:
            self._next[tp] = await self._consumer.position(tp)
        return writes

    def _decoded(self, record: Any) -> CatalogWrite | None:
        topic = self._names[record.topic]
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

    def _refuse(self, topic: str, record: Any, reason: Reason, error: str) -> None:
        REFUSED.labels(topic, reason.value).inc()
        log.error(
            "catalog_entry_refused",
            topic=topic,
            partition=record.partition,
            offset=record.offset,
            reason=reason.value,
            error=error,
        )

    async def commit(self, positions: dict[TopicPartition, int]) -> None:
        """Note how far the catalog is folded. A failure only means that a restart reads more."""
        try:
            await self._consumer.commit(positions)
        except KafkaError as error:
            log.warning("catalog_commit_failed", error=str(error))

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()
