"""PostFlow's endpoint: which question it asks."""

from __future__ import annotations

from services.query_api.dialects.postflow.models import SAMPLE, SCHEMA
from services.query_api.dialects.postflow.render import post_metrics
from services.query_api.reads.query import PostScoresQuestion
from services.query_api.serving.actions import asks
from services.query_api.serving.endpoint import Api, Endpoint, Request
from services.query_api.serving.parameters import AnyParameters


def post_question(request: Request[AnyParameters]) -> PostScoresQuestion:
    """Ask for the post in the path, compared with the posts that its channels published up to now."""
    return PostScoresQuestion(request.workspace_id, request.path["postId"], request.now)


DIALECT = Api(
    name="postflow",
    title="PostFlow",
    description="Figures and scores of post groups.",
    endpoints=(
        Endpoint(
            id="getPostflowPostMetrics",
            path="/v1/posts/{postId}/metrics",
            summary="Post group metrics",
            description="Figures of each target of a post, its stories as items, and its score among the channel's "
            "posts of the last 90 days.",
            action=asks(AnyParameters, post_question, post_metrics),
            sample=SAMPLE,
            schema=SCHEMA,
        ),
    ),
)
