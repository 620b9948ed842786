"""Pinterest, API v5, business accounts.

Documentation: https://developers.pinterest.com/docs/api/v5/pins-get and .../pins-analytics; pinterest/api-description
    `v5/openapi.json` 5.23.0; read 2026-11-30.
Auth: OAuth 2.0, access token of 30 d, continuous refresh token of 60 d; scopes pins:read, boards:read,
    user_accounts:read.
Rate limit: standard access 100 calls a second a user and app, and by category (`org_read`, `org_analytics`) a minute;
    trial access 1000 calls a day. `x-ratelimit-*` headers, reset in seconds from now.
Poll interval: by the common tiers; figures of a day settle within about two days.
Cannot supply: reach, shares, views; video figures only for a range of dates.

Changed since 2026-11-20, when these pages were read before: nothing.

Uncertain, and how it is read here:
- `/pins/analytics` takes 100 pins but is in beta and closed to most apps. Its answers (keyed by pin) are read; a pin
  that it leaves out counts as gone. Pins are asked for one by one, or by the account's own list, which has the same
  figures of as many pins as a page holds, the newest first. A list can't be asked for certain pins: what it leaves
  out may be on another page or on a secret board, and is asked for by itself. So only pins of the last week are
  looked for in a list, where several are due at once: they cost one call then, and at worst a fifth more than without.
- An id that is no number refuses its call, in words that quote it.
- The trial's 1000 calls a day are told by the window of a 429's `x-ratelimit-limit`, and by nothing else.
- `pin_metrics` of a pin holds its lifetime, and `90d`, a range of dates, which stands in for what the lifetime lacks.
  The specification's example has no `save`; answers in the wild have it, some also `outbound_click` for
  `clickthrough`. Pins made before 2023-03-20 have lifetime figures only if they are video or idea pins.
- The analytics answer names no pin: it is the one of the path, else the event's one target.
- `summary_metrics` covers the dates asked for. It is believed when some day of it is READY or ESTIMATE, or when the
  answer lists no days; when all days are in another state, it says nothing.
- A video's watch time is `VIDEO_V50_WATCH_TIME` ("total play time"); averages are fractions of milliseconds.
- `PROFILE_VISIT` and `USER_FOLLOW` are made from the pin, so they are profile clicks and follows.
- `monthly_views` of an account is a rolling month without its dates: no lifetime, and no window either. Kept raw.
- Days are UTC. Code 7 and 403 mean a pin or account of somebody else's, or an account that is no business account.
- An expired and a revoked token answer the same 401: only the refresh tells them apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import _lists, abilities, base, http_reading, json_reading
from services.platforms._oauth import oauth_call, read_oauth
from services.platforms._pinterest_figures import CHANNEL, DAY, Analytics, asked_of, day_of, of_pin, speak

# "Cannot be more than 90 days back from today"; a day early, for the call's own time.
WINDOWDAYS = 89
BATCH_SIZE = 100
# From so many young pins on that are due at once, and up to this age, one list is asked for instead of each pin.
LISTED_FROM = 5
LISTED_AGE = 7 * DAY
SHORTEST_PAGE, LONGEST_PAGE = 50, 250
# Days asked for of an account: 28 settled days, and the last ones that are not settled yet.
REPORTDAYS = 31

_ACCOUNT = (
    ("follower_count", metrics.CH_FOLLOWERS),
    ("following_count", metrics.CH_FOLLOWING),
    ("pin_count", metrics.CH_POSTS_COUNT),
)
_ACCOUNT_BITS = json_reading.bits(metrics.CH_FOLLOWERS, metrics.CH_FOLLOWING, metrics.CH_POSTS_COUNT)
_CHANNEL_METRICS = "ENGAGEMENT,IMPRESSION,OUTBOUND_CLICK,PIN_CLICK,SAVE"
_VIDEO_METRICS = "VIDEO_MRC_VIEW,VIDEO_V50_WATCH_TIME,VIDEO_AVG_WATCH_TIME,TOTAL_COMMENTS,TOTAL_REACTIONS"
_VIDEO_WORDS = ("video", "idea", "clip", "reel", "short")

# Ids are numbers, and whatever is none refuses the call: `Invalid request: 'name' does not match '^\\d+$'`.
_NO_NUMBER = re.compile(r"'([^']{1,256})' does not match '\^\\+d\+\$'")
_OUTCOME_OF_CODE = {
    1: base.Outcome.REQUEST_WRONG,
    2: base.Outcome.TOKEN_EXPIRED,
    3: base.Outcome.PERMISSION_MISSING,
    7: base.Outcome.PERMISSION_MISSING,
    8: base.Outcome.RETRY_LATER,
    29: base.Outcome.PERMISSION_MISSING,
    50: base.Outcome.TARGET_GONE,
}
_PIN_ID = re.compile(r"[0-9]{1,32}", re.ASCII)


def _own_id(path: tuple[str, ...]) -> str | None:
    """The pin of `/pins/{id}` and `/pins/{id}/analytics`."""
    return unquote(path[1]) if path[0] == "pins" and len(path) > 1 else None


def _listed(answer: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pins of a list by their ids."""
    for pin in json_reading.objects(answer.get("items"), "items"):
        external_id = pin.get("id")
        if isinstance(external_id, str):
            yield external_id, pin


