"""PowerPost's endpoint; documented, not answered yet."""

from __future__ import annotations

from typing import Any

from services.query_api.endpoint import Dialect, Parameter, Read, no_reply, not_yet

_SAMPLE: dict[str, Any] = {
    "post_item_id": "550e8400-e29b-41d4-a716-446655440000",
    "post_type": "instagram-reel",
    "platform": "instagram",
    "status": "posted",
    "metrics": {"views": 12450, "likes": 890, "comments": 42, "fetched_at": "2026-04-15T09:00:00Z"},
}

DIALECT = Dialect(
    name="powerpost",
    title="PowerPost",
    description="Performance of published post items.",
    reads=(
        Read(
            path="/api/v1/post-items/{id}/analytics",
            summary="Post item analytics",
            description="The latest figures of one post item. Not available yet.",
            compile=not_yet,
            render=no_reply,
            sample=_SAMPLE,
            parameters=(Parameter("X-Workspace-Id", "The key's workspace.", place="header", required=True),),
        ),
    ),
)
