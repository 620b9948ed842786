"""The figures of pins: analytics blocks by day, range and lifetime, and `pin_metrics`. No platform of its own.

Documentation: pinterest/api-description `v5/openapi.json` 5.23.0; read 2026-11-30. What is uncertain is said in
    `pinterest.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

from schemas import metrics
from schemas.events import PlatformRaw
from services.platforms import base, json_reading, report_days

DAY = 86_400_000

_POST = {
    "IMPRESSION": metrics.IMPRESSIONS,
    "SAVE": metrics.SAVES,
    "OUTBOUND_CLICK": metrics.CLICKS,
    "PIN_CLICK": metrics.OTHER_CLICKS,
    "PROFILE_VISIT": metrics.PROFILE_CLICKS,
    "USER_FOLLOW": metrics.FOLLOWS,
    "VIDEO_MRC_VIEW": metrics.VIDEO_VIEWS,
    "VIDEO_V50_WATCH_TIME": metrics.WATCH_TIME,
    "VIDEO_AVG_WATCH_TIME": metrics.AVG_WATCH_TIME,
}
_LIFETIME = {**_POST, "TOTAL_REACTIONS": metrics.LIKES, "TOTAL_COMMENTS": metrics.COMMENTS}
_DURATIONS = (metrics.WATCH_TIME, metrics.AVG_WATCH_TIME)
_PIN_METRICS = {
    "impression": metrics.IMPRESSIONS,
    "save": metrics.SAVES,
    "outbound_click": metrics.CLICKS,
    "clickthrough": metrics.CLICKS,
    "pin_click": metrics.OTHER_CLICKS,
    "reaction": metrics.LIKES,
    "comment": metrics.COMMENTS,
}
_PIN_BITS = json_reading.bits(
    metrics.IMPRESSIONS, metrics.SAVES, metrics.CLICKS, metrics.OTHER_CLICKS, metrics.LIKES, metrics.COMMENTS
)
CHANNEL = {
    "IMPRESSION": metrics.CH_IMPRESSIONS,
    "SAVE": metrics.CH_SAVES,
    "ENGAGEMENT": metrics.CH_ENGAGEMENTS,
    "PROFILE_VISIT": metrics.CH_PROFILE_VIEWS,
}
_KNOWN_STATES = ("READY", "ESTIMATE")


def _figure(value: Any, name: str, position: int) -> int | None:
    """A count, or a duration in whole milliseconds.

    Raises:
        MappingError: `bad_count`.
    """
    if position not in _DURATIONS or value is None or isinstance(value, str):
        return json_reading.count(value, name)
    if type(value) in (int, float) and abs(value) < metrics.MILLIS_MAX:
        # By its digits, so that 2507.5 ms is not the binary fraction just below it.
        return metrics.round_half_up(Fraction(repr(value)))
    raise base.MappingError("bad_count", f"{name} is no duration: a {type(value).__name__}")


def asked_of(event: PlatformRaw) -> frozenset[str]:
    """The metric names that were asked for; a name among them that an answered block lacks is unknown (null)."""
    return frozenset(event.request.get("metric_types", "").split(","))


def speak(figures: Mapping[str, Any], names: Mapping[str, int], asked: frozenset[str], values: list[int | None]) -> int:
    """Write a block's figures into their positions; returns the mask of reported metrics."""
    spoken = 0
    for name, position in names.items():
        if name in figures:
            value = _figure(figures[name], name, position)
            if position not in _DURATIONS or value is None or abs(value) <= metrics.MILLIS_MAX:
                values[position] = value
                spoken |= 1 << position
            else:
                raise base.MappingError("bad_count", f"{name} is more than a watch time holds")
        elif name in asked:
            spoken |= 1 << position
    return spoken


def day_of(text: Any) -> int:
    """The instant (ms) at which a UTC day begins.

    Raises:
        MappingError: `unexpected_shape`.
    """
    try:
        day = date.fromisoformat(text)
    except (TypeError, ValueError):
        raise base.MappingError("unexpected_shape", "a date is no date") from None
    at = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
    if not report_days.EARLIEST < at < report_days.LATEST - 2 * DAY:
        raise base.MappingError("unexpected_shape", "a date is no date of a report")
    return at


class Analytics:
    """One analytics block: of all apps, or the one part that it was split into.

    Raises:
        MappingError: `unexpected_shape`.
    """

    def __init__(self, answer: Mapping[str, Any]) -> None:
        whole = json_reading.block(answer.get("all", answer.get("ALL")), "all") or {}
        self.lifetime = json_reading.block(whole.get("lifetime_metrics"), "lifetime_metrics") or {}
        self.days = json_reading.objects(whole.get("daily_metrics") or [], "daily_metrics")
        self.known_days = [day for day in self.days if day.get("data_status") in _KNOWN_STATES]
        summary = json_reading.block(whole.get("summary_metrics"), "summary_metrics") or {}
        self.summary = summary if self.known_days or not self.days else {}

    def post(self, asked: frozenset[str]) -> tuple[int, int, metrics.Values]:
        """The figures of the post: masks of reported and of ranged metrics, and values."""
        values: list[int | None] = list(metrics.NO_POST_VALUES)
        ranged = speak(self.summary, _POST, asked, values) if self.summary else 0
        lifetime = 0
        if self.lifetime:
            # A name asked for that only the summary has is no hidden lifetime figure.
            totals = asked & {"TOTAL_REACTIONS", "TOTAL_COMMENTS"}
            lifetime = speak(self.lifetime, _LIFETIME, totals, values)
        return ranged | lifetime, ranged & ~lifetime, tuple(values)


def of_pin(pin: Mapping[str, Any]) -> tuple[int, int, metrics.Values]:
    """The figures of a pin's `pin_metrics`: masks of reported and of ranged metrics, and values."""
    values: list[int | None] = list(metrics.NO_POST_VALUES)
    blocks = json_reading.block(pin.get("pin_metrics"), "pin_metrics") or {}
    lifetime = json_reading.block(blocks.get("lifetime_metrics"), "lifetime_metrics") or {}
    recent = json_reading.block(blocks.get("90d"), "90d") or {}
    ranged = speak(recent, _PIN_METRICS, frozenset(), values)
    held = speak(lifetime, _PIN_METRICS, frozenset(), values)
    ranged &= ~held
    return ranged | held | (_PIN_BITS if lifetime else 0), ranged, tuple(values)
