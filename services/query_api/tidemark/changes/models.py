"""Sample replies of changes and their schemas, made of those of the things that change. Pure."""

from __future__ import annotations

from typing import Any, Final

import orjson

from schemas.events import AccountEvent
from services.query_api.serving.shapes import (
    FLAG,
    TEXT,
    TEXT_OR_NULL,
    TIME,
    TIME_OR_NULL,
    Schema,
    listed,
    named,
    one_of,
    or_null,
    shape,
)
from services.query_api.store.changes import ACCOUNT, CHANNEL, POST, TYPES, Changed
from services.query_api.tidemark.changes import render
from services.query_api.tidemark.resources import models

MOVING: Final = ("age_seconds", "tier", "next_poll_at")
"""What moves with the clock alone: no change tells it."""

_CURSOR = "AWpVZt1jJ9T2n3oYAAUMBwkBBQwHCQF0aGlzIGlzIG5vIHJlYWwgY3Vyc29y"


def _data(schema: Schema) -> Schema:
    """The schema of a thing without what moves with the clock, also within it."""
    found: Schema = {}
    for name, part in schema.items():
        if name == "properties":
            found[name] = {inner: _data(held) for inner, held in part.items() if inner not in MOVING}
        elif name == "required":
            found[name] = [inner for inner in part if inner not in MOVING]
        else:
            found[name] = _data(part) if isinstance(part, dict) else part
    if schema.get("title") in ("Post", "Target", "Channel"):
        found["title"] = f"{schema['title']}Data"
    return found


def _without(sample: Any) -> Any:
    if isinstance(sample, dict):
        return {name: _without(part) for name, part in sample.items() if name not in MOVING}
    return [_without(part) for part in sample] if isinstance(sample, list) else sample


POST_DATA_SCHEMA = _data(models.POST_SCHEMA)
CHANNEL_DATA_SCHEMA = _data(models.CHANNEL_SCHEMA)
ACCOUNT_DATA_SCHEMA = shape(
    "AccountData",
    {
        "channel_id": TEXT,
        "platform": TEXT,
        "type": {**TEXT, "description": "account.token_expired, account.recovered, account.disabled, ..."},
        "occurred_at": TIME,
        "reason": TEXT_OR_NULL,
    },
)
CHANGE_SCHEMA = shape(
    "StateChange",
    {
        "type": one_of(TYPES),
        "id": {**TEXT, "description": "Of the post or the channel; an account has its channel's id."},
        "deleted": {
            **FLAG,
            "description": "Whether the thing is not there any more; may also come for one never told.",
        },
        "captured_at": {
            **TIME_OR_NULL,
            "description": "When the freshest answer among the figures came; when an account's event occurred.",
        },
        "data": {
            **or_null(named("ChangeData", {"anyOf": [POST_DATA_SCHEMA, CHANNEL_DATA_SCHEMA, ACCOUNT_DATA_SCHEMA]})),
            "description": "The whole present state, as the thing's own endpoint says it, without age_seconds, tier "
            "and next_poll_at; null when deleted.",
        },
    },
)
PAGE_SCHEMA = shape(
    "ChangesPage",
    {
        "changes": listed(CHANGE_SCHEMA),
        "next_cursor": {**TEXT, "description": "The cursor behind the page, good for 90 days."},
        "has_more": {**FLAG, "description": "Whether there are further changes now."},
    },
)


def _sample(kind: str, thing: Any, captured_at: str | None) -> dict[str, Any]:
    data = _without(orjson.loads(orjson.dumps(thing)))
    return {
        "type": kind,
        "id": data.get("id", "ch-instagram"),
        "deleted": False,
        "captured_at": captured_at,
        "data": data,
    }


POST_CHANGE = _sample(POST, models.POST, models.POST["captured_at"])
_EVENT = AccountEvent("acme", models.CHANNEL["id"], "instagram", "account.token_expired", 1_782_638_062_000, "expired")
ACCOUNT_CHANGE = render.change(Changed(ACCOUNT, models.CHANNEL["id"]), _EVENT, 0)
DELETED_CHANGE = render.change(Changed(CHANNEL, "ch-facebook"), None, 0)
PAGE: dict[str, Any] = {
    "changes": [POST_CHANGE, ACCOUNT_CHANGE, DELETED_CHANGE],
    "next_cursor": _CURSOR,
    "has_more": False,
}
STREAM = render.event(Changed(POST, POST_CHANGE["id"]), orjson.dumps(POST_CHANGE), _CURSOR).decode()
"""A stream's beginning, as text."""
