"""Instagram on the Graph API: media one by one, their insights, the account and its insights.

Source: Meta "Instagram Media Insights", "Instagram User Insights"; sns-sdks/python-facebook `testdata/instagram`;
error bodies as in airbytehq/airbyte issue 1814 and `source-instagram/unit_tests`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from infra.sandbox.asked import split_fields
from infra.sandbox.curves import DAY_SECONDS, average_watch_millis, level_value, metric_value, period_value
from infra.sandbox.exchange import Ask, Endpoint, Reply
from infra.sandbox.ids import behaviour, make_id, published_at
from infra.sandbox.routes import _graph
from infra.sandbox.routes._graph import RefusedError
from infra.sandbox.tokens import renewal

# Calls a day of an account with 10 impressions a day; the real limit is 4800 x its impressions.
_LIMIT, _DAY = 48_000, 86_400
HOUR_MILLIS = 3_600_000
_MONTH_SECONDS = 30 * DAY_SECONDS

_ALL_KINDS = ("reach", "views", "shares", "total_interactions")
_NAMES = {
    "feed": frozenset({*_ALL_KINDS, "likes", "comments", "saved", "follows", "profile_visits"}),
    "reel": frozenset(
        {*_ALL_KINDS, "likes", "comments", "saved", "ig_reels_avg_watch_time", "ig_reels_video_view_total_time"}
    ),
    "story": frozenset({*_ALL_KINDS, "replies", "navigation", "follows", "profile_visits"}),
}
_ANY_NAME = frozenset[str]().union(*_NAMES.values())
_USER_NAMES = frozenset(
    {
        "reach",
        "views",
        "profile_views",
        "accounts_engaged",
        "total_interactions",
        "likes",
        "comments",
        "saves",
        "shares",
        "follower_count",
    }
)
_TIME_SERIES_NAMES = frozenset({"reach", "follower_count"})
# The insights of likes and comments are the same counts as the fields.
_FIELD_OF_INSIGHT = {"likes": "like_count", "comments": "comments_count"}

_ID = r"([0-9]{1,20})"
_VERSION = r"(?:/v[0-9]{1,2}\.[0-9])?"


def _value(ask: Ask, external_id: str, name: str) -> int:
    seed = ask.state.seed
    average = average_watch_millis(seed, "instagram", external_id)
    if name == "ig_reels_avg_watch_time":
        return average
    watched = name == "ig_reels_video_view_total_time"
    metric = "views" if watched else _FIELD_OF_INSIGHT.get(name, name)
    value = metric_value(seed, "instagram", external_id, metric, published_at("instagram", external_id), ask.now)
    return value * average if watched else value


def _check_media(external_id: str) -> None:
    """Refuse ids that fail whatever is asked."""
    peculiar = behaviour("instagram", external_id)
    if peculiar == "heavy":
        raise RefusedError(_graph.too_much())
    if peculiar == "gone" or not re.fullmatch(_ID, external_id):
        raise RefusedError(_graph.no_such_object(external_id, "OAuthException"))


def _insights(ask: Ask, external_id: str, names: list[str], served: dict[str, Any]) -> dict[str, Any]:
    peculiar = behaviour("instagram", external_id)
    if peculiar == "before_business":
        title = "Media posted before business account conversion"
        raise RefusedError(
            _graph.error(400, 100, "Invalid parameter", 2108006, is_transient=False, error_user_title=title)
        )
    if peculiar == "few_viewers":
        raise RefusedError(_graph.error(400, 10, "(#10) Not enough viewers for the media to show insights"))
    for name in names:
        if name not in _ANY_NAME:
            raise RefusedError(_graph.metric_by_place(names.index(name), sorted(_ANY_NAME)))
        if peculiar == "image" and name == "shares":
            raise RefusedError(_graph.metric_of_another_type(name))
        if peculiar in _NAMES and name not in _NAMES[peculiar]:
            raise RefusedError(_graph.metric_of_another_kind(name))
    if peculiar == "no_insights":
        return {"data": []}
    data = []
    for name in names:
        value = _value(ask, external_id, name)
        served[name] = value
        data.append(_graph.insight(external_id, name, "lifetime", value))
    return {"data": data}


def _media(ask: Ask, external_id: str, fields: list[str], served: dict[str, Any]) -> dict[str, Any]:
    _check_media(external_id)
    media: dict[str, Any] = {}
    for field in fields:
        names = re.fullmatch(r"insights\.metric\(([^()]*)\)", field)
        if names is not None:
            media["insights"] = _insights(ask, external_id, [name.strip() for name in names[1].split(",")], served)
        elif field == "like_count" and behaviour("instagram", external_id) == "hidden_likes":
            served[field] = None
        elif field in ("like_count", "comments_count"):
            media[field] = served[field] = _value(ask, external_id, field)
        elif field == "timestamp":
            at = datetime.fromtimestamp(published_at("instagram", external_id) // 1000, UTC)
            media[field] = at.strftime("%Y-%m-%dT%H:%M:%S+0000")
        elif field != "id":
            raise RefusedError(_graph.no_such_field(field, "InstagramMedia"))
    media["id"] = external_id
    return media


def _answer_media(ask: Ask, ids: list[str], fields: list[str]) -> dict[str, dict[str, Any]]:
    """All media asked for, on the record only when none of them failed the request."""
    served: dict[str, dict[str, Any]] = {external_id: {} for external_id in ids}
    found = {external_id: _media(ask, external_id, fields, served[external_id]) for external_id in ids}
    for external_id, figures in served.items():
        ask.served(external_id, figures)
    return found


def _account(ask: Ask, external_id: str, fields: list[str]) -> Reply:
    levels = {"followers_count": "followers", "follows_count": "following", "media_count": "posts"}
    account: dict[str, Any] = {}
    served = {}
    for field in fields:
        if field in levels:
            value = level_value(ask.state.seed, "instagram", external_id, levels[field], ask.now)
            account[field] = served[field] = value
        elif field in ("username", "name"):
            account[field] = f"account{external_id}"
    if served:
        ask.served(external_id, served)
    return Reply(200, {**account, "id": external_id})


def _node(ask: Ask) -> Reply:
    """A media or an account: which of them is told by the fields, as both are plain numbers."""
    external_id = ask.account_id if ask.path_ids[0] == "me" else ask.path_ids[0]
    fields = list(split_fields(ask.value("fields")))
    try:
        if any(field.startswith(("like_count", "comments_count", "insights", "timestamp")) for field in fields):
            return Reply(200, _answer_media(ask, [external_id], fields)[external_id])
        _check_media(external_id)
    except RefusedError as refused:
        return refused.reply
    return _account(ask, external_id, fields)


def _window_of(ask: Ask) -> tuple[int, int] | None:
    """`since` and `until` in unix seconds; by default the last day."""
    since, until = ask.value("since"), ask.value("until")
    end = int(until) if until.isdigit() else ask.now // 1000
    start = int(since) if since.isdigit() else end - DAY_SECONDS
    return (start, end) if 0 <= end - start <= _MONTH_SECONDS else None


def _account_insights(ask: Ask, external_id: str, names: list[str]) -> Reply:
    series = ask.value("metric_type", "time_series") == "time_series"
    window = _window_of(ask)
    if window is None:
        return _graph.error(400, 100, "(#100) There cannot be more than 30 days (2592000 s) between since and until")
    start, end = window
    served: dict[str, Any] = {"since": start, "until": end}
    data = []
    for name in names:
        if name not in _USER_NAMES:
            return _graph.metric_by_place(names.index(name), sorted(_USER_NAMES))
        if series and name not in _TIME_SERIES_NAMES:
            message = (
                f"(#100) The following metrics ({name}) should be specified with parameter metric_type=total_value"
            )
            return _graph.error(400, 100, message)
        insight: dict[str, Any] = {"name": name, "period": "day", "title": name, "description": ""}
        metric = "profile_visits" if name == "profile_views" else name
        until = min(end * 1000, ask.now)
        seed = ask.state.seed
        if series:
            ends = range(start + DAY_SECONDS, until // 1000 + 1, DAY_SECONDS)
            insight["values"] = [
                {
                    "value": period_value(seed, "instagram", external_id, metric, (at - DAY_SECONDS) * 1000, at * 1000),
                    "end_time": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000"),
                }
                for at in ends
            ]
            served[name] = insight["values"]
        else:
            value = period_value(seed, "instagram", external_id, metric, start * 1000, until)
            insight["total_value"] = {"value": value}
            served[name] = value
        insight["id"] = f"{external_id}/insights/{name}/day"
        data.append(insight)
    ask.served(external_id, served)
    return Reply(200, {"data": data})


def _node_insights(ask: Ask) -> Reply:
    """Insights of an account are asked with a period, those of a media without one (or `lifetime`)."""
    external_id = ask.account_id if ask.path_ids[0] == "me" else ask.path_ids[0]
    names = ask.listed("metric")
    if not names:
        return _graph.error(400, 100, "(#100) The parameter metric is required")
    if ask.value("period", "lifetime") != "lifetime":
        return _account_insights(ask, external_id, names)
    served: dict[str, Any] = {}
    try:
        _check_media(external_id)
        reply = Reply(200, _insights(ask, external_id, names, served))
    except RefusedError as refused:
        return refused.reply
    ask.served(external_id, served)
    return reply


def _listed(ask: Ask) -> Reply:
    """The account's newest media, one an hour; each third is a reel."""
    account = ask.account_id if ask.path_ids[0] == "me" else ask.path_ids[0]
    data = []
    for number in range(1, min(int(ask.value("limit") or 25), 100) + 1):
        at = (ask.now // HOUR_MILLIS - number + 1) * HOUR_MILLIS
        data.append(
            {
                "id": make_id("instagram", at, number),
                "timestamp": datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000"),
                "media_type": "IMAGE" if number % 3 else "VIDEO",
                "media_product_type": "FEED" if number % 3 else "REELS",
                "permalink": f"https://www.instagram.com/p/{account}-{number}/",
                "caption": f"Media {number}",
            }
        )
    return Reply(200, {"data": data, "paging": {}})


def _endpoint(path: str, name: str, answer: Any) -> Endpoint:
    return Endpoint(re.compile(_VERSION + path), name, answer, _LIMIT, _DAY)


class InstagramRoutes:
    """The endpoints of this platform, its limits and its failures."""

    platform = "instagram"
    endpoints = (
        Endpoint(
            re.compile(r"/refresh_access_token"),
            "/refresh_access_token",
            renewal,
            200,
            3600,
            claims=lambda query: query.get("grant_type") == "ig_refresh_token",
        ),
        _endpoint(r"/?", "/?ids=", lambda ask: _graph.ids_retired()),
        _endpoint(r"/(me|[0-9]{1,20})/media", "/{ig-user}/media", _listed),
        _endpoint(r"/(me|[0-9]{1,20})/insights", "/{id}/insights", _node_insights),
        _endpoint(r"/(me|[0-9]{1,20})", "/{id}", _node),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """A failure: status 400 for nearly all kinds, told apart by code and subcode."""
        if kind in ("rate_limited", "quota_exhausted"):
            reply = _graph.error(400, 4, "(#4) Application request limit reached", is_transient=True)
            minutes = -(-retry_after_seconds // 60)
            reply.headers["x-business-use-case-usage"] = _graph.usage(ask.account_id, "instagram", 100, minutes)
            return reply
        if kind == "token_missing":
            return _graph.token_missing()
        if kind == "token_revoked":
            return _graph.revoked()
        if kind == "permission_missing":
            return _graph.error(403, 10, "(#10) Application does not have permission for this action")
        if kind == "account_disabled":
            return _graph.checkpointed()
        if kind == "server_error":
            return _graph.server_error()
        return _graph.expired()

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """The usage headers: percentages of the limit that are used."""
        used = 100 - remaining * 100 // endpoint.limit
        return _graph.usage_headers(ask.account_id, "instagram", used)


ROUTES = InstagramRoutes()
