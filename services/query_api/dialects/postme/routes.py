"""postme's endpoints: which question each asks."""

from __future__ import annotations

from services.query_api.dialects.postme.models import (
    CHANNEL_SAMPLE,
    CHANNEL_SCHEMA,
    DEFAULT_RANGE,
    POST_SAMPLE,
    POST_SCHEMA,
    RANGE_NAMES,
)
from services.query_api.dialects.postme.render import channel_insights, post_insights, without_window_bounds
from services.query_api.endpoint import Dialect, Parameter, Read, ReadRequest, path_id
from services.query_api.reads.query import ChannelWindowQuestion, PostQuestion


def post_question(request: ReadRequest) -> PostQuestion:
    """The post of the path."""
    return PostQuestion(request.workspace_id, path_id(request, "id"))


def channel_question(request: ReadRequest) -> ChannelWindowQuestion:
    """The channel of the path over a window that ends now; any range that is none falls back to 28d."""
    asked = request.query.get("range", DEFAULT_RANGE)
    return ChannelWindowQuestion(
        workspace_id=request.workspace_id,
        channel_id=path_id(request, "id"),
        range=asked if asked in RANGE_NAMES else DEFAULT_RANGE,
        end=request.now // 1000 * 1000,
    )


DIALECT = Dialect(
    name="postme",
    title="postme",
    description="Performance of a post or a channel.",
    reads=(
        Read(
            id="getPostmePostInsights",
            path="/api/v1/posts/{id}/insights",
            summary="Post insights",
            description="Cumulative figures of a published post: totals and a block a channel. A fresh post reads 0.",
            compile=post_question,
            render=post_insights,
            sample=POST_SAMPLE,
            schema=POST_SCHEMA,
        ),
        Read(
            id="getPostmeChannelInsights",
            path="/api/v1/channels/{id}/insights",
            summary="Channel insights",
            description="Totals of one channel over a trailing window, and its current followers.",
            compile=channel_question,
            render=channel_insights,
            sample=CHANNEL_SAMPLE,
            schema=CHANNEL_SCHEMA,
            tag_of=without_window_bounds,
            parameters=(
                Parameter(
                    "range",
                    "Length of the window; anything else falls back to 28d.",
                    schema={"type": "string", "enum": list(RANGE_NAMES), "default": DEFAULT_RANGE},
                ),
            ),
        ),
    ),
)
