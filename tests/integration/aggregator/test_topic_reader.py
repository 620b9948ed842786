"""What an operator's commands read: also messages that librdkafka's Python client stumbles over."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from services.aggregator.topic_reader import TopicReader
from services.runtime.settings import KafkaSettings, RegistrySettings
from services.runtime.topics import ensure_topics
from tests.support.engines import Engines
from tests.support.unreadable import send_unreadable

_BOMB_BYTES = 400 * 1024 * 1024


@pytest.fixture(scope="module")
def kafka(engines: Engines) -> KafkaSettings:
    """Topics of this file's own, with a partition for each test."""
    settings = KafkaSettings(
        kafka_bootstrap=engines.kafka_bootstrap, topic_prefix=f"t{secrets.token_hex(4)}.", topic_partitions=16
    )
    list(ensure_topics(settings, RegistrySettings(schema_registry_url=engines.schema_registry_url)))
    return settings


@pytest.fixture(scope="module")
def free() -> Iterator[int]:
    return iter(range(16))


@pytest.fixture
def partition(free: Iterator[int]) -> int:
    """An empty partition of one test's own."""
    return next(free)


async def test_a_header_name_that_is_not_utf8_ends_no_command(kafka: KafkaSettings, partition: int) -> None:
    for _ in range(3):
        await send_unreadable(kafka, "platform.raw", partition, b"w1")
    topic = kafka.topic("platform.raw")
    with TopicReader(kafka) as reader:
        messages = list(reader.read(topic, partition, *reader.bounds(topic, partition)))
    assert [(message.offset, message.key, message.value) for message in messages] == [
        (0, b"w1", b"x"), (1, b"w1", b"x"), (2, b"w1", b"x"),
    ]  # fmt: skip


@pytest.mark.parametrize("codec", ["zstd", "gzip", "lz4", "snappy"])
def test_a_message_too_long_to_decompress_holds_no_command_up(kafka: KafkaSettings, partition: int, codec: str) -> None:
    topic = kafka.topic("platform.raw")
    options = {"bootstrap.servers": kafka.kafka_bootstrap, "message.max.bytes": 1_000_000_000}
    producer = Producer({**options, "compression.type": codec})
    producer.produce(topic, b"before", b"w1", partition)
    assert producer.flush(30) == 0
    # What no codec makes small enough for the broker is sent as large as the broker takes it.
    producer.produce(topic, bytes(_BOMB_BYTES if codec == "zstd" else 20 * 1024 * 1024), b"w1", partition)
    assert producer.flush(60) == 0
    producer.produce(topic, b"behind", b"w1", partition)
    assert producer.flush(30) == 0
    with TopicReader(kafka) as reader:
        messages = list(reader.read(topic, partition, *reader.bounds(topic, partition)))
    assert [message.intact for message in messages] == [b"before", b"", b"behind"]
    assert messages[1].unreadable is not None
    assert "too_large" in messages[1].unreadable


def test_reads_end_at_their_end_and_begin_anew(kafka: KafkaSettings, partition: int) -> None:
    topic = kafka.topic("platform.raw")
    producer = Producer({"bootstrap.servers": kafka.kafka_bootstrap})
    for number in range(5_000):
        producer.produce(topic, json.dumps(number), b"w1", partition)
    assert producer.flush(60) == 0
    with TopicReader(kafka) as reader:
        assert [message.offset for message in reader.read(topic, partition, 10, 13)] == [10, 11, 12]
        broken_off = reader.read(topic, partition, 0, 5_000)
        assert next(broken_off).value == b"0"
        broken_off.close()
        assert [message.value for message in reader.read(topic, partition, 4_998, 5_000)] == [b"4998", b"4999"]
        assert len(list(reader.read(topic, partition, 0, 5_000))) == 5_000
        found = reader.at(topic, partition, 7)
        assert found is not None
        assert found.value == b"7"
        assert reader.at(topic, partition, 5_000) is None


def test_the_next_partition_is_not_waited_for(engines: Engines, topic_prefix: str) -> None:
    """The client asks on at a partition's end; a command that reads hundreds of them has no time for each answer."""
    settings = KafkaSettings(kafka_bootstrap=engines.kafka_bootstrap, topic_prefix=topic_prefix, topic_partitions=8)
    list(ensure_topics(settings, RegistrySettings(schema_registry_url=engines.schema_registry_url)))
    topic = settings.topic("platform.raw")
    producer = Producer({"bootstrap.servers": engines.kafka_bootstrap})
    for number in range(8):
        producer.produce(topic, b"x", b"w1", number)
    assert producer.flush(30) == 0
    took = []
    with TopicReader(settings) as reader:
        for number in range(8):
            began = time.monotonic()
            assert [message.value for message in reader.read(topic, number, 0, 1)] == [b"x"]
            took.append(time.monotonic() - began)
    # The quickest, since a busy machine adds to each; the first one connects.
    assert min(took[1:]) < 0.2, took


def test_an_open_transaction_of_a_stranger_holds_no_reader_of_raw_events_up(
    kafka: KafkaSettings, partition: int, topic_prefix: str
) -> None:
    topic = kafka.topic("platform.raw")
    options = {"bootstrap.servers": kafka.kafka_bootstrap, "transaction.timeout.ms": 300_000}
    producer = Producer({**options, "transactional.id": f"{topic_prefix}stranger"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"x", b"w1", partition)
    assert producer.flush(30) == 0
    try:
        with TopicReader(kafka, is_committed=False) as reader:
            assert [message.value for message in reader.read(topic, partition, 0, 1)] == [b"x"]
    finally:
        producer.abort_transaction(30)
