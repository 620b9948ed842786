"""How LinkedIn refuses.

Source: Microsoft Learn "Organization Share Statistics", "Member Creator Post Statistics", "Social Metadata API", "Rate
limits", "Error handling"; issues as named.
"""

from __future__ import annotations

from typing import Any

from infra.sandbox.refusals._failing import failing_posts
from infra.sandbox.refusals.row import HTML_404, HTML_502, About, Effect, Refusal

_ERRORS = "Microsoft Learn, LinkedIn error handling"
_LIMITS = "Microsoft Learn, LinkedIn rate limiting"
_SHARES = r"^/rest/organizationalEntityShareStatistics$"


def _error(status: int, code: str, message: str, service: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"status": status, "code": code, "message": message}
    if service is not None:
        found["serviceErrorCode"] = service
    return found


def _denied(name: str, source: str, does: str, resource: str, path: str, about: About, **more: Any) -> Refusal:
    message = f"Not enough permissions to access: {resource}"
    return Refusal(
        "linkedin", name, source, about, ("permission_missing",), does, 403,
        _error(403, "ACCESS_DENIED", message, 100), path=path, **more,
    )  # fmt: skip


def _token(name: str, code: str, message: str, service: int, outcomes: tuple[str, ...]) -> Refusal:
    does = "renews the token where the app may, else pauses the channel; the person has to connect it again"
    return Refusal("linkedin", name, _ERRORS, About.TOKEN, outcomes, does, 401, _error(401, code, message, service))


def _throttled(name: str, level: str) -> Refusal:
    message = f"Resource level throttle {level} DAY limit for calls to this resource is reached."
    return Refusal(
        "linkedin", name, _LIMITS, About.LIMIT, ("quota_exhausted",),
        "asks nothing more of the resource until midnight UTC", 429,
        _error(429, "TOO_MANY_REQUESTS", message, 101), reset="next_utc_day",
    )  # fmt: skip


ROWS = (
    Refusal(
        "linkedin", "version_retired", "Microsoft Learn, LinkedIn versioning; n8n-io/n8n issue 14737", About.SHAPE,
        ("request_wrong",), "says so: a newer LinkedIn-Version has to be set", 426,
        _error(426, "NONEXISTENT_VERSION", "Requested version 20240101 is not active"), path=r"^/rest/",
    ),
    _denied(
        "foreign_post", "Microsoft Q&A 1151813", "finds the post by halves; the others are read all the same",
        "organizationalEntityShareStatistics.FINDER-organizationalEntity.20260601", _SHARES, About.TARGET,
    ),
    Refusal(
        "linkedin", "post_left_out", "Microsoft Learn, Organization Share Statistics", About.TARGET, ("ok",),
        "reads the others; a post that is left out is unknown, not 0", 200, path=_SHARES, effect=Effect.LEAVE_OUT,
        alone={"paging": {"start": 0, "count": 10, "links": []}, "elements": []},
    ),
    Refusal(
        "linkedin", "share_deleted", "Microsoft Learn, Social Metadata API", About.TARGET, ("target_gone",),
        "takes the post for gone once this was said over a day", 404,
        _error(404, "NOT_FOUND", "Could not find entity"), path=r"^/rest/socialMetadata/",
        example="/rest/socialMetadata/{id}",
    ),
    _token("token_empty", "EMPTY_ACCESS_TOKEN", "Empty oauth2 access token", 65600,
           ("token_expired", "token_revoked")),
    _token("token_revoked", "REVOKED_ACCESS_TOKEN", "The token used in the request has been revoked by the user",
           65601, ("token_revoked",)),
    _token("token_expired", "EXPIRED_ACCESS_TOKEN", "The token used in the request has expired", 65602,
           ("token_expired",)),
    _throttled("app_day", "APPLICATION"),
    _throttled("member_day", "MEMBER"),
    Refusal(
        "linkedin", "throttled", _LIMITS, About.LIMIT, ("rate_limited", "quota_exhausted"), "waits, longer each time",
        429, _error(429, "TOO_MANY_REQUESTS", "Throttle limit for calls to this resource is reached.", 101),
    ),
    _denied(
        "no_admin_role", "Microsoft Q&A 1331917", "asks at the regular times only; the member has to be an "
        "administrator of the page", "organizationalEntityShareStatistics.FINDER-organizationalEntity.20260601",
        _SHARES, About.TOKEN,
    ),
    _denied(
        "no_sign_in_product", "hybridauth/hybridauth issue 1020", "proves the token by another call", "GET /userinfo",
        r"^/v2/userinfo$", About.SHAPE, example="/v2/userinfo",
    ),
    _denied(
        "no_social_scope", "Microsoft Learn, Community Management permissions",
        "reads the rest; reactions and videos need r_organization_social", "socialMetadata.BATCH_GET.20260601",
        r"^/rest/(socialMetadata|videoAnalytics)", About.SHAPE, example="/rest/socialMetadata?ids=List({id})",
    ),
    _denied(
        "no_list_of_posts", "Microsoft Learn, Posts API, Permissions", "finds no posts of the account; its list needs "
        "r_organization_social", "posts.FINDER-author.20260601", r"^/rest/posts$", About.SHAPE,
        example="/rest/posts?author={account}&q=author",
    ),
    Refusal(
        "linkedin", "uri_too_long", "Microsoft Learn, URL limits of List()", About.SIZE, ("too_much",),
        "asks in halves and keeps the size that was answered", 414,
        "<html><head><title>414 Request-URI Too Large</title></head><body><h1>414 Request-URI Too Large</h1></body>"
        "</html>\n",
        more_than=2, path=_SHARES,
    ),
    Refusal(
        "linkedin", "server_error", _ERRORS, About.HOST, ("platform_unavailable",), "backs off", 500,
        _error(500, "INTERNAL_SERVER_ERROR", "Internal Server Error"),
    ),
    *failing_posts("linkedin", 500, _error(500, "INTERNAL_SERVER_ERROR", "Internal Server Error")),
    Refusal(
        "linkedin", "not_found_in_json", _ERRORS, About.TARGET, ("request_wrong",),
        "finds the post by halves; a bare 404 says nothing of any post", 404, {"status": 404, "message": "Not Found"},
    ),
    Refusal("linkedin", "html_502", "public reports of pages of a proxy", About.HOST, ("platform_unavailable",),
            "backs off", 502, HTML_502),
    Refusal("linkedin", "html_404", "a host that is not the API's", About.HOST,
            ("platform_unavailable", "request_wrong"), "backs off; no post is taken for gone", 404, HTML_404),
    Refusal(
        "linkedin", "refresh_refused", "Microsoft Learn, Programmatic refresh tokens", About.TOKEN,
        ("token_expired", "token_revoked"), "pauses the channel; the person has to connect it again", 400,
        {"error": "invalid_request",
         "error_description": "The provided authorization grant or refresh token is invalid, expired or revoked."},
        is_of_tokens=True,
    ),
)  # fmt: skip
