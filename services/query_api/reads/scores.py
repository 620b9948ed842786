"""Scores of a channel's posts: each post's rank among the others. Pure.

All arithmetic is on integers: a percentile is a number of half places, so that rounding halves up is exact.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from schemas.metrics import COMMENTS, IMPRESSIONS, LIKES, SAVES, SHARES, VIEWS, engagements
from services.query_api.reads.query import GRADES, ChannelScores
from services.runtime.clock import MILLIS_PER_DAY

SPAN = 90 * MILLIS_PER_DAY
"""How far back a channel's posts are compared, ms."""

# In tenths. Source: PostFlow's document.
_ENGAGEMENTS_WEIGHT = 6
_IMPRESSIONS_WEIGHT = 4


class Scored(NamedTuple):
    """One target of the set: engagements, and impressions after the fallback; null counts as 0."""

    target_id: str
    engagements: int
    impressions: int


SCORED_METRICS = (VIEWS, IMPRESSIONS, LIKES, COMMENTS, SHARES, SAVES)
"""The figures that scores are made of, in the order of `weights`."""


def weights(
    views: int | None,
    impressions: int | None,
    likes: int | None,
    comments: int | None,
    shares: int | None,
    saves: int | None,
) -> tuple[int, int]:
    """A target's engagements and impressions as `Scored` has them."""
    return engagements(likes, comments, shares, saves) or 0, (views if impressions is None else impressions) or 0


def channel_scores(targets: Sequence[Scored]) -> ChannelScores:
    """Score each target among all of them.

    Args:
        targets: the whole set, unordered.

    Returns:
        `10 * (0.6 * percentile of engagements + 0.4 * percentile of impressions)`, halves rounded up to a tenth, where
        `percentile(x) = (values below x + half of the values equal to x) / size`; no scores and zeros for an empty set.
    """
    by_engagements = sorted(target.engagements for target in targets)
    by_impressions = sorted(target.impressions for target in targets)
    size = len(targets)
    tenths: dict[str, int] = {}
    counts = [0] * GRADES
    for target in targets:
        weighted = _ENGAGEMENTS_WEIGHT * _half_places(
            by_engagements, target.engagements
        ) + _IMPRESSIONS_WEIGHT * _half_places(by_impressions, target.impressions)
        # Of 2 * 10 * size half places; times 100 for tenths of ten points; halves up.
        score = (10 * weighted + size) // (2 * size)
        tenths[target.target_id] = score
        grade = -(-score // 10)
        if grade:
            counts[grade - 1] += 1
    return ChannelScores(tenths, tuple(counts))


def _half_places(ordered: Sequence[int], value: int) -> int:
    """Twice the values below, and once each equal one."""
    return bisect_left(ordered, value) + bisect_right(ordered, value)
