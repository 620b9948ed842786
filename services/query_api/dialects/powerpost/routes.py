"""PowerPost's endpoint: which question it asks."""

from __future__ import annotations

from services.query_api.dialects.powerpost.models import SAMPLE, SCHEMA
from services.query_api.dialects.powerpost.render import item_analytics
from services.query_api.errors import NotFound
from services.query_api.reads.query import TargetQuestion
from services.query_api.serving.actions import asks
from services.query_api.serving.endpoint import Api, Endpoint, Parameter, Request
from services.query_api.serving.parameters import AnyParameters

WORKSPACE_HEADER = "X-Workspace-Id"
_WORKSPACE_HEADER = WORKSPACE_HEADER.lower().encode()


def item_question(request: Request[AnyParameters]) -> TargetQuestion:
    """Ask for the post item in the path, in the key's workspace.

    Raises:
        NotFound: the header is there and names another workspace than the key's.
    """
    own = request.workspace_id.encode()
    if any(name == _WORKSPACE_HEADER and value.strip() != own for name, value in request.headers):
        raise NotFound
    return TargetQuestion(request.workspace_id, request.path["id"])


DIALECT = Api(
    name="powerpost",
    title="PowerPost",
    description="Performance of published post items.",
    endpoints=(
        Endpoint(
            id="getPowerpostItemAnalytics",
            path="/api/v1/post-items/{id}/analytics",
            summary="Post item analytics",
            description="The latest figures of one post item; metrics are null until it was first polled.",
            action=asks(AnyParameters, item_question, item_analytics),
            sample=SAMPLE,
            schema=SCHEMA,
            headers=(
                Parameter(
                    WORKSPACE_HEADER,
                    "The key's workspace, which is also meant without the header; any other reads 404.",
                    place="header",
                ),
            ),
        ),
    ),
)
