"""One partition's catalog, read from topics in memory by owners that follow one another."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from schemas.codec import Codec, codec, schema_text
from schemas.events import CatalogChannel, CatalogPost
from schemas.topic_names import CHANNELS, POSTS
from services.aggregator.catalog import CatalogReader
from services.runtime.brokers import Place
from services.runtime.kafka import key, partition_of
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import KafkaSettings
from tests.support.memory_brokers import MemoryBrokers

PARTITIONS = 2
SETTINGS = KafkaSettings(kafka_bootstrap="127.0.0.1:1", topic_partitions=PARTITIONS)
HOME = partition_of("w1", PARTITIONS)


def _schema(topic: str, _: int) -> str:
    return schema_text(topic)


CODECS: dict[str, Codec[Any]] = {
    name: codec(name, schema_id=1, fetch_schema=partial(_schema, name)) for name in (CHANNELS, POSTS)
}


class Catalog:
    """The topics, and owners of a partition."""

    def __init__(self) -> None:
        self.brokers = MemoryBrokers({CHANNELS: PARTITIONS, POSTS: PARTITIONS})

    def put_channel(self, channel_id: str) -> None:
        event = CatalogChannel("w1", channel_id, "x", "1", "name", "active", None, 1)
        self.brokers.put(CHANNELS, HOME, key("w1", channel_id), CODECS[CHANNELS].encode(event))

    def put_post(self, post_id: str) -> None:
        event = CatalogPost("w1", post_id, "published", 1, 1, (), 1)
        self.brokers.put(POSTS, HOME, key("w1", post_id), CODECS[POSTS].encode(event))

    def owner(self, codecs: dict[str, Codec[Any]] = CODECS) -> CatalogReader:
        return CatalogReader(SETTINGS, "aggregator", HOME, codecs, self.brokers)


async def ids(reader: CatalogReader) -> list[str]:
    return [write.id async for writes in reader.to_end() for write in writes]


async def test_an_owner_goes_on_where_the_last_one_committed() -> None:
    catalog = Catalog()
    catalog.put_channel("c1")
    catalog.put_post("p1")
    first = catalog.owner()
    assert sorted(await ids(first)) == ["c1", "p1"]
    assert first.positions() == {Place(CHANNELS, HOME): 1, Place(POSTS, HOME): 1}
    await first.commit(first.positions())
    assert {group for group, _ in catalog.brokers.groups} == {"aggregator-catalog"}
    catalog.put_post("p2")
    assert [write.id for write in await first.poll()] == ["p2"]
    await first.stop()
    second = catalog.owner()
    assert await ids(second) == ["p2"], "what was read and not committed is read again"
    await second.stop()


async def test_a_position_of_another_topic_of_that_name_is_none() -> None:
    catalog = Catalog()
    for place in (Place(CHANNELS, HOME), Place(POSTS, HOME)):
        catalog.brokers.groups["aggregator-catalog", place] = 9
    catalog.put_channel("c1")
    owner = catalog.owner()
    assert await ids(owner) == ["c1"]
    await owner.stop()


async def test_a_commit_that_fails_ends_nothing() -> None:
    catalog = Catalog()
    owner = catalog.owner()
    assert await ids(owner) == []
    catalog.brokers.go_away()
    await owner.commit(owner.positions())
    assert catalog.brokers.groups == {}
    await owner.stop()


class _Away:
    """A decoder whose registry does not answer."""

    def decode(self, _: bytes) -> Any:
        raise RegistryUnavailable("away")


async def test_what_has_no_schema_yet_is_read_again() -> None:
    catalog = Catalog()
    catalog.put_channel("c1")
    codecs: dict[str, Any] = {**CODECS, CHANNELS: _Away()}
    owner = catalog.owner(codecs)
    with pytest.raises(RegistryUnavailable):
        await ids(owner)
    codecs[CHANNELS] = CODECS[CHANNELS]
    assert await ids(owner) == ["c1"]
    await owner.stop()
