"""Renders changes: as the parts of a page, and as server-sent events. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from schemas.events import AccountEvent
from services.query_api.store.changes import Changed
from services.query_api.tidemark.resources import render
from services.query_api.tidemark.resources.states import ChannelState, PostState

HEARTBEAT = b":\n"
"""A comment, which keeps proxies from closing the connection. Without a blank line behind it: some clients would take
that for an event."""


def post_data(state: PostState, now: int) -> dict[str, Any]:
    """A post as its endpoint says it, without whatever moves with the clock alone, for `orjson`; `now` in ms."""
    return render.post(state, now, None, is_written=True)


def channel_data(state: ChannelState, now: int) -> dict[str, Any]:
    """The same of a channel."""
    return render.channel(state, now, None)


def account_data(event: AccountEvent) -> dict[str, Any]:
    """What last happened to a channel's connection."""
    return {
        "channel_id": event.channel_id,
        "platform": event.platform,
        "type": event.type,
        "occurred_at": render.time(event.occurred_at),
        "reason": event.reason,
    }


def change(entry: Changed, state: PostState | ChannelState | AccountEvent | None, now: int) -> dict[str, Any]:
    """A change.

    Args:
        state: None where the thing is not there any more.
        now: ms.
    """
    data: dict[str, Any] | None = None
    captured_at: str | None = None
    if isinstance(state, PostState):
        data = post_data(state, now)
        captured_at = data["captured_at"]
    elif isinstance(state, AccountEvent):
        data = account_data(state)
        captured_at = data["occurred_at"]
    elif state is not None:
        data = channel_data(state, now)
        captured_at = data["captured_at"]
    return {
        "type": entry.type,
        "id": entry.id,
        "deleted": data is None,
        "captured_at": captured_at,
        "data": data,
    }


def page(changes: Sequence[bytes], next_cursor: str, *, has_more: bool) -> bytes:
    """A page of changes that are written already."""
    end = orjson.dumps({"next_cursor": next_cursor, "has_more": has_more})
    return b'{"changes":[%b],%b' % (b",".join(changes), end[1:])


def event(entry: Changed, written: bytes, cursor: str) -> bytes:
    """One change as a server-sent event.

    Args:
        cursor: behind the change.
    """
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (cursor.encode(), entry.type.encode(), written)
