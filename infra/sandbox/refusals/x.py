"""How X refuses.

Source: xdevplatform/docs `x-api/fundamentals/response-codes-and-errors.mdx` and `rate-limits.mdx`; issues as named.
"""

from __future__ import annotations

from typing import Any

from infra.sandbox.refusals._failing import failing_posts
from infra.sandbox.refusals.row import HTML_404, HTML_502, About, Alter, Effect, Refusal

_DOCUMENTS = "X docs, Response codes and errors"
_PROBLEMS = "https://api.twitter.com/2/problems/"
_POSTS = r"^/2/tweets$"


def _problem(kind: str, title: str, detail: str, **more: Any) -> dict[str, Any]:
    return {"title": title, "detail": detail, "type": kind if kind == "about:blank" else _PROBLEMS + kind, **more}


def _with_error(kind: str, title: str, detail: str, **more: Any) -> Alter:
    """Adds one error to the list of an answer that has others."""

    def altered(body: Any, external_id: str) -> Any:
        error = {
            "value": external_id,
            **_problem(kind, title, detail.replace("{target}", external_id)),
            "resource_type": "tweet",
            "parameter": "ids",
            "resource_id": external_id,
            **more,
        }
        return {**body, "errors": [*body.get("errors", []), error]}

    return altered


def _limited(name: str, source: str, does: str, **more: Any) -> Refusal:
    return Refusal("x", name, source, About.LIMIT, status=429, does=does, **more)


_WINDOW = {
    "x-rate-limit-limit": "5000",
    "x-rate-limit-remaining": "0",
    "x-rate-limit-reset": "{in_15_minutes}",
}
_HEALTHY_WINDOW = {
    "x-rate-limit-limit": "40000",
    "x-rate-limit-remaining": "39997",
    "x-rate-limit-reset": "{in_15_minutes}",
}
_TOO_MANY = _problem("about:blank", "Too Many Requests", "Too Many Requests", status=429)

