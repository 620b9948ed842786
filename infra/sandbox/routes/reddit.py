"""Reddit: posts by ids, subreddits, profiles, the token's own account.

Source: praw-dev/praw `tests/integration/cassettes` (`TestReddit.test_info`, `TestSubreddit`, `TestRedditor`); error
bodies as in public issues (not-an-aardvark/snoowrap 254, redlib-org/redlib 109).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from infra.sandbox.curves import level_value, metric_value
from infra.sandbox.exchange import Ask, Endpoint, Reply
from infra.sandbox.ids import behaviour, make_id, published_at
from infra.sandbox.tokens import oauth_refresh

_BATCH = 100
_LIMIT, _TEN_MINUTES = 1000, 600
_DAY_MS = 86_400_000
_COUNTS = ("score", "num_comments", "num_crossposts")


def _error(status: int, message: str, **more: Any) -> Reply:
    return Reply(status, {**more, "message": message, "error": status})


def _listing(children: list[dict[str, Any]]) -> Reply:
    data = {"after": None, "dist": len(children), "modhash": "", "children": children, "before": None}
    return Reply(200, {"kind": "Listing", "data": data})


def _post(ask: Ask, name: str) -> dict[str, Any]:
    peculiar, published = behaviour("reddit", name), published_at("reddit", name)
    names = _COUNTS[:2] if peculiar == "old" else _COUNTS
    counts = {metric: metric_value(ask.state.seed, "reddit", name, metric, published, ask.now) for metric in names}
    shown: dict[str, int | None] = dict(counts)
    post: dict[str, Any] = {
        "name": name,
        "id": name.removeprefix("t3_"),
        "subreddit": "sandbox",
        "author": "account",
        "title": f"Post {name}",
        "permalink": f"/r/sandbox/comments/{name.removeprefix('t3_')}/post/",
        "created_utc": published / 1000,
        "likes": None,
        "upvote_ratio": 0.97,
        "hide_score": peculiar == "hidden_likes",
        "view_count": None,
        "removed_by_category": "moderator" if peculiar == "removed" else None,
        **counts,
    }
    if peculiar == "hidden_likes":
        post["score"], shown["score"] = 1, None
    if peculiar == "viewed":
        post["view_count"] = metric_value(ask.state.seed, "reddit", name, "view_count", published, ask.now)
        shown["view_count"] = post["view_count"]
    post["ups"] = post["score"]
    ask.served(name, shown)
    return {"kind": "t3", "data": post}


def _subreddit(ask: Ask, fullname: str, name: str) -> dict[str, Any]:
    counts = {"subscribers": level_value(ask.state.seed, "reddit", fullname, "followers", ask.now)}
    ask.served(fullname, counts)
    return {"name": fullname, "display_name": name, "subreddit_type": "public", **counts}


def _things(ask: Ask, names: list[str]) -> Reply:
    if not 1 <= len(names) <= _BATCH:
        return _error(400, "Bad Request")
    children = []
    for name in names:
        if name.startswith("t5_"):
            children.append({"kind": "t5", "data": _subreddit(ask, name, "sandbox")})
        elif re.fullmatch(r"t3_[0-9a-z]{1,13}", name) and behaviour("reddit", name) != "gone":
            children.append(_post(ask, name))
    return _listing(children)


def _info(ask: Ask) -> Reply:
    return _things(ask, ask.listed("id"))


def _by_id(ask: Ask) -> Reply:
    return _things(ask, [name for name in unquote(ask.path_ids[0]).split(",") if name])


def _about_subreddit(ask: Ask) -> Reply:
    name = ask.path_ids[0]
    if name.endswith("private"):
        return _error(403, "Forbidden", reason="private")
    return Reply(200, {"kind": "t5", "data": _subreddit(ask, f"r/{name}", name)})


def _profile(ask: Ask, name: str) -> dict[str, Any]:
    own = _subreddit(ask, name, f"u_{name}")
    return {"name": name, "id": name, "link_karma": 1, "comment_karma": 1, "subreddit": own}


def _about_user(ask: Ask) -> Reply:
    name = ask.path_ids[0]
    if name.endswith("gone"):
        return _error(404, "Not Found")
    if name.endswith("suspended"):
        return Reply(200, {"kind": "t2", "data": {"name": name, "is_suspended": True}})
    return Reply(200, {"kind": "t2", "data": _profile(ask, name)})


def _newest(ask: Ask) -> Reply:
    """The newest posts of a subreddit, or of a profile, that has one a day."""
    size = min(_BATCH, int(ask.value("limit") or "25"))
    newest = ask.now // _DAY_MS * _DAY_MS
    return _listing([_post(ask, make_id("reddit", newest - number * _DAY_MS, 0)) for number in range(size)])


def _me(ask: Ask) -> Reply:
    return Reply(200, _profile(ask, ask.account_id))


def _token(ask: Ask) -> Reply:
    return oauth_refresh(ask, 86_400, _error(400, "Bad Request"), once=False, scope="read identity")


class RedditRoutes:
    """The endpoints of this platform, its limits and its failures."""

    platform = "reddit"
    endpoints = (
        Endpoint(re.compile(r"/api/info"), "/api/info", _info, _LIMIT, _TEN_MINUTES),
        Endpoint(re.compile(r"/by_id/([^/]+)"), "/by_id/{names}", _by_id, _LIMIT, _TEN_MINUTES),
        Endpoint(re.compile(r"/r/([\w-]+)/about"), "/r/{name}/about", _about_subreddit, _LIMIT, _TEN_MINUTES),
        Endpoint(re.compile(r"/user/([\w-]+)/submitted"), "/user/{name}/submitted", _newest, _LIMIT, _TEN_MINUTES),
        Endpoint(re.compile(r"/r/([\w-]+)/new"), "/r/{name}/new", _newest, _LIMIT, _TEN_MINUTES),
        Endpoint(re.compile(r"/user/([\w-]+)/about"), "/user/{name}/about", _about_user, _LIMIT, _TEN_MINUTES),
        Endpoint(
            re.compile(r"/api/v1/access_token"), "/api/v1/access_token", _token, 300, 900, "address", False, "POST"
        ),
        Endpoint(re.compile(r"/api/v1/me"), "/api/v1/me", _me, _LIMIT, _TEN_MINUTES),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """Reddit repeats the status in the body; a reason tells some kinds of 403 apart."""
        if kind in ("rate_limited", "quota_exhausted"):
            reply = _error(429, "Too Many Requests")
            reply.headers["x-ratelimit-remaining"] = "0.0"
            reply.headers["x-ratelimit-reset"] = str(retry_after_seconds)
            return reply
        if kind == "permission_missing":
            reply = _error(403, "Forbidden")
            reply.headers["www-authenticate"] = 'Bearer realm="reddit", error="insufficient_scope"'
            return reply
        if kind == "account_disabled":
            return _error(403, "Forbidden", reason="suspended")
        if kind == "server_error":
            return _error(503, "Service Unavailable")
        reply = _error(401, "Unauthorized")
        reply.headers["www-authenticate"] = 'Bearer realm="reddit", error="invalid_token"'
        return reply

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """`x-ratelimit-*`: what is left is a decimal number, the reset is in seconds from now."""
        return {
            "x-ratelimit-used": str(endpoint.limit - remaining),
            "x-ratelimit-remaining": f"{remaining}.0",
            "x-ratelimit-reset": str(max(0, -(-(ends_at - ask.wall) // 1000))),
        }


ROUTES = RedditRoutes()
