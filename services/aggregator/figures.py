"""Figures of targets and posts as rows and messages have them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas.encoder import Shared
from schemas.metrics import (
    IMPRESSIONS,
    POST_NAMES,
    REACH,
    VIEWS,
    Values,
    engagement_rate,
    post_engagements,
    total,
    total_engagement_rate,
)
from services.aggregator.state import ChannelState, TargetState

FIGURES = (*POST_NAMES, "engagements", "engagement_rate")
"""The fields of a target's or a post's figures, which messages hold as one `Shared` value."""


def figures_of(values: Values) -> Shared:
    """A target's figures as messages have them: the values, their engagements and their engagement rate."""
    engaged = post_engagements(values)
    return Shared((*values, engaged, engagement_rate(engaged, values[IMPRESSIONS], values[REACH], values[VIEWS])))


class PostPart(NamedTuple):
    """One target of a post, on a channel that the catalog holds.

    Attributes:
        figures: the `figures_of` the target's register.
    """

    target: TargetState
    channel: ChannelState
    figures: Shared


class PostTotals(NamedTuple):
    """A post's figures over its parts.

    Attributes:
        captured_at: when the freshest answer was captured, ms; None for a post that was never measured.
        figures: the values, their engagements, and the engagement rate over the parts that have a rate, 0..1 and above;
            the rate is None without such a part. The figures of a single part are the part's own.
    """

    values: Values
    captured_at: int | None
    figures: Shared


def post_totals(parts: Sequence[PostPart]) -> PostTotals:
    """The totals of a post over its parts; every figure is None for a post without parts."""
    if len(parts) == 1:
        register = parts[0].target.register
        return PostTotals(register.values, register.captured_at, parts[0].figures)
    registers = [part.target.register for part in parts]
    freshest = max((held.captured_at for held in registers if held.captured_at is not None), default=None)
    values = [held.values for held in registers]
    sums = total(values)
    figures = Shared((*sums, post_engagements(sums), total_engagement_rate(values)))
    return PostTotals(sums, freshest, figures)
