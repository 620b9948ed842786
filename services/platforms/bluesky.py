"""Bluesky, the app view's XRPC methods.

Documentation: https://docs.bsky.app/docs/api/app-bsky-feed-get-posts, and the lexicons app.bsky.feed.defs and
    app.bsky.actor.defs; https://atproto.com/specs/did and /specs/handle; read 2026-11-30.
Auth: none for figures: the public app view https://public.api.bsky.app answers for every account, wherever it is
    hosted. The account's own server takes its access JWT, 2 h by default; refresh JWT 90 d, both rotate.
Rate limit: 3000 requests in 5 min an IP, `RateLimit-*` headers with an epoch second.
Poll interval: by the common tiers; figures are current.
Cannot supply: views, impressions, reach, clicks, watch time, dislikes.

Uncertain, and how it is read here:
- An account's token works at its own server alone. The did document names the server (`#atproto_pds`): it is at
  https://plc.directory for did:plc, and under /.well-known/did.json of the host for did:web. Without a directory's word
  the tokens go nowhere but to bsky.social, where most accounts are made.
- `getPosts` looks an address up as it stands, so one with a handle is found by nobody. Handles are resolved to dids
  before posts are asked for. An address whose handle can't be resolved is asked for as it is, and its absence means
  nothing.
- One address that is none makes the server refuse the whole call; those are asked for apart from the others.
- Every count is optional in the lexicon. A post that carries some counts answered them all, so the others read as
  null; a post without any count says nothing.
- `quoteCount` without `repostCount`, or the reverse (older servers), is taken for the shares.
- Posts are found by their at:// uri; one that was registered with a handle in place of the did, by its author's handle.
- A post left out is deleted, taken down or blocked; it counts as gone, and its figures stay as they were.
- A 404 without the protocol's error object, and `XRPCNotSupported`, are about the host: it speaks another protocol, or
  does not know the method.
- A profile's list may be refused since one of two accounts blocks the other: a matter between them, no fault of a call.
- `InvalidToken` says no more than 401 elsewhere: only the refresh shows whether the session was revoked.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import _lists, abilities, base, http_reading, json_reading
from services.platforms._oauth import life_seconds

BATCH_SIZE = 25
DISCOVERY_SIZE = 30
# Where accounts of Bluesky's own servers sign in; it passes their calls on to the server that holds them.
ENTRYWAY = "https://bsky.social"
_PLC_DIRECTORY = "https://plc.directory"

# Source: atproto.com/specs/at-uri-scheme, restricted syntax; /specs/did; /specs/handle.
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]{1,2000}", re.ASCII)
_PLC = re.compile(r"did:plc:[a-z2-7]{1,64}", re.ASCII)
_WEB = re.compile(r"did:web:((?:[A-Za-z0-9-]+\.)+[A-Za-z][A-Za-z0-9-]*)(?:%3[Aa]([0-9]{1,5}))?", re.ASCII)
_HANDLE = re.compile(
    r"(?=.{3,253}\Z)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]*", re.ASCII
)
_ADDRESS = re.compile(r"at://([^/?#\s]+)(?:/[A-Za-z][A-Za-z0-9.-]*(?:/[A-Za-z0-9._:~-]{1,512})?)?", re.ASCII)

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
        "app.bsky.feed.getAuthorFeed",
    ),
}

# The protocol's names of errors are words of this form, in an object with a message.
_ERROR_NAME = re.compile(r"[A-Z][A-Za-z]{2,63}")
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
    "BlockedActor": base.Outcome.PERMISSION_MISSING,
    "BlockedByActor": base.Outcome.PERMISSION_MISSING,
    "BadJwt": base.Outcome.TOKEN_EXPIRED,
    "JwtExpired": base.Outcome.TOKEN_EXPIRED,
    "UntrustedIss": base.Outcome.TOKEN_EXPIRED,
    "NotFound": base.Outcome.TARGET_GONE,
    "InvalidRequest": base.Outcome.REQUEST_WRONG,
    "MethodNotImplemented": base.Outcome.PLATFORM_DOWN,
    "XRPCNotSupported": base.Outcome.PLATFORM_DOWN,
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


def _window_of(headers: Mapping[str, str]) -> float | None:
    """The length of a limit's window, of `RateLimit-Policy` (`3000;w=300`); servers have several limits."""
    return http_reading.policy_seconds(headers.get("ratelimit-policy"))


def _by_handle(post: dict[str, Any], uri: str) -> str | None:
    """The post's uri with its author's handle in place of the did."""
    author = post.get("author")
    handle = author.get("handle") if isinstance(author, dict) else None
    _, _, path = uri.removeprefix("at://").partition("/")
    return f"at://{handle}/{path}" if isinstance(handle, str) and path else None


