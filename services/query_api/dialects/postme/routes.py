"""postme's endpoints: which question each asks."""

from __future__ import annotations

from services.query_api.dialects.postme.models import (
    CHANNEL_SAMPLE,
    CHANNEL_SCHEMA,
    POST_SAMPLE,
    POST_SCHEMA,
)
from services.query_api.dialects.postme.parameters import WindowParameters
from services.query_api.dialects.postme.render import channel_insights, post_insights, without_window_bounds
from services.query_api.reads.query import ChannelWindowQuestion, PostQuestion
from services.query_api.serving.actions import asks
from services.query_api.serving.endpoint import Api, Endpoint, Request
from services.query_api.serving.parameters import AnyParameters


def post_question(request: Request[AnyParameters]) -> PostQuestion:
    """Ask for the post in the path."""
    return PostQuestion(request.workspace_id, request.path["id"])


def channel_question(request: Request[WindowParameters]) -> ChannelWindowQuestion:
    """Ask for the channel in the path, over a window that ends now."""
    return ChannelWindowQuestion(
        workspace_id=request.workspace_id,
        channel_id=request.path["id"],
        range=request.parameters.range,
        end=request.now // 1000 * 1000,
    )


DIALECT = Api(
    name="postme",
    title="postme",
    description="Performance of a post or a channel.",
    endpoints=(
        Endpoint(
            id="getPostmePostInsights",
            path="/api/v1/posts/{id}/insights",
            summary="Post insights",
            description="Cumulative figures of a published post: totals, and a block for each channel. A fresh post "
            "reads 0.",
            action=asks(AnyParameters, post_question, post_insights),
            sample=POST_SAMPLE,
            schema=POST_SCHEMA,
        ),
        Endpoint(
            id="getPostmeChannelInsights",
            path="/api/v1/channels/{id}/insights",
            summary="Channel insights",
            description="Totals of one channel over a trailing window, and its current followers.",
            action=asks(WindowParameters, channel_question, channel_insights, tag_of=without_window_bounds),
            sample=CHANNEL_SAMPLE,
            schema=CHANNEL_SCHEMA,
        ),
    ),
)
