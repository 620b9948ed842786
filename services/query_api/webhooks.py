"""Webhooks of all workspaces: those that are there and how they fare, in memory, and every change to them.

Changes go to `catalog.webhooks`, and what is to be delivered by request to `notifier.requests`; the notifier reads
both. A secret leaves this module once, in the answer to the caller who made it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit
from zlib import crc32

import orjson

from schemas.notices import TEST_TYPE, Webhook, WebhookRequest, WebhookRule, WebhookState
from schemas.topic_names import WEBHOOK_REQUESTS, WEBHOOK_STATES, WEBHOOKS
from services.query_api.errors import ApiError, Invalid, NoSecretKeys, NotFound, WritesUnavailable
from services.query_api.publisher import Publisher, Write
from services.query_api.views import Place, TopicView
from services.runtime import revisions
from services.runtime.addresses import is_public, leads_nowhere_public
from services.runtime.clock import MILLIS_PER_DAY, Clock, SystemClock
from services.runtime.kafka import key
from services.runtime.resolving import Resolver
from services.runtime.revisions import Headers, Revisions
from services.runtime.sealing import SigningSecrets, WebhookCipher, new_secret
from services.runtime.secrets import SecretsError

MOST_WEBHOOKS: Final = 100
"""Webhooks of one workspace."""
_OVERLAP_MILLIS: Final = MILLIS_PER_DAY
_LOCKS: Final = 64
_RESOLVING_SECONDS: Final = 2.0
# A change takes milliseconds; a caller that has waited this long gets an error and may repeat it.
_SECONDS: Final = 8.0
# What is written is checked for so long, also where its caller does not wait any more.
_CHECKING_SECONDS: Final = 60.0
_REFUSED_KEPT: Final = 1_000

IsPrivate = Callable[[str, str, float], Awaitable[bool]]
Change = Callable[[Webhook | None], Webhook | None]
"""From a webhook to what it becomes; None is one that is not there. May be called again with a newer one."""
_Result = TypeVar("_Result")


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


class Reads(Protocol):
    """How far this process has read the topics."""

    async def read_present(self, workspace_id: str, topics: Sequence[str]) -> dict[str, int]:
        """Wait until all of a workspace is read that was written before this call; returns up to which offsets."""

    async def reached(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Wait until each of these partitions is read up to its offset."""


class _NoReads:
    async def read_present(self, workspace_id: str, topics: Sequence[str]) -> dict[str, int]:
        raise WritesUnavailable

    async def reached(self, topic: str, offsets: Mapping[int, int]) -> None:
        raise WritesUnavailable


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


