"""Facebook pages on the Graph API: posts alone, bare ids, their insights, batches, the page and its insights.

Source: Meta "Page Insights", "Batch requests", "Handling errors", "Rate limiting"; refusals as in
gitroomhq/postiz-app issue 1609 and pull 1669, and martey's facebook-sdk issue 315. On paths that Instagram has too,
what belongs to Facebook is told by its ids, which hold a page and a post, and by its names.

A bare id is a video's; by its ending it may be a photo's or a story's. Tokens that begin with `sandbox-narrow-` lack
pages_read_user_content; those that begin with `sandbox-user-` are of a user who manages the page after the `~`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson

from infra.sandbox.asked import split_fields
from infra.sandbox.curves import DAY_SECONDS, average_watch_millis, level_value, metric_value, period_value
from infra.sandbox.exchange import Ask, Endpoint, Reply
from infra.sandbox.ids import behaviour, make_id, published_at
from infra.sandbox.routes import _graph
from infra.sandbox.routes._graph import RefusedError, refusable

_BATCH = 50
# Calls a day of a page with 10 engaged users a day; the real limit is 4800 x its engaged users.
_LIMIT, _DAY = 48_000, 86_400
HOUR_MILLIS = 3_600_000
_LONGEST_SECONDS = 90 * DAY_SECONDS + 3600

_POST_NAMES = frozenset(
    {
        "post_media_view",
        "post_total_media_view_unique",
        "post_clicks",
        "post_video_views",
        "post_video_view_time",
        "post_reactions_by_type_total",
        "post_activity_by_action_type",
    }
)
# Of a video or reel, at `/video_insights`.
_VIDEO_NAMES = (
    "blue_reels_play_count",
    "post_video_view_time",
    "post_video_avg_time_watched",
    "post_video_likes_by_reaction_type",
    "post_video_social_actions",
)
_STORY_NAMES = frozenset(
    {
        "story_media_view",
        "story_total_media_view_unique",
        "pages_fb_story_thread_lightweight_reactions",
        "pages_fb_story_replies",
        "pages_fb_story_shares",
    }
)
# Figures that follow from others, which are on the record.
_MADE_UP = frozenset(
    {
        "post_video_view_time",
        "post_video_avg_time_watched",
        "post_reactions_by_type_total",
        "post_activity_by_action_type",
        "post_video_likes_by_reaction_type",
        "post_video_social_actions",
    }
)
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
_BARE = r"([0-9]{1,20})"
_USER_CONTENT = frozenset({"reactions", "comments"})
_NARROW, _USER = "narrow", "user"
_VERSION = r"(?:/v[0-9]{1,2}\.[0-9])?"


def _word(ask: Ask) -> str:
    """The word of a token that narrows what it may ask for."""
    return ask.token.removeprefix("sandbox-").partition("-")[0]


def _node_of(external_id: str) -> str:
    """The type of an id's node."""
    if "_" in external_id:
        return "Post"
    return {"photo": "Photo", "story": "Story"}.get(behaviour("facebook", external_id), "Video")


def _check_post(external_id: str) -> None:
    """Refuse ids that fail whatever is asked."""
    peculiar = behaviour("facebook", external_id)
    if peculiar == "alias":
        message = f"(#803) Some of the aliases you requested do not exist: {external_id}"
        raise RefusedError(_graph.error(404, 803, message))
    if peculiar == "deleted":
        raise RefusedError(_graph.object_missing())
    if peculiar == "heavy":
        raise RefusedError(_graph.too_much())
    if peculiar == "gone" or not re.fullmatch(f"{_POST}|{_BARE}", external_id):
        raise RefusedError(_graph.no_such_object(external_id))