ROWS = (
    Refusal(
        "x",
        "malformed_id",
        "abraham/twitteroauth issue 1028",
        About.TARGET,
        ("request_wrong", "target_refused"),
        "leaves out the post that the body names, and asks for the others again",
        body={
            "errors": [
                {
                    "parameters": {"ids": ["{ids}"]},
                    "message": "The `ids` query parameter value [{target}] is not valid",
                }
            ],
            **_problem("invalid-request", "Invalid Request", "One or more parameters to your request was invalid."),
        },
        path=_POSTS,
    ),
    Refusal(
        "x",
        "deleted_post",
        _DOCUMENTS,
        About.TARGET,
        ("target_gone", "ok"),
        "takes the post for gone once this was said over a day",
        200,
        path=_POSTS,
        effect=Effect.LEAVE_OUT,
        alone={},
        alter=_with_error("resource-not-found", "Not Found Error", "Could not find tweet with ids: [{target}]."),
    ),
    Refusal(
        "x",
        "protected_post",
        _DOCUMENTS,
        About.TARGET,
        ("target_gone", "permission_missing", "ok"),
        "takes the post for inaccessible once this was said over a day",
        200,
        path=_POSTS,
        effect=Effect.LEAVE_OUT,
        alone={},
        alter=_with_error(
            "not-authorized-for-resource",
            "Authorization Error",
            "Sorry, you are not authorized to see the Tweet with ids: [{target}].",
            section="data",
        ),
    ),
    Refusal(
        "x",
        "private_figures",
        "X docs, Metrics; xdevplatform/xdk issue 25",
        About.TARGET,
        ("metric_forbidden", "permission_missing", "ok"),
        "asks for the post's public figures alone",
        200,
        path=_POSTS,
        names=("non_public_metrics", "organic_metrics"),
        effect=Effect.LEAVE_OUT,
        alone={},
        alter=_with_error(
            "not-authorized-for-field",
            "Field Authorization Error",
            "Sorry, you are not authorized to access 'non_public_metrics.url_link_clicks' on the Tweet with ids : "
            "[{target}].",
            section="data",
            field="non_public_metrics.url_link_clicks",
        ),
    ),
    Refusal(
        "x",
        "unauthorized",
        _DOCUMENTS,
        About.TOKEN,
        ("token_expired",),
        "renews the token, else pauses the channel",
        401,
        _problem("about:blank", "Unauthorized", "Unauthorized", status=401),
    ),
    Refusal(
        "x",
        "client_not_enrolled",
        "plhery/node-twitter-api-v2 issue 432",
        About.TOKEN,
        ("permission_missing",),
        "asks at the regular times only; the app has to be attached to a project",
        403,
        _problem(
            "client-forbidden",
            "Client Forbidden",
            "When authenticating requests to the Twitter API v2 endpoints, you must use keys and tokens from a Twitter "
            "developer App that is attached to a Project.",
            reason="client-not-enrolled",
            registration_url="https://developer.twitter.com/en/docs/projects/overview",
            client_id="12345678",
            required_enrollment="Appropriate Level of API Access",
        ),
    ),
    Refusal(
        "x",
        "user_not_enrolled",
        _DOCUMENTS,
        About.TOKEN,
        ("permission_missing",),
        "asks at the regular times only",
        403,
        _problem("client-forbidden", "Client Forbidden", "This user is not enrolled.", reason="user-not-enrolled"),
    ),
    Refusal(
        "x",
        "suspended",
        "X docs, Error codes 64",
        About.TOKEN,
        ("account_disabled",),
        "pauses the channel",
        403,
        {"errors": [{"code": 64, "message": "Your account is suspended and is not permitted to access this feature."}]},
    ),
    _limited(
        "window",
        "X docs, Rate limits",
        "waits for the window's end, which the headers tell",
        body=_TOO_MANY,
        headers=_WINDOW,
        outcomes=("rate_limited",),
        reset="in_15_minutes",
    ),
    _limited(
        "window_code_88",
        "X docs, Rate limits",
        "waits for the window's end",
        headers=_WINDOW,
        body={"errors": [{"code": 88, "message": "Rate limit exceeded"}]},
        outcomes=("rate_limited",),
        reset="in_15_minutes",
    ),
    _limited(
        "app_day",
        "X docs, Rate limits; x-app-limit-24hour headers",
        "waits for the 24 hours' end, which other headers tell than those of the window",
        body=_TOO_MANY,
        outcomes=("quota_exhausted", "rate_limited"),
        headers={
            **_HEALTHY_WINDOW,
            "x-app-limit-24hour-limit": "17",
            "x-app-limit-24hour-remaining": "0",
            "x-app-limit-24hour-reset": "{next_utc_day}",
        },
        reset="next_utc_day",
    ),
    _limited(
        "user_day",
        "plhery/node-twitter-api-v2 issues on 24-hour limits",
        "as `app_day`, for the one account",
        body=_TOO_MANY,
        outcomes=("quota_exhausted", "rate_limited"),
        headers={
            **_HEALTHY_WINDOW,
            "x-user-limit-24hour-limit": "100",
            "x-user-limit-24hour-remaining": "0",
            "x-user-limit-24hour-reset": "{next_utc_day}",
        },
        reset="next_utc_day",
    ),
    _limited(
        "usage_capped",
        _DOCUMENTS,
        "asks nothing more until the billing period turns",
        body=_problem(
            "usage-capped",
            "UsageCapExceeded",
            "Usage cap exceeded: Monthly product cap",
            account_id=1,
            product_name="standard-basic",
            period="Monthly",
            scope="Product",
        ),
        outcomes=("quota_exhausted",),
    ),
    Refusal(
        "x",
        "no_credit",
        "X developer community, credits depleted",
        About.LIMIT,
        ("quota_exhausted",),
        "asks nothing more until the credit may be renewed",
        402,
        _problem(
            "credits", "CreditsDepleted", "Your enrolled account does not have any credits to fulfill this request."
        ),
    ),
    Refusal(
        "x",
        "over_capacity",
        _DOCUMENTS,
        About.HOST,
        ("platform_unavailable",),
        "backs off",
        503,
        _problem("about:blank", "Service Unavailable", "Service Unavailable", status=503),
    ),
    *failing_posts("x", 503, _problem("about:blank", "Service Unavailable", "Service Unavailable", status=503)),
    Refusal(
        "x",
        "html_502",
        "public reports of pages of a proxy",
        About.HOST,
        ("platform_unavailable",),
        "backs off",
        502,
        HTML_502,
    ),
    Refusal(
        "x",
        "html_404",
        "a host that is not the API's",
        About.HOST,
        ("platform_unavailable", "request_wrong"),
        "backs off; no post is taken for gone",
        404,
        HTML_404,
    ),
    Refusal(
        "x",
        "refresh_refused",
        "X docs, OAuth 2.0",
        About.TOKEN,
        ("token_expired", "token_revoked"),
        "pauses the channel; the person has to connect it again",
        400,
        {"error": "invalid_request", "error_description": "Value passed for the token was invalid."},
        is_of_tokens=True,
    ),
)
