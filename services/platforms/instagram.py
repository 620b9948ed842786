"""Instagram, Graph API, professional accounts.

Documentation: https://developers.facebook.com/documentation/instagram-platform/reference/instagram-media/insights,
    read 2026-11-30.
Auth: long-lived token of 60 days, renewed in place; instagram_basic and instagram_manage_insights with
    pages_read_engagement (Facebook Login, `EAA...`, on graph.facebook.com), or instagram_business_basic and
    instagram_business_manage_insights (Instagram Login, `IG...`, on graph.instagram.com).
Rate limit: 4800 x the account's impressions in 24 h, shown as percentages in `X-App-Usage` and
    `X-Business-Use-Case-Usage`; codes 4, 17, 32, 613, 80002.
Poll interval: by the common tiers; figures are up to 48 h late, story figures live for 24 h.
Cannot supply: clicks on posts, dislikes, quotes; impressions only for media made before 2024-07-02 on old versions.

How media are asked for: one by one (ADR 0025), with the names that fit the kind which the post's type tells; types that
tell nothing are asked for what feed posts and reels share. One name that doesn't fit fails the whole request. Newer
names (since 2025-12-03 `reels_skip_rate`, `reposts`, `crossposted_views`, `facebook_views`) are no common metric's.

Uncertain, and how it is read here:
- `like_count` (every like) and the insight `likes` (organic ones) can both be answered: the field counts, the insight
  stands in where the field is hidden or was not asked for. The same holds for comments; of stories the insight
  `replies` is the comments, 0 for authors in Europe and Japan.
- `profile_visits` is read as profile clicks: a visit from a post is made by a tap on the profile in it.
- A name asked for in a list of insights that came back with others, but without it, was answered as unknown (null);
  an empty list says nothing.
- Totals of an account for `since` to `until` carry no times of their own: the request's are taken. A range of exactly
  one Pacific day is that day's figure. Without both bounds the range is unknown and nothing is said.
- `shares` is refused for some images (`The metric shares is not supported for this media type`): left out then.
- A token of the other login reads 190 "Cannot parse access token"; its host follows from how it begins.
- `appsecret_proof` goes with tokens of Facebook Login only: Instagram Login signs with another secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import _graph, _graph_reading, abilities, base, http_reading, json_reading, report_days
from services.platforms._graph_reading import Asked
from services.platforms._oauth import read_renewal, renewal_call

# Instagram Login: its tokens begin so, work on this host only, and are renewed there. Those of Facebook Login begin
# otherwise, work on graph.facebook.com only, and can't be renewed by their holder alone.
INSTAGRAM_URL = "https://graph.instagram.com"
INSTAGRAM_TOKEN = "IG"
FACEBOOK_TOKEN = "EAA"
WINDOW_DAYS = (1, 7, 28)

_SHARED_NAMES = ("views", "reach", "shares", "saved")
_NAMES_OF_KIND = {
    "story": ("views", "reach", "shares", "replies", "follows", "profile_visits"),
    "reel": (*_SHARED_NAMES, "ig_reels_avg_watch_time", "ig_reels_video_view_total_time"),
    "feed": (*_SHARED_NAMES, "follows", "profile_visits"),
    "other": _SHARED_NAMES,
}
_FIELDS_OF_KIND = {
    kind: f"{'like_count' if kind == 'story' else 'like_count,comments_count'},insights.metric({','.join(names)})"
    for kind, names in _NAMES_OF_KIND.items()
}
_FEED_WORDS = ("feed", "image", "photo", "picture", "carousel", "album")

_MEDIA_FIELDS = {"like_count": metrics.LIKES, "comments_count": metrics.COMMENTS}
_INSIGHTS = {
    "views": metrics.VIEWS,
    "impressions": metrics.IMPRESSIONS,
    "reach": metrics.REACH,
    "likes": metrics.LIKES,
    "comments": metrics.COMMENTS,
    "replies": metrics.COMMENTS,
    "shares": metrics.SHARES,
    "saved": metrics.SAVES,
    "follows": metrics.FOLLOWS,
    "profile_visits": metrics.PROFILE_CLICKS,
    "video_views": metrics.VIDEO_VIEWS,
    "ig_reels_video_view_total_time": metrics.WATCH_TIME,
    "ig_reels_avg_watch_time": metrics.AVG_WATCH_TIME,
}
# Where the field or the more exact insight has spoken, these only fill what is unknown.
_SECOND_CHOICE = frozenset({"likes", "comments", "replies"})

_USER_FIELDS = {
    "followers_count": metrics.CH_FOLLOWERS,
    "follows_count": metrics.CH_FOLLOWING,
    "media_count": metrics.CH_POSTS_COUNT,
}
_USER_INSIGHTS = {
    "views": metrics.CH_VIEWS,
    "impressions": metrics.CH_IMPRESSIONS,
    "reach": metrics.CH_REACH,
    "profile_views": metrics.CH_PROFILE_VIEWS,
    "total_interactions": metrics.CH_ENGAGEMENTS,
    "likes": metrics.CH_LIKES,
    "comments": metrics.CH_COMMENTS,
    "shares": metrics.CH_SHARES,
    "saves": metrics.CH_SAVES,
}
_USER_TOTALS = "reach,views,profile_views,total_interactions,likes,comments,shares,saves"

_LIST_FIELDS = "id,timestamp,media_type,media_product_type,permalink,caption"
_POST_TYPES = {"REELS": "instagram-reel", "STORY": "instagram-story", "CAROUSEL_ALBUM": "instagram-carousel"}
_POST_EDGES = ("", "insights", "media")


def _kind_of(target: base.Target) -> str:
    """Which insight names fit a target: story, reel, feed, or `other` where the post type leaves it open."""
    post_type = target.post_type.lower()
    if target.is_story or "story" in post_type or "stories" in post_type:
        return "story"
    if "reel" in post_type:
        return "reel"
    return "feed" if any(word in post_type for word in _FEED_WORDS) else "other"


def _insight_value(insight: dict[str, Any], name: str) -> tuple[bool, int | None]:
    """Whether one named insight holds a figure, and the figure: in `values`, or in `total_value`."""
    figure = json_reading.duration if name.startswith("ig_reels_") else json_reading.count
    values = insight.get("values")
    if type(values) is list and values and type(values[0]) is dict and "value" in values[0]:
        return True, figure(values[0]["value"], name)
    if values is not None:
        listed = json_reading.objects(values, f"{name}.values")
        if listed and listed[0]:
            return True, figure(listed[0].get("value"), name)
    total = json_reading.block(insight.get("total_value"), f"{name}.total_value")
    return (False, None) if total is None else (True, figure(total.get("value"), name))


def _read_insights(edge: Any, asked: frozenset[str], values: list[int | None], spoken: int) -> tuple[int, int]:
    """Write a media's insights over what its fields said; returns the masks of reported and of ranged metrics."""
    answered = json_reading.block(edge, "insights")
    listed = (
        json_reading.objects(answered.get("data"), "insights.data")
        if answered is not None and "data" in answered
        else []
    )
    if not listed:
        return spoken, 0
    ranged = 0
    # Of a request with more names than there are, the known ones alone: each of its nodes would copy them all.
    unanswered = set(asked if len(asked) <= len(_INSIGHTS) else asked.intersection(_INSIGHTS))
    for insight in listed:
        name = insight.get("name")
        position = _INSIGHTS.get(name) if isinstance(name, str) else None
        if position is None:
            continue
        unanswered.discard(str(name))
        holds, value = _insight_value(insight, str(name))
        if not holds or (name in _SECOND_CHOICE and values[position] is not None):
            continue
        bit = 1 << position
        values[position] = value
        spoken |= bit
        ranged = ranged & ~bit if insight.get("period", "lifetime") == "lifetime" else ranged | bit
    for name in unanswered:
        position = _INSIGHTS.get(name)
        if position is not None:
            spoken |= 1 << position
    return spoken, ranged


