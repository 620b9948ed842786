"""The endpoints of webhooks."""

from __future__ import annotations

from functools import partial
from typing import Any

from schemas.notices import WebhookRule
from services.query_api.errors import NoSecretKeys, NotFound, ReadsUnavailable, WritesUnavailable
from services.query_api.reads.sources import Sources
from services.query_api.serving.actions import reads, writes
from services.query_api.serving.endpoint import Answer, Body, Endpoint, Request
from services.query_api.serving.parameters import NoParameters
from services.query_api.tidemark import PREFIX
from services.query_api.tidemark.webhooks import models, render
from services.query_api.tidemark.webhooks.log import list_deliveries, redeliver
from services.query_api.tidemark.webhooks.parameters import (
    DeliveriesParameters,
    Redelivery,
    RuleShape,
    WebhookChange,
    WebhookNew,
)
from services.query_api.webhooks import fitting

SCOPE = "webhooks:write"


def _shown(sources: Sources, request: Request[Any], webhook_id: str) -> dict[str, Any]:
    held = sources.webhooks.book.get(request.workspace_id, webhook_id)
    return render.webhook(held, sources.webhooks.states.get(request.workspace_id, webhook_id), request.now)


def _rules(shapes: tuple[RuleShape, ...]) -> tuple[WebhookRule, ...]:
    return tuple(WebhookRule(rule.metric, rule.at_least) for rule in shapes)


async def _create(sources: Sources, request: Request[WebhookNew]) -> dict[str, Any]:
    asked = request.parameters
    rules = _rules(asked.rules)
    fitting(asked.types, rules)
    made, secret = await sources.webhooks.make(request.workspace_id, asked.url, asked.types, rules, asked.description)
    return {**_shown(sources, request, made.webhook_id), "secret": secret}


async def _list(sources: Sources, request: Request[NoParameters]) -> Answer[object]:
    held = sources.webhooks.book.of(request.workspace_id)
    return Answer({"webhooks": [_shown(sources, request, webhook.webhook_id) for webhook in held]})


async def _get(sources: Sources, request: Request[NoParameters]) -> Answer[object]:
    return Answer(_shown(sources, request, request.path["id"]))


async def _change(sources: Sources, request: Request[WebhookChange]) -> dict[str, Any]:
    asked = request.parameters
    await sources.webhooks.change(
        request.workspace_id,
        request.path["id"],
        url=asked.url,
        types=asked.types,
        rules=None if asked.rules is None else _rules(asked.rules),
        description=asked.description,
        is_enabled=None if asked.status is None else asked.status == "active",
    )
    return _shown(sources, request, request.path["id"])


async def _delete(sources: Sources, request: Request[NoParameters]) -> None:
    await sources.webhooks.delete(request.workspace_id, request.path["id"])


async def _rotate(sources: Sources, request: Request[NoParameters]) -> dict[str, Any]:
    _, secret = await sources.webhooks.rotate(request.workspace_id, request.path["id"])
    return {**_shown(sources, request, request.path["id"]), "secret": secret}


async def _test(sources: Sources, request: Request[NoParameters]) -> dict[str, Any]:
    return {"delivery_id": await sources.webhooks.test(request.workspace_id, request.path["id"])}


_ALL = f"{PREFIX}/webhooks"
_ONE = _ALL + "/{id}"

_endpoint = partial(Endpoint, scope=SCOPE)

ENDPOINTS: tuple[Endpoint[Sources, Any, Any], ...] = (
    _endpoint(
        id="createWebhook",
        method="POST",
        path=_ALL,
        summary="Make a webhook",
        description="Events of the types are sent to the address as POST requests, signed as Standard Webhooks says. "
        "The secret is shown once. Only https addresses that the internet reaches are accepted.",
        action=writes(WebhookNew, _create, status=201),
        body=Body({"url": "https://hooks.example.com/tidemark", "types": ["metrics.changed"]}),
        sample=models.SECRET,
        schema=models.SECRET_SCHEMA,
        errors=(WritesUnavailable, NoSecretKeys),
    ),
    _endpoint(
        id="listWebhooks",
        path=_ALL,
        summary="All webhooks",
        description="The workspace's webhooks, oldest first, without their secrets.",
        action=reads(NoParameters, _list, by_turns=False),
        sample=models.WEBHOOKS,
        schema=models.WEBHOOKS_SCHEMA,
    ),
    _endpoint(
        id="getWebhook",
        path=_ONE,
        summary="One webhook",
        description="A webhook with its status, without its secret.",
        action=reads(NoParameters, _get, by_turns=False),
        sample=models.WEBHOOK,
        schema=models.WEBHOOK_SCHEMA,
        errors=(NotFound,),
    ),
    _endpoint(
        id="changeWebhook",
        method="PATCH",
        path=_ONE,
        summary="Change a webhook",
        description="Changes what the body names. `status` active also begins again after deliveries were shut down.",
        action=writes(WebhookChange, _change),
        body=Body({"status": "active"}),
        sample=models.WEBHOOK,
        schema=models.WEBHOOK_SCHEMA,
        errors=(NotFound, WritesUnavailable),
    ),
    _endpoint(
        id="deleteWebhook",
        method="DELETE",
        path=_ONE,
        summary="Delete a webhook",
        description="Nothing is delivered any more, also nothing that still waits.",
        action=writes(NoParameters, _delete, status=204),
        errors=(NotFound, WritesUnavailable),
    ),
    _endpoint(
        id="rotateWebhookSecret",
        method="POST",
        path=_ONE + "/rotate",
        summary="Make a new secret",
        description="The new secret is shown once. For 24 hours each delivery carries signatures by both secrets. "
        "Only the newest two sign: a second rotation ends the first secret at once.",
        action=writes(NoParameters, _rotate),
        sample=models.SECRET,
        schema=models.SECRET_SCHEMA,
        errors=(NotFound, WritesUnavailable, NoSecretKeys),
    ),
    _endpoint(
        id="testWebhook",
        method="POST",
        path=_ONE + "/test",
        summary="Send a test event",
        description="Delivers an event of the type `webhook.test`, whatever types the webhook has.",
        action=writes(NoParameters, _test, status=202),
        sample=models.ASKED,
        schema=models.ASKED_SCHEMA,
        errors=(NotFound, WritesUnavailable),
    ),
    _endpoint(
        id="listWebhookDeliveries",
        path=_ONE + "/deliveries",
        summary="Deliveries and their tries",
        description="The deliveries of the last 30 days, the newest first: status, tries, the next try, and the last "
        "answer's status and first bytes.",
        action=reads(DeliveriesParameters, list_deliveries, by_turns=False),
        sample=models.DELIVERIES,
        schema=models.DELIVERIES_SCHEMA,
        errors=(NotFound, ReadsUnavailable),
    ),
    _endpoint(
        id="redeliver",
        method="POST",
        path=_ONE + "/redeliver",
        summary="Deliver once more",
        description="One delivery, or all finished ones since an instant, oldest first and up to 1,000 a request; each "
        "keeps its id, so that receivers recognize it.",
        action=writes(Redelivery, redeliver, status=202),
        body=Body({"since": "2026-06-28T09:00:00Z"}),
        sample=models.REDELIVERED,
        schema=models.REDELIVERED_SCHEMA,
        errors=(NotFound, WritesUnavailable, ReadsUnavailable),
    ),
)
