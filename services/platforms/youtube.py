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

from schemas.events import PlatformRaw, RawKind
from schemas.metrics import (
    AVG_WATCH_TIME,
    CH_COMMENTS,
    CH_FOLLOWERS,
    CH_IMPRESSIONS,
    CH_LIKES,
    CH_POSTS_COUNT,
    CH_SHARES,
    CH_VIEWS,
    CH_WATCH_TIME,
    COMMENTS,
    DISLIKES,
    FOLLOWS,
    IMPRESSIONS,
    LIKES,
    MILLIS_MAX,
    NO_CHANNEL_VALUES,
    NO_POST_VALUES,
    SHARES,
    VIEWS,
    WATCH_TIME,
    round_half_up,
)
from services.platforms._oauth import oauth_call, read_oauth
from services.platforms.base import (
    EARLIEST,
    LATEST,
    NOTHING,
    AppClient,
    Call,
    Channel,
    ChannelReading,
    Facts,
    HeldTokens,
    Limit,
    LimitState,
    MappingError,
    Outcome,
    PostReading,
    Reading,
    RefreshCall,
    RefreshFailure,
    Target,
    TokenGrant,
    Verdict,
    bits,
    block,
    by_status,
    count,
    fill,
    json_object,
    objects,
    pacific_day,
    pacific_midnight,
    path_segments,
    positions,
    retry_after,
    succeeded,
    text,
    try_json_object,
)

BATCH_SIZE = 50
TOKEN_URL = "https://oauth2.googleapis.com"
ANALYTICS_URL = "https://youtubeanalytics.googleapis.com"
# Days asked for: 28 reported days, and the days that are not reported yet.
REPORT_DAYS = 33

_VIDEO = (("viewCount", VIEWS), ("likeCount", LIKES), ("commentCount", COMMENTS), ("dislikeCount", DISLIKES))
_VIDEO_BITS = bits(VIEWS, LIKES, COMMENTS, DISLIKES)
_CHANNEL = (("subscriberCount", CH_FOLLOWERS), ("videoCount", CH_POSTS_COUNT), ("viewCount", CH_VIEWS))
_CHANNEL_BITS = bits(CH_FOLLOWERS, CH_POSTS_COUNT, CH_VIEWS)

# Columns of Analytics reports: position, and milliseconds in one unit of a duration (0: a count).
_POST_COLUMNS = {
    "views": (VIEWS, 0),
    "likes": (LIKES, 0),
    "dislikes": (DISLIKES, 0),
    "comments": (COMMENTS, 0),
    "shares": (SHARES, 0),
    "subscribersGained": (FOLLOWS, 0),
    "videoThumbnailImpressions": (IMPRESSIONS, 0),
    "estimatedMinutesWatched": (WATCH_TIME, 60_000),
    "averageViewDuration": (AVG_WATCH_TIME, 1000),
}
_CHANNEL_COLUMNS = {
    "views": (CH_VIEWS, 0),
    "likes": (CH_LIKES, 0),
    "comments": (CH_COMMENTS, 0),
    "shares": (CH_SHARES, 0),
    "videoThumbnailImpressions": (CH_IMPRESSIONS, 0),
    "estimatedMinutesWatched": (CH_WATCH_TIME, 60_000),
}
_REPORT_METRICS = "views,likes,comments,shares,estimatedMinutesWatched"

