"""LinkedIn, versioned REST API: statistics of shares, members' posts and videos, social metadata, followers, pages.

Source: Microsoft Learn "Organization Share Statistics", "Member Post Statistics", "Member Video Statistics", "Video
Analytics API", "Social Metadata API", "Organization Page Statistics", "Posts API", "Rate limits"; the refusal of a
foreign share as in Microsoft Q&A 1331917. Lists and records are read as protocol 2.0.0 does: brackets, commas and
colons bare, urns in them escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from infra.sandbox.curves import average_watch_millis, level_value, metric_value, period_value
from infra.sandbox.exchange import Ask, Endpoint, Reply
from infra.sandbox.ids import behaviour, published_at
from infra.sandbox.routes._linkedin_asks import (
    LONGEST_LIST,
    ORGANIZATION_URN,
    POST_URN,
    YEAR_MS,
    RefusedError,
    days_of,
    entity_of,
    error,
    foreign,
    illegal,
    intervals_of,
    organization_of,
    raw_value,
    urns_of,
)
from infra.sandbox.routes._linkedin_list import newest_posts
from infra.sandbox.tokens import oauth_refresh

# Calls a day of a member; the real limits are not published.
_LIMIT, _DAY = 100_000, 86_400

_STATISTICS = (
    "impressionCount",
    "uniqueImpressionsCount",
    "likeCount",
    "commentCount",
    "shareCount",
    "clickCount",
)
_MEMBER_METRICS = frozenset(
    {
        "IMPRESSION",
        "MEMBERS_REACHED",
        "RESHARE",
        "REACTION",
        "COMMENT",
        "POST_SAVE",
        "POST_SEND",
        "LINK_CLICKS",
        "FOLLOWER_GAINED_FROM_CONTENT",
        "PROFILE_VIEW_FROM_CONTENT",
    }
)
_TOTAL_ONLY = frozenset({"MEMBERS_REACHED", "LINK_CLICKS", "FOLLOWER_GAINED_FROM_CONTENT", "PROFILE_VIEW_FROM_CONTENT"})

_DATE_RANGE = re.compile(
    r"\(start:\(year:(\d{4}),month:(\d{1,2}),day:(\d{1,2})\),end:\(year:(\d{4}),month:(\d{1,2}),day:(\d{1,2})\)\)"
)
_VERSION = re.compile(r"20[0-9]{2}(?:0[1-9]|1[0-2])")
# A version lives for about a year.
_OLDEST_VERSION = "202511"


def _value(ask: Ask, urn: str, metric: str) -> int:
    return metric_value(ask.state.seed, "linkedin", urn, metric, published_at("linkedin", urn), ask.now)


def _share_statistics(ask: Ask) -> Reply:
    if ask.value("q") != "organizationalEntity":
        raise illegal("Resource method could not be resolved from request parameters.")
    organization = organization_of(ask, "organizationalEntity")
    elements: list[dict[str, Any]] = []
    for name, kind in (("shares", "share"), ("ugcPosts", "ugcPost")):
        urns = urns_of(ask, name) if raw_value(ask, name) else []
        for index, urn in enumerate(urns):
            if not urn.startswith(f"urn:li:{kind}:"):
                raise illegal(f"Invalid urn type in {name}: {urn}")
            if behaviour("linkedin", urn) == "foreign":
                raise foreign(name, index)
        elements.extend(_post_statistics(ask, organization, urn, kind) for urn in urns if _is_active(urn))
    if not raw_value(ask, "shares") and not raw_value(ask, "ugcPosts"):
        elements = _organization_statistics(ask, organization)
    for element in elements:
        thing = element.get("share") or element.get("ugcPost") or organization
        covered = {"timeRange": element["timeRange"]} if "timeRange" in element else {}
        ask.served(thing, {**_whole(element["totalShareStatistics"]), **covered})
    return Reply(200, {"paging": {"start": 0, "count": 10, "links": []}, "elements": elements})


def _whole(figures: dict[str, Any]) -> dict[str, Any]:
    """The counts among some statistics."""
    return {name: value for name, value in figures.items() if name != "engagement"}


def _is_active(urn: str) -> bool:
    return behaviour("linkedin", urn) not in ("gone", "quiet")


def _post_statistics(ask: Ask, organization: str, urn: str, kind: str) -> dict[str, Any]:
    figures: dict[str, Any] = {name: _value(ask, urn, name) for name in _STATISTICS}
    if behaviour("linkedin", urn) == "negative":
        figures["likeCount"] = -1
    figures["engagement"] = 0.0417
    return {"totalShareStatistics": figures, "organizationalEntity": organization, kind: urn}


def _organization_statistics(ask: Ask, organization: str) -> list[dict[str, Any]]:
    """Of all posts together: by day, without unique impressions, or of a whole year."""
    covered = intervals_of(ask)
    is_daily = covered is not None
    ranges = days_of(ask, *covered) if covered is not None else [(ask.now - YEAR_MS, ask.now)]
    elements = []
    for start, end in ranges:
        figures: dict[str, Any] = {
            name: period_value(ask.state.seed, "linkedin", organization, name, start, end)
            for name in _STATISTICS
            if not (is_daily and name == "uniqueImpressionsCount")
        }
        element: dict[str, Any] = {
            "totalShareStatistics": {**figures, "engagement": 0.0417},
            "organizationalEntity": organization,
        }
        if is_daily:
            element["timeRange"] = {"start": start, "end": end}
        elements.append(element)
    return elements


def _date(at: int) -> dict[str, int]:
    day = datetime.fromtimestamp(at / 1000, UTC).date()
    return {"year": day.year, "month": day.month, "day": day.day}


def _member_days(ask: Ask, metric: str) -> Reply:
    """One metric of all posts of the token's member, by day."""
    found = _DATE_RANGE.fullmatch(raw_value(ask, "dateRange"))
    if found is None or metric in _TOTAL_ONLY:
        raise illegal(f"{metric} can't be broken down by these days")
    year, month, day, last_year, last_month, last_day = map(int, found.groups())
    try:
        start, end = date(year, month, day), date(last_year, last_month, last_day)
    except ValueError:
        raise illegal("Invalid date in dateRange") from None
    bounds = [int(datetime(at.year, at.month, at.day, tzinfo=UTC).timestamp()) * 1000 for at in (start, end)]
    elements = []
    for first, last in days_of(ask, *bounds):
        value = period_value(ask.state.seed, "linkedin", ask.account_id, metric, first, last)
        ask.served(ask.account_id, {metric: value, "start": first})
        dates = {"start": _date(first), "end": _date(last)}
        elements.append({"count": value, "metricType": metric, "dateRange": dates})
    return Reply(200, {"paging": {"start": 0, "count": 10, "links": []}, "elements": elements})


