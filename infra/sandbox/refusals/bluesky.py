"""How Bluesky's servers refuse.

Source: bluesky-social/atproto `packages/pds`, `packages/bsky`, `packages/xrpc-server`; issues as named.
"""

from __future__ import annotations

from typing import Any

from infra.sandbox.refusals._failing import failing_posts
from infra.sandbox.refusals.row import HTML_404, HTML_502, About, Effect, Refusal

_CODE = "bluesky-social/atproto"
_POSTS = r"getPosts$"


def _row(name: str, source: str, about: About, outcomes: tuple[str, ...], does: str, status: int, error: str,
         message: str, **more: Any) -> Refusal:  # fmt: skip
    return Refusal("bluesky", name, source, about, outcomes, does, status, {"error": error, "message": message}, **more)


def _down(name: str, status: int, error: str, message: str, source: str = f"{_CODE} packages/xrpc-server") -> Refusal:
    return _row(
        name, source, About.HOST, ("platform_unavailable", "request_wrong"), "backs off; no post is taken for gone",
        status, error, message,
    )  # fmt: skip


ROWS = (
    _down("xrpc_not_supported", 404, "XRPCNotSupported", "XRPCNotSupported", f"{_CODE} issues 1954 and 387, pull 375"),
    _down("method_not_implemented", 501, "MethodNotImplemented", "Method Not Implemented"),
    _down("upstream_failure", 502, "UpstreamFailure", "Upstream Failure"),
    _down("internal_error", 500, "InternalServerError", "Internal Server Error"),
    Refusal("bluesky", "html_404", "a host that is not the protocol's", About.HOST,
            ("platform_unavailable", "request_wrong"), "backs off; no post is taken for gone", 404, HTML_404),
    Refusal("bluesky", "html_502", "public reports of pages of a proxy", About.HOST, ("platform_unavailable",),
            "backs off", 502, HTML_502),
    _row(
        "invalid_uri", f"{_CODE} packages/lexicon, validation", About.TARGET, ("request_wrong", "target_refused"),
        "finds the post and leaves it out; the others are read", 400, "InvalidRequest",
        "Error: uris/{index} must be a valid at-uri", path=_POSTS,
    ),
    Refusal(
        "bluesky", "post_left_out", f"{_CODE} lexicons/app/bsky/feed/getPosts.json", About.TARGET, ("ok",),
        "reads the others; takes the post for gone once it was left out over a day", 200, path=_POSTS,
        effect=Effect.LEAVE_OUT, alone={"posts": []},
    ),
    *failing_posts("bluesky", 500, {"error": "InternalServerError", "message": "Internal Server Error"}),
    _row("expired_token", f"{_CODE} packages/pds/src/auth-verifier.ts", About.TOKEN, ("token_expired",),
         "renews the token, else pauses the channel", 400, "ExpiredToken", "Token has expired"),
    _row("expired_token_of_app_view", f"{_CODE} packages/bsky/src/auth-verifier.ts", About.TOKEN, ("token_expired",),
         "renews the token, else pauses the channel", 401, "ExpiredToken", "Token has expired"),
    _row("invalid_token", f"{_CODE} packages/pds/src/auth-verifier.ts", About.TOKEN,
         ("token_revoked", "token_expired"), "pauses the channel", 400, "InvalidToken", "Token could not be verified"),
    _row("account_takedown", f"{_CODE} packages/pds/src/auth-verifier.ts", About.TOKEN, ("account_disabled",),
         "pauses the channel", 401, "AccountTakedown", "Account has been taken down"),
    _row("account_deactivated", f"{_CODE} packages/pds/src/auth-verifier.ts", About.TOKEN, ("account_disabled",),
         "pauses the channel", 401, "AccountDeactivated", "Account is deactivated"),
    _row(
        "rate_limit", f"{_CODE} packages/xrpc-server/src/rate-limiter-http.ts", About.LIMIT, ("rate_limited",),
        "waits for as long as the headers say", 429, "RateLimitExceeded", "Rate Limit Exceeded",
        headers={
            "ratelimit-limit": "3000", "ratelimit-remaining": "0", "ratelimit-reset": "{in_15_minutes}",
            "ratelimit-policy": "3000;w=300", "retry-after": "900",
        },
        reset="in_15_minutes",
    ),
    _row("refresh_refused", f"{_CODE} packages/pds/src/auth-verifier.ts", About.TOKEN,
         ("token_expired", "token_revoked"), "pauses the channel; the person has to connect it again", 400,
         "ExpiredToken", "Token has been revoked", is_of_tokens=True),
)  # fmt: skip