def _match(answer: dict[str, Any], wanted: Collection[str]) -> dict[str, dict[str, Any]]:
    """The post view of each external id that is wanted; of a repeated one, the first."""
    matched: dict[str, dict[str, Any]] = {}
    for post in json_reading.objects(answer.get("posts"), "posts"):
        uri = post.get("uri")
        if not isinstance(uri, str):
            raise base.MappingError("unexpected_shape", "a post has no text `uri`")
        named = uri if uri in wanted else _by_handle(post, uri) or ""
        if named in wanted:
            matched.setdefault(named, post)
    return matched


def _by_id(event: PlatformRaw) -> dict[str, dict[str, Any]]:
    return _match(json_reading.try_json_object(event.body), json_reading.positions(event))


def _authority(uri: str) -> str | None:
    """Whose an address is: a did or a handle; None where it is no address of the protocol."""
    match = _ADDRESS.fullmatch(uri)
    if match is None or not (_DID.fullmatch(match[1]) or _HANDLE.fullmatch(match[1])):
        return None
    return match[1]


def _page(uri: str) -> str | None:
    """A post's page in the platform's own app; None for a record of another kind."""
    authority = _authority(uri)
    key = uri.partition(f"{authority}/app.bsky.feed.post/")[2]
    return f"https://bsky.app/profile/{authority}/post/{key}" if authority is not None and key else None


def _by_did(uri: str, known: Mapping[str, str]) -> str:
    """An address with the did in place of its handle, where that is known."""
    authority = _authority(uri)
    if authority is None or _DID.fullmatch(authority):
        return uri
    did = known.get(authority.lower())
    return uri if did is None else f"at://{did}{uri[len('at://') + len(authority) :]}"


def _did_of(channel: base.Channel, known: Mapping[str, str]) -> str | None:
    account = channel.external_id
    return account if _DID.fullmatch(account) else known.get(account.lower())


def _home_in(document: Mapping[str, Any], did: str) -> str | None:
    """Origin of the account's server in a did document; https only, and nothing but an origin."""
    services = document.get("service")
    if document.get("id") != did or not isinstance(services, list):
        return None
    for service in services:
        if not isinstance(service, dict) or service.get("id") not in ("#atproto_pds", f"{did}#atproto_pds"):
            continue
        endpoint = service.get("serviceEndpoint")
        if service.get("type") != "AtprotoPersonalDataServer" or not isinstance(endpoint, str):
            continue
        try:
            parts = urlsplit(endpoint)
            is_origin = parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
            if parts.scheme == "https" and parts.hostname and is_origin and (parts.port is None or parts.port > 0):
                return f"https://{parts.netloc.lower()}"
        except ValueError:
            continue
    return None


def _posted(item: dict[str, Any]) -> abilities.Discovered | str | None:
    """A post of an account's own list; the name of a field that it lacks, None for a repost or a pin."""
    view = item.get("post")
    if "reason" in item or not isinstance(view, dict):
        return None if "reason" in item else "post"
    record, uri = view.get("record"), view.get("uri")
    if not isinstance(uri, str) or _authority(uri) is None:
        return "uri"
    if not isinstance(record, dict):
        return "record"
    # Whoever wrote the record chose its time; the app view's own is never before the post went out.
    times = [_millis(text) for text in (record.get("createdAt"), view.get("indexedAt"))]
    at = min((one for one in times if one is not None), default=None)
    if at is None:
        return "createdAt"
    embed = view.get("embed")
    kind = embed.get("$type") if isinstance(embed, dict) else None
    post_type = "video" if kind == "app.bsky.embed.video#view" else ""
    return abilities.Discovered(uri, at, post_type, _page(uri) or "", json_reading.text(record.get("text", "")))


