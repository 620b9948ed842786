"""Facebook pages on the Graph API: posts by ids or alone, their insights, batches, the page and its insights.

Source: Meta "Page Insights", "Batch requests", "Handling errors", "Rate limiting"; refusals as in
gitroomhq/postiz-app issue 1609 and martey's facebook-sdk issue 315. On paths that Instagram has too, what belongs to
Facebook is told by its ids, which hold a page and a post, and by its names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson

from infra.sandbox.curves import DAY_SECONDS, average_watch_millis, level_value, metric_value, period_value
from infra.sandbox.exchange import Ask, Endpoint, Reply
from infra.sandbox.ids import behaviour, published_at

_BATCH = 50
# Calls a day of a page with 10 engaged users a day; the real limit is 4800 x its engaged users.
_LIMIT, _DAY = 48_000, 86_400
_LONGEST_SECONDS = 90 * DAY_SECONDS + 3600

_POST_NAMES = frozenset(
    {
        "post_media_view",
        "post_total_media_view_unique",
        "post_clicks",
        "post_video_views",
        "post_video_view_time",
        "post_reactions_by_type_total",
    }
)
# Figures that follow from others, which are on the record.
_MADE_UP = frozenset({"post_video_view_time", "post_reactions_by_type_total"})
_PAGE_NAMES = frozenset(
    {
        "page_follows",
        "page_daily_follows_unique",
        "page_media_view",
        "page_total_media_view_unique",
        "page_post_engagements",
        "page_video_views",
        "page_views_total",
    }
)
_PAGE_FIELDS = frozenset({"id", "name", "followers_count", "fan_count", "category", "link"})

_POST = r"([0-9]{1,20}_[0-9]{1,20})"
_VERSION = r"(?:/v[0-9]{1,2}\.[0-9])?"


def _error(status: int, code: int, message: str, subcode: int | None = None, kind: str = "OAuthException") -> Reply:
    body: dict[str, Any] = {"message": message, "type": kind, "code": code}
    if subcode is not None:
        body["error_subcode"] = subcode
    return Reply(status, {"error": {**body, "fbtrace_id": "Asandboxsandboxsandbox"}})


class _RefusedError(Exception):
    """One thing about the request fails all of it."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def _check_post(external_id: str) -> None:
    """Refuse ids that fail whatever is asked."""
    peculiar = behaviour("facebook", external_id)
    if peculiar == "alias":
        message = f"(#803) Some of the aliases you requested do not exist: {external_id}"
        raise _RefusedError(_error(404, 803, message))
    if peculiar == "gone" or not re.fullmatch(_POST, external_id):
        message = (
            f"Unsupported get request. Object with ID '{external_id}' does not exist, cannot be loaded due to missing "
            "permissions, or does not support this operation."
        )
        raise _RefusedError(_error(400, 100, message, 33, "GraphMethodException"))


