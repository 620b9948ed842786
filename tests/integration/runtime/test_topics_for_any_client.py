"""Tidemark writes only what any Kafka client reads without extra packages; brokers leave what others write as it is."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import aiokafka.codec
import aiokafka.consumer.fetcher as fetcher
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import UnsupportedCodecError
from aiokafka.record.memory_records import MemoryRecords
from confluent_kafka import Producer

from schemas.topic_specs import topic_specs
from services.aggregator.publisher import Encoded, PartitionPublisher
from services.runtime.fetching import BoundedFetchResult
from services.runtime.kafka import aiokafka_producer_options
from services.runtime.settings import KafkaSettings, RegistrySettings
from services.runtime.topics import ensure_topics
from tests.support import raw_batches
from tests.support.engines import Engines

WRITTEN_BY_OTHERS = (
    "platform.raw",
    "platform.raw.dead-letters",
    "accounts.events",
    "catalog.channels",
    "catalog.posts",
)
WRITTEN_BY_THE_AGGREGATOR = ("metrics.post-snapshots", "metrics.channel-snapshots", "rollups.posts", "rollups.channels")
UNTOUCHED = "catalog.tokens"


@pytest.fixture(scope="module")
def kafka(engines: Engines) -> KafkaSettings:
    """Topics of this file; each of its tests reads others."""
    prefix = f"t{secrets.token_hex(4)}."
    settings = KafkaSettings(kafka_bootstrap=engines.kafka_bootstrap, topic_prefix=prefix, topic_partitions=1)
    list(ensure_topics(settings, RegistrySettings(schema_registry_url=engines.schema_registry_url)))
    return settings


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka as `pip install aiokafka` brings it."""
    monkeypatch.setattr(aiokafka.codec, "cramjam", None)


@pytest.fixture
def as_aiokafka_reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it to read without our guards, which decompress by themselves; making our options puts them in place."""

    def unguard() -> None:
        monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)
        monkeypatch.setattr(fetcher, "FetchResult", BoundedFetchResult.__base__)

    return unguard


async def read_all(kafka: KafkaSettings, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.kafka_bootstrap, enable_auto_commit=False, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        place = TopicPartition(kafka.topic(topic), 0)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


@pytest.mark.usefixtures("without_extras")
@pytest.mark.parametrize("topic", WRITTEN_BY_OTHERS)
async def test_what_the_poller_and_the_api_publish_is_readable(
    kafka: KafkaSettings, topic: str, as_aiokafka_reads: Callable[[], None]
) -> None:
    values = [bytes([number]) * 5_000 for number in range(5)]
    async with AIOKafkaProducer(**aiokafka_producer_options(kafka), linger_ms=50) as producer:
        sent = [await producer.send(kafka.topic(topic), value, b"key") for value in values]
        for waiting in sent:
            await waiting
    as_aiokafka_reads()
    assert await read_all(kafka, topic, len(values)) == values


@pytest.mark.usefixtures("without_extras")
async def test_what_the_aggregator_publishes_is_readable(
    kafka: KafkaSettings, as_aiokafka_reads: Callable[[], None]
) -> None:
    publisher = PartitionPublisher(kafka, "tests", 0)
    publisher.publish([Encoded(kafka.topic(topic), 0, b"key", b"x" * 5_000) for topic in WRITTEN_BY_THE_AGGREGATOR])
    publisher.close()
    as_aiokafka_reads()
    for topic in WRITTEN_BY_THE_AGGREGATOR:
        assert await read_all(kafka, topic, 1) == [b"x" * 5_000]


@pytest.mark.usefixtures("without_extras")
async def test_a_topic_that_keeps_the_producers_codec_is_not(
    kafka: KafkaSettings, as_aiokafka_reads: Callable[[], None]
) -> None:
    """Shows that the tests above can fail."""
    producer = Producer({"bootstrap.servers": kafka.kafka_bootstrap, "compression.type": "lz4"})
    producer.produce(kafka.topic(UNTOUCHED), b"x" * 5_000, b"key")
    assert producer.flush(30) == 0
    as_aiokafka_reads()
    with pytest.raises(UnsupportedCodecError):
        await read_all(kafka, UNTOUCHED, 1)


@pytest.mark.parametrize("codec", [pytest.param(raw_batches.GZIP, marks=pytest.mark.long), raw_batches.ZSTD])
def test_no_topic_makes_the_broker_unpack_what_a_stranger_sends(kafka: KafkaSettings, codec: int) -> None:
    """To recompress a batch the broker takes all of it into memory: 40 KB of zeros ended it, and with it everything."""
    bomb = raw_batches.batch([raw_batches.Sent(b"key", bytes(400 * 1024 * 1024))], codec)
    for spec in topic_specs():
        assert spec.config.get("compression.type", "producer") == "producer"
        topic = kafka.topic(spec.name)
        (bombed,) = raw_batches.send_batches(kafka.kafka_bootstrap, topic, 0, [bomb])
        (after,) = raw_batches.send_batches(
            kafka.kafka_bootstrap, topic, 0, [raw_batches.batch([raw_batches.Sent(b"key", b"after")])]
        )
        assert after == bombed + 1
