"""PowerPost's endpoint: which question it asks."""

from __future__ import annotations

from services.query_api.dialects.powerpost.models import SAMPLE, SCHEMA
from services.query_api.dialects.powerpost.render import item_analytics
from services.query_api.endpoint import Dialect, Parameter, Read, ReadRequest, path_id
from services.query_api.errors import NotFound
from services.query_api.reads.query import TargetQuestion

WORKSPACE_HEADER = "X-Workspace-Id"
_WORKSPACE_HEADER = WORKSPACE_HEADER.lower().encode()


def item_question(request: ReadRequest) -> TargetQuestion:
    """The post item of the path, in the workspace that the header names.

    Raises:
        NotFound: the header is missing, or names another workspace than the key's.
    """
    named = [value.strip() for name, value in request.headers if name == _WORKSPACE_HEADER]
    if named != [request.workspace_id.encode()]:
        raise NotFound
    return TargetQuestion(request.workspace_id, path_id(request, "id"))


DIALECT = Dialect(
    name="powerpost",
    title="PowerPost",
    description="Performance of published post items.",
    reads=(
        Read(
            id="getPowerpostItemAnalytics",
            path="/api/v1/post-items/{id}/analytics",
            summary="Post item analytics",
            description="The latest figures of one post item; metrics are null until it was first polled.",
            compile=item_question,
            render=item_analytics,
            sample=SAMPLE,
            schema=SCHEMA,
            parameters=(
                Parameter(WORKSPACE_HEADER, "The key's workspace; any other reads 404.", place="header", required=True),
            ),
        ),
    ),
)
