"""Which offsets of a topic are read again: all that no row has, and few others."""

from __future__ import annotations

import random
from itertools import pairwise

from services.aggregator.audit.raw_events import gaps


def test_every_offset_without_a_row_is_in_one_gap_and_gaps_lie_apart() -> None:
    chance = random.Random(7)
    for _ in range(200):
        start = chance.randrange(10_000)
        stop = start + chance.randrange(3_000)
        stored = sorted(chance.sample(range(start, stop), chance.randint(0, stop - start)))
        if chance.random() < 0.5:
            stored = [offset for offset in stored if not start + 500 < offset < start + 900]
        found = gaps(iter(stored), start, stop)
        read = [offset for first, last in found for offset in range(first, last)]
        assert len(read) == len(set(read))
        assert set(range(start, stop)) - set(stored) <= set(read)
        assert all(start <= first < last <= stop for first, last in found)
        assert all(after[0] - before[1] >= 200 for before, after in pairwise(found))
    assert gaps(iter(range(5, 9)), 5, 9) == []
    assert gaps(iter(()), 5, 9) == [(5, 9)]
