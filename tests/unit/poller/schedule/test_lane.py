"""Turns of workspaces when a budget is short, and what is asked first after an outage."""

from __future__ import annotations

from collections import Counter

import pytest

from services.platforms.base import Limit
from services.poller.asking.budget import Budget, WindowKey
from services.poller.schedule.batch import Batch, Fate, Settled
from services.poller.schedule.schedule import DEBOUNCE, Schedule
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR
from tests.support.manual_clock import START
from tests.unit.poller.builders import channel, target

HOUR, DAY = MILLIS_PER_HOUR, MILLIS_PER_DAY
DATA = WindowKey("youtube", "", "data")


def connect(schedule: Schedule, workspace_id: str, channel_id: str, *ages: int, now: int = START) -> None:
    """A channel with a post of each age (ms); its own figures are asked for later."""
    key = (workspace_id, channel_id)
    schedule.connect(key, channel(channel_id, workspace_id=workspace_id), active=True, now=now)
    for number, age in enumerate(ages):
        schedule.add(schedule.plan(key), f"p{number}", target(f"{channel_id}-t{number}"), now - age, now)
    schedule.restore_channel(key, now)


def equal_tenants(workspaces: int) -> Schedule:
    """Workspaces that all want the same."""
    schedule = Schedule({"youtube": 50})
    for number in range(workspaces):
        for which in range(3):
            connect(schedule, f"w{number}", f"c{number}-{which}", 0, 2 * HOUR, 3 * DAY)
    return schedule


def parts_of(batch: Batch | list[Batch] | None) -> list[Batch]:
    return batch if isinstance(batch, list) else [] if batch is None else [batch]


def run(schedule: Schedule, calls_a_day: int, until: int, *, shared: bool = False) -> list[tuple[int, Batch]]:
    """Make every call as soon as the budget allows; all are answered."""
    budget = Budget(limits={"youtube": (Limit("data", calls_a_day, 24 * 3600),)})
    done: list[tuple[int, Batch]] = []
    now = START
    lane = schedule.lanes["youtube"]
    while True:
        now = max(now, budget.wait_until(DATA, now))
        if now >= until:
            return done
        parts = parts_of(schedule.take_shared("youtube", now) if shared else schedule.take("youtube", now))
        if not parts:
            now = max(now + 1, lane.next_due_at() or until)
            continue
        budget.begin(DATA, now)
        budget.end(DATA)
        for part in parts:
            captured = Settled(Fate.CAPTURED)
            schedule.settle(part, [captured] * len(part.entries), captured, now)
            done.append((now, part))


@pytest.mark.parametrize("shared", [False, True])
def test_a_tenant_with_thousands_of_posts_starves_nobody(shared: bool) -> None:
    schedule = Schedule({"youtube": 5})
    for number in range(300):
        connect(schedule, "greedy", f"c{number}", *[minute * 1000 for minute in range(10)])
    small = [f"w{number}" for number in range(5)]
    for name in small:
        connect(schedule, name, "c1", 0)
    done = run(schedule, 1000, START + DAY, shared=shared)
    polls = Counter(part.plan.key[0] for _, part in done if part.entries)
    # What they want fits into their part: every half hour, and the greedy one gets all the rest.
    assert all(polls[name] >= 44 for name in small), polls
    assert sum(polls[name] for name in small) < polls["greedy"]


