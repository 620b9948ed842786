"""The parameters of the endpoints of posts, targets and channels. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.metrics import POST_NAMES
from services.platforms import all_platforms
from services.query_api.serving.parameters import Id, Ids, Instant, Limit, OfChannels, Parameters
from services.query_api.tidemark.resources.reasons import ENGAGEMENT_RATE, ENGAGEMENTS

DEFAULT_LIMIT = 50
METRICS = (*POST_NAMES, ENGAGEMENTS, ENGAGEMENT_RATE)


def _known_platform(name: str) -> str:
    if name not in all_platforms():
        raise ValueError(f"must be one of {', '.join(all_platforms())}")
    return name


MetricName = Literal[METRICS]  # type: ignore[valid-type]  # the columns have one definition, `schemas.metrics`
PlatformName = Annotated[
    str,
    AfterValidator(_known_platform),
    Field(json_schema_extra=lambda schema: schema.update(enum=list(all_platforms()))),
]
ExternalId = Annotated[str, Field(min_length=1, max_length=1000)]


class ByIds(Parameters):
    """The body of a request for many things by their ids."""

    ids: Ids = Field(description="Up to 500 ids; answered in this order, unknown ids under `missing`.")


class _Page(Parameters):
    """A page of a list, or things by their ids."""

    ids: Ids | None = Field(
        None,
        description="Up to 500 ids, answered in this order, unknown ids under `missing`; allows no other parameter.",
    )
    limit: Limit = Field(DEFAULT_LIMIT, description="The most rows of a page.")
    cursor: str | None = Field(None, max_length=512, description="`next_cursor` of the page before.")
    platform: PlatformName | None = Field(None, description="Only rows of this platform.")

    @model_validator(mode="after")
    def _ids_alone(self) -> Self:
        others = self.model_fields_set - {"ids"}
        if self.ids is not None and others:
            raise ValueError("ids: can't be combined with other parameters")
        return self


class _Dated(_Page, OfChannels):
    """A page of things that were published in a span."""

    channel_id: Id | None = Field(None, description="Only rows of this channel.")
    order: Literal["desc", "asc"] = Field(
        "desc", description="desc: the newest first; asc: the oldest first. What was not published comes last."
    )
    since: Instant | None = Field(
        None, alias="from", description="Published at or after this time; UTC unless it has an offset."
    )
    until: Instant | None = Field(None, alias="to", description="Published before this time.")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        check_span(self.since, self.until)
        return self

    @property
    def is_rising(self) -> bool:
        """Whether the oldest come first."""
        return self.order == "asc"


_Search = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=200,
        description="Only posts whose id begins with this text, or with a target whose text holds it in any case.",
    ),
]


class PostsParameters(_Dated):
    """The parameters of posts by their ids, or of a page of posts."""

    search: _Search = None


class TargetsParameters(_Dated):
    """The parameters of targets by their ids, or of a page of targets."""

    external_id: ExternalId | None = Field(None, description="The platform's own id of the post; needs platform.")

    @model_validator(mode="after")
    def _of_platform(self) -> Self:
        check_external_id(self.external_id, self.platform)
        return self


class ChannelsParameters(_Page):
    """The parameters of channels by their ids, or of a page of channels."""

    external_id: ExternalId | None = Field(None, description="The platform's own id of the account; needs platform.")

    @model_validator(mode="after")
    def _of_platform(self) -> Self:
        check_external_id(self.external_id, self.platform)
        return self


class TopParameters(OfChannels):
    """The parameters of a ranking of posts."""

    metric: MetricName = Field(description="The figure by which posts are ranked.")
    order: Literal["desc", "asc"] = Field("desc", description="desc: the greatest first; asc: the least first.")
    channel_id: Id | None = Field(None, description="Only a post's figures on this channel count.")
    platform: PlatformName | None = Field(None, description="Only a post's figures on this platform count.")
    since: Instant | None = Field(
        None, alias="from", description="Published at or after this time; UTC unless it has an offset."
    )
    until: Instant | None = Field(None, alias="to", description="Published before this time.")
    search: _Search = None
    limit: Limit = Field(DEFAULT_LIMIT, description="The most rows of a page.")
    cursor: str | None = Field(None, max_length=512, description="`next_cursor` of the page before.")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        check_span(self.since, self.until)
        return self


class ExplainParameters(Parameters):
    """The parameters of the explanation of a figure."""

    metric: MetricName = Field(description="The figure to explain.")


class WindowParameters(Parameters):
    """The parameters of a channel's trailing window."""

    range: Literal["24h", "7d", "28d"] = Field("28d", description="Length of the window, which ends now.")


def check_span(since: int | None, until: int | None) -> None:
    """Refuse a span that does not begin before it ends.

    Raises:
        ValueError: the span is empty or reversed.
    """
    if since is not None and until is not None and since >= until:
        raise ValueError("from: must be before to")


def check_external_id(external_id: str | None, platform: str | None) -> None:
    """Refuse a platform's id without the platform's name, since two platforms may use the same id.

    Raises:
        ValueError: the platform's name is missing.
    """
    if external_id is not None and platform is None:
        raise ValueError("external_id: needs platform")
