"""Askers that meet share a load."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.query_api.errors import ReadsUnavailable
from services.query_api.reads.batching import Batcher


class Loads:
    """Loads squares, and keeps what was asked."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, keys: Sequence[int]) -> dict[int, int]:
        self.batches.append(list(keys))
        self.started.set()
        await self.gate.wait()
        return {key: key * key for key in keys if key >= 0}


async def test_keys_that_arrive_together_share_a_load_and_equal_ones_are_asked_once() -> None:
    loads = Loads()
    batcher = Batcher(loads)
    found = await asyncio.gather(*(batcher.get(number % 3) for number in range(9)), batcher.get(-1))
    assert found == [0, 1, 4] * 3 + [None]
    assert loads.batches == [[0, 1, 2, -1]]


async def test_a_key_whose_row_breaks_its_reader_fails_alone() -> None:
    loads: list[list[int]] = []

    async def load(keys: Sequence[int]) -> dict[int, int]:
        loads.append(list(keys))
        return {key: 100 // key for key in keys}

    batcher = Batcher(load)
    found = await asyncio.gather(*(batcher.get(key) for key in (1, 2, 0, 4, 5)), return_exceptions=True)
    assert [*found[:2], *found[3:]] == [100, 50, 25, 20]
    assert isinstance(found[2], ZeroDivisionError)
    assert [0] in loads
    assert await batcher.get(10) == 10


async def test_an_engine_that_is_away_is_asked_once() -> None:
    loads: list[list[int]] = []

    async def load(keys: Sequence[int]) -> dict[int, int]:
        loads.append(list(keys))
        raise ReadsUnavailable

    batcher = Batcher(load)
    found = await asyncio.gather(*(batcher.get(key) for key in range(4)), return_exceptions=True)
    assert all(isinstance(each, ReadsUnavailable) for each in found)
    assert len(loads) == 1


async def test_a_full_batch_leaves_at_once() -> None:
    loads = Loads()
    batcher = Batcher(loads, max_keys=2, linger_seconds=60)
    assert list(await asyncio.gather(batcher.get(1), batcher.get(2))) == [1, 4]
    assert loads.batches == [[1, 2]]


async def test_while_loads_run_the_next_batch_grows() -> None:
    loads = Loads()
    loads.gate.clear()
    batcher = Batcher(loads, max_keys=10, max_loads=1, linger_seconds=0)
    first = asyncio.create_task(batcher.get(1))
    await loads.started.wait()
    rest = [asyncio.create_task(batcher.get(number)) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    assert loads.batches == [[1]]
    loads.gate.set()
    assert await asyncio.gather(first, *rest) == [1, 4, 9, 16]
    assert loads.batches == [[1], [2, 3, 4]]


async def test_a_load_beside_another_waits_until_half_a_batch_is_there() -> None:
    loads = Loads()
    loads.gate.clear()
    batcher = Batcher(loads, max_keys=4, max_loads=2, linger_seconds=0)
    first = asyncio.create_task(batcher.get(1))
    await loads.started.wait()
    second = asyncio.create_task(batcher.get(2))
    for _ in range(5):
        await asyncio.sleep(0)
    assert loads.batches == [[1]]
    third = asyncio.create_task(batcher.get(3))
    loads.started.clear()
    await loads.started.wait()
    assert loads.batches == [[1], [2, 3]]
    loads.gate.set()
    assert list(await asyncio.gather(first, second, third)) == [1, 4, 9]


async def test_an_error_reaches_every_asker_and_the_next_load_is_fresh() -> None:
    fails = [True]

    async def load(keys: Sequence[int]) -> dict[int, int]:
        if fails.pop():
            raise ReadsUnavailable
        return dict.fromkeys(keys, 0)

    batcher = Batcher(load)
    found = await asyncio.gather(batcher.get(1), batcher.get(2), return_exceptions=True)
    assert all(isinstance(one, ReadsUnavailable) for one in found)
    fails.append(False)
    assert await batcher.get(1) == 0


async def test_an_asker_that_gives_up_takes_nothing_from_the_others() -> None:
    loads = Loads()
    batcher = Batcher(loads)
    quitter, patient = asyncio.create_task(batcher.get(3)), asyncio.create_task(batcher.get(3))
    await asyncio.sleep(0)
    quitter.cancel()
    assert await patient == 9
    with pytest.raises(asyncio.CancelledError):
        await quitter


async def test_too_many_waiting_are_refused() -> None:
    loads = Loads()
    loads.gate.clear()
    batcher = Batcher(loads, max_waiting=1, linger_seconds=60)
    waiting = asyncio.create_task(batcher.get(1))
    await asyncio.sleep(0)
    with pytest.raises(ReadsUnavailable):
        await batcher.get(2)
    waiting.cancel()
