"""An event that is published again with another instant: every table keeps the answer with the greatest `captured_at`.

A producer whose clock was set back sends such events. Registers and `raw_events` keep the newest answer in whatever
order the answers come; a snapshot that kept the answer of the last batch would disagree with both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.aggregator.rows import Version
from tests.support.random_tenants import RandomTenant
from tests.support.state_store import StateStore

NOW = 1_790_000_000_000
EPOCH = 1 << 40


def _freshest(snapshots: Sequence[dict[str, Any]], *key: str) -> dict[tuple[Any, ...], int]:
    """The greatest `captured_at` of each key's snapshots that hold a figure."""
    found: Counter[tuple[Any, ...]] = Counter()
    for row in snapshots:
        if row["spoken"]:
            at = tuple(row[name] for name in key)
            found[at] = max(found[at], row["captured_at"])
    return dict(found)


@pytest.mark.parametrize("seed", range(8))
async def test_snapshots_registers_and_raw_events_keep_the_same_answer(seed: int) -> None:
    store = StateStore()
    await RandomTenant(store, "w", NOW, seed).live(80)
    tables = {name: list(rows.values()) for name, rows in store.tables.items()}

    raw = {row["event_id"]: row["captured_at"] for row in tables["raw_events_store"]}
    for table in ("post_snapshots_store", "channel_snapshots_store"):
        assert {row["event_id"]: row["captured_at"] for row in tables[table]}.items() <= raw.items()

    held = {row["target_id"]: row["captured_at"] for row in tables["latest_post_metrics_store"] if row["captured_at"]}
    said = _freshest(tables["post_snapshots_store"], "target_id")
    assert {(target,): at for target, at in held.items()} == said

    period = ("channel_id", "period", "period_start", "period_end")
    of_channels = {
        tuple(row[name] for name in period): row["captured_at"] for row in tables["latest_channel_metrics_store"]
    }
    assert of_channels == _freshest(tables["channel_snapshots_store"], *period)


def number(captured_at: int, batch: int) -> int:
    """Of a snapshot in a batch of this number."""
    version = Version(3, 5, batch).of_answer(captured_at)
    assert version[:2] == (3, 5)
    return version.number


@given(
    st.tuples(st.integers(-1_000, 10_413_792_000_000), st.integers(0, EPOCH << 24)),
    st.tuples(st.integers(-1_000, 10_413_792_000_000), st.integers(0, EPOCH << 24)),
)
def test_a_newer_answer_has_the_greater_number_whatever_batch_it_came_in(
    one: tuple[int, int], other: tuple[int, int]
) -> None:
    (first, batch), (second, later_batch) = sorted((one, other))
    older, newer = number(first, batch), number(second, later_batch)
    assert 0 <= older < 1 << 64
    assert 0 <= newer < 1 << 64
    assert older < newer or max(second, 0) == max(first, 0)


def test_of_equal_instants_the_newer_owner_counts() -> None:
    rebuilt, first, second = (number(NOW, batch) for batch in (5, EPOCH + 9, 2 * EPOCH + 1))
    assert rebuilt < first < second
    assert number(NOW, (EPOCH << 23) + 1) < number(NOW + 1, 1)
