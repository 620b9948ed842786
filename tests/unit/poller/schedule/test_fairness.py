"""Turns: equal parts however much each wants, the most urgent of each first, nothing saved up, nobody starves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.poller.schedule.fairness import CREDIT, FairQueue
from tests.support import properties


def serve(queue: FairQueue[int], count: int, costs: dict[str, float] | None = None) -> list[str]:
    """Serve so many turns; whoever is served has something waiting again at once."""
    served = []
    for _ in range(count):
        turn = queue.pop()
        assert turn is not None
        queue.charge(turn.flow, (costs or {}).get(turn.flow, 1.0))
        queue.put(turn.flow, turn.rank, turn.item)
        served.append(turn.flow)
    return served


def test_the_least_rank_of_a_flow_is_first() -> None:
    queue: FairQueue[str] = FairQueue()
    for rank, item in ((3, "c"), (1, "a"), (2, "b")):
        queue.put("w", rank, item)
    assert [turn.item for turn in iter(queue.pop, None)] == ["a", "b", "c"]
    assert len(queue) == 0


def test_a_tenant_with_much_does_not_starve_one_with_little() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(10_000):
        queue.put("large", number, number)
    queue.put("small", 10**9, 0)
    served = serve(queue, 200)
    assert served.count("small") == served.count("large") == 100
    assert "small" in served[:2]


def test_what_a_turn_costs_counts() -> None:
    queue: FairQueue[int] = FairQueue()
    for flow in ("dear", "cheap"):
        queue.put(flow, 0, 0)
    assert Counter(serve(queue, 400, {"dear": 3.0}))["dear"] == 100


def test_what_was_not_used_is_saved_up_to_a_bound() -> None:
    queue: FairQueue[int] = FairQueue()
    for flow in ("busy", "idle"):
        queue.put(flow, 0, 0)
    serve(queue, 2)
    while (turn := queue.pop()) is not None and turn.flow != "idle":
        queue.charge("busy", 1.0)
        queue.put("busy", 0, 0)
    queue.charge("idle", 1.0)
    assert set(serve(queue, 10_000)) == {"busy"}
    queue.put("idle", 0, 0)
    served = serve(queue, 500)
    assert served.count("idle") - served.count("busy") == pytest.approx(CREDIT, abs=2)


def test_what_is_given_while_nobody_waits_is_no_debt() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.charge("other", 1.0)
    for _ in range(1000):
        queue.charge("lone", 1.0)
    for flow in ("lone", "other"):
        queue.put(flow, 0, 0)
    served = serve(queue, 200)
    assert served.count("lone") >= 100 - CREDIT


@settings(max_examples=properties.of(100), deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=12), st.integers(1, 400))
def test_shares_differ_by_no_more_than_a_turn_or_two(waiting: list[int], turns: int) -> None:
    queue: FairQueue[int] = FairQueue()
    for flow, count in enumerate(waiting):
        for number in range(count):
            queue.put(str(flow), number, number)
    served = Counter(serve(queue, turns))
    counts = [served[str(flow)] for flow in range(len(waiting))]
    assert max(counts) - min(counts) <= 1
