"""What the endpoints of resources may be asked. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.metrics import POST_NAMES
from services.query_api.serving.parameters import Id, Ids, Instant, Limit, Parameters
from services.query_api.tidemark.resources.reasons import ENGAGEMENT_RATE, ENGAGEMENTS

DEFAULT_LIMIT = 50
METRICS = (*POST_NAMES, ENGAGEMENTS, ENGAGEMENT_RATE)

MetricName = Literal[METRICS]  # type: ignore[valid-type]  # the columns have one definition, `schemas.metrics`
PlatformName = Annotated[str, Field(min_length=1, max_length=64, pattern="^[a-z0-9_]+$")]
ExternalId = Annotated[str, Field(min_length=1, max_length=1000)]


class ByIds(Parameters):
    """Many things by their ids."""

    ids: Ids = Field(description="Up to 500 ids; answered in this order, unknown ones under `missing`.")


class _Page(Parameters):
    """A page of a list, or things by their ids."""

    ids: Ids | None = Field(
        None, description="Up to 500 ids, answered in this order, unknown ones under `missing`; goes with nothing else."
    )
    limit: Limit = Field(DEFAULT_LIMIT, description="Rows of a page.")
    cursor: str | None = Field(None, max_length=512, description="`next_cursor` of the page before.")
    platform: PlatformName | None = Field(None, description="Only of this platform.")

    @model_validator(mode="after")
    def _ids_alone(self) -> Self:
        others = self.model_fields_set - {"ids"}
        if self.ids is not None and others:
            raise ValueError("ids: can't be combined with other parameters")
        return self


class _Dated(_Page):
    """A page of what was published in a span."""

    channel_id: Id | None = Field(None, description="Only of this channel.")
    since: Instant | None = Field(
        None, alias="from", description="Published at or after; UTC unless it says otherwise."
    )
    until: Instant | None = Field(None, alias="to", description="Published before.")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        check_span(self.since, self.until)
        return self


class PostsParameters(_Dated):
    """Posts by ids, or a page of them."""


class TargetsParameters(_Dated):
    """Targets by ids, or a page of them."""

    external_id: ExternalId | None = Field(None, description="The platform's own id of the post; needs platform.")

    @model_validator(mode="after")
    def _of_platform(self) -> Self:
        check_external_id(self.external_id, self.platform)
        return self


class ChannelsParameters(_Page):
    """Channels by ids, or a page of them."""

    external_id: ExternalId | None = Field(None, description="The platform's own id of the account; needs platform.")

    @model_validator(mode="after")
    def _of_platform(self) -> Self:
        check_external_id(self.external_id, self.platform)
        return self


class TopParameters(Parameters):
    """Which posts are compared, by what."""

    metric: MetricName = Field(description="What posts are ranked by.")
    channel_id: Id | None = Field(None, description="Only what a post did on this channel counts.")
    platform: PlatformName | None = Field(None, description="Only what a post did on this platform counts.")
    since: Instant | None = Field(
        None, alias="from", description="Published at or after; UTC unless it says otherwise."
    )
    until: Instant | None = Field(None, alias="to", description="Published before.")
    limit: Limit = Field(DEFAULT_LIMIT, description="Rows of a page.")
    cursor: str | None = Field(None, max_length=512, description="`next_cursor` of the page before.")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        check_span(self.since, self.until)
        return self


class ExplainParameters(Parameters):
    """Which figure is to be explained."""

    metric: MetricName = Field(description="A column of the post.")


class WindowParameters(Parameters):
    """Which window."""

    range: Literal["24h", "7d", "28d"] = Field("28d", description="Length of the window, which ends now.")


def check_span(since: int | None, until: int | None) -> None:
    """Refuse a span that ends before it begins."""
    if since is not None and until is not None and since >= until:
        raise ValueError("from: must be before to")


def check_external_id(external_id: str | None, platform: str | None) -> None:
    """Refuse a platform's id without its platform: two platforms may have the same."""
    if external_id is not None and platform is None:
        raise ValueError("external_id: needs platform")
