"""X (Twitter), API v2.

Documentation: https://docs.x.com/x-api/fundamentals/metrics, and x-api/getting-started/pricing; read 2026-11-30.
Auth: OAuth 2.0 with PKCE, user token of 2 h, rotating refresh token; scopes tweet.read users.read offline.access.
Rate limit: posts by ids 5000 a user and 3500 an app in 15 min; users by ids 900 / 300; `/users/me` 75. Some plans have
    limits of 24 hours beside those, told in headers of their own.
Prices: reads are billed by resource, each once a UTC day: a post, a media object and an analytics row $0.005, a user
    $0.010; failed calls are free. `TIDEMARK_X_PRICES` has the prices and their date.
Poll interval: by the common tiers; scheduled polls stop at 72 h and take the newest 50 posts of a channel. The
    account's own figures are asked for once a day.
Cannot supply: reach, watch time, dislikes, follows from a post.

Uncertain, and how it is read here:
- Private figures end 30 days after a post went out, and asking for them then drops the whole post from the answer;
  so older posts are asked for public figures alone.
- Private figures of a post of somebody else are refused within an answer about others, which leaves the whole post out
  and names it in `errors`, once for each field. Such posts are asked again for their public figures, without the
  others. A post that comes all the same, without the fields, counts as answered.
- `organic_metrics` is a part of the public figures (it leaves promoted views out) and is kept raw, not mapped.
- A quotes count without a reposts count, or the reverse, is taken for the shares: the documentation says only that
  reposts exclude quotes. Older answers carry no bookmark and impression counts; they read as null.
- A video in several posts has one view count, and every one of the posts reports it. A post with several videos has
  their sum; where one of its media is not in `includes`, nothing is said, since the rest would be too little.
- An expired and a revoked token answer the same 401: only the refresh tells them apart.
- A media object of a post without a video costs as much as any other and has no figure that is read here, so media are
  asked for only where a post's type leaves a video possible. An unknown type does.
- An id that is no number of up to 19 digits makes X refuse the whole call; those are asked for apart from the others.
- The documentation gives an app's own reads of its developer's own posts ("owned reads", $0.001) a lower price. They
  are counted at the full price here, since X does not tell in an answer which price it took.
- A cap of the billing period doesn't tell when the period ends, and the owner may raise it at any time.
- A 404 without a problem document is about the path or the host: X names a missing post in `errors`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import orjson

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import _lists, _x_errors, _x_posts, abilities, base, http_reading, json_reading
from services.platforms._oauth import oauth_call, read_oauth

BATCH_SIZE = 100
# Calls with the app's own token count against another limit than those with users' tokens.
_APP_GROUP = "tweets_app"
# Documentation, "30-day limit": private figures of older posts are refused. A day early, for the call's own time.
PRIVATE_FIGURES_MS = 29 * 24 * 3600 * 1000

_PUBLIC_FIELDS = "public_metrics"
_OWNER_FIELDS = ",".join((_PUBLIC_FIELDS, *_x_errors.PRIVATE_FIELDS))
_MEDIA_QUERY = (("expansions", "attachments.media_keys"), ("media.fields", "public_metrics"))
# What the parts of a post type say of a post that certainly has no video.
_TYPES_WITHOUT_VIDEO = frozenset({"article", "image", "images", "link", "photo", "photos", "picture", "poll", "text"})
DISCOVERY_SIZE = 20

PRICES = abilities.PlatformSetting(
    "X_PRICES",
    r"(?:(?:post|media|user|analytics)=[0-9]{1,3}(?:\.[0-9]{1,6})?,?){1,4}@20[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])",
    "such as post=0.005,media=0.005,user=0.010,analytics=0.005@2026-11-30: US dollars, and the date of the prices",
    "post=0.005,media=0.005,user=0.010,analytics=0.005@2026-11-30",
)

_USER = (
    ("followers_count", metrics.CH_FOLLOWERS),
    ("following_count", metrics.CH_FOLLOWING),
    ("tweet_count", metrics.CH_POSTS_COUNT),
)
_USER_BITS = json_reading.bits(metrics.CH_FOLLOWERS, metrics.CH_FOLLOWING, metrics.CH_POSTS_COUNT)


def prices_of(text: str) -> tuple[dict[str, Decimal], str]:
    """US dollars for one resource by its kind, and the date of the prices, from the setting's text."""
    listed, _, on = text.partition("@")
    pairs = (part.partition("=") for part in listed.split(",") if part)
    return {kind: Decimal(price) for kind, _, price in pairs}, on


