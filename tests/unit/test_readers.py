"""Every reader of the catalog takes the same records for good, and survives whatever else is written there."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from schemas.codec import Codec, codec, schema_text
from schemas.events import ApiKey, CatalogChannel, CatalogPost, ChannelTokens, PollerReply, ReplyKind
from schemas.topic_names import CHANNEL_SNAPSHOTS, POST_ROLLUPS
from services.aggregator.catalog import CatalogReader
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.partitions.captures import Captures, tolerant
from services.poller.schedule.schedule import Schedule
from services.query_api import feed, poller_link
from services.query_api.drops import DropFeed
from services.runtime.brokers import Record
from services.runtime.clock import SystemClock
from services.runtime.following import Batch
from services.runtime.kafka import partition_of
from services.runtime.registry import RegistryUnavailable
from services.runtime.secrets import TokenCipher
from services.runtime.settings import KafkaSettings
from tests.support import properties

PARTITIONS = 8
KAFKA = KafkaSettings(kafka_bootstrap="127.0.0.1:1", topic_prefix="p.", topic_partitions=PARTITIONS)
EVENTS: dict[str, Any] = {
    "catalog.api-keys": ApiKey("w1", "k1", "0" * 64, ("analytics:read",), "tidemark", 1),
    "catalog.channels": CatalogChannel("w1", "c1", "x", "1", "name", "active", None, 1),
    "catalog.posts": CatalogPost("w1", "p1", "published", 1, 1, (), 1),
    "catalog.tokens": ChannelTokens("w1", "c1", b"sealed", "-.-", None, "put", 1),
}
KEYS = {
    "catalog.api-keys": b"w1/k1",
    "catalog.channels": b"w1/c1",
    "catalog.posts": b"w1/p1",
    "catalog.tokens": b"w1/c1",
}


def codec_of(topic: str) -> Codec[Any]:
    def fetch(schema_id: int) -> str:
        if schema_id != 7:
            raise KeyError(schema_id)
        return schema_text(topic)

    return codec(topic, schema_id=7, fetch_schema=fetch)


CODECS = {topic: codec_of(topic) for topic in (*EVENTS, "poller.replies", "platform.raw")}


def fed(topic: str, record: Record, codecs: Any = CODECS) -> bool:
    """Whether the query API takes a record."""
    return bool(feed._decode(codecs, PARTITIONS, [record]))


def folded(topic: str, record: Record, codecs: Any = CODECS) -> bool:
    """Whether the poller does."""
    catalog = Catalog(codecs, Schedule({}), TokenStore(TokenCipher(["0123456789abcdef"]), {}), Accounts())
    home = partition_of_record(record)
    catalog.fold(topic, record.key, record.value, 1, home)
    return not catalog.refused


def written(topic: str, record: Record, codecs: Any = CODECS) -> bool:
    """Whether the aggregator does."""
    reader = CatalogReader.__new__(CatalogReader)
    reader._codecs = codecs
    reader._count = PARTITIONS
    return reader._decoded(record) is not None


def partition_of_record(record: Record) -> Callable[[str], bool]:
    return lambda workspace_id: partition_of(workspace_id, PARTITIONS) == record.partition


READERS: list[tuple[str, Callable[..., bool]]] = [
    (topic, reader)
    for topic in EVENTS
    for reader, topics in ((fed, EVENTS.keys() - {"catalog.posts"}), (folded, EVENTS.keys() - {"catalog.api-keys"}),
                           (written, {"catalog.channels", "catalog.posts"}))
    if topic in topics
]  # fmt: skip
of_readers = pytest.mark.parametrize(("topic", "reader"), READERS)
HOME = partition_of("w1", PARTITIONS)


def good(topic: str) -> Record:
    return Record(topic, HOME, 3, 5, KEYS[topic], CODECS[topic].encode(EVENTS[topic]))


@of_readers
def test_what_agrees_counts_and_so_does_its_tombstone(topic: str, reader: Callable[..., bool]) -> None:
    assert reader(topic, good(topic))
    assert reader(topic, good(topic)._replace(value=None))


@of_readers
@pytest.mark.parametrize("field", ["workspace_id", "id"])
def test_a_record_for_another_does_not_count(topic: str, reader: Callable[..., bool], field: str) -> None:
    event = EVENTS[topic]
    name = (
        field if field == "workspace_id" else next(n for n in ("key_id", "post_id", "channel_id") if hasattr(event, n))
    )
    foreign = CODECS[topic].encode(replace(event, **{name: "victim"}))
    assert not reader(topic, good(topic)._replace(value=foreign))


@of_readers
def test_a_record_in_another_partition_does_not_count(topic: str, reader: Callable[..., bool]) -> None:
    for partition in range(PARTITIONS):
        for value in (good(topic).value, None):
            assert reader(topic, good(topic)._replace(partition=partition, value=value)) == (partition == HOME)


@of_readers
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=properties.of(150), deadline=None)
@given(data=st.data())
def test_any_bytes_are_survived(topic: str, reader: Callable[..., bool], data: st.DataObject) -> None:
    encoded = good(topic).value
    assert encoded is not None
    mutated = bytearray(encoded)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    keys = st.sampled_from([KEYS[topic], None, b"", b"w1", b"\xff/c1", b"w1/c1/x", b"/"]) | st.binary(max_size=20)
    values = st.sampled_from([bytes(mutated), encoded[: len(encoded) // 2], b"", b"\0\0\0\0\7"]) | st.binary(
        max_size=60
    )
    reader(topic, Record(topic, data.draw(st.integers(0, 7)), 3, 5, data.draw(keys), data.draw(st.none() | values)))


class _Breaking:
    """A decoder with a mistake."""

    def decode(self, _: bytes) -> Any:
        raise AttributeError("a mistake")


class _Waiting:
    """A decoder whose registry is away."""

    def decode(self, _: bytes) -> Any:
        raise RegistryUnavailable("away")


@of_readers
def test_a_mistake_of_a_decoder_costs_one_record(topic: str, reader: Callable[..., bool]) -> None:
    assert not reader(topic, good(topic), {topic: _Breaking()})
    with pytest.raises(RegistryUnavailable):
        reader(topic, good(topic), {topic: _Waiting()})


def counted(name: str, topic: str, reason: str) -> float:
    return REGISTRY.get_sample_value(name, {"topic": topic, "reason": reason}) or 0.0


@pytest.mark.parametrize(
    ("reader", "metric"),
    [(fed, "tidemark_query_api_refused_records_total"), (written, "tidemark_refused_records_total")],
)
def test_each_refused_record_is_counted(reader: Callable[..., bool], metric: str) -> None:
    topic = "catalog.channels"
    refused = {
        "key_and_value_differ": good(topic)._replace(key=b"w1/c2"),
        "wrong_partition": good(topic)._replace(partition=(HOME + 1) % PARTITIONS),
        "malformed_key": good(topic)._replace(key=b"w1"),
        "unreadable_key": good(topic)._replace(key=b"\xff/c1"),
        "no_key": good(topic)._replace(key=None),
        "unreadable_value": good(topic)._replace(value=b"nonsense"),
    }
    for reason, record in refused.items():
        before = counted(metric, topic, reason)
        reader(topic, record)
        assert counted(metric, topic, reason) == before + 1


class _Cache:
    is_fed = False

    def __init__(self) -> None:
        self.dropped: list[Any] = []

    def clear(self) -> None:
        self.dropped.clear()

    def drop_all(self, changed: Mapping[bytes, bool]) -> None:
        self.dropped += changed


@settings(deadline=None)
@given(st.sampled_from(["rollups.posts", "rollups.channels", "catalog.posts"]), st.none() | st.binary(max_size=24))
@example("rollups.channels", b"w1/c1")
@example("rollups.posts", b"w1/p1/x")
@example("catalog.posts", b"\xff/p1")
def test_any_key_is_survived_by_the_drops(topic: str, key: bytes | None) -> None:
    cache: Any = _Cache()
    drops = DropFeed(KAFKA, (cache,))
    is_window = topic == "rollups.channels"
    good, tags = (b"w1/c1/24h", {b"n/w1/c1"}) if is_window else (b"w1/p1", {b"p/w1/p1", b"w/w1"})
    records = [Record(topic, 0, offset, 5, each, b"") for offset, each in enumerate((key, good))]
    asyncio.run(drops._take(Batch(deque(records))))
    assert tags <= set(cache.dropped)


@settings(deadline=None)
@given(st.none() | st.binary(max_size=24), st.none() | st.binary(max_size=24))
def test_any_bytes_are_survived_while_captures_are_read(key: bytes | None, value: bytes | None) -> None:
    catalog = Catalog(CODECS, Schedule({}), TokenStore(TokenCipher(["0123456789abcdef"]), {}), Accounts())
    captures = Captures(Schedule({}), catalog, lambda: 1)
    record: Any = Record("", 0, 3, 5, key, value)
    captures.channel_snapshot()(CHANNEL_SNAPSHOTS, record)
    captures.rollup(_Breaking())(POST_ROLLUPS, record)  # type: ignore[arg-type]
    captures.raw(CODECS["platform.raw"])("platform.raw", record)
    assert not captures.channels or key is not None


def test_captures_wait_for_the_registry() -> None:
    def fold(_: str, record: Any) -> None:
        raise RegistryUnavailable("away")

    record: Any = Record("", 0, 3, 5, b"", b"")
    with pytest.raises(RegistryUnavailable):
        tolerant(fold)("", record)


async def test_a_reply_about_another_workspace_is_not_taken() -> None:
    link = poller_link.PollerLink(KAFKA, SimpleNamespace(), SystemClock(), deadline_seconds=1)  # type: ignore[arg-type]
    waiting = link._waiting["r1"] = poller_link._Waiting("w1")
    replies, raw = CODECS["poller.replies"], CODECS["platform.raw"]
    await link._take(replies, raw, replies.encode(PollerReply("r1", "w2", ReplyKind.DONE)))
    await link._take(replies, raw, b"nonsense")
    await link._take(_Breaking(), raw, b"")  # type: ignore[arg-type]
    assert not waiting.finished.is_set()
    assert not waiting.acknowledged.is_set()
    await link._take(replies, raw, replies.encode(PollerReply("r1", "w1", ReplyKind.DONE)))
    assert waiting.finished.is_set()
