"""Months and forecasts of what polls cost, for whoever writes `poller.spending` and whoever shows it. Pure.

Instants are UTC milliseconds; amounts are millionths of a US dollar.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

MICROS = 1_000_000
_MILLIS_PER_DAY = 86_400_000
# The last days whose rate a forecast goes on with.
FORECAST_DAYS = 7


def date_of(now: int) -> datetime:
    """The instant as a UTC date and time."""
    return datetime.fromtimestamp(now / 1000, UTC)


def month_of(now: int) -> str:
    """The UTC month of an instant, as 2026-11."""
    date = date_of(now)
    return f"{date.year:04d}-{date.month:02d}"


def month_end(now: int) -> int:
    """When the UTC month of an instant ends, ms."""
    first = date_of(now).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int((first + timedelta(days=32)).replace(day=1).timestamp()) * 1000


def days_left(now: int) -> int:
    """Days to the end of the UTC month of an instant, the instant's own included."""
    return -(-(month_end(now) - now) // _MILLIS_PER_DAY)


def forecast(days: Sequence[int], now: int) -> int:
    """What will have been spent by the end of the month of an instant, at the rate of its last days.

    Args:
        days: spent by day of the month, from its first.
    """
    day = date_of(now).day
    first = max(0, day - FORECAST_DAYS)
    elapsed = (day - 1 - first) * _MILLIS_PER_DAY + now % _MILLIS_PER_DAY
    # Much of a day is spent at its beginning, so less than half a day says little.
    rate = sum(days[first:day]) / max(elapsed, _MILLIS_PER_DAY // 2)
    return sum(days) + int(rate * (month_end(now) - now))