def _member_posts(ask: Ask) -> Reply:
    metric = ask.value("queryType")
    if metric not in _MEMBER_METRICS:
        raise illegal(f"Invalid value for field queryType: {metric}")
    if ask.value("q") == "me" and ask.value("aggregation") == "DAILY":
        return _member_days(ask, metric)
    if ask.value("q") == "me":
        value = period_value(ask.state.seed, "linkedin", ask.account_id, metric, 0, ask.now)
        return Reply(200, {"elements": [{"count": value, "metricType": metric}]})
    return _member_figure(ask, metric, lambda urn: _value(ask, urn, metric))


def _member_videos(ask: Ask) -> Reply:
    metric = ask.value("queryType")
    if metric not in ("VIDEO_PLAY", "VIDEO_VIEWER", "VIDEO_WATCH_TIME"):
        raise illegal(f"Invalid value for field queryType: {metric}")
    return _member_figure(ask, metric, lambda urn: _video_value(ask, urn, metric, "VIDEO_PLAY"))


def _video_value(ask: Ask, urn: str, metric: str, views: str) -> int:
    if metric in ("VIDEO_WATCH_TIME", "TIME_WATCHED"):
        return _value(ask, urn, views) * average_watch_millis(ask.state.seed, "linkedin", urn)
    return _value(ask, urn, metric)


def _member_figure(ask: Ask, metric: str, value_of: Callable[[str], int]) -> Reply:
    if ask.value("q") != "entity":
        raise illegal("Resource method could not be resolved from request parameters.")
    urn = entity_of(ask)
    if behaviour("linkedin", urn) == "gone":
        return Reply(404, {"status": 404, "code": "NOT_FOUND", "message": "Could not find entity"})
    if behaviour("linkedin", urn) == "foreign":
        raise foreign("entity", 0)
    elements = []
    if _is_active(urn):
        value = -1 if behaviour("linkedin", urn) == "negative" and metric == "REACTION" else value_of(urn)
        ask.served(urn, {metric: value})
        kind = "ugc" if "ugcPost" in urn else "share"
        elements.append({"count": value, "metricType": metric, "targetEntity": {kind: urn}, "dateRange": {}})
    return Reply(200, {"paging": {"start": 0, "count": 10, "links": []}, "elements": elements})


