"""What Meta's platforms refuse alike: the error object, tokens, limits, outages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from infra.sandbox.refusals._failing import failing_posts
from infra.sandbox.refusals.row import HTML_404, HTML_502, About, Effect, Refusal

ERRORS = "Meta docs, Handling errors"
LIMITS = "Meta docs, Rate limiting"
_TRACE = "AsandboxRecordedTraceId"


def error(message: str, code: int, subcode: int | None = None, kind: str = "OAuthException", **more: Any) -> Any:
    """Meta's error object, as nearly every refusal has it."""
    found: dict[str, Any] = {"message": message, "type": kind, "code": code}
    if subcode is not None:
        found["error_subcode"] = subcode
    return {"error": {**found, **more, "fbtrace_id": _TRACE}}


def usage(kind: str, minutes: int) -> str:
    """The usage header of an account at its limit; `{account}` stays a place holder."""
    spent = {"type": kind, "call_count": 100, "total_cputime": 25, "total_time": 25}
    return orjson.dumps({"{account}": [{**spent, "estimated_time_to_regain_access": minutes}]}).decode()


def tokens(platform: str) -> Iterator[Refusal]:
    """Tokens that ended, however."""
    expired = "Error validating access token: Session has expired on Sunday, 29-Nov-26 04:00:00 PST."
    told = (
        ("token_expired", 463, expired, ("token_expired",)),
        ("token_invalid", 467, "Error validating access token: The session is invalid because the user logged out.",
         ("token_expired", "token_revoked")),
        ("app_removed", 458,
         "Error validating access token: The user has not authorized application 123456789012345.", ("token_revoked",)),
        ("password_changed", 460,
         "Error validating access token: The session has been invalidated because the user changed their password or "
         "Facebook has changed the session for security reasons.", ("token_revoked",)),
        ("checkpoint", 459, "Error validating access token: The user is checkpointed.", ("account_disabled",)),
    )  # fmt: skip
    for name, subcode, message, outcomes in told:
        does = "renews the token where it can be, else pauses the channel; the person has to connect it again"
        yield Refusal(platform, name, ERRORS, About.TOKEN, outcomes, does, 400, error(message, 190, subcode))


def limits(platform: str) -> Iterator[Refusal]:
    """Limits of the app and of the user."""
    told = (
        ("app_limit", 4, "(#4) Application request limit reached"),
        ("user_limit", 17, "(#17) User request limit reached"),
        ("custom_limit", 613, "(#613) Calls to this api have exceeded the rate limit."),
    )
    for name, code, message in told:
        yield Refusal(
            platform, name, LIMITS, About.LIMIT, ("rate_limited",), "waits for as long as the headers say, else longer "
            "each time", 400, error(message, code),
        )  # fmt: skip


def outages(platform: str) -> Iterator[Refusal]:
    """Answers of a platform that is down, or of a host that is another."""
    told = (
        ("unknown_error", 500, error("An unknown error has occurred.", 1)),
        ("temporary", 500, error("Service temporarily unavailable", 2, is_transient=True)),
        ("html_502", 502, HTML_502),
    )
    for name, status, body in told:
        yield Refusal(
            platform, name, ERRORS, About.HOST, ("platform_unavailable",), "backs off", status, body,
            is_whole=True,
        )  # fmt: skip
    yield Refusal(
        platform, "html_404", "a host that is not the API's", About.HOST, ("platform_unavailable", "request_wrong"),
        "backs off; no post is taken for gone", 404, HTML_404, is_whole=True,
    )  # fmt: skip


def single_posts(platform: str) -> Iterator[Refusal]:
    """One post that fails as if the platform were down, or as if a limit were reached."""
    yield from failing_posts(platform, 500, error("An unknown error has occurred.", 1))
    yield Refusal(
        platform, "post_is_limited", LIMITS, About.TARGET, ("rate_limited",),
        "waits, and asks for another post at once where that repeats; what is refused of one post alone is asked for "
        "apart, ever more seldom", 400, error("(#613) Calls to this api have exceeded the rate limit.", 613),
    )  # fmt: skip


def multiple_ids(platform: str) -> Refusal:
    """`GET /?ids=`, on any version."""
    return Refusal(
        platform, "multiple_ids", "restfb/restfb issue 1692; Meta's posts on Graph API v26.0 and v27.0", About.SHAPE,
        ("request_wrong",), "never asks so: it asks by batch, or one by one", 500,
        error("The ids query parameter is deprecated in v26.0+", 100), path=r"^/(v[0-9.]+/?)?$", names=(),
        example="/v25.0/?ids={two_ids}&fields=id",
    )  # fmt: skip


def reduce_data(platform: str, edge: str) -> Refusal:
    """More than the platform answers at once."""
    return Refusal(
        platform, "reduce_data", "singer-io/tap-facebook issue 65; facebookarchive/php-graph-sdk issue 563", About.SIZE,
        ("too_much",), "asks in halves, keeps the size that was answered, and grows it again slowly", 500,
        {"error": {"code": 1,
                   "message": "Please reduce the amount of data you're asking for, then retry your request"}},
        more_than=2, is_whole=True,
        example=f"/v25.0/{{account}}/{edge}?fields=id&limit=25",
    )  # fmt: skip


def unfinished(platform: str) -> Refusal:
    """A part of a batch that did not finish."""
    return Refusal(
        platform, "unfinished_part", "Meta docs, Batch requests", About.TARGET,
        ("platform_unavailable", "too_much", "ok"), "asks for the post again; the other parts count", 200, None,
        effect=Effect.UNFINISHED,
    )  # fmt: skip


def without_insights(body: Any, _: str) -> Any:
    """As for a token that may not read insights: they are there, and empty."""
    if isinstance(body, dict) and "insights" in body:
        return {**body, "insights": {"data": []}}
    return {"data": []} if isinstance(body, dict) and isinstance(body.get("data"), list) else body
