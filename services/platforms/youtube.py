"""YouTube: Data API v3, and YouTube Analytics v2 (`_youtube_reports.py`).

Documentation: https://developers.google.com/youtube/v3/docs/videos, .../docs/videos/batchGetStats,
    .../youtube/analytics/reference; read 2026-11-30.
Auth: OAuth 2.0, access token of 1 h, refresh token until revoked; scopes youtube.readonly and yt-analytics.readonly.
Rate limit: 10,000 units a day a project (1 a call here), and 10,000 calls a day of `videos:batchGetStats` beside them;
    both begin anew at midnight Pacific; no headers. Analytics has a quota of its own.
Poll interval: by the common tiers; Data API figures are minutes to hours old. Analytics is asked once a day, and is 2
    to 3 days late.
Cannot supply: reach, saves, clicks; impressions only in bulk reports.

Changed since 2026-11-20, when these pages were read before: `videos:batchGetStats` (since 2026-06-03) is used; a day's
quota inside a 429 is told from a minute's; views of all formats count from the first frame since 2026-08-24.

Uncertain, and how it is read here:
- Counts are strings of digits. `favoriteCount` is always 0 and means nothing.
- `likeCount` is absent when hidden, `commentCount` when comments are off, `dislikeCount` for all but (rarely) the
  owner: all three read as null wherever the statistics were answered. `videos:batchGetStats` has no dislikes: it says
  nothing of them.
- A video left out of the answer is deleted or private; it counts as gone, and its figures stay as they were. A video
  that `videos:batchGetStats` lists as failed may also have failed for the moment: nothing is said of it.
- Videos that are a week old are asked for by `videos:batchGetStats`, so that the two quotas share the work.
- A channel without uploads has no list of them: `playlistNotFound` says nothing else.
- Thumbnail impressions are named for Analytics since January 2026, and refused in most combinations; no poll asks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import _google, _lists, _youtube_reports, abilities, base, http_reading, json_reading
from services.platforms._oauth import oauth_call, read_oauth

BATCH_SIZE = 50
TOKEN_URL = "https://oauth2.googleapis.com"
# From this age on (ms) posts are asked for by the quota of `videos:batchGetStats`: about half of all polls.
STATS_AGE = 7 * 86_400_000

_VIDEO = (
    ("viewCount", metrics.VIEWS),
    ("likeCount", metrics.LIKES),
    ("commentCount", metrics.COMMENTS),
    ("dislikeCount", metrics.DISLIKES),
)
_STATS_BITS = json_reading.bits(metrics.VIEWS, metrics.LIKES, metrics.COMMENTS)
_VIDEO_BITS = _STATS_BITS | json_reading.bits(metrics.DISLIKES)
_CHANNEL = (
    ("subscriberCount", metrics.CH_FOLLOWERS),
    ("videoCount", metrics.CH_POSTS_COUNT),
    ("viewCount", metrics.CH_VIEWS),
)
_CHANNEL_BITS = json_reading.bits(metrics.CH_FOLLOWERS, metrics.CH_POSTS_COUNT, metrics.CH_VIEWS)

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
    "keyInvalid": base.Outcome.TOKEN_REVOKED,
    "keyExpired": base.Outcome.TOKEN_REVOKED,
    "API_KEY_INVALID": base.Outcome.TOKEN_REVOKED,
    "API_KEY_EXPIRED": base.Outcome.TOKEN_REVOKED,
    "accountClosed": base.Outcome.ACCOUNT_DISABLED,
    "accountSuspended": base.Outcome.ACCOUNT_DISABLED,
    "accountTerminated": base.Outcome.ACCOUNT_DISABLED,
    "authenticatedUserAccountClosed": base.Outcome.ACCOUNT_DISABLED,
    "authenticatedUserAccountSuspended": base.Outcome.ACCOUNT_DISABLED,
    "channelClosed": base.Outcome.ACCOUNT_DISABLED,
    "channelSuspended": base.Outcome.ACCOUNT_DISABLED,
    "videoNotFound": base.Outcome.TARGET_GONE,
    "channelNotFound": base.Outcome.TARGET_GONE,
    "notFound": base.Outcome.TARGET_GONE,
    "playlistNotFound": base.Outcome.TARGET_GONE,  # an account that never uploaded anything has no list of it
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
    RawKind.POST_METRICS: (("videos",), ("videos:batchGetStats",), ("reports",)),
    RawKind.CHANNEL_METRICS: (("channels",), ("reports",)),
    RawKind.IDENTITY: (("channels",), ("playlistItems",)),
}
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_REFUSED = re.compile(r"Unknown identifier \((\w+)\)")


class _Answered(NamedTuple):
    """What an answer holds of each video, by its id; of several the first.

    Attributes:
        names: of a report's columns.
        rows: of a report that is split by video.
        any_row: the first row of a report that is not.
        items: the video objects.
    """

    names: Sequence[str]
    rows: Mapping[str, list[Any]]
    any_row: list[Any] | None
    items: Mapping[str, dict[str, Any]]


def _answered(event: PlatformRaw) -> _Answered:
    """What an answer holds of each video; an answer that can't be read holds nothing."""
    answer = json_reading.try_json_object(event.body)
    names: list[str] = []
    rows: dict[str, list[Any]] = {}
    any_row: list[Any] | None = None
    items: dict[str, dict[str, Any]] = {}
    try:
        if "columnHeaders" in answer:
            report = _youtube_reports.Report(answer, event.request)
            names = report.names
            # Of columns with one name, the last.
            column = max((place for place, name in enumerate(names) if name == "video"), default=-1)
            if column < 0:
                any_row = report.rows[0] if report.rows else None
            for row in report.rows if column >= 0 else ():
                if isinstance(video_id := row[column], str):
                    rows.setdefault(video_id, row)
        for item in json_reading.objects(answer.get("items", []), "items"):
            if isinstance(video_id := item.get("id"), str):
                items.setdefault(video_id, item)
    except base.MappingError:
        pass
    return _Answered(names, rows, any_row, items)


