"""The sample reply of usage and its schema. Pure."""

from __future__ import annotations

from typing import Any

from schemas.events import PollerSpending
from services.query_api.serving.shapes import or_null
from services.query_api.tidemark.usage.render import usage

_NOW = 1_793_620_800_000
_DAYS = (125_000, 90_000, *([0] * 29))
SAMPLE: dict[str, Any] = usage(
    [PollerSpending("acme", "x", "2026-11", _DAYS, {"post": 39, "user": 2}, 50_000_000, "2026-11-30", _NOW - 60_000)],
    _NOW,
)

_AMOUNT = {"type": "number"}
_PLATFORM: dict[str, Any] = {
    "title": "PlatformUsage",
    "type": "object",
    "required": list(SAMPLE["platforms"][0]),
    "additionalProperties": False,
    "properties": {
        "platform": {"type": "string"},
        "spent_usd": {**_AMOUNT, "description": "What this workspace's polls cost in the month so far."},
        "budget_usd": {
            **or_null(_AMOUNT),
            "description": "The workspace's equal part of the month's budget; null without a budget. What others leave "
            "unused of theirs may be spent beyond it.",
        },
        "left_usd": {**or_null(_AMOUNT), "description": "What is left of that part, at least 0; null without one."},
        "forecast_usd": {**_AMOUNT, "description": "Spent by the month's end, at the rate of the last seven days."},
        "reads": {
            "title": "BilledReads",
            "type": "object",
            "additionalProperties": {"type": "integer"},
            "description": "Resources billed in the month, by kind; each counts once a UTC day.",
        },
        "days_usd": {"type": "array", "items": _AMOUNT, "description": "Spent by day of the month, to today."},
        "priced_on": {**or_null({"type": "string"}), "description": "Date of the prices that amounts are counted by."},
        "as_of": {"type": "string", "format": "date-time"},
    },
}
SCHEMA: dict[str, Any] = {
    "title": "Usage",
    "type": "object",
    "required": ["month", "platforms"],
    "additionalProperties": False,
    "properties": {
        "month": {"type": "string", "description": "The UTC month, as 2026-11."},
        "platforms": {"type": "array", "items": _PLATFORM},
    },
}
