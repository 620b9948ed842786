"""Writes tokens anew whose newest ciphertext on the topic is of an earlier version, and so not bound to its channel.

Such a ciphertext opens under any channel's key, so whoever can write to `catalog.tokens` could move it. The owner of a
channel's partition writes it again, bound, as soon as it has read it: it alone knows the newest pair. Where the topic
ends with an unbound one behind a bound one (somebody replayed it), the bound one is written again.

Guarantee: at-least-once. Written twice, it changes nothing; one that meets a PUT loses (see `TokenStore.put`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from schemas.events import ChannelTokens
from schemas.topic_names import TOKENS
from services.poller.connections.tokens import TokenStore
from services.poller.keys import ChannelKey
from services.poller.partitions.ownership import Ownership
from services.poller.timing import Time
from services.runtime.clock import MILLIS_PER_SECOND
from services.runtime.logging import get_logger

# Written at a time; a catalog of an earlier version has them all at once.
CONCURRENCY = 16
_log = get_logger(__name__)


class Publisher(Protocol):
    """Where tokens go; see `services.poller.publisher.KafkaPublisher`."""

    async def write(self, topic: str, event: ChannelTokens) -> None:
        """Make an event durable; returns when it is."""


class Binder:
    """Binds tokens to their channels.

    Args:
        is_busy: whether a refresh of the channel's tokens is under way, which brings bound ones.
    """

    def __init__(
        self,
        *,
        time: Time,
        tokens: TokenStore,
        publisher: Publisher,
        ownership: Ownership,
        is_busy: Callable[[ChannelKey], bool],
    ) -> None:
        self._time = time
        self._tokens = tokens
        self._publisher = publisher
        self._ownership = ownership
        self._is_busy = is_busy
        # In their order, each once.
        self._left: dict[ChannelKey, None] = {}
        self._work: asyncio.Task[None] | None = None

    def look(self, key: ChannelKey) -> None:
        """There is news of a channel or of its tokens."""
        if not self._tokens.is_unbound(key) or not self._ownership.is_active(key[0]):
            return
        self._left[key] = None
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._drain())

    async def close(self) -> None:
        """Stop; what is left is done by whoever reads it next."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _drain(self) -> None:
        while self._left:
            keys = list(self._left)[:CONCURRENCY]
            for key in keys:
                del self._left[key]
            if not all(await asyncio.gather(*(self._bind(key) for key in keys))):
                await self._time.wait(asyncio.Event(), self._time.now() + MILLIS_PER_SECOND)

    async def _bind(self, key: ChannelKey) -> bool:
        """Write a channel's tokens bound; False when it has to wait."""
        if not self._tokens.is_unbound(key) or not self._ownership.is_active(key[0]):
            return True
        if self._is_busy(key) or not self._ownership.may_ask(key[0]):
            self._left[key] = None
            return False
        held = self._tokens.sealed(key)
        event = self._tokens.bound(key)
        if event is None:
            return True
        with self._ownership.working(key[0]):
            await self._publisher.write(TOKENS, event)
        if self._tokens.sealed(key) is held:
            self._tokens.put(key, event)
        _log.info("a channel's tokens are bound to it now", channel=key)
        return True
