"""Instants as people and programs write them. Pure.

In parameters (`from`, `to`, `since`, `until`) every endpoint and command reads instants alike: digits are unix seconds,
any other text is ISO 8601. A time without an offset belongs to the requested zone, which is UTC unless the endpoint has
a parameter for the zone; a date alone means the beginning of the day. In bodies, which programs write, only a whole
RFC 3339 time is allowed.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, tzinfo

from services.runtime.clock import to_millis

EARLIEST = 0
LATEST = to_millis(datetime(2200, 1, 1, tzinfo=UTC)) - 1
"""The first and last instant that a parameter may name, ms; every store and every reply can hold all between them."""

WRITTEN = "unix seconds, or an ISO 8601 time or date such as 2026-06-28T09:14:22Z or 2026-06-28"
_UNIX_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# An unescaped + in an address, as in an offset, arrives as a space.
_OFFSET = r"(Z|[ +-]\d\d(?::?[0-5]\d)?)?"
_EXTENDED = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d(?::\d\d(?::\d\d(?:[.,]\d{1,9})?)?)?)" + _OFFSET, re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:[0-5]\d)", re.ASCII)
_BASIC = re.compile(r"(\d{8})T(\d\d(?:\d\d(?:\d\d(?:[.,]\d{1,9})?)?)?)" + _OFFSET, re.ASCII)


def parse_instant(text: str, tz: tzinfo = UTC) -> int:
    """Parse an instant, ms.

    Args:
        tz: zone of dates, and of times without an offset.

    Raises:
        ValueError: the text is no instant from 1970 to 2199; the message says what is expected.
    """
    try:
        instant = _read(text.upper(), tz)
    except (ValueError, OverflowError):
        raise ValueError(f"must be {WRITTEN}") from None
    if not EARLIEST <= instant <= LATEST:
        raise ValueError("must be from 1970 to 2199")
    return instant


def parse_timestamp(text: str) -> int:
    """Parse an RFC 3339 time with an offset, ms.

    Raises:
        ValueError: the text is no such time from 1970 to 2199; the message says what is expected.
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
    """The instant (ms) at which a day begins in a zone.

    Where the clock shows midnight twice, the day begins at the first one; where the clock is put forward over
    midnight, at the first instant after the change.
    """
    return to_millis(datetime(day.year, day.month, day.day, tzinfo=tz).astimezone(UTC))
