"""How Instagram refuses.

Source: Meta "Instagram Media Insights", "Handling errors"; issues as named.
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
    usage,
    without_insights,
)
from infra.sandbox.refusals.row import About, Effect, Refusal

_VALID = (
    "impressions, reach, replies, likes, comments, shares, total_interactions, follows, profile_visits, "
    "profile_activity, navigation, ig_reels_video_view_total_time, ig_reels_avg_watch_time, views, reels_skip_rate, "
    "reposts, facebook_views, crossposted_views"
)
_WITHOUT = "leaves the metric out and asks for the others again"
_MEDIA = "airbytehq/airbyte source-instagram, unit_tests"


def _metric(name: str, source: str, message: str, outcomes: tuple[str, ...], does: str = _WITHOUT) -> Refusal:
    return Refusal(
        "instagram", name, source, About.METRIC, outcomes, does, 400, error(message, 100), names=("saved",),
    )  # fmt: skip


ROWS = (
    multiple_ids("instagram"),
    Refusal(
        "instagram", "wrong_host", "Meta docs, Instagram API with Instagram Login", About.TOKEN,
        ("token_expired", "token_revoked"), "asks the host that the token's login belongs to", 400,
        error("Invalid OAuth access token - Cannot parse access token", 190),
    ),
    _metric(
        "metric_by_place", "janu-software/facebook-php-sdk issue 17; trypostit/trypost pull 319",
        "(#100) metric[{position}] must be one of the following values: " + _VALID, ("request_wrong",),
    ),
    _metric(
        "metric_retired", "gitroomhq/postiz-app issues 622 and 623",
        "(#100) Starting from version v22.0 and above, the {metric} metric is no longer supported for the queried "
        "media. Please refer to the documentation for a list of supported metrics.",
        ("request_wrong", "metric_not_offered"),
    ),
    _metric(
        "metric_unsupported", "Meta developer community, retired metrics",
        "(#100) The metric {metric} is not supported for this media.", ("request_wrong", "metric_not_offered"),
    ),
    _metric(
        "metric_of_other_product", "airbytehq/airbyte pull 62902",
        "(#100) The Media Insights API does not support the {metric} metric for this media product type.",
        ("metric_not_offered",),
    ),
    _metric(
        "invalid_parameter", _MEDIA, "Invalid parameter", ("request_wrong",),
        "finds the metric by halves and leaves it out",
    ),
    reduce_data("instagram", "media"),
    Refusal(
        "instagram", "few_viewers", _MEDIA, About.TARGET, ("too_early",),
        "reads likes and comments; the insights are asked for again at the regular times", 400,
        error("(#10) Not enough viewers for the media to show insights", 10), names=("insights",),
    ),
    Refusal(
        "instagram", "insights_scope", "Meta docs, Instagram permissions", About.TOKEN,
        ("permission_missing", "metric_forbidden"),
        "asks at the regular times only; the scope of insights is missing", 403,
        error("(#10) Application does not have permission for this action", 10), names=("insights",),
    ),
    Refusal(
        "instagram", "before_business", _MEDIA, About.TARGET, ("no_data",),
        "asks for like and comment counts alone, for good", 400,
        error(
            "Invalid parameter", 100, 2108006, is_transient=False,
            error_user_title="Media posted before business account conversion",
            error_user_msg="The media was posted before the most recent time that the user's account was converted "
            "to a business account from a personal account.",
        ),
        names=("insights",), is_final=True,
    ),
    Refusal(
        "instagram", "media_gone", ERRORS, About.TARGET, ("target_gone",),
        "takes the post for gone once this was said over a day", 400,
        error(
            "Unsupported get request. Object with ID '{target}' does not exist, cannot be loaded due to missing "
            "permissions, or does not support this operation", 100, 33, "GraphMethodException",
        ),
    ),
    Refusal(
        "instagram", "no_figures_yet", "Meta docs, Instagram Media Insights", About.TARGET, ("ok",),
        "reads the counts that are there; missing data is unknown, never 0", 200, None, names=("insights",),
        effect=Effect.ALTER, alter=without_insights,
    ),
    Refusal(
        "instagram", "total_in_batch", "Meta docs, Instagram Media Insights, 2207086", About.METRIC, ("request_wrong",),
        "never asks for total_ metrics in a batch", 400,
        error("(#100) Total metrics can not be requested in a batch", 100, 2207086), names=("total_views",),
        example="/v25.0/{id}/insights?metric=reach,total_views",
    ),
    *tokens("instagram"),
    *limits("instagram"),
    Refusal(
        "instagram", "business_limit", LIMITS, About.LIMIT, ("rate_limited",), "waits for as long as the header says",
        400,
        error("(#80002) There have been too many calls to this Instagram account. Wait a bit and try again.", 80002,
              2446079),
        {"x-business-use-case-usage": usage("instagram", 15)}, reset="in_15_minutes",
    ),
    *single_posts("instagram"),
    *outages("instagram"),
)  # fmt: skip
