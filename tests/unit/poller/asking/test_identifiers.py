"""Event ids: UUIDv7, ever rising."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from services.poller.asking.identifiers import EventIds


@given(st.lists(st.integers(1_700_000_000_000, 1_700_000_000_005), min_size=2, max_size=200))
def test_ids_rise_whatever_the_clock_does(instants: list[int]) -> None:
    ids = EventIds()
    made = [ids.next(instant) for instant in instants]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(uuid.UUID(text).version == 7 and uuid.UUID(text).variant == uuid.RFC_4122 for text in made)


def test_the_time_is_in_it_and_a_full_millisecond_runs_over() -> None:
    ids = EventIds()
    made = [ids.next(1_790_000_000_000) for _ in range(5000)]
    assert uuid.UUID(made[0]).int >> 80 == 1_790_000_000_000
    assert made == sorted(set(made))
