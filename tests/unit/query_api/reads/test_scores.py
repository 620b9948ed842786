"""Scores against the definition, written down once more with fractions."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from services.query_api.reads.scores import Scored, channel_scores


def percentile(value: int, values: list[int]) -> Fraction:
    below = sum(other < value for other in values)
    equal = sum(other == value for other in values)
    return (below + Fraction(equal, 2)) / len(values)


def by_definition(targets: list[Scored]) -> dict[str, Decimal]:
    engagements = [target.engagements for target in targets]
    impressions = [target.impressions for target in targets]
    scores = {}
    for target in targets:
        score = 10 * (
            Fraction(6, 10) * percentile(target.engagements, engagements)
            + Fraction(4, 10) * percentile(target.impressions, impressions)
        )
        exact = Decimal(score.numerator) / Decimal(score.denominator)
        scores[target.target_id] = exact.quantize(Decimal("0.1"), ROUND_HALF_UP)
    return scores


sets = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=150).map(
    lambda pairs: [Scored(f"t{number}", *pair) for number, pair in enumerate(pairs)]
)


@given(sets)
def test_scores_are_as_defined(targets: list[Scored]) -> None:
    expected = by_definition(targets)
    scores = channel_scores(targets)
    assert {name: Decimal(tenths) / 10 for name, tenths in scores.tenths.items()} == expected
    assert scores.counts == tuple(sum(ceil(score) == k for score in expected.values()) for k in range(1, 11))


def test_the_only_post_is_in_the_middle() -> None:
    scores = channel_scores([Scored("t", 7, 0)])
    assert scores.tenths == {"t": 50}
    assert scores.counts == (0, 0, 0, 0, 1, 0, 0, 0, 0, 0)


def test_halves_are_rounded_up() -> None:
    # Four targets; the second is at 3/8 of both: 3.75.
    scores = channel_scores([Scored(f"t{number}", number, number) for number in range(4)])
    assert scores.tenths == {"t0": 13, "t1": 38, "t2": 63, "t3": 88}


def test_an_empty_set_has_no_scores() -> None:
    assert channel_scores([]).counts == (0,) * 10
