"""The parameters of series, totals and exports, and the checks that need more than one parameter. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from pydantic import Field

from services.query_api.errors import Invalid
from services.query_api.serving.parameters import Id, Ids, Names, Parameters
from services.query_api.tidemark.analysis.ranges import Span, Step, zone
from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.instants import EARLIEST, parse_instant

DEFAULT_DAYS = 28
_T = TypeVar("_T")


class Mode(Enum):
    """The meaning of a series' points: figures at the end of each bucket, or growth within it."""

    CUMULATIVE = "cumulative"
    INCREMENTS = "increments"


class Attribution(Enum):
    """The figures that count for a window: those of posts published in it, or those received in it."""

    PUBLISHED = "published"
    RECEIVED = "received"


class Source(Enum):
    """The source of a channel's figures: sums over its posts, or the platform's own figures."""

    POSTS = "posts"
    CHANNEL = "channel"


class Compared(Enum):
    """The window that a window is compared with."""

    PREVIOUS = "previous"


class SpanParameters(Parameters):
    """The parameters that choose a span of time and the reply's format."""

    start: str | None = Field(
        None,
        alias="from",
        description=f"First instant, ISO 8601, a date or unix seconds; {DEFAULT_DAYS} days before the end if absent.",
    )
    end: str | None = Field(None, alias="to", description="End of the span, exclusive; now if absent.")
    tz: str = Field("UTC", description="IANA time zone of days, of dates and of times without an offset.")
    format: Literal["json", "csv", "ndjson"] | None = Field(
        None, description="json, csv or ndjson; if absent, Accept decides, else json."
    )


class SeriesParameters(SpanParameters):
    """The parameters of a time series."""

    metrics: Names = Field(description="Comma-separated metrics.")
    step: Step = Field(Step.DAY, description="Length of a bucket by the zone's clock: hour or day.")
    mode: Mode = Field(
        Mode.CUMULATIVE,
        description="cumulative: the latest figure at the end of each bucket; increments: the growth within each"
        " bucket.",
    )


class WorkspaceSeriesParameters(SeriesParameters):
    """The parameters of the workspace's time series."""

    channel_ids: Ids | None = Field(None, description="Only these channels, up to 500.")


class ChannelSeriesParameters(SeriesParameters):
    """The parameters of a channel's time series."""

    source: Source = Field(
        Source.POSTS,
        description="posts: sums over the channel's posts, except followers, following, posts_count and profile_views,"
        " which only a channel has; channel: the platform's own lifetime figures of the channel.",
    )


class TotalsParameters(SpanParameters):
    """The parameters of totals of a window."""

    attribution: Attribution = Field(
        Attribution.PUBLISHED,
        description="published: the latest figures of the posts published in the window; received: the growth of all"
        " posts during the window, whenever they were published.",
    )
    compare: Compared | None = Field(
        None, description="previous: compare with the window of the same length just before."
    )


class WorkspaceTotalsParameters(TotalsParameters):
    """The parameters of totals of the workspace."""

    channel_ids: Ids | None = Field(None, description="Only these channels, up to 500.")


class ExportParameters(Parameters):
    """The parameters of an export."""

    start: str | None = Field(
        None, alias="from", description="First instant of the span; the data set says which time the span limits."
    )
    end: str | None = Field(None, alias="to", description="End of the span, exclusive.")
    tz: str = Field("UTC", description="IANA time zone of times without an offset and of dates.")
    channel_id: Id | None = Field(None, description="Export only rows of this channel.")
    format: Literal["csv", "ndjson", "parquet", "arrow"] | None = Field(
        None, description="csv, ndjson, parquet or arrow; if absent, Accept decides, else csv."
    )


class ZonedSpan(NamedTuple):
    """A span with its time zone, and the zone's name as the caller wrote it."""

    span: Span
    tz: ZoneInfo
    tz_name: str


def zoned_span(parameters: SpanParameters, now: int) -> ZonedSpan:
    """The span that the parameters choose.

    Args:
        now: ms; rounded down to a second, it is the default end.

    Raises:
        Invalid: a time or the zone is bad, or the span does not begin before it ends.
    """
    tz = zone_of(parameters.tz)
    end = instant_of("to", parameters.end, tz, now // 1000 * 1000)
    span = span_between(parameters.start, None, tz, max(EARLIEST, end - DEFAULT_DAYS * MILLIS_PER_DAY), end)
    return ZonedSpan(span, tz, parameters.tz)


def span_between(start: str | None, end: str | None, tz: ZoneInfo, first: int, last: int) -> Span:
    """The span between two times.

    Args:
        first: the start if `start` is None, ms.
        last: the end if `end` is None, ms.

    Raises:
        Invalid: a time is bad, or the span does not begin before it ends.
    """
    span = Span(instant_of("from", start, tz, first), instant_of("to", end, tz, last))
    if span.start >= span.end:
        raise Invalid("from: must be before to")
    return span


def instant_of(name: str, text: str | None, tz: ZoneInfo, default: int) -> int:
    """The instant that a parameter names, ms; the default for a parameter that is absent.

    Raises:
        Invalid: the parameter's text is no time.
    """
    return default if text is None else named(name, lambda: parse_instant(text, tz))


def zone_of(name: str) -> ZoneInfo:
    """The time zone that `tz` names.

    Raises:
        Invalid: there is no time zone of this name.
    """
    return named("tz", lambda: zone(name))


def named(name: str, check: Callable[[], _T]) -> _T:
    """The result of a check of a parameter.

    Args:
        name: the parameter's name, for the refusal.

    Raises:
        Invalid: the check raised ValueError; the message names the parameter.
    """
    try:
        return check()
    except ValueError as error:
        raise Invalid(f"{name}: {error}") from None
