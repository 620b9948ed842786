"""OpenPost's endpoints: which question each asks."""

from __future__ import annotations

from schemas.ids import is_id
from services.query_api.dialects.openpost.models import (
    LIST_SAMPLE,
    LIST_SCHEMA,
    MAX_ROWS,
    POST_SAMPLE,
    POST_SCHEMA,
)
from services.query_api.dialects.openpost.parameters import DaysParameters, SnapshotsParameters
from services.query_api.dialects.openpost.render import post_metrics, snapshot_list
from services.query_api.errors import NotFound
from services.query_api.reads.query import PostHistoryQuestion, SnapshotsQuestion
from services.query_api.serving.actions import asks
from services.query_api.serving.endpoint import Api, Endpoint, Request
from services.runtime.clock import MILLIS_PER_DAY


def list_question(request: Request[SnapshotsParameters]) -> SnapshotsQuestion:
    """Ask for the workspace's snapshots of the last days, or one integration's where the request names one."""
    integration_id = request.parameters.integration_id
    if integration_id is not None and not is_id(integration_id):
        raise NotFound
    return SnapshotsQuestion(request.workspace_id, integration_id, _since(request.parameters, request.now), MAX_ROWS)


def post_question(request: Request[DaysParameters]) -> PostHistoryQuestion:
    """Ask for the post in the path, with its snapshots of the last days."""
    return PostHistoryQuestion(
        request.workspace_id, request.path["post_id"], _since(request.parameters, request.now), MAX_ROWS
    )


def _since(parameters: DaysParameters, now: int) -> int:
    return now - parameters.days * MILLIS_PER_DAY


DIALECT = Api(
    name="openpost",
    title="OpenPost",
    description="Metrics per post or range.",
    endpoints=(
        Endpoint(
            id="listOpenpostSnapshots",
            path="/v1/analytics",
            summary="Workspace snapshots",
            description=f"Up to {MAX_ROWS} recent snapshots across the workspace, newest first; fewer where the "
            "platforms' answers in them come to more than 16 MiB.",
            action=asks(SnapshotsParameters, list_question, snapshot_list),
            sample=LIST_SAMPLE,
            schema=LIST_SCHEMA,
        ),
        Endpoint(
            id="getOpenpostPostMetrics",
            path="/v1/analytics/post/{post_id}",
            summary="Per-post metrics",
            description="Latest figures of one post, broken out per target. Days bound the snapshots only; "
            "their oldest are left out where the platforms' answers in them come to more than 16 MiB.",
            action=asks(DaysParameters, post_question, post_metrics),
            sample=POST_SAMPLE,
            schema=POST_SCHEMA,
        ),
    ),
)
