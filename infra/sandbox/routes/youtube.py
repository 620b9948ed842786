"""YouTube: statistics of videos and channels, uploads, and Analytics reports by video, by day or of a whole range.

Source: YouTube Data API reference "videos", "channels", "Errors"; YouTube Analytics "reports.query"; error bodies as
in dmunozv04/iSponsorBlockTV pull 34. Analytics ranges here are UTC days.
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

_BATCH, _REPORT_BATCH = 50, 500
_UNITS, _DAY = 10_000, 86_400
_DAY_MS = 86_400_000
# The newest days are not reported yet.
_LATE_DAYS = 2

_COUNTS = ("viewCount", "likeCount", "commentCount")
_REPORT_NAMES = {
    "views": "viewCount",
    "likes": "likeCount",
    "comments": "commentCount",
    "shares": "shares",
    "subscribersGained": "subscribersGained",
    "estimatedMinutesWatched": "viewCount",
    "averageViewDuration": "viewCount",
}


def _error(status: int, reason: str, message: str, google_status: str, domain: str = "global") -> Reply:
    errors = [{"message": message, "domain": domain, "reason": reason}]
    return Reply(status, {"error": {"code": status, "message": message, "errors": errors, "status": google_status}})


def _invalid(message: str, reason: str = "badRequest") -> Reply:
    return _error(400, reason, message, "INVALID_ARGUMENT")


def _value(ask: Ask, video_id: str, metric: str, at: int) -> int:
    return metric_value(ask.state.seed, "youtube", video_id, metric, published_at("youtube", video_id), at)


def _item(kind: str, external_id: str) -> dict[str, Any]:
    return {"kind": f"youtube#{kind}", "etag": f"etag-{external_id}", "id": external_id}


def _page(kind: str, items: list[dict[str, Any]]) -> Reply:
    page = {"totalResults": len(items), "resultsPerPage": len(items)}
    return Reply(200, {"kind": f"youtube#{kind}ListResponse", "etag": "etag", "items": items, "pageInfo": page})


def _videos(ask: Ask) -> Reply:
    ids = ask.listed("id")
    if not ids:
        return _error(400, "missingRequiredParameter", "No filter selected.", "INVALID_ARGUMENT", "youtube.parameter")
    if len(ids) > _BATCH:
        return _invalid("The request specifies an invalid filter parameter.", "invalidFilters")
    items = []
    for video_id in ids:
        peculiar = behaviour("youtube", video_id)
        if peculiar == "gone":
            continue
        item = _item("video", video_id)
        if "statistics" in ask.listed("part") and peculiar != "no_statistics":
            hidden = {"hidden_likes": "likeCount", "comments_off": "commentCount"}.get(peculiar)
            counts = {name: _value(ask, video_id, name, ask.now) for name in _COUNTS if name != hidden}
            if peculiar == "owner_dislikes" and not ask.path.endswith(":batchGetStats"):
                counts["dislikeCount"] = _value(ask, video_id, "dislikeCount", ask.now)
            item["statistics"] = {**{name: str(value) for name, value in counts.items()}, "favoriteCount": "0"}
            ask.served(video_id, {**counts, hidden: None} if hidden else counts)
        items.append(item)
    return _page("video", items)


def _stats(ask: Ask) -> Reply:
    """As `videos`, in another envelope: what can't be answered for is listed as failed."""
    reply = _videos(ask)
    if reply.status != 200:
        return reply
    items = [{**item, "kind": "youtube#videoStats"} for item in reply.body["items"]]
    for item in items:
        item.get("statistics", {}).pop("favoriteCount", None)
    present = {item["id"] for item in items}
    failed = [video_id for video_id in ask.listed("id") if video_id not in present]
    summary: dict[str, Any] = {"requestedVideoCount": len(ask.listed("id")), "succeededVideoCount": len(items)}
    if failed:
        summary |= {"failedVideoCount": len(failed), "failedVideoIds": failed}
    return Reply(200, {"kind": "youtube#batchGetStatsResponse", "etag": "etag", "items": items, "summary": summary})