class Webhooks:
    """Changes webhooks, and asks for deliveries.

    Any process may change any webhook. Each change is made of what the topics hold at that moment, and is read back.
    A change that does not count (`runtime.revisions`), since another process was faster, is made again.

    Attributes:
        reads: how far `book` and `states` are read; set once they are.

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
        self._locks = [asyncio.Lock() for _ in range(_LOCKS)]
        self._changing: set[asyncio.Task[Any]] = set()
        self.reads: Reads = _NoReads()

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
                raise _too_many()
            return webhook

        # One after the other: each is counted by the next, however many are made at once.
        await self._carried_out(workspace_id, webhook_id, made, self._lock(workspace_id, ""), is_counted=True)
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
            held, now = _there(held), self._clock.now()
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

        return _there(await self._carried_out(workspace_id, webhook_id, changed))

    async def rotate(self, workspace_id: str, webhook_id: str) -> tuple[Webhook, str]:
        """Give a webhook a new secret; the present one signs as well for 24 h. Returns the new one.

        Raises:
            NotFound: the workspace has no such webhook.
            NoSecretKeys: no key opens the present secret.
            WritesUnavailable: Kafka did not confirm.
        """
        secret = new_secret()

        def rotated(held: Webhook | None) -> Webhook:
            held = _there(held)
            if self._cipher is None:
                raise NoSecretKeys
            try:
                present = self._cipher.open(held.sealed_secrets, workspace_id, webhook_id).current
            except SecretsError:
                raise NoSecretKeys from None
            now = self._clock.now()
            sealed = self._sealed(SigningSecrets(secret, present), workspace_id, webhook_id)
            return replace(held, sealed_secrets=sealed, previous_until=now + _OVERLAP_MILLIS, updated_at=now)

        return _there(await self._carried_out(workspace_id, webhook_id, rotated)), secret

    async def delete(self, workspace_id: str, webhook_id: str) -> None:
        """Delete a webhook; what waits for it is given up.

        Raises:
            NotFound: the workspace has no such webhook.
            WritesUnavailable: Kafka did not confirm.
        """

        def deleted(held: Webhook | None) -> None:
            _there(held)

        await self._carried_out(workspace_id, webhook_id, deleted)

    async def test(self, workspace_id: str, webhook_id: str) -> str:
        """Have a test event delivered; returns the delivery's id.

        Raises:
            NotFound: the workspace has no such webhook.
            WritesUnavailable: Kafka did not confirm.
        """
        if self.book.find(workspace_id, webhook_id) is None:
            # Another process may have made it a moment ago.
            await self._in_time(self.reads.read_present(workspace_id, (WEBHOOKS,)))
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

    async def _carried_out(
        self,
        workspace_id: str,
        webhook_id: str,
        change: Change,
        lock: asyncio.Lock | None = None,
        *,
        is_counted: bool = False,
    ) -> Webhook | None:
        """Make a change durable; returns the webhook after it.

        Args:
            is_counted: whether the workspace may turn out to have too many webhooks with this one.

        Raises:
            ApiError: as `change` raises it; the webhook is then as others left it.
            WritesUnavailable: Kafka did not confirm in time. What is written already is checked all the same.
        """
        begun = asyncio.Event()
        carrying = self._carry_out(
            workspace_id, webhook_id, change, lock or self._lock(workspace_id, webhook_id), begun, is_counted
        )
        task = asyncio.create_task(carrying)
        self._changing.add(task)
        task.add_done_callback(self._forget)
        try:
            return await self._in_time(asyncio.shield(task))
        finally:
            if not begun.is_set():
                task.cancel()

    async def _carry_out(
        self,
        workspace_id: str,
        webhook_id: str,
        change: Change,
        lock: asyncio.Lock,
        begun: asyncio.Event,
        is_counted: bool,
    ) -> Webhook | None:
        async with lock, asyncio.timeout(_CHECKING_SECONDS):
            while True:
                wanted, failure = None, None
                read_to = (await self.reads.read_present(workspace_id, (WEBHOOKS, WEBHOOK_STATES)))[WEBHOOKS]
                held = self.book.find(workspace_id, webhook_id)
                try:
                    wanted = change(held)
                except ApiError as error:
                    if not begun.is_set():
                        raise
                    # What was written before does not count, and is the key's last record: put right what compaction
                    # would leave.
                    wanted, failure = held, error
                begun.set()
                place = await self._write(workspace_id, webhook_id, wanted, read_to)
                if self.book.is_refused(place):
                    continue
                if failure is not None:
                    raise failure
                if is_counted and self.book.older_than(workspace_id, place.offset) >= MOST_WEBHOOKS:
                    await self._write(workspace_id, webhook_id, None, place.offset + 1)
                    raise _too_many()
                return wanted

    async def _write(self, workspace_id: str, webhook_id: str, event: Webhook | None, read_to: int) -> Place:
        """Write a record and read it back; returns its place."""
        write = Write(WEBHOOKS, workspace_id, webhook_id, event, (revisions.read_to(read_to),))
        (place,) = await self._publisher.publish([write])
        await self.reads.reached(WEBHOOKS, {place.partition: place.offset + 1})
        return place

    async def _in_time(self, waiting: Awaitable[_Result]) -> _Result:
        """Wait for something of Kafka, as long as a caller waits.

        Raises:
            WritesUnavailable: it takes longer.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                return await waiting
        except TimeoutError:
            raise WritesUnavailable from None

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._changing.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: perhaps nobody waits for it any more

    def _sealed(self, held: SigningSecrets, workspace_id: str, webhook_id: str) -> bytes:
        if self._cipher is None:
            raise NoSecretKeys
        return self._cipher.seal(held, workspace_id, webhook_id)

    def _lock(self, workspace_id: str, webhook_id: str) -> asyncio.Lock:
        return self._locks[crc32(f"{workspace_id}/{webhook_id}".encode()) % _LOCKS]

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


def _there(held: Webhook | None) -> Webhook:
    """The webhook that is to be changed.

    Raises:
        NotFound: the workspace has no such webhook.
    """
    if held is None:
        raise NotFound
    return held


def _too_many() -> Invalid:
    return Invalid(f"A workspace has at most {MOST_WEBHOOKS} webhooks; delete one that is not needed.")


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
