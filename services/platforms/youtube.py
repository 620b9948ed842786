"""YouTube: Data API v3, and YouTube Analytics v2 for days.

Documentation: https://developers.google.com/youtube/v3/docs/videos, .../youtube/analytics/reference; read 2026-11-20.
Auth: OAuth 2.0, access token of 1 h, refresh token until revoked; scopes youtube.readonly and yt-analytics.readonly.
Rate limit: 10,000 units a day a project for everything (1 a call here), reset at midnight Pacific; no headers.
    Analytics has a quota of its own.
Poll interval: by the common tiers; Data API figures are minutes to hours old, Analytics days 2-3 days late.
Cannot supply: reach, saves, clicks; impressions only in Analytics reports.

Uncertain, and how it is read here:
- Counts are strings of digits. `favoriteCount` is always 0 and means nothing.
- `likeCount` is absent when hidden, `commentCount` when comments are off, `dislikeCount` for all but (rarely) the
  owner: all three read as null wherever the statistics were answered.
- A video left out of the answer is deleted or private; it counts as gone, and its figures stay as they were.
- Analytics figures cover the dates asked for, so they are ranged and never replace the Data API's. Rows of a report
  that is split by anything but video (posts) or day (channels) are refused. Without rows nothing was processed yet.
- Analytics reports filtered to some videos say nothing of the channel.
- `videosAddedToPlaylists` is no save: one video in two lists counts twice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import orjson

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import abilities, base, http_reading, json_reading, report_days
from services.platforms._oauth import oauth_call, read_oauth

BATCH_SIZE = 50
TOKEN_URL = "https://oauth2.googleapis.com"
ANALYTICS_URL = "https://youtubeanalytics.googleapis.com"
# Days asked for: 28 reported days, and the days that are not reported yet.
REPORT_DAYS = 33

_VIDEO = (
    ("viewCount", metrics.VIEWS),
    ("likeCount", metrics.LIKES),
    ("commentCount", metrics.COMMENTS),
    ("dislikeCount", metrics.DISLIKES),
)
_VIDEO_BITS = json_reading.bits(metrics.VIEWS, metrics.LIKES, metrics.COMMENTS, metrics.DISLIKES)
_CHANNEL = (
    ("subscriberCount", metrics.CH_FOLLOWERS),
    ("videoCount", metrics.CH_POSTS_COUNT),
    ("viewCount", metrics.CH_VIEWS),
)
_CHANNEL_BITS = json_reading.bits(metrics.CH_FOLLOWERS, metrics.CH_POSTS_COUNT, metrics.CH_VIEWS)

# Columns of Analytics reports: position, and milliseconds in one unit of a duration (0: a count).
_POST_COLUMNS = {
    "views": (metrics.VIEWS, 0),
    "likes": (metrics.LIKES, 0),
    "dislikes": (metrics.DISLIKES, 0),
    "comments": (metrics.COMMENTS, 0),
    "shares": (metrics.SHARES, 0),
    "subscribersGained": (metrics.FOLLOWS, 0),
    "videoThumbnailImpressions": (metrics.IMPRESSIONS, 0),
    "estimatedMinutesWatched": (metrics.WATCH_TIME, 60_000),
    "averageViewDuration": (metrics.AVG_WATCH_TIME, 1000),
}
_CHANNEL_COLUMNS = {
    "views": (metrics.CH_VIEWS, 0),
    "likes": (metrics.CH_LIKES, 0),
    "comments": (metrics.CH_COMMENTS, 0),
    "shares": (metrics.CH_SHARES, 0),
    "videoThumbnailImpressions": (metrics.CH_IMPRESSIONS, 0),
    "estimatedMinutesWatched": (metrics.CH_WATCH_TIME, 60_000),
}
_REPORT_METRICS = "views,likes,comments,shares,estimatedMinutesWatched"

_OUTCOME_OF_REASON = {
    "quotaExceeded": base.Outcome.QUOTA_EXHAUSTED,
    "dailyLimitExceeded": base.Outcome.QUOTA_EXHAUSTED,
    "dailyLimitExceededUnreg": base.Outcome.QUOTA_EXHAUSTED,
    "rateLimitExceeded": base.Outcome.RETRY_LATER,
    "userRateLimitExceeded": base.Outcome.RETRY_LATER,
    "RATE_LIMIT_EXCEEDED": base.Outcome.RETRY_LATER,
    "RESOURCE_EXHAUSTED": base.Outcome.RETRY_LATER,
    "authError": base.Outcome.TOKEN_EXPIRED,
    "ACCESS_TOKEN_EXPIRED": base.Outcome.TOKEN_EXPIRED,
    "UNAUTHENTICATED": base.Outcome.TOKEN_EXPIRED,
    "invalid_grant": base.Outcome.TOKEN_REVOKED,
    "accountClosed": base.Outcome.ACCOUNT_DISABLED,
    "accountSuspended": base.Outcome.ACCOUNT_DISABLED,
    "accountTerminated": base.Outcome.ACCOUNT_DISABLED,
    "channelClosed": base.Outcome.ACCOUNT_DISABLED,
    "channelSuspended": base.Outcome.ACCOUNT_DISABLED,
    "videoNotFound": base.Outcome.TARGET_GONE,
    "channelNotFound": base.Outcome.TARGET_GONE,
    "notFound": base.Outcome.TARGET_GONE,
    "forbidden": base.Outcome.PERMISSION_MISSING,
    "insufficientPermissions": base.Outcome.PERMISSION_MISSING,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": base.Outcome.PERMISSION_MISSING,
    "accessNotConfigured": base.Outcome.PERMISSION_MISSING,
    "SERVICE_DISABLED": base.Outcome.PERMISSION_MISSING,
    "youtubeSignupRequired": base.Outcome.PERMISSION_MISSING,
    "PERMISSION_DENIED": base.Outcome.PERMISSION_MISSING,
    "badRequest": base.Outcome.REQUEST_WRONG,
    "invalidParameter": base.Outcome.REQUEST_WRONG,
    "INVALID_ARGUMENT": base.Outcome.REQUEST_WRONG,
    "backendError": base.Outcome.PLATFORM_DOWN,
    "internalError": base.Outcome.PLATFORM_DOWN,
}
_PATHS: dict[str, tuple[tuple[str, ...], ...]] = {
    RawKind.POST_METRICS: (("videos",), ("reports",)),
    RawKind.CHANNEL_METRICS: (("channels",), ("reports",)),
    RawKind.IDENTITY: (("channels",),),
}
_REFUSED = re.compile(r"Unknown identifier \((\w+)\)")


def _figure(value: Any, name: str, millis_of_unit: int) -> int | None:
    """A cell of a report: a count, or a duration in whole milliseconds.

    Raises:
        MappingError: `bad_count`.
    """
    if not millis_of_unit or value is None:
        return json_reading.count(value, name)
    if type(value) in (int, float) and abs(value) < metrics.MILLIS_MAX // millis_of_unit:
        # By its digits, so that 12.3455 s is not the binary fraction just below it.
        return metrics.round_half_up(Fraction(repr(value)) * millis_of_unit)
    raise base.MappingError("bad_count", f"{name} is no duration: a {type(value).__name__}")


def _day(text: Any, name: str) -> date | None:
    """An ISO date; None when there is none.

    Raises:
        MappingError: `unexpected_shape`.
    """
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except (TypeError, ValueError):
        raise base.MappingError("unexpected_shape", f"{name} is no date") from None
    if not report_days.EARLIEST < report_days.pacific_midnight(day) < report_days.LATEST - 2 * 86_400_000:
        raise base.MappingError("unexpected_shape", f"{name} is no date of a report")
    return day


class _Report:
    """An Analytics answer: named columns, positional rows.

    Raises:
        MappingError: `unexpected_shape`.
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        headers = json_reading.objects(answer.get("columnHeaders"), "columnHeaders")
        self.names = [json_reading.text(header.get("name")) for header in headers]
        self.dimensions = [
            json_reading.text(header.get("name")) for header in headers if header.get("columnType") == "DIMENSION"
        ]
        rows = answer.get("rows") or []
        if not isinstance(rows, list):
            raise base.MappingError("unexpected_shape", f"rows is a JSON {type(rows).__name__}, expected a list")
        for row in rows:
            if not isinstance(row, list) or len(row) != len(self.names):
                raise base.MappingError("unexpected_shape", "a row doesn't fit the column headers")
        self.rows: list[list[Any]] = rows

    def figures(
        self, row: list[Any], columns: Mapping[str, tuple[int, int]], empty: tuple[int | None, ...]
    ) -> tuple[int, tuple[int | None, ...]]:
        """The figures of one row: the mask of reported metrics, and values."""
        values = list(empty)
        spoken = 0
        for name, cell in zip(self.names, row, strict=True):
            column = columns.get(name)
            if column is not None:
                values[column[0]] = _figure(cell, name, column[1])
                spoken |= 1 << column[0]
        return spoken, tuple(values)


