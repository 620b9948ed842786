"""The catalog in memory, fed by topics in memory: while they are read, while nobody answers, and when the registry
does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from schemas.codec import Codec, codec, schema_text
from schemas.events import CatalogChannel
from schemas.topic_names import CHANNELS
from services.query_api.directory import Directory
from services.query_api.feed import CatalogFeed
from services.runtime.kafka import key, partition_of
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import KafkaSettings
from tests.support.memory_brokers import MemoryBrokers
from tests.support.waiting import wait_until_async

PARTITIONS = 2
SETTINGS = KafkaSettings(kafka_bootstrap="127.0.0.1:1", topic_partitions=PARTITIONS)
HOME = partition_of("w1", PARTITIONS)


class Schemas:
    """See `publisher.Codecs`; a registry that can be away."""

    def __init__(self) -> None:
        self.is_away = False
        self._codec: Codec[Any] = codec(CHANNELS, schema_id=7, fetch_schema=lambda _: schema_text(CHANNELS))

    async def get(self, topic: str) -> Codec[Any]:
        assert topic == CHANNELS
        if self.is_away:
            raise RegistryUnavailable("away")
        return self._codec


class Fed:
    """A feed, and whoever writes what it reads."""

    def __init__(self) -> None:
        self.brokers, self.schemas, self.directory = MemoryBrokers({CHANNELS: PARTITIONS}), Schemas(), Directory()
        self.feed = CatalogFeed(SETTINGS, self.schemas, (self.directory,), self.brokers)  # type: ignore[arg-type]

    def put(self, channel_id: str, *, is_gone: bool = False) -> int:
        event = CatalogChannel("w1", channel_id, "x", "1", "name", "active", None, 1)
        value = None if is_gone else self.schemas._codec.encode(event)
        return self.brokers.put(CHANNELS, HOME, key("w1", channel_id), value)

    async def wait(self, channel_id: str, *, is_held: bool = True) -> None:
        async def holds() -> bool:
            return (self.directory.get("w1", channel_id) is not None) == is_held

        await wait_until_async(holds, 10, f"{channel_id} to be {'held' if is_held else 'gone'}")


@pytest.fixture
async def fed() -> AsyncIterator[Fed]:
    made = Fed()
    yield made
    await made.feed.stop()


async def test_what_is_missing_until_the_topics_are_read(fed: Fed) -> None:
    fed.put("c1")
    assert fed.feed.missing == "the catalog topics are not read yet: Kafka has not answered"
    fed.feed.start()
    await fed.feed.caught_up()
    assert fed.feed.missing is None
    assert fed.directory.get("w1", "c1") is not None
    assert fed.feed.read_to(CHANNELS, HOME) == 1
    offset = fed.put("c2")
    await fed.feed.reached(CHANNELS, {HOME: offset + 1})
    assert fed.directory.get("w1", "c2") is not None


async def test_memory_outlives_an_outage_and_goes_on_behind_it(fed: Fed) -> None:
    fed.put("c1")
    fed.feed.start()
    await fed.feed.caught_up()
    fed.brokers.go_away()
    fed.put("c2")
    fed.put("c1", is_gone=True)
    assert fed.directory.get("w1", "c1") is not None
    assert fed.feed.missing is None
    fed.brokers.come_back()
    await fed.wait("c2")
    await fed.wait("c1", is_held=False)


async def test_nothing_is_ready_before_its_schema_is_there(fed: Fed) -> None:
    fed.schemas.is_away = True
    fed.put("c1")
    fed.feed.start()

    async def is_connected() -> bool:
        return bool(fed.brokers.readers)

    await wait_until_async(is_connected, 10, "the feed to connect")
    assert fed.feed.missing is not None
    fed.schemas.is_away = False
    await fed.wait("c1")
    await fed.feed.caught_up()


async def test_a_topic_made_anew_is_read_from_its_beginning(fed: Fed) -> None:
    for name in ("c1", "c2"):
        fed.put(name)
    fed.feed.start()
    await fed.feed.caught_up()
    fed.brokers.make(CHANNELS, PARTITIONS)
    fed.put("c3")
    await fed.wait("c3")
    assert fed.feed.read_to(CHANNELS, HOME) == 1
