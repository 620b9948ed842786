"""One record of one workspace, whatever its value says, keeps no other from being read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.events import CatalogTarget
from schemas.keys import Reason
from schemas.topic_names import ACCOUNT_EVENTS, CHANNEL_ROLLUPS, CHANNELS, POST_ROLLUPS, POSTS
from services.query_api.store import layout, records
from services.query_api.store.files import Environment
from services.query_api.store.handle import Store, StoreUnavailable
from services.query_api.store.messages import Message
from services.query_api.store.writing import Writer
from services.runtime.brokers import Place
from services.runtime.kafka import partition_of
from tests.support import hostile_values, properties, told
from tests.support.memory_brokers import MemoryBrokers
from tests.support.stores import store_of, until

Put = Callable[[MemoryBrokers], object]
LONG = "t" * 1_000


def post(brokers: MemoryBrokers, workspace: str, number: int, likes: int = 1) -> None:
    told.put(brokers, POSTS, f"{workspace}/p{number}", told.post(workspace, f"p{number}", [told.target(f"t{number}")]))
    figures = told.figures(workspace, f"p{number}", {f"t{number}": told.values(likes=likes)})
    told.put(brokers, POST_ROLLUPS, f"{workspace}/p{number}", figures)


def post_of(*targets: CatalogTarget) -> Put:
    return lambda brokers: told.put(brokers, POSTS, "w1/p0", told.post("w1", "p0", targets))


def figures_of(*target_ids: str, channel_id: str = "c1") -> Put:
    each = dict.fromkeys(target_ids, told.values(likes=1))
    return lambda brokers: told.put(
        brokers, POST_ROLLUPS, "w1/p0", told.figures("w1", "p0", each, channel_id=channel_id)
    )


REFUSED: dict[str, tuple[str, Put]] = {
    "a target's long id in figures": (POST_ROLLUPS, figures_of(LONG)),
    "a target without an id in figures": (POST_ROLLUPS, figures_of("")),
    "a target's id that is a key in figures": (POST_ROLLUPS, figures_of("t0/c1")),
    "a channel's long id in figures": (POST_ROLLUPS, figures_of("t0", channel_id="c" * 600)),
    "a target's long id": (POSTS, post_of(told.target(LONG))),
    "a channel's long id": (POSTS, post_of(told.target("t0", channel_id="c" * 600))),
    "a long external id": (POSTS, post_of(told.target("t0", external_id="9" * 9_000))),
    "a target twice": (POSTS, post_of(told.target("t0"), told.target("t0"))),
    "a long account event": (
        ACCOUNT_EVENTS,
        lambda brokers: told.put(brokers, ACCOUNT_EVENTS, "w1/c1", told.account("w1", "c1", "t" * 9_000)),
    ),
}


async def others_are_read(store: Store, brokers: MemoryBrokers) -> None:
    """Writes of other workspaces, in all partitions, are taken, and nothing is made anew meanwhile."""
    environment = store.environment
    workspaces = ["w2", "w3", "w4"]
    assert {partition_of(name, told.PARTITIONS) for name in workspaces} == set(range(told.PARTITIONS))
    for workspace in workspaces:
        post(brokers, workspace, 1, likes=7)

    def seen() -> bool:
        try:
            with store.view() as view:
                found = [view.post(name, "p1") for name in workspaces]
        except StoreUnavailable:
            return False
        return all(held is not None and held.targets[0].values[3] == 7 for held in found)

    await until(seen, "the others' posts are read")
    assert store.environment is environment, "the store is the one of before"
    assert store.is_current


@pytest.mark.parametrize("name", REFUSED)
async def test_a_value_that_does_not_count_is_told_and_the_older_one_stands(tmp_path: Path, name: str) -> None:
    topic, put = REFUSED[name]
    refused: Counter[tuple[str, Reason]] = Counter()
    brokers = told.topics()
    post(brokers, "w1", 0)
    async with store_of(tmp_path, brokers, refused=lambda at, why: refused.update([(at, why)])) as (store, _):
        put(brokers)
        await others_are_read(store, brokers)
        assert refused == {(topic, Reason.MALFORMED_VALUE): 1}
        with store.view() as view:
            held = view.post("w1", "p0")
            assert held is not None
            assert (held.targets[0].target_id, held.targets[0].channel_id) == ("t0", "c1")
        post(brokers, "w1", 0, likes=5)
        await until(lambda: likes(store) == 5, "the next write is taken")


def likes(store: Store) -> int | None:
    with store.view() as view:
        held = view.post("w1", "p0")
        return None if held is None else held.targets[0].values[3]


@pytest.mark.parametrize("many", [1, 10_000_000], ids=["by several processes", "by one"])
async def test_a_new_store_is_filled_past_all_of_them(tmp_path: Path, many: int) -> None:
    refused: Counter[tuple[str, Reason]] = Counter()
    brokers = told.topics()
    post(brokers, "w1", 0)
    for _, put in REFUSED.values():
        put(brokers)
    async with store_of(tmp_path, brokers, many=many, refused=lambda at, why: refused.update([(at, why)])) as (
        store,
        _,
    ):
        assert likes(store) == 1
        await others_are_read(store, brokers)
    assert set(refused) == {(topic, Reason.MALFORMED_VALUE) for topic, _ in REFUSED.values()}
    assert sum(refused.values()) == len(REFUSED)


async def test_a_key_that_no_check_found_costs_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second wall: what LMDB refuses is one message's fault, and not the disk's."""
    monkeypatch.setattr(records, "check", lambda _, __: None)
    refused: Counter[tuple[str, Reason]] = Counter()
    brokers = told.topics()
    post(brokers, "w1", 0)
    async with store_of(tmp_path, brokers, refused=lambda at, why: refused.update([(at, why)])) as (store, _):
        figures_of(LONG)(brokers)
        post(brokers, "w1", 3, likes=3)
        await others_are_read(store, brokers)
        assert refused == {(POST_ROLLUPS, Reason.MALFORMED_VALUE): 1}
        assert likes(store) == 1
        with store.view() as view:
            assert view.post("w1", "p3") is not None, "of the same partition, and behind it"