def _media(media: dict[str, Any], asked: Asked) -> tuple[int, int, list[int | None]]:
    """The figures of one media object: masks of reported and of ranged metrics, and values."""
    values: list[int | None] = list(metrics.NO_POST_VALUES)
    if not media or "error" in media:
        return 0, 0, values
    spoken = 0
    for field, position in _MEDIA_FIELDS.items():
        if field in media:
            values[position] = json_reading.count(media[field], field)
            spoken |= 1 << position
        elif field in asked.fields:
            spoken |= 1 << position
    spoken, ranged = _read_insights(media.get("insights"), asked.insights, values, spoken)
    return spoken, ranged, values


_INSIGHTS_SCOPES = (
    "scope instagram_business_manage_insights (Instagram Login) or instagram_manage_insights (Facebook Login)"
)


class Instagram:
    """Instagram: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="instagram",
        base_url="https://graph.facebook.com",
        documentation="https://developers.facebook.com/documentation/instagram-platform/reference/instagram-media/insights",
        read_on="2026-11-30",
        auth="long-lived token (Bearer), of Instagram Login with instagram_business_basic and "
        "instagram_business_manage_insights, asked on graph.instagram.com, or of Facebook Login with instagram_basic, "
        "instagram_manage_insights and pages_read_engagement; `appsecret_proof` with the latter where a client secret "
        "is set",
        rate_limit="4800 x the account's impressions in 24 hours",
        post_batch_size=1,
        post_group="graph",
        report_days=min(WINDOW_DAYS),
        channel_metrics={
            "followers": ("lifetime",),
            "following": ("lifetime",),
            "posts_count": ("lifetime",),
            "views": ("day", "window"),
            "reach": ("day", "window"),
            "profile_views": ("day", "window"),
            "engagements": ("day", "window"),
            "likes": ("day", "window"),
            "comments": ("day", "window"),
            "shares": ("day", "window"),
            "saves": ("day", "window"),
        },
        lag="up to 48 hours",
        channel_lag="up to 48 hours",
        discovery="with the scopes of the figures; without stories",
        not_reported={
            "impressions": "retired for media made since 2024-07-02",
            "dislikes": "not in the API",
            "quotes": "not in the API",
            "clicks": "not reported for feed posts, reels and stories",
            "other_clicks": "not in the API",
            "video_views": "retired in favour of views",
            "poll_votes": "not in the API",
        },
        remedies=(
            base.Remedy(
                base.Outcome.PERMISSION_MISSING,
                "set TIDEMARK_INSTAGRAM_CLIENT_SECRET: the app requires appsecret_proof",
                reason="appsecret_proof",
            ),
            base.Remedy(base.Outcome.PERMISSION_MISSING, _INSIGHTS_SCOPES),
            base.Remedy(base.Outcome.METRIC_FORBIDDEN, _INSIGHTS_SCOPES),
        ),
    )

    settings = (_graph.VERSION,)

    def __init__(self, version: str = _graph.DEFAULT_VERSION) -> None:
        self._version = version

    def configured(self, values: Mapping[str, str]) -> Instagram:
        """The platform with another version of the Graph API."""
        return Instagram(values.get(_graph.VERSION.name, self._version))

    def authorize(self, token: str | None) -> dict[str, str]:
        """Bearer token: the Graph API takes it as a header as well as in the query, where logs would keep it."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def origin_of(self, token: str | None) -> str | None:
        """graph.instagram.com for tokens of Instagram Login."""
        return INSTAGRAM_URL if token and token.startswith(INSTAGRAM_TOKEN) else None

    def proof(self, token: str, client: abilities.AppClient) -> Mapping[str, str]:
        """`appsecret_proof`, for tokens of Facebook Login where a client secret is set."""
        return {} if self.origin_of(token) is not None else _graph.proof(token, client)

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """One media a call, with the names of its kind."""
        calls = []
        for target in targets:
            kind = _kind_of(target)
            path = f"/{self._version}/{http_reading.path_part(target.external_id)}"
            query = (("fields", _FIELDS_OF_KIND[kind]),)
            calls.append(
                base.Call(RawKind.POST_METRICS, "GET", path, query, None, (target,), "graph", shape=f"posts/{kind}")
            )
        return calls

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """The account as it is now, and its totals of the last 1, 7 and 28 closed Pacific days."""
        account = f"/{self._version}/{http_reading.path_part(channel.external_id)}"
        fields = (("fields", ",".join(_USER_FIELDS)),)
        calls = [
            base.Call(RawKind.CHANNEL_METRICS, "GET", account, fields, limit_group="graph", shape="channel/account")
        ]
        today = report_days.pacific_day(now)
        for days in WINDOW_DAYS:
            query = (
                ("metric", _USER_TOTALS),
                ("period", "day"),
                ("metric_type", "total_value"),
                ("since", str(report_days.pacific_midnight(today - timedelta(days=days)) // 1000)),
                ("until", str(report_days.pacific_midnight(today) // 1000)),
            )
            shape = "channel/day" if days == 1 else "channel/window"
            calls.append(
                base.Call(
                    RawKind.CHANNEL_METRICS, "GET", f"{account}/insights", query, limit_group="graph", shape=shape
                )
            )
        return calls

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The account's id and name."""
        path = f"/{self._version}/{http_reading.path_part(channel.external_id)}"
        query = (("fields", "id,username"),)
        return base.Call(RawKind.IDENTITY, "GET", path, query, limit_group="graph", shape="identity")

    def discovery_call(self, channel: base.Channel, now: int) -> base.Call:
        """The account's newest media; stories are listed elsewhere and live too shortly to be found in time."""
        path = f"/{self._version}/{http_reading.path_part(channel.external_id)}/media"
        query = (("fields", _LIST_FIELDS), ("limit", str(_graph_reading.DISCOVERED)))
        return base.Call(RawKind.IDENTITY, "GET", path, query, limit_group="graph", shape="discovery")

    def discovered(self, event: PlatformRaw) -> abilities.Listed:
        """The media in the list, with post types that tell their kinds."""

        def post_of(item: dict[str, Any]) -> abilities.Discovered | str:
            kinds = (str(item.get("media_product_type")), str(item.get("media_type")))
            post_type = next((_POST_TYPES[kind] for kind in kinds if kind in _POST_TYPES), "instagram-feed")
            return _graph_reading.listed_post(item, "timestamp", "permalink", "caption", post_type)

        return _graph_reading.discovered(event, "media", post_of)

    def refresh_call(self, tokens: abilities.HeldTokens, client: abilities.AppClient) -> abilities.RefreshCall | None:
        """`ig_refresh_token`: the token is its own refresh token, until it has ended. Facebook's are not renewed so."""
        if (tokens.access_token or "").startswith(FACEBOOK_TOKEN):
            return None
        return renewal_call("ig_refresh_token", tokens, INSTAGRAM_URL)

    def read_refresh(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """As any other answer of Meta's."""
        return read_renewal(status, headers, body, self.classify)

    def read(self, event: PlatformRaw) -> base.Reading:
        """`/{media}` and its insights, a batch, `/?ids=`, `/{ig-user}/media`; `/{ig-user}`, `/{ig-user}/insights`."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        path = http_reading.path_segments(event.endpoint)
        edge = path[1] if len(path) == 2 else ""
        is_posts = event.kind == RawKind.POST_METRICS
        is_known = edge in _POST_EDGES and (edge != "media" or event.kind != RawKind.CHANNEL_METRICS)
        if len(path) > 2 or not is_known or (not path and not is_posts):
            raise base.MappingError("unknown_endpoint", f"Instagram has no {event.kind} at {event.endpoint[:200]!r}")
        if is_posts and _graph_reading.is_batch(event):
            return _graph_reading.batch_reading(event, _media)
        answer = json_reading.json_object(event.body)
        if "error" in answer or event.kind == RawKind.IDENTITY:
            return base.NOTHING
        if event.kind == RawKind.CHANNEL_METRICS:
            return base.Reading(
                (), self._windows(event, answer) if edge == "insights" else self._account(event, answer)
            )
        wanted = _graph_reading.asked_of(edge, event.request)
        return _graph_reading.nodes_reading(event, self._nodes(path, edge, answer), wanted, _media)

    def _nodes(self, path: tuple[str, ...], edge: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Media objects by id: of several asked for, of an account's list, or of one."""
        if not path:
            return answer
        if edge == "insights":
            return {unquote(path[0]): {"insights": answer}}
        if edge == "media":
            return {
                json_reading.text(item.get("id")): item for item in json_reading.objects(answer.get("data"), "data")
            }
        own = answer.get("id")
        return {own if isinstance(own, str) else unquote(path[0]): answer}

    def _account(self, event: PlatformRaw, answer: dict[str, Any]) -> tuple[base.ChannelReading, ...]:
        asked = _graph_reading.asked(event.request.get("fields", "")).fields
        values: list[int | None] = list(metrics.NO_CHANNEL_VALUES)
        spoken = 0
        for field, position in _USER_FIELDS.items():
            if field in answer:
                values[position] = json_reading.count(answer[field], field)
                spoken |= 1 << position
            elif field in asked and answer:
                spoken |= 1 << position
        return (base.ChannelReading("lifetime", None, None, spoken, tuple(values)),) if spoken else ()

    def _windows(self, event: PlatformRaw, answer: dict[str, Any]) -> tuple[base.ChannelReading, ...]:
        """Insights of an account: one reading a range, of totals and of daily, weekly or 28-day values."""
        asked_start, asked_end = _graph.instant(event.request.get("since")), _graph.instant(event.request.get("until"))
        found: dict[tuple[int, int], tuple[int, list[int | None]]] = {}

        def speak(start: int, end: int, position: int, value: int | None) -> None:
            spoken, values = found.get((start, end)) or (0, list(metrics.NO_CHANNEL_VALUES))
            values[position] = value
            found[(start, end)] = (spoken | 1 << position, values)

        for insight in json_reading.objects(answer.get("data"), "data"):
            name = insight.get("name")
            position = _USER_INSIGHTS.get(name) if isinstance(name, str) else None
            if position is None:
                continue
            total = json_reading.block(insight.get("total_value"), f"{name}.total_value")
            if total is not None and asked_start is not None and asked_end is not None and asked_start < asked_end:
                speak(asked_start, asked_end, position, json_reading.count(total.get("value"), str(name)))
            period = insight.get("period")
            days = _graph.DAYS_OF_PERIOD.get(period) if isinstance(period, str) else None
            for value in json_reading.objects(insight.get("values") or [], f"{name}.values"):
                end = _graph.instant(value.get("end_time"))
                if end is not None and days is not None:
                    speak(
                        _graph.days_before(end, days), end, position, json_reading.count(value.get("value"), str(name))
                    )
        return tuple(
            base.ChannelReading(_graph.period_of(start, end), start, end, spoken, tuple(values))
            for (start, end), (spoken, values) in found.items()
        )

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's media object, or its insights where only these were asked for."""
        if not 0 <= target_index < len(event.targets):
            return {}
        try:
            own = json_reading.made_once(event, self._parts).get(event.targets[target_index].external_id)
        except base.MappingError:
            return {}
        return own if isinstance(own, dict) else {}

    def _parts(self, event: PlatformRaw) -> dict[str, Any]:
        """What an answer holds of each media, by its id."""
        if _graph_reading.is_batch(event):
            return dict(_graph_reading.batch_nodes(event))
        path, answer = http_reading.path_segments(event.endpoint), json_reading.try_json_object(event.body)
        if "error" in answer:
            return {}
        edge = path[1] if len(path) == 2 else ""
        return {unquote(path[0]): answer} if edge == "insights" else self._nodes(path, edge, answer)

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """Meta's code and subcode; the status is 400 for nearly everything."""
        return _graph.verdict_of(status, headers, body)

    def verdicts(self, event: PlatformRaw, headers: Mapping[str, str], now: int) -> Mapping[int, base.Verdict]:
        """What the parts of a batch mean, and errors in place of media."""
        return _graph_reading.verdicts(event)

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """Percent left of the fullest of the budgets that the usage headers name."""
        return _graph.limits_of(headers, now)


PLATFORM = Instagram()