def _value(ask: Ask, external_id: str, name: str) -> Any:
    seed, published = ask.state.seed, published_at("facebook", external_id)
    if name == "post_reactions_by_type_total":
        whole = metric_value(seed, "facebook", external_id, "reactions", published, ask.now)
        return {"like": whole - whole // 4, "love": whole // 4}
    if name == "post_video_view_time":
        views = metric_value(seed, "facebook", external_id, "post_video_views", published, ask.now)
        return views * average_watch_millis(seed, "facebook", external_id)
    return metric_value(seed, "facebook", external_id, name, published, ask.now)


def _insights(
    ask: Ask, external_id: str, names: list[str], periods: list[str], served: dict[str, Any]
) -> dict[str, Any]:
    if not names:
        raise _RefusedError(_error(400, 3001, "Invalid query", 1504028))
    if not _POST_NAMES.issuperset(names):
        raise _RefusedError(_error(400, 100, "(#100) The value must be a valid insights metric"))
    if behaviour("facebook", external_id) == "no_insights":
        return {"data": []}
    data = []
    for name in names:
        for period in periods:
            value = _value(ask, external_id, name)
            if period == "lifetime" and name not in _MADE_UP:
                served[name] = value
            data.append(
                {
                    "name": name,
                    "period": period,
                    "values": [{"value": value if period == "lifetime" else 1}],
                    "title": name.replace("_", " ").capitalize(),
                    "description": "",
                    "id": f"{external_id}/insights/{name}/{period}",
                }
            )
    return {"data": data}


def _split_fields(text: str) -> Iterator[str]:
    """Fields between commas, not between those inside brackets."""
    depth, start = 0, 0
    for index, character in enumerate(text):
        depth += (character in "({") - (character in ")}")
        if character == "," and depth == 0:
            yield text[start:index].strip()
            start = index + 1
    if text[start:]:
        yield text[start:].strip()


def _periods(text: str) -> list[str]:
    """Without a period a figure comes once for each."""
    return [text] if text else ["day", "lifetime"]


def _post(ask: Ask, external_id: str, fields: list[str], served: dict[str, Any]) -> dict[str, Any]:
    _check_post(external_id)
    post: dict[str, Any] = {}
    for field in fields:
        name = field.partition(".")[0]
        metric = re.search(r"\.metric\(([^()]*)\)", field)
        if name == "insights" and metric is not None:
            period = re.search(r"\.period\((\w+)\)", field)
            names = [part.strip() for part in metric[1].split(",") if part]
            post[name] = _insights(ask, external_id, names, _periods(period[1] if period else ""), served)
        elif name in ("reactions", "comments"):
            served[name] = _value(ask, external_id, name)
            post[name] = {"data": []}
            if ".summary(" in field:
                post[name]["summary"] = {"total_count": served[name]}
        elif name == "shares":
            served[name] = None if behaviour("facebook", external_id) == "unshared" else _value(ask, external_id, name)
            if served[name] is not None:
                post[name] = {"count": served[name]}
        elif name == "created_time":
            at = datetime.fromtimestamp(published_at("facebook", external_id) // 1000, UTC)
            post[name] = at.strftime("%Y-%m-%dT%H:%M:%S+0000")
        elif name != "id":
            raise _RefusedError(_error(400, 100, f"(#100) Tried accessing nonexisting field ({name})"))
    post["id"] = external_id
    return post


def _answer_posts(ask: Ask, ids: list[str], fields: list[str]) -> dict[str, dict[str, Any]]:
    """All posts asked for, on the record only when none of them failed the request."""
    served: dict[str, dict[str, Any]] = {external_id: {} for external_id in ids}
    found = {external_id: _post(ask, external_id, fields, served[external_id]) for external_id in ids}
    for external_id, figures in served.items():
        ask.served(external_id, figures)
    return found


def _refusable(answer: Callable[[Ask], Reply]) -> Callable[[Ask], Reply]:
    """An answer that may be refused half way."""

    def answered(ask: Ask) -> Reply:
        try:
            return answer(ask)
        except _RefusedError as refused:
            return refused.reply

    return answered


def _several(ask: Ask) -> Reply:
    ids = ask.listed("ids")
    if len(ids) > _BATCH:
        return _error(400, 100, f"(#100) Too many IDs. Maximum: {_BATCH}. Provided: {len(ids)}.")
    return Reply(200, _answer_posts(ask, ids, list(_split_fields(ask.value("fields")))))


def _one_post(ask: Ask) -> Reply:
    external_id = ask.path_ids[0]
    return Reply(200, _answer_posts(ask, [external_id], list(_split_fields(ask.value("fields"))))[external_id])


def _post_insights(ask: Ask) -> Reply:
    external_id = ask.path_ids[0]
    _check_post(external_id)
    served: dict[str, Any] = {}
    reply = Reply(200, _insights(ask, external_id, ask.listed("metric"), _periods(ask.value("period")), served))
    ask.served(external_id, served)
    return reply


def _page_of(ask: Ask) -> str:
    return ask.account_id if ask.path_ids[0] == "me" else ask.path_ids[0]


def _page(ask: Ask) -> Reply:
    page = _page_of(ask)
    found: dict[str, Any] = {}
    served: dict[str, Any] = {}
    for field in _split_fields(ask.value("fields", "id,name")):
        if field in ("followers_count", "fan_count"):
            found[field] = served[field] = level_value(ask.state.seed, "facebook", page, "followers", ask.now)
        elif field in _PAGE_FIELDS:
            found[field] = page if field == "id" else f"Page {page}"
        else:
            return _error(400, 100, f"(#100) Tried accessing nonexisting field ({field})")
    if served:
        ask.served(page, served)
    return Reply(200, {**found, "id": page})


def _published_posts(ask: Ask) -> Reply:
    page = _page_of(ask)
    posts = level_value(ask.state.seed, "facebook", page, "posts", ask.now)
    answer: dict[str, Any] = {"data": [{"id": f"{page}_1"}]}
    if "total_count" in ask.value("summary"):
        answer["summary"] = {"total_count": posts}
        ask.served(page, {"published_posts": posts})
    return Reply(200, answer)


def _page_insights(ask: Ask) -> Reply:
    """Days of a page; the newest day is the one that closed last before `until`."""
    page, names = _page_of(ask), ask.listed("metric")
    if not _PAGE_NAMES.issuperset(names) or not names:
        return _error(400, 100, "(#100) The value must be a valid insights metric")
    since, until = ask.value("since"), ask.value("until")
    end = int(until) if until.isdigit() else ask.now // 1000 // DAY_SECONDS * DAY_SECONDS + 8 * 3600
    start = int(since) if since.isdigit() else end - 2 * DAY_SECONDS
    if not 0 <= end - start <= _LONGEST_SECONDS:
        return _error(400, 100, "(#100) There cannot be more than 90 days between since and until")
    seed = ask.state.seed
    data = []
    served: dict[str, Any] = {"since": start, "until": end}
    for name in names:
        values = []
        for at in range(start + DAY_SECONDS, min(end, ask.now // 1000) + 1, DAY_SECONDS):
            first, last = (at - DAY_SECONDS) * 1000, at * 1000
            value = (
                level_value(seed, "facebook", page, "followers", last)
                if name == "page_follows"
                else period_value(seed, "facebook", page, name, first, last)
            )
            closed = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
            values.append({"value": value, "end_time": closed})
        served[name] = values
        data.append(
            {
                "name": name,
                "period": "day",
                "values": values,
                "title": name.replace("_", " ").capitalize(),
                "description": "",
                "id": f"{page}/insights/{name}/day",
            }
        )
    ask.served(page, served)
    return Reply(200, {"data": data, "paging": {}})


def _batch(ask: Ask) -> Reply:
    """Up to 50 requests; each has a status of its own, and its body is JSON in a string."""
    body = ask.json()
    requests = body.get("batch") if isinstance(body, dict) else None
    if isinstance(requests, str):
        requests = orjson.loads(requests)
    if not isinstance(requests, list) or not 1 <= len(requests) <= _BATCH:
        return _error(400, 100, f"(#100) Too many requests in batch message. Maximum batch size is {_BATCH}")
    elements = []
    for request in requests:
        url = request.get("relative_url") if isinstance(request, dict) else None
        reply = _relative(ask, url) if isinstance(url, str) else _error(400, 100, "(#100) relative_url is required")
        headers = [{"name": "Content-Type", "value": "text/javascript; charset=UTF-8"}]
        elements.append({"code": reply.status, "headers": headers, "body": orjson.dumps(reply.body).decode()})
    return Reply(200, elements)


def _relative(ask: Ask, url: str) -> Reply:
    path, _, query = url.partition("?")
    for endpoint in FacebookRoutes.endpoints:
        match = endpoint.pattern.fullmatch("/" + path.lstrip("/"))
        if match is not None and endpoint.method == "GET":
            pairs = parse_qsl(query, keep_blank_values=True)
            inner = Ask(
                ask.state, ask.platform, path, pairs, ask.token, ask.now, ask.wall, tuple(filter(None, match.groups()))
            )
            return endpoint.answer(inner)
    return _error(400, 2500, "Unknown path components: /" + path)


def _has_posts(query: dict[str, str]) -> bool:
    return "_" in query.get("ids", "")


def _is_page(query: dict[str, str]) -> bool:
    return bool({"followers_count", "fan_count"} <= set(query.get("fields", "").split(",")))


def _is_page_identity(query: dict[str, str]) -> bool:
    return "name" in query.get("fields", "").split(",")


def _has_page_names(query: dict[str, str]) -> bool:
    return query.get("metric", "").startswith("page_")


def _endpoint(path: str, name: str, answer: Callable[[Ask], Reply], **more: Any) -> Endpoint:
    return Endpoint(re.compile(_VERSION + path), name, _refusable(answer), _LIMIT, _DAY, **more)


class FacebookRoutes:
    """The endpoints of this platform, its limits and its failures."""

    platform = "facebook"
    endpoints = (
        _endpoint(r"/?", "/?ids=", _several, claims=_has_posts),
        _endpoint(r"/?", "/ (batch)", _batch, method="POST"),
        _endpoint(rf"/{_POST}/insights", "/{post}/insights", _post_insights),
        _endpoint(rf"/{_POST}", "/{post}", _one_post),
        _endpoint(r"/(me|[0-9]{1,20})/published_posts", "/{page}/published_posts", _published_posts),
        _endpoint(r"/(me|[0-9]{1,20})/insights", "/{page}/insights", _page_insights, claims=_has_page_names),
        _endpoint(r"/([0-9]{1,20})", "/{page}", _page, claims=_is_page),
        _endpoint(r"/(me)", "/me", _page, claims=_is_page_identity),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """A failure: status 400 for nearly all kinds, told apart by code and subcode."""
        if kind in ("rate_limited", "quota_exhausted"):
            reply = _error(400, 80001, "(#80001) There have been too many calls to this Page account.", 2446079)
            reply.headers["x-business-use-case-usage"] = _usage(ask.account_id, 100, -(-retry_after_seconds // 60))
            return reply
        if kind == "token_missing":
            return _error(400, 104, "An access token is required to request this resource.")
        if kind == "token_revoked":
            return _error(400, 190, "Error validating access token: The user has not authorized application 1.", 458)
        if kind == "permission_missing":
            message = "(#200) Requires pages_read_engagement permission to manage the object"
            return _error(403, 200, message)
        if kind == "account_disabled":
            return _error(400, 190, "Error validating access token: The user is checkpointed.", 459)
        if kind == "server_error":
            return _error(500, 2, "An unexpected error has occurred. Please retry your request later.")
        return _error(400, 190, "Error validating access token: Session has expired.", 463)

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """The usage headers: percentages of the limit that are used."""
        used = 100 - remaining * 100 // endpoint.limit
        return {
            "x-app-usage": orjson.dumps({"call_count": used, "total_cputime": 0, "total_time": 0}).decode(),
            "x-business-use-case-usage": _usage(ask.account_id, used, 0),
        }


def _usage(account_id: str, used: int, minutes: int) -> str:
    usage = {
        "type": "pages",
        "call_count": used,
        "total_cputime": 0,
        "total_time": 0,
        "estimated_time_to_regain_access": minutes,
    }
    return orjson.dumps({account_id: [usage]}).decode()


ROUTES = FacebookRoutes()
