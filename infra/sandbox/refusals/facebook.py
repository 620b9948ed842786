"""How Facebook pages refuse.

Source: Meta "Page Insights", "Handling errors", "Batch requests"; issues as named.
"""

from __future__ import annotations

from infra.sandbox.refusals._meta import (
    ERRORS,
    LIMITS,
    error,
    limits,
    multiple_ids,
    outages,
    reduce_data,
    single_posts,
    tokens,
    unfinished,
    usage,
    without_insights,
)
from infra.sandbox.refusals.row import About, Effect, Refusal

_POST = r"/[0-9]+_[0-9]+(/insights)?$"
_PAGE_INSIGHTS = r"/(me|[0-9]+)/insights$"
_DOES_NOT_EXIST = (
    "Unsupported get request. Object with ID '{target}' does not exist, cannot be loaded due to missing permissions, "
    "or does not support this operation. Please read the Graph API documentation at "
    "https://developers.facebook.com/docs/graph-api"
)


def _node(name: str, field: str, node: str) -> Refusal:
    return Refusal(
        "facebook", name, "gitroomhq/postiz-app pull 1669; trypostit/trypost pull 320", About.TARGET,
        ("request_wrong", "metric_not_offered"), "asks for the post as what it is; the others are read all the same",
        400, error(f"(#100) Tried accessing nonexisting field ({field}) on node type ({node})", 100), names=(field,),
    )  # fmt: skip


ROWS = (
    multiple_ids("facebook"),
    Refusal(
        "facebook",
        "reads_user_content",
        "Meta docs, Page post; Permissions reference",
        About.METRIC,
        ("metric_forbidden", "permission_missing"),
        "asks for the insights alone; reactions and comments then come from their metrics",
        400,
        error(
            "(#10) This endpoint requires the 'pages_read_user_content' permission or the 'Page Public Content "
            "Access' feature. Refer to https://developers.facebook.com/docs/apps/review/login-permissions",
            10,
        ),
        names=("reactions", "comments"),
    ),
    _node("video_node", "insights", "Video"),
    _node("photo_node", "shares", "Photo"),
    Refusal(
        "facebook",
        "object_missing",
        "Meta developer community, deleted page posts",
        About.TARGET,
        ("target_gone",),
        "takes the post for gone once this was said over a day",
        400,
        error(
            "(#10) Object does not exist, cannot be loaded due to missing permission or reviewable feature, or does "
            "not support this operation",
            10,
        ),
        path=_POST,
    ),
    Refusal(
        "facebook",
        "post_gone",
        ERRORS,
        About.TARGET,
        ("target_gone",),
        "takes the post for gone once this was said over a day",
        400,
        error(_DOES_NOT_EXIST, 100, 33, "GraphMethodException"),
    ),
    Refusal(
        "facebook",
        "alias_missing",
        "martey/facebook-sdk issue 315",
        About.TARGET,
        ("target_gone",),
        "takes the post for gone once this was said over a day",
        404,
        error("(#803) Some of the aliases you requested do not exist: {target}", 803),
    ),
    Refusal(
        "facebook",
        "retired_metric",
        "looker-open-source/actions; a probe of Graph v25.0",
        About.METRIC,
        ("request_wrong",),
        "finds the metric by halves and leaves it out",
        400,
        error("(#100) The value must be a valid insights metric", 100),
        names=("post_clicks",),
        path=_POST,
    ),
    Refusal(
        "facebook",
        "retired_page_metric",
        "Meta docs, Page Insights; a probe of Graph v25.0",
        About.METRIC,
        ("request_wrong",),
        "finds the metric by halves and leaves it out",
        400,
        error("(#100) The value must be a valid insights metric", 100),
        names=("page_views_total",),
        path=_PAGE_INSIGHTS,
    ),
    Refusal(
        "facebook",
        "user_token",
        "Meta docs, New Pages Experience, 2069032",
        About.TOKEN,
        ("permission_missing", "token_expired", "token_revoked", "request_wrong"),
        "says that a page token is needed, and exchanges the user token where it can",
        400,
        error(
            "(#190) This method must be called with a Page Access Token",
            190,
            2069032,
            error_user_title="User Access Token Is Not Supported",
            error_user_msg="A Page access token is required for this call for the new Pages experience.",
        ),
    ),
    Refusal(
        "facebook",
        "proof_missing",
        "Yoctol/bottender issue 271",
        About.TOKEN,
        ("permission_missing", "request_wrong"),
        "says that the app's secret is needed, and asks at the regular times",
        400,
        error("API calls from the server require an appsecret_proof argument", 100, None, "GraphMethodException"),
    ),
    Refusal(
        "facebook",
        "engagement_scope",
        "Meta docs, Permissions reference",
        About.TOKEN,
        ("permission_missing",),
        "asks at the regular times only; the scope pages_read_engagement is missing",
        403,
        error("(#200) Requires pages_read_engagement permission to manage the object", 200),
    ),
    Refusal(
        "facebook",
        "insights_scope",
        "Meta docs, Page Insights",
        About.METRIC,
        ("ok",),
        "reads what is there; insights stay null until the scope read_insights is given",
        200,
        None,
        names=("insights",),
        effect=Effect.ALTER,
        alter=without_insights,
    ),
    unfinished("facebook"),
    *tokens("facebook"),
    *limits("facebook"),
    Refusal(
        "facebook",
        "page_limit_32",
        LIMITS,
        About.LIMIT,
        ("rate_limited",),
        "waits, longer each time",
        400,
        error("(#32) Page request limit reached", 32),
    ),
    Refusal(
        "facebook",
        "page_limit",
        LIMITS,
        About.LIMIT,
        ("rate_limited",),
        "waits for as long as the header says",
        400,
        error(
            "(#80001) There have been too many calls to this Page account. Wait a bit and try again.", 80001, 2446079
        ),
        {"x-business-use-case-usage": usage("pages", 15)},
        reset="in_15_minutes",
    ),
    reduce_data("facebook", "posts"),
    *single_posts("facebook"),
    *outages("facebook"),
)