def _posted(pin: dict[str, Any]) -> abilities.Discovered | str | None:
    """A pin of a list; the name of a field that it lacks, None where another account made it."""
    external_id, at = pin.get("id"), json_reading.instant(pin.get("created_at"))
    if pin.get("is_owner") is False:
        return None
    if not isinstance(external_id, str):
        return "id"
    if at is None:
        return "created_at"
    media = pin.get("media")
    is_video = isinstance(media, dict) and media.get("media_type") == "video"
    return abilities.Discovered(
        external_id, at, "pinterest-video" if is_video else "pinterest-pin",
        _address(external_id) or "",
        _lists.text_of(pin.get("title") or pin.get("description")),
    )  # fmt: skip


def _address(pin_id: str) -> str | None:
    return f"https://www.pinterest.com/pin/{pin_id}/" if _PIN_ID.fullmatch(pin_id) else None


def _is_posts(path: tuple[str, ...]) -> bool:
    """`/pins`, `/pins/{id}`, `/pins/{id}/analytics`, `/pins/analytics`, `/boards/{id}/pins`."""
    match path:
        case ("pins",) | ("pins", _) | ("pins", _, "analytics") | ("boards", _, "pins"):
            return True
    return False


def _is_listed(target: base.Target, now: int | None) -> bool:
    """Whether a pin is so young that it is most likely on the first page of its account's list."""
    return now is not None and target.published_at is not None and now - target.published_at < LISTED_AGE


def _list_call(targets: tuple[base.Target, ...]) -> base.Call:
    """The account's newest pins, some of which are these; of the same shape as a lone pin's call, which stands in."""
    size = min(LONGEST_PAGE, max(SHORTEST_PAGE, 2 * len(targets)))
    query = (("page_size", str(size)), ("pin_metrics", "true"))
    return base.Call(RawKind.POST_METRICS, "GET", "/v5/pins", query, None, targets, "org_read", shape="posts")


def _is_analytics(path: tuple[str, ...]) -> bool:
    return path[-1] == "analytics"


