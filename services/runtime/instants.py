"""Instants as people and programs write them. Pure.

In parameters (`from`, `to`, `since`, `until`) every endpoint and command reads them alike: digits are unix seconds,
anything else is ISO 8601. Without an offset a time is one of the zone asked for, which is UTC unless an endpoint takes
another; a date alone is the beginning of its day. In bodies, which programs write, only a whole RFC 3339 time counts.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, tzinfo

from services.runtime.clock import to_millis

EARLIEST = 0
LATEST = to_millis(datetime(2200, 1, 1, tzinfo=UTC)) - 1
"""The instants that may be asked for, ms, both included; every store holds them, and every reply can show them."""

WRITTEN = "unix seconds, or an ISO 8601 time or date such as 2026-06-28T09:14:22Z or 2026-06-28"
_UNIX_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# The + of an offset that nobody escaped in an address arrives as a space.
_OFFSET = r"(Z|[ +-]\d\d(?::?\d\d)?)?"
_EXTENDED = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d(?::\d\d(?::\d\d(?:[.,]\d{1,9})?)?)?)" + _OFFSET, re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_BASIC = re.compile(r"(\d{8})T(\d\d(?:\d\d(?:\d\d(?:[.,]\d{1,9})?)?)?)" + _OFFSET, re.ASCII)


def parse_instant(text: str, tz: tzinfo = UTC) -> int:
    """Parse an instant, ms.

    Args:
        tz: zone of dates, and of times without an offset.

    Raises:
        ValueError: it is no time, or none from 1970 to 2199; says what is expected.
    """
    try:
        instant = _read(text.upper(), tz)
    except (ValueError, OverflowError):
        raise ValueError(f"must be {WRITTEN}") from None
    if not EARLIEST <= instant <= LATEST:
        raise ValueError("must be from 1970 to 2199")
    return instant


def parse_timestamp(text: str) -> int:
    """What an RFC 3339 time with an offset says, ms.

    Raises:
        ValueError: it is no such time, or none from 1970 to 2199; says what is expected.
    """
    upper = text.upper()
    if not _RFC3339.fullmatch(upper):
        raise ValueError("must be an RFC 3339 time with an offset")
    try:
        instant = to_millis(datetime.fromisoformat(upper))
    except (ValueError, OverflowError):
        raise ValueError("must be an RFC 3339 time that exists") from None
    if not EARLIEST <= instant <= LATEST:
        raise ValueError("must be a time from 1970 to 2199")
    return instant


def _read(text: str, tz: tzinfo) -> int:
    if _UNIX_SECONDS.fullmatch(text):
        return int(text) * 1000
    if _DATE.fullmatch(text):
        return start_of_day(date.fromisoformat(text), tz)
    parts = _EXTENDED.fullmatch(text) or _BASIC.fullmatch(text)
    if parts is None:
        raise ValueError(text)
    day, time, offset = parts.groups()
    moment = datetime.fromisoformat(f"{day}T{time}{(offset or '').replace(' ', '+')}")
    return to_millis(moment if moment.tzinfo is not None else moment.replace(tzinfo=tz))


def start_of_day(day: date, tz: tzinfo) -> int:
    """When a day begins in a zone: at the first midnight where there are two, and where there is none at the first
    instant after the clock was put forward over it."""
    return to_millis(datetime(day.year, day.month, day.day, tzinfo=tz).astimezone(UTC))