def test_equal_tenants_get_equal_parts_of_half_a_budget() -> None:
    needed = len(run(equal_tenants(20), 10**6, START + DAY))
    polls = Counter(part.plan.key[0] for _, part in run(equal_tenants(20), needed // 2, START + DAY))
    assert len(polls) == 20
    mean = sum(polls.values()) / 20
    assert max(polls.values()) - min(polls.values()) <= max(2, 0.05 * mean), polls


def test_after_an_outage_young_posts_come_first_and_of_equals_the_oldest_due() -> None:
    schedule = Schedule({"youtube": 1})
    ages = {"old": 30 * DAY, "week": 3 * DAY, "young": HOUR, "younger": HOUR // 2}
    for name, age in ages.items():
        connect(schedule, "w", name, age)
    captured = {"old": DAY, "week": 7 * HOUR, "young": 2 * HOUR, "younger": 3 * HOUR}
    for name, ago in captured.items():
        for entry in schedule.plans["w", name].live():
            schedule.restore(entry, START - ago)
    schedule.rebuild()
    later = START + 12 * HOUR
    order = []
    while (batch := schedule.take("youtube", later)) is not None:
        if batch.entries:
            order.append(batch.plan.key[1])
    assert order == ["younger", "young", "week", "old"]


def test_an_old_post_is_asked_for_in_the_end_however_many_young_ones_wait() -> None:
    schedule = Schedule({"youtube": 1})
    connect(schedule, "w", "old", 30 * DAY)
    for number in range(100):
        connect(schedule, "w", f"c{number}", 0)
    # A tenth of what the young ones want.
    done = run(schedule, 480, START + 6 * DAY)
    assert any(part.plan.key[1] == "old" and part.entries for _, part in done)


def test_something_younger_moves_its_channel_forward() -> None:
    schedule = Schedule({"youtube": 1}, channel_concurrency=1)
    connect(schedule, "w", "a", 30 * DAY)
    connect(schedule, "w", "b", 3 * DAY)
    now = START + DEBOUNCE
    schedule.lanes["youtube"].pop(START + DEBOUNCE - 1)
    schedule.add(schedule.plans["w", "a"], "new", target("new"), START, START)
    first = schedule.take("youtube", now)
    assert first is not None
    assert [entry.target_id for entry in first.entries] == ["new"]


def test_a_channel_that_stands_in_line_is_moved_forward_when_something_younger_is_due() -> None:
    schedule = Schedule({"youtube": 1}, channel_concurrency=1)
    for name in ("a", "b", "c"):
        connect(schedule, "w", name, 30 * DAY)
    now = START + DEBOUNCE
    assert schedule.take("youtube", now) is not None  # all three stand in line
    connect(schedule, "w", "a", now=now)
    schedule.add(schedule.plans["w", "c"], "new", target("new"), now, now)
    later = schedule.take("youtube", now + DEBOUNCE)
    assert later is not None
    assert [entry.target_id for entry in later.entries] == ["new"]


def test_targets_of_a_tier_that_are_due_at_odds_come_together_at_the_price_of_one_poll() -> None:
    schedule = Schedule({"youtube": 50})
    connect(schedule, "w", "c", 0, 2 * HOUR, 4 * HOUR, 6 * HOUR)
    minutes = (2, 9, 17, 25)
    for entry, minute in zip(schedule.plans["w", "c"].live(), minutes, strict=True):
        schedule.restore(entry, START - minute * 60_000)
    schedule.rebuild()
    done = [part for _, part in run(schedule, 10**6, START + 6 * HOUR) if part.entries]
    assert len(done) <= 16
    assert sum(len(part.entries) for part in done) <= 4 * 15
    assert all(len(part.entries) == 4 for part in done[3:])


def test_a_turn_for_which_there_was_no_budget_costs_nothing() -> None:
    schedule = Schedule({"youtube": 50})
    for name in ("w1", "w2"):
        connect(schedule, name, "c1", 0)
        connect(schedule, name, "c2", 0)
    now = START + DEBOUNCE
    for _ in range(5):
        refused = schedule.take("youtube", now)
        assert refused is not None
        deferred = Settled(Fate.DEFERRED)
        schedule.settle(refused, [deferred] * len(refused.entries), deferred, now)
    served = []
    while (batch := schedule.take("youtube", now)) is not None:
        served.append(batch.plan.key[0])
    assert sorted(served[:2]) == sorted(served[2:]) == ["w1", "w2"]