class Pinterest:
    """Pinterest: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="pinterest",
        base_url="https://api.pinterest.com",
        documentation="https://developers.pinterest.com/docs/api/v5/pins-get",
        read_on="2026-11-30",
        auth="OAuth 2.0 user token (Bearer) of a business account",
        rate_limit="100 calls a second a user and app, and by category a minute; trial 1000 calls a day",
        post_batch_size=BATCH_SIZE,
        post_group="org_read",
        limits=(base.Limit("org_read", 100, 1), base.Limit("org_analytics", 100, 1)),
        report_days=REPORTDAYS,
        channel_metrics={
            "followers": ("lifetime",),
            "following": ("lifetime",),
            "posts_count": ("lifetime",),
            "impressions": ("day", "window"),
            "saves": ("day", "window"),
            "engagements": ("day", "window"),
            "profile_views": ("day", "window"),
        },
        ranged_metrics=(
            "impressions",
            "saves",
            "clicks",
            "other_clicks",
            "profile_clicks",
            "follows",
            "video_views",
            "watch_time_seconds",
            "avg_watch_time_seconds",
        ),
        channel_not_asked={
            "impressions": ("window",),
            "saves": ("window",),
            "engagements": ("window",),
            "profile_views": ("day", "window"),
        },
        lag="about 2 days for figures of a range of dates",
        channel_lag="about 2 days",
        not_asked={
            "profile_clicks": "only in analytics, which cost a call more a pin: asked of videos alone, for their views",
            "follows": "only in analytics, which cost a call more a pin: asked of videos alone, for their views",
        },
        conditions={
            "impressions": "business accounts",
            "saves": "business accounts",
            "clicks": "business accounts",
            "other_clicks": "business accounts",
            "likes": "business accounts; not of pins made before 2023-03-20 that are no videos",
            "comments": "business accounts; not of pins made before 2023-03-20 that are no videos",
            "video_views": "videos of business accounts, the last 90 days",
            "watch_time_seconds": "videos of business accounts, the last 90 days",
            "avg_watch_time_seconds": "videos of business accounts, the last 90 days",
        },
        discovery="with pins:read and boards:read; pins of the account itself",
        not_reported={
            "views": "pins are shown, not viewed: see impressions",
            "reach": "not told by pin",
            "dislikes": "not on the platform",
            "shares": "a save is the platform's repin",
            "quotes": "not on the platform",
            "poll_votes": "not in the API",
        },
        remedies=(
            base.Remedy(
                base.Outcome.PERMISSION_MISSING, "a business account, and scope user_accounts:read", r"user_account"
            ),
            base.Remedy(
                base.Outcome.PERMISSION_MISSING, "scopes pins:read, boards:read; the pin has to be the account's"
            ),
        ),
    )

    def authorize(self, token: str | None) -> dict[str, str]:
        """The user's token in a bearer header; no header without a token."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """Each pin's lifetime, several young ones' by a list; of video pins also what only analytics has."""
        listed = [target for target in targets if _is_listed(target, now)]
        if len(listed) < LISTED_FROM:
            listed = []
        calls = [_list_call(tuple(listed[start : start + BATCH_SIZE])) for start in range(0, len(listed), BATCH_SIZE)]
        in_lists = frozenset(id(target) for target in listed)
        for target in targets:
            path, only = f"/v5/pins/{http_reading.path_part(target.external_id)}", (target,)
            query: tuple[tuple[str, str], ...] = (("pin_metrics", "true"),)
            if id(target) not in in_lists:
                calls.append(base.Call(RawKind.POST_METRICS, "GET", path, query, None, only, "org_read", shape="posts"))
            if now is not None and any(word in target.post_type.lower() for word in _VIDEO_WORDS):
                today = datetime.fromtimestamp(now // 1000, UTC).date()
                dates = (("start_date", (today - timedelta(days=WINDOWDAYS)).isoformat()), ("end_date", str(today)))
                query = (*dates, ("app_types", "ALL"), ("metric_types", _VIDEO_METRICS))
                path = f"{path}/analytics"
                calls.append(
                    base.Call(
                        RawKind.POST_METRICS, "GET", path, query, None, only, "org_analytics", shape="posts/video"
                    )
                )
        return calls

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """The account as it is now, and its last days."""
        today = datetime.fromtimestamp(now // 1000, UTC).date()
        query = (
            ("start_date", (today - timedelta(days=REPORTDAYS)).isoformat()),
            ("end_date", today.isoformat()),
            ("metric_types", _CHANNEL_METRICS),
        )
        path = "/v5/user_account"
        return [
            base.Call(RawKind.CHANNEL_METRICS, "GET", path, limit_group="org_read", shape="channel"),
            base.Call(
                RawKind.CHANNEL_METRICS, "GET", f"{path}/analytics", query, limit_group="org_analytics",
                shape="channel/days",
            ),
        ]  # fmt: skip

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The token's own account."""
        return base.Call(RawKind.IDENTITY, "GET", "/v5/user_account", limit_group="org_read", shape="identity")

    def discovery_call(self, channel: base.Channel, now: int) -> base.Call:
        """The account's newest pins."""
        query = (("page_size", "100"),)
        return base.Call(RawKind.IDENTITY, "GET", "/v5/pins", query, limit_group="org_read", shape="discovery")

    def discovered(self, event: PlatformRaw) -> abilities.Listed:
        """The pins of a page that the account made itself."""
        answer = json_reading.json_object(event.body) if http_reading.succeeded(event) else {}
        if not http_reading.succeeded(event) or _is_error(answer):
            return abilities.Listed()
        return _lists.listed(answer.get("items"), "items", _posted)

    def post_address(self, external_id: str) -> str | None:
        """The pin's page."""
        return _address(external_id)

    def refresh_call(self, tokens: abilities.HeldTokens, client: abilities.AppClient) -> abilities.RefreshCall | None:
        """`/v5/oauth/token`, signed by the app; each refresh prolongs, and replaces, the refresh token."""
        return oauth_call("/v5/oauth/token", tokens, client, basic=True, ahead_seconds=86_400.0)

    def read_refresh(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """As OAuth 2; 401 means that the app was refused."""
        return read_oauth(status, headers, body, unauthorized=base.Outcome.REQUEST_WRONG)

    def read(self, event: PlatformRaw) -> base.Reading:
        """Pins alone and in lists, analytics of one and of several; the account and its analytics."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        path = http_reading.path_segments(event.endpoint)
        if event.kind == RawKind.POST_METRICS or (event.kind == RawKind.IDENTITY and path == ("pins",)):
            known = _is_posts(path)
        else:
            known = path == ("user_account",) or (
                event.kind == RawKind.CHANNEL_METRICS and path == ("user_account", "analytics")
            )
        if not known:
            raise base.MappingError("unknown_endpoint", f"Pinterest has no {event.kind} at {event.endpoint[:200]!r}")
        answer = json_reading.json_object(event.body)
        if _is_error(answer) or event.kind == RawKind.IDENTITY:
            return base.NOTHING
        if event.kind == RawKind.CHANNEL_METRICS:
            return base.Reading((), self._days(event, answer) if _is_analytics(path) else self._account(answer))
        return self._pins(event, path, answer)

    def _pins(self, event: PlatformRaw, path: tuple[str, ...], answer: dict[str, Any]) -> base.Reading:
        wanted = json_reading.positions(event)
        asked = asked_of(event)
        found: dict[str, json_reading.Figures] = {}
        pins = _pins_of(path, answer, wanted)
        for external_id in wanted:
            part = json_reading.block(pins.get(external_id), "a pin")
            if part is None:
                continue
            spoken, ranged, values = Analytics(part).post(asked) if _is_analytics(path) else of_pin(part)
            if spoken:
                found[external_id] = (spoken, ranged, values)
        gone = json_reading.left_out(event, answer) if path == ("pins", "analytics") else []
        return base.Reading(json_reading.readings(found, wanted), (), gone)

    def _account(self, answer: dict[str, Any]) -> tuple[base.ChannelReading, ...]:
        if not answer:
            return ()
        values: list[int | None] = list(metrics.NO_CHANNEL_VALUES)
        json_reading.fill(values, answer, _ACCOUNT)
        return (base.ChannelReading("lifetime", None, None, _ACCOUNT_BITS, tuple(values)),)

    def _days(self, event: PlatformRaw, answer: dict[str, Any]) -> tuple[base.ChannelReading, ...]:
        """A reading for each settled day; without days, one of the dates asked for."""
        analytics, asked = Analytics(answer), asked_of(event)
        found: dict[int, base.ChannelReading] = {}
        for day in analytics.known_days:
            start = day_of(day.get("date"))
            figures = json_reading.block(day.get("metrics"), "metrics")
            values: list[int | None] = list(metrics.NO_CHANNEL_VALUES)
            spoken = speak(figures, CHANNEL, asked, values) if figures else 0
            if spoken:
                found[start] = base.ChannelReading("day", start, start + DAY, spoken, tuple(values))
        dates = [event.request.get(name) for name in ("start_date", "end_date")]
        if analytics.summary and not analytics.days and None not in dates:
            start, end = day_of(dates[0]), day_of(dates[1]) + DAY
            values = list(metrics.NO_CHANNEL_VALUES)
            spoken = speak(analytics.summary, CHANNEL, asked, values)
            if spoken and start < end:
                period = "day" if end - start == DAY else "window"
                return (base.ChannelReading(period, start, end, spoken, tuple(values)),)
        return tuple(found.values())

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's pin object or analytics."""
        if not 0 <= target_index < len(event.targets):
            return {}
        try:
            own = json_reading.made_once(event, _parts).get(event.targets[target_index].external_id)
        except base.MappingError:
            return {}
        return own if isinstance(own, dict) else {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """The body's code, where it is Pinterest's own and no repeated status."""
        answer = json_reading.try_json_object(body)
        code = answer.get("code")
        if 200 <= status < 300 and not _is_error(answer):
            if json_reading.is_object(body):
                return base.Verdict(base.Outcome.OK)
            return base.Verdict(base.Outcome.PLATFORM_DOWN, detail=f"{status} no JSON")
        detail = f"{status} {json_reading.text(code)}"[:200]
        malformed = _NO_NUMBER.search(json_reading.text(answer.get("message", ""))) if _is_error(answer) else None
        if malformed is not None:
            return base.Verdict(base.Outcome.TARGET_REFUSED, detail=detail, refused_target=malformed[1])
        known = _OUTCOME_OF_CODE.get(code) if type(code) is int else None
        if status == 404 and _is_error(answer):
            # Code 2 is a token's with 401 alone: with 404 it says that something was not found, as the status does.
            is_pin = code == 50 or "pin" in json_reading.text(answer["message"]).lower()
            known = base.Outcome.TARGET_GONE if is_pin else base.Outcome.REQUEST_WRONG
        failed = code if status < 400 and type(code) is int and 400 <= code < 600 else status
        if known is not None:
            verdict = base.Verdict(known, None, detail)
        elif _is_error(answer):
            # An error of the API's own repeats the status.
            verdict = http_reading.by_status(failed, headers, detail, body)
        else:
            verdict = http_reading.without_code(failed, headers, detail)
        if verdict.outcome is base.Outcome.RETRY_LATER:
            wait, longest = http_reading.retry_after(headers), None
            if wait is None:
                wait = http_reading.seconds_of(headers.get("x-ratelimit-reset"))
                longest = http_reading.policy_seconds(headers.get("x-ratelimit-limit"))
            if "w=86400" in headers.get("x-ratelimit-limit", ""):
                left = (DAY - now % DAY) / 1000
                return base.Verdict(base.Outcome.QUOTA_EXHAUSTED, left if wait is None else wait, detail)
            return base.Verdict(verdict.outcome, wait, detail, longest_seconds=longest)
        if failed < 400 and known is None:
            return base.Verdict(base.Outcome.PLATFORM_DOWN, detail=detail)
        return verdict

    def verdicts(self, event: PlatformRaw, headers: Mapping[str, str], now: int) -> Mapping[int, base.Verdict]:
        """Of a list those targets that it doesn't hold: nothing is said of them."""
        path = http_reading.path_segments(event.endpoint)
        answer = json_reading.try_json_object(event.body)
        if not http_reading.succeeded(event) or path != ("pins",) or _is_error(answer):
            return {}
        try:
            listed = dict(_listed(answer))
        except base.MappingError:
            return {}
        missing = base.Verdict(base.Outcome.NOT_LISTED, detail=f"{event.http_status} {len(listed)} pins")
        return {index: missing for index, target in enumerate(event.targets) if target.external_id not in listed}

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """`x-ratelimit-*`: the limit is followed by its policy, the reset is in seconds from now."""
        remaining = http_reading.seconds_of(headers.get("x-ratelimit-remaining"))
        if remaining is None:
            return None
        limit = http_reading.seconds_of(headers.get("x-ratelimit-limit", "").partition(",")[0])
        reset = http_reading.seconds_of(headers.get("x-ratelimit-reset"))
        return base.LimitState(
            None if limit is None else int(limit),
            int(remaining),
            None if reset is None else now + int(reset * 1000),
            longest_seconds=http_reading.policy_seconds(headers.get("x-ratelimit-limit")),
        )


def _pins_of(path: tuple[str, ...], answer: dict[str, Any], wanted: Mapping[str, list[int]]) -> Mapping[str, Any]:
    """What an answer holds of each pin, by its id.

    Raises:
        MappingError: `unexpected_shape`.
    """
    if path == ("pins", "analytics"):
        return answer
    own = _own_id(path)
    if own is None:
        return dict(_listed(answer))
    # An id that is written in another way in the path is the one that was asked for.
    return dict.fromkeys([own, *wanted] if len(wanted) == 1 else [own], answer)


def _parts(event: PlatformRaw) -> Mapping[str, Any]:
    """As `_pins_of`; nothing of an answer that is an error or about no pins."""
    path, answer = http_reading.path_segments(event.endpoint), json_reading.try_json_object(event.body)
    if not _is_posts(path) or _is_error(answer):
        return {}
    return _pins_of(path, answer, json_reading.positions(event))


def _is_error(answer: Mapping[str, Any]) -> bool:
    """Whether a body is an error rather than an answer: a number as code, and a message."""
    return type(answer.get("code")) is int and "message" in answer


PLATFORM = Pinterest()
