"""A clock that is set back leaves nobody waiting."""

from __future__ import annotations

import asyncio

from schemas.tiers import COMMON, MILLIS_PER_HOUR
from services.platforms.base import Limit
from services.poller.asking.budget import APP, Budget, WindowKey
from services.poller.asking.circuit import CIRCUIT_FAILURES, TOKEN_FAILURES, Circuit, TokenCircuits
from services.poller.schedule.batch import Fate, Settled
from services.poller.schedule.schedule import DEBOUNCE, Schedule
from services.poller.steps import LEAST_STEP, ClockSteps
from tests.support.manual_clock import START, ManualClock
from tests.unit.poller.builders import channel, target

KEY = ("w1", "c1")
BACK = 2 * MILLIS_PER_HOUR
INTERVAL = COMMON.tiers[0][1]


def longest(_: float, upper: float) -> float:
    """As long as jitter allows."""
    return upper


def test_only_a_clock_that_is_set_back_is_told() -> None:
    wall, ticks = ManualClock(), ManualClock(0)
    steps = ClockSteps(wall.now, ticks.now)
    wall.at, ticks.at = wall.at + 5_000, 5_000
    assert steps.set_back_by() == 0
    wall.at += BACK
    assert steps.set_back_by() == 0
    wall.at -= BACK + 1
    assert steps.set_back_by() == BACK + 1
    assert steps.set_back_by() == 0


def test_small_steps_are_told_when_they_have_added_up() -> None:
    wall, ticks = ManualClock(), ManualClock(0)
    steps = ClockSteps(wall.now, ticks.now)
    told = []
    for _ in range(4):
        wall.at -= LEAST_STEP // 3
        told.append(steps.set_back_by())
    assert [by for by in told if by] == [4 * (LEAST_STEP // 3)]


async def test_followers_are_told_how_far() -> None:
    wall, ticks = ManualClock(), ManualClock(0)
    told: asyncio.Queue[int] = asyncio.Queue()
    watching = asyncio.create_task(ClockSteps(wall.now, ticks.now).watch([told.put_nowait]))
    await asyncio.sleep(0)
    wall.at -= BACK
    assert await asyncio.wait_for(told.get(), 10) == BACK
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def test_targets_are_due_after_the_same_while() -> None:
    schedule = Schedule({"youtube": 10})
    schedule.connect(KEY, channel(), active=True, now=START)
    entries = [
        schedule.add(schedule.plan(KEY), f"p{number}", target(f"t{number}"), START - number * MILLIS_PER_HOUR, START)
        for number in range(5)
    ]
    assert all(entries)
    work = schedule.take("youtube", START + DEBOUNCE)
    assert work is not None
    assert len(work.entries) == 5
    schedule.settle(work, [Settled(Fate.CAPTURED)] * 5, Settled(Fate.CAPTURED), START + DEBOUNCE)
    schedule.clock_set_back(BACK)
    assert schedule.take("youtube", START - BACK + DEBOUNCE) is None
    again = schedule.take("youtube", START - BACK + DEBOUNCE + INTERVAL)
    assert again is not None
    assert len(again.entries) == 5


def test_circuits_close_after_the_same_while() -> None:
    circuit, tokens = Circuit(longest), TokenCircuits(longest)
    for _ in range(CIRCUIT_FAILURES):
        circuit.failure(START)
    for _ in range(TOKEN_FAILURES):
        tokens.failure(KEY, START)
    opens, mended = circuit.wait_until(START), tokens.wait_until(KEY, START)
    assert opens
    circuit.clock_set_back(BACK)
    tokens.clock_set_back(BACK)
    assert circuit.wait_until(START - BACK) == opens - BACK
    assert circuit.is_open
    assert tokens.wait_until(KEY, START - BACK) == mended - BACK


def test_a_budget_opens_after_the_same_while() -> None:
    key, paced = WindowKey("x", "w1/c1", "tweets"), WindowKey("x", APP, "paced")
    budget = Budget(longest, {"x": [Limit("paced", 2, 600)]})
    held = budget.hold(key, 30.0, START, exhausted=False)
    budget.begin(paced, START)
    free = budget.wait_until(paced, START)
    assert free > START
    budget.clock_set_back(BACK)
    assert budget.wait_until(key, START - BACK) == held - BACK
    assert budget.wait_until(paced, START - BACK) == free - BACK
