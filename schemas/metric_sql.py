"""SQL expressions of post figures for ClickHouse, by the definitions of `metrics.py`. Pure."""

from __future__ import annotations

from collections.abc import Callable

from schemas.metrics import INT64_MAX, INT64_MIN, POST_NAMES

_INTERACTIONS = ("likes", "comments", "shares", "saves")
_BASES = ("impressions", "reach", "views")
RATE_METRICS = (*_INTERACTIONS, *_BASES)
"""The interactions that count as engagements."""


def _engagements(figure: Callable[[str], str]) -> tuple[str, str]:
    """SQL for the bounded sum of interactions, nulls as 0, in 128 bits; and SQL for whether all of them are null."""
    added = " + ".join(f"toInt128(ifNull({figure(name)}, 0))" for name in _INTERACTIONS)
    unknown = " AND ".join(f"{figure(name)} IS NULL" for name in _INTERACTIONS)
    return f"least(greatest({added}, toInt128('{INT64_MIN}')), toInt128('{INT64_MAX}'))", unknown


def _row_engagements() -> str:
    engaged, unknown = _engagements(str)
    return f"if({unknown}, NULL, toInt64({engaged}))"


def _figure(name: str) -> str:
    """A figure of one element of `targets`, which holds its values in the order of POST_METRICS."""
    return f"part.1[{POST_NAMES.index(name) + 1}]"


def rated(figure: Callable[[str], str] = str) -> tuple[str, str]:
    """SQL for one target's engagements and their divisor, as integers of 128 bits; divisor 0 means no rate.

    Args:
        figure: makes the nullable expression of a metric; by default the column with the metric's name.
    """
    engaged, unknown = _engagements(figure)
    counts = [f"toInt128(ifNull({figure(name)}, 0))" for name in _BASES]
    bases = ", ".join(f"{count} > 0, {count}" for count in counts)
    return engaged, f"multiIf({unknown}, toInt128(0), {bases}, toInt128(0))"


def _parts() -> str:
    held = "JSONExtract(targets, 'Array(Tuple(values Array(Nullable(Int64))))')"
    return f"arrayMap(part -> ({', '.join(rated(_figure))}), {held})"


ENGAGEMENTS = _row_engagements()
"""`metrics.post_engagements` in SQL, bounded as there, of columns with the metrics' names.

Integers of 128 bits cost 1 to 4 % of an aggregate over a million snapshots of the views, up to 15 % of the bare
expression, and less than any test for an overflow.
"""

RATED_TARGETS = f"arrayFilter(rated -> rated.2 > 0, {_parts()})"
"""SQL for (engagements, divisor) of each target that has a rate, from `targets` of `post_totals_store`."""

TOTAL_ENGAGEMENT_RATE = (
    "if(empty(rated_targets), NULL, toFloat64(arraySum(rated -> rated.1, rated_targets))"
    " / toFloat64(arraySum(rated -> rated.2, rated_targets)))"
)
"""`metrics.total_engagement_rate` in SQL, of RATED_TARGETS under the alias `rated_targets`."""
