"""The definitions that all insights share: metrics, ages, and the least number of samples. Pure.

A target's figure at an age is the lifetime figure in the target's latest answer at or before `published_at + age`. The
figure is known only if that answer came within the last quarter of the age, or within its last hour if that is longer.
So a target that is polled no more has no figures at later ages, instead of its last figure at all of them.
"""

from __future__ import annotations

from typing import NamedTuple

from schemas.metrics import POST_METRICS, POST_NAMES, Kind
from schemas.tiers import MILLIS_PER_DAY, MILLIS_PER_HOUR

ENGAGEMENTS = "engagements"
_INTERACTIONS = ("likes", "comments", "shares", "saves")
METRICS: tuple[str, ...] = (
    ENGAGEMENTS,
    *(metric.name for metric in POST_METRICS if metric.kind in (Kind.CUMULATIVE, Kind.UNIQUE)),
)
"""The metrics that insights are made of: counts that grow with a post."""

AGES: tuple[int, ...] = (
    *(hours * MILLIS_PER_HOUR for hours in (1, 3, 6, 12)),
    *(days * MILLIS_PER_DAY for days in (1, 2, 3, 7, 14, 28, 56, 90)),
)
"""The ages at which posts are compared, ms, by rising age."""

LEAST_OF_CHANNEL = 5
"""A channel's usual figure is the median of at least this many targets."""
LEAST_OF_CELL = 3
"""The score of an hour of the week is the median of at least this many posts."""
LEAST_OF_AGE = 5
"""The share that is reached by an age is the median of at least this many targets."""
LEAST_FIGURE = 10
"""A post is unusual only if its figure or the usual one is at least this: below, chance alone makes large factors."""


class Part(NamedTuple):
    """A column that a metric is summed from, with its place in the snapshots' bit masks."""

    place: int
    name: str


def parts_of(metric: str) -> tuple[Part, ...]:
    """The columns that a metric is summed from."""
    names = _INTERACTIONS if metric == ENGAGEMENTS else (metric,)
    return tuple(Part(POST_NAMES.index(name), name) for name in names)


def within(age: int) -> int:
    """How long before an age an answer still counts for this age, ms."""
    return max(MILLIS_PER_HOUR, age // 4)


def ages_up_to(last: int) -> tuple[int, ...]:
    """The ages before `last`, and `last` itself, ms."""
    return (*(age for age in AGES if age < last), last)
