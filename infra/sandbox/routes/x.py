"""X, API v2: posts and users by ids.

Source: xdevplatform/docs `x-api/fundamentals/metrics.mdx`, `response-codes-and-errors.mdx`, `edit-posts.mdx`;
bodies of refusals as seen in public issues (xdevplatform/xdk 25, plhery/node-twitter-api-v2 432).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from infra.sandbox.curves import level_value, metric_value
from infra.sandbox.exchange import Ask, Endpoint, Reply
from infra.sandbox.ids import behaviour, has_video, make_id, published_at
from infra.sandbox.tokens import oauth_refresh

_PROBLEMS = "https://api.x.com/2/problems/"
_PRIVATE_MS = 30 * 86_400_000
_BATCH = 100
_FIFTEEN_MINUTES = 900
_QUARTER_DAY_MS = 6 * 3_600_000

_PUBLIC: tuple[str, ...] = (
    "retweet_count",
    "reply_count",
    "like_count",
    "quote_count",
    "bookmark_count",
    "impression_count",
)
_PRIVATE: dict[str, tuple[str, ...]] = {
    "non_public_metrics": ("impression_count", "url_link_clicks", "user_profile_clicks", "engagements"),
    "organic_metrics": (
        "impression_count",
        "like_count",
        "reply_count",
        "retweet_count",
        "url_link_clicks",
        "user_profile_clicks",
    ),
}
_TWEET_FIELDS = frozenset(
    {
        "attachments",
        "author_id",
        "created_at",
        "edit_controls",
        "id",
        "lang",
        "public_metrics",
        "promoted_metrics",
        "text",
        *_PRIVATE,
    }
)


def _problem(status: int, kind: str, title: str, detail: str, **more: Any) -> Reply:
    body = {"title": title, "detail": detail, "type": kind if kind == "about:blank" else _PROBLEMS + kind, **more}
    if kind == "about:blank":
        body["status"] = status
    return Reply(status, body)


def _invalid(parameter: str, value: str, message: str) -> Reply:
    return _problem(
        400,
        "invalid-request",
        "Invalid Request",
        "One or more parameters to your request was invalid.",
        errors=[{"parameters": {parameter: [value]}, "message": message}],
    )


def _not_found(external_id: str, parameter: str, resource: str = "tweet") -> dict[str, Any]:
    return {
        "value": external_id,
        "detail": f"Could not find {resource} with {parameter}: [{external_id}].",
        "title": "Not Found Error",
        "resource_type": resource,
        "parameter": parameter,
        "resource_id": external_id,
        "type": _PROBLEMS + "resource-not-found",
    }


def _refused(external_id: str, parameter: str) -> dict[str, Any]:
    return {
        "value": external_id,
        "detail": f"Sorry, you are not authorized to see the Tweet with {parameter}: [{external_id}].",
        "title": "Authorization Error",
        "resource_type": "tweet",
        "parameter": parameter,
        "resource_id": external_id,
        "section": "data",
        "type": _PROBLEMS + "not-authorized-for-resource",
    }


def _field_refused(external_id: str, field: str, parameter: str) -> dict[str, Any]:
    return {
        "value": external_id,
        "detail": f"Sorry, you are not authorized to access '{field}' on the Tweet with {parameter} : [{external_id}].",
        "title": "Field Authorization Error",
        "resource_type": "tweet",
        "field": field,
        "parameter": parameter,
        "resource_id": external_id,
        "section": "data",
        "type": _PROBLEMS + "not-authorized-for-field",
    }


def _tweet(ask: Ask, asked: str, fields: set[str], media: dict[str, Any] | None) -> dict[str, Any]:
    """One post object; an edited post answers with its newest version."""
    external_id, history = asked, [asked]
    if behaviour("x", asked) == "edited":
        external_id = str(int(asked) + 1)
        history = [asked, external_id]
    tweet: dict[str, Any] = {"id": external_id, "text": f"Post {external_id}", "edit_history_tweet_ids": history}
    if "created_at" in fields:
        at = datetime.fromtimestamp(published_at("x", external_id) / 1000, UTC)
        tweet["created_at"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    seed, published, now = ask.state.seed, published_at("x", external_id), ask.now
    served: dict[str, int] = {}

    def figures(names: tuple[str, ...]) -> dict[str, int]:
        for name in names:
            if name not in served:
                served[name] = metric_value(seed, "x", external_id, name, published, now)
        return {name: served[name] for name in names}

    if "public_metrics" in fields:
        tweet["public_metrics"] = figures(_PUBLIC[:4] if behaviour("x", asked) == "old" else _PUBLIC)
    for group, names in _PRIVATE.items():
        if group in fields:
            tweet[group] = figures(names)
    if media is not None and has_video(external_id):
        key = f"13_{external_id}"
        tweet["attachments"] = {"media_keys": [key]}
        media[key] = {"media_key": key, "type": "video", "public_metrics": figures(("view_count",))}
    ask.served(asked, served)
    return tweet


def _answer(ask: Ask, ids: list[str], parameter: str) -> Reply:
    fields = set(ask.listed("tweet.fields"))
    for field in sorted(fields - _TWEET_FIELDS):
        known = ",".join(sorted(_TWEET_FIELDS))
        return _invalid(
            "tweet.fields", field, f"The `tweet.fields` query parameter value [{field}] is not one of [{known}]"
        )
    with_media = "attachments.media_keys" in ask.listed("expansions")
    media: dict[str, Any] | None = {} if with_media else None
    found: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for external_id in ids:
        kind = behaviour("x", external_id)
        private = sorted(fields & _PRIVATE.keys())
        too_old = ask.now - published_at("x", external_id) > _PRIVATE_MS
        if kind == "gone":
            errors.append(_not_found(external_id, parameter))
        elif kind == "private":
            errors.append(_refused(external_id, parameter))
        elif private and (kind == "foreign" or too_old or ask.token_kind == "app"):
            names = [f"{group}.{name}" for group in private for name in _PRIVATE[group]]
            errors.extend(_field_refused(external_id, name, parameter) for name in names)
        else:
            found.append(_tweet(ask, external_id, fields, media))
    body: dict[str, Any] = {}
    if found:
        body["data"] = found if parameter == "ids" else found[0]
    if media and "public_metrics" in ask.listed("media.fields"):
        body["includes"] = {"media": list(media.values())}
    elif media:
        body["includes"] = {"media": [{"media_key": key, "type": "video"} for key in media]}
    if errors:
        body["errors"] = errors
    return Reply(200, body)


def _tweets(ask: Ask) -> Reply:
    ids = ask.listed("ids")
    if not 1 <= len(ids) <= _BATCH:
        return _invalid("ids", ask.value("ids"), f"size must be between 1 and {_BATCH}, was {len(ids)}")
    for external_id in ids:
        if not re.fullmatch(r"[0-9]{1,19}", external_id):
            message = f"The `ids` query parameter value [{external_id}] does not match ^[0-9]{{1,19}}$"
            return _invalid("ids", external_id, message)
    return _answer(ask, ids, "ids")


def _one_tweet(ask: Ask) -> Reply:
    return _answer(ask, [ask.path_ids[0]], "id")


def _timeline(ask: Ask) -> Reply:
    """The newest posts of any account: one each quarter of a day, also such as were published elsewhere."""
    account = ask.path_ids[0]
    wanted = ask.value("max_results", "10")
    if not wanted.isdigit() or not 5 <= int(wanted) <= 100:
        return _invalid(
            "max_results", wanted, f"The `max_results` query parameter value [{wanted}] is not between 5 and 100"
        )
    last = ask.now - ask.now % _QUARTER_DAY_MS
    number = int(account) % 1000
    posts = []
    for step in range(int(wanted)):
        external_id = make_id("x", last - step * _QUARTER_DAY_MS, number)
        posts.append(_tweet(ask, external_id, {"created_at", *ask.listed("tweet.fields")}, None))
    newest, oldest = posts[0]["id"], posts[-1]["id"]
    return Reply(200, {"data": posts, "meta": {"result_count": len(posts), "newest_id": newest, "oldest_id": oldest}})


def _user(ask: Ask, external_id: str) -> dict[str, Any]:
    user: dict[str, Any] = {"id": external_id, "name": f"Account {external_id}", "username": f"account{external_id}"}
    if "public_metrics" in ask.listed("user.fields"):
        seed, now = ask.state.seed, ask.now
        user["public_metrics"] = {
            "followers_count": level_value(seed, "x", external_id, "followers", now),
            "following_count": level_value(seed, "x", external_id, "following", now),
            "tweet_count": level_value(seed, "x", external_id, "posts", now),
            "listed_count": 0,
        }
        ask.served(external_id, user["public_metrics"])
    return user


def _users(ask: Ask) -> Reply:
    ids = ask.listed("ids")
    if not 1 <= len(ids) <= _BATCH:
        return _invalid("ids", ask.value("ids"), f"size must be between 1 and {_BATCH}, was {len(ids)}")
    missing = [external_id for external_id in ids if external_id.endswith("40404")]
    found = [_user(ask, external_id) for external_id in ids if external_id not in missing]
    body: dict[str, Any] = {"data": found} if found else {}
    if missing:
        body["errors"] = [_not_found(external_id, "ids", "user") for external_id in missing]
    return Reply(200, body)


def _one_user(ask: Ask) -> Reply:
    external_id = ask.account_id if ask.path_ids[0] == "me" else ask.path_ids[0]
    return Reply(200, {"data": _user(ask, external_id)})


def _token(ask: Ask) -> Reply:
    refused = {"error": "invalid_request", "error_description": "Value passed for the token was invalid."}
    return oauth_refresh(ask, 7200, Reply(400, refused), once=True, scope="tweet.read users.read offline.access")


class XRoutes:
    """The endpoints of this platform, its limits and its failures."""

    platform = "x"
    endpoints = (
        Endpoint(re.compile(r"/2/tweets"), "/2/tweets", _tweets, 5000, _FIFTEEN_MINUTES),
        Endpoint(re.compile(r"/2/tweets/([0-9]{1,19})"), "/2/tweets/{id}", _one_tweet, 900, _FIFTEEN_MINUTES),
        Endpoint(re.compile(r"/2/users"), "/2/users", _users, 900, _FIFTEEN_MINUTES),
        Endpoint(re.compile(r"/2/users/(me)"), "/2/users/me", _one_user, 75, _FIFTEEN_MINUTES),
        Endpoint(re.compile(r"/2/oauth2/token"), "/2/oauth2/token", _token, 300, 900, "address", False, "POST"),
        Endpoint(re.compile(r"/2/users/([0-9]{1,19})"), "/2/users/{id}", _one_user, 900, _FIFTEEN_MINUTES),
        Endpoint(
            re.compile(r"/2/users/([0-9]{1,19})/tweets"), "/2/users/{id}/tweets", _timeline, 900, _FIFTEEN_MINUTES
        ),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """X doesn't say why a token fails."""
        if kind == "rate_limited":
            reply = _problem(429, "about:blank", "Too Many Requests", "Too Many Requests")
            reply.headers["x-rate-limit-remaining"] = "0"
            reply.headers["x-rate-limit-reset"] = str(-(-ask.wall // 1000) + retry_after_seconds)
            return reply
        if kind == "quota_exhausted":
            detail = "Usage cap exceeded: Monthly product cap"
            more = {"account_id": 1, "product_name": "standard-basic", "period": "Monthly", "scope": "Product"}
            return _problem(429, "usage-capped", "UsageCapExceeded", detail, **more)
        if kind == "permission_missing":
            detail = "When authenticating requests, you must use an App that is attached to a Project."
            more = {"reason": "client-not-enrolled", "registration_url": "https://developer.x.com"}
            return _problem(403, "client-forbidden", "Client Forbidden", detail, **more)
        if kind == "account_disabled":
            return Reply(403, {"errors": [{"code": 64, "message": "Your account is suspended and is not permitted."}]})
        if kind == "server_error":
            return _problem(503, "about:blank", "Service Unavailable", "Service Unavailable")
        return _problem(401, "about:blank", "Unauthorized", "Unauthorized")

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """`x-rate-limit-*`, reset as an epoch second."""
        return {
            "x-rate-limit-limit": str(endpoint.limit),
            "x-rate-limit-remaining": str(remaining),
            "x-rate-limit-reset": str(-(-ends_at // 1000)),
        }


ROUTES = XRoutes()
