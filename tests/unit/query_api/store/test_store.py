"""The store on topics in memory: what it holds, how it goes on, and what it does not trust."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lmdb
import orjson
import pytest

from schemas.events import CatalogChannel
from schemas.topic_names import ACCOUNT_EVENTS, CHANNEL_ROLLUPS, CHANNELS, POST_ROLLUPS, POSTS
from services.query_api.store import files, layout, records
from services.query_api.store.handle import Store, StoreUnavailable, Touched
from services.query_api.store.reading import Incomplete, View
from services.query_api.store.status import Phase
from services.query_api.store.writing import Writer
from services.runtime.clock import SystemClock
from services.runtime.kafka import partition_of
from tests.support import told
from tests.support.manual_clock import START
from tests.support.memory_brokers import MemoryBrokers
from tests.support.stores import Incarnation, other_reader, store_of, until
from tests.support.waiting import wait_until_async

SECONDS = 30.0


def fill(brokers: MemoryBrokers, posts: int = 3, workspace: str = "w1") -> None:
    told.put(brokers, CHANNELS, f"{workspace}/c1", told.channel(workspace, "c1", username="name"))
    for number in range(posts):
        target = told.target(f"t{number}", detail={"enabled": False})
        told.put(brokers, POSTS, f"{workspace}/p{number}", told.post(workspace, f"p{number}", [target]))
        figures = told.figures(workspace, f"p{number}", {f"t{number}": told.values(likes=number, views=7)})
        told.put(brokers, POST_ROLLUPS, f"{workspace}/p{number}", figures)
    for length in ("24h", "7d", "28d"):
        told.put(brokers, CHANNEL_ROLLUPS, f"{workspace}/c1/{length}", told.window(workspace, "c1", length, likes=4))
    told.put(brokers, ACCOUNT_EVENTS, f"{workspace}/c1", told.account(workspace, "c1"))


async def seen(store: Store, is_so: Callable[[View], bool]) -> None:
    def holds() -> bool:
        try:
            with store.view() as view:
                return is_so(view)
        except StoreUnavailable:
            return False

    await until(holds, "the store shows it")


def likes(view: View, post_id: str, workspace: str = "w1") -> int | None:
    post = view.post(workspace, post_id)
    return None if post is None else post.targets[0].register.values[3]


async def test_everything_is_read_as_it_was_written(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _):
        with store.view() as view:
            post = view.post("w1", "p2")
            assert post is not None
            (target,) = post.targets
            assert (post.status, post.published_at, target.target_id, target.content) == (
                "published",
                START,
                "t2",
                "text",
            )
            assert target.detail == {"enabled": False}
            assert target.register.values == told.values(likes=2, views=7)
            assert target.register.captured_at == START
            ((stamp, mask),) = target.register.groups
            assert (stamp.event_id, stamp.captured_at, stamp.is_lifetime) == (f"ev-{START}".encode(), START, 1)
            assert mask == 0b1001
            assert target.published_at == START, "the post's, where it has none of its own"
            assert view.post_of("w1", "t1") == "p1"
            assert view.post_of("w1", "t9") is None
            channel = view.channel("w1", "c1")
            assert channel is not None
            assert channel.username == "name"
            window = view.window("w1", "c1", "7d")
            assert window is not None
            assert window.values[3] == 4
            account = view.account("w1", "c1", 0)
            assert account is not None
            assert account.type == "account.token_expired"
            assert view.post("w2", "p2") is None, "another workspace's"


async def test_what_is_deleted_is_gone_and_comes_back_with_its_figures(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _):
        told.put(brokers, POSTS, "w1/p1", None)
        told.put(brokers, CHANNELS, "w1/c1", None)
        await seen(store, lambda view: view.post("w1", "p1") is None and view.channel("w1", "c1") is None)
        with store.view() as view:
            assert view.account("w1", "c1", 0) is None
        told.put(brokers, POSTS, "w1/p1", told.post("w1", "p1", [told.target("t1")]))
        # The aggregator is behind: it has just read the deletion.
        told.put(brokers, POST_ROLLUPS, "w1/p1", None)
        told.put(brokers, POST_ROLLUPS, "w1/p2", None)
        await seen(store, lambda view: likes(view, "p1") == 1)
        told.put(brokers, POSTS, "w1/p2", told.post("w1", "p2", status="deleted"))
        await seen(store, lambda view: view.post("w1", "p2") is None)


async def test_a_post_is_there_once_the_aggregator_has_taken_it(tmp_path: Path) -> None:
    brokers = told.topics()
    async with store_of(tmp_path, brokers) as (store, _):
        told.put(brokers, POSTS, "w1/p1", told.post("w1", "p1", [told.target("t1"), told.target("t2")]))
        told.put(brokers, POSTS, "w1/p2", told.post("w1", "p2"))
        told.put(brokers, POST_ROLLUPS, "w1/p2", told.figures("w1", "p2", {}))
        await seen(store, lambda view: view.post("w1", "p2") is not None)
        with store.view() as view:
            assert view.post("w1", "p1") is None
        # A target that another post has taken is in the catalog, and not among the figures.
        told.put(brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t2": told.values()}))
        await seen(store, lambda view: view.post("w1", "p1") is not None)
        with store.view() as view:
            post = view.post("w1", "p1")
            assert post is not None
            assert [target.target_id for target in post.targets] == ["t2"]
            assert post.targets[0].register.captured_at is None


async def test_a_target_that_comes_back_to_its_post_is_found(tmp_path: Path) -> None:
    brokers = told.topics()
    figures = told.figures("w1", "p1", {"t1": told.values()})
    async with store_of(tmp_path, brokers) as (store, _):
        told.put(brokers, POSTS, "w1/p1", told.post("w1", "p1", [told.target("t1")]))
        told.put(brokers, POSTS, "w1/p2", told.post("w1", "p2", [told.target("t1")]))
        told.put(brokers, POST_ROLLUPS, "w1/p1", figures)
        await seen(store, lambda view: view.post_of("w1", "t1") == "p1")
        # The post is deleted and made again. The aggregator has read the deletion: the other post has the target.
        told.put(brokers, POSTS, "w1/p1", None)
        await seen(store, lambda view: view.post("w1", "p1") is None)
        told.put(brokers, POSTS, "w1/p1", told.post("w1", "p1", [told.target("t1")]))
        await seen(store, lambda view: view.post("w1", "p1") is not None)
        told.put(brokers, POST_ROLLUPS, "w1/p1", None)
        told.put(brokers, POST_ROLLUPS, "w1/p2", told.figures("w1", "p2", {"t1": told.values()}))
        await seen(store, lambda view: view.post_of("w1", "t1") == "p2")
        # It reads on: everything is as it was.
        told.put(brokers, POST_ROLLUPS, "w1/p2", told.figures("w1", "p2", {}))
        told.put(brokers, POST_ROLLUPS, "w1/p1", figures)
        await seen(store, lambda view: view.post_of("w1", "t1") == "p1")


async def test_figures_of_an_old_aggregator_are_left_to_clickhouse(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    told.put(brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t1": told.values(likes=9)}, is_old=True))
    async with store_of(tmp_path, brokers) as (store, _):
        with store.view() as view:
            with pytest.raises(Incomplete):
                view.post("w1", "p1")
            with pytest.raises(Incomplete):
                view.post_of("w1", "t1")
            assert view.post_of("w1", "t2") == "p2"
        told.put(brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t1": told.values(likes=9)}))
        await seen(store, lambda view: view.incomplete == 0)
        with store.view() as view:
            assert likes(view, "p1") == 9
            assert view.post_of("w1", "t7") is None


async def test_nobody_else_on_the_machine_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    brokers = MemoryBrokers(dict.fromkeys(layout.TOPICS, told.PARTITIONS))
    before = os.umask(0o022)
    try:
        async with store_of(folder, brokers):
            data = list(folder.rglob("data.mdb"))
            assert data
            assert {stat.S_IMODE(file.stat().st_mode) for file in data} == {0o600}
            assert {stat.S_IMODE(file.parent.stat().st_mode) for file in data} == {0o700}
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        os.umask(before)


async def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers):
        pass
    first = brokers.readers[-1]
    assert first.is_stopped
    told.put(brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t1": told.values(likes=50)}))
    # What was read is gone from the topics: whoever read them anew would not find it.
    partition = partition_of("w1", told.PARTITIONS)
    for offset in range(3):
        brokers.compact(POST_ROLLUPS, partition, offset)
    async with store_of(tmp_path, brokers) as (store, _):
        with store.view() as view:
            assert likes(view, "p1") == 50
            assert likes(view, "p2") == 2


async def test_a_record_that_does_not_count_changes_nothing(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    other = 1 - partition_of("w1", told.PARTITIONS)
    brokers.put(POST_ROLLUPS, other, b"w1/p1", told.figures("w1", "p1", {"t1": told.values(likes=666)}))
    told.put(brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p2", {"t1": told.values(likes=666)}))
    told.put(brokers, POST_ROLLUPS, "w1/p1", b"rubbish")
    told.put(brokers, CHANNEL_ROLLUPS, "w1/c1/28d", told.window("w1", "c1", "7d", likes=666))
    told.put(brokers, POSTS, "w1/p1/p1", None)
    brokers.put(POSTS, 0, None, None)
    async with store_of(tmp_path, brokers) as (store, _):
        with store.view() as view:
            assert likes(view, "p1") == 1
            window = view.window("w1", "c1", "28d")
            assert window is not None
            assert window.values[3] == 4


async def test_another_process_reads_what_one_fills(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _), other_reader(tmp_path) as other:

        async def reads(expected: int) -> bool:
            return await other.likes("p1") == expected

        await wait_until_async(lambda: reads(1), SECONDS, "it reads what the other filled")
        with store.watch("w1") as event, store.watch("w2") as others:
            told.put(brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t1": told.values(likes=51)}))
            await seen(store, lambda view: likes(view, "p1") == 51)
            await until(event.is_set, "whoever waits is woken")
            assert not others.is_set()
        await wait_until_async(lambda: reads(51), SECONDS, "and what it wrote since")


async def test_only_one_fills_it(tmp_path: Path) -> None:
    brokers = told.topics()
    async with store_of(tmp_path, brokers) as (_, first), store_of(tmp_path, brokers, waits=False) as (_, second):
        assert first.is_writer
        assert not second.is_writer
        readers = len(brokers.readers)
        await first.stop()
        await until(lambda: second.is_writer, "the other fills it now")
        await until(lambda: len(brokers.readers) > readers, "from where the first was")


async def test_away_brokers_leave_what_was_read(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _):
        brokers.go_away()
        await until(lambda: not store.is_current, "it says that it may be old")
        with pytest.raises(StoreUnavailable), store.view():
            pass
        with store.view(is_current=False) as view:
            assert likes(view, "p1") == 1
        await until(lambda: store.silent_seconds > 0, "for how long")
        brokers.come_back()
        await until(lambda: store.is_current, "it is current again")
        assert store.silent_seconds == 0


def current(folder: Path) -> Path:
    found = files.Folder(folder).current()
    assert found is not None
    return found


def cut(folder: Path) -> None:
    path = current(folder) / "data.mdb"
    os.truncate(path, path.stat().st_size // 2)


def zero(folder: Path) -> None:
    path = current(folder) / "data.mdb"
    data = bytearray(path.read_bytes())
    data[8192 : len(data) - 4096] = bytes(len(data) - 4096 - 8192)
    path.write_bytes(data)


def garble(folder: Path) -> None:
    path = current(folder) / "data.mdb"
    data = path.read_bytes()
    assert b'"text"' in data
    path.write_bytes(data.replace(b'"text"', b'"lies"'))


def empty(folder: Path) -> None:
    (current(folder) / "data.mdb").write_bytes(b"")


def copied(folder: Path) -> None:
    path = current(folder)
    shutil.copytree(path, path.with_name("copy"))
    shutil.rmtree(path)
    path.with_name("copy").rename(path)


def of_another_format(folder: Path) -> None:
    environment = files.Environment(current(folder))
    environment.name(files.Identity(layout.FORMAT + 1, "cluster", told.PARTITIONS))
    environment.close()


def not_closed(folder: Path) -> None:
    environment = files.Environment(current(folder))
    environment.was_closed_cleanly()
    environment.close()


def opened_in_vain(folder: Path) -> None:
    (folder / "OPENING").write_text(current(folder).name)


def removed(folder: Path) -> None:
    shutil.rmtree(current(folder))


@pytest.mark.parametrize(
    "breaks", [cut, zero, garble, empty, copied, of_another_format, opened_in_vain, removed], ids=lambda b: b.__name__
)
async def test_what_cannot_be_trusted_is_made_anew(tmp_path: Path, breaks: Callable[[Path], None]) -> None:
    brokers = told.topics()
    fill(brokers, posts=200)
    async with store_of(tmp_path, brokers):
        pass
    before = current(tmp_path)
    not_closed(tmp_path)
    breaks(tmp_path)
    told.put(brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t1": told.values(likes=50)}))
    async with store_of(tmp_path, brokers) as (store, _):
        assert breaks is removed or current(tmp_path) != before
        assert len(list(files.Folder(tmp_path).all())) == 1
        with store.view() as view:
            assert [likes(view, f"p{number}") for number in range(3)] == [0, 50, 2]
            post = view.post("w1", "p150")
            assert post is not None
            assert post.targets[0].content == "text"


def whole_folder(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize("deletes", [removed, whole_folder], ids=lambda b: b.__name__)
async def test_what_is_deleted_while_it_is_read_is_filled_again_for_whoever_comes_later(
    tmp_path: Path, deletes: Callable[[Path], None]
) -> None:
    brokers, folder = told.topics(), tmp_path / "store"
    fill(brokers)
    async with store_of(folder, brokers) as (store, _):
        before = current(folder)
        deletes(folder)
        await until(
            lambda: (path := files.Folder(folder).current()) is not None and path != before and store.is_current,
            "it is filled again",
        )
        await seen(store, lambda view: likes(view, "p2") == 2)
        # Another process opens the folder as it is now.
        later = Store(folder, told.PARTITIONS, SystemClock())
        try:
            assert later.status.told().phase == Phase.FOLLOWING
        finally:
            later.status.close()
        async with other_reader(folder) as other:

            async def shown() -> bool:
                return await other.likes("p1") == 50

            told.put(brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t1": told.values(likes=50)}))
            await wait_until_async(shown, SECONDS, "the other process reads what is written since")


async def test_topics_made_anew_make_it_anew(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers, Incarnation("first")):
        pass
    again = told.topics()
    # As many messages as before: the offsets alone would not show it.
    fill(again, workspace="w1")
    told.put(again, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t1": told.values(likes=60)}))
    async with store_of(tmp_path, again, Incarnation("second")) as (store, _):
        with store.view() as view:
            assert likes(view, "p1") == 60


async def test_positions_that_the_topics_lack_make_it_anew(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _):
        for topic in (CHANNELS, POSTS, POST_ROLLUPS, CHANNEL_ROLLUPS, ACCOUNT_EVENTS):
            brokers.make(topic, told.PARTITIONS)
        told.put(brokers, POSTS, "w1/p7", told.post("w1", "p7"))
        told.put(brokers, POST_ROLLUPS, "w1/p7", told.figures("w1", "p7", {}))
        await seen(store, lambda view: view.post("w1", "p7") is not None and view.post("w1", "p1") is None)


async def test_damage_that_a_reader_finds_is_told_and_mended(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _):
        environment = store.environment
        assert environment is not None
        with environment.writing() as txn:
            table = environment.databases[layout.TABLES[layout.POST_AT]]
            held = txn.get(b"w1/p1", db=table)
            assert held is not None
            txn.put(b"w1/p2", held, db=table)
        with pytest.raises(StoreUnavailable), store.view() as view:
            view.post("w1", "p2")
        with pytest.raises(StoreUnavailable), store.view(is_current=False) as view:
            view.post("w1", "p1")
        await seen(store, lambda view: likes(view, "p2") == 2)


async def test_a_full_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = files.Environment.__init__

    def small(self: files.Environment, path: Path, **more: Any) -> None:
        made(self, path, **{"map_bytes": 256 * 1024, **more})

    monkeypatch.setattr(files.Environment, "__init__", small)
    brokers = told.topics()
    fill(brokers, posts=1_000)
    async with store_of(tmp_path, brokers) as (store, _), other_reader(tmp_path) as other:

        async def reads(post_id: str, expected: int) -> bool:
            return await other.likes(post_id) == expected

        await wait_until_async(lambda: reads("p999", 999), SECONDS, "it reads what the other filled")
        environment = store.environment
        assert environment is not None
        before = environment.map_bytes
        fill(brokers, posts=2_000, workspace="w3")
        told.put(brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t1": told.values(likes=51)}))
        await seen(store, lambda view: likes(view, "p1999", "w3") == 1999)
        assert environment.map_bytes > before
        await wait_until_async(lambda: reads("p1", 51), SECONDS, "with more room")


async def test_a_disk_that_is_full_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = told.topics()
    fill(brokers)
    take = Writer.take
    is_full = True

    def refuse(self: Writer, *arguments: Any) -> None:
        if is_full:
            raise lmdb.DiskError("No space left on device")
        take(self, *arguments)

    monkeypatch.setattr(Writer, "take", refuse)
    async with store_of(tmp_path, brokers, waits=False) as (store, _):
        assert store.awaited is not None
        await until(lambda: "can't be written" in (store.missing or ""), "it says so")
        await until(lambda: store.awaited is None, "nobody waits for it any more")
        with pytest.raises(StoreUnavailable), store.view(is_current=False):
            pass
        is_full = False
        await seen(store, lambda view: likes(view, "p1") == 1)
        assert store.missing is None


async def test_what_was_stored_and_written_before_there_was_discovery_is_read(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    told.put(brokers, CHANNELS, "w1/c2", told.channel("w1", "c2", discover=True))
    told.put(brokers, POSTS, "w1/p1", told.post("w1", "p1", [told.target("t1", origin="discovered")]))
    async with store_of(tmp_path, brokers) as (store, _):
        with store.view() as view:
            kept = {name: view.channel("w1", name) for name in ("c1", "c2")}
            assert [channel is not None and channel.discover for channel in kept.values()] == [False, True]
            posts = [view.post("w1", name) for name in ("p0", "p1")]
            assert [post.targets[0].origin for post in posts if post is not None] == ["product", "discovered"]
    old = b'["x", "e", "u", "active", null, 5]'
    assert records.channel("w1", "c1", old) == CatalogChannel("w1", "c1", "x", "e", "u", "active", None, 5)
    stored = [["t1", "c1", "", "published", "e", None, None, None, False, None, {"enabled": True}]]
    catalog = orjson.dumps(["published", 1, 2, 3, stored])
    read = records.read_post(catalog, orjson.dumps({"t1": [None, [], []]}))
    assert read is not None
    target = records.post("p1", read).targets[0]
    assert (target.detail, target.origin) == ({"enabled": True}, "product")


async def test_topics_that_were_set_back_are_noticed_also_where_they_reach_as_far_again(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _):
        with store.view() as view:
            assert likes(view, "p2") == 2
    # The same topics with other messages: as many as the store took, so that every position is within them.
    again = told.topics()
    fill(again, posts=0)
    for number in range(3):
        told.put(again, POSTS, f"w1/p{number}", told.post("w1", f"p{number}", [told.target(f"t{number}")]))
        told.put(again, POST_ROLLUPS, "w1/p2", told.figures("w1", "p2", {"t2": told.values(likes=8, views=9)}))
    async with store_of(tmp_path, again) as (store, _):
        with store.view() as view:
            assert likes(view, "p2") == 8
            assert view.post("w1", "p1") is None, "its figures are gone from the topic"


async def test_a_store_goes_on_where_the_message_that_it_took_last_was_compacted_away(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _):
        number = store.folder.current()
    partition = partition_of("w1", told.PARTITIONS)
    told.put(brokers, POST_ROLLUPS, "w1/p2", told.figures("w1", "p2", {"t2": told.values(likes=8, views=9)}))
    brokers.compact(POST_ROLLUPS, partition, 2)
    async with store_of(tmp_path, brokers) as (store, _):
        assert store.folder.current() == number, "it is the store of before"
        with store.view() as view:
            assert likes(view, "p2") == 8


async def test_reads_of_one_turn_share_a_snapshot_that_ends_with_it(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _):
        first = store.of_turn()
        assert store.of_turn() is first
        await asyncio.sleep(0)
        assert store.of_turn() is not first


async def test_whoever_looks_has_the_rest_of_the_turn_see_what_was_written(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _):
        environment = store.environment
        assert environment is not None
        store.look()
        before = store.of_turn()
        with environment.writing() as txn:
            txn.put(b"new", b"1", db=environment.databases[layout.META])
        assert store.of_turn() is before
        store.look()
        assert store.of_turn() is not before


async def test_changes_that_could_not_be_told_are_told_as_a_loss(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _):
        environment = store.environment
        assert environment is not None
        store.look()
        recent = environment.databases[layout.RECENT]
        with environment.writing() as txn, txn.cursor(db=recent) as cursor:
            assert cursor.last()
            number = layout.number_of(cursor.key()) + 1
            txn.put(layout.number(number), orjson.dumps([(START, "w1/p2", False)]), db=recent)
        happened: list[str] = []

        def fail(_: Sequence[Touched]) -> None:
            happened.append("change")
            raise ZeroDivisionError

        store.on_change, store.on_loss = fail, lambda: happened.append("loss")
        with pytest.raises(ZeroDivisionError):
            store.look()
        store.look()
        store.look()
        assert happened == ["change", "loss"]


async def test_the_snapshot_of_a_turn_ends_before_another_begins(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _):
        before = store.of_turn()
        with store.view() as view:
            # A reader takes a larger map where a snapshot begins.
            assert likes(view, "p2") == 2
        assert store.of_turn() is not before


async def test_the_snapshot_of_a_turn_is_let_go_of_when_the_environment_is_damaged(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers)
    async with store_of(tmp_path, brokers) as (store, _):
        store.of_turn()
        store.damaged("a test says so")
        with pytest.raises(StoreUnavailable):
            store.of_turn()
