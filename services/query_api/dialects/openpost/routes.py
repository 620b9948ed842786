"""OpenPost's endpoints: which question each asks."""

from __future__ import annotations

import re

from services.query_api.dialects.openpost.models import (
    DEFAULT_DAYS,
    LIST_SAMPLE,
    LIST_SCHEMA,
    MAX_DAYS,
    MAX_ROWS,
    POST_SAMPLE,
    POST_SCHEMA,
)
from services.query_api.dialects.openpost.render import post_metrics, snapshot_list
from services.query_api.endpoint import Dialect, Parameter, Read, ReadRequest, path_id
from services.query_api.errors import Invalid, NotFound
from services.query_api.reads.query import ID, PostHistoryQuestion, SnapshotsQuestion
from services.runtime.clock import MILLIS_PER_DAY

_DAYS = re.compile(r"[0-9]{1,6}")


def list_question(request: ReadRequest) -> SnapshotsQuestion:
    """The workspace's snapshots of the last days, of one integration where one is named."""
    since = _since(request)
    integration_id = request.query.get("integration_id")
    if integration_id is not None and not ID.fullmatch(integration_id):
        raise NotFound
    return SnapshotsQuestion(request.workspace_id, integration_id, since, MAX_ROWS)


def post_question(request: ReadRequest) -> PostHistoryQuestion:
    """The post of the path, with its snapshots of the last days."""
    return PostHistoryQuestion(request.workspace_id, path_id(request, "post_id"), _since(request), MAX_ROWS)


def _since(request: ReadRequest) -> int:
    text = request.query.get("days")
    days = DEFAULT_DAYS
    if text is not None:
        if not _DAYS.fullmatch(text) or not 1 <= int(text) <= MAX_DAYS:
            raise Invalid(f"days: must be a whole number from 1 to {MAX_DAYS}.")
        days = int(text)
    return request.now - days * MILLIS_PER_DAY


_DAYS_PARAMETER = Parameter(
    "days",
    "How many days back to include.",
    schema={"type": "integer", "minimum": 1, "maximum": MAX_DAYS, "default": DEFAULT_DAYS},
)

DIALECT = Dialect(
    name="openpost",
    title="OpenPost",
    description="Metrics per post or range.",
    reads=(
        Read(
            id="listOpenpostSnapshots",
            path="/v1/analytics",
            summary="Workspace snapshots",
            description=f"Up to {MAX_ROWS} recent snapshots across the workspace, newest first; fewer where the "
            "platforms' answers in them come to more than 16 MiB.",
            compile=list_question,
            render=snapshot_list,
            sample=LIST_SAMPLE,
            schema=LIST_SCHEMA,
            parameters=(_DAYS_PARAMETER, Parameter("integration_id", "Only snapshots of this integration.")),
        ),
        Read(
            id="getOpenpostPostMetrics",
            path="/v1/analytics/post/{post_id}",
            summary="Per-post metrics",
            description="Latest figures of one post, broken out per target. Days bound the snapshots only; "
            "their oldest are left out where the platforms' answers in them come to more than 16 MiB.",
            compile=post_question,
            render=post_metrics,
            sample=POST_SAMPLE,
            schema=POST_SCHEMA,
            parameters=(_DAYS_PARAMETER,),
        ),
    ),
)
