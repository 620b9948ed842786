"""Reads the dead letters back, for the operator's command."""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.events import DeadLetter
from services.aggregator.partition import DEAD_LETTERS
from services.runtime.kafka import confluent_options
from services.runtime.registry import Registry
from services.runtime.settings import KafkaSettings, RegistrySettings

_TIMEOUT_SECONDS = 15.0


def read_dead_letters(kafka: KafkaSettings, registry: RegistrySettings, limit: int) -> Iterator[DeadLetter]:
    """The newest dead letters of each partition, oldest first.

    Args:
        limit: most a partition.

    Raises:
        RuntimeError: Kafka can't be reached.
        RegistryUnavailable: the registry can't be reached or lacks the schema.
    """
    codec = Registry(registry, kafka).codec(DEAD_LETTERS)
    topic = kafka.topic(DEAD_LETTERS)
    consumer = Consumer(
        {
            **confluent_options(kafka),
            "group.id": f"{kafka.topic_prefix}tidemark-dead-letters-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": False,
            "log_level": 0,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic].partitions
        ends: dict[int, int] = {}
        starts: list[TopicPartition] = []
        for partition in sorted(partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_SECONDS)
            if high > low:
                ends[partition] = high
                starts.append(TopicPartition(topic, partition, max(low, high - limit)))
        consumer.assign(starts)
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while ends and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            # Transaction markers hold offsets too, so the end is known by the position, not by a message.
            for place in consumer.position([TopicPartition(topic, partition) for partition in ends]):
                if place.offset >= ends[place.partition]:
                    del ends[place.partition]
            if message is None or message.error() is not None:
                continue
            value = message.value()
            if value is not None:
                yield codec.decode(value)
    except KafkaException as error:
        raise RuntimeError(f"Kafka can't be read ({error.args[0].str()}); check TIDEMARK_KAFKA_BOOTSTRAP") from None
    finally:
        consumer.close()
