"""The application over a store on topics in memory, and over a ClickHouse that answers what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp

from schemas.metrics import CHANNEL_NAMES
from schemas.topic_names import ACCOUNT_EVENTS, CHANNEL_ROLLUPS, CHANNELS, POST_ROLLUPS, POSTS
from services.query_api.reads.own import OwnReads
from services.query_api.store.handle import Store
from services.query_api.store.layout import TOPICS
from services.runtime.cursors import CursorText
from tests.support import told
from tests.support.memory_brokers import MemoryBrokers
from tests.support.query_api import NOW, SECRET_KEY, FakeApi, fake_api
from tests.support.stores import store_of, until

CHANGES = "/tidemark/v1/changes"
CURSORS = CursorText([SECRET_KEY])
INCARNATION = "cluster"
MOVING = ("age_seconds", "tier", "next_poll_at")
AT = NOW - 60_000
OLD = NOW - 10 * 86_400_000


class Subscribed:
    """The application, its topics, and a reader's key."""

    def __init__(self, store: Store, brokers: MemoryBrokers) -> None:
        self.store = store
        self.brokers = brokers
        self.api: FakeApi = fake_api(own_store=store, own_reads=OwnReads(store))
        self.headers: Mapping[str, str] = self.api.add_key("w1", "key")
        self.likes = 1

    @property
    def app(self) -> ASGIApp:
        assert self.api.app is not None
        return self.api.app

    async def get(self, query: str = "", path: str = CHANGES) -> httpx.Response:
        return await self.api.client.get(f"{path}{query}", headers=self.headers)

    async def page(self, query: str = "") -> Any:
        reply = await self.get(query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def put(self, topic: str, key: str, value: bytes | None) -> None:
        """Write a message, and wait until the store has it."""
        offset = told.put(self.brokers, topic, key, value)

        def is_read() -> bool:
            with self.store.view(is_current=False) as view:
                return view.offsets(key.partition("/")[0])[TOPICS.index(topic)] > offset

        await until(is_read, f"{topic} is read")

    async def channel(self, channel_id: str = "c1", workspace: str = "w1", **more: Any) -> None:
        self.api.add_channel(workspace, channel_id, "x")
        more = {"external_id": f"ext-{channel_id}", "username": "tide", "updated_at": NOW, **more}
        await self.put(CHANNELS, f"{workspace}/{channel_id}", told.channel(workspace, channel_id, **more))
        await self.put(CHANNEL_ROLLUPS, f"{workspace}/{channel_id}/28d", told.window(workspace, channel_id))

    async def post(self, post_id: str = "p1", workspace: str = "w1", **figures: int) -> None:
        target = told.target(f"t-{post_id}", published_at=OLD)
        await self.put(POSTS, f"{workspace}/{post_id}", told.post(workspace, post_id, [target]))
        await self.figures(post_id, workspace, **figures)

    async def figures(self, post_id: str = "p1", workspace: str = "w1", **figures: int) -> None:
        value = told.figures(workspace, post_id, {f"t-{post_id}": told.values(**figures)}, at=AT)
        await self.put(POST_ROLLUPS, f"{workspace}/{post_id}", value)

    async def account(self, channel_id: str = "c1", kind: str = "account.token_expired") -> None:
        await self.put(ACCOUNT_EVENTS, f"w1/{channel_id}", told.account("w1", channel_id, kind, NOW))


def channel_rows(channel_id: str, **figures: int) -> list[list[Any]]:
    """A channel's lifetime figures as ClickHouse answers them."""
    return [[channel_id, "lifetime", None, None, AT, "[]", *(figures.get(name) for name in CHANNEL_NAMES)]]


def without_clock(value: Any) -> Any:
    """A reply without what moves with the clock."""
    if isinstance(value, dict):
        return {name: without_clock(part) for name, part in value.items() if name not in MOVING}
    return [without_clock(part) for part in value] if isinstance(value, list) else value


@asynccontextmanager
async def subscribed(folder: Path) -> AsyncIterator[Subscribed]:
    """The application with an empty store."""
    brokers = told.topics()
    async with store_of(folder, brokers) as (store, _):
        made = Subscribed(store, brokers)
        yield made
        await made.api.client.aclose()
