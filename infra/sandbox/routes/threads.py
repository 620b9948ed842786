"""Threads: insights of posts and of the account, the account itself.

Source: Meta "Threads Insights API", "Threads API troubleshooting"; fbsamples/threads_api.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from infra.sandbox.curves import DAY_SECONDS, level_value, metric_value, period_value
from infra.sandbox.exchange import Ask, Endpoint, Reply
from infra.sandbox.ids import behaviour, make_id, published_at
from infra.sandbox.routes import _graph
from infra.sandbox.tokens import renewal

# Calls a day of an account with 10 impressions a day; the real limit is 4800 x its impressions.
_LIMIT, _DAY = 48_000, 86_400
HOUR_MILLIS = 3_600_000
_EARLIEST_SINCE = 1_712_991_600

_MEDIA_NAMES = ("views", "likes", "replies", "reposts", "quotes", "shares")
_USER_NAMES = ("views", "likes", "replies", "reposts", "quotes", "clicks", "followers_count")


def _gone(external_id: str) -> Reply:
    return _graph.no_such_object(external_id, "THApiException")


def _names(ask: Ask, known: tuple[str, ...]) -> list[str] | Reply:
    names = ask.listed("metric")
    if not names:
        return _graph.error(400, 100, "The parameter metric is required.", kind="THApiException")
    for index, name in enumerate(names):
        if name not in known:
            message = f"(#100) metric[{index}] must be one of the following values: {', '.join(known)}"
            return _graph.error(400, 100, message, kind="THApiException")
    return names


def _media_insights(ask: Ask) -> Reply:
    external_id = ask.path_ids[0]
    names = _names(ask, _MEDIA_NAMES)
    if isinstance(names, Reply):
        return names
    peculiar = behaviour("threads", external_id)
    if peculiar == "gone":
        return _gone(external_id)
    if peculiar == "repost":
        return Reply(200, {"data": []})
    served: dict[str, Any] = {}
    data = []
    for name in names:
        if name == "views" and peculiar == "no_views":
            served[name] = None
            continue
        published = published_at("threads", external_id)
        served[name] = metric_value(ask.state.seed, "threads", external_id, name, published, ask.now)
        data.append(_graph.insight(external_id, name, "lifetime", served[name]))
    ask.served(external_id, served)
    return Reply(200, {"data": data})


def _window_of(ask: Ask) -> tuple[int, int] | None:
    """`since` and `until` in unix seconds; by default yesterday to today."""
    since, until = ask.value("since"), ask.value("until")
    end = int(until) if until.isdigit() else ask.now // 1000
    start = int(since) if since.isdigit() else end - DAY_SECONDS
    return (start, end) if _EARLIEST_SINCE <= start <= end else None


def _user_insights(ask: Ask) -> Reply:
    account = ask.account_id if ask.path_ids[0] == "me" else ask.path_ids[0]
    names = _names(ask, _USER_NAMES)
    if isinstance(names, Reply):
        return names
    window = _window_of(ask)
    if window is None or ("followers_count" in names and ask.value("since")):
        return _graph.error(400, 100, "(#100) The parameters since and until are invalid.", kind="THApiException")
    start, end = window
    seed, until = ask.state.seed, min(end * 1000, ask.now)
    served: dict[str, Any] = {"since": start, "until": end}
    data = []
    for name in names:
        insight: dict[str, Any] = {"name": name, "period": "day", "title": name, "description": ""}
        if name == "views":
            insight["values"] = [
                {
                    "value": period_value(seed, "threads", account, name, (at - DAY_SECONDS) * 1000, at * 1000),
                    "end_time": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000"),
                }
                for at in range(start + DAY_SECONDS, until // 1000 + 1, DAY_SECONDS)
            ]
            served[name] = insight["values"]
        else:
            is_level = name == "followers_count"
            value = (
                level_value(seed, "threads", account, "followers", ask.now)
                if is_level
                else period_value(seed, "threads", account, name, start * 1000, until)
            )
            insight["total_value"] = {"value": value}
            served[name] = value
        insight["id"] = f"{account}/insights/{name}/day"
        data.append(insight)
    ask.served(account, served)
    return Reply(200, {"data": data})


def _account(ask: Ask) -> Reply:
    account = ask.account_id if ask.path_ids[0] == "me" else ask.path_ids[0]
    return Reply(200, {"id": account, "username": f"account{account}"})


def _listed(ask: Ask) -> Reply:
    """The account's newest posts, one an hour; each fifth is somebody else's that was reposted."""
    account = ask.account_id if ask.path_ids[0] == "me" else ask.path_ids[0]
    data = []
    for number in range(1, min(int(ask.value("limit") or 25), 100) + 1):
        at = (ask.now // HOUR_MILLIS - number + 1) * HOUR_MILLIS
        data.append(
            {
                "id": make_id("threads", at, number),
                "timestamp": datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000"),
                "media_type": "TEXT_POST" if number % 5 else "REPOST_FACADE",
                "permalink": f"https://www.threads.net/@account{account}/post/{number}",
                "text": f"Post {number}",
            }
        )
    return Reply(200, {"data": data, "paging": {}})


def _endpoint(path: str, name: str, answer: Any) -> Endpoint:
    # Threads has one version, which the Graph API doesn't have.
    return Endpoint(re.compile("/v1.0" + path), name, answer, _LIMIT, _DAY, claims=lambda query: True)


class ThreadsRoutes:
    """The endpoints of this platform, its limits and its failures."""

    platform = "threads"
    endpoints = (
        Endpoint(
            re.compile(r"/refresh_access_token"),
            "/refresh_access_token",
            renewal,
            200,
            3600,
            claims=lambda query: query.get("grant_type") == "th_refresh_token",
        ),
        _endpoint(r"/([0-9]{1,20})/insights", "/{media}/insights", _media_insights),
        _endpoint(r"/(me|[0-9]{1,20})/threads", "/{user}/threads", _listed),
        _endpoint(r"/(me|[0-9]{1,20})/threads_insights", "/{user}/threads_insights", _user_insights),
        _endpoint(r"/(me|[0-9]{1,20})", "/{user}", _account),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """A failure: status 400 for nearly all kinds, told apart by the code; a limit names no time."""
        if kind in ("rate_limited", "quota_exhausted"):
            return _graph.error(400, 4, "(#4) Application request limit reached")
        if kind == "token_missing":
            return _graph.token_missing()
        if kind == "token_revoked":
            return _graph.revoked()
        if kind == "account_disabled":
            return _graph.checkpointed()
        if kind == "permission_missing":
            message = "(#10) Application does not have permission for this action"
            return _graph.error(403, 10, message, kind="THApiException")
        if kind == "server_error":
            return _graph.server_error()
        return _graph.error(400, 190, "Error validating access token: Session has expired.")

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """None are documented for this host."""
        return {}


ROUTES = ThreadsRoutes()
