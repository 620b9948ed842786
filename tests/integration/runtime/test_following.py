"""The contract of followers and producers on real Kafka."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from services.runtime.brokers import BrokersUnavailable, Place
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.settings import KafkaSettings
from tests.support.broker_contract import OTHER, TOPIC, BrokersContract
from tests.support.engines import EmbeddedEngines, Engines
from tests.support.waiting import wait_until, wait_until_async

PARTITIONS = 2
SECONDS = 30.0


class KafkaWorld:
    """See `broker_contract.World`."""

    def __init__(self, engines: Engines, prefix: str) -> None:
        self._engines = engines
        self._settings = KafkaSettings(kafka_bootstrap=engines.kafka_bootstrap, topic_prefix=prefix)
        self._options: dict[str, str | int | float | bool] = {"bootstrap.servers": engines.kafka_bootstrap}
        self._admin = AdminClient(self._options)
        self._producer = Producer(self._options)
        self.brokers = KafkaBrokers(self._settings)
        for topic in (TOPIC, OTHER):
            self._make(topic)

    async def put(self, topic: str, partition: int, *values: str | None) -> None:
        await asyncio.to_thread(self._put, self._producer, topic, partition, values)

    async def open(self, topic: str, partition: int, *values: str) -> KafkaOpen:
        producer = Producer(
            {**self._options, "transactional.id": f"{self._settings.topic_prefix}{secrets.token_hex(4)}"}
        )
        await asyncio.to_thread(producer.init_transactions, SECONDS)
        producer.begin_transaction()
        await asyncio.to_thread(self._put, producer, topic, partition, values)
        return KafkaOpen(self, producer, topic, partition)

    async def end(self, topic: str, partition: int) -> int:
        """The next offset to be written, however many transactions are open."""
        reader = self.brokers.reader(is_committed=False)
        await reader.start()
        try:
            place = Place(topic, partition)
            return (await reader.bounds([place]))[place].end
        finally:
            await reader.stop()

    async def delete_before(self, topic: str, partition: int, offset: int) -> None:
        place = TopicPartition(self._settings.topic(topic), partition, offset)
        (deleted,) = self._admin.delete_records([place]).values()
        await asyncio.to_thread(deleted.result, SECONDS)

    async def make_anew(self, topic: str) -> None:
        name = self._settings.topic(topic)
        await asyncio.to_thread(self._admin.delete_topics([name])[name].result, SECONDS)

        async def is_gone() -> bool:
            return (await self.brokers.partition_counts([topic]))[topic] == 0

        await wait_until_async(is_gone, SECONDS, "the topic to be gone")
        await asyncio.to_thread(self._make, topic)

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        if not isinstance(self._engines, EmbeddedEngines):
            pytest.skip("stops the broker: runs with --engines=embedded only")
        child = self._engines.child("kafka")
        child.signal_group(signal.SIGSTOP)
        try:
            yield
        finally:
            child.signal_group(signal.SIGCONT)

    def _make(self, topic: str) -> None:
        name = self._settings.topic(topic)
        # A name that was just deleted may be taken for a moment.
        wait_until(lambda: self._made(name), SECONDS, f"{name} to be made")

        def has_leaders() -> bool:
            found = self._admin.list_topics(name, timeout=SECONDS).topics[name].partitions.values()
            return bool(found) and all(partition.leader >= 0 for partition in found)

        wait_until(has_leaders, SECONDS, f"the leaders of {name}")

    def _made(self, name: str) -> bool:
        config = {"message.timestamp.type": "LogAppendTime"}
        new = NewTopic(name, num_partitions=PARTITIONS, replication_factor=-1, config=config)
        return self._admin.create_topics([new])[name].exception(SECONDS) is None

    def _put(self, producer: Producer, topic: str, partition: int, values: tuple[str | None, ...]) -> None:
        name = self._settings.topic(topic)
        for value in values:
            producer.produce(name, None if value is None else value.encode(), partition=partition)
        assert producer.flush(SECONDS) == 0


class KafkaOpen:
    """See `broker_contract.Transaction`."""

    def __init__(self, world: KafkaWorld, producer: Producer, topic: str, partition: int) -> None:
        self._world = world
        self._producer = producer
        self._topic = topic
        self._partition = partition

    async def end(self, *, is_committed: bool) -> None:
        before = await self._world.end(self._topic, self._partition)
        ended = self._producer.commit_transaction if is_committed else self._producer.abort_transaction
        await asyncio.to_thread(ended, SECONDS)

        async def is_marked() -> bool:
            return await self._world.end(self._topic, self._partition) > before

        # The broker writes the marker after it has answered.
        await wait_until_async(is_marked, SECONDS, "the end of the transaction")


class TestOnKafka(BrokersContract):
    @pytest.fixture
    async def world(self, engines: Engines, topic_prefix: str) -> KafkaWorld:
        return await asyncio.to_thread(KafkaWorld, engines, topic_prefix)

    async def test_nobody_there_is_told(self) -> None:
        brokers = KafkaBrokers(KafkaSettings(kafka_bootstrap="127.0.0.1:1"))
        with pytest.raises(BrokersUnavailable):
            await brokers.partition_counts([TOPIC])
        reader, writer = brokers.reader(is_committed=True), brokers.writer()
        for client in (reader, writer):
            with pytest.raises(BrokersUnavailable):
                await client.start()
            await client.stop()
