"""What the caches tell the metrics."""

from __future__ import annotations

from prometheus_client import REGISTRY

from services.aggregator.metrics import observe_states
from services.aggregator.state import PartitionState, PostState


def value(name: str, kind: str) -> float:
    return REGISTRY.get_sample_value(name, {"kind": kind}) or 0


def test_hits_and_misses_are_taken_up_once() -> None:
    hits, misses = value("tidemark_state_hits_total", "posts"), value("tidemark_state_misses_total", "posts")
    first, second = PartitionState.empty(1000), PartitionState.empty(1000)
    for state in (first, second):
        state.posts.missing([("w", "p")])
        state.posts.put(("w", "p"), PostState("p"))
    first.posts.missing([("w", "p")])
    for _ in range(2):
        observe_states([first, second])
        assert value("tidemark_cached_states", "posts") == 2
        assert value("tidemark_state_hits_total", "posts") == hits + 1
        assert value("tidemark_state_misses_total", "posts") == misses + 2
    observe_states([first])
    assert value("tidemark_cached_states", "posts") == 1
    observe_states([])
    assert value("tidemark_cached_states", "posts") == 0
