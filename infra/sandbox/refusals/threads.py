"""How Threads refuses.

Source: Meta "Threads Insights", "Threads API troubleshooting"; fbsamples/threads_api.
"""

from __future__ import annotations

from typing import Any

from infra.sandbox.refusals._meta import error, limits, outages, single_posts, tokens
from infra.sandbox.refusals.row import About, Effect, Refusal

_TROUBLES = "Meta docs, Threads API troubleshooting"
_INSIGHTS = r"/[0-9]+/insights$"


def _empty(body: Any, _: str) -> Any:
    return {**body, "data": []} if isinstance(body, dict) and "data" in body else body


ROWS = (
    Refusal(
        "threads", "media_gone", _TROUBLES, About.TARGET, ("target_gone",),
        "takes the post for gone once this was said over a day", 400,
        error(
            "Unsupported get request. Object with ID '{target}' does not exist, cannot be loaded due to missing "
            "permissions, or does not support this operation", 100, 33, "THApiException",
        ),
        path=_INSIGHTS,
    ),
    Refusal(
        "threads", "insights_scope", _TROUBLES, About.TOKEN, ("permission_missing",),
        "asks at the regular times only; the scope threads_manage_insights is missing", 403,
        error("(#10) Application does not have permission for this action", 10, kind="THApiException"),
        path=r"insights$",
    ),
    Refusal(
        "threads", "retired_metric", "Meta docs, Threads Insights", About.METRIC, ("request_wrong",),
        "leaves the metric out and asks for the others again", 400,
        error(
            "(#100) metric[{position}] must be one of the following values: views, likes, replies, reposts, quotes",
            100, kind="THApiException",
        ),
        names=("shares",), path=_INSIGHTS,
    ),
    Refusal(
        "threads", "repost_facade", "Meta docs, Threads Insights", About.TARGET, ("ok",),
        "reads nothing of it: a repost has no figures of its own", 200, None, path=_INSIGHTS, effect=Effect.ALTER,
        alter=_empty,
    ),
    Refusal(
        "threads", "few_followers", "Meta docs, Threads Insights", About.METRIC,
        ("permission_missing", "request_wrong"),
        "doesn't ask for demographics by default", 400,
        error("(#10) User must have at least 100 followers for this metric", 10, kind="THApiException"),
        names=("follower_demographics",), path=r"threads_insights$",
        example="/v1.0/{account}/threads_insights?metric=follower_demographics&breakdown=age",
    ),
    *tokens("threads"),
    *limits("threads"),
    *single_posts("threads"),
    *outages("threads"),
)  # fmt: skip
