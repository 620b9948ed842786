"""Makes one try: connects to a checked address, posts, and reads the first bytes of the answer.

Redirects are not followed. The address that is connected to is checked, whatever the name resolved to before.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import httpcore

from schemas.notices import Webhook, WebhookDelivery
from services.notifier import signing
from services.notifier.endpoint import Key
from services.notifier.one_piece import AtOnceBackend
from services.notifier.plan import Outcome
from services.runtime.addresses import CheckedBackend
from services.runtime.clock import Clock
from services.runtime.resolving import Resolver
from services.runtime.sealing import WebhookCipher
from services.runtime.secrets import SecretsError

TRY_SECONDS: Final = 15.0
_ANSWER_BYTES: Final = 256
# An answer that is longer costs the receiver its connection.
_READ_BYTES: Final = 16 * 1024
_IDLE_SECONDS: Final = 30.0
_MOST_IDLE: Final = 2_000
_CLOSING_SECONDS: Final = 1.0


class PrivateAddress(Exception):
    """The webhook's name leads nowhere public."""


class Sender:
    """Sends deliveries.

    Args:
        allows_private: whether private addresses are connected to; for tests and local use.
        seconds: for a try as a whole.
        tls: the authorities that receivers' certificates are checked by; by default the system's.
        resolver: resolves receivers' names. Look-ups belong to the workspace, so that its silent names keep no other
            workspace's deliveries waiting.
        network: connects to addresses.
    """

    def __init__(
        self,
        cipher: WebhookCipher,
        clock: Clock,
        *,
        allows_private: bool = False,
        seconds: float = TRY_SECONDS,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._cipher = cipher
        self._clock = clock
        self._seconds = seconds
        self._tls = tls or ssl.create_default_context()
        self._allows_private = allows_private
        self._resolver = resolver or Resolver()
        self._network = network
        # One open connection for each webhook that took its last delivery.
        self._idle: dict[tuple[Key, str], httpcore.AsyncHTTPConnection] = {}

    async def send(self, webhook: Webhook, delivery: WebhookDelivery) -> Outcome:
        """Make one try; every failure is an outcome."""
        sent = signing.body(delivery)
        try:
            headers = signing.headers(webhook, delivery, sent, self._cipher, self._clock.now())
            async with asyncio.timeout(self._seconds):
                return await self._post(webhook, sent, headers)
        except SecretsError:
            return Outcome(None, error="its secrets can't be opened: TIDEMARK_SECRET_KEYS lacks their key")
        except PrivateAddress:
            return Outcome(None, error="the address is not public")
        except (TimeoutError, httpcore.TimeoutException):
            return Outcome(None, error=f"no answer within {self._seconds:g} s")
        except (httpcore.ConnectError, ssl.SSLError) as error:
            return Outcome(None, error=f"no connection: {str(error)[:200] or type(error).__name__}")
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            return Outcome(None, error=f"the connection broke before an answer: {type(error).__name__}")

    async def close(self) -> None:
        """Close idle connections."""
        idle, self._idle = list(self._idle.values()), {}
        for connection in idle:
            await _closed(connection)

    async def _post(self, webhook: Webhook, sent: bytes, headers: Mapping[str, str]) -> Outcome:
        held = self._idle.pop(_place(webhook), None)
        if held is not None and held.is_available() and not held.has_expired():
            try:
                return await self._post_by(held, webhook, sent, headers)
            except (httpcore.NetworkError, httpcore.RemoteProtocolError):
                pass  # the receiver closed it just now: one that is new shows whether it takes deliveries
        elif held is not None:
            await _closed(held)
        connection = httpcore.AsyncHTTPConnection(
            httpcore.URL(webhook.url).origin,
            ssl_context=self._tls,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self._backend(webhook.workspace_id),
        )
        return await self._post_by(connection, webhook, sent, headers)

    def _backend(self, workspace_id: str) -> httpcore.AsyncNetworkBackend:
        return AtOnceBackend(
            CheckedBackend(
                self._resolver,
                PrivateAddress,
                lambda _: workspace_id,
                allows_private=self._allows_private,
                inner=self._network,
            )
        )

    async def _post_by(
        self, connection: httpcore.AsyncHTTPConnection, webhook: Webhook, sent: bytes, headers: Mapping[str, str]
    ) -> Outcome:
        is_whole = False
        try:
            response = await connection.handle_async_request(
                httpcore.Request(
                    "POST", webhook.url, headers=[*_head(webhook.url, sent), *headers.items()], content=sent
                )
            )
            try:
                answer, is_whole = await _beginning(response)
            finally:
                await response.aclose()
        finally:
            await self._give_back(webhook, connection, is_whole)
        text = answer[:_ANSWER_BYTES].decode("utf-8", "replace")
        return Outcome(response.status, text, _why(response.status))

    async def _give_back(self, webhook: Webhook, connection: httpcore.AsyncHTTPConnection, is_whole: bool) -> None:
        place = _place(webhook)
        if not is_whole or not connection.is_idle() or place in self._idle:
            await _closed(connection)
            return
        self._idle[place] = connection
        while len(self._idle) > _MOST_IDLE:
            await _closed(self._idle.pop(next(iter(self._idle))))


def _place(webhook: Webhook) -> tuple[Key, str]:
    return (webhook.workspace_id, webhook.webhook_id), webhook.url


def _head(url: str, sent: bytes) -> list[tuple[str, str]]:
    host = urlsplit(url).netloc
    return [("host", host), ("content-length", str(len(sent))), ("accept", "*/*"), ("accept-encoding", "identity")]


async def _beginning(response: httpcore.Response) -> tuple[bytes, bool]:
    """The first bytes of an answer, and whether it came to its end."""
    received = bytearray()
    async for chunk in response.aiter_stream():
        received += chunk
        if len(received) > _READ_BYTES:
            return bytes(received), False
    return bytes(received), True


def _why(status: int) -> str:
    """Why an answer is a failure; empty for one that is none."""
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"status {status}: redirects are not followed"
    return f"status {status}"


async def _closed(connection: httpcore.AsyncHTTPConnection) -> None:
    """Close a connection, for a bounded time, whatever state it is in."""
    try:
        async with asyncio.timeout(_CLOSING_SECONDS):
            await connection.aclose()
    except (TimeoutError, httpcore.NetworkError, httpcore.ProtocolError, OSError, RuntimeError):
        pass  # the socket is gone with its last reference
