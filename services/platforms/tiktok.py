"""TikTok, Display API v2.

Documentation: https://developers.tiktok.com/doc/tiktok-api-v2-video-query, read 2026-11-30.
Auth: OAuth 2.0 user token of 24 h, refresh token of 365 days that may be replaced at each refresh; scopes video.list,
    user.info.basic, user.info.stats.
Rate limit: 600 requests a minute for each endpoint, over a sliding minute; no headers.
Poll interval: by the common tiers.
Cannot supply: reach, impressions, saves, clicks, watch time: these are in the business account API, another product.

Changed since 2026-11-20, when these pages were read before: nothing.

Uncertain, and how it is read here:
- `error.code` is on every answer, `ok` with success; another one makes an answer a failure whatever its status. The
  documentation's example is the error itself, without `error` around it: both are read.
- Ids are documented as strings; a bare number has been seen, and is read by its digits.
- Deleted, private and foreign videos are left out without a word, so what is missing from an answered list is gone.
- Counts that were asked for and are absent from a video are null; where the fields of a request are not known, a
  video with any count has been asked for all four.
- A list of videos that holds an id of another form is refused as a whole, without saying which.
- `access_token_invalid` covers expired and revoked tokens and suspended accounts: only the refresh tells them apart.
- `likes_count` of an account is every like that its videos ever had: likes of its lifetime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import _lists, abilities, base, http_reading, json_reading
from services.platforms._oauth import oauth_call, read_oauth

BATCH_SIZE = 20
# The end of the year 9999.
_LAST_SECOND = 253_402_300_800
DAY_MS = 86_400_000

_VIDEO: json_reading.FieldMap = (
    ("view_count", metrics.VIEWS),
    ("like_count", metrics.LIKES),
    ("comment_count", metrics.COMMENTS),
    ("share_count", metrics.SHARES),
)
_VIDEO_FIELDS = ",".join(("id", *(name for name, _ in _VIDEO)))
_LIST_FIELDS = "id,create_time,share_url,title,video_description"
_USER: json_reading.FieldMap = (
    ("follower_count", metrics.CH_FOLLOWERS),
    ("following_count", metrics.CH_FOLLOWING),
    ("video_count", metrics.CH_POSTS_COUNT),
    ("likes_count", metrics.CH_LIKES),
)
_USER_FIELDS = ",".join(name for name, _ in _USER)

_OUTCOME_OF_CODE = {
    "access_token_invalid": base.Outcome.TOKEN_EXPIRED,
    "access_token_expired": base.Outcome.TOKEN_EXPIRED,
    "scope_not_authorized": base.Outcome.PERMISSION_MISSING,
    "scope_permission_missed": base.Outcome.PERMISSION_MISSING,
    "rate_limit_exceeded": base.Outcome.RETRY_LATER,
    "daily_quota_limit_exceeded": base.Outcome.QUOTA_EXHAUSTED,
    "invalid_params": base.Outcome.REQUEST_WRONG,
    "invalid_param": base.Outcome.REQUEST_WRONG,
    "invalid_file_upload": base.Outcome.REQUEST_WRONG,
    "invalid_client": base.Outcome.REQUEST_WRONG,
    "invalid_request": base.Outcome.REQUEST_WRONG,
    "unauthorized_client": base.Outcome.REQUEST_WRONG,
    "invalid_grant": base.Outcome.TOKEN_REVOKED,
    "access_denied": base.Outcome.PERMISSION_MISSING,
    "unaudited_client_can_only_post_to_private_accounts": base.Outcome.PERMISSION_MISSING,
    "internal_error": base.Outcome.PLATFORM_DOWN,
}
_PATHS: dict[str, tuple[tuple[str, ...], ...]] = {
    RawKind.POST_METRICS: (("video", "query"), ("video", "list")),
    RawKind.CHANNEL_METRICS: (("user", "info"),),
    RawKind.IDENTITY: (("user", "info"), ("video", "list")),
}


def _code(answer: dict[str, Any]) -> str | None:
    """The answer's own code; None when it has none."""
    error = answer.get("error")
    code = error.get("code") if isinstance(error, dict) else error
    if code is None and "log_id" in answer:
        # As the documentation writes it: the error itself.
        code = answer.get("code")
    return None if code is None else json_reading.text(code)


def _is_own(answer: dict[str, Any]) -> bool:
    """Whether an error of an unknown code has TikTok's form: it comes with the id that its log has of the call."""
    error = answer.get("error")
    return "log_id" in (error if isinstance(error, dict) else answer)


def _id_of(video: dict[str, Any]) -> str:
    """A video's id as text.

    Raises:
        MappingError: `unexpected_shape`.
    """
    external_id = video.get("id")
    if isinstance(external_id, str):
        return external_id
    if type(external_id) is int:
        return str(external_id)
    raise base.MappingError("unexpected_shape", "a video has no `id`")


