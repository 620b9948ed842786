"""How TikTok refuses.

Source: TikTok for Developers "API error codes"; issues as named.
"""

from __future__ import annotations

from typing import Any

from infra.sandbox.refusals._failing import failing_posts
from infra.sandbox.refusals.row import HTML_404, HTML_502, About, Effect, Refusal

_CODES = "TikTok for Developers, API error codes"
_QUERY = r"^/v2/video/query/?$"


def _error(code: str, message: str) -> dict[str, Any]:
    return {"data": {}, "error": {"code": code, "message": message, "log_id": "202611290400000A1B2C3D4E5F60718293"}}


def _row(name: str, about: About, outcomes: tuple[str, ...], does: str, status: int, body: Any, **more: Any) -> Refusal:
    source = more.pop("source", _CODES)
    return Refusal("tiktok", name, source, about, outcomes, does, status, body, **more)


ROWS = (
    _row("token_invalid", About.TOKEN, ("token_expired",), "renews the token, else pauses the channel", 401,
         _error("access_token_invalid", "The access token is invalid or not found in the request.")),
    _row("scope_not_authorized", About.TOKEN, ("permission_missing",),
         "asks at the regular times only; the scopes video.list and user.info.stats are missing", 401,
         _error("scope_not_authorized", "The user did not authorize the scope required for completing this request."),
         source="SocialiteProviders/Providers issue 1198"),
    _row("scope_missed", About.TOKEN, ("permission_missing",), "asks at the regular times only", 400,
         _error("scope_permission_missed", "The scope required is missing for the access token.")),
    _row("stats_scope", About.SHAPE, ("permission_missing",),
         "reads the videos all the same; the scope user.info.stats is missing", 401,
         _error("scope_not_authorized", "The user did not authorize the scope required for completing this request."),
         path=r"^/v2/user/info/?$"),
    _row("invalid_id", About.TARGET, ("request_wrong", "target_refused"),
         "finds the video by halves and leaves it out; the others are read", 400,
         _error("invalid_params", "Invalid video_ids in the request."), path=_QUERY),
    _row("video_left_out", About.TARGET, ("ok",),
         "reads the others; takes the video for gone once it was left out over a day", 200, None, path=_QUERY,
         effect=Effect.LEAVE_OUT, alone={"data": {"videos": []}, "error": {"code": "ok", "message": "", "log_id": "A"}},
         source="TikTok for Developers, Query Videos"),
    _row("rate_limit", About.LIMIT, ("rate_limited",), "waits for a minute, longer each time", 429,
         _error("rate_limit_exceeded", "The API rate limit was exceeded. Please try again later.")),
    _row("failure_in_200", About.HOST, ("platform_unavailable",), "reads the code before the status, and backs off",
         200, _error("internal_error", "Something went wrong. Please try again later.")),
    *failing_posts("tiktok", 500, _error("internal_error", "Something went wrong.")),
    _row("internal_error", About.HOST, ("platform_unavailable",), "backs off", 500,
         _error("internal_error", "Something went wrong. Please try again later.")),
    _row("html_502", About.HOST, ("platform_unavailable",), "backs off", 502, HTML_502,
         source="public reports of pages of a proxy"),
    _row("html_404", About.HOST, ("platform_unavailable", "request_wrong"),
         "backs off; no video is taken for gone", 404, HTML_404, source="a host that is not the API's"),
    _row("refresh_refused", About.TOKEN, ("token_expired", "token_revoked"),
         "pauses the channel; the person has to connect it again", 400,
         {"error": "invalid_grant", "error_description": "Refresh token is invalid or expired.", "log_id": "A"},
         is_of_tokens=True, source="TikTok for Developers, Manage user access tokens"),
)  # fmt: skip
