"""Google Business Profile: a location's daily figures, and its name.

Source: Google "Business Profile Performance API" reference, `locations.fetchMultiDailyMetricsTimeSeries` and
`locations.getDailyMetricsTimeSeries`; error bodies as in public reports of a quota of 0.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from infra.sandbox.curves import period_value
from infra.sandbox.exchange import Ask, Endpoint, Reply

_LIMIT, _MINUTE = 300, 60
_LATE_DAYS, _LONGEST_DAYS = 3, 550
_NAMES = frozenset(
    {
        "BUSINESS_IMPRESSIONS_DESKTOP_MAPS",
        "BUSINESS_IMPRESSIONS_DESKTOP_SEARCH",
        "BUSINESS_IMPRESSIONS_MOBILE_MAPS",
        "BUSINESS_IMPRESSIONS_MOBILE_SEARCH",
        "WEBSITE_CLICKS",
        "CALL_CLICKS",
        "BUSINESS_DIRECTION_REQUESTS",
        "BUSINESS_BOOKINGS",
        "BUSINESS_FOOD_ORDERS",
        "BUSINESS_FOOD_MENU_CLICKS",
    }
)
_QUOTA = "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of the project."

_WRONG_NAME = (
    "Invalid value at 'daily_metrics' (type.googleapis.com/google.mybusiness.businessprofileperformance.v1.DailyMetric)"
)


def _error(status: int, google_status: str, message: str, reason: str = "", **metadata: str) -> Reply:
    error: dict[str, Any] = {"code": status, "message": message, "status": google_status}
    if reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": reason, "domain": "googleapis.com", "metadata": metadata}]
    return Reply(status, {"error": error})


def _date(ask: Ask, edge: str) -> date:
    """`dailyRange.start_date.year` and so on; both spellings of the documentation.

    Raises:
        ValueError: it is missing or no date.
    """
    snake, camel = f"dailyRange.{edge}_date", f"dailyRange.{edge}Date"
    parts = [ask.value(f"{snake}.{part}") or ask.value(f"{camel}.{part}") for part in ("year", "month", "day")]
    return date(*(int(part) for part in parts))


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _series(ask: Ask, location: str, name: str, first: date, last: date) -> dict[str, Any]:
    points: list[dict[str, Any]] = []
    by_day: dict[str, int] = {}
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        start, end = _midnight(day), _midnight(day + timedelta(days=1))
        value = period_value(ask.state.seed, "google_business", location, name, start, end)
        point: dict[str, Any] = {"date": {"year": day.year, "month": day.month, "day": day.day}}
        # Google leaves a zero out.
        points.append({**point, "value": str(value)} if value else point)
        by_day[str(day)] = value
    ask.served(location, {name: by_day})
    return {"datedValues": points} if points else {}


def _answer(ask: Ask, names: list[str]) -> dict[str, dict[str, Any]] | Reply:
    """A series for each name."""
    location = ask.path_ids[0]
    if location.endswith("404"):
        return _error(404, "NOT_FOUND", "Requested entity was not found.")
    unknown = [name for name in names if name not in _NAMES]
    if unknown:
        return _error(400, "INVALID_ARGUMENT", f'{_WRONG_NAME}, "{unknown[0]}"')
    if not names:
        return _error(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
    try:
        first, last = _date(ask, "start"), _date(ask, "end")
    except (TypeError, ValueError):
        return _error(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
    today = datetime.fromtimestamp(ask.now / 1000, UTC).date()
    first = max(first, today - timedelta(days=_LONGEST_DAYS))
    last = min(last, today - timedelta(days=_LATE_DAYS))
    if location.endswith("000"):  # a location that nobody has seen yet
        return {name: {} for name in names}
    return {name: _series(ask, location, name, first, last) for name in names}


def _several(ask: Ask) -> Reply:
    found = _answer(ask, ask.values("dailyMetrics"))
    if isinstance(found, Reply):
        return found
    listed = [{"dailyMetric": name, "timeSeries": series} for name, series in found.items()]
    return Reply(200, {"multiDailyMetricTimeSeries": [{"dailyMetricTimeSeries": listed}]})


def _one(ask: Ask) -> Reply:
    found = _answer(ask, [ask.value("dailyMetric")])
    return found if isinstance(found, Reply) else Reply(200, {"timeSeries": next(iter(found.values()))})


def _location(ask: Ask) -> Reply:
    location = ask.path_ids[0]
    if location.endswith("404"):
        return _error(404, "NOT_FOUND", "Requested entity was not found.")
    return Reply(200, {"name": f"locations/{location}", "title": f"Location {location} of {ask.account_id}"})


class GoogleBusinessRoutes:
    """The endpoints of this platform, its limits and its failures."""

    platform = "google_business"
    endpoints = (
        Endpoint(
            re.compile(r"/v1/locations/([\w-]+):fetchMultiDailyMetricsTimeSeries"),
            "/v1/locations/{id}:fetchMultiDailyMetricsTimeSeries",
            _several,
            _LIMIT,
            _MINUTE,
            "address",
        ),
        Endpoint(
            re.compile(r"/v1/locations/([\w-]+):getDailyMetricsTimeSeries"),
            "/v1/locations/{id}:getDailyMetricsTimeSeries",
            _one,
            _LIMIT,
            _MINUTE,
            "address",
        ),
        Endpoint(re.compile(r"/v1/locations/([\w-]+)"), "/v1/locations/{id}", _location, _LIMIT, _MINUTE, "address"),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """Google's statuses, with the reason in the details."""
        if kind == "rate_limited":
            reply = _error(429, "RESOURCE_EXHAUSTED", _QUOTA, "RATE_LIMIT_EXCEEDED", quota_limit_value="300")
            reply.headers["retry-after"] = str(retry_after_seconds)
            return reply
        if kind == "quota_exhausted":
            return _error(429, "RESOURCE_EXHAUSTED", _QUOTA, "dailyLimitExceeded")
        if kind == "permission_missing":
            return _error(429, "RESOURCE_EXHAUSTED", _QUOTA, "RATE_LIMIT_EXCEEDED", quota_limit_value="0")
        if kind == "account_disabled":
            return _error(401, "UNAUTHENTICATED", "The account has been deleted or disabled.", "ACCOUNT_STATE_INVALID")
        if kind == "server_error":
            return _error(503, "UNAVAILABLE", "The service is currently unavailable.")
        message = "Request had invalid authentication credentials."
        if kind == "token_revoked":
            message = "Token has been expired or revoked."
        return _error(401, "UNAUTHENTICATED", message, "" if kind == "token_missing" else "ACCESS_TOKEN_EXPIRED")

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """Google says nothing about the quota."""
        return {}


ROUTES = GoogleBusinessRoutes()
