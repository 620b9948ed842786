"""The admin API's sample replies and their schemas. Pure."""

from __future__ import annotations

from typing import Any

from schemas.events import ChannelStatus, PostStatus
from services.query_api.serving.shapes import COUNT, TEXT, listed, named, one_of, shape

_CHANNEL_STATUS = named("ChannelStatus", one_of(ChannelStatus))
_POST_STATUS = named("PostStatus", one_of(PostStatus))

WORKSPACE: dict[str, Any] = {
    "workspace_id": "w1",
    "channels": [{"channel_id": "c1", "platform": "x", "status": "active"}],
    "keys": [
        {"id": "key_5f3a", "scopes": ["analytics:read"], "style": "tidemark", "created_at": "2026-06-28T09:14:22Z"}
    ],
}
WORKSPACE_SCHEMA = shape(
    "Workspace",
    {
        "workspace_id": TEXT,
        "channels": listed(
            shape("WorkspaceChannel", {"channel_id": TEXT, "platform": TEXT, "status": _CHANNEL_STATUS})
        ),
        "keys": listed(shape("WorkspaceKey", {"id": TEXT, "scopes": listed(TEXT), "style": TEXT, "created_at": TEXT})),
    },
)
CHANNEL = {"workspace_id": "w1", "channel_id": "c1", "status": "active"}
CHANNEL_SCHEMA = shape("ChannelWritten", {"workspace_id": TEXT, "channel_id": TEXT, "status": _CHANNEL_STATUS})
POST = {"workspace_id": "w1", "post_id": "p1", "status": "published"}
POST_SCHEMA = shape("PostWritten", {"workspace_id": TEXT, "post_id": TEXT, "status": _POST_STATUS})
CATALOG: dict[str, Any] = {"accepted": 2, "rejected": [{"line": 3, "error": "platform: Field required"}]}
CATALOG_SCHEMA = shape(
    "CatalogWritten", {"accepted": COUNT, "rejected": listed(shape("RejectedLine", {"line": COUNT, "error": TEXT}))}
)
KEY: dict[str, Any] = {"id": "key_5f3a", "key": "tm_live_...", "scopes": ["analytics:read"]}
KEY_SCHEMA = shape("CreatedKey", {"id": TEXT, "key": TEXT, "scopes": listed(TEXT)})
