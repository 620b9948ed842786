"""Public topics hold only what a Kafka client reads without extra packages, whatever codec a producer chose."""

from __future__ import annotations

import aiokafka.codec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnsupportedCodecError
from confluent_kafka import Producer

from services.aggregator.publisher import Encoded, PartitionPublisher
from services.runtime.settings import KafkaSettings, RegistrySettings
from services.runtime.topics import ensure_topics
from tests.support.engines import Engines

FOREIGN = ("lz4", "snappy", "zstd", "gzip", "none")
WRITTEN_BY_OTHERS = (
    "platform.raw",
    "platform.raw.dead-letters",
    "accounts.events",
    "catalog.channels",
    "catalog.posts",
)
WRITTEN_BY_THE_AGGREGATOR = ("metrics.post-snapshots", "metrics.channel-snapshots", "rollups.posts", "rollups.channels")


@pytest.fixture
def kafka(engines: Engines, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(kafka_bootstrap=engines.kafka_bootstrap, topic_prefix=topic_prefix, topic_partitions=1)
    list(ensure_topics(settings, RegistrySettings(schema_registry_url=engines.schema_registry_url)))
    return settings


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka as `pip install aiokafka` brings it."""
    monkeypatch.setattr(aiokafka.codec, "cramjam", None)


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
async def test_what_producers_compress_is_readable(kafka: KafkaSettings, topic: str) -> None:
    values = [f"{codec} ".encode() * 500 for codec in FOREIGN]
    for codec, value in zip(FOREIGN, values, strict=True):
        producer = Producer({"bootstrap.servers": kafka.kafka_bootstrap, "compression.type": codec})
        producer.produce(kafka.topic(topic), value, b"key")
        assert producer.flush(30) == 0
    assert await read_all(kafka, topic, len(values)) == values


@pytest.mark.usefixtures("without_extras")
async def test_what_the_aggregator_publishes_is_readable(kafka: KafkaSettings) -> None:
    publisher = PartitionPublisher(kafka, "tests", 0)
    publisher.publish([Encoded(kafka.topic(topic), 0, b"key", b"x" * 5_000) for topic in WRITTEN_BY_THE_AGGREGATOR])
    publisher.close()
    for topic in WRITTEN_BY_THE_AGGREGATOR:
        assert await read_all(kafka, topic, 1) == [b"x" * 5_000]


@pytest.mark.usefixtures("without_extras")
async def test_a_topic_that_keeps_the_producers_codec_is_not(kafka: KafkaSettings) -> None:
    """Shows that the tests above can fail."""
    producer = Producer({"bootstrap.servers": kafka.kafka_bootstrap, "compression.type": "lz4"})
    producer.produce(kafka.topic("rollups.posts"), b"x" * 5_000, b"key")
    assert producer.flush(30) == 0
    with pytest.raises(UnsupportedCodecError):
        await read_all(kafka, "rollups.posts", 1)
