"""Turns: bounds hold, nobody starves, and nothing is lost with who gives up."""

from __future__ import annotations

import asyncio

import pytest

from services.query_api.errors import ReadsUnavailable
from services.query_api.fairness import Desk, TooManyAtOnce, Turns
from services.query_api.reads.batching import Batcher


async def test_a_workspace_never_holds_more_than_its_part() -> None:
    turns = Turns(4, 2)
    most: dict[str, int] = {}
    held: dict[str, int] = {"greedy": 0, "quiet": 0}

    async def work(owner: str) -> None:
        async with turns.turn(owner):
            held[owner] += 1
            most[owner] = max(most.get(owner, 0), held[owner])
            assert sum(held.values()) <= 4
            await asyncio.sleep(0.001)
            held[owner] -= 1

    await asyncio.gather(*(work("greedy") for _ in range(100)), *(work("quiet") for _ in range(10)))
    assert most == {"greedy": 2, "quiet": 2}
    assert (turns.waiting, held) == (0, {"greedy": 0, "quiet": 0})


async def test_workspaces_that_wait_are_served_in_rotation() -> None:
    turns = Turns(1, 1)
    served: list[str] = []

    async def work(owner: str) -> None:
        async with turns.turn(owner):
            served.append(owner)
            await asyncio.sleep(0)

    await turns.take("first")
    tasks = [asyncio.create_task(work("a")) for _ in range(20)]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(work(owner)) for owner in "bcb"]
    await asyncio.sleep(0)
    assert turns.is_wanted("first")
    turns.give_back("first")
    await asyncio.gather(*tasks)
    assert set(served[:3]) == {"a", "b", "c"}
    assert served[:6].count("b") == 2


async def test_who_gives_up_leaves_the_turn_to_the_next() -> None:
    turns = Turns(1, 1, seconds=0.05)
    await turns.take("a")
    with pytest.raises(ReadsUnavailable):
        await turns.take("b")
    waiting = asyncio.create_task(turns.take("b"))
    next_one = asyncio.create_task(turns.take("c"))
    await asyncio.sleep(0)
    # Its turn has come, and it goes away before it knows.
    turns.give_back("a")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await next_one
    turns.give_back("c")
    assert turns.waiting == 0
    await turns.take("d")


async def test_too_many_that_wait_are_refused_of_their_workspace_alone() -> None:
    turns = Turns(1, 1, most_waiting=3)
    await turns.take("a")
    tasks = [asyncio.create_task(turns.take("greedy")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyAtOnce) as refused:
        await turns.take("greedy")
    assert (refused.value.status, refused.value.headers) == (429, ((b"retry-after", b"1"),))
    other = asyncio.create_task(turns.take("quiet"))
    await asyncio.sleep(0)
    assert turns.waiting == 4
    for task in (*tasks, other):
        task.cancel()
    await asyncio.gather(*tasks, other, return_exceptions=True)
    assert turns.waiting == 0


async def test_a_desk_works_beside_the_loop_and_gives_errors_on() -> None:
    desk = Desk()
    assert await desk.run("w1", sum, [1, 2]) == 3
    with pytest.raises(ZeroDivisionError):
        await desk.run("w1", lambda: 1 // 0)
    assert await asyncio.gather(*(desk.run("w1", abs, -n) for n in range(9))) == list(range(9))


async def test_a_full_batch_has_keys_of_each_workspace() -> None:
    loads: list[list[tuple[str, int]]] = []
    is_open = asyncio.Event()

    async def load(keys: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        loads.append(list(keys))
        await is_open.wait()
        return {key: key[1] for key in keys}

    batcher: Batcher[tuple[str, int], int] = Batcher(load, max_keys=10, max_loads=1, owner=lambda key: key[0])  # type: ignore[arg-type]  # a list is a sequence
    first = asyncio.create_task(batcher.get(("greedy", -1)))
    await asyncio.sleep(0.01)
    greedy = [asyncio.create_task(batcher.get(("greedy", n))) for n in range(1000)]
    await asyncio.sleep(0)
    quiet = [asyncio.create_task(batcher.get(("quiet", n))) for n in range(4)]
    await asyncio.sleep(0)
    is_open.set()
    assert await asyncio.gather(*quiet) == [0, 1, 2, 3]
    assert {key for key in loads[1] if key[0] == "quiet"} == {("quiet", n) for n in range(4)}
    assert len(loads[1]) == 10
    assert await asyncio.gather(first, *greedy) == [-1, *range(1000)]


async def test_a_workspace_has_so_many_loads_at_once() -> None:
    running: list[str] = []
    is_open = asyncio.Event()

    async def load(keys: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        running.append(keys[0][0])
        await is_open.wait()
        return {key: key[1] for key in keys}

    batcher: Batcher[tuple[str, int], int] = Batcher(
        load,  # type: ignore[arg-type]  # a list is a sequence
        max_keys=1,
        max_loads=4,
        max_loads_each=2,
        linger_seconds=0,
        owner=lambda key: key[0],
    )
    tasks = [asyncio.create_task(batcher.get(("greedy", n))) for n in range(9)]
    await asyncio.sleep(0.01)
    tasks.append(asyncio.create_task(batcher.get(("quiet", 9))))
    await asyncio.sleep(0.01)
    assert running == ["greedy", "greedy", "quiet"]
    is_open.set()
    assert await asyncio.gather(*tasks) == list(range(10))


async def test_too_many_keys_of_one_workspace_are_refused_and_others_are_not() -> None:
    is_open = asyncio.Event()

    async def load(keys: list[int]) -> dict[int, int]:
        await is_open.wait()
        return {key: key for key in keys}

    batcher: Batcher[int, int] = Batcher(
        load,  # type: ignore[arg-type]  # a list is a sequence
        max_keys=2,
        max_loads=1,
        max_waiting_each=5,
        owner=lambda key: key < 100,
    )
    tasks = [asyncio.create_task(batcher.get(-1))]
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(batcher.get(n)) for n in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(ReadsUnavailable):
        await batcher.get(6)
    tasks.append(asyncio.create_task(batcher.get(100)))
    await asyncio.sleep(0)
    is_open.set()
    assert await asyncio.gather(*tasks) == [-1, 0, 1, 2, 3, 4, 100]
