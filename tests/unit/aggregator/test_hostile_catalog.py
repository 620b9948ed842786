"""Whatever one post of the catalog says, every other post keeps its figures, and a later write of the post heals it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import codec, schema_text
from schemas.conversions import TYPED
from schemas.events import CatalogChannel, CatalogPost, CatalogTarget
from schemas.metrics import LIKES, NO_POST_VALUES
from schemas.topic_names import CHANNELS, DEAD_LETTERS, POSTS, RAW
from schemas.windows import HOUR
from services.aggregator import catalog_export
from services.aggregator.audit import mirror
from services.aggregator.batch import Batch, CatalogWrite, Effects
from services.aggregator.catalog import CatalogReader
from services.aggregator.errors import OwnershipLost
from services.aggregator.pipeline import Pipeline
from services.aggregator.replay import post_write
from services.aggregator.set_aside import BatchReader
from services.aggregator.settings import AggregatorSettings
from services.aggregator.state import Key, PostState
from services.aggregator.writing import BatchWriter
from services.platforms.base import PostReading, Reading
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.schedule.schedule import Schedule
from services.runtime.brokers import Record
from services.runtime.clock import SystemClock
from services.runtime.secrets import TokenCipher
from tests.support import hostile_values, properties
from tests.support.state_store import StateStore
from tests.unit.aggregator.test_model import START, System, reading

W = "w"
CODECS = {
    topic: codec(topic, schema_id=1, fetch_schema=lambda _, topic=topic: schema_text(topic))  # type: ignore[misc]
    for topic in (POSTS, CHANNELS)
}


def read(event: CatalogPost | CatalogChannel) -> CatalogWrite | None:
    """What the aggregator makes of an event on its topic."""
    topic = POSTS if isinstance(event, CatalogPost) else CHANNELS
    own_id = event.post_id if isinstance(event, CatalogPost) else event.channel_id
    reader = CatalogReader.__new__(CatalogReader)
    reader._codecs, reader._count = CODECS, 1
    key = f"{event.workspace_id}/{own_id}".encode()
    return reader._decoded(Record(topic, 0, 3, START, key, CODECS[topic].encode(event)))


def channel(workspace_id: str, channel_id: str) -> CatalogWrite:
    event = CatalogChannel(workspace_id, channel_id, "x", channel_id, channel_id, "active", None, START)
    return CatalogWrite(workspace_id, channel_id, event, False, START)


def post(*targets: CatalogTarget, at: int = START) -> CatalogPost:
    return CatalogPost(W, "p0", "published", START - HOUR, START - HOUR, targets, at)


def put(event: CatalogPost) -> CatalogWrite:
    return CatalogWrite(event.workspace_id, event.post_id, event, True, START)


def answer(number: int, target_id: str, likes: int, workspace_id: str = W) -> Any:
    values = list(NO_POST_VALUES)
    values[LIKES] = likes
    told = reading(number, "c1", START, Reading(posts=[PostReading(0, 1 << LIKES, 0, tuple(values))]), (target_id,))
    return replace(told, event=replace(told.event, workspace_id=workspace_id))


def likes(system: System, key: str) -> int | None:
    told = system.store.topics["rollups.posts"][key.encode()]["likes"]
    return cast("int | None", told)


def system_with(event: CatalogPost) -> System:
    system = System()
    system.apply(Batch(catalog=[channel(W, "c1"), channel(W, "c2")]))
    system.apply(Batch(catalog=[put(event)]))
    return system


def spoil(system: System, targets: str) -> None:
    """Leave a row as an older version of the aggregator stored it."""
    system.store.tables["posts_store"][(W, "p0")]["targets"] = targets
    system.restart()


def row_of(detail: str) -> str:
    """`targets` as an older version wrote them: with the detail as it came."""
    written = orjson.dumps(
        [{"target_id": "t1", "channel_id": "c1", "status": "published", "published_at": START, "detail": "DETAIL"}]
    )
    return written.decode().replace('"DETAIL"', detail)


@pytest.mark.parametrize("is_stored", [False, True], ids=["written now", "stored before"])
@pytest.mark.parametrize("detail", hostile_values.NO_DETAILS)
def test_a_detail_that_is_no_object_counts_as_none(detail: str, *, is_stored: bool) -> None:
    bad = read(post(CatalogTarget("t1", "c1", detail=detail)))
    assert bad is not None
    assert isinstance(bad.event, CatalogPost)
    for step in (
        Batch(raw=[answer(1, "t1", 3)]),
        Batch(catalog=[put(post(CatalogTarget("t1", "c1"), at=START + 5))]),
        Batch(catalog=[CatalogWrite(W, "p0", None, True, START)]),
        Batch(catalog=[CatalogWrite(W, "c1", None, False, START)]),
    ):
        system = system_with(bad.event)
        targets = system.store.tables["posts_store"][(W, "p0")]["targets"]
        assert [(each["target_id"], each["detail"]) for each in orjson.loads(targets)] == [("t1", {})]
        spoil(system, row_of(detail) if is_stored else targets)
        system.apply(step)
        system.restart()
        system.apply(Batch(catalog=[channel(W, "c1"), put(post(CatalogTarget("t1", "c1"), at=START + 9))]))
        system.apply(Batch(raw=[answer(2, "t1", 7)]))
        assert likes(system, "w/p0") in (3, 7)


def test_a_target_twice_in_a_post_does_not_count_and_would_count_once() -> None:
    event = post(CatalogTarget("t1", "c1"), CatalogTarget("t1", "c1"))
    assert read(event) is None
    system = system_with(event)
    system.apply(Batch(raw=[answer(1, "t1", 77)]))
    assert likes(system, "w/p0") == 77
    system.restart()
    system.apply(Batch(raw=[answer(2, "t1", 78)]))
    assert likes(system, "w/p0") == 78


class Unreadable(StateStore):
    """Holds one post that no reader can read, whatever the reason."""

    async def fetch_posts(self, generation: int, keys: Sequence[Key]) -> dict[Key, PostState]:
        if (W, "p0") in keys:
            raise orjson.JSONDecodeError("a row", "", 0)
        return await super().fetch_posts(generation, keys)


class Written:
    """Stores what a batch came to."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self.dead: list[Any] = []

    async def write(self, batch: Batch, effects: Effects, _: float, acknowledge: Any, __: Any) -> None:
        self._store.insert(effects.inserts)
        self._store.publish(effects)
        self.dead += batch.dead
        await acknowledge()


