"""How Reddit refuses.

Source: praw-dev/praw `tests/integration/cassettes`; Reddit "Data API wiki".
"""

from __future__ import annotations

from typing import Any

from infra.sandbox.refusals._failing import failing_posts
from infra.sandbox.refusals.row import HTML_404, HTML_502, About, Effect, Refusal

_CASSETTES = "praw-dev/praw tests/integration/cassettes"
_WIKI = "Reddit, Data API wiki"
_PROFILE = r"^/(r|user)/[\w-]+/about$"
_INFO = r"^/(api/info|by_id/.*)$"


def _error(status: int, message: str = "", **more: Any) -> dict[str, Any]:
    return {**({"message": message} if message else {}), "error": status, **more}


def _row(name: str, about: About, outcomes: tuple[str, ...], does: str, status: int, body: Any, **more: Any) -> Refusal:
    source = more.pop("source", _CASSETTES)
    return Refusal("reddit", name, source, about, outcomes, does, status, body, **more)


ROWS = (
    _row("invalid_token", About.TOKEN, ("token_expired",), "renews the token, else pauses the channel", 401,
         _error(401, "Unauthorized"),
         headers={"www-authenticate": 'Bearer realm="reddit", error="invalid_token"'}),
    _row("insufficient_scope", About.TOKEN, ("permission_missing",), "asks at the regular times only", 403,
         _error(403, "Forbidden"), headers={"www-authenticate": 'Bearer realm="reddit", error="insufficient_scope"'}),
    _row("private_subreddit", About.SHAPE, ("permission_missing",),
         "reads the posts all the same; the profile's or subreddit's own figures stay null", 403,
         _error(403, reason="private"), path=_PROFILE),
    _row("quarantined", About.SHAPE, ("permission_missing",), "as `private_subreddit`", 403,
         _error(403, "Forbidden", reason="quarantined", quarantine_message="It is only viewable in Reddit."),
         path=_PROFILE),
    _row("profile_missing", About.SHAPE, ("target_gone", "permission_missing", "request_wrong",
                                          "platform_unavailable"),
         "reads the posts all the same", 404, _error(404, "Not Found"), path=_PROFILE),
    _row("generic_user_agent", About.HOST, ("permission_missing", "request_wrong", "platform_unavailable"),
         "says that a User-Agent of the app has to be set", 403,
         "<!doctype html>\n<html><head><title>Blocked</title></head><body><h1>whoa there, pardner!</h1><p>Your request "
         "has been blocked due to a network policy. If you're running a script or application, make sure your "
         "User-Agent is not empty and is something unique and descriptive.</p></body></html>\n", source=_WIKI),
    _row("generic_user_agent_limited", About.LIMIT, ("rate_limited", "request_wrong", "platform_unavailable"),
         "waits, longer each time", 429, _error(429, "Too Many Requests"), source=_WIKI),
    _row("rate_limit", About.LIMIT, ("rate_limited",), "waits for as long as the headers say", 429,
         _error(429, "Too Many Requests"),
         headers={"x-ratelimit-used": "1000", "x-ratelimit-remaining": "0.0", "x-ratelimit-reset": "600"},
         reset="in_15_minutes"),
    _row("post_left_out", About.TARGET, ("ok",),
         "reads the others; takes the post for gone once it was left out over a day", 200, None, path=_INFO,
         effect=Effect.LEAVE_OUT, alone={"kind": "Listing", "data": {"after": None, "dist": 0, "children": []}}),
    *failing_posts("reddit", 500, _error(500, "Internal Server Error")),
    _row("html_503", About.HOST, ("platform_unavailable",), "backs off", 503,
         HTML_502.replace("502 Bad Gateway", "503 Service Unavailable")),
    _row("html_502", About.HOST, ("platform_unavailable",), "backs off", 502, HTML_502),
    _row("html_404", About.HOST, ("platform_unavailable", "request_wrong"),
         "backs off; no post is taken for gone", 404, HTML_404, source="a host that is not the API's"),
    _row("refresh_refused", About.TOKEN, ("token_expired", "token_revoked"),
         "pauses the channel; the person has to connect it again", 400, _error(400, "Bad Request"), is_of_tokens=True),
)  # fmt: skip