def may_have_video(post_type: str) -> bool:
    """Whether a post of this type may carry a video; one of an unknown type may."""
    return _TYPES_WITHOUT_VIDEO.isdisjoint(re.split(r"[^a-z]+", post_type.lower()))


def _is_posts(path: tuple[str, ...]) -> bool:
    """Whether a path is one of posts: `/tweets`, `/tweets/{id}`, `/users/{id}/tweets`."""
    match path:
        case ("tweets",) | ("users", _, "tweets"):
            return True
        case ("tweets", external_id):
            return external_id.isdigit()
    return False


def _is_users(path: tuple[str, ...]) -> bool:
    """`/users`, `/users/{id}`, `/users/me`, `/users/by`, `/users/by/username/{name}`."""
    match path:
        case ("users",) | ("users", _) | ("users", "by", "username", _):
            return True
    return False


def _path_of(event: PlatformRaw) -> tuple[str, ...]:
    path = http_reading.path_segments(event.endpoint)
    return path[1:] if path and path[0] not in ("tweets", "users") else path


def _has_private_figures(target: base.Target, now: int | None) -> bool:
    """Whether X still has private figures of a post for its author."""
    published = target.published_at
    return now is None or published is None or now - published <= PRIVATE_FIGURES_MS


def _lookups(
    targets: Sequence[base.Target], fields: str, limit_group: str, *, with_media: bool = True
) -> list[base.Call]:
    """Calls for posts by ids: posts that may have a video apart, since their media cost as well; what is no id last.

    Args:
        fields: of a post.
        with_media: whether videos' views are asked for at all.
    """
    plain: list[base.Target] = []
    videos: list[base.Target] = []
    malformed: list[base.Target] = []
    for target in targets:
        if not _x_errors.POST_ID.fullmatch(target.external_id):
            malformed.append(target)
        else:
            (videos if with_media and may_have_video(target.post_type) else plain).append(target)
    visibility = "owner" if fields == _OWNER_FIELDS else "public"
    calls: list[base.Call] = []
    # One shape: where a lone malformed id is refused, the answers about the others show that it is the id's fault.
    for group, media in ((plain, ()), (videos, _MEDIA_QUERY), (malformed, ())):
        for start in range(0, len(group), BATCH_SIZE):
            part = tuple(group[start : start + BATCH_SIZE])
            ids = ",".join(dict.fromkeys(target.external_id for target in part))
            query = (("ids", ids), ("tweet.fields", fields), *media)
            shape = f"posts/{visibility}"
            calls.append(
                base.Call(RawKind.POST_METRICS, "GET", "/2/tweets", query, None, part, limit_group, shape=shape)
            )
    return calls


def _media_of(external_id: str, place: int) -> abilities.Resource:
    """A media object of a post by its place among them, from 1: which objects a post has is not known before."""
    return abilities.Resource("media", f"{external_id}/{place}")