def settings_of_one() -> AggregatorSettings:
    return AggregatorSettings(
        kafka_bootstrap="127.0.0.1:1",
        schema_registry_url="http://127.0.0.1:1",
        clickhouse_url="http://u@127.0.0.1:1/tidemark",
        topic_partitions=1,
    )


def letters() -> BatchReader:
    of_raw, of_letters = (
        codec(topic, schema_id=1, fetch_schema=lambda _, topic=topic: schema_text(topic))  # type: ignore[misc]
        for topic in (RAW, DEAD_LETTERS)
    )
    return BatchReader(0, settings_of_one(), of_raw, of_letters, SystemClock())


async def test_a_stored_row_that_breaks_its_reader_costs_its_own_events() -> None:
    store = Unreadable()
    writer = Written(store)
    pipeline = Pipeline(0, store, cast("BatchWriter", writer), letters(), SystemClock(), 1_000, lambda: None)
    pipeline.begin(2, 0)
    good = CatalogPost("v", "p9", "published", START, START, (CatalogTarget("t9", "c1"),), START)
    store_of = System()
    store_of.store = store
    await pipeline.apply(Batch(catalog=[channel("v", "c1"), put(good)]))
    acknowledged: list[int] = []

    async def acknowledge() -> None:
        acknowledged.append(1)

    batch = Batch(
        raw=[answer(1, "t9", 4, "v"), answer(2, "t9", 5, "v")], catalog=[put(post(CatalogTarget("t1", "c1")))]
    )
    await pipeline.apply(batch, acknowledge)
    await pipeline.settle()
    assert acknowledged == [1]
    assert store.topics["rollups.posts"][b"v/p9"]["likes"] == 5
    assert not writer.dead, "a catalog write has no dead letter"
    # An event of a target that the unreadable post lists.
    store.tables["latest_post_metrics_store"][(0, W, "t1")] = {
        **store.tables["latest_post_metrics_store"][(0, "v", "t9")],
        "workspace_id": W, "target_id": "t1", "post_id": "p0", "channel_id": "c1",
    }  # fmt: skip
    await pipeline.apply(Batch(raw=[answer(3, "t1", 1), answer(4, "t9", 9, "v")]), acknowledge)
    await pipeline.settle()
    assert [letter.reason for letter in writer.dead] == ["not_folded"]
    assert store.topics["rollups.posts"][b"v/p9"]["likes"] == 9
    assert acknowledged == [1, 1]


