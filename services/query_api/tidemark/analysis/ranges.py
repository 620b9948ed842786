"""Spans of time, time zones, and the buckets of a span. Pure.

Instants are milliseconds; every span is `[start, end)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.runtime.clock import MILLIS_PER_HOUR, iso_millis, iso_seconds, utc
from services.runtime.instants import start_of_day

MOST_BUCKETS = 10_000
"""The most buckets of one series: the hours of a year and some weeks."""

# Files beside the zones: the server's own zone, a rule for others, a placeholder, and folders with second copies.
_NO_ZONES = ("localtime", "posixrules", "Factory", "posix/", "right/")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")


class Step(Enum):
    """The length of a bucket by the clock of the time zone."""

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
        ValueError: there is no time zone of this name.
    """
    if _ZONE.fullmatch(name) and not name.startswith(_NO_ZONES):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise ValueError("must be the IANA name of a time zone, such as Europe/Berlin")


def shown(instant: int) -> str:
    """An instant in the form of replies: with milliseconds only if it has any."""
    return iso_millis(instant) if instant % 1000 else iso_seconds(instant)


def buckets(span: Span, step: Step, tz: ZoneInfo, *, has_steps: bool = False) -> list[Span]:
    """The buckets of a span, cut where hours or days of the zone begin; the first and the last may be shorter.

    Args:
        has_steps: whether the caller can choose the step, which the refusal then names.

    Raises:
        ValueError: the span has more than `MOST_BUCKETS` buckets.
    """
    longer = " or a longer step" if has_steps and step is Step.HOUR else ""
    edges = [span.start]
    for edge in _edges(span.start, step, tz):
        if edge >= span.end:
            break
        edges.append(edge)
        if len(edges) > MOST_BUCKETS:
            raise ValueError(f"makes more than {MOST_BUCKETS} points; ask for a shorter span{longer}")
    edges.append(span.end)
    return [Span(start, end) for start, end in pairwise(edges)]


def _edges(instant: int, step: Step, tz: ZoneInfo) -> Iterator[int]:
    """Yield without end the instants after an instant at which hours or days begin, in order."""
    if step is Step.HOUR:
        while True:
            local = utc(instant).astimezone(tz)
            # Minutes of the zone's clock: in some zones hours begin at half past an hour of UTC.
            into_hour = (local.minute * 60 + local.second) * 1000 + local.microsecond // 1000
            instant += MILLIS_PER_HOUR - into_hour
            yield instant
    day = utc(instant).astimezone(tz).date()
    while True:
        day += timedelta(days=1)
        edge = start_of_day(day, tz)
        # A day that a zone skipped begins at the same instant as the next day.
        if edge > instant:
            instant = edge
            yield edge


def before(span: Span, tz: ZoneInfo) -> Span:
    """The span of the same length that ends where `span` begins.

    A span of whole days of the zone is counted in days, so that a change of the clock does not shift the result by an
    hour. Any other span is counted in milliseconds.
    """
    first, last = (utc(instant).astimezone(tz).date() for instant in span)
    if start_of_day(first, tz) == span.start and start_of_day(last, tz) == span.end:
        return Span(start_of_day(first - (last - first), tz), span.start)
    return Span(span.start - (span.end - span.start), span.start)
