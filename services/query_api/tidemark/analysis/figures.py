"""The figures of series and totals: names, the metrics behind them, and their form in replies. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from schemas.metrics import (
    CHANNEL_METRICS,
    MILLIS_MAX,
    POST_METRICS,
    WINDOW_METRICS,
    Kind,
    Metric,
    bounded,
    engagement_rate,
    engagements,
)

ENGAGEMENTS = "engagements"
ENGAGEMENT_RATE = "engagement_rate"
_INTERACTIONS = ("likes", "comments", "shares", "saves")
_BASES = ("impressions", "reach", "views")
_DERIVED = (ENGAGEMENTS, ENGAGEMENT_RATE)

RATED = "rated_engagements"
RATE_BASE = "rate_base"
"""Sums over the targets that have an engagement rate: `RATED` of engagements, `RATE_BASE` of the divisors."""

POST_FIGURES: tuple[str, ...] = (*(metric.name for metric in POST_METRICS), *_DERIVED)
"""The figures of a post or a target that a caller may ask for."""

OWN_METRICS: tuple[Metric, ...] = WINDOW_METRICS[len(POST_METRICS) :]
"""Metrics that a channel has and posts have not, such as followers."""

CHANNEL_FIGURES: tuple[str, ...] = (*POST_FIGURES, *(metric.name for metric in OWN_METRICS))
"""The figures of a channel that a caller may ask for: of its posts, and of the channel itself."""

REPORTED_FIGURES: tuple[str, ...] = tuple(metric.name for metric in CHANNEL_METRICS)
"""The lifetime figures of a channel that a caller may ask for, as the platform reports them."""

# People are never added up over time, and neither are means.
_WITHOUT_GROWTH = frozenset(metric.name for metric in POST_METRICS if metric.kind in (Kind.UNIQUE, Kind.MEAN))

Figures = Mapping[str, int | None]
"""Figures by the metric's name: counts, and durations as whole milliseconds; None for unknown figures."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The metrics to read from one kind of snapshot, each with its place in the snapshots' bit masks."""

    metrics: tuple[tuple[int, Metric], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the chosen metrics, in order."""
        return tuple(metric.name for _, metric in self.metrics)

    def within(self, mask: int) -> Chosen:
        """The chosen metrics whose bits a mask holds."""
        return Chosen(tuple((place, metric) for place, metric in self.metrics if mask >> place & 1))


def chosen(names: Iterable[str], metrics: Sequence[Metric], *, is_growth: bool) -> Chosen:
    """The metrics that the named figures are computed from.

    Args:
        metrics: all metrics of a kind of snapshot, in the order of its bit masks; only these are chosen.
        is_growth: leave out metrics without growth: unique counts and means.
    """
    needed = set(names)
    known = {metric.name for metric in metrics}
    if ENGAGEMENT_RATE in needed and ENGAGEMENT_RATE not in known:
        needed |= {ENGAGEMENTS, *_BASES}
    if ENGAGEMENTS in needed and ENGAGEMENTS not in known:
        needed |= set(_INTERACTIONS)
    if is_growth:
        needed -= _WITHOUT_GROWTH
    return Chosen(tuple((place, metric) for place, metric in enumerate(metrics) if metric.name in needed))


def check(names: Sequence[str], known: Sequence[str], *, is_growth: bool) -> None:
    """Check that the named figures can be answered.

    Raises:
        ValueError: a figure can't be answered; the message lists the figures that can.
    """
    allowed = [name for name in known if not (is_growth and name in _WITHOUT_GROWTH)]
    if not names or not set(names) <= set(allowed):
        raise ValueError(f"must be some of {', '.join(allowed)}" + (" with mode=increments" if is_growth else ""))


def derived(figures: Figures) -> dict[str, int | float | None]:
    """Figures with engagements and engagement rate, which are computed from the given figures.

    Given engagements are the platform's own, and stay. The rate over several targets is computed from `RATED` and
    `RATE_BASE`; without these the figures count as figures of one target.
    """
    found: dict[str, int | float | None] = {
        name: value for name, value in figures.items() if name not in (RATED, RATE_BASE)
    }
    interactions = engagements(*(figures.get(name) for name in _INTERACTIONS))
    found.setdefault(ENGAGEMENTS, interactions)
    if RATE_BASE in figures:
        engaged, base = figures.get(RATED), figures[RATE_BASE]
        found[ENGAGEMENT_RATE] = engaged / base if engaged is not None and base else None
    else:
        found[ENGAGEMENT_RATE] = engagement_rate(interactions, *(figures.get(name) for name in _BASES))
    return found


def held_within(value: int, name: str) -> int:
    """A sum limited to the range of the metric's column."""
    if name.endswith("_seconds"):
        return max(-MILLIS_MAX, min(MILLIS_MAX, value))
    return bounded(value)


def written(name: str, value: int | float | None) -> Any:
    """A figure in the form of replies: durations as seconds with three decimals, other figures unchanged."""
    if isinstance(value, int) and name.endswith("_seconds"):
        return Decimal(value).scaleb(-3)
    return value


def change(value: int | float | None, previous: int | float | None) -> float | None:
    """The change of a figure as a fraction of the previous figure; None if either is missing or the previous is 0."""
    if value is None or previous is None or previous == 0:
        return None
    # Computed exactly and rounded once: a count may have more digits than a float.
    return float((Fraction(value) - Fraction(previous)) / abs(Fraction(previous)))
