"""What an operator's commands read: also messages that librdkafka's Python client stumbles over."""

from __future__ import annotations

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
    # The client gives no header of such a message.
    assert {message.headers for message in messages} == {()}
