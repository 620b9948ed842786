"""What series and totals may be asked, and the checks that need more than one parameter. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from pydantic import Field

from services.query_api.errors import Invalid
from services.query_api.serving.parameters import Id, Names, Parameters
from services.query_api.tidemark.analysis.ranges import Span, Step, zone
from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.instants import EARLIEST, parse_instant

DEFAULT_DAYS = 28
_T = TypeVar("_T")


class Mode(Enum):
    """What a point of a series says."""

    CUMULATIVE = "cumulative"
    INCREMENTS = "increments"


class Attribution(Enum):
    """Which figures count for a window."""

    PUBLISHED = "published"
    RECEIVED = "received"


class Source(Enum):
    """Where a channel's figures come from."""

    POSTS = "posts"
    CHANNEL = "channel"


class Compared(Enum):
    """What a window is compared with."""

    PREVIOUS = "previous"


class SpanParameters(Parameters):
    """A span of time."""

    start: str | None = Field(
        None,
        alias="from",
        description=f"First instant, ISO 8601, a date or unix seconds; {DEFAULT_DAYS} days before the end if absent.",
    )
    end: str | None = Field(None, alias="to", description="End, exclusive; now if absent.")
    tz: str = Field("UTC", description="IANA time zone of days, of dates and of times without an offset.")
    format: Literal["json", "csv", "ndjson"] | None = Field(
        None, description="json, csv or ndjson; without it, by Accept, else json."
    )


class SeriesParameters(SpanParameters):
    """A time series."""

    metrics: Names = Field(description="Comma-separated metrics.")
    step: Step = Field(Step.DAY, description="hour or day, by the clock of the zone.")
    mode: Mode = Field(
        Mode.CUMULATIVE,
        description="cumulative: the latest figure at the end of each bucket; increments: the growth within it.",
    )


class ChannelSeriesParameters(SeriesParameters):
    """A channel's time series."""

    source: Source = Field(
        Source.POSTS,
        description="posts: summed over the channel's posts, but for followers, following, posts_count and"
        " profile_views, which only a channel has; channel: the platform's own lifetime figures of the channel.",
    )


class TotalsParameters(SpanParameters):
    """Totals of a window."""

    attribution: Attribution = Field(
        Attribution.PUBLISHED,
        description="published: the latest figures of the posts published in the window; received: what all posts grew"
        " by during it, whenever they were published.",
    )
    compare: Compared | None = Field(None, description="previous: with the window of the same length just before.")


class ExportParameters(Parameters):
    """What is exported, and how."""

    start: str | None = Field(None, alias="from", description="First instant of the span; see the data set.")
    end: str | None = Field(None, alias="to", description="End of the span, exclusive.")
    tz: str = Field("UTC", description="IANA time zone of times without an offset and of dates.")
    channel_id: Id | None = Field(None, description="Only what belongs to this channel.")
    format: Literal["csv", "ndjson", "parquet", "arrow"] | None = Field(
        None, description="csv, ndjson, parquet or arrow; without it, by Accept, else csv."
    )


class ZonedSpan(NamedTuple):
    """A span with its zone, and the zone's name as it was asked for."""

    span: Span
    tz: ZoneInfo
    tz_name: str


def zoned_span(parameters: SpanParameters, now: int) -> ZonedSpan:
    """The span that is asked for.

    Args:
        now: ms; the default end is its whole second.

    Raises:
        Invalid: a bad time or zone, or a span that ends before it begins.
    """
    tz = zone_of(parameters.tz)
    end = instant_of("to", parameters.end, tz, now // 1000 * 1000)
    span = span_between(parameters.start, None, tz, max(EARLIEST, end - DEFAULT_DAYS * MILLIS_PER_DAY), end)
    return ZonedSpan(span, tz, parameters.tz)


def span_between(start: str | None, end: str | None, tz: ZoneInfo, first: int, last: int) -> Span:
    """The span between two times.

    Args:
        first: where no start is asked for, ms.
        last: where no end is asked for, ms.

    Raises:
        Invalid: a bad time, or a span that ends before it begins.
    """
    span = Span(instant_of("from", start, tz, first), instant_of("to", end, tz, last))
    if span.start >= span.end:
        raise Invalid("from: must be before to")
    return span


def instant_of(name: str, text: str | None, tz: ZoneInfo, default: int) -> int:
    """The instant that a parameter names, ms.

    Raises:
        Invalid: it is no time.
    """
    return default if text is None else named(name, lambda: parse_instant(text, tz))


def zone_of(name: str) -> ZoneInfo:
    """The time zone that `tz` names.

    Raises:
        Invalid: there is none of this name.
    """
    return named("tz", lambda: zone(name))


def named(name: str, check: Callable[[], _T]) -> _T:
    """What a check gives; what it refuses is said of a parameter.

    Raises:
        Invalid: the check raised ValueError.
    """
    try:
        return check()
    except ValueError as error:
        raise Invalid(f"{name}: {error}") from None
