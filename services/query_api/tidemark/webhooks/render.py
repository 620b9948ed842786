"""From webhooks and rows of the log to replies. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.notices import Webhook, WebhookState
from services.query_api.webhooks import is_active, is_shut
from services.runtime.clock import iso_millis, iso_seconds


def webhook(held: Webhook, state: WebhookState, now: int) -> dict[str, Any]:
    """A webhook as its owner sees it, without its secret."""
    active = is_active(held, state)
    return {
        "id": held.webhook_id,
        "url": held.url,
        "types": list(held.types),
        "rules": [rule._asdict() for rule in held.rules],
        "description": held.description,
        "status": "active" if active else "disabled",
        "disabled_reason": None if active else state.reason if is_shut(held, state) else "by_owner",
        "failing_since": _instant(state.failing_since if active else None),
        "previous_secret_until": _instant(
            held.previous_until if held.previous_until is not None and held.previous_until > now else None
        ),
        "created_at": iso_seconds(held.created_at),
        "updated_at": iso_seconds(held.updated_at),
    }


def delivery(row: Sequence[Any]) -> dict[str, Any]:
    """A row of the log, in the order of `sql.COLUMNS`."""
    id_, type_, status, tries, created, next_try, tried, answer_status, answer, error = row[:10]
    return {
        "id": id_,
        "type": type_,
        "status": status,
        "tries": tries,
        "created_at": iso_millis(created),
        "next_try_at": None if next_try is None else iso_millis(next_try),
        "tried_at": None if tried is None else iso_millis(tried),
        "answer_status": answer_status,
        "answer": answer,
        "error": error or None,
    }


def _instant(instant: int | None) -> str | None:
    return None if instant is None else iso_seconds(instant)
