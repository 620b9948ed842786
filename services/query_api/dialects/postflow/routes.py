"""PostFlow's endpoint; documented, not answered yet."""

from __future__ import annotations

from services.query_api.endpoint import Dialect, Read, no_reply, not_yet

DIALECT = Dialect(
    name="postflow",
    title="PostFlow",
    description="Figures and scores of post groups.",
    reads=(
        Read(
            path="/v1/posts/{postId}/metrics",
            summary="Post group metrics",
            description="Figures of each target of a post. Not available yet.",
            compile=not_yet,
            render=no_reply,
            sample=[],
        ),
    ),
)
