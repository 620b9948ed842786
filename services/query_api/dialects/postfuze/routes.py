"""PostFuze's endpoints: which question each asks."""

from __future__ import annotations

from services.query_api.dialects.postfuze.models import (
    ACCOUNT_SAMPLE,
    ACCOUNT_SCHEMA,
    DEFAULT_RANGE_DAYS,
    HEALTH_SAMPLE,
    HEALTH_SCHEMA,
    POST_SAMPLE,
    POST_SCHEMA,
)
from services.query_api.dialects.postfuze.render import account_health, account_metrics, post_analytics
from services.query_api.endpoint import Dialect, Parameter, Read, ReadRequest, path_id
from services.query_api.errors import Invalid
from services.query_api.reads.query import AccountHistoryQuestion, AccountQuestion, HealthQuestion, LivePostQuestion
from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.instants import EARLIEST, parse_instant


def post_question(request: ReadRequest) -> LivePostQuestion:
    """The post of the path."""
    return LivePostQuestion(request.workspace_id, path_id(request, "id"))


def account_question(request: ReadRequest) -> AccountQuestion | AccountHistoryQuestion:
    """The account of the path: as it stands, or over a range where one is named.

    Raises:
        Invalid: a bound is no time, or the range is empty.
    """
    since, until = request.query.get("since"), request.query.get("until")
    if since is None and until is None:
        return AccountQuestion(request.workspace_id, path_id(request, "id"))
    end = request.now if until is None else _instant("until", until)
    start = max(EARLIEST, end - DEFAULT_RANGE_DAYS * MILLIS_PER_DAY) if since is None else _instant("since", since)
    if start >= end:
        raise Invalid("since: must be before until.")
    return AccountHistoryQuestion(request.workspace_id, path_id(request, "id"), start, end)


def _instant(name: str, text: str) -> int:
    try:
        return parse_instant(text)
    except ValueError as error:
        raise Invalid(f"{name}: {error}.") from None


def health_question(request: ReadRequest) -> HealthQuestion:
    """The account of the path, now."""
    return HealthQuestion(request.workspace_id, path_id(request, "id"), request.now)


DIALECT = Dialect(
    name="postfuze",
    title="PostFuze",
    description="Figures of posts, and figures and health of social accounts.",
    reads=(
        Read(
            id="getPostfuzePostAnalytics",
            path="/api/v1/posts/{id}/analytics",
            summary="Post analytics",
            description="The figures of each published target, and their sums; asked of the platforms on request, with "
            "the last snapshot of a target where that fails.",
            compile=post_question,
            render=post_analytics,
            sample=POST_SAMPLE,
            schema=POST_SCHEMA,
        ),
        Read(
            id="getPostfuzeAccountMetrics",
            path="/api/v1/social-accounts/{id}/metrics",
            summary="Account metrics",
            description="Audience size of one account, asked of the platform on request; with a range, the snapshots "
            "stored of it, oldest first.",
            compile=account_question,
            render=account_metrics,
            sample=ACCOUNT_SAMPLE,
            schema=ACCOUNT_SCHEMA,
            parameters=(
                Parameter("since", "Start of the range: unix seconds or ISO 8601; 30 days before its end by default."),
                Parameter("until", "End of the range, exclusive: unix seconds or ISO 8601; now by default."),
            ),
            series="data",
        ),
        Read(
            id="getPostfuzeAccountHealth",
            path="/api/v1/social-accounts/{id}/health",
            summary="Account health",
            description="Whether an account's connection works.",
            compile=health_question,
            render=account_health,
            sample=HEALTH_SAMPLE,
            schema=HEALTH_SCHEMA,
        ),
    ),
)
