"""How Google Business Profile refuses.

Source: Business Profile Performance API reference; Google "Usage limits"; issues as named.
"""

from __future__ import annotations

from typing import Any

from infra.sandbox.refusals.row import HTML_404, HTML_502, About, Refusal

_REFERENCE = "Business Profile Performance API reference"
_QUOTA = (
    "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of service "
    "'businessprofileperformance.googleapis.com' for consumer 'project_number:100000000001'."
)


def _error(code: int, status: str, message: str, reason: str = "", **metadata: str) -> dict[str, Any]:
    found: dict[str, Any] = {"code": code, "message": message, "status": status}
    if reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        found["details"] = [{"@type": kind, "reason": reason, "domain": "googleapis.com", "metadata": metadata}]
    return {"error": found}


def _row(name: str, about: About, outcomes: tuple[str, ...], does: str, status: int, body: Any, **more: Any) -> Refusal:
    source = more.pop("source", _REFERENCE)
    return Refusal("google_business", name, source, about, outcomes, does, status, body, **more)


ROWS = (
    _row("unauthenticated", About.TOKEN, ("token_expired",), "renews the token, else pauses the channel", 401,
         _error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", "ACCESS_TOKEN_EXPIRED")),
    _row("location_unverified", About.TOKEN, ("permission_missing",),
         "asks at the regular times only; the location has to be verified", 403,
         _error(403, "PERMISSION_DENIED", "The caller does not have permission")),
    _row("service_disabled", About.TOKEN, ("permission_missing",),
         "asks at the regular times only; the API has to be enabled for the app's project", 403,
         _error(403, "PERMISSION_DENIED",
                "Business Profile Performance API has not been used in project 100000000001 before or it is disabled.",
                "SERVICE_DISABLED", service="businessprofileperformance.googleapis.com"),
         source="googleapis/google-api-php-client issue 2215; gitroomhq/postiz-app issue 1692"),
    _row("location_missing", About.TOKEN, ("target_gone", "permission_missing", "request_wrong"),
         "asks at the regular times only", 404, _error(404, "NOT_FOUND", "Requested entity was not found.")),
    _row("never_granted", About.LIMIT, ("permission_missing",),
         "says that access was never granted, and asks at the regular times only", 429,
         _error(429, "RESOURCE_EXHAUSTED", _QUOTA, "RATE_LIMIT_EXCEEDED", quota_limit_value="0",
                quota_limit="DefaultRequestsPerMinutePerProject"), source="brentadamson/dataconnector issue 52"),
    _row("per_minute", About.LIMIT, ("rate_limited",), "waits for a minute", 429,
         _error(429, "RESOURCE_EXHAUSTED", _QUOTA, "RATE_LIMIT_EXCEEDED", quota_limit_value="300",
                quota_limit="DefaultRequestsPerMinutePerProject", quota_unit="1/min/{project}"),
         source="Google, Business Profile usage limits"),
    _row("per_day", About.LIMIT, ("quota_exhausted",), "asks nothing more until midnight Pacific", 429,
         _error(429, "RESOURCE_EXHAUSTED", _QUOTA.replace("minute", "day"), "RATE_LIMIT_EXCEEDED",
                quota_limit_value="1000", quota_limit="DefaultRequestsPerDayPerProject", quota_unit="1/d/{project}"),
         reset="next_pacific_day", source="Google Cloud, Troubleshoot quota errors"),
    _row("unknown_metric", About.METRIC, ("request_wrong",), "finds the metric and leaves it out", 400,
         _error(400, "INVALID_ARGUMENT",
                "Invalid value at 'daily_metrics' (type.googleapis.com/google.mybusiness.businessprofileperformance.v1."
                "DailyMetric), \"{metric}\""), names=("CALL_CLICKS", "BUSINESS_CONVERSATIONS", "WEBSITE_CLICKS"),
         source="Google, Business Profile deprecation schedule"),
    _row("unavailable", About.HOST, ("platform_unavailable",), "backs off", 503,
         _error(503, "UNAVAILABLE", "The service is currently unavailable.")),
    _row("html_502", About.HOST, ("platform_unavailable",), "backs off", 502, HTML_502,
         source="public reports of pages of a proxy"),
    _row("html_404", About.HOST, ("platform_unavailable", "request_wrong"), "backs off", 404, HTML_404,
         source="a host that is not the API's"),
)  # fmt: skip