def _millis(text: Any) -> int | None:
    """An ISO time with its offset in ms; None when it is none."""
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
        return None if at is None or at.tzinfo is None else int(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _own_handle(channel: base.Channel) -> dict[str, str]:
    """The did of the account's own handle, where the channel holds both."""
    if _DID.fullmatch(channel.external_id) and _HANDLE.fullmatch(channel.username):
        return {channel.username.lower(): channel.external_id}
    return {}


def _lookups(targets: Sequence[base.Target]) -> list[base.Call]:
    """Calls for posts by their addresses."""
    path = "/xrpc/app.bsky.feed.getPosts"
    calls = []
    for start in range(0, len(targets), BATCH_SIZE):
        part = tuple(targets[start : start + BATCH_SIZE])
        query = tuple([("uris", target.external_id) for target in part])
        calls.append(
            base.Call(RawKind.POST_METRICS, "GET", path, query, None, part, "xrpc", shape="posts", is_public=True)
        )
    return calls


class Bluesky:
    """Bluesky: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="bluesky",
        base_url="https://public.api.bsky.app",
        documentation="https://docs.bsky.app/docs/api/app-bsky-feed-get-posts",
        read_on="2026-11-30",
        auth="none for figures, from the public app view; access JWT (Bearer) at the account's own server for the rest",
        rate_limit="3000 requests in 5 minutes an IP",
        post_batch_size=BATCH_SIZE,
        post_group="xrpc",
        limits=(base.Limit("xrpc", 3000, 300),),
        channel_metrics={"followers": ("lifetime",), "following": ("lifetime",), "posts_count": ("lifetime",)},
        lag="none",
        discovery="of any account, without its token; without replies and reposts",
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
        """Batches of 25, the parameter repeated for each post; what is no address of the protocol goes apart."""
        addresses: list[base.Target] = []
        others: list[base.Target] = []
        for target in targets:
            (addresses if _authority(target.external_id) is not None else others).append(target)
        # One shape: where a lone malformed id is refused, the answers about the others show that it is the id's fault.
        return [*_lookups(addresses), *_lookups(others)]

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """The profile as it is now; Bluesky has no history of it."""
        query = (("actors", channel.external_id),)
        path = "/xrpc/app.bsky.actor.getProfiles"
        return [
            base.Call(RawKind.CHANNEL_METRICS, "GET", path, query, limit_group="xrpc", shape="channel", is_public=True)
        ]

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The session at the account's own server: the only method here that fails without a token that works."""
        origin = channel.home_url or ENTRYWAY
        path = "/xrpc/com.atproto.server.getSession"
        return base.Call(RawKind.IDENTITY, "GET", path, limit_group="session", base_url=origin, shape="identity")

    def names_of(self, channel: base.Channel, call: base.Call | None, known: Mapping[str, str]) -> Sequence[str]:
        """Handles in posts' addresses; of a call to the account's own server the account's did, then the server."""
        if call is None or call.shape == "identity":
            did = _did_of(channel, known)
            if did is None:
                return [channel.external_id.lower()]
            return [] if did in known else [did]
        if call.kind != RawKind.POST_METRICS:
            return []
        own = _own_handle(channel)
        authorities = [_authority(target.external_id) for target in call.targets]
        handles = [name.lower() for name in authorities if name is not None and not _DID.fullmatch(name)]
        return list(dict.fromkeys([name for name in handles if name not in known and name not in own]))

    def lookup_call(self, name: str) -> base.Call | None:
        """`resolveHandle` for a handle, the did document for a did."""
        if _PLC.fullmatch(name):
            path = f"/{http_reading.path_part(name)}"
            return base.Call(RawKind.IDENTITY, "GET", path, base_url=_PLC_DIRECTORY, shape="lookup", is_public=True)
        web = _WEB.fullmatch(name)
        if web is not None:
            origin = f"https://{web[1].lower()}" + (f":{web[2]}" if web[2] else "")
            path = "/.well-known/did.json"
            return base.Call(RawKind.IDENTITY, "GET", path, base_url=origin, shape="lookup", is_public=True)
        if _HANDLE.fullmatch(name) is None:
            return None
        path = "/xrpc/com.atproto.identity.resolveHandle"
        return base.Call(
            RawKind.IDENTITY, "GET", path, (("handle", name),), limit_group="xrpc", shape="lookup", is_public=True
        )

    def looked_up(self, name: str, status: int, body: bytes) -> str | None:
        """The did of a handle; the origin of the server of a did."""
        answer = json_reading.try_json_object(body) if status == 200 else {}
        if name.startswith("did:"):
            return _home_in(answer, unquote(name) if name.startswith("did:plc:") else name)
        did = answer.get("did")
        return did if isinstance(did, str) and _DID.fullmatch(did) else None

    def placed(self, channel: base.Channel, call: base.Call, known: Mapping[str, str]) -> base.Call:
        """Posts by their authors' dids; the session at the account's own server."""
        if call.shape == "identity":
            return replace(call, base_url=self.home_of(channel, known) or call.base_url)
        if call.kind != RawKind.POST_METRICS:
            return call
        own = _own_handle(channel)
        targets = tuple(
            [replace(target, external_id=_by_did(_by_did(target.external_id, own), known)) for target in call.targets]
        )
        if targets == call.targets:
            return call
        return replace(call, query=tuple([("uris", target.external_id) for target in targets]), targets=targets)

    def home_of(self, channel: base.Channel, known: Mapping[str, str]) -> str | None:
        """The server that the account's did document names."""
        did = _did_of(channel, known)
        return None if did is None else known.get(did)

    def discovery_call(self, channel: base.Channel, now: int) -> base.Call:
        """The account's own list without replies and pins."""
        query = (
            ("actor", channel.external_id),
            ("filter", "posts_no_replies"),
            ("includePins", "false"),
            ("limit", str(DISCOVERY_SIZE)),
        )
        path = "/xrpc/app.bsky.feed.getAuthorFeed"
        return base.Call(RawKind.IDENTITY, "GET", path, query, limit_group="xrpc", shape="discovery", is_public=True)

    def discovered(self, event: PlatformRaw) -> abilities.Listed:
        """Posts of the account itself: an item with a `reason` is a repost or a pin."""
        if not http_reading.succeeded(event) or not event.endpoint.endswith("app.bsky.feed.getAuthorFeed"):
            return abilities.Listed()
        return _lists.listed(json_reading.json_object(event.body).get("feed"), "feed", _posted)

    def post_address(self, external_id: str) -> str | None:
        """The post's page in the platform's own app, by did or by handle."""
        return _page(external_id)

    def refresh_call(self, tokens: abilities.HeldTokens, client: abilities.AppClient) -> abilities.RefreshCall | None:
        """`refreshSession`: authorized by the refresh JWT; both rotate."""
        if not tokens.refresh_token:
            return None
        headers = {"authorization": f"Bearer {tokens.refresh_token}"}
        path = "/xrpc/com.atproto.server.refreshSession"
        return abilities.RefreshCall("POST", path, headers=headers, base_url=ENTRYWAY)

    def read_refresh(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """The session's tokens; their ends stand in the tokens themselves."""
        answer = json_reading.try_json_object(body)
        access, refresh = answer.get("accessJwt"), answer.get("refreshJwt")
        if 200 <= status < 300 and isinstance(access, str) and access:
            renewed = refresh if isinstance(refresh, str) and refresh else None
            return abilities.TokenGrant(access, renewed, _life_of(access))
        now = http_reading.answered_at(headers)
        verdict = self.classify(status, headers, body, now or 0)
        outcome = verdict.outcome
        # The limit's end is an instant: without one to count from only `retry-after` is a wait.
        wait = http_reading.retry_after(headers) if now is None else verdict.retry_after_seconds
        if outcome is base.Outcome.OK or "error" not in answer:
            # Only the protocol's own error speaks of the token.
            outcome = base.Outcome.PLATFORM_DOWN if outcome is not base.Outcome.RETRY_LATER else outcome
        return abilities.RefreshFailure(outcome, wait, verdict.detail)

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
        wanted = json_reading.positions(event)
        matched = _match(answer, wanted)
        found: dict[str, json_reading.Figures] = {}
        for external_id, post in matched.items():
            if _POST_KEYS.isdisjoint(post):
                continue
            values: list[int | None] = list(metrics.NO_POST_VALUES)
            json_reading.fill(values, post, _POST)
            values[metrics.SHARES] = json_reading.added(
                json_reading.count(post.get("repostCount"), "repostCount"), values[metrics.QUOTES], "shares"
            )
            found[external_id] = (_POST_BITS, 0, tuple(values))
        gone = [
            index
            for index in json_reading.left_out(event, matched)
            if _DID.fullmatch(_authority(event.targets[index].external_id) or "")
        ]
        return base.Reading(json_reading.readings(found, wanted), (), gone)

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
        if not 0 <= target_index < len(event.targets):
            return {}
        try:
            return json_reading.made_once(event, _by_id).get(event.targets[target_index].external_id, {})
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
        if outcome is None and (status < 400 or status in (404, 410)):
            # The host speaks another protocol, or is another host than it was.
            outcome = base.Outcome.PLATFORM_DOWN
        if outcome is None:
            is_own = bool(_ERROR_NAME.fullmatch(error)) and isinstance(answer.get("message"), str)
            if is_own:
                outcome = http_reading.by_status(status, headers, detail, body).outcome
            else:
                outcome = http_reading.without_code(status, headers, detail).outcome
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
                return base.Verdict(outcome, wait, detail, longest_seconds=_window_of(headers))
        return base.Verdict(outcome, wait, detail)

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """`RateLimit-*`, reset as an epoch second."""
        limit = http_reading.seconds_of(headers.get("ratelimit-limit"))
        remaining = http_reading.seconds_of(headers.get("ratelimit-remaining"))
        if limit is None and remaining is None:
            return None
        return base.LimitState(
            None if limit is None else int(limit),
            None if remaining is None else int(remaining),
            http_reading.epoch_millis(headers.get("ratelimit-reset")),
            longest_seconds=_window_of(headers),
        )


PLATFORM = Bluesky()
