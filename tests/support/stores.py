"""Stores of the query API on topics in memory."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from services.query_api.store.feeding import StoreFeed
from services.query_api.store.files import Identity
from services.query_api.store.filling import MANY_MESSAGES
from services.query_api.store.handle import Store, StoreUnavailable
from services.query_api.store.layout import FORMAT
from services.runtime.brokers import Brokers
from services.runtime.clock import SystemClock
from tests.support import told
from tests.support.waiting import wait_until_async

PATIENCE_SECONDS = 60.0


async def until(holds: Callable[[], object], message: str | Callable[[], str]) -> None:
    """`wait_until_async` for a plain condition."""

    async def held() -> object:
        return holds()

    await wait_until_async(held, PATIENCE_SECONDS, message)


class Incarnation:
    """Names the topics, as Kafka would; change it when they are made anew."""

    def __init__(self, name: str = "cluster") -> None:
        self.name = name

    async def __call__(self) -> str:
        """The name."""
        return self.name


@asynccontextmanager
async def store_of(
    folder: Path,
    brokers: Brokers,
    incarnation: Incarnation | None = None,
    *,
    waits: bool = True,
    many: int = MANY_MESSAGES,
    refused: Callable[[str, Any], None] = lambda _, __: None,
) -> AsyncIterator[tuple[Store, StoreFeed]]:
    """A process with the store of a folder, filled; it stops in order."""
    clock = SystemClock()
    store = Store(folder, told.PARTITIONS, clock)
    feed = StoreFeed(
        store, brokers, told.PARTITIONS, told.fetch_schema, incarnation or Incarnation(), clock, refused, many
    )
    store.start()
    feed.start()
    try:
        if waits:
            await until(lambda: store.is_current, lambda: store.missing or "it is current")
        yield store, feed
    finally:
        await feed.stop()
        await store.stop()


class OtherReader:
    """Another process of the replica, which only reads: LMDB takes one handle a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def likes(self, post_id: str) -> int | None:
        """The likes of a post of w1; None where the process can't read the store, or there is no such post."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps(post_id) + b"\n")
        await self._process.stdin.drain()
        told_likes: int | None = orjson.loads(await self._process.stdout.readline())
        return told_likes


@asynccontextmanager
async def other_reader(folder: Path) -> AsyncIterator[OtherReader]:
    """A process that reads the store of a folder until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.stores", str(folder),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield OtherReader(process)
    finally:
        process.kill()
        await process.wait()


async def _read(folder: Path) -> None:
    store = Store(folder, told.PARTITIONS, SystemClock())
    store.identity = Identity(FORMAT, "cluster", told.PARTITIONS)
    store.start()
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            with store.view() as view:
                post = view.post("w1", orjson.loads(line))
            found = None if post is None else post.targets[0].register.values[3]
        except StoreUnavailable:
            found = None
        sys.stdout.write(orjson.dumps(found).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_read(Path(sys.argv[1])))
