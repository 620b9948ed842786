"""Bluesky, the app view's XRPC methods.

Documentation: https://docs.bsky.app/docs/api/app-bsky-feed-get-posts, and the lexicons app.bsky.feed.defs and
    app.bsky.actor.defs; read 2026-11-20.
Auth: access JWT of the account's server, 2 h by default; refresh JWT 90 d, both rotate. Without a token the same
    methods answer on https://public.api.bsky.app.
Rate limit: 3000 requests in 5 min an IP, `RateLimit-*` headers with an epoch second.
Poll interval: by the common tiers; figures are current.
Cannot supply: views, impressions, reach, clicks, watch time, dislikes.

Uncertain, and how it is read here:
- Calls go to the account's server, which passes them on to the app view and, unlike it, accepts the account's token.
  Accounts that live on another server than bsky.social need TIDEMARK_BLUESKY_BASE_URL.
- Every count is optional in the lexicon. A post that carries some counts answered them all, so the others read as
  null; a post without any count says nothing.
- `quoteCount` without `repostCount`, or the reverse (older servers), is taken for the shares.
- Posts are found by their at:// uri; one that was registered with a handle in place of the did, by its author's handle.
- A post left out is deleted, taken down or blocked; it counts as gone, and its figures stay as they were.
- `InvalidToken` says no more than 401 elsewhere: only the refresh shows whether the session was revoked.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import abilities, base, http_reading, json_reading
from services.platforms._oauth import life_seconds

BATCH_SIZE = 25

_POST = (
    ("likeCount", metrics.LIKES),
    ("replyCount", metrics.COMMENTS),
    ("bookmarkCount", metrics.SAVES),
    ("quoteCount", metrics.QUOTES),
)
_POST_KEYS = frozenset({"likeCount", "replyCount", "bookmarkCount", "quoteCount", "repostCount"})
_POST_BITS = json_reading.bits(metrics.LIKES, metrics.COMMENTS, metrics.SAVES, metrics.QUOTES, metrics.SHARES)
_PROFILE = (
    ("followersCount", metrics.CH_FOLLOWERS),
    ("followsCount", metrics.CH_FOLLOWING),
    ("postsCount", metrics.CH_POSTS_COUNT),
)
_PROFILE_KEYS = frozenset(key for key, _ in _PROFILE)
_PROFILE_BITS = json_reading.bits(metrics.CH_FOLLOWERS, metrics.CH_FOLLOWING, metrics.CH_POSTS_COUNT)

_METHODS: dict[str, tuple[str, ...]] = {
    RawKind.POST_METRICS: ("app.bsky.feed.getPosts",),
    RawKind.CHANNEL_METRICS: ("app.bsky.actor.getProfiles", "app.bsky.actor.getProfile"),
    RawKind.IDENTITY: (
        "com.atproto.server.getSession",
        "app.bsky.actor.getProfile",
        "app.bsky.actor.getProfiles",
    ),
}

_OUTCOME_OF_ERROR = {
    "ExpiredToken": base.Outcome.TOKEN_EXPIRED,
    "InvalidToken": base.Outcome.TOKEN_EXPIRED,
    "AuthMissing": base.Outcome.TOKEN_EXPIRED,
    "AuthenticationRequired": base.Outcome.TOKEN_EXPIRED,
    "AccountTakedown": base.Outcome.ACCOUNT_DISABLED,
    "AccountDeactivated": base.Outcome.ACCOUNT_DISABLED,
    "AccountSuspended": base.Outcome.ACCOUNT_DISABLED,
    "RepoTakendown": base.Outcome.ACCOUNT_DISABLED,
    "RepoDeactivated": base.Outcome.ACCOUNT_DISABLED,
    "AccountNotFound": base.Outcome.ACCOUNT_DISABLED,
    "RateLimitExceeded": base.Outcome.RETRY_LATER,
    "Forbidden": base.Outcome.PERMISSION_MISSING,
    "InsufficientScope": base.Outcome.PERMISSION_MISSING,
    "ScopeMissingError": base.Outcome.PERMISSION_MISSING,
    "NotFound": base.Outcome.TARGET_GONE,
    "InvalidRequest": base.Outcome.REQUEST_WRONG,
    "MethodNotImplemented": base.Outcome.REQUEST_WRONG,
    "InternalServerError": base.Outcome.PLATFORM_DOWN,
    "UpstreamFailure": base.Outcome.PLATFORM_DOWN,
    "UpstreamTimeout": base.Outcome.PLATFORM_DOWN,
    "NotEnoughResources": base.Outcome.PLATFORM_DOWN,
}


def _life_of(token: str) -> float | None:
    """Seconds from a JWT's issue to its end; None when it is no such token."""
    try:
        payload = token.split(".")[1]
        claims = json_reading.try_json_object(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return None
    issued, ends = claims.get("iat"), claims.get("exp")
    return life_seconds(ends - issued) if type(issued) is int and type(ends) is int else None


def _by_handle(post: dict[str, Any], uri: str) -> str | None:
    """The post's uri with its author's handle in place of the did."""
    author = post.get("author")
    handle = author.get("handle") if isinstance(author, dict) else None
    _, _, path = uri.removeprefix("at://").partition("/")
    return f"at://{handle}/{path}" if isinstance(handle, str) and path else None


def _match(event: PlatformRaw, answer: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The post view of each target; of a repeated one, the first."""
    wanted = json_reading.positions(event)
    matched: dict[int, dict[str, Any]] = {}
    for post in json_reading.objects(answer.get("posts"), "posts"):
        uri = post.get("uri")
        if not isinstance(uri, str):
            raise base.MappingError("unexpected_shape", "a post has no text `uri`")
        indexes = wanted.get(uri)
        if indexes is None:
            indexes = wanted.get(_by_handle(post, uri) or "", [])
        for index in indexes:
            matched.setdefault(index, post)
    return matched


class Bluesky:
    """Bluesky: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="bluesky",
        base_url="https://bsky.social",
        documentation="https://docs.bsky.app/docs/api/app-bsky-feed-get-posts",
        read_on="2026-11-20",
        auth="access JWT of the account's server (Bearer); none on the public app view",
        rate_limit="3000 requests in 5 minutes an IP",
        post_batch_size=BATCH_SIZE,
        post_group="xrpc",
        limits=(base.Limit("xrpc", 3000, 300),),
        channel_metrics={"followers": ("lifetime",), "following": ("lifetime",), "posts_count": ("lifetime",)},
        lag="none",
        not_reported={
            "views": "the protocol has no views",
            "impressions": "the protocol has no views",
            "reach": "the protocol has no views",
            "dislikes": "not on the platform",
            "clicks": "the protocol has no clicks",
            "other_clicks": "the protocol has no clicks",
            "profile_clicks": "the protocol has no clicks",
            "follows": "not told by post",
            "video_views": "the protocol has no views",
            "watch_time_seconds": "the protocol has no views",
            "avg_watch_time_seconds": "the protocol has no views",
            "poll_votes": "not on the platform",
        },
    )

    def authorize(self, token: str | None) -> dict[str, str]:
        """Bearer token; none is needed on the public app view."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """Batches of 25, the parameter repeated for each post."""
        calls: list[base.Call] = []
        for start in range(0, len(targets), BATCH_SIZE):
            part = tuple(targets[start : start + BATCH_SIZE])
            query = tuple(("uris", target.external_id) for target in part)
            calls.append(
                base.Call(RawKind.POST_METRICS, "GET", "/xrpc/app.bsky.feed.getPosts", query, None, part, "xrpc")
            )
        return calls

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """The profile as it is now; Bluesky has no history of it."""
        query = (("actors", channel.external_id),)
        path = "/xrpc/app.bsky.actor.getProfiles"
        return [base.Call(RawKind.CHANNEL_METRICS, "GET", path, query, limit_group="xrpc")]

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The session: the only method here that fails without a token that works."""
        return base.Call(RawKind.IDENTITY, "GET", "/xrpc/com.atproto.server.getSession", limit_group="xrpc")

    def refresh_call(self, tokens: abilities.HeldTokens, client: abilities.AppClient) -> abilities.RefreshCall | None:
        """`refreshSession`: authorized by the refresh JWT; both rotate."""
        if not tokens.refresh_token:
            return None
        headers = {"authorization": f"Bearer {tokens.refresh_token}"}
        return abilities.RefreshCall("POST", "/xrpc/com.atproto.server.refreshSession", headers=headers)

    def read_refresh(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """The session's tokens; their ends stand in the tokens themselves."""
        answer = json_reading.try_json_object(body)
        access, refresh = answer.get("accessJwt"), answer.get("refreshJwt")
        if 200 <= status < 300 and isinstance(access, str) and access:
            renewed = refresh if isinstance(refresh, str) and refresh else None
            return abilities.TokenGrant(access, renewed, _life_of(access))
        verdict = self.classify(status, headers, body, 0)
        outcome = verdict.outcome
        if outcome is base.Outcome.OK:
            outcome = base.Outcome.PLATFORM_DOWN
        elif status in (400, 401) and outcome is base.Outcome.REQUEST_WRONG and "error" not in answer:
            outcome = base.Outcome.TOKEN_EXPIRED
        return abilities.RefreshFailure(outcome, verdict.retry_after_seconds, verdict.detail)

    def read(self, event: PlatformRaw) -> base.Reading:
        """`app.bsky.feed.getPosts`; `app.bsky.actor.getProfiles` and `getProfile`."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        path = http_reading.path_segments(event.endpoint)
        if not path or path[-1] not in _METHODS.get(event.kind, ()) or path[:-1] not in ((), ("xrpc",)):
            raise base.MappingError("unknown_endpoint", f"Bluesky has no {event.kind} at {event.endpoint[:200]!r}")
        answer = json_reading.json_object(event.body)
        if isinstance(answer.get("error"), str) or event.kind == RawKind.IDENTITY:
            return base.NOTHING
        if event.kind == RawKind.POST_METRICS:
            return self._posts(event, answer)
        several = path[-1] == "app.bsky.actor.getProfiles"
        return self._profile(event, json_reading.objects(answer.get("profiles"), "profiles") if several else [answer])

    def _posts(self, event: PlatformRaw, answer: dict[str, Any]) -> base.Reading:
        matched = _match(event, answer)
        readings = []
        for index, post in matched.items():
            if _POST_KEYS.isdisjoint(post):
                continue
            values: list[int | None] = list(metrics.NO_POST_VALUES)
            json_reading.fill(values, post, _POST)
            values[metrics.SHARES] = json_reading.added(
                json_reading.count(post.get("repostCount"), "repostCount"), values[metrics.QUOTES], "shares"
            )
            readings.append(base.PostReading(index, _POST_BITS, 0, tuple(values)))
        gone = [index for index in range(len(event.targets)) if index not in matched]
        return base.Reading(readings, (), gone)

    def _profile(self, event: PlatformRaw, profiles: list[dict[str, Any]]) -> base.Reading:
        if len(profiles) > 1:
            asked = event.request.get("actors", "").split(",")[0]
            profiles = [profile for profile in profiles if asked in (profile.get("did"), profile.get("handle"))][:1]
        for profile in profiles:
            if not _PROFILE_KEYS.isdisjoint(profile):
                values: list[int | None] = list(metrics.NO_CHANNEL_VALUES)
                json_reading.fill(values, profile, _PROFILE)
                return base.Reading((), (base.ChannelReading("lifetime", None, None, _PROFILE_BITS, tuple(values)),))
        return base.NOTHING

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's post view."""
        try:
            return _match(event, json_reading.try_json_object(event.body)).get(target_index, {})
        except base.MappingError:
            return {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """The error's name; an expired token is 400 from an account's server and 401 from the app view."""
        answer = json_reading.try_json_object(body)
        error = answer.get("error")
        if not isinstance(error, str):
            if 200 <= status < 300:
                return (
                    base.Verdict(base.Outcome.OK)
                    if answer
                    else base.Verdict(base.Outcome.PLATFORM_DOWN, detail=f"{status} no JSON")
                )
            error = ""
        message = json_reading.text(answer.get("message", "")).lower()
        detail = f"{status} {error}"[:200]
        outcome = _OUTCOME_OF_ERROR.get(error)
        if outcome is None:
            outcome = (
                http_reading.by_status(status, headers, detail).outcome if status >= 400 else base.Outcome.PLATFORM_DOWN
            )
        if outcome is base.Outcome.TOKEN_EXPIRED and "revoked" in message:
            outcome = base.Outcome.TOKEN_REVOKED
        if outcome is base.Outcome.REQUEST_WRONG and "not found" in message:
            outcome = base.Outcome.TARGET_GONE
        if outcome is base.Outcome.REQUEST_WRONG and "at-uri" in message:
            outcome = base.Outcome.TARGET_REFUSED  # the catalog's id of a post is no address of the protocol
        wait = None
        if outcome in (base.Outcome.RETRY_LATER, base.Outcome.PLATFORM_DOWN):
            wait = http_reading.retry_after(headers)
            if wait is None and outcome is base.Outcome.RETRY_LATER:
                wait = http_reading.seconds_until(headers.get("ratelimit-reset"), now)
        return base.Verdict(outcome, wait, detail)

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """`RateLimit-*`, reset as an epoch second."""
        limit = http_reading.seconds_of(headers.get("ratelimit-limit"))
        remaining = http_reading.seconds_of(headers.get("ratelimit-remaining"))
        reset = http_reading.seconds_of(headers.get("ratelimit-reset"))
        if limit is None and remaining is None:
            return None
        return base.LimitState(
            None if limit is None else int(limit),
            None if remaining is None else int(remaining),
            None if reset is None else int(reset * 1000),
        )


PLATFORM = Bluesky()