async def test_a_lost_partition_is_no_fault_of_its_events() -> None:
    class Lost(StateStore):
        async def fetch_targets(self, generation: int, keys: Sequence[Key]) -> Any:
            raise OwnershipLost

    writer = Written(StateStore())
    pipeline = Pipeline(0, Lost(), cast("BatchWriter", writer), letters(), SystemClock(), 1_000, lambda: None)
    with pytest.raises(OwnershipLost):
        await pipeline.apply(Batch(raw=[answer(1, "t1", 1), answer(2, "t1", 1)]))
    assert not writer.dead


@settings(max_examples=properties.of(60), deadline=None)
@given(st.lists(hostile_values.posts(W), min_size=1, max_size=6), st.booleans())
def test_any_catalog_leaves_others_alone_and_can_be_healed(events: list[CatalogPost], restarts: bool) -> None:
    system = System()
    other = CatalogPost("v", "p9", "published", START - HOUR, START - HOUR, (CatalogTarget("t1", "c1"),), START)
    system.apply(Batch(catalog=[channel("v", "c1"), put(other), channel(W, "c1"), channel(W, "c2")]))
    system.apply(Batch(raw=[answer(1, "t1", 42, "v")]))
    windows = dict(system.store.topics["rollups.channels"])
    poller = Catalog(CODECS, Schedule({}), TokenStore(TokenCipher(["0123456789abcdef"]), {}), Accounts())
    for number, event in enumerate(events):
        write = read(event)
        poller.fold(POSTS, f"{W}/{event.post_id}".encode(), CODECS[POSTS].encode(event), START)
        assert bool(poller.refused) == (write is None), "readers agree on what counts"
        poller.refused.clear()
        if write is None:
            continue
        assert isinstance(write.event, CatalogPost)
        system.apply(Batch(catalog=[write]))
        shows_as_written(system, write.event)
        if restarts:
            system.restart()
        system.apply(Batch(raw=[answer(10 + number, "t1", number), answer(30 + number, "t2", number)]))
    for event in events:
        key = f"{W}/{event.post_id}"
        healed = CatalogPost(
            W, event.post_id, "published", START, START - HOUR, (CatalogTarget(event.post_id, "c1"),), START
        )
        system.apply(Batch(catalog=[put(healed)]))
        system.apply(Batch(raw=[answer(90, event.post_id, 5)]))
        assert likes(system, key) == 5
    assert likes(system, "v/p9") == 42
    assert {key: value for key, value in system.store.topics["rollups.channels"].items() if key.startswith(b"v/")} == {
        key: value for key, value in windows.items() if key.startswith(b"v/")
    }


def shows_as_written(system: System, event: CatalogPost) -> None:
    """Replay, audit and export read of the row, and of the topic, what was written."""
    row = system.store.tables["posts_store"][(W, event.post_id)]
    columns = [row[name] for name in ("status", "created_at", "published_at", "updated_at", "targets", "is_deleted")]
    again = post_write(W, (event.post_id, *columns)).event
    if event.status or not row["is_deleted"]:
        assert isinstance(again, CatalogPost)
        assert [replace(target, detail="") for target in again.targets] == [
            replace(target, detail="") for target in event.targets
        ]
    record = TYPED[POSTS][0](event)
    said = mirror._post(record)
    assert said[4] == mirror._parsed(row["targets"]), "the audit finds no difference"
    line = catalog_export._post(SimpleNamespace(**{**record, "targets": event.targets}))  # type: ignore[arg-type]
    assert orjson.loads(orjson.dumps(line))["status"] == event.status


def test_the_audit_names_a_row_that_an_older_version_spoiled() -> None:
    event = post(CatalogTarget("t1", "c1", detail='{"a": '))
    said = mirror._post(TYPED[POSTS][0](event))
    assert said[4] != mirror._parsed(row_of('{"a": '))
    assert asyncio.run(StateStore().fetch_posts(0, [])) == {}