def _videos(ask: Ask) -> Reply:
    """One metric of an organization's video."""
    urn, metric = ask.value("entity"), ask.value("type")
    if not urn.startswith("urn:li:ugcPost:") or metric not in ("VIDEO_VIEW", "VIEWER", "TIME_WATCHED"):
        raise illegal("Invalid query parameters passed to request")
    value = _video_value(ask, urn, metric, "VIDEO_VIEW")
    ask.served(urn, {metric: value})
    return Reply(200, {"elements": [{"entity": urn, "statisticsType": metric, "value": value}]})


def _metadata(ask: Ask, urn: str) -> dict[str, Any]:
    likes, comments = _value(ask, urn, "likeCount"), _value(ask, urn, "commentCount")
    ask.served(urn, {"likeCount": likes, "commentCount": comments})
    return {
        "entity": urn,
        "reactionSummaries": {
            "LIKE": {"reactionType": "LIKE", "count": likes - likes // 5},
            "PRAISE": {"reactionType": "PRAISE", "count": likes // 5},
        },
        "commentSummary": {"count": comments, "topLevelCount": comments - comments // 3},
        "commentsState": "OPEN",
    }


def _social_metadata(ask: Ask) -> Reply:
    results: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    for urn in urns_of(ask, "ids"):
        if behaviour("linkedin", urn) == "gone":
            errors[urn] = {"status": 404, "code": "NOT_FOUND", "message": "Could not find entity"}
        else:
            results[urn] = _metadata(ask, urn)
    statuses = {**dict.fromkeys(results, 200), **dict.fromkeys(errors, 404)}
    return Reply(200, {"results": results, "errors": errors, "statuses": statuses})


def _one_metadata(ask: Ask) -> Reply:
    urn = ask.path_ids[0]
    if behaviour("linkedin", urn) == "gone":
        return Reply(404, {"status": 404, "code": "NOT_FOUND", "message": "Could not find entity"})
    return Reply(200, _metadata(ask, urn))


def _network_size(ask: Ask) -> Reply:
    if ask.value("edgeType") != "COMPANY_FOLLOWED_BY_MEMBER":
        raise illegal("Invalid value for field edgeType")
    followers = level_value(ask.state.seed, "linkedin", ask.path_ids[0], "followers", ask.now)
    ask.served(ask.path_ids[0], {"firstDegreeSize": followers})
    return Reply(200, {"firstDegreeSize": followers})


def _page_statistics(ask: Ask) -> Reply:
    organization = organization_of(ask, "organization")
    covered = intervals_of(ask)
    elements = []
    for start, end in days_of(ask, *covered) if covered else [(ask.now - YEAR_MS, ask.now)]:
        views = period_value(ask.state.seed, "linkedin", organization, "allPageViews", start, end)
        page = {"allPageViews": {"pageViews": views}, "overviewPageViews": {"pageViews": views // 2}}
        element: dict[str, Any] = {"totalPageStatistics": {"views": page}, "organization": organization}
        if covered:
            element["timeRange"] = {"start": start, "end": end}
            ask.served(organization, {"allPageViews": views, "timeRange": element["timeRange"]})
        elements.append(element)
    return Reply(200, {"paging": {"start": 0, "count": 10, "links": []}, "elements": elements})


def _member_followers(ask: Ask) -> Reply:
    if ask.value("q") != "me":
        raise illegal("Resource method could not be resolved from request parameters.")
    followers = level_value(ask.state.seed, "linkedin", ask.account_id, "followers", ask.now)
    ask.served(ask.account_id, {"memberFollowersCount": followers})
    return Reply(
        200, {"paging": {"start": 0, "count": 10, "links": []}, "elements": [{"memberFollowersCount": followers}]}
    )


def _one_organization(ask: Ask) -> Reply:
    """As an administrator sees it: with who made it."""
    number = ask.path_ids[0]
    return Reply(
        200,
        {
            "id": int(number),
            "localizedName": f"Organization {number}",
            "vanityName": f"organization{number}",
            "$URN": f"urn:li:organization:{number}",
            "created": {"actor": f"urn:li:person:{ask.account_id}", "time": 1_420_070_400_000},
        },
    )


def _posts(ask: Ask) -> Reply:
    organization, count = organization_of(ask, "author"), ask.value("count", "10")
    if ask.value("q") != "author" or not count.isdigit() or not 1 <= int(count) <= LONGEST_LIST:
        raise illegal("Invalid query parameters passed to request")
    return newest_posts(organization, int(count), ask.now)


def _user_info(ask: Ask) -> Reply:
    return Reply(200, {"sub": ask.account_id, "name": f"Member {ask.account_id}", "locale": "en_US"})


def _checked(answer: Callable[[Ask], Reply], *, is_versioned: bool) -> Callable[[Ask], Reply]:
    """An answer that may be refused half way, and whose call names its versions."""

    def answered(ask: Ask) -> Reply:
        version = ask.headers.get("linkedin-version", "")
        if is_versioned and not _VERSION.fullmatch(version):
            return error(400, "VERSION_MISSING", "A version must be present. Please specify a version by adding it.")
        if is_versioned and version < _OLDEST_VERSION:
            return error(426, "NONEXISTENT_VERSION", f"Requested version {version} is not active")
        if is_versioned and ask.headers.get("x-restli-protocol-version") != "2.0.0":
            return error(400, "ILLEGAL_ARGUMENT", "Invalid query parameters passed to request")
        try:
            return answer(ask)
        except RefusedError as refused:
            return refused.reply

    return answered


def _endpoint(path: str, name: str, answer: Callable[[Ask], Reply]) -> Endpoint:
    return Endpoint(re.compile("/rest/" + path), f"/rest/{name}", _checked(answer, is_versioned=True), _LIMIT, _DAY)


def _token(ask: Ask) -> Reply:
    description = "The provided authorization grant or refresh token is invalid, expired or revoked."
    refused = Reply(400, {"error": "invalid_request", "error_description": description})
    return oauth_refresh(ask, 60 * _DAY, refused, once=False, refresh_token_expires_in=365 * _DAY)


class LinkedInRoutes:
    """The endpoints of this platform, its limits and its failures."""

    platform = "linkedin"
    endpoints = (
        Endpoint(
            re.compile(r"/oauth/v2/accessToken"), "/oauth/v2/accessToken", _token, 300, 900, "address", False, "POST"
        ),
        _endpoint("organizationalEntityShareStatistics", "organizationalEntityShareStatistics", _share_statistics),
        _endpoint("memberCreatorPostAnalytics", "memberCreatorPostAnalytics", _member_posts),
        _endpoint("memberCreatorVideoAnalytics", "memberCreatorVideoAnalytics", _member_videos),
        _endpoint("videoAnalytics", "videoAnalytics", _videos),
        _endpoint("socialMetadata", "socialMetadata", _social_metadata),
        _endpoint(f"socialMetadata/({POST_URN.pattern})", "socialMetadata/{urn}", _one_metadata),
        _endpoint(f"networkSizes/({ORGANIZATION_URN.pattern})", "networkSizes/{urn}", _network_size),
        _endpoint("organizationPageStatistics", "organizationPageStatistics", _page_statistics),
        _endpoint("memberFollowersCount", "memberFollowersCount", _member_followers),
        _endpoint("posts", "posts", _posts),
        _endpoint("organizations/([0-9]{1,19})", "organizations/{id}", _one_organization),
        Endpoint(re.compile("/v2/userinfo"), "/v2/userinfo", _checked(_user_info, is_versioned=False), _LIMIT, _DAY),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """The code tells a day's limit from the pace only by its message; a closed account reads as revoked."""
        if kind == "quota_exhausted":
            message = "Resource level throttle APPLICATION DAY limit for calls to this resource is reached."
            return error(429, "TOO_MANY_REQUESTS", message, 101)
        if kind == "rate_limited":
            return error(429, "TOO_MANY_REQUESTS", "Throttle limit for calls to this resource is reached.", 101)
        if kind == "token_missing":
            return error(401, "EMPTY_ACCESS_TOKEN", "Empty oauth2 access token", 65604)
        if kind in ("token_revoked", "account_disabled"):
            message = "The token used in the request has been revoked by the user"
            return error(401, "REVOKED_ACCESS_TOKEN", message, 65601)
        if kind == "permission_missing":
            name = ask.path.rpartition("/")[2]
            message = f"Not enough permissions to access: {name}.FINDER-organizationalEntity.20260601"
            return error(403, "ACCESS_DENIED", message, 100)
        if kind == "server_error":
            return error(500, "INTERNAL_SERVER_ERROR", "Internal Server Error")
        return error(401, "EXPIRED_ACCESS_TOKEN", "The token used in the request has expired", 65602)

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """LinkedIn says nothing about its limits."""
        return {}


ROUTES = LinkedInRoutes()
