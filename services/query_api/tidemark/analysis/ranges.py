"""Spans of time as they are asked for: instants in a time zone, and the buckets of a span. Pure.

Instants are milliseconds; every span is `[start, end)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.runtime.clock import MILLIS_PER_HOUR, iso_millis, iso_seconds, to_millis, utc

EARLIEST = to_millis(datetime(1970, 1, 2, tzinfo=UTC))
LATEST = to_millis(datetime(2199, 12, 31, tzinfo=UTC))
"""Instants that may be asked for; ClickHouse's times go a little further on both sides."""

MOST_BUCKETS = 10_000
"""Of one series: a year of hours and a month."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# Where a + of an offset was not escaped in an address, it arrives as a space.
_SPACED_OFFSET = re.compile(r" (\d{2}:?\d{2})$")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")


class Step(Enum):
    """How long a bucket is, by the clock of the zone."""

    HOUR = "hour"
    DAY = "day"


class Span(NamedTuple):
    """`start <= instant < end`, ms."""

    start: int
    end: int


@lru_cache(maxsize=512)
def zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        ValueError: there is none of this name.
    """
    if _ZONE.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise ValueError("must be the IANA name of a time zone, such as Europe/Berlin")


def parse_instant(text: str, tz: ZoneInfo) -> int:
    """An ISO 8601 time or date; without an offset it is one of the zone, a date alone the beginning of that day.

    Raises:
        ValueError: it is none, or out of bounds.
    """
    try:
        if _DATE.fullmatch(text):
            instant = start_of_day(date.fromisoformat(text), tz)
        else:
            moment = datetime.fromisoformat(_SPACED_OFFSET.sub(r"+\1", text))
            instant = to_millis(moment if moment.tzinfo is not None else moment.replace(tzinfo=tz))
    except (ValueError, OverflowError):
        raise ValueError("must be an ISO 8601 time or date, such as 2026-06-28T09:14:22Z or 2026-06-28") from None
    if not EARLIEST <= instant <= LATEST:
        raise ValueError("must be between 1970-01-02 and 2199-12-31")
    return instant


def shown(instant: int) -> str:
    """An instant as replies show it: whole seconds, with milliseconds where there are any."""
    return iso_millis(instant) if instant % 1000 else iso_seconds(instant)


def start_of_day(day: date, tz: ZoneInfo) -> int:
    """When a day begins in a zone: at the first midnight where there are two, and where there is none at the first
    instant after the clock was put forward over it."""
    return to_millis(datetime(day.year, day.month, day.day, tzinfo=tz).astimezone(UTC))


def buckets(span: Span, step: Step, tz: ZoneInfo) -> list[Span]:
    """A span cut where hours or days of the zone begin; the first and the last bucket may be cut short.

    Raises:
        ValueError: there would be more than `MOST_BUCKETS`.
    """
    edges = [span.start]
    for edge in _edges(span.start, step, tz):
        if edge >= span.end:
            break
        edges.append(edge)
        if len(edges) > MOST_BUCKETS:
            raise ValueError(f"makes more than {MOST_BUCKETS} points; ask for a shorter span or a longer step")
    edges.append(span.end)
    return [Span(start, end) for start, end in pairwise(edges)]


def _edges(instant: int, step: Step, tz: ZoneInfo) -> Iterator[int]:
    """Where hours or days begin after an instant, in order and without an end."""
    if step is Step.HOUR:
        while True:
            local = utc(instant).astimezone(tz)
            # Minutes of the zone: in some, hours begin at the half of an hour of UTC.
            into_hour = (local.minute * 60 + local.second) * 1000 + local.microsecond // 1000
            instant += MILLIS_PER_HOUR - into_hour
            yield instant
    day = utc(instant).astimezone(tz).date()
    while True:
        day += timedelta(days=1)
        edge = start_of_day(day, tz)
        # A day that a zone left out begins when the next one does.
        if edge > instant:
            instant = edge
            yield edge


def before(span: Span, tz: ZoneInfo) -> Span:
    """The span of the same length that ends where this one begins.

    The length of whole days of the zone is counted in days, so that a change of the clock does not shift it by an
    hour; any other is counted in milliseconds.
    """
    first, last = (utc(instant).astimezone(tz).date() for instant in span)
    if start_of_day(first, tz) == span.start and start_of_day(last, tz) == span.end:
        return Span(start_of_day(first - (last - first), tz), span.start)
    return Span(span.start - (span.end - span.start), span.start)
