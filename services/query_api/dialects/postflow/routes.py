"""PostFlow's endpoint: which question it asks."""

from __future__ import annotations

from services.query_api.dialects.postflow.models import SAMPLE, SCHEMA
from services.query_api.dialects.postflow.render import post_metrics
from services.query_api.endpoint import Dialect, Read, ReadRequest, path_id
from services.query_api.reads.query import PostScoresQuestion


def post_question(request: ReadRequest) -> PostScoresQuestion:
    """The post of the path, compared with what its channels published up to now."""
    return PostScoresQuestion(request.workspace_id, path_id(request, "postId"), request.now)


DIALECT = Dialect(
    name="postflow",
    title="PostFlow",
    description="Figures and scores of post groups.",
    reads=(
        Read(
            id="getPostflowPostMetrics",
            path="/v1/posts/{postId}/metrics",
            summary="Post group metrics",
            description="Figures of each target of a post, its stories as items, and its score among the channel's "
            "posts of the last 90 days.",
            compile=post_question,
            render=post_metrics,
            sample=SAMPLE,
            schema=SCHEMA,
        ),
    ),
)
