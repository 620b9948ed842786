"""How YouTube refuses.

Source: YouTube Data API reference "Errors"; issues as named.
"""

from __future__ import annotations

from typing import Any

from infra.sandbox.refusals._failing import failing_posts
from infra.sandbox.refusals.row import HTML_404, HTML_502, About, Effect, Refusal

_ERRORS = "YouTube Data API, Errors"
_VIDEOS = r"/videos(:batchGetStats)?$"
_REPORTS = r"^/v2/reports$"
_QUOTA = (
    "The request cannot be completed because you have exceeded your "
    '<a href="/youtube/v3/getting-started#quota">quota</a>.'
)
_PER_DAY = (
    "Quota exceeded for quota metric 'Queries' and limit 'Queries per day' of service 'youtube.googleapis.com' for "
    "consumer 'project_number:100000000001'."
)
_PER_MINUTE = (
    "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service "
    "'youtube.googleapis.com' for consumer 'project_number:100000000001'."
)


def _error(code: int, reason: str, message: str, domain: str = "global", **more: Any) -> dict[str, Any]:
    errors = [{"message": message, "domain": domain, "reason": reason}]
    return {"error": {"code": code, "message": message, "errors": errors, **more}}


def _limit_details(limit: str, value: str, unit: str) -> list[dict[str, Any]]:
    return [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMIT_EXCEEDED",
            "domain": "googleapis.com",
            "metadata": {
                "service": "youtube.googleapis.com", "quota_metric": "youtube.googleapis.com/default",
                "quota_limit": limit, "quota_limit_value": value, "quota_unit": unit, "quota_location": "global",
                "consumer": "projects/100000000001",
            },
        }
    ]  # fmt: skip


def _row(name: str, about: About, outcomes: tuple[str, ...], does: str, status: int, body: Any, **more: Any) -> Refusal:
    source = more.pop("source", _ERRORS)
    return Refusal("youtube", name, source, about, outcomes, does, status, body, **more)


_UNTIL_MIDNIGHT = "asks nothing more until midnight Pacific"

ROWS = (
    _row("quota_exceeded", About.LIMIT, ("quota_exhausted",), _UNTIL_MIDNIGHT, 403,
         _error(403, "quotaExceeded", _QUOTA, "youtube.quota"), reset="next_pacific_day"),
    _row("daily_limit", About.LIMIT, ("quota_exhausted",), _UNTIL_MIDNIGHT, 403,
         _error(403, "dailyLimitExceeded",
                "Daily Limit Exceeded. The quota will be reset at midnight Pacific Time (PT).", "usageLimits"),
         source="google/site-kit-wp issue 766", reset="next_pacific_day"),
    _row("day_in_429", About.LIMIT, ("quota_exhausted",), _UNTIL_MIDNIGHT, 429,
         _error(429, "rateLimitExceeded", _PER_DAY, status="RESOURCE_EXHAUSTED",
                details=_limit_details("defaultPerDayPerProject", "10000", "1/d/{project}")),
         source="googleapis/google-api-python-client issue 2753; fqscfqj/Y2A-Auto issue 124",
         reset="next_pacific_day"),
    _row("minute_in_429", About.LIMIT, ("rate_limited",), "waits for a minute", 429,
         _error(429, "rateLimitExceeded", _PER_MINUTE, status="RESOURCE_EXHAUSTED",
                details=_limit_details("defaultPerMinutePerUser", "1800", "1/min/{project}/{user}"))),
    _row("user_rate", About.LIMIT, ("rate_limited",), "waits, longer each time", 403,
         _error(403, "userRateLimitExceeded", "User Rate Limit Exceeded", "usageLimits")),
    _row("invalid_credentials", About.TOKEN, ("token_expired",), "renews the token, else pauses the channel", 401,
         _error(401, "authError", "Invalid Credentials", status="UNAUTHENTICATED")),
    _row("insufficient_scopes", About.TOKEN, ("permission_missing",),
         "asks at the regular times only; the scope youtube.readonly is missing", 403,
         _error(403, "insufficientPermissions", "Request had insufficient authentication scopes.",
                status="PERMISSION_DENIED")),
    _row("reports_forbidden", About.SHAPE, ("permission_missing",),
         "reads the Data API all the same; the scope yt-analytics.readonly is missing", 403,
         _error(403, "forbidden", "Forbidden", status="PERMISSION_DENIED"), path=_REPORTS),
    _row("account_suspended", About.TOKEN, ("account_disabled",), "pauses the channel", 403,
         _error(403, "accountSuspended", "The account of the authenticated user is suspended.", "youtube.header",
                status="PERMISSION_DENIED")),
    _row("video_left_out", About.TARGET, ("ok",),
         "reads the others; takes the video for gone once it was left out over a day", 200, None, path=_VIDEOS,
         effect=Effect.LEAVE_OUT, alone={"kind": "youtube#videoListResponse", "items": []},
         source="sns-sdks/python-youtube testdata"),
    _row("report_unsupported", About.METRIC, ("request_wrong",),
         "asks for thumbnail impressions apart, so that a refusal costs nothing else", 400,
         _error(400, "badRequest",
                "The query is not supported. Check the documentation for supported queries.",
                status="INVALID_ARGUMENT"),
         path=_REPORTS, names=("videoThumbnailImpressions",), source="YouTube Analytics, Metrics",
         example="/v2/reports?ids=channel==MINE&startDate=2026-09-01&endDate=2026-09-02"
         "&metrics=views,videoThumbnailImpressions&dimensions=day"),
    *failing_posts("youtube", 500, _error(500, "backendError", "Backend Error", status="INTERNAL")),
    _row("backend_error", About.HOST, ("platform_unavailable",), "backs off", 503,
         _error(503, "backendError", "Backend Error", status="UNAVAILABLE")),
    _row("html_502", About.HOST, ("platform_unavailable",), "backs off", 502, HTML_502,
         source="public reports of pages of a proxy"),
    _row("html_404", About.HOST, ("platform_unavailable", "request_wrong"),
         "backs off; no video is taken for gone", 404, HTML_404, source="a host that is not the API's"),
    _row("refresh_refused", About.TOKEN, ("token_expired", "token_revoked"),
         "pauses the channel; the person has to connect it again", 400,
         {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}, is_of_tokens=True,
         source="Google OAuth 2.0, refreshing tokens"),
)  # fmt: skip
