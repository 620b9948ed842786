"""TikTok, Display API v2: videos by ids or by page, and the token's own account.

Source: TikTok for Developers "Query Videos", "List Videos", "Get User Info", "API v2 error handling", "Rate limits".
"""

from __future__ import annotations

import re
from typing import Any

from infra.sandbox.curves import level_value, metric_value
from infra.sandbox.exchange import Ask, Endpoint, Reply
from infra.sandbox.ids import behaviour, make_id, published_at
from infra.sandbox.tokens import oauth_refresh

_BATCH = 20
_LIMIT, _MINUTE = 600, 60
_DAY = 86_400
_DAY_MS = 86_400_000

_COUNTS = ("like_count", "comment_count", "share_count", "view_count")
_VIDEO_FIELDS = frozenset(
    {
        "id",
        "create_time",
        "cover_image_url",
        "share_url",
        "video_description",
        "duration",
        "height",
        "width",
        "title",
        "embed_html",
        "embed_link",
        *_COUNTS,
    }
)
_LEVELS = {"follower_count": "followers", "following_count": "following", "video_count": "posts"}
_TEXTS = frozenset({"open_id", "union_id", "display_name", "username", "avatar_url", "bio_description"})


def _answer(data: dict[str, Any]) -> Reply:
    return Reply(200, {"data": data, "error": {"code": "ok", "message": "", "log_id": "20261120000000SANDBOX"}})


def _failure(status: int, code: str, message: str) -> Reply:
    error = {"code": code, "message": message, "log_id": "20261120000000SANDBOX"}
    return Reply(status, {"data": {}, "error": error})


def _video(ask: Ask, external_id: str, fields: list[str]) -> dict[str, Any]:
    peculiar = behaviour("tiktok", external_id)
    published = published_at("tiktok", external_id)
    served: dict[str, Any] = {}
    video: dict[str, Any] = {}
    for field in fields:
        if field in _COUNTS:
            if peculiar == "no_stats":
                served[field] = None
                continue
            served[field] = metric_value(ask.state.seed, "tiktok", external_id, field, published, ask.now)
            video[field] = served[field]
        elif field == "id":
            video["id"] = int(external_id) if peculiar == "number" else external_id
        elif field == "create_time":
            video["create_time"] = published // 1000
        elif field in ("title", "video_description"):
            video[field] = f"Video {external_id}"
    ask.served(external_id, served)
    return video


def _fields(ask: Ask, known: frozenset[str]) -> list[str] | Reply:
    fields = ask.listed("fields")
    if not fields:
        return _failure(400, "invalid_params", "Fields is required in this request")
    wrong = [field for field in fields if field not in known]
    if wrong:
        return _failure(400, "invalid_params", f"Invalid fields: {','.join(wrong)}")
    return fields


def _body(ask: Ask) -> dict[str, Any]:
    body = ask.json()
    return body if isinstance(body, dict) else {}


def _query(ask: Ask) -> Reply:
    fields = _fields(ask, _VIDEO_FIELDS)
    if isinstance(fields, Reply):
        return fields
    filters = _body(ask).get("filters")
    ids = filters.get("video_ids") if isinstance(filters, dict) else None
    if not isinstance(ids, list) or not 1 <= len(ids) <= _BATCH:
        return _failure(400, "invalid_params", f"Number of video ids should be between 1 and {_BATCH}")
    found = [
        external_id
        for external_id in dict.fromkeys(map(str, ids))
        if re.fullmatch(r"[0-9]{1,20}", external_id) and behaviour("tiktok", external_id) != "gone"
    ]
    return _answer({"videos": [_video(ask, external_id, fields) for external_id in found]})


def _list(ask: Ask) -> Reply:
    """A page of an account that posts once a day."""
    fields = _fields(ask, _VIDEO_FIELDS)
    if isinstance(fields, Reply):
        return fields
    size = _body(ask).get("max_count", 10)
    cursor = _body(ask).get("cursor", ask.now)
    if type(size) is not int or type(cursor) is not int or not 1 <= size <= _BATCH:
        return _failure(400, "invalid_params", "max_count or cursor is invalid")
    newest = cursor // _DAY_MS * _DAY_MS - _DAY_MS
    times = [newest - day * _DAY_MS for day in range(size)]
    videos = [_video(ask, make_id("tiktok", at, 0), fields) for at in times]
    return _answer({"videos": videos, "cursor": times[-1], "has_more": True})


def _user(ask: Ask) -> Reply:
    fields = _fields(ask, frozenset({*_LEVELS, *_TEXTS, "likes_count"}))
    if isinstance(fields, Reply):
        return fields
    account = ask.account_id
    user: dict[str, Any] = {}
    served: dict[str, Any] = {}
    for field in fields:
        if field in _LEVELS:
            user[field] = served[field] = level_value(ask.state.seed, "tiktok", account, _LEVELS[field], ask.now)
        elif field == "likes_count":
            # A hundred likes a post.
            user[field] = served[field] = 100 * level_value(ask.state.seed, "tiktok", account, "posts", ask.now)
        else:
            user[field] = account if field.endswith("_id") else f"account{account}"
    if served:
        ask.served(account, served)
    return _answer({"user": user})


def _token(ask: Ask) -> Reply:
    """Flat, unlike all other answers."""
    refused = {"error": "invalid_grant", "error_description": "Refresh token is invalid or expired.", "log_id": "1"}
    return oauth_refresh(
        ask, _DAY, Reply(400, refused), once=True, open_id=ask.account_id, refresh_expires_in=365 * _DAY
    )


class TikTokRoutes:
    """The endpoints of this platform, its limits and its failures."""

    platform = "tiktok"
    endpoints = (
        Endpoint(re.compile(r"/v2/video/query/?"), "/v2/video/query/", _query, _LIMIT, _MINUTE, method="POST"),
        Endpoint(re.compile(r"/v2/video/list/?"), "/v2/video/list/", _list, _LIMIT, _MINUTE, method="POST"),
        Endpoint(re.compile(r"/v2/user/info/?"), "/v2/user/info/", _user, _LIMIT, _MINUTE),
        Endpoint(
            re.compile(r"/v2/oauth/token/?"), "/v2/oauth/token/", _token, _LIMIT, _MINUTE, "address", False, "POST"
        ),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """TikTok doesn't say why a token fails, nor how long a limit lasts."""
        if kind in ("rate_limited", "quota_exhausted"):
            return _failure(429, "rate_limit_exceeded", "The API rate limit was exceeded. Please try again later.")
        if kind == "permission_missing":
            return _failure(401, "scope_not_authorized", "The user did not authorize the scope required.")
        if kind == "server_error":
            return _failure(500, "internal_error", "Something went wrong. Please try again later.")
        return _failure(401, "access_token_invalid", "The access token is invalid or not found in the request.")

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """TikTok says nothing about the limit."""
        return {}


ROUTES = TikTokRoutes()
