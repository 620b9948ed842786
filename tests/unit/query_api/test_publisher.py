"""Catalog writes to topics in memory: where they lie, and what a caller is told when they may not be durable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from schemas.codec import Codec, codec, schema_text
from schemas.events import CatalogChannel
from schemas.topic_names import CHANNELS
from services.query_api.errors import BodyTooLarge, WritesUnavailable
from services.query_api.publisher import KafkaPublisher, Write
from services.query_api.views import Place
from services.runtime.kafka import partition_of
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings
from tests.support.memory_brokers import MemoryBrokers
from tests.support.waiting import wait_until_async

PARTITIONS = 2
SETTINGS = KafkaSettings(kafka_bootstrap="127.0.0.1:1", topic_partitions=PARTITIONS)
HOME = partition_of("w1", PARTITIONS)
CODEC: Codec[Any] = codec(CHANNELS, schema_id=7, fetch_schema=lambda _: schema_text(CHANNELS))


class Schemas:
    """See `publisher.Codecs`."""

    async def get(self, topic: str) -> Codec[Any]:
        assert topic == CHANNELS
        return CODEC


def write(channel_id: str, name: str = "name") -> Write:
    return Write(CHANNELS, "w1", channel_id, CatalogChannel("w1", channel_id, "x", "1", name, "active", None, 1))


@pytest.fixture
def brokers() -> MemoryBrokers:
    return MemoryBrokers({CHANNELS: PARTITIONS})


@pytest.fixture
async def publisher(brokers: MemoryBrokers) -> AsyncIterator[KafkaPublisher]:
    made = KafkaPublisher(SETTINGS, Schemas(), brokers)  # type: ignore[arg-type]
    yield made
    await made.stop()


async def ready(publisher: KafkaPublisher) -> None:
    publisher.start()
    await publisher._producer.connected()


async def test_writes_are_told_where_they_lie(brokers: MemoryBrokers, publisher: KafkaPublisher) -> None:
    with pytest.raises(WritesUnavailable):
        await publisher.publish([write("c1")])
    await ready(publisher)
    tombstone = Write(CHANNELS, "w1", "c1", None)
    assert await publisher.publish([write("c1"), tombstone]) == [Place(HOME, 0), Place(HOME, 1)]
    assert [None if value is None else CODEC.decode(value) for value in brokers.values(CHANNELS)] == [
        write("c1").event,
        None,
    ]


async def test_a_write_that_was_lost_is_told_and_the_next_goes_by_a_new_producer(
    brokers: MemoryBrokers, publisher: KafkaPublisher
) -> None:
    await ready(publisher)
    brokers.sends_to_fail = 1
    with pytest.raises(WritesUnavailable):
        await publisher.publish([write("c1")])

    async def is_replaced() -> bool:
        return len(brokers.writers) == 2 and publisher._producer.is_connected

    await wait_until_async(is_replaced, 10, "the producer to be replaced")
    assert brokers.writers[0].is_stopped, "what it held comes before what the next one sends"
    assert await publisher.publish([write("c1")]) == [Place(HOME, 0)]


async def test_a_write_that_fits_no_message_is_the_caller_s(publisher: KafkaPublisher) -> None:
    await ready(publisher)
    with pytest.raises(BodyTooLarge):
        await publisher.publish([write("c1", "x" * MESSAGE_MAX_BYTES)])
