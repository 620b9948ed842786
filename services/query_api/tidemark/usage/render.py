"""From what polls cost to a reply. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.events import PollerSpending
from schemas.spending import MICROS, date_of, forecast, month_of
from services.runtime.clock import iso_seconds


def usage(months: Sequence[PollerSpending], now: int) -> dict[str, Any]:
    """The reply of this month.

    Args:
        months: of this month, one a platform.
        now: ms.
    """
    return {"month": month_of(now), "platforms": [_platform(held, now) for held in months]}


def _platform(held: PollerSpending, now: int) -> dict[str, Any]:
    spent = sum(held.days)
    return {
        "platform": held.platform,
        "spent_usd": spent / MICROS,
        "budget_usd": None if held.share is None else held.share / MICROS,
        "left_usd": None if held.share is None else max(0, held.share - spent) / MICROS,
        "forecast_usd": round(forecast(held.days, now) / MICROS, 3),
        "reads": dict(sorted(held.reads.items())),
        "days_usd": [amount / MICROS for amount in held.days[: date_of(now).day]],
        "priced_on": held.priced_on or None,
        "as_of": iso_seconds(held.as_of),
    }
