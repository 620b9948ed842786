"""What keeps the store's file in memory, judged by the pages that the kernel holds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest

from schemas.topic_names import POST_ROLLUPS, POSTS
from services.query_api.store.residence import keep_resident
from tests.support import told
from tests.support.page_cache import let_go, resident_bytes
from tests.support.stores import store_of, until

# No whole number of pieces.
SIZE = (7 << 20) + 12_345
MUCH = 1 << 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.mdb"
    path.write_bytes(b"\1" * SIZE)
    let_go(path)
    return path


@asynccontextmanager
async def kept(path: Path, room: Callable[[], int] = lambda: MUCH, pass_seconds: float = 0.05) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_resident(path, room, pass_seconds))
    try:
        yield
        assert not task.done(), "nothing ends it"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def is_held(path: Path) -> bool:
    return resident_bytes(path) >= path.stat().st_size


async def test_the_first_pass_waits_for_nothing(file: Path) -> None:
    async with kept(file, pass_seconds=3_600):
        await until(lambda: is_held(file), "all of it is in memory")


async def test_pages_that_were_let_go_of_come_back(file: Path) -> None:
    async with kept(file):
        for _ in range(3):
            await until(lambda: is_held(file), "all of it is in memory")
            let_go(file)


async def test_what_the_file_grows_by_is_kept_as_well(file: Path) -> None:
    async with kept(file):
        await until(lambda: is_held(file), "all of it is in memory")
        with file.open("ab") as more:
            more.write(b"\2" * SIZE)
        let_go(file)
        await until(lambda: is_held(file), "all of twice as much is in memory")


async def test_a_file_of_more_than_half_of_the_memory_is_left_alone_until_there_is_more(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = 2 * SIZE - 2
    asked = 0

    def rooms() -> int:
        nonlocal asked
        asked += 1
        return room

    async with kept(file, rooms):
        await until(lambda: asked > 3, "it was asked for memory again and again")
        assert resident_bytes(file) == 0
        room = 2 * SIZE
        await until(lambda: is_held(file), "there is room for it")
    assert capsys.readouterr().out.count("not kept in memory") == 1


async def test_a_file_that_is_not_there_or_can_not_be_read_is_left_to_its_readers(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = 0

    def fails(*_: object) -> None:
        nonlocal passes
        passes += 1
        raise OSError(5, "the disk is broken")

    with monkeypatch.context() as broken:
        broken.setattr("services.query_api.store.residence._read", fails)
        began = monotonic()
        async with kept(file, pass_seconds=0.1):
            await until(lambda: passes >= 5, "it was tried again and again")
        assert monotonic() - began >= 4 * 0.1, "each time after a pause"
    away = file.with_name("away")
    os.rename(file, away)
    async with kept(file):
        os.rename(away, file)
        await until(lambda: is_held(file), "it is there again")


async def test_a_machine_that_does_not_tell_its_memory_is_asked_again(file: Path) -> None:
    asked = 0

    def room() -> int:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise PermissionError("/proc/meminfo")
        return MUCH

    async with kept(file, room):
        await until(lambda: is_held(file), "it is kept as soon as there is an answer")


async def test_a_store_that_is_opened_is_read_into_memory(tmp_path: Path) -> None:
    brokers = told.topics()
    for number in range(3_000):
        target = told.target(f"t{number}")
        told.put(brokers, POSTS, f"w1/p{number}", told.post("w1", f"p{number}", [target]))
        told.put(
            brokers,
            POST_ROLLUPS,
            f"w1/p{number}",
            told.figures("w1", f"p{number}", {f"t{number}": told.values(likes=number)}),
        )
    async with store_of(tmp_path, brokers) as (store, _):
        environment = store.environment
        assert environment is not None
        file = environment.file
    let_go(file)
    async with store_of(tmp_path, brokers) as (store, _):
        assert store.environment is not None
        assert store.environment.file == file
        await until(lambda: is_held(file), "a restart brings the whole file into memory")
