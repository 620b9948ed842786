"""The engagement rate over several targets: one definition, and never outside of the range of the targets' own."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from schemas.metric_sql import ENGAGEMENTS, RATED_TARGETS, TOTAL_ENGAGEMENT_RATE
from schemas.metrics import (
    INT64_MAX,
    POST_NAMES,
    Values,
    post_engagement_rate,
    post_engagements,
    rated,
    total,
    total_engagement_rate,
)
from schemas.registers import Register
from services.aggregator.figures import PostPart, figures_of, post_totals
from services.aggregator.state import ChannelState, TargetState
from services.query_api.tidemark.resources.render import total_metrics

FIGURE = st.one_of(st.none(), st.integers(0, 9), st.integers(0, 10**12))
VALUES = st.tuples(*(FIGURE for _ in POST_NAMES))


def figures(**known: int) -> Values:
    return tuple(known.get(name) for name in POST_NAMES)


# One target told engagements without a base, the other a base: their totals' quotient is 40 times either.
WITHOUT_BASE = [figures(likes=1960), figures(likes=5, impressions=100)]


@example(WITHOUT_BASE)
@example([figures(likes=10, reach=20), figures(likes=10, impressions=1000)])
@given(st.lists(VALUES, max_size=5))
def test_it_lies_between_the_targets_own(parts: list[Values]) -> None:
    own = [pair for values in parts if (pair := rated(values)) is not None]
    found = total_engagement_rate(parts)
    if not own:
        assert found is None
        return
    assert found is not None
    exact = Fraction(sum(done for done, _ in own), sum(shown for _, shown in own))
    assert found == exact.numerator / exact.denominator
    rates = [done / shown for done, shown in own]
    assert min(rates) * (1 - 1e-12) <= found <= max(rates) * (1 + 1e-12)


@given(VALUES)
def test_of_one_target_it_is_its_own(values: Values) -> None:
    assert total_engagement_rate([values]) == post_engagement_rate(values)


@given(st.lists(VALUES, max_size=4))
def test_rollups_and_replies_have_the_same(parts: list[Values]) -> None:
    channel = ChannelState("c1")
    held = []
    for number, values in enumerate(parts):
        target = TargetState(f"t{number}")
        target.register = Register((), values, 1)
        held.append(PostPart(target, channel, figures_of(values)))
    told = post_totals(held).figures.values[-1]
    assert told == total_metrics(parts)["engagement_rate"] == total_engagement_rate(parts)


def test_the_quotient_of_totals_is_what_it_is_not() -> None:
    summed = total(WITHOUT_BASE)
    engaged = post_engagements(summed)
    assert engaged is not None
    assert engaged / 100 == 19.65
    assert total_engagement_rate(WITHOUT_BASE) == 0.05
    assert total_engagement_rate([figures(likes=INT64_MAX, comments=INT64_MAX, views=1)]) == float(INT64_MAX)


def test_the_view_for_analysts_has_the_same_definition() -> None:
    for pattern in ("*_alter_post_totals.sql", "*_alter_engagements.sql"):
        (migration,) = Path("schemas/clickhouse").glob(pattern)
        assert RATED_TARGETS in migration.read_text()
        assert TOTAL_ENGAGEMENT_RATE in migration.read_text()
    # The views of snapshots, of latest figures and of totals.
    assert migration.read_text().count(f"{ENGAGEMENTS} AS engagements,") == 3
