"""Which keys a worker has yet to read, and how long it waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from services.query_api.key_writes import CatchUp, KeyWrites

TOPIC = "catalog.api-keys"


class Reads:
    """A reader of two partitions that a test moves; see `key_writes.KeyReads`."""

    def __init__(self) -> None:
        self._offsets = {0: 0, 1: 0}
        self._moved = asyncio.Condition()

    def read_to(self, topic: str, partition: int) -> int:
        assert topic == TOPIC
        return self._offsets[partition]

    async def reached(self, topic: str, offsets: Mapping[int, int]) -> None:
        async with self._moved:
            await self._moved.wait_for(
                lambda: all(self.read_to(topic, number) >= offset for number, offset in offsets.items())
            )

    async def read(self, partition: int, offset: int) -> None:
        async with self._moved:
            self._offsets[partition] = offset
            self._moved.notify_all()


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
    reads = Reads()
    catch_up = CatchUp(writes, reads, TOPIC, seconds=30)
    assert not await catch_up()
    writes.wrote(1, 4)
    waiting = asyncio.create_task(catch_up())
    await asyncio.sleep(0)
    await reads.read(1, 5)
    assert await waiting
    assert not await catch_up()


async def test_what_never_comes_is_waited_for_once(path: Path) -> None:
    writes = KeyWrites(path, 2)
    writes.wrote(0, 4)
    catch_up = CatchUp(writes, Reads(), TOPIC, seconds=0.01)
    assert await catch_up()
    assert not await catch_up()
    writes.wrote(0, 5)
    assert await catch_up()
