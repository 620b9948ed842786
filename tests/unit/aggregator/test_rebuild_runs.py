"""Several runs of `tidemark rebuild`: whatever their steps' order is, the figures are those of one run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import CatalogPost, CatalogTarget
from services.aggregator import rebuild_runs
from services.aggregator.handover import fold_tail
from services.aggregator.rebuild_runs import (
    _REBUILDS,
    RUNS_QUERY,
    UNCLAIMED_QUERY,
    RebuildClaim,
    RebuildError,
    is_run_alive,
    latest_rebuild,
    unfinished_rebuild,
)
from services.aggregator.rows import POSTS, Version, post_row
from tests.support import properties
from tests.support.manual_clock import ManualClock
from tests.support.rebuild_world import NOW, AtOnce, Stepped, Tables, Turns, World, without_waiting

GONE_ON = "another run of `tidemark rebuild` has taken the rebuild over; this run ends and changes nothing more"


@pytest.fixture(scope="module", autouse=True)
def at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        without_waiting(patch)
        yield


class Solo(NamedTuple):
    """What one run by itself gives, and its number of steps."""

    figures: dict[str, dict[Any, Any]]
    steps: int


@pytest.fixture(scope="module")
def solo(at_once: None) -> Solo:
    async def run() -> Solo:
        world = World()
        world.start("A")
        assert await world.finish("A") == ""
        return Solo(world.tables.figures(1), world.turns.taken["A"])

    return asyncio.run(run())


def check(world: World, solo: Solo) -> None:
    tables = world.tables
    assert tables.active == 1
    assert world.at_handover == solo.figures, "the owner took an unfinished generation over"
    assert tables.figures(1) == solo.figures
    assert tables.dropped_before == 1, "the live generation's parts stay"


def test_one_run_gives_the_figures(solo: Solo) -> None:
    likes = {key: row["likes"] for key, row in solo.figures["post_totals_store"].items()}
    assert likes == {("w1", "p0"): 13, ("w1", "p1"): 14, ("w2", "p0"): 13, ("w2", "p1"): 14}
    assert {row["source"] for row in solo.figures["channel_totals_store"].values()} == {"posts"}


async def test_a_run_goes_on_wherever_the_one_before_was_killed(solo: Solo) -> None:
    for killed_after in range(0, solo.steps, 7):
        world = World()
        world.start("A")
        await world.steps("A", killed_after)
        world.start("B")
        assert await world.finish("B") == ""
        if killed_after < solo.steps - 10:
            check(world, solo)
        await world.close()


async def test_wherever_a_run_is_killed_or_wakes_up_its_table_calls_no_rebuild_unfinished_in_the_end(
    solo: Solo,
) -> None:
    """Audits, deletions and earlier versions read that table."""
    near_a_change = [*range(10, 18), *range(solo.steps - 26, solo.steps)]
    for stopped_after in near_a_change:
        for is_killed in (True, False):
            world = World()
            world.start("A")
            await world.steps("A", stopped_after)
            world.start("B")
            assert await world.finish("B") == ""
            if not is_killed:
                await world.finish("A")
            states = {generation: row[1] for generation, row in world.tables.rebuilds.items()}
            assert set(states.values()) == {"done"}, (stopped_after, is_killed, states)
            table, runs = (world.tables.answer(sql, {}) for sql in (UNCLAIMED_QUERY, RUNS_QUERY))
            assert unfinished_rebuild(table, runs) is None
            await world.close()


async def test_what_an_earlier_version_finished_is_not_gone_on_with(solo: Solo) -> None:
    world = World()
    world.start("A")
    await world.steps("A", solo.steps - 40)
    generation, _, cuts, started_at, updated_at = world.tables.rebuilds[1]
    world.tables.take(_REBUILDS, [(generation, "done", cuts, started_at, updated_at + 1)])
    world.tables.take(("active_generations", ("generation", "version")), [(1, 5)])
    world.start("B")
    assert await world.finish("B") == ""
    assert world.tables.active == 2
    await world.close()


async def test_a_run_is_seen_from_its_first_step_on(solo: Solo) -> None:
    """`tidemark workspace delete` refuses to run beside it: its look at the topics has begun."""
    world = World()
    assert not is_run_alive(world.tables.answer(RUNS_QUERY, {}))
    world.start("A")
    while not (runs := world.tables.answer(RUNS_QUERY, {})):
        await world.steps("A", 1)
    assert is_run_alive(runs)
    assert not world.tables.rebuilds
    assert await world.finish("A") == ""
    assert not is_run_alive(world.tables.answer(RUNS_QUERY, {}))


async def test_a_killed_run_is_not_begun_anew(solo: Solo) -> None:
    world = World()
    world.start("A")
    await world.steps("A", solo.steps - 25)
    world.start("B")
    await world.finish("B")
    check(world, solo)
    begun = {tenant: after for name, tenant, after in reversed(world.tables.asked) if name == "B"}
    assert set(begun.values()) <= {"e1", "e3", "e4"}, begun
    await world.close()


async def test_a_run_that_was_suspended_changes_nothing_whenever_it_wakes_up(solo: Solo) -> None:
    """The fault of before: the slower run folded on after the faster one had swapped, and its rows counted."""
    for asleep_after in range(1, solo.steps - 1, 4):
        world = World()
        world.start("A")
        await world.steps("A", asleep_after)
        world.start("B")
        assert await world.finish("B") == ""
        figures = world.tables.figures(1)
        last = await world.finish("A")
        assert last in ("", GONE_ON)
        assert world.tables.figures(1) == figures == solo.figures
        assert world.tables.active in (1, 2)


@settings(max_examples=properties.of(40), deadline=None)
@given(
    st.integers(0, 140),
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 25), st.integers(0, 5)), max_size=16),
    st.booleans(),
    st.integers(0, 5),
)
def test_two_runs_in_any_order_give_the_figures_of_one(
    solo: Solo, head_start: int, turns: list[tuple[str, int, int]], is_third: bool, which: int
) -> None:
    asyncio.run(interleave(solo, head_start, turns, is_third, which))


async def interleave(
    solo: Solo, head_start: int, turns: list[tuple[str, int, int]], is_third: bool, which: int
) -> None:
    """Two runs by turns; then the second ends, or is killed and a third one ends. What is left of others lands last."""
    world = World()
    world.start("A")
    await world.steps("A", head_start)
    world.start("B")
    for name, steps, picked in turns:
        await world.steps(name, steps, picked)
    last = "B"
    if is_third or world.runs["B"].done():
        last = "C"
        world.start("C")
        for name, steps, picked in turns:
            await world.steps("C" if name == "B" else "A", steps, picked)
    assert await world.finish(last, which) == ""
    shown = world.tables.active
    assert world.tables.figures(shown) == solo.figures
    for name in world.runs:
        assert await world.finish(name) in ("", GONE_ON)
    # A run that begins only now finds nothing to go on with, and makes a generation of its own.
    assert world.tables.active >= shown
    assert world.tables.figures(world.tables.active) == solo.figures
    assert world.at_handover == solo.figures
    assert world.tables.dropped_before <= world.tables.active
    await world.close()


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
    # Where both see each other, both give the number up; a pause of random length parts them.
    for name in order * 5 + "A" * 50 + "B" * 50:
        await turns.give(name)
    claims = [await task for task in tasks.values()]
    assert claims[0].number != claims[1].number


async def test_a_rebuild_that_a_version_without_claims_began_is_gone_on_with(solo: Solo) -> None:
    world = World()
    noted = orjson.dumps({"0": 0, "mirror": [], "rollups": []}).decode()
    world.tables.rebuilds[7] = (7, "filling", noted, NOW, NOW)
    world.tables.take(("rebuild_progress", ()), [(7, "w1", "e1", 0, 2, NOW)])
    world.start("A")
    assert await world.finish("A") == ""
    assert world.tables.active == 7
    # What was folded of w1 before is not folded again: its first events are in no table of this world.
    assert world.tables.figures(7)["post_totals_store"] == solo.figures["post_totals_store"]


@pytest.mark.parametrize("behind", [0, 86_400_000], ids=["a writer of today", "a writer whose clock is a day behind"])
@pytest.mark.parametrize("mirrored", [(2 << 40), (1 << 62)], ids=["as ever", "above every owner's versions"])
async def test_a_catalog_write_during_the_rebuild_is_in_the_new_generation(behind: int, mirrored: int) -> None:
    world = World()
    world.is_owned = False
    if mirrored > 2 << 40:
        strange = CatalogPost("w2", "p9", "published", NOW, NOW, (), NOW)
        world.tables.take(POSTS, [post_row(Version(0, 0, mirrored), strange)])
    world.start("A")
    await world.steps("A", 90)
    # The owner mirrors a post while the rebuild has folded that tenant's catalog already.
    write = CatalogPost(
        "w1", "p5", "published", NOW, NOW, (CatalogTarget("t5", "c1", status="published"),), NOW - behind
    )
    world.tables.take(POSTS, [post_row(Version(0, 0, 2 << 40), write)])
    while (found := await latest_rebuild(AtOnce(world.tables).store)) is None or found.state != "handover":
        await world.steps("A", 1)
    assert (1, "w1", "p5") not in world.tables.tables["post_totals_store"]
    numbers = count(3 << 40)
    await fold_tail(AtOnce(world.tables).store, ManualClock(NOW), found, 0, 1, lambda: next(numbers), 100)
    assert world.tables.tables["post_totals_store"][(1, "w1", "p5")]["is_deleted"] == 0
    await world.close()