def _value(ask: Ask, external_id: str, name: str) -> Any:
    seed, published = ask.state.seed, published_at("facebook", external_id)

    def counted(metric: str) -> int:
        return metric_value(seed, "facebook", external_id, metric, published, ask.now)

    if name in ("post_reactions_by_type_total", "post_video_likes_by_reaction_type"):
        whole = counted("reactions")
        return {"like": whole - whole // 4, "love": whole // 4}
    if name in ("post_activity_by_action_type", "post_video_social_actions"):
        return {"COMMENT": counted("comments"), "SHARE": counted("shares")}
    average = average_watch_millis(seed, "facebook", external_id)
    if name == "post_video_avg_time_watched":
        return average
    if name == "post_video_view_time":
        plays = "post_video_views" if "_" in external_id else "blue_reels_play_count"
        return counted(plays) * average
    return metric_value(seed, "facebook", external_id, name, published, ask.now)


def _insights(
    ask: Ask, external_id: str, names: list[str], periods: list[str], served: dict[str, Any]
) -> dict[str, Any]:
    if not names:
        raise RefusedError(_graph.error(400, 3001, "Invalid query", 1504028))
    if not (_STORY_NAMES if _node_of(external_id) == "Story" else _POST_NAMES | {*_VIDEO_NAMES}).issuperset(names):
        raise RefusedError(_graph.metric_unnamed())
    if behaviour("facebook", external_id) == "no_insights":
        return {"data": []}
    data = []
    for name in names:
        for period in periods:
            value = _value(ask, external_id, name)
            if period == "lifetime" and name not in _MADE_UP:
                served[name] = value
            data.append(_graph.insight(external_id, name, period, value if period == "lifetime" else 1))
    return {"data": data}


def _periods(text: str) -> list[str]:
    """Without a period a figure comes once for each."""
    return [text] if text else ["day", "lifetime"]


def _post(ask: Ask, external_id: str, fields: list[str], served: dict[str, Any]) -> dict[str, Any]:
    _check_post(external_id)
    post: dict[str, Any] = {}
    node = _node_of(external_id)
    for field in fields:
        name = field.partition(".")[0]
        if name in ("insights", "shares") and node != "Post":
            raise RefusedError(_graph.no_such_field(name, node))
        if name in _USER_CONTENT and _word(ask) == _NARROW:
            raise RefusedError(_graph.scope_missing("pages_read_user_content"))
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
            raise RefusedError(_graph.no_such_field(name, node))
    post["id"] = external_id
    return post


def _answer_posts(ask: Ask, ids: list[str], fields: list[str]) -> dict[str, dict[str, Any]]:
    """All posts asked for, on the record only when none of them failed the request."""
    served: dict[str, dict[str, Any]] = {external_id: {} for external_id in ids}
    found = {external_id: _post(ask, external_id, fields, served[external_id]) for external_id in ids}
    for external_id, figures in served.items():
        ask.served(external_id, figures)
    return found


def _one_post(ask: Ask) -> Reply:
    external_id = ask.path_ids[0]
    return Reply(200, _answer_posts(ask, [external_id], list(split_fields(ask.value("fields"))))[external_id])


def _post_insights(ask: Ask) -> Reply:
    external_id = ask.path_ids[0]
    _check_post(external_id)
    if _node_of(external_id) not in ("Post", "Story"):
        return _graph.no_such_field("insights", _node_of(external_id))
    served: dict[str, Any] = {}
    reply = Reply(200, _insights(ask, external_id, ask.listed("metric"), _periods(ask.value("period")), served))
    ask.served(external_id, served)
    return reply


def _video_insights(ask: Ask) -> Reply:
    """A video's figures; without names all that there are."""
    external_id = ask.path_ids[0]
    _check_post(external_id)
    if _node_of(external_id) != "Video":
        return _graph.no_such_field("video_insights", _node_of(external_id))
    served: dict[str, Any] = {}
    names = ask.listed("metric") or list(_VIDEO_NAMES)
    reply = Reply(200, _insights(ask, external_id, names, ["lifetime"], served))
    ask.served(external_id, served)
    return reply


def _page_of(ask: Ask) -> str:
    return ask.account_id if ask.path_ids[0] == "me" else ask.path_ids[0]


def _page(ask: Ask) -> Reply:
    page = _page_of(ask)
    found: dict[str, Any] = {}
    served: dict[str, Any] = {}
    for field in split_fields(ask.value("fields", "id,name")):
        if field == "access_token":
            # Only whoever manages the page is given it.
            if page == ask.account_id:
                ask.state.grants += 1
                found[field] = f"sandbox-page-{ask.state.grants}~{page}"
        elif field in ("followers_count", "fan_count"):
            found[field] = served[field] = level_value(ask.state.seed, "facebook", page, "followers", ask.now)
        elif field in _PAGE_FIELDS:
            found[field] = page if field == "id" else f"Page {page}"
        else:
            return _graph.error(400, 100, f"(#100) Tried accessing nonexisting field ({field})")
    if served:
        ask.served(page, served)
    return Reply(200, {**found, "id": page})


def _of_the_page_alone(answer: Callable[[Ask], Reply]) -> Callable[[Ask], Reply]:
    """An answer that a user's token does not get."""
    return lambda ask: _graph.user_token() if _word(ask) == _USER else answer(ask)


def _posts(ask: Ask) -> Reply:
    """The page's newest posts, one an hour."""
    page = _page_of(ask)
    data = []
    for number in range(1, min(int(ask.value("limit") or 25), 100) + 1):
        at = (ask.now // HOUR_MILLIS - number + 1) * HOUR_MILLIS
        external_id = make_id("facebook", at, number, account=page)
        created = datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
        link = f"https://www.facebook.com/{external_id.replace('_', '/posts/')}"
        data.append({"id": external_id, "created_time": created, "permalink_url": link, "message": f"Post {number}"})
    return Reply(200, {"data": data, "paging": {}})


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
        return _graph.metric_unnamed()
    since, until = ask.value("since"), ask.value("until")
    end = int(until) if until.isdigit() else ask.now // 1000 // DAY_SECONDS * DAY_SECONDS + 8 * 3600
    start = int(since) if since.isdigit() else end - 2 * DAY_SECONDS
    if not 0 <= end - start <= _LONGEST_SECONDS:
        return _graph.error(400, 100, "(#100) There cannot be more than 90 days between since and until")
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
        return _graph.error(400, 100, f"(#100) Too many requests in batch message. Maximum batch size is {_BATCH}")
    elements = []
    for request in requests:
        url = request.get("relative_url") if isinstance(request, dict) else None
        reply = (
            _relative(ask, url) if isinstance(url, str) else _graph.error(400, 100, "(#100) relative_url is required")
        )
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
    return _graph.error(400, 2500, "Unknown path components: /" + path)


def _has_posts(query: dict[str, str]) -> bool:
    return "_" in query.get("ids", "")


def _is_page(query: dict[str, str]) -> bool:
    fields = set(query.get("fields", "").split(","))
    return {"followers_count", "fan_count"} <= fields or fields == {"access_token"}


def _is_page_identity(query: dict[str, str]) -> bool:
    return "name" in query.get("fields", "").split(",")


def _is_node(query: dict[str, str]) -> bool:
    fields = query.get("fields", "")
    return not _USER_CONTENT.isdisjoint(field.partition(".")[0] for field in split_fields(fields))


def _has_story_names(query: dict[str, str]) -> bool:
    return query.get("metric", "").startswith(("story_", "pages_fb_story"))


def _has_page_names(query: dict[str, str]) -> bool:
    return query.get("metric", "").startswith("page_") and not _has_story_names(query)


def _endpoint(path: str, name: str, answer: Callable[[Ask], Reply], **more: Any) -> Endpoint:
    return Endpoint(re.compile(_VERSION + path), name, refusable(answer), _LIMIT, _DAY, **more)


class FacebookRoutes:
    """The endpoints of this platform, its limits and its failures."""

    platform = "facebook"
    endpoints = (
        _endpoint(r"/?", "/?ids=", lambda ask: _graph.ids_retired(), claims=_has_posts),
        _endpoint(r"/?", "/ (batch)", _batch, method="POST"),
        _endpoint(rf"/{_POST}/insights", "/{post}/insights", _post_insights),
        _endpoint(rf"/{_POST}", "/{post}", _one_post),
        _endpoint(rf"/{_BARE}/video_insights", "/{video}/video_insights", _video_insights),
        _endpoint(rf"/{_BARE}/insights", "/{story}/insights", _post_insights, claims=_has_story_names),
        _endpoint(rf"/{_BARE}", "/{node}", _one_post, claims=_is_node),
        _endpoint(r"/(me|[0-9]{1,20})/posts", "/{page}/posts", _of_the_page_alone(_posts)),
        _endpoint(
            r"/(me|[0-9]{1,20})/published_posts", "/{page}/published_posts", _of_the_page_alone(_published_posts)
        ),
        _endpoint(
            r"/(me|[0-9]{1,20})/insights",
            "/{page}/insights",
            _of_the_page_alone(_page_insights),
            claims=_has_page_names,
        ),
        _endpoint(r"/([0-9]{1,20})", "/{page}", _page, claims=_is_page),
        _endpoint(r"/(me)", "/me", _page, claims=_is_page_identity),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """A failure: status 400 for nearly all kinds, told apart by code and subcode."""
        if kind in ("rate_limited", "quota_exhausted"):
            reply = _graph.error(400, 80001, "(#80001) There have been too many calls to this Page account.", 2446079)
            reply.headers["x-business-use-case-usage"] = _graph.usage(
                ask.account_id, "pages", 100, -(-retry_after_seconds // 60)
            )
            return reply
        if kind == "token_missing":
            return _graph.token_missing()
        if kind == "token_revoked":
            return _graph.revoked()
        if kind == "permission_missing":
            message = "(#200) Requires pages_read_engagement permission to manage the object"
            return _graph.error(403, 200, message)
        if kind == "account_disabled":
            return _graph.checkpointed()
        if kind == "server_error":
            return _graph.server_error()
        return _graph.expired()

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """The usage headers: percentages of the limit that are used."""
        used = 100 - remaining * 100 // endpoint.limit
        return _graph.usage_headers(ask.account_id, "pages", used)


ROUTES = FacebookRoutes()
