"""Several runs of `tidemark rebuild`: whatever their steps' order is, the figures are those of one run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aggregator import rebuild_runs
from services.aggregator.rebuild_runs import RebuildClaim, RebuildError, latest_rebuild
from tests.support import properties
from tests.support.rebuild_world import NOW, Stepped, Tables, Turns, World, without_waiting

GONE_ON = "another run of `tidemark rebuild` has taken the rebuild over; this run ends and changes nothing more"


@pytest.fixture(scope="module", autouse=True)
def at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        without_waiting(patch)
        yield


async def alone() -> tuple[dict[str, dict[Any, Any]], int]:
    """The figures of one run by itself, and how many steps it takes."""
    world = World()
    world.start("A")
    assert await world.finish("A") == ""
    return world.tables.figures(1), world.turns.taken["A"]


EXPECTED, STEPS = {}, 0


@pytest.fixture(scope="module", autouse=True)
def expected(at_once: None) -> None:
    global EXPECTED, STEPS  # noqa: PLW0603  # computed once
    EXPECTED, STEPS = asyncio.run(alone())


def check(world: World) -> None:
    tables = world.tables
    assert tables.active == 1
    assert world.at_handover == EXPECTED, "the owner took an unfinished generation over"
    assert tables.figures(1) == EXPECTED
    assert tables.dropped_before == 1, "the live generation's parts stay"


def test_one_run_gives_the_figures() -> None:
    likes = {key: row["likes"] for key, row in EXPECTED["post_totals_store"].items()}
    assert likes == {("w1", "p0"): 13, ("w1", "p1"): 14, ("w2", "p0"): 13, ("w2", "p1"): 14}
    assert {row["source"] for row in EXPECTED["channel_totals_store"].values()} == {"posts"}


async def test_a_run_goes_on_wherever_the_one_before_was_killed() -> None:
    for killed_after in range(0, STEPS, 3):
        world = World()
        world.start("A")
        await world.steps("A", killed_after)
        world.start("B")
        assert await world.finish("B") == ""
        if killed_after < STEPS - 10:
            check(world)
        await world.close()


async def test_a_killed_run_is_not_begun_anew() -> None:
    world = World()
    world.start("A")
    await world.steps("A", STEPS - 30)
    world.start("B")
    await world.finish("B")
    assert world.turns.taken["B"] < STEPS / 2
    assert world.tables.active == 1
    await world.close()


async def test_a_run_that_was_suspended_changes_nothing_whenever_it_wakes_up() -> None:
    """The fault of before: the slower run folded on after the faster one had swapped, and its rows counted."""
    for asleep_after in range(1, STEPS - 1, 3):
        world = World()
        world.start("A")
        await world.steps("A", asleep_after)
        world.start("B")
        assert await world.finish("B") == ""
        figures = world.tables.figures(1)
        last = await world.finish("A")
        assert last in ("", GONE_ON)
        assert world.tables.figures(1) == figures == EXPECTED
        assert world.tables.active in (1, 2)
        state = await latest_rebuild(Stepped("C", world.tables, Turns()).store) if False else None
        assert state is None


@settings(max_examples=properties.of(60), deadline=None)
@given(
    st.integers(0, 140),
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 25), st.integers(0, 5)), max_size=16),
    st.booleans(),
    st.integers(0, 5),
)
def test_two_runs_in_any_order_give_the_figures_of_one(
    head_start: int, turns: list[tuple[str, int, int]], is_third: bool, which: int
) -> None:
    asyncio.run(interleave(head_start, turns, is_third, which))


async def interleave(head_start: int, turns: list[tuple[str, int, int]], is_third: bool, which: int) -> None:
    """Two runs by turns; then the second ends, or is killed and a third one ends. What is left of others lands last."""
    world = World()
    world.start("A")
    await world.steps("A", head_start)
    world.start("B")
    for name, count, picked in turns:
        await world.steps(name, count, picked)
    last = "B"
    if is_third or world.runs["B"].done():
        last = "C"
        world.start("C")
        for name, count, picked in turns:
            await world.steps("C" if name == "B" else "A", count, picked)
    generation = world.tables.active
    await world.finish(last, which)
    shown = world.tables.active
    assert shown >= max(1, generation)
    assert world.tables.figures(shown) == EXPECTED
    for name in world.runs:
        assert await world.finish(name) in ("", GONE_ON)
    assert world.tables.active == shown
    assert world.tables.figures(shown) == EXPECTED
    assert world.at_handover == EXPECTED
    assert world.tables.dropped_before <= shown


class Watched(Stepped):
    """Tables whose clock moves by a second with every look; a run may be living on them."""

    def __init__(self, tables: Tables) -> None:
        super().__init__("B", tables, Turns())
        self.living: RebuildClaim | None = None

    async def query(self, sql: str, parameters: dict[str, Any] | None = None) -> list[Any]:
        if "LIMIT 100" in sql:
            self._tables.now += 1_000
            if self.living is not None and self._tables.now % 3_000 < 1_000:
                living, self.living = self.living, None
                await living._store_row()
                self.living = living
        return self._tables.answer(sql, parameters or {})

    async def insert(self, table: Any, rows: Any) -> None:
        self._tables.take(table, rows)


async def claimed(store: Watched, *, is_forced: bool = False) -> tuple[RebuildClaim, list[str]]:
    lines: list[str] = []
    return await RebuildClaim.take(store.store, is_forced=is_forced, on_wait=lines.append), lines


async def test_a_second_run_is_refused_while_the_first_lives() -> None:
    store = Watched(Tables())
    store.living, _ = await claimed(store)
    with pytest.raises(
        RebuildError, match=r"^a rebuild runs since 2026-.*Z: wait for its end, or stop it; .*--take-over"
    ):
        await claimed(store)
    await store.living.require()


async def test_a_run_that_lives_loses_the_rebuild_when_that_is_told() -> None:
    store = Watched(Tables())
    store.living, _ = await claimed(store)
    second, lines = await claimed(store, is_forced=True)
    assert (second.number, lines) == (2, [])
    with pytest.raises(RebuildError, match="has taken the rebuild over"):
        await store.living.require()


async def test_a_run_that_gives_no_sign_of_life_is_taken_for_dead() -> None:
    store = Watched(Tables())
    first, _ = await claimed(store)
    second, lines = await claimed(store)
    assert (first.number, second.number) == (1, 2)
    assert "waiting for a sign that it lives" in lines[0]
    assert store._tables.now - NOW < 2 * rebuild_runs._DEAD_MILLIS


async def test_after_a_run_that_ended_nothing_is_waited_for() -> None:
    store = Watched(Tables())
    first, _ = await claimed(store)
    await first.end()
    second, lines = await claimed(store)
    assert (second.number, lines) == (2, [])


@pytest.mark.parametrize("order", ["AABBAB", "ABABABABAB", "AAABBBAB", "BABBAABA"])
async def test_of_two_runs_that_begin_at_once_one_number_is_held_by_one(order: str) -> None:
    tables, turns = Tables(), Turns()
    tasks = {
        name: asyncio.create_task(
            RebuildClaim.take(Stepped(name, tables, turns).store, is_forced=True, on_wait=lambda _: None)
        )
        for name in "AB"
    }
    for name in order * 20:
        await turns.give(name)
    claims = [await task for task in tasks.values()]
    assert claims[0].number != claims[1].number


async def test_a_rebuild_that_a_version_without_claims_began_is_gone_on_with() -> None:
    world = World()
    noted = orjson.dumps({"0": 0, "mirror": [], "rollups": []}).decode()
    world.tables.rebuilds[7] = (7, "filling", noted, NOW, NOW)
    world.tables.take(("rebuild_progress", ()), [(7, "w1", "e1", 0, 2, NOW)])
    world.start("A")
    assert await world.finish("A") == ""
    assert world.tables.active == 7
    # What was folded of w1 before is not folded again: its first events are in no table of this world.
    assert world.tables.figures(7)["post_totals_store"] == EXPECTED["post_totals_store"]
