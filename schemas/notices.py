"""Webhooks as events: the addresses, what is delivered to them, and how that fares. Instants in ms. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class NoticeType(StrEnum):
    """What a webhook may be told of."""

    METRICS_CHANGED = "metrics.changed"
    POST_THRESHOLD = "post.threshold"
    TOKEN_EXPIRED = "account.token_expired"
    RECOVERED = "account.recovered"
    DISABLED = "account.disabled"
    WEBHOOK_DISABLED = "webhook.disabled"


TEST_TYPE: Final = "webhook.test"
"""The type of the event that a caller asks for to try a webhook; every webhook gets it."""


class DeliveryStatus(StrEnum):
    """What became of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    TOLD = "told"
    """Long finished: only the fact is kept that a post and a rule were told of."""


class Shutdown(StrEnum):
    """Why the notifier delivers nothing to a webhook any more."""

    GONE = "gone"
    """The receiver answered 410."""
    FAILING = "failing"
    """No try succeeded for five days."""
    BACKLOG = "backlog"
    """More deliveries wait than are held for one webhook."""


class WebhookRule(NamedTuple):
    """A post is told of once its metric is at least this figure."""

    metric: str
    at_least: int


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address of a workspace. Source: topic `catalog.webhooks`; only the query API writes it.

    Attributes:
        sealed_secrets: encrypted JSON of the signing secrets; see `services.runtime.sealing`.
        previous_until: until when the secret before a rotation signs as well; None without one.
        is_enabled: whether its owner wants deliveries.
        enabled_at: when it was made or last enabled: a shutdown before this does not count any more.
    """

    workspace_id: str
    webhook_id: str
    url: str
    types: tuple[str, ...]
    rules: tuple[WebhookRule, ...]
    description: str
    sealed_secrets: bytes
    previous_until: int | None
    is_enabled: bool
    enabled_at: int
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """One event for one webhook. Source: topic `notifier.deliveries`.

    Attributes:
        delivery_id: the `webhook-id` of each try.
        content: the event's data as JSON text; empty with status TOLD.
        tries: made since the delivery was made or last asked for again.
        next_try_at: None when no try is due.
        tried_at: when the last try ended.
        answer_status: HTTP status of the last answer; None without an answer.
        answer: the first bytes of the last answer's body, as text.
        error: why the last try failed; empty when it did not.
    """

    workspace_id: str
    webhook_id: str
    delivery_id: str
    type: str
    occurred_at: int
    content: str
    status: str
    tries: int
    created_at: int
    next_try_at: int | None = None
    tried_at: int | None = None
    answer_status: int | None = None
    answer: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class WebhookState:
    """How deliveries to a webhook fare. Source: topic `notifier.endpoints`; only the notifier writes it.

    Attributes:
        failing_since: when the first try failed after the last one that succeeded; None while tries succeed.
        disabled_at: when deliveries were shut down; None while they are not.
        reason: a `Shutdown`; empty while they are not.
    """

    workspace_id: str
    webhook_id: str
    failing_since: int | None = None
    disabled_at: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A delivery that somebody asked for: a test, or one more time. Source: topic `notifier.requests`."""

    workspace_id: str
    webhook_id: str
    delivery_id: str
    type: str
    occurred_at: int
    content: str
    created_at: int
    requested_at: int