def _failed(answer: dict[str, Any]) -> list[str]:
    """The videos that `videos:batchGetStats` could not answer for."""
    summary = answer.get("summary")
    failed = summary.get("failedVideoIds") if isinstance(summary, dict) else None
    return [video_id for video_id in failed if isinstance(video_id, str)] if isinstance(failed, list) else []


def _posted(item: dict[str, Any]) -> abilities.Discovered | str | None:
    """A video of a playlist; the name of a field that it lacks, None for a private one."""
    snippet = json_reading.block(item.get("snippet"), "snippet") or {}
    details = json_reading.block(item.get("contentDetails"), "contentDetails") or {}
    named = json_reading.block(snippet.get("resourceId"), "resourceId") or {}
    video_id = details.get("videoId", named.get("videoId"))
    if not isinstance(video_id, str):
        return "videoId"
    if "videoPublishedAt" not in details:
        return None
    at = json_reading.instant(details["videoPublishedAt"])
    if at is None:
        return "videoPublishedAt"
    title = _lists.text_of(snippet.get("title"))
    return abilities.Discovered(video_id, at, "youtube-video", _address(video_id) or "", title)


def _address(video_id: str) -> str | None:
    return f"https://www.youtube.com/watch?v={video_id}" if _VIDEO_ID.fullmatch(video_id) else None


_OF_ANALYTICS = "with yt-analytics.readonly, for videos of 2 days and more, by the owner's token"


