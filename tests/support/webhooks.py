"""Webhooks of tests: their events, and a book whose deliveries are made durable, or not, by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from schemas.notices import Webhook, WebhookDelivery, WebhookRule, WebhookState
from services.notifier.book import Book, Effects
from services.runtime.sealing import SigningSecrets, WebhookCipher, new_secret
from tests.support.manual_clock import START

SECRET_KEY = "secret-key-of-the-tests"
CIPHER = WebhookCipher([SECRET_KEY])
ALL_TYPES = ("metrics.changed", "account.token_expired", "account.recovered", "account.disabled", "webhook.disabled")


def webhook(
    webhook_id: str = "h1",
    workspace_id: str = "w1",
    *,
    url: str = "https://hooks.example.com/",
    types: Iterable[str] = ALL_TYPES,
    rules: Iterable[tuple[str, int]] = (),
    secrets: SigningSecrets | None = None,
    at: int = START,
    **changes: Any,
) -> Webhook:
    """A webhook that was made at an instant."""
    sealed = CIPHER.seal(secrets or SigningSecrets(new_secret()), workspace_id, webhook_id)
    made = Webhook(
        workspace_id, webhook_id, url, tuple(types), tuple(WebhookRule(*rule) for rule in rules), "", sealed, None,
        True, at, at, at,
    )  # fmt: skip
    return replace(made, **changes)


class Kept:
    """What a book's effects left in the topics."""

    def __init__(self) -> None:
        self.deliveries: dict[tuple[str, str, str], WebhookDelivery] = {}
        self.states: dict[tuple[str, str], WebhookState] = {}
        self.written: list[WebhookDelivery | WebhookState] = []

    def keep(self, book: Book, effects: Effects) -> None:
        """Make effects durable, and go on."""
        self.write(effects)
        book.enqueue(effects.made)

    def write(self, effects: Effects) -> None:
        """Make effects durable, and crash before anything else."""
        self.written += effects.writes
        for write in effects.writes:
            if isinstance(write, WebhookState):
                self.states[write.workspace_id, write.webhook_id] = write
            else:
                self.deliveries[write.workspace_id, write.webhook_id, write.delivery_id] = write
        for erased in effects.erased:
            self.deliveries.pop((erased.workspace_id, erased.webhook_id, erased.delivery_id), None)

    def read_back(self, webhooks: Iterable[Webhook], now: int, share: float = 0.5) -> Book:
        """A new process's book."""
        book = Book(lambda: share)
        for key, state in self.states.items():
            book.restore_state(key, state)
        for held in webhooks:
            self.keep(book, book.change((held.workspace_id, held.webhook_id), held, now))
        for delivery in list(self.deliveries.values()):
            book.restore(delivery)
        self.keep(book, book.tidy(now))
        return book

    def of(self, webhook_id: str) -> list[WebhookDelivery]:
        """The deliveries of a webhook as they were last written, in the order in which they were made."""
        return [delivery for key, delivery in self.deliveries.items() if key[1] == webhook_id]
