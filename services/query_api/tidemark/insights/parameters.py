"""The parameters of insights. Pure."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.query_api.serving.parameters import Id, Limit, OfChannels
from services.query_api.tidemark.insights.measures import ENGAGEMENTS, METRICS

DEFAULT_DAYS = 90
DEFAULT_LIMIT = 50

MetricName = Literal[METRICS]  # type: ignore[valid-type]  # the columns have one definition, `schemas.metrics`


class InsightParameters(OfChannels):
    """The parameters that all insights have."""

    metric: MetricName = Field(ENGAGEMENTS, description="The figure by which posts are compared.")
    channel_id: Id | None = Field(None, description="Only posts of this channel.")
    start: str | None = Field(
        None,
        alias="from",
        description=f"Published at or after this time; {DEFAULT_DAYS} days before the end if absent.",
    )
    end: str | None = Field(None, alias="to", description="Published before this time; now if absent.")
    tz: str = Field("UTC", description="IANA time zone of hours and weekdays, of dates and of times without an offset.")


class BestTimesParameters(InsightParameters):
    """The parameters of the best times to publish."""

    age_hours: int = Field(24, ge=1, le=672, description="The age in hours at which posts are compared.")


class DecayParameters(InsightParameters):
    """The parameters of the decay of posts."""

    base_days: int = Field(
        28, ge=1, le=90, description="The age in days whose figure is the whole; younger posts do not count."
    )


class UnusualParameters(InsightParameters):
    """The parameters of what is unusual."""

    factor: float = Field(
        3.0, ge=1.5, le=100, description="How many times the usual figure, or a fraction of it, is unusual."
    )
    limit: Limit = Field(DEFAULT_LIMIT, description="The most entries of each list.")
