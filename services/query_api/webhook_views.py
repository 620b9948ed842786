"""Webhooks of all workspaces and how they fare, in memory: the newest record of each that counts. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from schemas.notices import Webhook, WebhookState
from schemas.topic_names import WEBHOOK_STATES, WEBHOOKS
from services.query_api.errors import NotFound
from services.query_api.views import Place, TopicView
from services.runtime.kafka import key
from services.runtime.revisions import Headers, Revisions

_REFUSED_KEPT: Final = 1_000


class WebhookBook(TopicView[Webhook]):
    """Every webhook, by workspace and id."""

    topic = WEBHOOKS

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, dict[str, Webhook]] = {}
        self._revisions = Revisions()
        self._refused: OrderedDict[Place, None] = OrderedDict()

    def observe(self, message_key: bytes, event: Webhook | None, place: Place, headers: Headers = ()) -> None:
        """Apply a record, unless another process changed the webhook before and its writer had not read that."""
        if self._revisions.counts(message_key, place.offset, headers):
            super().observe(message_key, event, place, headers)
            return
        self._refused[place] = None
        while len(self._refused) > _REFUSED_KEPT:
            self._refused.popitem(last=False)

    def is_refused(self, place: Place) -> bool:
        """Whether a record that was read lately does not count."""
        return place in self._refused

    def older_than(self, workspace_id: str, offset: int) -> int:
        """How many of a workspace's webhooks were last changed before an offset."""
        return sum(
            self._revisions.newest(key(workspace_id, webhook_id)) < offset
            for webhook_id in self._held.get(workspace_id, {})
        )

    def apply(self, key: tuple[str, str], event: Webhook | None) -> None:
        """Add, change or delete one webhook."""
        held = self._held.setdefault(key[0], {})
        if event is None:
            held.pop(key[1], None)
        else:
            held[key[1]] = event

    def of(self, workspace_id: str) -> list[Webhook]:
        """A workspace's webhooks, oldest first."""
        held = self._held.get(workspace_id, {}).values()
        return sorted(held, key=lambda webhook: (webhook.created_at, webhook.webhook_id))

    def get(self, workspace_id: str, webhook_id: str) -> Webhook:
        """One webhook.

        Raises:
            NotFound: the workspace has none with this id.
        """
        found = self.find(workspace_id, webhook_id)
        if found is None:
            raise NotFound
        return found

    def find(self, workspace_id: str, webhook_id: str) -> Webhook | None:
        """One webhook; None when the workspace has none with this id."""
        return self._held.get(workspace_id, {}).get(webhook_id)


class WebhookStates(TopicView[WebhookState]):
    """How deliveries to each webhook fare, as the notifier says."""

    topic = WEBHOOK_STATES

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[tuple[str, str], WebhookState] = {}

    def apply(self, key: tuple[str, str], event: WebhookState | None) -> None:
        """Change or forget one webhook's state."""
        if event is None:
            self._held.pop(key, None)
        else:
            self._held[key] = event

    def get(self, workspace_id: str, webhook_id: str) -> WebhookState:
        """A webhook's state; of a webhook that was never tried, that nothing failed."""
        return self._held.get((workspace_id, webhook_id)) or WebhookState(workspace_id, webhook_id)