def _uploads(ask: Ask) -> Reply:
    """The newest videos of a channel that publishes one a day."""
    size = int(ask.value("maxResults") or "5")
    if not ask.value("playlistId").startswith("UU") or not 0 <= size <= _BATCH:
        message = "The playlist identified with the request's <code>playlistId</code> parameter cannot be found."
        return _error(404, "playlistNotFound", message, "NOT_FOUND", "youtube.playlistItem")
    newest = ask.now // _DAY_MS * _DAY_MS
    items = []
    for number in range(size):
        video_id = make_id("youtube", newest - number * _DAY_MS, 0)
        at = datetime.fromtimestamp(published_at("youtube", video_id) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        item = _item("playlistItem", f"{ask.value('playlistId')}.{number}")
        item["snippet"] = {
            "publishedAt": at,
            "title": f"Video {video_id}",
            "resourceId": {"kind": "youtube#video", "videoId": video_id},
        }
        item["contentDetails"] = {"videoId": video_id, "videoPublishedAt": at}
        items.append(item)
    return _page("playlistItem", items)


def _channels(ask: Ask) -> Reply:
    ids = [ask.account_id] if ask.value("mine") == "true" else ask.listed("id")
    if not ids or len(ids) > _BATCH:
        return _error(400, "missingRequiredParameter", "No filter selected.", "INVALID_ARGUMENT", "youtube.parameter")
    items = []
    for channel_id in ids:
        if channel_id.endswith("_404"):
            continue
        item = _item("channel", channel_id)
        if "statistics" in ask.listed("part"):
            seed, now = ask.state.seed, ask.now
            followers = level_value(seed, "youtube", channel_id, "followers", now)
            # Three significant figures, as on the platform.
            unit = 10 ** max(0, len(str(followers)) - 3)
            counts = {
                "subscriberCount": followers // unit * unit,
                "videoCount": level_value(seed, "youtube", channel_id, "posts", now),
                "viewCount": period_value(seed, "youtube", channel_id, "viewCount", 0, now),
            }
            hidden = channel_id.endswith("_hid")
            shown = {name: str(value) for name, value in counts.items() if not (hidden and name == "subscriberCount")}
            item["statistics"] = {**shown, "hiddenSubscriberCount": hidden}
            ask.served(channel_id, {**counts, "subscriberCount": None} if hidden else counts)
        items.append(item)
    return _page("channel", items)


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _cells(names: list[str], figure: Callable[[str], int], average_millis: int) -> list[int]:
    """One row's figures: minutes and averages follow from the views."""
    cells = []
    for name in names:
        value = figure(_REPORT_NAMES[name])
        if name == "estimatedMinutesWatched":
            value = value * average_millis // 60_000
        elif name == "averageViewDuration":
            value = average_millis // 1000 if value else 0
        cells.append(value)
    return cells


def _reports(ask: Ask) -> Reply:
    names, dimension = ask.listed("metrics"), ask.value("dimensions")
    for name in names:
        if name not in _REPORT_NAMES:
            return _invalid(f"Unknown identifier ({name}) given in field parameters.metrics.")
    try:
        first, last = (date.fromisoformat(ask.value(name)) for name in ("startDate", "endDate"))
    except ValueError:
        return _invalid("Invalid value for startDate or endDate.")
    videos = [
        part[len("video==") :].split(",") for part in ask.value("filters").split(";") if part.startswith("video==")
    ]
    ids = [video_id for video_id in (videos[0] if videos else []) if behaviour("youtube", video_id) != "gone"]
    channel_id = ask.value("ids").removeprefix("channel==")
    if channel_id == "MINE":
        channel_id = ask.account_id
    if (
        not names
        or dimension not in ("", "day", "video")
        or (dimension == "video") != bool(ids)
        or len(ids) > _REPORT_BATCH
    ):
        return _invalid("The query is not supported. Check the documentation for supported queries.")
    newest = datetime.fromtimestamp(ask.now / 1000, UTC).date() - timedelta(days=_LATE_DAYS)
    last = min(last, newest)
    end = _midnight(last + timedelta(days=1))
    rows: list[list[Any]] = []
    seed = ask.state.seed
    if dimension == "video":
        for video_id in ids if first <= last else []:
            start = _midnight(first)
            average = average_watch_millis(seed, "youtube", video_id)

            def of_video(metric: str, video_id: str = video_id, start: int = start) -> int:
                return _value(ask, video_id, metric, end) - _value(ask, video_id, metric, start)

            row = _cells(names, of_video, average)
            rows.append([video_id, *row])
            ask.served(video_id, {"report": dict(zip(names, row, strict=True)), "startDate": str(first)})
    else:
        average = average_watch_millis(seed, "youtube", channel_id)
        day = first
        while day <= last:
            stop = day if dimension == "day" else last

            def of_channel(metric: str, start: int = _midnight(day), stop: date = stop) -> int:
                return period_value(seed, "youtube", channel_id, metric, start, _midnight(stop + timedelta(days=1)))

            row = _cells(names, of_channel, average)
            rows.append([str(day), *row] if dimension else row)
            figures = dict(zip(names, row, strict=True))
            ask.served(channel_id, {"report": figures, "startDate": str(day), "endDate": str(stop)})
            day = stop + timedelta(days=1)
    headers = [{"name": dimension, "columnType": "DIMENSION", "dataType": "STRING"}] if dimension else []
    headers += [{"name": name, "columnType": "METRIC", "dataType": "INTEGER"} for name in names]
    body: dict[str, Any] = {"kind": "youtubeAnalytics#resultTable", "columnHeaders": headers}
    if rows:
        body["rows"] = rows
    return Reply(200, body)


def _token(ask: Ask) -> Reply:
    """Google's own, of Business Profile too."""
    refused = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
    return oauth_refresh(ask, 3599, Reply(400, refused), once=False, repeats=False)


def _metered(path: str, answer: Callable[[Ask], Reply]) -> Endpoint:
    """An endpoint that the day's quota is spent on."""
    return Endpoint(re.compile(path), path, answer, _UNITS, _DAY, "address", over_limit="quota_exhausted")


class YouTubeRoutes:
    """The endpoints of this platform, its limits and its failures."""

    platform = "youtube"
    endpoints = (
        _metered("/youtube/v3/videos", _videos),
        _metered("/youtube/v3/videos:batchGetStats", _stats),
        _metered("/youtube/v3/playlistItems", _uploads),
        _metered("/youtube/v3/channels", _channels),
        Endpoint(re.compile(r"/token"), "/token", _token, 300, 900, "address", False, "POST"),
        _metered("/v2/reports", _reports),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """A failure: 403 for quota and permission alike, told apart by the reason."""
        if kind == "quota_exhausted":
            message = 'The request cannot be completed because you have exceeded your <a href="/quota">quota</a>.'
            errors = [{"message": message, "domain": "youtube.quota", "reason": "quotaExceeded"}]
            return Reply(403, {"error": {"code": 403, "message": message, "errors": errors}})
        if kind == "rate_limited":
            reply = _error(
                429, "rateLimitExceeded", "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED"
            )
            reply.headers["retry-after"] = str(retry_after_seconds)
            return reply
        if kind == "permission_missing":
            message = "Request had insufficient authentication scopes."
            return _error(403, "insufficientPermissions", message, "PERMISSION_DENIED")
        if kind == "account_disabled":
            message = "The account of the authenticated user is suspended."
            return _error(403, "accountSuspended", message, "PERMISSION_DENIED", "youtube.header")
        if kind == "server_error":
            return _error(503, "backendError", "Backend Error", "UNAVAILABLE")
        message = "Token has been revoked." if kind == "token_revoked" else "Invalid Credentials"
        return _error(401, "authError", message, "UNAUTHENTICATED")

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """Google says nothing about the quota."""
        return {}


ROUTES = YouTubeRoutes()
