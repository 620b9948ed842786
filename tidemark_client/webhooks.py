"""The calls about webhooks and their replies; the key needs the scope `webhooks:write`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SecretStr

from tidemark_client.models import Answer
from tidemark_client.transport import Transport, parsed, quoted

WEBHOOKS_SCOPE = "webhooks:write"

_PATH = "/tidemark/v1/webhooks"


class ThresholdRule(BaseModel):
    """A webhook tells of a post once its metric, summed over its channels, is at least this figure."""

    model_config = ConfigDict(frozen=True)

    metric: str
    at_least: int


class Webhook(Answer):
    """A webhook, without its secret.

    Attributes:
        disabled_reason: `gone`, `failing`, `backlog` or `by_owner`; None while it is active.
        previous_secret_until: until then, after a rotation, deliveries carry signatures by both secrets.
    """

    id: str
    url: str
    types: list[str]
    rules: list[ThresholdRule]
    description: str
    status: Literal["active", "disabled"]
    disabled_reason: str | None
    failing_since: datetime | None
    previous_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime


class WebhookWithSecret(Webhook):
    """A webhook that was made, or whose secret was rotated; the secret is never shown again."""

    secret: SecretStr


class Delivery(Answer):
    """A delivery of a webhook; `id` is the `webhook-id` of each of its tries."""

    id: str
    type: str
    status: Literal["pending", "delivered", "failed"]
    tries: int
    created_at: datetime
    next_try_at: datetime | None
    tried_at: datetime | None
    answer_status: int | None
    answer: str
    error: str | None


class Deliveries(Answer):
    """A page of deliveries."""

    deliveries: list[Delivery]
    next_cursor: str | None


class Webhooks(Answer):
    """All webhooks of a workspace."""

    webhooks: list[Webhook]


class Redelivered(Answer):
    """How many deliveries are made once more, and where further ones begin."""

    accepted: int
    next_since: datetime | None


class WebhookCalls(Transport):
    """Makes, changes and watches the webhooks of a workspace.

    Every method raises TidemarkError. What would be done twice by a second call is not tried again.
    """

    def make_webhook(
        self, url: str, types: Sequence[str], *, rules: Sequence[ThresholdRule] = (), description: str = ""
    ) -> WebhookWithSecret:
        """Make a webhook.

        Args:
            url: an https address that the internet reaches.
            types: what is delivered, such as `metrics.changed`.
            rules: for `post.threshold`.
        """
        body = {"url": url, "types": list(types), "description": description, "rules": _rules(rules)}
        return parsed(WebhookWithSecret, self._asked("POST", "", body))

    def webhooks(self) -> list[Webhook]:
        """All webhooks, oldest first."""
        return parsed(Webhooks, self._asked("GET", "")).webhooks

    def webhook(self, webhook_id: str) -> Webhook:
        """A webhook of the workspace, by its id."""
        return parsed(Webhook, self._asked("GET", f"/{quoted(webhook_id)}"))

    def change_webhook(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        rules: Sequence[ThresholdRule] | None = None,
        description: str | None = None,
        status: Literal["active", "disabled"] | None = None,
    ) -> Webhook:
        """Change what is given; `active` begins deliveries again that were shut down."""
        given: dict[str, Any] = {
            "url": url,
            "types": None if types is None else list(types),
            "rules": None if rules is None else _rules(rules),
            "description": description,
            "status": status,
        }
        body = {name: value for name, value in given.items() if value is not None}
        return parsed(Webhook, self._asked("PATCH", f"/{quoted(webhook_id)}", body))

    def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook: nothing is delivered any more, also nothing that still waits."""
        self._asked("DELETE", f"/{quoted(webhook_id)}")

    def rotate_webhook(self, webhook_id: str) -> WebhookWithSecret:
        """Make a new secret; for 24 hours deliveries carry signatures by both secrets."""
        reply = self._asked("POST", f"/{quoted(webhook_id)}/rotate")
        return parsed(WebhookWithSecret, reply)

    def test_webhook(self, webhook_id: str) -> str:
        """Deliver a test event, and return the delivery's id."""
        told: dict[str, str] = self._asked("POST", f"/{quoted(webhook_id)}/test").json()
        return told["delivery_id"]

    def deliveries(
        self,
        webhook_id: str,
        *,
        status: Literal["pending", "delivered", "failed"] | None = None,
        page_size: int = 100,
    ) -> Iterator[Delivery]:
        """Deliveries of the last 30 days, the newest first; fetched page by page."""
        cursor: str | None = None
        while True:
            asked = {"status": status, "limit": page_size, "cursor": cursor}
            path = f"{_PATH}/{quoted(webhook_id)}/deliveries"
            page = parsed(Deliveries, self._call("GET", path, params=asked, repeatable=True))
            yield from page.deliveries
            cursor = page.next_cursor
            if cursor is None:
                return

    def redeliver(
        self, webhook_id: str, *, delivery_id: str | None = None, since: datetime | None = None
    ) -> Redelivered:
        """Deliver once more: one delivery, or all finished ones since an instant, up to 1,000 a call."""
        body = {"delivery_id": delivery_id} if since is None else {"since": since.isoformat()}
        reply = self._asked("POST", f"/{quoted(webhook_id)}/redeliver", body)
        return parsed(Redelivered, reply)

    def _asked(self, method: str, rest: str, body: Any = None) -> Any:
        return self._call(method, _PATH + rest, json=body, repeatable=method in ("GET", "DELETE", "PATCH"))


def _rules(rules: Sequence[ThresholdRule]) -> list[dict[str, Any]]:
    return [rule.model_dump() for rule in rules]
