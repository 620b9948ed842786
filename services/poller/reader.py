"""Reads topics for the poller: some once from a point to their end, others to the end and then for good.

The only importer of aiokafka's consumer here. No consumer group and no committed offsets: everything read is folded
into memory, from the beginning, whenever partitions are gained. Of each topic the same partitions are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from services.poller.errors import Stop
from services.runtime.kafka import aiokafka_options, stop_clients
from services.runtime.logging import get_logger
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings

RETRY_SECONDS = 1.0
_SAY_EVERY = 10
_POLL_MS = 500
_RECORDS = 500
_log = get_logger(__name__)

Record: TypeAlias = ConsumerRecord
"""One message as it was read: partition, offset, timestamp (ms), key and value (bytes or None)."""

Fold = Callable[[str, Record], None]
"""Takes in one message; the topic's name is without prefix. May raise RegistryUnavailable: then it is called again."""


class TopicReader:
    """Consumers of topics without a group."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self.waiting_for: str | None = "Kafka"
        self._count = 0
        self._attempts = 0

    async def partition_count(self, topics: Iterable[str]) -> int:
        """The number of partitions that all the topics have; waits until Kafka answers and all of them exist.

        Args:
            topics: names without prefix.

        Raises:
            Stop: the numbers differ, so a workspace would not meet itself.
        """
        names = [self._settings.topic(name) for name in topics]
        while True:
            counts = await self._counts(names)
            missing = [name for name in names if not counts.get(name)]
            if counts and not missing:
                break
            if counts:
                self.waiting_for = f"topics that don't exist yet: {', '.join(missing)}"
                self._say("topics are missing; run `tidemark topics`", topics=",".join(missing))
            await asyncio.sleep(RETRY_SECONDS)
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
            raise Stop(f"the topics differ in their number of partitions ({found}); they must be equal")
        self.waiting_for = None
        self._count = next(iter(counts.values()))
        return self._count

    async def replay(
        self,
        topic: str,
        fold: Fold,
        since: int | Mapping[int, int] | None = None,
        partitions: Iterable[int] | None = None,
    ) -> int:
        """Read one topic to its present end; `partition_count` comes first.

        Args:
            partitions: which of them, None for all.
            since: start at the first message of this time (ms; one for all or one a partition) or later; None from the
                beginning.

        Returns:
            How many messages were read.
        """
        consumer = await self._consumer()
        try:
            places = self._places([topic], partitions)
            return await self._to_end(consumer, await self._assign(consumer, places, since), fold)
        finally:
            await stop_clients(consumer)

    async def follow(
        self, topics: Iterable[str], fold: Fold, caught_up: asyncio.Event, partitions: Iterable[int] | None = None
    ) -> None:
        """Read topics from the beginning for as long as the task runs; `caught_up` is set at their present end."""
        consumer = await self._consumer()
        try:
            await self._to_end(consumer, await self._assign(consumer, self._places(topics, partitions)), fold)
            caught_up.set()
            while True:
                await self._some(consumer, fold)
        finally:
            await stop_clients(consumer)

    async def tail(
        self,
        topics: Iterable[str],
        fold: Fold,
        partitions: Iterable[int] | None = None,
        standing: asyncio.Event | None = None,
    ) -> None:
        """Read what comes to topics from now on, for as long as the task runs.

        Args:
            standing: set as soon as nothing that comes is missed.
        """
        consumer = await self._consumer()
        try:
            for place, offset in (await self._assign(consumer, self._places(topics, partitions))).items():
                consumer.seek(place, offset)
            if standing is not None:
                standing.set()
            while True:
                await self._some(consumer, fold)
        finally:
            await stop_clients(consumer)

    def _places(self, topics: Iterable[str], partitions: Iterable[int] | None) -> list[TopicPartition]:
        numbers = range(self._count) if partitions is None else sorted(partitions)
        return [TopicPartition(self._settings.topic(name), number) for name in topics for number in numbers]

    async def _to_end(self, consumer: Any, ends: Mapping[TopicPartition, int], fold: Fold) -> int:
        read = 0
        left = list(ends)
        while True:
            left = [partition for partition in left if await consumer.position(partition) < ends[partition]]
            if not left:
                return read
            self.waiting_for = f"the end of {len(left)} partitions, {read} messages read"
            read += await self._some(consumer, fold)

    async def _some(self, consumer: Any, fold: Fold) -> int:
        try:
            batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS)
        except KafkaError as error:
            _log.warning("topics can't be read; trying again", error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)
            return 0
        read = 0
        prefix = len(self._settings.topic_prefix)
        for partition, records in batches.items():
            for record in records:
                await self._fold(fold, partition.topic[prefix:], record)
            read += len(records)
        # A long catalog must not keep the operators' door shut.
        await asyncio.sleep(0)
        return read

    async def _fold(self, fold: Fold, topic: str, record: ConsumerRecord) -> None:
        while True:
            try:
                return fold(topic, record)
            except RegistryUnavailable as error:
                _log.warning("a message waits for its schema", topic=topic, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _assign(
        self, consumer: Any, places: list[TopicPartition], since: int | Mapping[int, int] | None = None
    ) -> Mapping[TopicPartition, int]:
        """Stand at the beginning, or at a time, of partitions; returns their present ends."""
        consumer.assign(places)
        while True:
            try:
                ends: Mapping[TopicPartition, int] = await consumer.end_offsets(places)
                starts = dict(await consumer.beginning_offsets(places))
                if since is not None:
                    times = {place: since if isinstance(since, int) else since[place.partition] for place in places}
                    found = await consumer.offsets_for_times(times)
                    starts = {place: ends[place] if at is None else at.offset for place, at in found.items()}
                break
            except KafkaError as error:
                _log.warning("topics can't be read; trying again", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
        for place, offset in starts.items():
            consumer.seek(place, offset)
        return ends

    async def _counts(self, names: list[str]) -> dict[str, int]:
        """Partitions by topic, {} while Kafka is away; 0 or absent for a topic that doesn't exist."""
        admin = AIOKafkaAdminClient(**aiokafka_options(self._settings))
        try:
            await admin.start()
            return {found["topic"]: len(found["partitions"]) for found in await admin.describe_topics(names)}
        except (KafkaError, OSError) as error:
            self._away(error)
            return {}
        finally:
            await admin.close()

    def _away(self, error: Exception) -> None:
        self.waiting_for = f"Kafka at {self._settings.kafka_bootstrap}"
        self._say("Kafka can't be reached; trying again", address=self._settings.kafka_bootstrap, error=repr(error))

    def _say(self, event: str, **values: str) -> None:
        """Log the first of a row of attempts, and then one in some."""
        if self._attempts % _SAY_EVERY == 0:
            _log.warning(event, **values)
        self._attempts += 1

    async def _consumer(self) -> Any:
        """A consumer that is connected, however long that takes."""
        while True:
            consumer = AIOKafkaConsumer(
                **aiokafka_options(self._settings),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                # The poller's own rule is last writer wins, and totals of an aborted transaction are still true.
                isolation_level="read_uncommitted",
                max_partition_fetch_bytes=MESSAGE_MAX_BYTES,
            )
            try:
                await consumer.start()
                return consumer
            except (KafkaError, OSError) as error:
                await stop_clients(consumer)
                self._away(error)
                await asyncio.sleep(RETRY_SECONDS)
            except BaseException:
                await stop_clients(consumer)
                raise
