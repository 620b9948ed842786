"""Reads the catalog of one partition: from where the last owner got to, to its end, and on from there.

What was folded is in ClickHouse, so only what is newer than the committed position has to be read at a start. The
position is committed under a consumer group of its own, for `kafka-consumer-groups` and lag exporters to see.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.codec import Codec
from schemas.writers import SchemasAway
from services.aggregator import metrics
from services.aggregator.errors import SinkUnavailable
from services.aggregator.pipeline import CatalogWrite
from services.runtime.kafka import aiokafka_options, split_key
from services.runtime.logging import get_logger
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
        self._posts_topic = settings.topic(POSTS)
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
        try:
            workspace_id, thing_id = split_key(record.key or b"")
            event = None if record.value is None else self._codecs[record.topic].decode(record.value)
        except SchemasAway:
            raise  # not a word of the entry: it is read again
        except Exception as error:
            # Nobody but the query API writes here; an entry that can't be read must not stop a tenant's numbers.
            log.error(
                "catalog_entry_unreadable",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                error=f"{type(error).__name__}: {error}"[:500],
            )
            metrics.SKIPPED_WRITES.inc()
            return None
        if not workspace_id or not thing_id:
            return None
        return CatalogWrite(workspace_id, thing_id, event, record.topic == self._posts_topic, record.timestamp)

    async def commit(self, positions: dict[TopicPartition, int]) -> None:
        """Note how far the catalog is folded. A failure only means that a restart reads more."""
        try:
            await self._consumer.commit(positions)
        except KafkaError as error:
            log.warning("catalog_commit_failed", error=str(error))

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()
