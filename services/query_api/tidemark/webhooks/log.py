"""Reads the log of deliveries, and has deliveries made once more."""

from __future__ import annotations

from typing import Any

from schemas.notices import DeliveryStatus, WebhookRequest
from services.query_api.errors import Invalid, NotFound
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Answer, Request
from services.query_api.tidemark.cursor import Cursor, decode, encode
from services.query_api.tidemark.webhooks import render, sql
from services.query_api.tidemark.webhooks.parameters import DeliveriesParameters, Redelivery
from services.runtime.clock import iso_millis

# Deliveries made once more by one request.
MOST_REDELIVERED = 1_000
_CREATED = 4


async def list_deliveries(sources: Sources, request: Request[DeliveriesParameters]) -> Answer[object]:
    """A page of a webhook's deliveries, the newest first."""
    workspace_id, webhook_id = request.workspace_id, request.path["id"]
    sources.webhooks.book.get(workspace_id, webhook_id)
    asked = request.parameters
    kind = f"deliveries/{webhook_id}/{asked.status or ''}"
    cursor = decode(kind, asked.cursor)
    after = cursor or Cursor(0, "")
    rows = await sources.store.rows(
        "webhook_deliveries",
        sql.PAGE,
        {
            "workspace": workspace_id,
            "webhook": webhook_id,
            "status": asked.status or "",
            "is_first": int(cursor is None),
            "at": after.place,
            "after": after.id,
            "limit": asked.limit + 1,
        },
    )
    shown = rows[: asked.limit]
    more = encode(kind, Cursor(shown[-1][_CREATED], shown[-1][0])) if len(rows) > asked.limit else None
    return Answer({"deliveries": [render.delivery(row) for row in shown], "next_cursor": more})


async def redeliver(sources: Sources, request: Request[Redelivery]) -> dict[str, Any]:
    """Have one delivery made once more, or all that were made since an instant and are finished."""
    workspace_id, webhook_id, asked = request.workspace_id, request.path["id"], request.parameters
    sources.webhooks.book.get(workspace_id, webhook_id)
    of_webhook = {"workspace": workspace_id, "webhook": webhook_id}
    if asked.delivery_id is not None:
        rows = await sources.store.rows("webhook_delivery", sql.ONE, {**of_webhook, "delivery": asked.delivery_id})
        if not rows:
            raise NotFound
        if rows[0][5] == DeliveryStatus.PENDING:
            raise Invalid("delivery_id: is still being tried; see its next_try_at")
    else:
        rows = await sources.store.rows(
            "webhook_deliveries_since", sql.SINCE, {**of_webhook, "since": asked.since, "limit": MOST_REDELIVERED + 1}
        )
    taken = _whole_instants(rows)
    await sources.webhooks.request(
        WebhookRequest(workspace_id, webhook_id, id_, type_, occurred, content, created, request.now)
        for id_, type_, occurred, content, created, _ in taken
    )
    more = None if len(taken) == len(rows) else iso_millis(rows[len(taken)][4])
    return {"accepted": len(taken), "next_since": more}


def _whole_instants(rows: list[list[Any]]) -> list[list[Any]]:
    """The rows of one request: where there are more, none of the last one's instant, with which the next begins."""
    if len(rows) <= MOST_REDELIVERED:
        return rows
    last = rows[MOST_REDELIVERED][4]
    return [row for row in rows[:MOST_REDELIVERED] if row[4] != last] or rows[:MOST_REDELIVERED]
