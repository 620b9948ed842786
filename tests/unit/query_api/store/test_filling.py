"""A new store that several processes fill holds what one process would have written."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from schemas.keys import Reason
from schemas.topic_names import ACCOUNT_EVENTS, CHANNEL_ROLLUPS, CHANNELS, POST_ROLLUPS, POSTS
from schemas.writers import SchemasAway
from services.query_api.store import layout, unpacking
from services.query_api.store.filling import Unpacker, UnpackingFailed, jobs_of
from services.query_api.store.handle import Store
from services.runtime.brokers import Place, Record
from services.runtime.following import Batch
from services.runtime.kafka import partition_of
from tests.support import told
from tests.support.memory_brokers import MemoryBrokers
from tests.support.raw_batches import GZIP, ZSTD, Sent, batch
from tests.support.stores import store_of

NOT_COMPARED = (layout.RECENT, layout.META)
HOME = partition_of("w1", told.PARTITIONS)


def fill(brokers: MemoryBrokers, posts: int) -> None:
    told.put(brokers, CHANNELS, "w1/c1", told.channel("w1", "c1"))
    told.put(brokers, ACCOUNT_EVENTS, "w1/c1", told.account("w1", "c1"))
    told.put(brokers, CHANNEL_ROLLUPS, "w1/c1/28d", told.window("w1", "c1", "28d", likes=3))
    for number in range(posts):
        workspace, post_id = f"w{number % 3}", f"p{number}"
        key = f"{workspace}/{post_id}"
        told.put(brokers, POSTS, key, told.post(workspace, post_id, [told.target(f"t{number}")]))
        figures = {f"t{number}": told.values(likes=number)}
        told.put(brokers, POST_ROLLUPS, key, told.figures(workspace, post_id, figures, is_old=number % 50 == 7))
    for number in range(0, posts, 10):
        # Told again, deleted, made again, and a target that goes to another post.
        key = f"w{number % 3}/p{number}"
        told.put(brokers, POST_ROLLUPS, key, None if number % 20 else told.figures(f"w{number % 3}", f"p{number}", {}))
        told.put(brokers, POSTS, key, None)
    told.put(brokers, POSTS, "w1/p10", told.post("w1", "p10", [told.target("t11")]))
    told.put(brokers, POST_ROLLUPS, "w1/p10", told.figures("w1", "p10", {"t4": told.values(likes=9)}))


def disturb(brokers: MemoryBrokers) -> None:
    """What must not count: messages of nobody, and transactions that were aborted, at the ends of partitions too."""
    other = 1 - HOME
    brokers.put(POSTS, other, b"w1/p1", None)
    brokers.put(POSTS, HOME, b"w1/p1", b"no value")
    brokers.put(POSTS, HOME, b"\xff", None)
    brokers.put(POST_ROLLUPS, HOME, b"w1/p1", told.figures("w1", "p4", {}))
    aborted = brokers.transaction()
    for place in (HOME, other):
        brokers.put(POSTS, place, b"w1/p1", None, transaction=aborted)
        brokers.put(CHANNELS, place, b"w1/c1", None, transaction=aborted)
    aborted.abort()


def likes(store: Store, post_id: str) -> int | None:
    with store.view() as view:
        post = view.post("w1", post_id)
    return None if post is None else post.targets[0].register.values[3]


def held(store: Store) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """Everything that lies in the store."""
    environment = store.environment
    assert environment is not None
    with environment.reading() as txn:
        return {
            name: list(txn.cursor(db=database))
            for name, database in environment.databases.items()
            if name not in NOT_COMPARED
        }


def processes() -> list[psutil.Process]:
    """Those that take batches apart for this one."""
    children = psutil.Process().children()
    return [child for child in children if child.is_running() and unpacking.__name__ in child.cmdline()]


@pytest.mark.parametrize("is_in_parts", [False, True])
async def test_several_processes_write_what_one_does(tmp_path: Path, is_in_parts: bool) -> None:
    brokers = told.topics()
    fill(brokers, 60)
    disturb(brokers)
    if is_in_parts:
        for number in range(unpacking.PART_MESSAGES + 10):
            told.put(brokers, POSTS, f"w1/q{number}", None)
    async with store_of(tmp_path / "one", brokers) as (store, _):
        expected = held(store)
        assert likes(store, "p1") == 1
    assert not brokers.were_read_in_batches
    async with store_of(tmp_path / "several", brokers, many=1) as (store, _):
        assert brokers.were_read_in_batches, "batches were read"
        assert not processes(), "they end with the fill"
        assert held(store) == expected


async def test_what_does_not_count_is_told(tmp_path: Path) -> None:
    brokers = told.topics()
    fill(brokers, 3)
    disturb(brokers)
    refused: list[tuple[str, Reason]] = []
    async with store_of(tmp_path, brokers, many=1, refused=lambda topic, reason: refused.append((topic, reason))):
        assert sorted(refused) == sorted([
            (POSTS, Reason.WRONG_PARTITION), (POSTS, Reason.UNREADABLE_VALUE), (POSTS, Reason.UNREADABLE_KEY),
            (POST_ROLLUPS, Reason.KEY_AND_VALUE_DIFFER),
        ])  # fmt: skip


async def test_a_few_messages_need_no_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = told.topics()
    fill(brokers, 3)
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", started.append)
    async with store_of(tmp_path, brokers) as (store, _):
        assert likes(store, "p1") == 1
    assert not started


async def test_a_process_that_ends_leaves_the_rest_to_the_others_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers = told.topics()
    fill(brokers, 60)
    async with store_of(tmp_path / "one", brokers) as (store, _):
        expected = held(store)
    popen = subprocess.Popen
    started: list[subprocess.Popen[bytes]] = []

    def ends_at_once(_: list[str], *, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", ""], stdin=stdin, stdout=stdout))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", ends_at_once)
    async with store_of(tmp_path / "several", brokers, many=1) as (store, _):
        assert started
        assert held(store) == expected


@pytest.fixture
def unpackers() -> Iterator[list[Unpacker]]:
    made: list[Unpacker] = []
    yield made
    for unpacker in made:
        unpacker.close()


def value(post_id: str) -> bytes:
    return told.post("w1", post_id, [told.target("t1")])


async def test_a_batch_is_taken_apart(unpackers: list[Unpacker]) -> None:
    unpackers.append(Unpacker(told.PARTITIONS, told.fetch_schema))
    sent = [Sent(f"w1/p{number}".encode(), value(f"p{number}")) for number in range(3)]
    part = await unpackers[0].ask([(POSTS, HOME, [batch(sent[:2], GZIP), batch(sent[2:])])])
    assert [message.key for message in part.messages] == [b"w1/p0", b"w1/p1", b"w1/p2"]
    assert all(message.payload for message in part.messages)
    assert (part.refused, part.read_count, part.is_last) == ([], 3, True)
    assert part.marks.keys() == {Place(POSTS, HOME)}
    empty = await unpackers[0].ask([(POSTS, HOME, [])])
    assert (empty.messages, empty.marks, empty.is_last) == ([], {}, True)


async def test_a_registry_that_is_away_is_not_taken_for_a_value_that_is_none(unpackers: list[Unpacker]) -> None:
    def away(_: int) -> str:
        raise SchemasAway("the registry is away")

    unpackers.append(Unpacker(told.PARTITIONS, away))
    asked = [(POSTS, HOME, [batch([Sent(b"w1/p1", value("p1"))])])]
    with pytest.raises(SchemasAway, match="the registry is away"):
        await unpackers[0].ask(asked)

    def unknown(schema_id: int) -> str:
        raise KeyError(f"no schema {schema_id}")

    unpackers.append(Unpacker(told.PARTITIONS, unknown))
    part = await unpackers[1].ask(asked)
    assert [refused.topic for refused in part.refused] == [POSTS]
    assert part.messages == []


async def test_a_process_that_is_killed_is_noticed(unpackers: list[Unpacker]) -> None:
    unpackers.append(Unpacker(told.PARTITIONS, told.fetch_schema))
    (process,) = processes()
    process.kill()
    process.wait(10)
    with pytest.raises(UnpackingFailed):
        await unpackers[0].ask([(POSTS, HOME, [])])


def test_a_process_that_reads_nothing_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError("it reads nothing")

    monkeypatch.setattr(unpacking, "write", broken)
    with pytest.raises(UnpackingFailed, match="it reads nothing"):
        Unpacker(told.PARTITIONS, told.fetch_schema)
    assert processes() == []


def test_positions_lie_behind_the_piece_that_they_come_with() -> None:
    records = [Record(POSTS, 0, offset, 0, None, b"12345") for offset in (2, 5, 6)]
    records.append(Record(POST_ROLLUPS, 1, 9, 0, None, b"12345"))
    positions = {Place(POSTS, 0): 8, Place(POST_ROLLUPS, 1): 12, Place(CHANNELS, 0): 4}
    pieces = list(jobs_of(Batch(deque(records), positions), most_bytes=10))
    assert pieces == [
        ([(POSTS, 0, [b"12345", b"12345"])], {Place(POSTS, 0): 6}),
        ([(POSTS, 0, [b"12345"]), (POST_ROLLUPS, 1, [b"12345"])], {Place(POSTS, 0): 7, Place(POST_ROLLUPS, 1): 10}),
        ([], positions),
    ]


def test_a_part_is_bounded_by_bytes() -> None:
    """A megabyte of batches may hold thousands of values of 8 MiB, and a part had 5,000 records whatever they held."""
    large = batch([Sent(b"w/p", bytes(8 * 1024 * 1024))], ZSTD)
    small = batch([Sent(b"w/p", b"x", [("h", b"x")])] * 3)
    records = unpacking._records([(POSTS, 0, [large] * 5 + [small])])
    parts = []
    while some := unpacking._some(records):
        parts.append([len(record.value or b"") for record in some])
        assert not any(record.headers for record in some)
    assert parts == [[2**23] * 2, [2**23] * 2, [2**23, 1, 1, 1]]
