"""Turns ClickHouse's rows of raw events back into the events that were received. Pure."""

from __future__ import annotations

import base64
from typing import Any

from schemas.events import PlatformRaw, RawTarget


def raw_event(workspace_id: str, row: list[Any]) -> PlatformRaw:
    """One row of `sql.RAW_EVENTS` as the event that was received."""
    event_id, channel_id, name, kind, endpoint, request, targets, posts, externals, status, body, at, origin = row
    return PlatformRaw(
        event_id=event_id,
        workspace_id=workspace_id,
        channel_id=channel_id,
        platform=name,
        kind=kind,
        endpoint=endpoint,
        request=request,
        targets=tuple(RawTarget(*entry) for entry in zip(targets, posts, externals, strict=True)),
        http_status=status,
        body=base64.b64decode(body),
        captured_at=at,
        origin=origin,
    )