def test_positions_are_taken_behind_a_message_that_can_not_be_written(tmp_path: Path) -> None:
    refused: list[Any] = []
    environment = Environment(tmp_path, is_durable=False)
    writer = Writer(environment, told.decoders(), told.PARTITIONS, lambda topic, reason: refused.append(topic))
    place = Place(POST_ROLLUPS, partition_of("w1", told.PARTITIONS))
    found = [
        Message(layout.FIGURES_AT, b"w1/p%d" % at, at, 1, b"{}", [LONG] if at in (2, 5) else [f"t{at}"], None)
        for at in range(8)
    ]
    writer.take(found, {place: 8})
    assert refused == [POST_ROLLUPS] * 2
    assert writer.positions() == {place: 8}
    with environment.reading() as txn:
        held = {key for key, _ in txn.cursor(db=environment.databases[layout.TABLES[layout.FIGURES_AT]])}
    assert held == {b"w1/p%d" % at for at in range(8) if at not in (2, 5)}
    environment.close()


@settings(max_examples=properties.of(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(hostile_values.posts(), min_size=1, max_size=6), st.lists(hostile_values.target_ids(), max_size=4))
def test_any_values_are_survived_and_the_next_ones_heal(
    tmp_path_factory: pytest.TempPathFactory, posts: list[Any], target_ids: list[str]
) -> None:
    environment = Environment(tmp_path_factory.mktemp("store"), is_durable=False)
    writer = Writer(environment, told.decoders(), told.PARTITIONS)
    brokers = told.topics()
    post(brokers, "w2", 1, likes=7)
    for event in posts:
        told.put(
            brokers,
            POSTS,
            f"w1/{event.post_id}",
            told.post("w1", event.post_id, event.targets, event.status, event.updated_at, event.published_at),
        )
    told.put(brokers, POST_ROLLUPS, "w1/p0", told.figures("w1", "p0", dict.fromkeys(target_ids, told.values(likes=2))))
    told.put(brokers, CHANNELS, "w1/c1", told.channel("w1", "c1", external_id="9" * 9_000))
    told.put(brokers, CHANNEL_ROLLUPS, "w1/c1/7d", told.window("w1", "c1", "7d", likes=4))
    post(brokers, "w2", 2, likes=8)
    for event in posts:
        told.put(brokers, POSTS, f"w1/{event.post_id}", told.post("w1", event.post_id, [told.target("good")]))
        figures = told.figures("w1", event.post_id, {"good": told.values(likes=5)})
        told.put(brokers, POST_ROLLUPS, f"w1/{event.post_id}", figures)
    for topic in layout.TOPICS:
        for partition in range(told.PARTITIONS):
            place = Place(topic, partition)
            batch = [
                record for record in map(partial(brokers.log(place).readable, is_committed=True), range(50)) if record
            ]
            writer.take(writer.decoded(batch), {place: len(batch)})
    with environment.reading() as txn:
        for key, expected in [("w2/p1", 7), ("w2/p2", 8), *((f"w1/{event.post_id}", 5) for event in posts)]:
            found = []
            for table in (POSTS, POST_ROLLUPS):
                stored = txn.get(key.encode(), db=environment.databases[table.encode()])
                assert stored is not None
                found.append(layout.unpack(key.encode(), stored).payload)
            read = records.read_post(found[0], found[1])
            assert read is not None
            assert records.post(key, read).targets[0].values[3] == expected
    environment.close()
