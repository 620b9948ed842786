"""Dead letters as operators see them, with everything like a token blanked."""

from __future__ import annotations

from typing import Any

from schemas.codec import Codec, MalformedEvent
from schemas.events import PlatformRaw
from services.aggregator.dead_letters import Listed
from services.runtime.clock import iso_millis
from services.runtime.redaction import blank_secret_bytes, blank_secrets


def described(entry: Listed) -> dict[str, Any]:
    """A letter without its payload: places, workspace, reason and times."""
    found, letter = entry.found, entry.found.letter
    return {
        "origin": str(found.origin),
        "first_origin": str(found.root),
        "dead_letter": str(found.at),
        "workspace_id": letter.workspace_id,
        "reason": letter.reason,
        "detail": blank_secrets(letter.detail),
        "key": None if letter.origin_key is None else letter.origin_key.decode(errors="replace"),
        "failed_at": iso_millis(letter.failed_at),
        "redriven_at": None if entry.redriven_at is None else iso_millis(entry.redriven_at),
    }


def readable(payload: bytes, codec: Codec[PlatformRaw]) -> Any:
    """A raw event as its fields, any other payload as text."""
    try:
        event = codec.decode(payload)
    except MalformedEvent:
        return blank_secret_bytes(payload).decode(errors="replace")
    return {
        "event_id": event.event_id,
        "workspace_id": event.workspace_id,
        "channel_id": event.channel_id,
        "platform": event.platform,
        "kind": event.kind,
        "endpoint": blank_secrets(event.endpoint),
        "request": {name: blank_secrets(value) for name, value in event.request.items()},
        "targets": [target._asdict() for target in event.targets],
        "http_status": event.http_status,
        "captured_at": iso_millis(event.captured_at),
        "origin": event.origin,
        "body": blank_secret_bytes(event.body).decode(errors="replace"),
    }
