"""A publisher that keeps what it is given; room can be taken away as when Kafka is gone."""

from __future__ import annotations

import asyncio

from schemas.events import AccountEvent, CatalogChannel, CatalogPost, ChannelTokens, PlatformRaw
from services.runtime.tracing import NO_SPAN, Span


class MemoryPublisher:
    """See `services.poller.asking.exchange.Publisher`."""

    def __init__(self) -> None:
        self.events: list[PlatformRaw] = []
        self.announced: list[AccountEvent] = []
        self.written: list[tuple[str, CatalogChannel | ChannelTokens]] = []
        self.posts: list[CatalogPost] = []
        self.erased: list[tuple[str, tuple[str, str]]] = []
        self.reserved = 0
        self.room = asyncio.Event()
        self.room.set()

    async def reserve(self) -> None:
        """Wait while there is no room."""
        await self.room.wait()
        self.reserved += 1

    def release(self) -> None:
        """Give room back."""
        self.reserved -= 1

    async def publish(self, event: PlatformRaw, within: Span = NO_SPAN) -> None:
        """Keep one answer; confirmed at once."""
        self.events.append(event)
        self.reserved -= 1

    async def announce(self, event: AccountEvent) -> None:
        """Keep one account event."""
        self.announced.append(event)

    async def write(self, topic: str, event: CatalogChannel | ChannelTokens) -> None:
        """Keep one catalog event; durable as soon as there is room."""
        await self.room.wait()
        self.written.append((topic, event))

    async def put(self, topic: str, workspace_id: str, message_key: bytes, event: CatalogPost | None) -> None:
        """Keep one post; durable as soon as there is room."""
        await self.room.wait()
        assert event is not None
        self.posts.append(event)

    async def erase(self, topic: str, key: tuple[str, str]) -> None:
        """Keep one tombstone; durable as soon as there is room."""
        await self.room.wait()
        self.erased.append((topic, key))
