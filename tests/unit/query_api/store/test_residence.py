"""What keeps the store's file in memory, by the pages that the kernel holds and by what is read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from schemas.topic_names import POST_ROLLUPS, POSTS
from services.query_api.store import residence
from services.query_api.store.residence import RESIDENCE, keep_resident
from tests.support import told
from tests.support.memory_brokers import MemoryBrokers
from tests.support.page_cache import let_go, resident_bytes
from tests.support.stores import store_of, until

MB = 1 << 20
# No whole number of pieces.
SIZE = 7 * MB + 12_345
MUCH = 1 << 40


class Room:
    """Memory that a test gives and takes."""

    def __init__(self, size: int = MUCH) -> None:
        self.size = size
        self.asked = 0
        self.errors: list[Exception] = []

    def __call__(self) -> int:
        self.asked += 1
        if self.errors:
            raise self.errors.pop()
        return self.size

    async def is_asked(self, times: int) -> None:
        """Wait until it was asked so often from now on: a pass that was under way is over with the second time."""
        before = self.asked
        await until(lambda: self.asked >= before + times, "the memory was asked for")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.mdb"
    path.write_bytes(b"\1" * SIZE)
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where each piece began that was read; nothing is read."""
    found: list[int] = []
    monkeypatch.setattr(residence, "_read", lambda _, start, *__: found.append(start))
    return found


@asynccontextmanager
async def kept(path: Path, room: Callable[[], int] = lambda: MUCH, pass_seconds: float = 0.05) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_resident(path, room=room, pass_seconds=pass_seconds))
    try:
        yield
        assert not task.done(), "nothing ends it"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def held(path: Path) -> None:
    await until(lambda: resident_bytes(path) >= path.stat().st_size, "all of it is in memory")


# By pages.


async def test_the_first_pass_waits_for_nothing(file: Path) -> None:
    let_go(file)
    async with kept(file, pass_seconds=3_600):
        await held(file)


async def test_pages_that_were_let_go_of_come_back(file: Path) -> None:
    room = Room()
    async with kept(file, room):
        for _ in range(3):
            room.size = 0
            await room.is_asked(2)
            let_go(file)
            room.size = MUCH
            await held(file)


async def test_what_the_file_grows_by_is_kept_as_well(file: Path) -> None:
    room = Room()
    async with kept(file, room):
        await held(file)
        room.size = 0
        await room.is_asked(2)
        with file.open("ab") as more:
            more.write(b"\2" * SIZE)
        let_go(file)
        room.size = MUCH
        await held(file)


# By what is read.


@pytest.mark.parametrize("size", [0, 1, MB, MB + 1, 512 * MB, 512 * MB + 1, 600 * MB, 1_537 * MB, 40_000 * MB])
def test_a_pass_reads_each_byte_once(size: int) -> None:
    pieces = residence._pieces(size)
    assert [start for start, _ in pieces] == [sum(length for _, length in pieces[:at]) for at in range(len(pieces))]
    # The last one ends with the file.
    assert not pieces or pieces[-1][0] < size <= sum(pieces[-1])
    assert len(pieces) <= 512
    # A piece is read by the buffer.
    assert all(length % MB == 0 for _, length in pieces)


async def test_a_pass_is_spread_over_its_time(file: Path, reads: list[int]) -> None:
    pieces = len(residence._pieces(SIZE))
    began = monotonic()
    async with kept(file, pass_seconds=0.2):
        await until(lambda: len(reads) >= 4 * pieces, "four passes")
    # The first one at once, then a pause, then three passes without the last one's last pause.
    assert monotonic() - began >= 0.2 * (4 - 1 / pieces)
    assert reads[: 2 * pieces] == 2 * [start for start, _ in residence._pieces(SIZE)]


async def test_what_takes_more_than_its_share_is_left_alone_until_there_is_more(
    file: Path, reads: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    room = Room(2 * SIZE - 2)
    async with kept(file, room, pass_seconds=0.02):
        await room.is_asked(4)
        # At the border it stays as it is.
        room.size = 2 * SIZE
        await room.is_asked(4)
        assert not reads
        room.size = 3 * SIZE
        await until(lambda: len(reads) > 20, "there is room for it")
        room.size = 2 * SIZE
        await room.is_asked(4)
        room.size = SIZE
        await room.is_asked(4)
    lines = [line for line in capsys.readouterr().out.splitlines() if "kept in memory" in line]
    assert ["not kept" in line for line in lines] == [True, False, True]


@pytest.mark.parametrize("error", [OSError(5, "the disk is broken"), RuntimeError("can't start new thread")])
async def test_what_can_not_be_read_is_told_once_and_tried_again_after_a_pause(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    tries = 0

    def fails(*_: Any) -> None:
        nonlocal tries
        tries += 1
        raise error

    monkeypatch.setattr(residence, "_read", fails)
    began = monotonic()
    async with kept(file, pass_seconds=0.1):
        await until(lambda: tries >= 5, "it was tried again and again")
    assert monotonic() - began >= 4 * 0.1
    assert capsys.readouterr().out.count("not kept in memory") == 1


@pytest.mark.parametrize("error", [PermissionError("/proc/meminfo"), ValueError("strange")])
async def test_a_machine_that_does_not_tell_its_memory_is_asked_again(
    file: Path, reads: list[int], error: Exception
) -> None:
    room = Room()
    room.errors = [error, error]
    async with kept(file, room):
        await until(lambda: bool(reads), "it is kept as soon as there is an answer")
    assert room.asked >= 3


async def test_a_file_that_is_away_is_kept_once_it_is_back(
    file: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured, looks = residence._measured, 0

    def counted(*arguments: Any) -> tuple[int, int]:
        nonlocal looks
        looks += 1
        return measured(*arguments)

    monkeypatch.setattr(residence, "_measured", counted)
    away = file.with_name("away")
    os.rename(file, away)
    async with kept(file):
        await until(lambda: looks >= 3, "it was looked for")
        assert not reads
        os.rename(away, file)
        await until(lambda: bool(reads), "it is there again")
    assert "kept in memory" not in capsys.readouterr().out


# In the store.


def with_posts(brokers: MemoryBrokers) -> MemoryBrokers:
    for number in range(3_000):
        target = told.target(f"t{number}")
        told.put(brokers, POSTS, f"w1/p{number}", told.post("w1", f"p{number}", [target]))
        figures = told.figures("w1", f"p{number}", {f"t{number}": told.values(likes=number)})
        told.put(brokers, POST_ROLLUPS, f"w1/p{number}", figures)
    return brokers


def residences() -> int:
    return sum(task.get_name() == RESIDENCE for task in asyncio.all_tasks())


async def test_whoever_writes_a_store_keeps_it_in_memory_until_it_stops(tmp_path: Path) -> None:
    brokers = with_posts(told.topics())
    for _ in ("filled", "opened"):
        async with store_of(tmp_path, brokers):
            assert residences() == 1
        assert residences() == 0


async def test_a_store_that_is_opened_is_read_into_memory(tmp_path: Path) -> None:
    brokers = with_posts(told.topics())
    async with store_of(tmp_path, brokers) as (store, _):
        environment = store.environment
        assert environment is not None
        file = environment.file
    let_go(file)
    async with store_of(tmp_path, brokers) as (store, _):
        assert store.environment is not None
        assert store.environment.file == file
        await held(file)
