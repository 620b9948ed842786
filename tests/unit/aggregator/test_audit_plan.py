"""An audit's parts hold everything once; its samples are shares that change with the seed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.aggregator.audit.plan import Part, Sample, plan

tenants = st.dictionaries(st.text("abc", min_size=1, max_size=4), st.integers(1, 500), max_size=30)


@given(tenants, st.integers(1, 200))
def test_each_tenant_is_in_one_part_or_in_all_shares_of_its_own(rows: dict[str, int], size: int) -> None:
    parts = plan(rows.items(), Sample(), size)
    for name, count in rows.items():
        held = [part for part in parts if name in part.workspaces]
        if count <= size:
            assert [part.parts for part in held] == [1]
        else:
            assert sorted((part.part, part.parts) for part in held) == [(n, len(held)) for n in range(len(held))]
            assert all(part.workspaces == (name,) for part in held)
    for part in parts:
        assert part.rows <= size


@given(tenants, st.integers(0, 1000))
def test_a_sample_of_all_is_all_and_of_nothing_nothing(rows: dict[str, int], seed: int) -> None:
    assert plan(rows.items(), Sample(1.0, seed), 100) == plan(rows.items(), Sample(), 100)
    assert plan(rows.items(), Sample(0.0, seed), 100) == []


def test_samples_are_of_their_size_and_get_round() -> None:
    names = [f"w{number}" for number in range(2000)]
    seen: set[str] = set()
    for seed in range(60):
        taken = {name for name in names if Sample(0.1, seed).takes(name)}
        assert 120 < len(taken) < 290
        assert taken == {name for name in names if Sample(0.1, seed).takes(name)}
        seen |= taken
    assert len(seen) > 1950


def test_a_large_tenant_is_sampled_by_its_shares() -> None:
    parts = plan([("large", 1000)], Sample(0.3, 5), 10)
    assert 10 < len(parts) < 50
    assert {part.parts for part in parts} == {100}
    assert parts[0] == Part(("large",), 10, parts[0].part, 100)
