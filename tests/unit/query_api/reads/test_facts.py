"""Facts about answers: bounded, and each workspace's own."""

from __future__ import annotations

from services.query_api.reads.facts import Facts
from services.query_api.tidemark.resources.evidence import PlatformCall

CALL = PlatformCall("/2/tweets", {"ids": "1"}, {"t1": "1"})


def test_facts_are_known_of_their_own_workspace_alone() -> None:
    facts: Facts[PlatformCall] = Facts(1_000_000)
    facts.put("w1", {"e1": CALL})
    assert facts.known("w1", ["e1", "e2"]) == {"e1": CALL}
    assert facts.known("w2", ["e1"]) == {}


def test_memory_is_bounded_and_a_large_fact_pushes_nothing_out() -> None:
    facts: Facts[PlatformCall] = Facts(100_000)
    large = PlatformCall("/", {}, {f"t{number}": "1" for number in range(100)})
    facts.put("w1", {"e1": CALL, "large": large})
    assert facts.known("w1", ["e1", "large"]) == {"e1": CALL}
    facts.put("w1", {f"f{number}": CALL for number in range(1_000)})
    assert facts.known("w1", ["e1"]) == {}
    assert len(facts.known("w1", [f"f{number}" for number in range(1_000)])) < 120
    Facts[PlatformCall](0).put("w1", {"e1": CALL})