_OUTCOME_OF_REASON = {
    "quotaExceeded": Outcome.QUOTA_EXHAUSTED,
    "dailyLimitExceeded": Outcome.QUOTA_EXHAUSTED,
    "dailyLimitExceededUnreg": Outcome.QUOTA_EXHAUSTED,
    "rateLimitExceeded": Outcome.RETRY_LATER,
    "userRateLimitExceeded": Outcome.RETRY_LATER,
    "RATE_LIMIT_EXCEEDED": Outcome.RETRY_LATER,
    "RESOURCE_EXHAUSTED": Outcome.RETRY_LATER,
    "authError": Outcome.TOKEN_EXPIRED,
    "ACCESS_TOKEN_EXPIRED": Outcome.TOKEN_EXPIRED,
    "UNAUTHENTICATED": Outcome.TOKEN_EXPIRED,
    "invalid_grant": Outcome.TOKEN_REVOKED,
    "accountClosed": Outcome.ACCOUNT_DISABLED,
    "accountSuspended": Outcome.ACCOUNT_DISABLED,
    "accountTerminated": Outcome.ACCOUNT_DISABLED,
    "channelClosed": Outcome.ACCOUNT_DISABLED,
    "channelSuspended": Outcome.ACCOUNT_DISABLED,
    "videoNotFound": Outcome.TARGET_GONE,
    "channelNotFound": Outcome.TARGET_GONE,
    "notFound": Outcome.TARGET_GONE,
    "forbidden": Outcome.PERMISSION_MISSING,
    "insufficientPermissions": Outcome.PERMISSION_MISSING,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": Outcome.PERMISSION_MISSING,
    "accessNotConfigured": Outcome.PERMISSION_MISSING,
    "SERVICE_DISABLED": Outcome.PERMISSION_MISSING,
    "youtubeSignupRequired": Outcome.PERMISSION_MISSING,
    "PERMISSION_DENIED": Outcome.PERMISSION_MISSING,
    "badRequest": Outcome.REQUEST_WRONG,
    "invalidParameter": Outcome.REQUEST_WRONG,
    "INVALID_ARGUMENT": Outcome.REQUEST_WRONG,
    "backendError": Outcome.PLATFORM_DOWN,
    "internalError": Outcome.PLATFORM_DOWN,
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
        return count(value, name)
    if type(value) in (int, float) and abs(value) < MILLIS_MAX // millis_of_unit:
        # By its digits, so that 12.3455 s is not the binary fraction just below it.
        return round_half_up(Fraction(repr(value)) * millis_of_unit)
    raise MappingError("bad_count", f"{name} is no duration: a {type(value).__name__}")


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
        raise MappingError("unexpected_shape", f"{name} is no date") from None
    if not EARLIEST < pacific_midnight(day) < LATEST - 2 * 86_400_000:
        raise MappingError("unexpected_shape", f"{name} is no date of a report")
    return day


class _Report:
    """An Analytics answer: named columns, positional rows.

    Raises:
        MappingError: `unexpected_shape`.
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        headers = objects(answer.get("columnHeaders"), "columnHeaders")
        self.names = [text(header.get("name")) for header in headers]
        self.dimensions = [text(header.get("name")) for header in headers if header.get("columnType") == "DIMENSION"]
        rows = answer.get("rows") or []
        if not isinstance(rows, list):
            raise MappingError("unexpected_shape", f"rows is a JSON {type(rows).__name__}, expected a list")
        for row in rows:
            if not isinstance(row, list) or len(row) != len(self.names):
                raise MappingError("unexpected_shape", "a row doesn't fit the column headers")
        self.rows: list[list[Any]] = rows

    def figures(
        self, row: list[Any], columns: Mapping[str, tuple[int, int]], empty: tuple[int | None, ...]
    ) -> tuple[int, tuple[int | None, ...]]:
        """What one row speaks of, and its values."""
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

    facts = Facts(
        name="youtube",
        base_url="https://www.googleapis.com",
        documentation="https://developers.google.com/youtube/v3/docs/videos",
        read_on="2026-11-20",
        auth="Google OAuth 2.0 user token (Bearer)",
        rate_limit="10,000 units a day a project, 1 unit a call",
        post_batch_size=BATCH_SIZE,
        post_group="data",
        limits=(Limit("data", 10_000, 24 * 3600),),
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
        """Bearer token."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def post_calls(self, channel: Channel, targets: Sequence[Target], now: int | None = None) -> list[Call]:
        """Batches of 50 videos."""
        return self._video_calls(targets)

    def _video_calls(self, targets: Sequence[Target]) -> list[Call]:
        calls: list[Call] = []
        for start in range(0, len(targets), BATCH_SIZE):
            part = tuple(targets[start : start + BATCH_SIZE])
            query = (("part", "statistics"), ("id", ",".join(dict.fromkeys(target.external_id for target in part))))
            calls.append(Call(RawKind.POST_METRICS, "GET", "/youtube/v3/videos", query, None, part, "data"))
        return calls

    def channel_calls(self, channel: Channel, now: int) -> list[Call]:
        """The channel as it is now, and its last reported days."""
        statistics = (("part", "statistics"), ("id", channel.external_id))
        today = pacific_day(now)
        report = (
            ("ids", f"channel=={channel.external_id}"),
            ("startDate", (today - timedelta(days=REPORT_DAYS)).isoformat()),
            ("endDate", today.isoformat()),
            ("metrics", _REPORT_METRICS),
            ("dimensions", "day"),
            ("sort", "day"),
        )
        return [
            Call(RawKind.CHANNEL_METRICS, "GET", "/youtube/v3/channels", statistics, limit_group="data"),
            Call(
                RawKind.CHANNEL_METRICS,
                "GET",
                "/v2/reports",
                report,
                limit_group="analytics",
                base_url=ANALYTICS_URL,
            ),
        ]

    def identity_call(self, channel: Channel) -> Call:
        """The token's own channel."""
        query = (("part", "id"), ("mine", "true"))
        return Call(RawKind.IDENTITY, "GET", "/youtube/v3/channels", query, limit_group="data")

    def refresh_call(self, tokens: HeldTokens, client: AppClient) -> RefreshCall | None:
        """Google's token endpoint; the refresh token stays."""
        return oauth_call("/token", tokens, client, base_url=TOKEN_URL)

    def read_refresh(self, status: int, headers: Mapping[str, str], body: bytes) -> TokenGrant | RefreshFailure:
        """As OAuth 2."""
        return read_oauth(status, headers, body)

    def read(self, event: PlatformRaw) -> Reading:
        """`/youtube/v3/videos` and `/youtube/v3/channels`; `/v2/reports` for both."""
        if not succeeded(event):
            return NOTHING
        path = path_segments(event.endpoint)
        if path[:1] == ("youtube",):
            path = path_segments("/".join(path[1:]))
        if path not in _PATHS.get(event.kind, ()):
            raise MappingError("unknown_endpoint", f"YouTube has no {event.kind} at {event.endpoint[:200]!r}")
        answer = json_object(event.body)
        if "error" in answer or event.kind == RawKind.IDENTITY:
            return NOTHING
        if path == ("reports",):
            if answer.get("errors"):
                return NOTHING
            report = _Report(answer)
            if event.kind == RawKind.POST_METRICS:
                return self._ranged_posts(event, report)
            return Reading((), self._periods(event, report))
        if event.kind == RawKind.CHANNEL_METRICS:
            return self._channel(event, answer)
        return self._videos(event, answer)

    def _videos(self, event: PlatformRaw, answer: dict[str, Any]) -> Reading:
        wanted = positions(event)
        readings: dict[int, PostReading] = {}
        answered: set[int] = set()
        for item in objects(answer.get("items", []), "items"):
            external_id = item.get("id")
            if not isinstance(external_id, str):
                raise MappingError("unexpected_shape", "an item has no text `id`")
            indexes = wanted.get(external_id)
            if indexes is None:
                continue
            answered.update(indexes)
            statistics = block(item.get("statistics"), "statistics")
            if statistics is None or indexes[0] in readings:
                continue
            values: list[int | None] = list(NO_POST_VALUES)
            fill(values, statistics, _VIDEO)
            for index in indexes:
                readings[index] = PostReading(index, _VIDEO_BITS, 0, tuple(values))
        gone = [index for index in range(len(event.targets)) if index not in answered]
        return Reading(list(readings.values()), (), gone)

    def _channel(self, event: PlatformRaw, answer: dict[str, Any]) -> Reading:
        items = objects(answer.get("items", []), "items")
        if len(items) > 1:
            asked = event.request.get("id", "").split(",")[0]
            items = [item for item in items if item.get("id") == asked][:1]
        for item in items:
            statistics = block(item.get("statistics"), "statistics")
            if statistics is not None:
                values: list[int | None] = list(NO_CHANNEL_VALUES)
                fill(values, statistics, _CHANNEL)
                if statistics.get("hiddenSubscriberCount") is True:
                    values[CH_FOLLOWERS] = None
                return Reading((), (ChannelReading("lifetime", None, None, _CHANNEL_BITS, tuple(values)),))
        return NOTHING

    def _ranged_posts(self, event: PlatformRaw, report: _Report) -> Reading:
        """Rows split by video, or the one row of the one video that the report was filtered to."""
        wanted = positions(event)
        only = _filtered_videos(event)
        if report.dimensions == ["video"]:
            column = report.names.index("video")
            named = [(row[column], row) for row in report.rows]
        elif not report.dimensions and len(only) == 1:
            named = [(only[0], row) for row in report.rows[:1]]
        else:
            raise MappingError("unexpected_shape", f"a report of posts is split by {report.dimensions}")
        readings: dict[int, PostReading] = {}
        for external_id, row in named:
            indexes = wanted.get(external_id, ()) if isinstance(external_id, str) else ()
            if not indexes:
                continue
            spoken, values = report.figures(row, _POST_COLUMNS, NO_POST_VALUES)
            if spoken:
                for index in indexes:
                    readings.setdefault(index, PostReading(index, spoken, spoken, values))
        return Reading(list(readings.values()))

    def _periods(self, event: PlatformRaw, report: _Report) -> tuple[ChannelReading, ...]:
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
            raise MappingError("unexpected_shape", f"a report of a channel is split by {report.dimensions}")
        readings: dict[tuple[date, date], ChannelReading] = {}
        for first, last, row in named:
            if first is None or last is None or last < first:
                continue
            spoken, values = report.figures(row, _CHANNEL_COLUMNS, NO_CHANNEL_VALUES)
            if spoken:
                period = "day" if first == last else "window"
                start, end = pacific_midnight(first), pacific_midnight(last + timedelta(days=1))
                readings.setdefault((first, last), ChannelReading(period, start, end, spoken, values))
        return tuple(readings.values())

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's video object, or its row of a report as an object by column names."""
        answer = try_json_object(event.body)
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
            for item in objects(answer.get("items", []), "items"):
                if item.get("id") == external_id:
                    return item
        except MappingError:
            pass  # an answer that can't be read holds no part of the target
        return {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> Verdict:
        """The reason of the first error, else of the details, else Google's status; 403 has many meanings."""
        answer = try_json_object(body)
        error = answer.get("error")
        if not isinstance(error, dict):
            if 200 <= status < 300:
                return Verdict(Outcome.OK) if answer else Verdict(Outcome.PLATFORM_DOWN, detail=f"{status} no JSON")
            error = {"status": error} if isinstance(error, str) else {}
        message = text(error.get("message", ""))
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
            return by_status(failed, headers, detail)
        if outcome is Outcome.QUOTA_EXHAUSTED:
            turns = pacific_midnight(pacific_day(now) + timedelta(days=1))
            return Verdict(outcome, (turns - now) / 1000, detail)
        if outcome is Outcome.TOKEN_EXPIRED and "revoked" in message.lower():
            outcome = Outcome.TOKEN_REVOKED
        if outcome is Outcome.REQUEST_WRONG and (refused := _REFUSED.search(message)):
            return Verdict(outcome, detail=detail, refused_metric=refused[1])
        wait = retry_after(headers) if outcome in (Outcome.RETRY_LATER, Outcome.PLATFORM_DOWN) else None
        return Verdict(outcome, wait, detail)

    def authorize_app(self, token: str) -> dict[str, str]:
        """An API key, as a header."""
        return {"x-goog-api-key": token}

    def app_post_calls(self, targets: Sequence[Target]) -> list[Call]:
        """Batches of 50 videos of any channels; the same figures as with a user's token, but for `dislikeCount`."""
        return self._video_calls(targets)

    def app_part(self, body: bytes, external_ids: Collection[str]) -> bytes:
        """The items of these videos; of an error its codes, without its words."""
        answer = try_json_object(body)
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

    def limits(self, headers: Mapping[str, str], now: int) -> LimitState | None:
        """Google sends no headers about the quota."""
        return None


PLATFORM = YouTube()
