"""Series out of changes, against values looked up one by one."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from schemas.metrics import INT64_MAX, MILLIS_MAX
from services.query_api.tidemark.analysis.growth import Change, cumulative, increments, merged
from services.query_api.tidemark.analysis.ranges import Span

SPANS = [Span(start, start + 10) for start in range(0, 50, 10)]
MEAN = "avg_watch_time_seconds"
NEVER = 10**9

# Answers of a few targets: (at, figure); several at one time, hidden figures, counters that fall.
histories = st.lists(st.lists(st.tuples(st.integers(-20, 60), st.none() | st.integers(0, 100)), max_size=8), max_size=4)


def changes_of(targets: list[list[tuple[int, int | None]]], metric: str) -> list[Change]:
    """By how much each answer changed its target's figure, added up a bucket."""
    amounts: Counter[int] = Counter()
    counts: Counter[int] = Counter()
    for answers in targets:
        old: int | None = None
        for at, value in sorted(answers, key=lambda answer: answer[0]):
            if at < SPANS[-1].end:
                bucket = at // 10 * 10 if at >= 0 else -1
                amounts[bucket] += (value or 0) - (old or 0)
                counts[bucket] += (value is not None) - (old is not None)
                old = value
    return [Change(metric, bucket, amounts[bucket], counts[bucket]) for bucket in amounts]


def stood(answers: list[tuple[int, int | None]], end: int) -> int | None:
    """The last of a target's figures before an instant."""
    past = [answer for answer in sorted(answers, key=lambda answer: answer[0]) if answer[0] < end]
    return past[-1][1] if past else None


@given(targets=histories, order=st.randoms())
def test_a_point_is_what_stood_at_its_end(targets: list[list[tuple[int, int | None]]], order: object) -> None:
    changes = [*changes_of(targets, "likes"), *changes_of(targets, MEAN)]
    order.shuffle(changes)  # type: ignore[attr-defined]
    points = cumulative(changes, SPANS, frozenset({MEAN}), NEVER)
    for point, span in zip(points, SPANS, strict=True):
        known = [value for answers in targets if (value := stood(answers, span.end)) is not None]
        assert point.get("likes") == (sum(known) if known else None)
        assert point.get(MEAN) == (known[0] if len(known) == 1 else None)


def test_what_has_not_begun_is_not_known() -> None:
    points = cumulative([Change("likes", -5, 7, 1)], SPANS, frozenset(), now=20)
    assert [point["likes"] for point in points] == [7, 7, 7, None, None]


def test_sums_stay_within_their_columns() -> None:
    changes = [Change("likes", 0, INT64_MAX, 1), Change("likes", 0, 5, 1), Change("watch_time_seconds", 0, 10**20, 1)]
    assert cumulative(changes, SPANS[:1], frozenset(), NEVER) == [
        {"likes": INT64_MAX, "watch_time_seconds": MILLIS_MAX}
    ]
    assert increments(changes[2:], SPANS[:1]) == [{"watch_time_seconds": MILLIS_MAX}]


def test_a_bucket_without_a_difference_is_not_known() -> None:
    found = increments([Change("likes", 10, 0, 1), Change("likes", 30, 4, 2), Change("likes", 40, 0, 0)], SPANS)
    assert [point.get("likes") for point in found] == [None, 0, None, 4, None]


def test_series_side_by_side() -> None:
    assert merged([[{"a": 1}, {}], [{"b": 2}, {"b": None}]]) == [{"a": 1, "b": 2}, {"b": None}]
