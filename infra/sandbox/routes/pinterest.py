"""Pinterest, API v5: pins with their metrics, analytics of pins, the account and its analytics.

Source: pinterest/api-description `v5/openapi.json` 5.23.0; error bodies as in public issues (pinterest/
pinterest-python-generated-api-client 31, pinterest/api-quickstart 97).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from infra.sandbox.curves import average_watch_millis, level_value, metric_value, period_value
from infra.sandbox.exchange import Ask, Endpoint, Reply
from infra.sandbox.ids import behaviour, make_id, published_at
from infra.sandbox.tokens import oauth_refresh

_BATCH = 100
_READ_LIMIT, _ANALYTICS_LIMIT, _MINUTE = 1000, 300, 60
_DAY = 86_400_000
_LONGEST_DAYS = 90
_LONGEST_PAGE = 250
# The newest days are not settled yet.
_LATE_DAYS = 2

_RECENT = ("impression", "save", "clickthrough", "pin_click")
_LIFETIME = (*_RECENT, "reaction", "comment")
_CURVE_OF = {
    "IMPRESSION": "impression",
    "SAVE": "save",
    "OUTBOUND_CLICK": "clickthrough",
    "PIN_CLICK": "pin_click",
    "ENGAGEMENT": "engagements",
    "VIDEO_MRC_VIEW": "view_count",
    "VIDEO_V50_WATCH_TIME": "view_count",
}
_TOTAL_OF = {"TOTAL_REACTIONS": "reaction", "TOTAL_COMMENTS": "comment"}


def _error(status: int, code: int, message: str) -> Reply:
    return Reply(status, {"code": code, "message": message, "status": "failure"})


def _curve(ask: Ask, pin_id: str, metric: str, at: int) -> int:
    return metric_value(ask.state.seed, "pinterest", pin_id, metric, published_at("pinterest", pin_id), at)


def _refused(pin_id: str) -> Reply | None:
    peculiar = behaviour("pinterest", pin_id)
    if peculiar == "gone":
        return _error(404, 50, "Pin not found.")
    if peculiar == "foreign":
        return _error(403, 403, "Not authorized to access board or Pin.")
    return None


def _pin(ask: Ask) -> Reply:
    pin_id = ask.path_ids[0]
    refused = _refused(pin_id)
    if refused is not None:
        return refused
    ask.state.remember_own(ask.platform, ask.account_id, pin_id)
    return Reply(200, _object(ask, pin_id))


def _object(ask: Ask, pin_id: str) -> dict[str, Any]:
    published = datetime.fromtimestamp(published_at("pinterest", pin_id) / 1000, UTC)
    pin: dict[str, Any] = {
        "id": pin_id,
        "created_at": published.strftime("%Y-%m-%dT%H:%M:%S"),
        "title": f"Pin {pin_id}",
        "media": {"media_type": "image"},
        "is_owner": True,
        "pin_metrics": None,
    }
    peculiar = behaviour("pinterest", pin_id)
    if ask.value("pin_metrics") == "true" and peculiar != "no_metrics":
        recent = {
            name: _curve(ask, pin_id, name, ask.now) - _curve(ask, pin_id, name, ask.now - _LONGEST_DAYS * _DAY)
            for name in _RECENT
        }
        pin["pin_metrics"] = {"90d": recent}
        if peculiar != "old":
            lifetime = {name: _curve(ask, pin_id, name, ask.now) for name in _LIFETIME}
            shown: dict[str, int | None] = {**lifetime}
            if peculiar == "hidden_likes":
                del lifetime["reaction"]
                shown["reaction"] = None
            pin["pin_metrics"]["lifetime_metrics"] = lifetime
            ask.served(pin_id, shown)
    return pin


def _pins(ask: Ask) -> Reply:
    """The newest pins of an account that pins once a day, and those of it that were asked for by their ids."""
    size = int(ask.value("page_size") or "25")
    if not 1 <= size <= _LONGEST_PAGE:
        return _invalid()
    newest = ask.now // _DAY * _DAY
    daily = [make_id("pinterest", newest - number * _DAY, 0) for number in range(min(size, _LONGEST_DAYS))]
    # What is refused by itself is on no list.
    refused = {switch.target for switch in ask.state.switches if switch.platform == "pinterest"}
    own = [pin_id for pin_id in ask.state.own(ask.platform, ask.account_id) if pin_id not in refused]
    ids = sorted({*daily, *own}, key=lambda pin_id: (-published_at("pinterest", pin_id), pin_id))
    return Reply(200, {"items": [_object(ask, pin_id) for pin_id in ids[:size]], "bookmark": None})


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _dates(ask: Ask) -> list[date] | None:
    """The days asked for; None where the range is not allowed."""
    try:
        first, last = (date.fromisoformat(ask.value(name)) for name in ("start_date", "end_date"))
    except ValueError:
        return None
    today = datetime.fromtimestamp(ask.now / 1000, UTC).date()
    if not today - timedelta(days=_LONGEST_DAYS) <= first <= last <= first + timedelta(days=_LONGEST_DAYS):
        return None
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _block(
    ask: Ask,
    days: list[date],
    names: list[str],
    created_at: int,
    figure: Callable[[str, int, int], int],
    average_millis: int,
) -> dict[str, Any]:
    """Daily metrics with their states, and the sum of the settled ones."""
    newest = datetime.fromtimestamp(ask.now / 1000, UTC).date() - timedelta(days=_LATE_DAYS)
    daily: list[dict[str, Any]] = []
    summary: dict[str, float] = {}
    for day in days:
        start = _midnight(day)
        state = "READY"
        if start + _DAY <= created_at:
            state = "BEFORE_PIN_CREATED"
        elif day > newest:
            state = "PROCESSING"
        row: dict[str, Any] = {"date": day.isoformat(), "data_status": state}
        if state == "READY":
            metrics: dict[str, float] = {}
            for name in names:
                if name == "VIDEO_AVG_WATCH_TIME":
                    metrics[name] = summary[name] = average_millis
                elif name in _CURVE_OF:
                    factor = average_millis if name == "VIDEO_V50_WATCH_TIME" else 1
                    metrics[name] = figure(_CURVE_OF[name], start, start + _DAY) * factor
                    summary[name] = summary.get(name, 0) + metrics[name]
            row["metrics"] = metrics
        daily.append(row)
    return {"daily_metrics": daily, "summary_metrics": summary}


def _analytics_of(ask: Ask, pin_id: str, days: list[date], names: list[str]) -> dict[str, Any]:
    def figure(metric: str, start: int, end: int) -> int:
        return _curve(ask, pin_id, metric, end) - _curve(ask, pin_id, metric, start)

    average = average_watch_millis(ask.state.seed, "pinterest", pin_id)
    made = _block(ask, days, names, published_at("pinterest", pin_id), figure, average)
    totals = {name: _curve(ask, pin_id, _TOTAL_OF[name], ask.now) for name in names if name in _TOTAL_OF}
    if totals:
        made["lifetime_metrics"] = totals
    return {"all": made}


def _invalid() -> Reply:
    return _error(400, 1, "Invalid pins analytics parameters.")


def _analytics(ask: Ask) -> Reply:
    pin_id, days, names = ask.path_ids[0], _dates(ask), ask.listed("metric_types")
    if days is None or not names:
        return _invalid()
    return _refused(pin_id) or Reply(200, _analytics_of(ask, pin_id, days, names))


def _several_analytics(ask: Ask) -> Reply:
    pin_ids, days, names = ask.listed("pin_ids"), _dates(ask), ask.listed("metric_types")
    if days is None or not names or not 1 <= len(pin_ids) <= _BATCH:
        return _invalid()
    present = [pin_id for pin_id in pin_ids if behaviour("pinterest", pin_id) not in ("gone", "foreign")]
    return Reply(200, {pin_id: _analytics_of(ask, pin_id, days, names) for pin_id in present})


def _account(ask: Ask) -> Reply:
    seed, account, now = ask.state.seed, ask.account_id, ask.now
    counts = {
        "follower_count": level_value(seed, "pinterest", account, "followers", now),
        "following_count": level_value(seed, "pinterest", account, "following", now),
        "pin_count": level_value(seed, "pinterest", account, "posts", now),
        "monthly_views": period_value(seed, "pinterest", account, "impression", now - 30 * _DAY, now),
    }
    ask.served(account, counts)
    named = {"id": account, "username": f"account{account}", "account_type": "BUSINESS"}
    return Reply(200, {**named, "board_count": 12, **counts})


def _account_analytics(ask: Ask) -> Reply:
    days, names = _dates(ask), ask.listed("metric_types") or ["ENGAGEMENT", "IMPRESSION", "SAVE"]
    if days is None:
        return _error(400, 400, "Invalid user accounts analytics parameters.")
    account = ask.account_id

    def figure(metric: str, start: int, end: int) -> int:
        return period_value(ask.state.seed, "pinterest", account, metric, start, end)

    made = _block(ask, days, names, 0, figure, 0)
    ask.served(account, {"analytics": made["summary_metrics"], "start_date": ask.value("start_date")})
    return Reply(200, {"all": made})


def _token(ask: Ask) -> Reply:
    refused = {"code": 283, "message": "Invalid or expired refresh token."}
    return oauth_refresh(ask, 2_592_000, Reply(400, refused), once=True, refresh_token_expires_in=5_184_000)


class PinterestRoutes:
    """The endpoints of this platform, its limits and its failures."""

    platform = "pinterest"
    endpoints = (
        Endpoint(re.compile(r"/v5/pins"), "/v5/pins", _pins, _READ_LIMIT, _MINUTE),
        Endpoint(re.compile(r"/v5/pins/([0-9]{1,20})"), "/v5/pins/{id}", _pin, _READ_LIMIT, _MINUTE),
        Endpoint(
            re.compile(r"/v5/pins/([0-9]{1,20})/analytics"),
            "/v5/pins/{id}/analytics",
            _analytics,
            _ANALYTICS_LIMIT,
            _MINUTE,
        ),
        Endpoint(
            re.compile(r"/v5/pins/analytics"), "/v5/pins/analytics", _several_analytics, _ANALYTICS_LIMIT, _MINUTE
        ),
        Endpoint(re.compile(r"/v5/oauth/token"), "/v5/oauth/token", _token, 300, 900, "address", False, "POST"),
        Endpoint(re.compile(r"/v5/user_account"), "/v5/user_account", _account, _READ_LIMIT, _MINUTE),
        Endpoint(
            re.compile(r"/v5/user_account/analytics"),
            "/v5/user_account/analytics",
            _account_analytics,
            _ANALYTICS_LIMIT,
            _MINUTE,
        ),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """A token that fails is 401 for whatever reason, a missing scope too."""
        if kind in ("rate_limited", "quota_exhausted"):
            reply = _error(429, 8, "This request exceeded a rate limit.")
            reply.headers["x-ratelimit-remaining"] = "0"
            reply.headers["x-ratelimit-reset"] = str(retry_after_seconds)
            return reply
        if kind == "permission_missing":
            return _error(401, 3, "Your token does not have sufficient permissions to perform this operation.")
        if kind == "server_error":
            return _error(503, 11, "Service unavailable.")
        return _error(401, 2, "Authentication failed.")

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """`x-ratelimit-*`, reset in seconds from now; the limit is followed by its policy."""
        limit, seconds = endpoint.limit, endpoint.window_seconds
        return {
            "x-ratelimit-limit": f'{limit}, {limit};w={seconds};name="org_app_id_user_id"',
            "x-ratelimit-remaining": str(remaining),
            "x-ratelimit-reset": str(max(0, -(-(ends_at - ask.wall) // 1000))),
        }


ROUTES = PinterestRoutes()
