"""What an operator's commands read: also messages that librdkafka's Python client stumbles over."""

from __future__ import annotations

from confluent_kafka import Producer

from services.aggregator.topic_reader import TopicReader, received
from services.runtime.settings import KafkaSettings, RegistrySettings
from services.runtime.topics import ensure_topics
from tests.support.engines import Engines
from tests.support.unreadable import send_unreadable


async def test_a_header_name_that_is_not_utf8_ends_no_command(engines: Engines, topic_prefix: str) -> None:
    kafka = KafkaSettings(kafka_bootstrap=engines.kafka_bootstrap, topic_prefix=topic_prefix, topic_partitions=1)
    list(ensure_topics(kafka, RegistrySettings(schema_registry_url=engines.schema_registry_url)))
    for _ in range(3):
        await send_unreadable(kafka, "platform.raw", 0, b"w1")
    topic = kafka.topic("platform.raw")
    with TopicReader(kafka) as reader:
        messages = [received(message) for message in reader.read(topic, 0, *reader.bounds(topic, 0))]
    assert [(message.offset, message.key, message.value) for message in messages] == [
        (0, b"w1", b"x"), (1, b"w1", b"x"), (2, b"w1", b"x"),
    ]  # fmt: skip


def test_an_open_transaction_of_a_stranger_holds_no_reader_of_raw_events_up(
    engines: Engines, topic_prefix: str
) -> None:
    kafka = KafkaSettings(kafka_bootstrap=engines.kafka_bootstrap, topic_prefix=topic_prefix, topic_partitions=1)
    list(ensure_topics(kafka, RegistrySettings(schema_registry_url=engines.schema_registry_url)))
    topic = kafka.topic("platform.raw")
    options = {"bootstrap.servers": kafka.kafka_bootstrap, "transaction.timeout.ms": 300_000}
    producer = Producer({**options, "transactional.id": f"{topic_prefix}stranger"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"x", b"w1")
    assert producer.flush(30) == 0
    try:
        with TopicReader(kafka, is_committed=False) as reader:
            assert [message.value() for message in reader.read(topic, 0, 0, 1)] == [b"x"]
    finally:
        producer.abort_transaction(30)
