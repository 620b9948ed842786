"""The sample replies of webhooks and their schemas. Pure."""

from __future__ import annotations

from typing import Any

from schemas.notices import NoticeType, Shutdown, Webhook, WebhookRule, WebhookState
from services.query_api.serving.shapes import (
    COUNT,
    COUNT_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TIME,
    TIME_OR_NULL,
    listed,
    one_of,
    shape,
)
from services.query_api.tidemark.webhooks import render
from services.query_api.tidemark.webhooks.parameters import METRICS

_NOW = 1_793_620_800_000
_HELD = Webhook(
    "acme", "wh_5f3a9c", "https://hooks.example.com/tidemark", ("metrics.changed", "post.threshold"),
    (WebhookRule("likes", 1000),), "Dashboard", b"", None, True, _NOW, _NOW, _NOW,
)  # fmt: skip

WEBHOOK: dict[str, Any] = render.webhook(_HELD, WebhookState("acme", "wh_5f3a9c"), _NOW)
WEBHOOKS: dict[str, Any] = {"webhooks": [WEBHOOK]}
SECRET: dict[str, Any] = {**WEBHOOK, "secret": "whsec_..."}
ASKED: dict[str, Any] = {"delivery_id": "msg_1c9f0a"}
REDELIVERED: dict[str, Any] = {"accepted": 12, "next_since": None}
DELIVERIES: dict[str, Any] = {
    "deliveries": [
        render.delivery(
            ("msg_1c9f0a", "metrics.changed", "pending", 1, _NOW, _NOW + 5_000, _NOW + 120, 503, "later", "status 503")
        )
    ],
    "next_cursor": None,
}

_RULE = shape("WebhookRule", {"metric": one_of(METRICS), "at_least": COUNT})
_FIELDS: dict[str, Any] = {
    "id": TEXT,
    "url": {**TEXT, "format": "uri"},
    "types": listed(one_of(NoticeType)),
    "rules": listed(_RULE),
    "description": TEXT,
    "status": one_of(("active", "disabled")),
    "disabled_reason": {
        "type": ["string", "null"],
        "enum": [*Shutdown, "by_owner", None],
        "description": "gone: the receiver answered 410. failing: no try succeeded for five days. backlog: more "
        "deliveries waited than are held. by_owner: disabled by a change. PATCH status to active begins again.",
    },
    "failing_since": {**TIME_OR_NULL, "description": "The first failed try after the last that succeeded."},
    "previous_secret_until": {**TIME_OR_NULL, "description": "After a rotation: until then both secrets sign."},
    "created_at": TIME,
    "updated_at": TIME,
}
WEBHOOK_SCHEMA = shape("Webhook", _FIELDS)
WEBHOOKS_SCHEMA = shape("Webhooks", {"webhooks": listed(WEBHOOK_SCHEMA)})
SECRET_SCHEMA = shape(
    "WebhookWithSecret",
    {**_FIELDS, "secret": {**TEXT, "description": "Signs deliveries, as Standard Webhooks says; shown this once."}},
)
ASKED_SCHEMA = shape("DeliveryAsked", {"delivery_id": TEXT})
REDELIVERED_SCHEMA = shape(
    "Redelivered",
    {
        "accepted": {**COUNT, "description": "Deliveries that are made once more."},
        "next_since": {**TIME_OR_NULL, "description": "Where there are more: ask again with this `since`."},
    },
)
DELIVERIES_SCHEMA = shape(
    "Deliveries",
    {
        "deliveries": listed(
            shape(
                "Delivery",
                {
                    "id": {**TEXT, "description": "The `webhook-id` of each try."},
                    "type": TEXT,
                    "status": one_of(("pending", "delivered", "failed")),
                    "tries": COUNT,
                    "created_at": TIME,
                    "next_try_at": TIME_OR_NULL,
                    "tried_at": TIME_OR_NULL,
                    "answer_status": COUNT_OR_NULL,
                    "answer": {**TEXT, "description": "The first bytes of the last answer."},
                    "error": TEXT_OR_NULL,
                },
            )
        ),
        "next_cursor": TEXT_OR_NULL,
    },
)