def _figures(
    answered: dict[str, Any],
    fields: json_reading.FieldMap,
    names: frozenset[str] | None,
    empty: tuple[int | None, ...],
) -> tuple[int, tuple[int | None, ...]]:
    """The figures of a video or user: the mask of reported metrics, and values.

    Args:
        names: the fields that were asked for; None where they are not known.

    Raises:
        MappingError: `bad_count`.
    """
    all_asked = names is None and any(key in answered for key, _ in fields)
    values = list(empty)
    spoken = 0
    for key, position in fields:
        if key in answered:
            values[position] = json_reading.count(answered[key], key)
        elif not (all_asked or (names is not None and key in names)):
            continue
        spoken |= 1 << position
    return spoken, tuple(values)


def _videos(answer: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The videos of an answer; None when it has no list of them.

    Raises:
        MappingError: `unexpected_shape`.
    """
    data = json_reading.block(answer.get("data"), "data")
    listed = None if data is None else data.get("videos")
    return None if listed is None else json_reading.objects(listed, "data.videos")


def _asked(event: PlatformRaw) -> frozenset[str] | None:
    """The fields that were asked for; None where the request does not tell."""
    asked = event.request.get("fields", "")
    return frozenset(name.strip() for name in asked.split(",")) if asked else None


def _by_id(event: PlatformRaw) -> dict[str, dict[str, Any]]:
    """The videos of an answer by their ids, of several the first; up to the first that can't be read."""
    found: dict[str, dict[str, Any]] = {}
    try:
        for video in _videos(json_reading.try_json_object(event.body)) or ():
            found.setdefault(_id_of(video), video)
    except base.MappingError:
        pass  # an answer that can't be read holds no further part
    return found


def _posted(video: dict[str, Any]) -> abilities.Discovered | str:
    """A video of a list, or the name of a field that it lacks."""
    external_id, at = video.get("id"), video.get("create_time")
    if not isinstance(external_id, str) and type(external_id) is not int:
        return "id"
    if type(at) is not int or not 0 < at < _LAST_SECOND:
        return "create_time"
    link = _lists.text_of(video.get("share_url"))
    text = _lists.text_of(video.get("video_description") or video.get("title"))
    return abilities.Discovered(str(external_id), at * 1000, "tiktok-video", link, text)


class TikTok:
    """TikTok: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="tiktok",
        base_url="https://open.tiktokapis.com",
        documentation="https://developers.tiktok.com/doc/tiktok-api-v2-video-query",
        read_on="2026-11-30",
        auth="OAuth 2.0 user token (Bearer) with video.list and user.info.stats",
        rate_limit="600 requests a minute for each endpoint",
        post_batch_size=BATCH_SIZE,
        post_group="video_query",
        limits=(
            base.Limit("video_query", 600, 60),
            base.Limit("user_info", 600, 60),
            base.Limit("video_list", 600, 60),
        ),
        channel_conditions=dict.fromkeys(("followers", "following", "posts_count", "likes"), "with user.info.stats"),
        conditions=dict.fromkeys(
            ("views", "likes", "comments", "shares"), "of the account's public videos, with video.list"
        ),
        channel_metrics={
            "followers": ("lifetime",),
            "following": ("lifetime",),
            "posts_count": ("lifetime",),
            "likes": ("lifetime",),
        },
        has_only_videos=True,
        discovery="with video.list; public videos",
        not_reported={
            "impressions": "the Display API counts views only",
            "reach": "only in the business account API",
            "dislikes": "not on the platform",
            "quotes": "not on the platform",
            "saves": "only in the business account API",
            "clicks": "only in the business account API",
            "other_clicks": "not in the API",
            "profile_clicks": "only in the business account API",
            "follows": "only in the business account API",
            "video_views": "views are the video views",
            "watch_time_seconds": "only in the business account API",
            "avg_watch_time_seconds": "only in the business account API",
            "poll_votes": "not in the API",
        },
        remedies=(
            base.Remedy(base.Outcome.PERMISSION_MISSING, "scope video.list", r"video"),
            base.Remedy(base.Outcome.PERMISSION_MISSING, "scopes user.info.basic, user.info.stats"),
        ),
    )

    def authorize(self, token: str | None) -> dict[str, str]:
        """The user's token in a bearer header; no header without a token."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """Batches of 20 videos, named in the body."""
        calls: list[base.Call] = []
        for start in range(0, len(targets), BATCH_SIZE):
            part = tuple(targets[start : start + BATCH_SIZE])
            filters = {"filters": {"video_ids": [target.external_id for target in part]}}
            query = (("fields", _VIDEO_FIELDS),)
            calls.append(
                base.Call(
                    RawKind.POST_METRICS, "POST", "/v2/video/query/", query, filters, part, "video_query", shape="posts"
                )
            )
        return calls

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """The token's account as it is now; TikTok has no history of it."""
        query = (("fields", _USER_FIELDS),)
        path = "/v2/user/info/"
        return [base.Call(RawKind.CHANNEL_METRICS, "GET", path, query, limit_group="user_info", shape="channel")]

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The token's own account, by the scope that every token has."""
        query = (("fields", "open_id,display_name"),)
        return base.Call(RawKind.IDENTITY, "GET", "/v2/user/info/", query, limit_group="user_info", shape="identity")

    def discovery_call(self, channel: base.Channel, now: int) -> base.Call:
        """The account's newest 20 public videos."""
        query = (("fields", _LIST_FIELDS),)
        return base.Call(
            RawKind.IDENTITY, "POST", "/v2/video/list/", query, {"max_count": BATCH_SIZE},
            limit_group="video_list", shape="discovery",
        )  # fmt: skip

    def discovered(self, event: PlatformRaw) -> abilities.Listed:
        """The videos of a page."""
        answer = json_reading.json_object(event.body) if http_reading.succeeded(event) else {}
        if not http_reading.succeeded(event) or _code(answer) not in ("ok", None):
            return abilities.Listed()
        data = json_reading.block(answer.get("data"), "data") or {}
        return _lists.listed(data.get("videos") or [], "data.videos", _posted)

    def refresh_call(self, tokens: abilities.HeldTokens, client: abilities.AppClient) -> abilities.RefreshCall | None:
        """`/v2/oauth/token/`; the refresh token may be replaced."""
        return oauth_call("/v2/oauth/token/", tokens, client, id_name="client_key")

    def read_refresh(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """As OAuth 2, failures with status 200 too."""
        return read_oauth(status, headers, body)

    def read(self, event: PlatformRaw) -> base.Reading:
        """Reads answers of `/v2/video/query/`, `/v2/video/list/` and `/v2/user/info/`."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        path = http_reading.path_segments(event.endpoint)
        if path not in _PATHS.get(event.kind, ()):
            raise base.MappingError("unknown_endpoint", f"TikTok has no {event.kind} at {event.endpoint[:200]!r}")
        answer = json_reading.json_object(event.body)
        if _code(answer) not in ("ok", None) or event.kind == RawKind.IDENTITY:
            return base.NOTHING
        if event.kind == RawKind.CHANNEL_METRICS:
            return self._read_user(event, answer)
        return self._read_videos(event, answer, complete=path == ("video", "query"))

    def _read_videos(self, event: PlatformRaw, answer: dict[str, Any], *, complete: bool) -> base.Reading:
        """Reads videos asked for by their ids, or a page of all videos; videos outside of a page are not gone."""
        videos = _videos(answer)
        if videos is None:
            return base.NOTHING
        wanted, asked = json_reading.positions(event), _asked(event)
        found: dict[str, json_reading.Figures] = {}
        answered: set[str] = set()
        for video in videos:
            external_id = _id_of(video)
            if external_id not in wanted:
                continue
            answered.add(external_id)
            spoken, values = _figures(video, _VIDEO, asked, metrics.NO_POST_VALUES)
            if spoken:
                found.setdefault(external_id, (spoken, 0, values))
        gone = json_reading.left_out(event, answered) if complete else []
        return base.Reading(json_reading.readings(found, wanted), (), gone)

    def _read_user(self, event: PlatformRaw, answer: dict[str, Any]) -> base.Reading:
        data = json_reading.block(answer.get("data"), "data")
        user = None if data is None else json_reading.block(data.get("user"), "data.user")
        if user is None:
            return base.NOTHING
        spoken, values = _figures(user, _USER, _asked(event), metrics.NO_CHANNEL_VALUES)
        return (
            base.Reading((), (base.ChannelReading("lifetime", None, None, spoken, values),)) if spoken else base.NOTHING
        )

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's video object."""
        if not 0 <= target_index < len(event.targets):
            return {}
        return json_reading.made_once(event, _by_id).get(event.targets[target_index].external_id, {})

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """`error.code` on every status; the status where there is none."""
        answer = json_reading.try_json_object(body)
        code = _code(answer)
        if 200 <= status < 300:
            if code == "ok" or (code is None and "data" in answer):
                return base.Verdict(base.Outcome.OK)
            if code is None:
                return base.Verdict(base.Outcome.PLATFORM_DOWN, detail=f"{status} without a code")
        detail = f"{status} {code}"[:200]
        outcome = _OUTCOME_OF_CODE.get(code or "")
        if outcome is None:
            failed = status if status >= 400 else 500
            if _is_own(answer):
                return http_reading.by_status(failed, headers, detail, body)
            return http_reading.without_code(failed, headers, detail)
        if outcome is base.Outcome.QUOTA_EXHAUSTED:
            return base.Verdict(outcome, (DAY_MS - now % DAY_MS) / 1000, detail)
        wait = (
            http_reading.retry_after(headers)
            if outcome in (base.Outcome.RETRY_LATER, base.Outcome.PLATFORM_DOWN)
            else None
        )
        return base.Verdict(outcome, wait, detail)

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """TikTok sends no headers about the limit."""
        return None


PLATFORM = TikTok()
