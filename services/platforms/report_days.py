"""Instants of reports: the bounds that any instant of a period keeps, and the days of Pacific time. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

# An instant (ms) or a day outside of these bounds is no time of a period.
EARLIEST = 0
LATEST = 4_102_444_800_000  # 2100-01-01


@lru_cache(maxsize=1024)
def pacific_midnight(day: date) -> int:
    """The instant (ms) at which a day begins in Pacific time, by which Meta and Google close their days.

    Source: daylight time runs from the second Sunday of March to the first Sunday of November (since 2007). The
    switch is at 2 o'clock, so the day of the switch begins by the old clock.
    """
    march, november = date(day.year, 3, 1), date(day.year, 11, 1)
    begins = march + timedelta(days=(6 - march.weekday()) % 7 + 7)
    ends = november + timedelta(days=(6 - november.weekday()) % 7)
    hours = 7 if begins < day <= ends else 8
    return int(datetime(day.year, day.month, day.day, hours, tzinfo=UTC).timestamp() * 1000)


def pacific_day(at: int) -> date:
    """The Pacific day that an instant (ms) falls in.

    Raises:
        ValueError, OverflowError: outside the calendar.
    """
    day = datetime.fromtimestamp(at // 1000, UTC).date()
    return day if pacific_midnight(day) <= at else day - timedelta(days=1)
