"""Reads the catalog topics that are held in memory, from their beginning to their end and on.

In: messages. Out: records to the views. Every instance reads every partition, without a consumer group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.codec import Codec, MalformedEvent
from schemas.keys import Reason, checked_key, reason_of
from services.query_api.observability import FEED_LAG, REFUSED
from services.query_api.publisher import Codecs
from services.query_api.views import Place, TopicView
from services.runtime.kafka import aiokafka_options, partition_of, stop_clients
from services.runtime.logging import get_logger
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings

log = get_logger(__name__)

_POLL_MILLIS = 500
_MAX_RECORDS = 2_000
_RETRY_SECONDS = 1.0

_Decoded = tuple[str, bytes, Any, Place]


class CatalogFeed:
    """Keeps views current.

    Views keep what they hold while Kafka is away, and go on from there when it is back.
    """

    def __init__(self, settings: KafkaSettings, codecs: Codecs, views: Sequence[TopicView[Any]]) -> None:
        self._settings = settings
        self._codecs = codecs
        self._views = {settings.topic(view.topic): view for view in views}
        self._next: dict[TopicPartition, int] = {}
        self._task: asyncio.Task[None] | None = None
        self.missing: str | None = "the catalog topics are not read yet: Kafka has not answered"
        """What is not read to its end yet, as one line; None once everything was, and from then on."""

    def start(self) -> None:
        """Begin reading."""
        self._task = asyncio.create_task(self._run())

    def read_to(self, topic: str, partition: int) -> int:
        """The offset up to which a topic (name without prefix) was read; 0 before anything was."""
        return self._next.get(TopicPartition(self._settings.topic(topic), partition), 0)

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            consumer = AIOKafkaConsumer(
                **aiokafka_options(self._settings),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                max_partition_fetch_bytes=MESSAGE_MAX_BYTES,
            )
            try:
                await consumer.start()
                await self._follow(consumer)
            except (KafkaError, RegistryUnavailable, OSError) as error:
                log.warning("catalog topics can't be read", error=str(error) or repr(error))
            except Exception:
                # A bug must not silence revocations for good: show it, and read on.
                log.exception("reading the catalog topics failed")
            finally:
                await stop_clients(consumer)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        codecs = {topic: await self._codecs.get(view.topic) for topic, view in self._views.items()}
        topics = {topic: view.topic for topic, view in self._views.items()}
        count = self._settings.topic_partitions
        partitions = [TopicPartition(topic, number) for topic in self._views for number in range(count)]
        consumer.assign(partitions)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        for tp in partitions:
            # A position that the topic does not have is of an older topic of that name.
            held = self._next.get(tp, begins[tp])
            self._next[tp] = held if begins[tp] <= held <= ends[tp] else begins[tp]
            consumer.seek(tp, self._next[tp])
        while True:
            found = await consumer.getmany(timeout_ms=_POLL_MILLIS, max_records=_MAX_RECORDS)
            records = [record for group in found.values() for record in group]
            if records:
                # Off the loop: the first value of a schema asks the registry, and a start reads thousands.
                for topic, key, event, place in await asyncio.to_thread(_decode, codecs, topics, count, records):
                    self._views[topic].observe(key, event, place)
            for tp in partitions:
                # Compacted offsets and markers have no record: go by the consumer's own position.
                self._next[tp] = await consumer.position(tp)
            FEED_LAG.set(sum(max(0, (consumer.highwater(tp) or 0) - self._next[tp]) for tp in partitions))
            if self.missing is not None:
                left = sum(max(0, end - self._next[tp]) for tp, end in ends.items())
                self.missing = f"{left} catalog events are not read yet" if left else None


def _decode(
    codecs: Mapping[str, Codec[Any]], topics: Mapping[str, str], partitions: int, records: Sequence[Any]
) -> list[_Decoded]:
    """The records that count; whatever else was written to the topics is passed over.

    Args:
        topics: from full names to names without prefix.
        partitions: how many each topic has.
    """
    decoded: list[_Decoded] = []
    for record in records:
        topic = topics[record.topic]
        try:
            event = None if record.value is None else codecs[record.topic].decode(record.value)
            checked_key(topic, record.key, event, lambda name: partition_of(name, partitions) == record.partition)  # noqa: B023 - called at once
        except RegistryUnavailable:
            raise
        except MalformedEvent as error:
            _refuse(topic, record, reason_of(error))
        except Exception as error:
            # One record must not keep the others from being read, whatever is wrong with it or with its decoder.
            log.error("a catalog entry breaks its decoder", topic=topic, offset=record.offset, error=repr(error))
            _refuse(topic, record, Reason.UNREADABLE_VALUE)
        else:
            decoded.append((record.topic, record.key, event, Place(record.partition, record.offset)))
    return decoded


def _refuse(topic: str, record: Any, reason: Reason) -> None:
    REFUSED.labels(topic, reason.value).inc()
    log.error(
        "a catalog entry does not count",
        topic=topic,
        partition=record.partition,
        offset=record.offset,
        reason=reason.value,
    )
