"""Webhooks of all workspaces, and every change to them.

Changes go to `catalog.webhooks`, and what is to be delivered by request to `notifier.requests`; the notifier reads
both. A secret leaves this module once, in the answer to the caller who made it.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import orjson

from schemas.notices import TEST_TYPE, Webhook, WebhookRequest, WebhookRule, WebhookState
from schemas.topic_names import WEBHOOK_REQUESTS, WEBHOOKS
from services.query_api.errors import Invalid, NoSecretKeys, WritesUnavailable
from services.query_api.publisher import Publisher, Write
from services.query_api.views import Place
from services.query_api.webhook_changes import MOST_WEBHOOKS, WebhookChanges, there, too_many
from services.query_api.webhook_views import WebhookBook, WebhookStates
from services.runtime.addresses import is_public, leads_nowhere_public
from services.runtime.clock import MILLIS_PER_DAY, Clock, SystemClock
from services.runtime.resolving import Resolver
from services.runtime.sealing import SigningSecrets, WebhookCipher, new_secret
from services.runtime.secrets import SecretsError

_OVERLAP_MILLIS: Final = MILLIS_PER_DAY
_RESOLVING_SECONDS: Final = 2.0
IsPrivate = Callable[[str, str, float], Awaitable[bool]]


class Webhooks:
    """Changes webhooks, and asks for deliveries.

    Attributes:
        changes: makes changes durable, one after the other.

    Args:
        cipher: seals secrets; None without secret keys.
        allows_private: whether http and private addresses are accepted, for tests and local use.
        is_private: whether a host, asked for by a workspace and within some seconds, leads to private addresses alone;
            by default as the system resolves it.
    """

    def __init__(
        self,
        publisher: Publisher,
        cipher: WebhookCipher | None,
        clock: Clock,
        *,
        allows_private: bool = False,
        is_private: IsPrivate | None = None,
    ) -> None:
        self.book = WebhookBook()
        self.states = WebhookStates()
        self._publisher = publisher
        self._cipher = cipher
        self._clock = clock
        self._allows_private = allows_private
        self._is_private = is_private or partial(leads_nowhere_public, Resolver())
        self.changes = WebhookChanges(publisher, self.book)

    async def make(
        self, workspace_id: str, url: str, types: Iterable[str], rules: Iterable[WebhookRule], description: str
    ) -> tuple[Webhook, str]:
        """Make a webhook; returns it with its secret, which nobody can read again.

        Raises:
            Invalid: the address is refused, or the workspace has as many webhooks as it may.
            NoSecretKeys: the secret can't be sealed.
            WritesUnavailable: Kafka did not confirm.
        """
        await self._check(workspace_id, url)
        webhook_id, secret, now = f"wh_{secrets.token_hex(12)}", new_secret(), self._clock.now()
        sealed = self._sealed(SigningSecrets(secret), workspace_id, webhook_id)
        webhook = Webhook(
            workspace_id, webhook_id, url, tuple(types), tuple(rules), description, sealed, None, True, now, now, now
        )

        def made(_: Webhook | None) -> Webhook:
            if len(self.book.of(workspace_id)) >= MOST_WEBHOOKS:
                raise too_many()
            return webhook

        # One after the other: each is counted by the next, however many are made at once.
        await self.changes.make(workspace_id, webhook_id, made, lock_name="new", is_counted=True)
        return webhook, secret

    async def change(
        self,
        workspace_id: str,
        webhook_id: str,
        *,
        url: str | None,
        types: tuple[str, ...] | None,
        rules: tuple[WebhookRule, ...] | None,
        description: str | None,
        is_enabled: bool | None,
    ) -> Webhook:
        """Change what is not None; enabling also ends the notifier's shutdown.

        Enabling what is active changes nothing: events before `enabled_at` are not told, so what happened just before
        would be lost.

        Raises:
            NotFound: the workspace has no such webhook.
            Invalid: the address is refused, or types and rules don't fit together after the change.
            WritesUnavailable: Kafka did not confirm.
        """
        if url is not None:
            await self._check(workspace_id, url)

        def changed(held: Webhook | None) -> Webhook:
            held, now = there(held), self._clock.now()
            begins = is_enabled and not is_active(held, self.states.get(workspace_id, webhook_id))
            wanted = replace(
                held,
                url=held.url if url is None else url,
                types=held.types if types is None else types,
                rules=held.rules if rules is None else rules,
                description=held.description if description is None else description,
                is_enabled=held.is_enabled if is_enabled is None else is_enabled,
                enabled_at=now if begins else held.enabled_at,
                updated_at=now,
            )
            fitting(wanted.types, wanted.rules)
            return wanted

        return there(await self.changes.make(workspace_id, webhook_id, changed))

    async def rotate(self, workspace_id: str, webhook_id: str) -> tuple[Webhook, str]:
        """Give a webhook a new secret; the present one signs as well for 24 h. Returns the new one.

        Raises:
            NotFound: the workspace has no such webhook.
            NoSecretKeys: no key opens the present secret.
            WritesUnavailable: Kafka did not confirm.
        """
        secret = new_secret()

        def rotated(held: Webhook | None) -> Webhook:
            held = there(held)
            if self._cipher is None:
                raise NoSecretKeys
            try:
                present = self._cipher.open(held.sealed_secrets, workspace_id, webhook_id).current
            except SecretsError:
                raise NoSecretKeys from None
            now = self._clock.now()
            sealed = self._sealed(SigningSecrets(secret, present), workspace_id, webhook_id)
            return replace(held, sealed_secrets=sealed, previous_until=now + _OVERLAP_MILLIS, updated_at=now)

        return there(await self.changes.make(workspace_id, webhook_id, rotated)), secret

    async def delete(self, workspace_id: str, webhook_id: str) -> None:
        """Delete a webhook; what waits for it is given up.

        Raises:
            NotFound: the workspace has no such webhook.
            WritesUnavailable: Kafka did not confirm.
        """

        def deleted(held: Webhook | None) -> None:
            there(held)

        await self.changes.make(workspace_id, webhook_id, deleted)

    async def test(self, workspace_id: str, webhook_id: str) -> str:
        """Have a test event delivered; returns the delivery's id.

        Raises:
            NotFound: the workspace has no such webhook.
            WritesUnavailable: Kafka did not confirm.
        """
        if self.book.find(workspace_id, webhook_id) is None:
            # Another process may have made it a moment ago.
            await self.changes.in_time(self.changes.reads.read_present(workspace_id, (WEBHOOKS,)))
        self.book.get(workspace_id, webhook_id)
        delivery_id, now = f"msg_{secrets.token_hex(12)}", self._clock.now()
        content = orjson.dumps({"webhook_id": webhook_id}).decode()
        request = WebhookRequest(workspace_id, webhook_id, delivery_id, TEST_TYPE, now, content, now, now)
        await self.request([request])
        return delivery_id

    async def request(self, requests: Iterable[WebhookRequest]) -> None:
        """Ask the notifier for deliveries.

        Raises:
            WritesUnavailable: Kafka did not confirm all of them.
        """
        await self._publisher.publish(
            [Write(WEBHOOK_REQUESTS, entry.workspace_id, entry.webhook_id, entry) for entry in requests]
        )

    def _sealed(self, held: SigningSecrets, workspace_id: str, webhook_id: str) -> bytes:
        if self._cipher is None:
            raise NoSecretKeys
        return self._cipher.seal(held, workspace_id, webhook_id)

    async def _check(self, workspace_id: str, url: str) -> None:
        """Refuse an address that deliveries could not go to; the notifier checks each connection again.

        Raises:
            Invalid: the message says what is allowed.
        """
        host = checked_url(url, allows_private=self._allows_private)
        if self._allows_private:
            return
        # A name that is not known yet is accepted: the log of deliveries shows it.
        if await self._is_private(host, workspace_id, _RESOLVING_SECONDS):
            raise Invalid("url: leads to no public address; give an address that the internet reaches.")


class _NoPublisher:
    async def publish(self, writes: Sequence[Write]) -> list[Place]:
        raise WritesUnavailable


def no_webhooks() -> Webhooks:
    """Where no topic is followed: no webhook is there, and none can be made."""
    return Webhooks(_NoPublisher(), None, SystemClock())


def is_shut(held: Webhook, state: WebhookState) -> bool:
    """Whether the notifier shut a webhook down since it was last enabled."""
    return state.disabled_at is not None and state.disabled_at >= held.enabled_at


def is_active(held: Webhook, state: WebhookState) -> bool:
    """Whether anything is delivered to a webhook."""
    return held.is_enabled and not is_shut(held, state)


def checked_url(url: str, *, allows_private: bool) -> str:
    """The host of a webhook's address.

    Raises:
        Invalid: it is no https address (nor http, where private addresses are allowed), or names a private host.
    """
    schemes = ("https", "http") if allows_private else ("https",)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Invalid("url: must be an https address, such as https://hooks.example.com/tidemark") from None
    if parts.scheme not in schemes or not host or port == 0 or not url.isascii() or any(map(_is_odd, url)):
        raise Invalid("url: must be an https address, such as https://hooks.example.com/tidemark")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Invalid("url: must have no user, password or fragment; a secret signs each delivery.")
    if not allows_private and not _may_be_public(host):
        raise Invalid("url: leads to no public address; give an address that the internet reaches.")
    return host


def fitting(types: Iterable[str], rules: Iterable[WebhookRule]) -> None:
    """Check that there are rules only where thresholds are told of; they may come later than the type.

    Raises:
        Invalid: they don't fit together.
    """
    if tuple(rules) and "post.threshold" not in types:
        raise Invalid("rules: are of no use without the type post.threshold; add the type, or leave them out")


def _is_odd(character: str) -> bool:
    return character <= " " or character in '<>"\\^`{|}\x7f'


def _may_be_public(host: str) -> bool:
    host = host.removesuffix(".")  # of a name from the root
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host != "localhost" and not host.endswith((".localhost", ".local", ".internal"))
    return is_public(host)
