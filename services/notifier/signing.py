"""The request of a try, as Standard Webhooks says: body, id, timestamp and signatures. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
from standardwebhooks import Webhook as Signer

from schemas.notices import Webhook, WebhookDelivery
from services.runtime.clock import iso_millis
from services.runtime.sealing import WebhookCipher

USER_AGENT = "tidemark-webhooks/1"


def body(delivery: WebhookDelivery) -> bytes:
    """The body of a delivery, the same at each try."""
    data = orjson.Fragment(delivery.content.encode())
    return orjson.dumps({"type": delivery.type, "timestamp": iso_millis(delivery.occurred_at), "data": data})


def headers(
    webhook: Webhook, delivery: WebhookDelivery, sent: bytes, cipher: WebhookCipher, now: int
) -> dict[str, str]:
    """The headers of a try at an instant, ms; after a rotation with a signature by each secret.

    Raises:
        SecretsError: no key opens the webhook's secrets.
    """
    secrets = cipher.open(webhook.sealed_secrets, webhook.workspace_id, webhook.webhook_id)
    signing = [secrets.current]
    if secrets.previous is not None and webhook.previous_until is not None and now < webhook.previous_until:
        signing.append(secrets.previous)
    at, text = datetime.fromtimestamp(now // 1000, UTC), sent.decode()
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": delivery.delivery_id,
        "webhook-timestamp": str(now // 1000),
        "webhook-signature": " ".join(Signer(secret).sign(delivery.delivery_id, at, text) for secret in signing),
    }
