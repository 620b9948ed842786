"""PostFuze's endpoints: which question each asks."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from services.query_api.dialects.postfuze.models import (
    ACCOUNT_SAMPLE,
    ACCOUNT_SCHEMA,
    DEFAULT_RANGE_DAYS,
    HEALTH_SAMPLE,
    HEALTH_SCHEMA,
    POST_SAMPLE,
    POST_SCHEMA,
)
from services.query_api.dialects.postfuze.parameters import RangeParameters
from services.query_api.dialects.postfuze.render import account_health, account_metrics, post_analytics
from services.query_api.errors import Invalid
from services.query_api.reads.query import (
    Account,
    AccountHistory,
    AccountHistoryQuestion,
    AccountQuestion,
    HealthQuestion,
    LivePostQuestion,
)
from services.query_api.serving.actions import Series, asks
from services.query_api.serving.endpoint import Api, Endpoint, Request
from services.query_api.serving.parameters import AnyParameters
from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.instants import EARLIEST


def post_question(request: Request[AnyParameters]) -> LivePostQuestion:
    """Ask for the post in the path."""
    return LivePostQuestion(request.workspace_id, request.path["id"])


def account_question(request: Request[RangeParameters]) -> AccountQuestion | AccountHistoryQuestion:
    """Ask for the account in the path: its present figures, or those over a range where the request names one.

    Raises:
        Invalid: the range is empty.
    """
    since, until = request.parameters.since, request.parameters.until
    if since is None and until is None:
        return AccountQuestion(request.workspace_id, request.path["id"])
    end = request.now if until is None else until
    start = max(EARLIEST, end - DEFAULT_RANGE_DAYS * MILLIS_PER_DAY) if since is None else since
    if start >= end:
        raise Invalid("since: must be before until.")
    return AccountHistoryQuestion(request.workspace_id, request.path["id"], start, end)


def _parts_after(answer: Account | AccountHistory) -> AsyncGenerator[Account | AccountHistory, None] | None:
    """The snapshots after the first ones of a long history."""
    return answer.parts_after() if isinstance(answer, AccountHistory) and answer.rest is not None else None


def health_question(request: Request[AnyParameters]) -> HealthQuestion:
    """Ask for the health of the account in the path, now."""
    return HealthQuestion(request.workspace_id, request.path["id"], request.now)


DIALECT = Api(
    name="postfuze",
    title="PostFuze",
    description="Figures of posts, and figures and health of social accounts.",
    endpoints=(
        Endpoint(
            id="getPostfuzePostAnalytics",
            path="/api/v1/posts/{id}/analytics",
            summary="Post analytics",
            description="The figures of each published target, and their sums. The platforms are asked on request; "
            "where that fails, a target shows its last snapshot.",
            action=asks(AnyParameters, post_question, post_analytics),
            sample=POST_SAMPLE,
            schema=POST_SCHEMA,
        ),
        Endpoint(
            id="getPostfuzeAccountMetrics",
            path="/api/v1/social-accounts/{id}/metrics",
            summary="Account metrics",
            description="Audience size of one account; the platform is asked on request. With a range, the account's "
            "stored snapshots, oldest first.",
            action=asks(
                RangeParameters, account_question, account_metrics, series=Series("data", parts_after=_parts_after)
            ),
            sample=ACCOUNT_SAMPLE,
            schema=ACCOUNT_SCHEMA,
        ),
        Endpoint(
            id="getPostfuzeAccountHealth",
            path="/api/v1/social-accounts/{id}/health",
            summary="Account health",
            description="Whether an account's connection works.",
            action=asks(AnyParameters, health_question, account_health),
            sample=HEALTH_SAMPLE,
            schema=HEALTH_SCHEMA,
        ),
    ),
)
