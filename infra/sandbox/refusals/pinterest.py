"""How Pinterest refuses.

Source: pinterest/api-description `v5/openapi.json` 5.23.0; Pinterest docs "Rate limits".
"""

from __future__ import annotations

from typing import Any

from infra.sandbox.refusals._failing import failing_posts
from infra.sandbox.refusals.row import HTML_404, HTML_502, About, Refusal

_OPENAPI = "pinterest/api-description v5/openapi.json"
_PIN = r"^/v5/pins/[0-9]+(/analytics)?$"


def _row(name: str, about: About, outcomes: tuple[str, ...], does: str, status: int, body: Any, **more: Any) -> Refusal:
    source = more.pop("source", _OPENAPI)
    return Refusal("pinterest", name, source, about, outcomes, does, status, body, **more)


def _error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


ROWS = (
    _row("authentication_failed", About.TOKEN, ("token_expired",), "renews the token, else pauses the channel", 401,
         _error(2, "Authentication failed.")),
    _row("missing_scope", About.TOKEN, ("permission_missing",),
         "asks at the regular times only; the scopes pins:read and user_accounts:read are missing", 401,
         _error(3, "Your token does not have sufficient permissions to perform this operation.")),
    _row("foreign_pin", About.TARGET, ("permission_missing", "target_refused"),
         "reads the others; the pin is somebody else's", 403,
         _error(29, "You are not permitted to access that resource."), path=_PIN),
    _row("pin_gone", About.TARGET, ("target_gone",), "takes the pin for gone once this was said over a day", 404,
         _error(50, "Pin not found."), path=_PIN),
    _row("no_business_account", About.SHAPE, ("permission_missing",),
         "reads the pins all the same; analytics of the account need a business account", 403,
         _error(29, "You are not permitted to access that resource."), path=r"^/v5/user_account/analytics"),
    _row("rate_limit", About.LIMIT, ("rate_limited",), "waits for as long as the headers say", 429,
         _error(8, "This request exceeded a rate limit. Retry the request later."),
         headers={"x-ratelimit-limit": '100, 100;w=1;name="safety_net_app_id_user_id"', "x-ratelimit-remaining": "0",
                  "x-ratelimit-reset": "900"}, reset="in_15_minutes", source="Pinterest docs, Rate limits"),
    _row("trial_day", About.LIMIT, ("quota_exhausted", "rate_limited"), "asks nothing more until the day turns", 429,
         _error(8, "You have exceeded your rate limit. Try again later."),
         headers={"x-ratelimit-limit": '1000, 1000;w=86400;name="trial_app_id"', "x-ratelimit-remaining": "0",
                  "x-ratelimit-reset": "{seconds_to_utc_day}"}, reset="next_utc_day",
         source="Pinterest docs, Rate limits, trial access"),
    *failing_posts("pinterest", 500, _error(0, "Internal error.")),
    _row("unavailable", About.HOST, ("platform_unavailable",), "backs off", 503, _error(11, "Service unavailable.")),
    _row("html_502", About.HOST, ("platform_unavailable",), "backs off", 502, HTML_502,
         source="public reports of pages of a proxy"),
    _row("html_404", About.HOST, ("platform_unavailable", "request_wrong"), "backs off; no pin is taken for gone", 404,
         HTML_404, source="a host that is not the API's"),
    _row("refresh_refused", About.TOKEN, ("token_expired", "token_revoked"),
         "pauses the channel; the person has to connect it again", 401,
         _error(283, "Your refresh token is invalid or expired."), is_of_tokens=True,
         source="Pinterest docs, Authentication"),
)  # fmt: skip
