"""Tiers: never later than the tier says, never past the last one, always the same for one id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.metrics import PLATFORMS
from schemas.tiers import COMMON, JITTER_SHARE, MARGIN_SHARE, jitter, next_due, rule_of
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR

HOUR, DAY = MILLIS_PER_HOUR, MILLIS_PER_DAY
ages = st.integers(0, 120 * DAY)
ids = st.text(min_size=1)


@pytest.mark.parametrize(
    ("platform", "age", "interval"),
    [
        ("youtube", 0, HOUR // 2), ("youtube", DAY - 1, HOUR // 2), ("youtube", DAY, 6 * HOUR),
        ("youtube", 7 * DAY - 1, 6 * HOUR), ("youtube", 7 * DAY, DAY), ("youtube", 90 * DAY - 1, DAY),
        ("youtube", 90 * DAY, None), ("youtube", -HOUR, HOUR // 2),
        ("x", DAY - 1, HOUR // 2), ("x", 72 * HOUR - 1, 6 * HOUR), ("x", 72 * HOUR, None),
    ],
)  # fmt: skip
def test_interval_by_age(platform: str, age: int, interval: int | None) -> None:
    assert rule_of(platform).interval(age) == interval


@given(st.sampled_from(PLATFORMS), ages, ids, st.sampled_from([1.0, 60.0, 3600.0]))
def test_next_due_keeps_to_its_tier(platform: str, age: int, identity: str, speed: float) -> None:
    rule, published_at = rule_of(platform), 1_790_000_000_000
    due_at = next_due(rule, published_at, published_at + age, identity, speed)
    interval = rule.interval(age)
    if due_at is None:
        assert interval is None or rule.interval(age + int(interval / speed)) is None
        return
    assert interval is not None
    wait = due_at - published_at - age
    assert interval * (1 - JITTER_SHARE) / speed - 1 <= wait <= max(100, interval * (1 - MARGIN_SHARE) / speed)
    assert rule.interval(due_at - published_at) is not None
    assert due_at == next_due(rule, published_at, published_at + age, identity, speed)


@given(ages, ids)
def test_a_target_is_polled_a_bounded_number_of_times(age: int, identity: str) -> None:
    published_at, at, polls = 0, age, 0
    while (due_at := next_due(COMMON, published_at, at, identity, 1.0)) is not None:
        assert due_at > at
        at, polls = due_at, polls + 1
    # 48 half hours, 24 quarter days, 83 days, and a tenth more by jitter
    assert polls <= 180


def test_jitter_spreads_evenly() -> None:
    values = [jitter(f"target-{number}") for number in range(2000)]
    assert all(0 <= value < 1 for value in values)
    assert 0.45 < sum(values) / len(values) < 0.55