class YouTube:
    """YouTube: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="youtube",
        base_url="https://www.googleapis.com",
        documentation="https://developers.google.com/youtube/v3/docs/videos",
        read_on="2026-11-30",
        auth="Google OAuth 2.0 user token (Bearer) with youtube.readonly and yt-analytics.readonly",
        rate_limit="10,000 units and 10,000 videos:batchGetStats a day a project, 1 a call; Analytics apart",
        post_batch_size=BATCH_SIZE,
        post_group="data",
        limits=(base.Limit("data", 10_000, 24 * 3600), base.Limit("stats", 10_000, 24 * 3600)),
        report_days=_youtube_reports.REPORT_DAYS,
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
        channel_not_asked={
            "views": ("window",),
            "impressions": ("day", "window"),
            "likes": ("window",),
            "comments": ("window",),
            "shares": ("window",),
            "watch_time_seconds": ("window",),
        },
        channel_conditions={
            "followers": "not where the channel hides them; rounded to three significant figures",
            "likes": "with yt-analytics.readonly",
            "comments": "with yt-analytics.readonly",
            "shares": "with yt-analytics.readonly",
            "watch_time_seconds": "with yt-analytics.readonly",
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
        lag="minutes to hours; shares, follows and watch times 2 to 3 days, asked for once a day",
        channel_lag="2 to 3 days",
        has_only_videos=True,
        not_asked={"impressions": "Analytics refuses them in most reports, the bulk reports apart"},
        conditions={
            "likes": "not where they are hidden",
            "comments": "not where comments are off",
            "dislikes": "the owner's token alone, and rarely; not for posts of more than a week",
            "shares": _OF_ANALYTICS,
            "follows": _OF_ANALYTICS,
            "watch_time_seconds": _OF_ANALYTICS,
            "avg_watch_time_seconds": _OF_ANALYTICS,
        },
        discovery="with youtube.readonly; public and unlisted videos",
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
        remedies=(
            base.Remedy(base.Outcome.PERMISSION_MISSING, "scope yt-analytics.readonly", r"reports"),
            base.Remedy(base.Outcome.PERMISSION_MISSING, "scope youtube.readonly"),
        ),
    )

    def authorize(self, token: str | None) -> dict[str, str]:
        """The user's token in a bearer header; no header without a token."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """Batches of 50 videos, and once a day their reports."""
        calls = self._video_calls(targets, now)
        return calls if now is None else calls + _youtube_reports.post_calls(channel, targets, now)

    def owner_calls(self, channel: base.Channel, targets: Sequence[base.Target], now: int) -> list[base.Call]:
        """The reports that are due, beside polls with our app's key: Analytics answers the owner's token alone."""
        return _youtube_reports.post_calls(channel, targets, now)

    def _video_calls(self, targets: Sequence[base.Target], now: int | None) -> list[base.Call]:
        # By the age of each alone, so that a part of a call's targets is asked for by the same kind of call.
        old = [
            t for t in targets if now is not None and t.published_at is not None and now - t.published_at >= STATS_AGE
        ]
        held = frozenset(id(target) for target in old)
        young = [target for target in targets if id(target) not in held]
        calls: list[base.Call] = []
        kinds = ((young, "videos", "data", "posts"), (old, "videos:batchGetStats", "stats", "posts/stats"))
        for of_age, path, group, shape in kinds:
            for start in range(0, len(of_age), BATCH_SIZE):
                part = tuple(of_age[start : start + BATCH_SIZE])
                query = (("part", "statistics"), ("id", ",".join(dict.fromkeys(target.external_id for target in part))))
                calls.append(
                    base.Call(RawKind.POST_METRICS, "GET", f"/youtube/v3/{path}", query, None, part, group, shape=shape)
                )
        return calls

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """The channel as it is now, and its last reported days."""
        query = (("part", "statistics"), ("id", channel.external_id))
        path = "/youtube/v3/channels"
        return [
            base.Call(RawKind.CHANNEL_METRICS, "GET", path, query, limit_group="data", shape="channel"),
            _youtube_reports.channel_call(channel, now),
        ]

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The token's own channel."""
        query = (("part", "id"), ("mine", "true"))
        path = "/youtube/v3/channels"
        return base.Call(RawKind.IDENTITY, "GET", path, query, limit_group="data", shape="identity")

    def discovery_call(self, channel: base.Channel, now: int) -> base.Call:
        """The newest 50 of the channel's uploads: a playlist whose id is the channel's with another beginning."""
        playlist = f"UU{channel.external_id.removeprefix('UC')}"
        query = (("part", "snippet,contentDetails"), ("playlistId", playlist), ("maxResults", str(BATCH_SIZE)))
        path = "/youtube/v3/playlistItems"
        return base.Call(RawKind.IDENTITY, "GET", path, query, limit_group="data", shape="discovery")

    def discovered(self, event: PlatformRaw) -> abilities.Listed:
        """The videos of a playlist's answer; private ones, which have no time of publishing, are left out."""
        answer = json_reading.json_object(event.body) if http_reading.succeeded(event) else {}
        if not http_reading.succeeded(event) or "error" in answer:
            return abilities.Listed()
        return _lists.listed(answer.get("items", []), "items", _posted)

    def post_address(self, external_id: str) -> str | None:
        """`/watch`, which plays shorts as well."""
        return _address(external_id)

    def refresh_call(self, tokens: abilities.HeldTokens, client: abilities.AppClient) -> abilities.RefreshCall | None:
        """Google's token endpoint; the refresh token stays."""
        return oauth_call("/token", tokens, client, base_url=TOKEN_URL)

    def read_refresh(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """Reads the answer by the common rules of OAuth 2."""
        return read_oauth(status, headers, body)

    def read(self, event: PlatformRaw) -> base.Reading:
        """`/youtube/v3/videos`, `/youtube/v3/videos:batchGetStats`, `/youtube/v3/channels`; `/v2/reports` for both."""
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
            report = _youtube_reports.Report(answer, event.request)
            if event.kind == RawKind.POST_METRICS:
                return _youtube_reports.posts(event, report)
            return base.Reading((), _youtube_reports.periods(event, report))
        if event.kind == RawKind.CHANNEL_METRICS:
            return self._channel(event, answer)
        return self._videos(event, answer, _STATS_BITS if path == ("videos:batchGetStats",) else _VIDEO_BITS)

    def _videos(self, event: PlatformRaw, answer: dict[str, Any], asked: int) -> base.Reading:
        wanted = json_reading.positions(event)
        found: dict[str, json_reading.Figures] = {}
        answered: set[str] = set()
        for item in json_reading.objects(answer.get("items", []), "items"):
            external_id = item.get("id")
            if not isinstance(external_id, str):
                raise base.MappingError("unexpected_shape", "an item has no text `id`")
            if external_id not in wanted:
                continue
            answered.add(external_id)
            statistics = json_reading.block(item.get("statistics"), "statistics")
            if statistics is None or external_id in found:
                continue
            values: list[int | None] = list(metrics.NO_POST_VALUES)
            json_reading.fill(values, statistics, _VIDEO)
            spoken = asked | (1 << metrics.DISLIKES if "dislikeCount" in statistics else 0)
            found[external_id] = (spoken, 0, tuple(values))
        answered.update(_failed(answer))
        return base.Reading(json_reading.readings(found, wanted), (), json_reading.left_out(event, answered))

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

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's video object, or its row of a report as an object by column names."""
        if not 0 <= target_index < len(event.targets):
            return {}
        external_id = event.targets[target_index].external_id
        answered = json_reading.made_once(event, _answered)
        row = answered.rows.get(external_id, answered.any_row)
        return dict(zip(answered.names, row, strict=True)) if row is not None else answered.items.get(external_id, {})

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """The reason of the details, else of the first error, else Google's status; 403 has many meanings."""
        error = _google.read_error(body)
        if 200 <= status < 300 and error is None:
            if json_reading.try_json_object(body):
                return base.Verdict(base.Outcome.OK)
            return base.Verdict(base.Outcome.PLATFORM_DOWN, detail=f"{status} no JSON")
        verdict = _google.classify(status, headers, body, now, _OUTCOME_OF_REASON)
        refused = _REFUSED.search(error.message) if error is not None else None
        if verdict.outcome is base.Outcome.REQUEST_WRONG and refused:
            return replace(verdict, refused_metric=refused[1])
        return verdict

    def authorize_app(self, token: str) -> dict[str, str]:
        """An API key, as a header."""
        return {"x-goog-api-key": token}

    def app_post_calls(self, targets: Sequence[base.Target]) -> list[base.Call]:
        """Batches of 50 videos of any channels; the same figures as with a user's token, but for `dislikeCount`."""
        return self._video_calls(targets, None)

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
