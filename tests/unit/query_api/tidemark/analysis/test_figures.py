"""Which figures can be asked, what they need, how they are derived and written."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.metrics import CHANNEL_METRICS, INT64_MAX, POST_METRICS
from services.query_api.tidemark.analysis.figures import (
    CHANNEL_FIGURES,
    POST_FIGURES,
    REPORTED_FIGURES,
    change,
    check,
    chosen,
    derived,
    written,
)

counts = st.integers(-INT64_MAX, INT64_MAX)


def test_a_derived_figure_needs_what_it_is_made_of() -> None:
    assert chosen(["engagements"], POST_METRICS, is_growth=False).names == ("likes", "comments", "shares", "saves")
    assert set(chosen(["engagement_rate"], POST_METRICS, is_growth=False).names) == {
        "views", "impressions", "reach", "likes", "comments", "shares", "saves",
    }  # fmt: skip
    assert "reach" not in chosen(["engagement_rate"], POST_METRICS, is_growth=True).names
    # A channel's engagements are its platform's own.
    assert chosen(["engagements"], CHANNEL_METRICS, is_growth=False).names == ("engagements",)


def test_places_are_those_of_the_bit_masks() -> None:
    for metrics in (POST_METRICS, CHANNEL_METRICS):
        for place, metric in chosen([metric.name for metric in metrics], metrics, is_growth=False).metrics:
            assert metrics[place] is metric


@pytest.mark.parametrize(
    ("names", "known", "is_growth"),
    [
        ((), POST_FIGURES, False),
        (("",), POST_FIGURES, False),
        (("likes", "follower"), POST_FIGURES, False),
        (("followers",), POST_FIGURES, False),
        (("reach",), POST_FIGURES, True),
        (("avg_watch_time_seconds",), CHANNEL_FIGURES, True),
        (("poll_votes",), REPORTED_FIGURES, False),
    ],
)
def test_what_cannot_be_asked(names: tuple[str, ...], known: tuple[str, ...], is_growth: bool) -> None:
    with pytest.raises(ValueError, match="must be some of") as refused:
        check(names, known, is_growth=is_growth)
    assert not any(name and name in str(refused.value) for name in names if name not in known)


def test_what_can_be_asked() -> None:
    check(POST_FIGURES, POST_FIGURES, is_growth=False)
    check(("followers", "likes", "engagement_rate"), CHANNEL_FIGURES, is_growth=True)


def test_derived_figures() -> None:
    found = derived({"likes": 3, "comments": None, "impressions": 0, "views": 12})
    assert (found["engagements"], found["engagement_rate"]) == (3, 0.25)
    assert derived({"views": 12})["engagements"] is None
    assert derived({})["engagement_rate"] is None


def test_durations_have_three_decimals_and_nothing_is_rounded() -> None:
    assert str(written("watch_time_seconds", 1_500)) == "1.500"
    assert str(written("watch_time_seconds", 10**18 - 1)) == "999999999999999.999"
    assert written("watch_time_seconds", None) is None
    assert written("likes", INT64_MAX) == INT64_MAX
    assert isinstance(written("watch_time_seconds", 0), Decimal)


@given(value=counts, previous=counts.filter(bool))
def test_a_change_is_a_fraction_of_the_base(value: int, previous: int) -> None:
    found = change(value, previous)
    assert found is not None
    assert found == pytest.approx((value - previous) / abs(previous))
    assert (found > 0) == (value > previous)


@pytest.mark.parametrize(("value", "previous"), [(1, 0), (1, None), (None, 1), (None, None), (0, 0), (0.5, 0.0)])
def test_no_change_without_a_base(value: int | None, previous: int | None) -> None:
    assert change(value, previous) is None
