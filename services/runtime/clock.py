"""The clock behind one seam, so that tests move time by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

MILLIS_PER_SECOND = 1000
MILLIS_PER_HOUR = 3_600_000
MILLIS_PER_DAY = 86_400_000
_MILLIS_PER_MINUTE = 60_000
_MINUTES_PER_DAY = 1440
# The texts of a day's minutes, and of a minute's seconds.
_MINUTES = [f"{minute // 60:02d}:{minute % 60:02d}:" for minute in range(_MINUTES_PER_DAY)]
_SECONDS = [f"{second:02d}" for second in range(60)]


class Clock(Protocol):
    """A wall clock that gives whole milliseconds since the epoch."""

    def now(self) -> int:
        """The current instant, ms."""


class SystemClock:
    """The machine's wall clock; it may be set back."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000


def ticks() -> int:
    """Milliseconds since some instant, on a clock that is never set and that goes on while the machine sleeps."""
    # macOS has no CLOCK_BOOTTIME; its monotonic clock stands still during sleep, like its network connections.
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000


def iso_seconds(instant: int) -> str:
    """An instant (ms) as ISO 8601 in whole seconds, cut not rounded: `2026-06-28T09:14:22Z`."""
    minutes = instant // _MILLIS_PER_MINUTE
    date, minute = _date(minutes // _MINUTES_PER_DAY), _MINUTES[minutes % _MINUTES_PER_DAY]
    return f"{date}{minute}{_SECONDS[instant // 1000 % 60]}Z"


def iso_millis(instant: int) -> str:
    """An instant (ms) as ISO 8601 with milliseconds: `2026-06-10T18:00:00.000Z`."""
    return f"{iso_seconds(instant)[:-1]}.{instant % 1000:03d}Z"


@lru_cache(maxsize=4096)
def _date(days: int) -> str:
    # Instants are put together from texts: a reply shows up to ten of them, and `isoformat` takes three times as long.
    return datetime.fromtimestamp(days * 86_400, UTC).isoformat()[:11]


def utc(instant: int) -> datetime:
    """An instant (ms) as an aware datetime in UTC."""
    return datetime.fromtimestamp(instant // 1000, UTC).replace(microsecond=instant % 1000 * 1000)


def to_millis(moment: datetime) -> int:
    """An aware datetime as whole milliseconds, cut not rounded.

    Raises:
        ValueError: the datetime is naive.
    """
    if moment.tzinfo is None:
        raise ValueError("naive datetime; give it a time zone")
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000
