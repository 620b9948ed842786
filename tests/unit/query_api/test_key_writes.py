"""Which keys a worker has yet to read, and how long it waits for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.query_api.key_writes import CatchUp, KeyWrites


@pytest.fixture
def path(tmp_path: Path) -> Path:
    KeyWrites.make(tmp_path / "writes", 2)
    return tmp_path / "writes"


def test_every_worker_sees_how_far_any_has_written(path: Path) -> None:
    here, there = KeyWrites(path, 2), KeyWrites(path, 2)
    here.wrote(1, 7)
    there.wrote(1, 5)  # confirmed later, though written before
    assert (there.next_offset(0), there.next_offset(1)) == (0, 8)
    assert there.behind(lambda _: 7) == {1: 8}
    assert there.behind(lambda _: 8) == {}
    here.close()
    there.close()


async def test_a_worker_waits_for_what_was_written_and_no_longer(path: Path) -> None:
    writes = KeyWrites(path, 2)
    positions = {0: 0, 1: 0}
    catch_up = CatchUp(writes, positions.__getitem__, seconds=30)
    assert not await catch_up()
    writes.wrote(1, 4)
    waiting = asyncio.create_task(catch_up())
    await asyncio.sleep(0)
    positions[1] = 5
    assert await waiting
    assert not await catch_up()


async def test_what_never_comes_is_waited_for_once(path: Path) -> None:
    writes = KeyWrites(path, 2)
    writes.wrote(0, 4)
    catch_up = CatchUp(writes, lambda _: 0, seconds=0.01)
    assert await catch_up()
    assert not await catch_up()
    writes.wrote(0, 5)
    assert await catch_up()
