"""Webhooks in the AsyncAPI description: the requests that receivers get. Pure.

Source: AsyncAPI 3.0.0; Standard Webhooks.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.notices import TEST_TYPE, NoticeType, Shutdown

CHANNEL: Final = "webhooks"

_TEXT: Final[dict[str, Any]] = {"type": "string"}
_COUNT: Final[dict[str, Any]] = {"type": "integer"}
_ACCOUNT: Final[dict[str, Any]] = {
    "channel_id": _TEXT, "platform": _TEXT, "reason": {"type": ["string", "null"]},
}  # fmt: skip
_ACCOUNT_EXAMPLE: Final = {"channel_id": "ch-x", "platform": "x", "reason": "token_revoked"}

# By type: summary, the properties of `data`, and an example of it.
_DATA: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any]]]] = {
    NoticeType.METRICS_CHANGED.value: (
        "Figures changed, at most once a second. Reading /tidemark/v1/changes from the cursor shows the change.",
        {"cursor": _TEXT, "posts": _COUNT, "channels": _COUNT},
        {"cursor": "AWkR...", "posts": 12, "channels": 1},
    ),
    NoticeType.POST_THRESHOLD.value: (
        "A post reached a rule of the webhook: once a post and rule.",
        {"post_id": _TEXT, "metric": _TEXT, "at_least": _COUNT, "value": {"type": "number"}},
        {"post_id": "post-1", "metric": "likes", "at_least": 1000, "value": 1002},
    ),
    NoticeType.TOKEN_EXPIRED.value: ("An account's token does not work any more.", _ACCOUNT, _ACCOUNT_EXAMPLE),
    NoticeType.RECOVERED.value: ("An account works again.", _ACCOUNT, {**_ACCOUNT_EXAMPLE, "reason": None}),
    NoticeType.DISABLED.value: ("The platform has closed an account.", _ACCOUNT, {**_ACCOUNT_EXAMPLE, "reason": None}),
    NoticeType.WEBHOOK_DISABLED.value: (
        "Another webhook of the workspace was shut down.",
        {"webhook_id": _TEXT, "reason": {**_TEXT, "enum": [reason.value for reason in Shutdown]}},
        {"webhook_id": "wh_5f3a9c", "reason": "gone"},
    ),
    TEST_TYPE: ("A test that somebody asked for.", {"webhook_id": _TEXT}, {"webhook_id": "wh_5f3a9c"}),
}  # fmt: skip
_HEADERS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
    "properties": {
        "webhook-id": {**_TEXT, "description": "The same at each try of a delivery."},
        "webhook-timestamp": {**_TEXT, "description": "Time of this try, unix seconds."},
        "webhook-signature": {**_TEXT, "description": "`v1,` and a base64 HMAC-SHA256; two of them after a rotation."},
    },
}


def server() -> dict[str, Any]:
    """The server of the channel: whoever receives."""
    return {
        "host": "{receiver}",
        "protocol": "https",
        "description": "The address of a webhook, made by POST /tidemark/v1/webhooks.",
        "variables": {
            "receiver": {"default": "hooks.example.com", "description": "The host of the webhook's address."}
        },
        "tags": [{"name": "webhooks"}],
    }


def channel() -> dict[str, Any]:
    """The channel: one POST request a try."""
    return {
        "address": None,
        "title": "Webhooks",
        "summary": "Deliveries to the addresses of a workspace.",
        "description": "One POST request a try, signed as Standard Webhooks says. At least once; a receiver "
        "answers with a status from 200 to 299 within 15 seconds. See docs/webhooks.md.",
        "servers": [{"$ref": f"#/servers/{CHANNEL}"}],
        "messages": {type_: {"$ref": f"#/components/messages/{type_}"} for type_ in _DATA},
        "tags": [{"name": "webhooks"}],
    }


def operation() -> dict[str, Any]:
    """The operation: Tidemark sends."""
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{CHANNEL}"},
        "summary": "Tidemark tells webhooks what happens.",
        "messages": [{"$ref": f"#/channels/{CHANNEL}/messages/{type_}"} for type_ in _DATA],
    }


def messages() -> dict[str, Any]:
    """The messages by type."""
    return {type_: _message(type_, *told) for type_, told in _DATA.items()}


def _message(type_: str, summary: str, properties: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    data = {"type": "object", "required": list(properties), "properties": properties}
    return {
        "name": type_,
        "title": type_,
        "summary": summary,
        "contentType": "application/json",
        "headers": _HEADERS,
        "payload": {
            "type": "object",
            "required": ["type", "timestamp", "data"],
            "properties": {
                "type": {"type": "string", "const": type_},
                "timestamp": {"type": "string", "format": "date-time"},
                "data": data,
            },
        },
        "examples": [
            {"name": "told", "payload": {"type": type_, "timestamp": "2026-11-01T08:00:00.000Z", "data": example}}
        ],
    }
