"""Bluesky: post views, profiles and the session.

Source: bluesky-social/atproto lexicons `app.bsky.feed.getPosts`, `app.bsky.feed.defs`, `app.bsky.actor.getProfiles`,
`com.atproto.server.createSession`, `getSession`; `packages/xrpc-server/src/rate-limiter-http.ts`.
"""

from __future__ import annotations

import re
from base64 import b32encode
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from infra.sandbox.curves import level_value, metric_value
from infra.sandbox.exchange import Ask, Endpoint, Reply
from infra.sandbox.ids import behaviour, make_id, published_at
from infra.sandbox.tokens import renewed

_BATCH = 25
_LIMIT, _FIVE_MINUTES = 3000, 300
_QUARTER_DAY_MS = 6 * 3_600_000
_COUNTS = ("replyCount", "repostCount", "likeCount", "quoteCount", "bookmarkCount")
_OLD_COUNTS = _COUNTS[:3]
_URI = re.compile(r"at://([^/]+)/app\.bsky\.feed\.post/([\w.~-]+)", re.ASCII)


def _error(status: int, name: str, message: str) -> Reply:
    return Reply(status, {"error": name, "message": message})


def _view(ask: Ask, uri: str, did: str) -> dict[str, Any]:
    peculiar = behaviour("bluesky", uri)
    published = published_at("bluesky", uri)
    names = _OLD_COUNTS if peculiar == "old" else _COUNTS
    counts = {name: metric_value(ask.state.seed, "bluesky", uri, name, published, ask.now) for name in names}
    created = datetime.fromtimestamp(published / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    view: dict[str, Any] = {
        "uri": uri,
        "cid": f"bafyrei{uri[-13:]}",
        "author": {"did": did, "handle": "account.sandbox.test"},
        "record": {"$type": "app.bsky.feed.post", "createdAt": created, "text": f"Post {uri[-13:]}"},
        **counts,
        "indexedAt": created,
        "labels": [],
    }
    if peculiar == "quoting":
        view["embed"] = {
            "$type": "app.bsky.embed.record#view",
            "record": {"uri": f"{uri}2", "likeCount": 999_999, "repostCount": 999_999, "replyCount": 999_999},
        }
    ask.served(uri, counts)
    return view


def _posts(ask: Ask) -> Reply:
    uris = ask.values("uris")
    if not uris:
        return _error(400, "InvalidRequest", 'Error: Params must have the property "uris"')
    if len(uris) > _BATCH:
        return _error(400, "InvalidRequest", f"Error: uris must not have more than {_BATCH} elements")
    matches = [_URI.fullmatch(uri) for uri in uris]
    if None in matches:
        return _error(400, "InvalidRequest", f"Error: uris/{matches.index(None)} must be a valid at-uri")
    found = [
        _view(ask, uri, match[1])
        for uri, match in zip(uris, matches, strict=True)
        # As it stands: an address by a handle is found by nobody.
        if match is not None and match[1].startswith("did:") and behaviour("bluesky", uri) != "gone"
    ]
    return Reply(200, {"posts": found})


def _profile(ask: Ask, actor: str) -> dict[str, Any]:
    seed, now = ask.state.seed, ask.now
    counts = {
        "followersCount": level_value(seed, "bluesky", actor, "followers", now),
        "followsCount": level_value(seed, "bluesky", actor, "following", now),
        "postsCount": level_value(seed, "bluesky", actor, "posts", now),
    }
    ask.served(actor, counts)
    did = actor if actor.startswith("did:") else "did:plc:sandboxsandboxsandboxsan"
    handle = "account.sandbox.test" if actor.startswith("did:") else actor
    return {"did": did, "handle": handle, "displayName": "Sandbox", **counts, "indexedAt": "2025-01-01T00:00:00.000Z"}


def _profiles(ask: Ask) -> Reply:
    actors = ask.values("actors")
    if not 1 <= len(actors) <= _BATCH:
        return _error(400, "InvalidRequest", f"Error: actors must have 1 to {_BATCH} elements")
    return Reply(200, {"profiles": [_profile(ask, actor) for actor in actors if not actor.endswith("gone")]})


def _one_profile(ask: Ask) -> Reply:
    actor = ask.value("actor")
    if not actor:
        return _error(400, "InvalidRequest", 'Error: Params must have the property "actor"')
    if actor.endswith("gone"):
        return _error(400, "InvalidRequest", "Profile not found")
    return Reply(200, _profile(ask, actor))


def _did_of(handle: str) -> str:
    """The did behind a handle; the sandbox's own account has its own."""
    if handle == "account.sandbox.test":
        return "did:plc:sandboxsandboxsandboxsan"
    return f"did:plc:{b32encode(blake2b(handle.encode(), digest_size=15).digest()).decode().lower()}"


def _resolved(ask: Ask) -> Reply:
    handle = ask.value("handle").lower()
    if not re.fullmatch(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+", handle):
        return _error(400, "InvalidRequest", "Error: handle must be a valid handle")
    if handle.startswith("gone."):
        return _error(400, "InvalidRequest", "Unable to resolve handle")
    return Reply(200, {"did": _did_of(handle)})


def _document(ask: Ask) -> Reply:
    """The did document of any account: a server of its own name holds it."""
    did = ask.path.removeprefix("/")
    if did.endswith("gone"):
        return Reply(404, {"message": f"DID not registered: {did}"})
    service = {
        "id": "#atproto_pds",
        "type": "AtprotoPersonalDataServer",
        "serviceEndpoint": "https://pds.sandbox.test",
    }
    names = ["at://account.sandbox.test"]
    return Reply(
        200, {"@context": ["https://www.w3.org/ns/did/v1"], "id": did, "alsoKnownAs": names, "service": [service]}
    )


def _author_feed(ask: Ask) -> Reply:
    """The newest posts of any account, one each quarter of a day, with a repost between them."""
    actor = ask.value("actor")
    if not actor:
        return _error(400, "InvalidRequest", 'Error: Params must have the property "actor"')
    limit = ask.value("limit", "50")
    if not limit.isdigit() or not 1 <= int(limit) <= 100:
        return _error(400, "InvalidRequest", "Error: limit can not be greater than 100")
    did = actor if actor.startswith("did:") else _did_of(actor)
    last = ask.now - ask.now % _QUARTER_DAY_MS
    feed: list[dict[str, Any]] = []
    for step in range(int(limit)):
        is_repost = step % 5 == 4
        author = "did:plc:somebodyelsesomebodyelse" if is_repost else did
        uri = make_id("bluesky", last - step * _QUARTER_DAY_MS, 7, account=author)
        item: dict[str, Any] = {"post": _view(ask, uri, author)}
        if is_repost:
            item["reason"] = {"$type": "app.bsky.feed.defs#reasonRepost", "by": {"did": did}}
        feed.append(item)
    return Reply(200, {"feed": feed, "cursor": "2025-01-01T00:00:00.000Z"})


def _session(ask: Ask) -> Reply:
    account = ask.account_id
    did = account if account.startswith("did:") else f"did:plc:{account}"
    return Reply(200, {"did": did, "handle": "account.sandbox.test", "active": True})


def _sign_in(ask: Ask) -> Reply:
    """A session for a handle and any password but `wrong`."""
    given = ask.json()
    if not isinstance(given, dict) or not all(isinstance(given.get(name), str) for name in ("identifier", "password")):
        return _error(400, "InvalidRequest", "Error: Input must have the properties identifier and password")
    if given["password"] == "wrong":
        return _error(401, "AuthenticationRequired", "Invalid identifier or password")
    handle = given["identifier"].lower()
    did = handle if handle.startswith("did:") else _did_of(handle)
    ask.state.grants += 1
    tokens = {name: f"sandbox-{name.lower()}-{ask.state.grants}~{did}" for name in ("accessJwt", "refreshJwt")}
    return Reply(200, {"did": did, "handle": handle, "active": True, **tokens})


def _refresh(ask: Ask) -> Reply:
    tokens = renewed(ask, ask.token, once=True)
    if tokens is None:
        return _error(400, "ExpiredToken", "Token has been revoked")
    return Reply(200, {**_session(ask).body, "accessJwt": tokens[0], "refreshJwt": tokens[1]})


def _endpoint(method: str, answer: Any, token_needed: bool = False) -> Endpoint:
    path = f"/xrpc/{method}"
    return Endpoint(re.compile(re.escape(path)), path, answer, _LIMIT, _FIVE_MINUTES, "address", token_needed)


class BlueskyRoutes:
    """The endpoints of this platform, its limits and its failures."""

    platform = "bluesky"
    endpoints = (
        _endpoint("app.bsky.feed.getPosts", _posts),
        _endpoint("app.bsky.actor.getProfiles", _profiles),
        _endpoint("app.bsky.actor.getProfile", _one_profile),
        _endpoint("app.bsky.feed.getAuthorFeed", _author_feed),
        _endpoint("com.atproto.identity.resolveHandle", _resolved),
        Endpoint(re.compile(r"/did:plc:[a-z2-7]+"), "/{did}", _document, _LIMIT, _FIVE_MINUTES, "address", False),
        replace(_endpoint("com.atproto.server.createSession", _sign_in), method="POST"),
        _endpoint("com.atproto.server.getSession", _session, token_needed=True),
        replace(
            _endpoint("com.atproto.server.refreshSession", _refresh, token_needed=True), method="POST", renews=True
        ),
    )

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """As an account's own server: an expired token is 400."""
        if kind in ("rate_limited", "quota_exhausted"):
            reply = _error(429, "RateLimitExceeded", "Rate Limit Exceeded")
            reply.headers["retry-after"] = str(retry_after_seconds)
            reply.headers["ratelimit-remaining"] = "0"
            reply.headers["ratelimit-reset"] = str(-(-ask.wall // 1000) + retry_after_seconds)
            return reply
        if kind == "token_missing":
            return _error(401, "AuthMissing", "Authentication Required")
        if kind == "token_revoked":
            return _error(400, "InvalidToken", "Token has been revoked")
        if kind == "permission_missing":
            return _error(403, "Forbidden", "Insufficient scope")
        if kind == "account_disabled":
            return _error(400, "AccountTakedown", "Account has been taken down")
        if kind == "server_error":
            return _error(502, "UpstreamFailure", "Upstream Failure")
        return _error(400, "ExpiredToken", "Token has expired")

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """`RateLimit-*`, reset as an epoch second."""
        return {
            "ratelimit-limit": str(endpoint.limit),
            "ratelimit-remaining": str(remaining),
            "ratelimit-reset": str(-(-ends_at // 1000)),
            "ratelimit-policy": f"{endpoint.limit};w={endpoint.window_seconds}",
        }


ROUTES = BlueskyRoutes()