def _filtered_videos(event: PlatformRaw) -> list[str]:
    """Ids of a report's `filters=video==a,b`."""
    for part in event.request.get("filters", "").split(";"):
        name, _, ids = part.partition("==")
        if name == "video":
            return ids.split(",")
    return []


class YouTube:
    """YouTube: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="youtube",
        base_url="https://www.googleapis.com",
        documentation="https://developers.google.com/youtube/v3/docs/videos",
        read_on="2026-11-20",
        auth="Google OAuth 2.0 user token (Bearer)",
        rate_limit="10,000 units a day a project, 1 unit a call",
        post_batch_size=BATCH_SIZE,
        post_group="data",
        limits=(base.Limit("data", 10_000, 24 * 3600),),
        report_days=REPORT_DAYS,
        channel_metrics={
            "followers": ("lifetime",),
            "posts_count": ("lifetime",),
            "views": ("lifetime", "day", "window"),
            "impressions": ("day", "window"),
            "likes": ("day", "window"),
            "comments": ("day", "window"),
            "shares": ("day", "window"),
            "watch_time_seconds": ("day", "window"),
        },
        ranged_metrics=(
            "views",
            "impressions",
            "likes",
            "shares",
            "follows",
            "watch_time_seconds",
            "avg_watch_time_seconds",
        ),
        lag="minutes to hours; figures of a range of dates 2 to 3 days",
        channel_lag="2 to 3 days",
        has_only_videos=True,
        not_reported={
            "reach": "the API has no unique viewers",
            "quotes": "not on the platform",
            "saves": "only additions to playlists, which are something else",
            "clicks": "not in the API",
            "other_clicks": "not in the API",
            "profile_clicks": "not in the API",
            "video_views": "views are the video views",
            "poll_votes": "not in the API",
        },
    )

    def authorize(self, token: str | None) -> dict[str, str]:
        """The user's token in a bearer header; no header without a token."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """Batches of 50 videos."""
        return self._video_calls(targets)

    def _video_calls(self, targets: Sequence[base.Target]) -> list[base.Call]:
        calls: list[base.Call] = []
        for start in range(0, len(targets), BATCH_SIZE):
            part = tuple(targets[start : start + BATCH_SIZE])
            query = (("part", "statistics"), ("id", ",".join(dict.fromkeys(target.external_id for target in part))))
            calls.append(base.Call(RawKind.POST_METRICS, "GET", "/youtube/v3/videos", query, None, part, "data"))
        return calls

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """The channel as it is now, and its last reported days."""
        statistics = (("part", "statistics"), ("id", channel.external_id))
        today = report_days.pacific_day(now)
        report = (
            ("ids", f"channel=={channel.external_id}"),
            ("startDate", (today - timedelta(days=REPORT_DAYS)).isoformat()),
            ("endDate", today.isoformat()),
            ("metrics", _REPORT_METRICS),
            ("dimensions", "day"),
            ("sort", "day"),
        )
        return [
            base.Call(RawKind.CHANNEL_METRICS, "GET", "/youtube/v3/channels", statistics, limit_group="data"),
            base.Call(
                RawKind.CHANNEL_METRICS,
                "GET",
                "/v2/reports",
                report,
                limit_group="analytics",
                base_url=ANALYTICS_URL,
            ),
        ]

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The token's own channel."""
        query = (("part", "id"), ("mine", "true"))
        return base.Call(RawKind.IDENTITY, "GET", "/youtube/v3/channels", query, limit_group="data")

    def refresh_call(self, tokens: abilities.HeldTokens, client: abilities.AppClient) -> abilities.RefreshCall | None:
        """Google's token endpoint; the refresh token stays."""
        return oauth_call("/token", tokens, client, base_url=TOKEN_URL)

    def read_refresh(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """Reads the answer by the common rules of OAuth 2."""
        return read_oauth(status, headers, body)

    def read(self, event: PlatformRaw) -> base.Reading:
        """`/youtube/v3/videos` and `/youtube/v3/channels`; `/v2/reports` for both."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        path = http_reading.path_segments(event.endpoint)
        if path[:1] == ("youtube",):
            path = http_reading.path_segments("/".join(path[1:]))
        if path not in _PATHS.get(event.kind, ()):
            raise base.MappingError("unknown_endpoint", f"YouTube has no {event.kind} at {event.endpoint[:200]!r}")
        answer = json_reading.json_object(event.body)
        if "error" in answer or event.kind == RawKind.IDENTITY:
            return base.NOTHING
        if path == ("reports",):
            if answer.get("errors"):
                return base.NOTHING
            report = _Report(answer)
            if event.kind == RawKind.POST_METRICS:
                return self._ranged_posts(event, report)
            return base.Reading((), self._periods(event, report))
        if event.kind == RawKind.CHANNEL_METRICS:
            return self._channel(event, answer)
        return self._videos(event, answer)

    def _videos(self, event: PlatformRaw, answer: dict[str, Any]) -> base.Reading:
        wanted = json_reading.positions(event)
        readings: dict[int, base.PostReading] = {}
        answered: set[int] = set()
        for item in json_reading.objects(answer.get("items", []), "items"):
            external_id = item.get("id")
            if not isinstance(external_id, str):
                raise base.MappingError("unexpected_shape", "an item has no text `id`")
            indexes = wanted.get(external_id)
            if indexes is None:
                continue
            answered.update(indexes)
            statistics = json_reading.block(item.get("statistics"), "statistics")
            if statistics is None or indexes[0] in readings:
                continue
            values: list[int | None] = list(metrics.NO_POST_VALUES)
            json_reading.fill(values, statistics, _VIDEO)
            for index in indexes:
                readings[index] = base.PostReading(index, _VIDEO_BITS, 0, tuple(values))
        gone = [index for index in range(len(event.targets)) if index not in answered]
        return base.Reading(list(readings.values()), (), gone)

    def _channel(self, event: PlatformRaw, answer: dict[str, Any]) -> base.Reading:
        items = json_reading.objects(answer.get("items", []), "items")
        if len(items) > 1:
            asked = event.request.get("id", "").split(",")[0]
            items = [item for item in items if item.get("id") == asked][:1]
        for item in items:
            statistics = json_reading.block(item.get("statistics"), "statistics")
            if statistics is not None:
                values: list[int | None] = list(metrics.NO_CHANNEL_VALUES)
                json_reading.fill(values, statistics, _CHANNEL)
                if statistics.get("hiddenSubscriberCount") is True:
                    values[metrics.CH_FOLLOWERS] = None
                return base.Reading((), (base.ChannelReading("lifetime", None, None, _CHANNEL_BITS, tuple(values)),))
        return base.NOTHING

    def _ranged_posts(self, event: PlatformRaw, report: _Report) -> base.Reading:
        """Rows split by video, or the one row of the one video that the report was filtered to."""
        wanted = json_reading.positions(event)
        only = _filtered_videos(event)
        if report.dimensions == ["video"]:
            column = report.names.index("video")
            named = [(row[column], row) for row in report.rows]
        elif not report.dimensions and len(only) == 1:
            named = [(only[0], row) for row in report.rows[:1]]
        else:
            raise base.MappingError("unexpected_shape", f"a report of posts is split by {report.dimensions}")
        readings: dict[int, base.PostReading] = {}
        for external_id, row in named:
            indexes = wanted.get(external_id, ()) if isinstance(external_id, str) else ()
            if not indexes:
                continue
            spoken, values = report.figures(row, _POST_COLUMNS, metrics.NO_POST_VALUES)
            if spoken:
                for index in indexes:
                    readings.setdefault(index, base.PostReading(index, spoken, spoken, values))
        return base.Reading(list(readings.values()))

    def _periods(self, event: PlatformRaw, report: _Report) -> tuple[base.ChannelReading, ...]:
        """Rows split by day, or the one row of the whole range."""
        if _filtered_videos(event):
            return ()
        if report.dimensions == ["day"]:
            column = report.names.index("day")
            named = [(_day(row[column], "day"), _day(row[column], "day"), row) for row in report.rows]
        elif not report.dimensions:
            first, last = (_day(event.request.get(name), name) for name in ("startDate", "endDate"))
            named = [(first, last, row) for row in report.rows[:1]]
        else:
            raise base.MappingError("unexpected_shape", f"a report of a channel is split by {report.dimensions}")
        readings: dict[tuple[date, date], base.ChannelReading] = {}
        for first, last, row in named:
            if first is None or last is None or last < first:
                continue
            spoken, values = report.figures(row, _CHANNEL_COLUMNS, metrics.NO_CHANNEL_VALUES)
            if spoken:
                period = "day" if first == last else "window"
                start, end = report_days.pacific_midnight(first), report_days.pacific_midnight(last + timedelta(days=1))
                readings.setdefault((first, last), base.ChannelReading(period, start, end, spoken, values))
        return tuple(readings.values())

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's video object, or its row of a report as an object by column names."""
        answer = json_reading.try_json_object(event.body)
        if not 0 <= target_index < len(event.targets):
            return {}
        external_id = event.targets[target_index].external_id
        try:
            if "columnHeaders" in answer:
                report = _Report(answer)
                for row in report.rows:
                    named = dict(zip(report.names, row, strict=True))
                    if named.get("video", external_id) == external_id:
                        return named
            for item in json_reading.objects(answer.get("items", []), "items"):
                if item.get("id") == external_id:
                    return item
        except base.MappingError:
            pass  # an answer that can't be read holds no part of the target
        return {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """The reason of the first error, else of the details, else Google's status; 403 has many meanings."""
        answer = json_reading.try_json_object(body)
        error = answer.get("error")
        if not isinstance(error, dict):
            if 200 <= status < 300:
                return (
                    base.Verdict(base.Outcome.OK)
                    if answer
                    else base.Verdict(base.Outcome.PLATFORM_DOWN, detail=f"{status} no JSON")
                )
            error = {"status": error} if isinstance(error, str) else {}
        message = json_reading.text(error.get("message", ""))
        reasons = [
            reason
            for listed in (error.get("details"), error.get("errors"))
            for item in (listed if isinstance(listed, list) else ())
            if isinstance(item, dict) and isinstance(reason := item.get("reason"), str)
        ]
        if isinstance(error.get("status"), str):
            reasons.append(error["status"])
        detail = f"{status} {' '.join(reasons)}"[:200]
        outcome = next((_OUTCOME_OF_REASON[reason] for reason in reasons if reason in _OUTCOME_OF_REASON), None)
        if outcome is None:
            code = error.get("code")
            failed = status if status >= 400 else code if type(code) is int and 400 <= code < 600 else 500
            return http_reading.by_status(failed, headers, detail)
        if outcome is base.Outcome.QUOTA_EXHAUSTED:
            turns = report_days.pacific_midnight(report_days.pacific_day(now) + timedelta(days=1))
            return base.Verdict(outcome, (turns - now) / 1000, detail)
        if outcome is base.Outcome.TOKEN_EXPIRED and "revoked" in message.lower():
            outcome = base.Outcome.TOKEN_REVOKED
        if outcome is base.Outcome.REQUEST_WRONG and (refused := _REFUSED.search(message)):
            return base.Verdict(outcome, detail=detail, refused_metric=refused[1])
        wait = (
            http_reading.retry_after(headers)
            if outcome in (base.Outcome.RETRY_LATER, base.Outcome.PLATFORM_DOWN)
            else None
        )
        return base.Verdict(outcome, wait, detail)

    def authorize_app(self, token: str) -> dict[str, str]:
        """An API key, as a header."""
        return {"x-goog-api-key": token}

    def app_post_calls(self, targets: Sequence[base.Target]) -> list[base.Call]:
        """Batches of 50 videos of any channels; the same figures as with a user's token, but for `dislikeCount`."""
        return self._video_calls(targets)

    def app_part(self, body: bytes, external_ids: Collection[str]) -> bytes:
        """The items of these videos; of an error its codes, without its words."""
        answer = json_reading.try_json_object(body)
        part: dict[str, Any] = {"kind": answer["kind"]} if isinstance(answer.get("kind"), str) else {}
        items = answer.get("items")
        if isinstance(items, list):
            own = [item for item in items if isinstance(item, dict) and item.get("id") in external_ids]
            part["items"] = own
            part["pageInfo"] = {"totalResults": len(own), "resultsPerPage": len(own)}
        error = answer.get("error")
        if isinstance(error, dict):
            part["error"] = {name: error[name] for name in ("code", "status") if name in error}
            for listed in ("errors", "details"):
                if isinstance(error.get(listed), list):
                    part["error"][listed] = [
                        {name: item[name] for name in ("domain", "reason") if name in item}
                        for item in error[listed]
                        if isinstance(item, dict)
                    ]
        return orjson.dumps(part) if part else b""

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """Google sends no headers about the quota."""
        return None


PLATFORM = YouTube()
