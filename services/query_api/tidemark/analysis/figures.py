"""Which figures may be asked of what, what they are made of, and how they are written. Pure."""

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
"""Sums over the targets that have an engagement rate: of their engagements, and of what each was divided by."""

POST_FIGURES: tuple[str, ...] = (*(metric.name for metric in POST_METRICS), *_DERIVED)
"""What may be asked of a post or a target."""

OWN_METRICS: tuple[Metric, ...] = WINDOW_METRICS[len(POST_METRICS) :]
"""What only a channel has, never its posts: followers and the like."""

CHANNEL_FIGURES: tuple[str, ...] = (*POST_FIGURES, *(metric.name for metric in OWN_METRICS))
"""What may be asked of a channel: of its posts, and of itself."""

REPORTED_FIGURES: tuple[str, ...] = tuple(metric.name for metric in CHANNEL_METRICS)
"""What may be asked of a channel's lifetime figures as its platform reports them."""

# People are never added up over time, and neither are means.
_WITHOUT_GROWTH = frozenset(metric.name for metric in POST_METRICS if metric.kind in (Kind.UNIQUE, Kind.MEAN))

Figures = Mapping[str, int | None]
"""Figures by the name of the metric: counts, and durations as whole milliseconds; None where nothing is known."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Metrics to read of one kind of snapshot, with their places in its bit masks."""

    metrics: tuple[tuple[int, Metric], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(metric.name for _, metric in self.metrics)


def chosen(names: Iterable[str], metrics: Sequence[Metric], *, is_growth: bool) -> Chosen:
    """The metrics among some that the named figures are made of.

    Args:
        metrics: all of a kind of snapshot, in the order of its bit masks.
        is_growth: only those that grow.
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
    """See that the named figures can be answered.

    Raises:
        ValueError: which can't, and what may be asked.
    """
    allowed = [name for name in known if not (is_growth and name in _WITHOUT_GROWTH)]
    if not names or not set(names) <= set(allowed):
        raise ValueError(f"must be some of {', '.join(allowed)}" + (" with mode=increments" if is_growth else ""))


def derived(figures: Figures) -> dict[str, int | float | None]:
    """Figures with engagements and engagement rate, from those that are there.

    Engagements that are there already are a platform's own, and stay. The rate of several targets needs `RATED` and
    `RATE_BASE`; without them the figures are those of one.
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
    """A sum within what a column of the metric holds."""
    if name.endswith("_seconds"):
        return max(-MILLIS_MAX, min(MILLIS_MAX, value))
    return bounded(value)


def written(name: str, value: int | float | None) -> Any:
    """A figure as replies hold it: durations as seconds with three decimals, all else as it is."""
    if isinstance(value, int) and name.endswith("_seconds"):
        return Decimal(value).scaleb(-3)
    return value


def change(value: int | float | None, previous: int | float | None) -> float | None:
    """By what fraction a figure changed; None where it or what it is compared with is missing, or that is 0."""
    if value is None or previous is None or previous == 0:
        return None
    # Exactly, then rounded once: counts may be longer than a float holds.
    return float((Fraction(value) - Fraction(previous)) / abs(Fraction(previous)))