class X:
    """X: pure reading and describing, see the module's header.

    Args:
        prices: US dollars for one resource, by its kind, and the date of the prices, as the setting has them.
    """

    settings = (PRICES,)

    def __init__(self, prices: str = PRICES.default or "") -> None:
        usual, _ = prices_of(PRICES.default or "")
        configured, self.priced_on = prices_of(prices)
        self._prices = {**usual, **configured}

    facts = base.Facts(
        name="x",
        base_url="https://api.x.com",
        documentation="https://docs.x.com/x-api/fundamentals/metrics",
        read_on="2026-11-30",
        auth="OAuth 2.0 user token (Bearer); app-only bearer for public figures",
        rate_limit="5000 requests a user and 3500 an app in 15 minutes for posts by ids",
        post_batch_size=BATCH_SIZE,
        post_group="tweets",
        limits=(
            base.Limit("tweets", 5000, 900, is_app_wide=False),
            base.Limit("users", 900, 900, is_app_wide=False),
            base.Limit("users_me", 75, 900, is_app_wide=False),
            base.Limit(_APP_GROUP, 3500, 900),
        ),
        channel_metrics={"followers": ("lifetime",), "following": ("lifetime",), "posts_count": ("lifetime",)},
        refused_apart=("clicks", "profile_clicks"),
        conditions={
            "clicks": "by the owner's own token, of posts of the last 30 days",
            "profile_clicks": "by the owner's own token, of posts of the last 30 days",
            "video_views": "of posts with a video",
        },
        discovery="with tweet.read and users.read; without replies and reposts, billed by the post",
        not_reported={
            "views": "the interface's views are the API's impressions",
            "reach": "the API has no unique viewers",
            "dislikes": "not in the API",
            "other_clicks": "`engagements` mixes clicks with everything else",
            "follows": "not in the API",
            "watch_time_seconds": "only playback quartiles, which are counts",
            "avg_watch_time_seconds": "only playback quartiles, which are counts",
            "poll_votes": "polls are not asked for with the figures",
        },
        remedies=(
            base.Remedy(
                base.Outcome.PERMISSION_MISSING,
                "attach the app to a project whose plan has this endpoint; scopes tweet.read, users.read",
            ),
            base.Remedy(
                base.Outcome.METRIC_FORBIDDEN,
                "private figures need the owner's own token, and a post of the last 30 days",
            ),
            base.Remedy(
                base.Outcome.QUOTA_EXHAUSTED, "buy credit, raise the spending cap, or wait for the period's end"
            ),
        ),
    )

    def authorize(self, token: str | None) -> dict[str, str]:
        """The user's token in a bearer header; no header without a token."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def configured(self, values: Mapping[str, str]) -> X:
        """X with the prices of the setting."""
        return X(values[PRICES.name]) if PRICES.name in values else self

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """Batches of 100: posts young enough for private figures, then the others; of each those with a video last."""
        recent: list[base.Target] = []
        old: list[base.Target] = []
        for target in targets:
            (recent if _has_private_figures(target, now) else old).append(target)
        return [*_lookups(recent, _OWNER_FIELDS, "tweets"), *_lookups(old, _PUBLIC_FIELDS, "tweets")]

    def owner_calls(self, channel: base.Channel, targets: Sequence[base.Target], now: int) -> list[base.Call]:
        """Batches of 100 of the posts young enough for private figures, which our app's own token may not read."""
        recent = [
            target
            for target in targets
            if _has_private_figures(target, now) and _x_errors.POST_ID.fullmatch(target.external_id)
        ]
        return _lookups(recent, _OWNER_FIELDS, "tweets", with_media=False)

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """The account as it is now; X has no history of it."""
        query = (("ids", channel.external_id), ("user.fields", "public_metrics"))
        return [base.Call(RawKind.CHANNEL_METRICS, "GET", "/2/users", query, limit_group="users", shape="channel")]

    def identity_call(self, channel: base.Channel) -> base.Call:
        """A call of `/2/users/me`."""
        return base.Call(RawKind.IDENTITY, "GET", "/2/users/me", limit_group="users_me", shape="identity")

    def discovery_call(self, channel: base.Channel, now: int) -> base.Call:
        """The account's newest posts without reposts and replies to others."""
        path = f"/2/users/{http_reading.path_part(channel.external_id)}/tweets"
        query = (
            ("max_results", str(DISCOVERY_SIZE)),
            ("exclude", "retweets,replies"),
            ("tweet.fields", "created_at,edit_history_tweet_ids"),
        )
        return base.Call(RawKind.IDENTITY, "GET", path, query, limit_group="timelines", shape="discovery")

    def discovered(self, event: PlatformRaw) -> abilities.Listed:
        """`data`: each post with its text, its time and the ids of its versions."""
        path = _path_of(event)
        if not http_reading.succeeded(event) or path[:1] != ("users",) or path[-1] != "tweets":
            return abilities.Listed()
        answer = json_reading.json_object(event.body)
        held = answer.get("data")
        # An empty list is left out.
        return _lists.listed(_x_posts.items(answer) if held is None else held, "data", _x_posts.posted)

    def post_address(self, external_id: str) -> str | None:
        """`/i/status/{id}`, which leads to the post of whatever account."""
        return _x_posts.address(external_id)

    def refresh_call(self, tokens: abilities.HeldTokens, client: abilities.AppClient) -> abilities.RefreshCall | None:
        """`/2/oauth2/token`; a refresh token works once, and the answer brings the next."""
        return oauth_call("/2/oauth2/token", tokens, client, basic=client.client_secret is not None)

    def read_refresh(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """Reads the answer by the common rules of OAuth 2."""
        return read_oauth(status, headers, body)

    def read(self, event: PlatformRaw) -> base.Reading:
        """Posts by ids, one post, posts of a user; users by ids, one user."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        path = _path_of(event)
        if event.kind == RawKind.IDENTITY and _is_posts(path):
            return base.NOTHING
        if not (_is_posts(path) if event.kind == RawKind.POST_METRICS else _is_users(path)):
            raise base.MappingError("unknown_endpoint", f"X has no {event.kind} at {event.endpoint[:200]!r}")
        answer = json_reading.json_object(event.body)
        if event.kind == RawKind.POST_METRICS:
            return _x_posts.reading(event, answer)
        if event.kind == RawKind.CHANNEL_METRICS:
            return self._read_channel(event, answer)
        return base.NOTHING

    def _read_channel(self, event: PlatformRaw, answer: dict[str, Any]) -> base.Reading:
        items = _x_posts.items(answer)
        if len(items) > 1:
            asked = event.request.get("ids", "").split(",")[0]
            items = [item for item in items if item.get("id") == asked][:1]
        for item in items:
            figures = json_reading.block(item.get("public_metrics"), "public_metrics")
            if figures is not None:
                values: list[int | None] = list(metrics.NO_CHANNEL_VALUES)
                json_reading.fill(values, figures, _USER)
                return base.Reading((), (base.ChannelReading("lifetime", None, None, _USER_BITS, tuple(values)),))
        return base.NOTHING

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's post object, with its media under `media` where the answer includes them."""
        if not 0 <= target_index < len(event.targets):
            return {}
        try:
            return json_reading.made_once(event, _x_posts.parts).get(event.targets[target_index].external_id, {})
        except base.MappingError:
            return {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """The problem's type, title or code first; then the status."""
        answer = json_reading.try_json_object(body)
        errors = _x_errors.errors_of(answer)
        if 200 <= status < 300:
            if "data" in answer or "meta" in answer:
                return base.Verdict(base.Outcome.OK)
            if not errors and not _x_posts.is_problem(answer):
                return base.Verdict(base.Outcome.PLATFORM_DOWN, detail=f"{status} without data")
        # Codes in numbers stand in a list of errors; elsewhere they are none of X's.
        problem = errors[0] if errors and not _x_posts.is_problem(answer) else {**answer, "code": None}
        return _x_errors.verdict_of(problem, status, headers, now)

    def verdicts(self, event: PlatformRaw, headers: Mapping[str, str], now: int) -> Mapping[int, base.Verdict]:
        """What `errors` say of posts that `data` leaves out: mostly that a field may not be read of them."""
        return _x_posts.verdicts(event, headers, now) if http_reading.succeeded(event) else {}

    def authorize_app(self, token: str) -> dict[str, str]:
        """Our app's own token in a bearer header."""
        return {"authorization": f"Bearer {token}"}

    def app_post_calls(self, targets: Sequence[base.Target]) -> list[base.Call]:
        """Batches of 100, for public figures: the private ones are the owner's alone."""
        return _lookups(targets, _PUBLIC_FIELDS, _APP_GROUP)

    def app_part(self, body: bytes, external_ids: Collection[str]) -> bytes:
        """`data`, the media that it names, and the errors about these posts; of a problem only its kind."""
        answer = json_reading.try_json_object(body)
        part: dict[str, Any] = {
            name: answer[name] for name in ("type", "title", "status", "reason", "code", "period") if name in answer
        }
        data = answer.get("data")
        if isinstance(data, list):
            items = [item for item in data if isinstance(item, dict) and _x_posts.is_one_of(item, external_ids)]
            if items:
                part["data"] = items
            keys = {key for item in items for key in _x_posts.media_keys(item)}
            includes = answer.get("includes")
            media = includes.get("media") if isinstance(includes, dict) else None
            if isinstance(media, list):
                own = [one for one in media if isinstance(one, dict) and one.get("media_key") in keys]
                part["includes"] = {"media": own}
        errors = [_x_posts.own_error(error, external_ids) for error in _x_errors.errors_of(answer)]
        if errors := [error for error in errors if error]:
            part["errors"] = errors
        elif isinstance(data, list) and "data" not in part:
            # An empty list stands for posts that the answer says nothing of.
            part["meta"] = {"result_count": 0}
        return orjson.dumps(part) if part else b""

    @property
    def prices(self) -> Mapping[str, Decimal]:
        """US dollars for a post, a media object, a user and an analytics row."""
        return MappingProxyType(self._prices)

    def may_read(self, call: base.Call) -> Sequence[abilities.Resource]:
        """Each post that is asked for, with one media object where media are; the account of a call about one."""
        asked = dict(call.query)
        if call.path == "/2/tweets":
            ids = [part for part in asked.get("ids", "").split(",") if part]
            media = [_media_of(external_id, 1) for external_id in ids] if "expansions" in asked else []
            return [abilities.Resource("post", external_id) for external_id in ids] + media
        if call.path.endswith("/tweets"):
            # Which posts the list holds is not known before.
            return [abilities.Resource("post", f"{call.path}#{n}") for n in range(int(asked.get("max_results", "0")))]
        return [abilities.Resource("user", asked.get("ids", "me"))]

    def billed(self, event: PlatformRaw) -> Sequence[abilities.Resource]:
        """Posts, media objects and users of a successful answer; of media that posts share, the first's is billed."""
        answer = json_reading.try_json_object(event.body) if http_reading.succeeded(event) else {}
        data = answer.get("data")
        items = [data] if isinstance(data, dict) else data if isinstance(data, list) else []
        kind = "post" if _is_posts(_path_of(event)) else "user"
        found: dict[abilities.Resource, None] = {}
        seen: set[str] = set()
        includes = answer.get("includes")
        included = includes.get("media") if isinstance(includes, dict) else None
        media = {one.get("media_key") for one in included or () if isinstance(one, dict)}
        for item in items:
            external_id = item.get("id") if isinstance(item, dict) else None
            if not isinstance(external_id, str):
                continue
            found[abilities.Resource(kind, external_id)] = None
            own = [key for key in _x_posts.media_keys(item) if key in media and key not in seen]
            seen.update(own)
            found.update(dict.fromkeys(_media_of(external_id, place) for place in range(1, len(own) + 1)))
        return list(found)

    def all_limits(self, headers: Mapping[str, str], now: int) -> Sequence[base.LimitState]:
        """`x-rate-limit-*`, and of 24 hours `x-user-limit-24hour-*` and `x-app-limit-24hour-*`."""
        return _x_errors.limits_of(headers)

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """`x-rate-limit-*`, reset as an epoch second; absent on 401."""
        return next((state for state in _x_errors.limits_of(headers) if state.window_seconds is None), None)


PLATFORM = X()
