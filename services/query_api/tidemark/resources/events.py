"""Answers with what happened to a channel's connection."""

from __future__ import annotations

from typing import Any

from schemas.events import AccountEvent
from services.query_api.errors import NotFound
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Answer, Request
from services.query_api.serving.parameters import NoParameters
from services.query_api.tidemark.resources.render import time


async def list_events(sources: Sources, request: Request[NoParameters]) -> Answer[object]:
    """The events of the channel of the path; NotFound when the workspace has no such channel."""
    channel_id = request.path["id"]
    if sources.directory.get(request.workspace_id, channel_id) is None:
        raise NotFound
    events = sources.connections.of(request.workspace_id, channel_id, request.now)
    return Answer({"channel_id": channel_id, "data": [_event(event) for event in events]})


def _event(event: AccountEvent) -> dict[str, Any]:
    return {"type": event.type, "occurred_at": time(event.occurred_at), "reason": event.reason}
