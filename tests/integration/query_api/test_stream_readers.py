"""Readers of the stream over real connections: one that stops reading is cut off, and the server's end ends all."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import httpx
import uvicorn

from schemas.topic_names import POST_ROLLUPS, POSTS
from services.runtime.http_limits import HttpLimits, limited_protocol
from tests.support import told
from tests.support.stores import until
from tests.unit.query_api.tidemark.changes.api import AT, OLD, Subscribed, subscribed

STREAM = "/tidemark/v1/stream"
# More than the connection's buffers hold on either side.
POSTS_COUNT = 4_000
UNREAD_SECONDS = 2


@asynccontextmanager
async def served(api: Subscribed) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """The application on a port, with a server's bounds."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(10)
    protocol = limited_protocol(HttpLimits(unread_seconds=UNREAD_SECONDS))
    server = uvicorn.Server(uvicorn.Config(api.app, lifespan="off", http=protocol, log_config=None))
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]  # takes no arguments, as here
    serving = asyncio.create_task(server.serve([listener]))
    await until(lambda: server.started, "it serves")
    try:
        yield server, listener.getsockname()[1]
    finally:
        server.should_exit = True
        api.api.subscriptions.close()
        await serving


def readers(api: Subscribed) -> int:
    return len(api.store._waiting.get("w1", ()))


async def test_a_reader_that_stops_reading_is_cut_off(tmp_path: Path) -> None:
    async with subscribed(tmp_path / "store") as api:
        await api.channel()
        for number in range(POSTS_COUNT):
            post_id, target_id = f"q{number}", f"t-q{number}"
            post = told.post("w1", post_id, [told.target(target_id, published_at=OLD)])
            told.put(api.brokers, POSTS, f"w1/{post_id}", post)
            figures = told.figures("w1", post_id, {target_id: told.values(likes=number)}, at=AT)
            told.put(api.brokers, POST_ROLLUPS, f"w1/{post_id}", figures)
        await api.post("last", likes=1)
        async with served(api) as (_, port):
            before = len(asyncio.all_tasks())
            with socket.socket() as stalled:
                stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                stalled.connect(("127.0.0.1", port))
                stalled.send(f"GET {STREAM} HTTP/1.1\r\nhost: x\r\nx-api-key: key\r\n\r\n".encode())
                await until(lambda: readers(api) == 1, "it is read")
                await until(lambda: readers(api) == 0, "whoever does not read is cut off")
            await until(lambda: len(asyncio.all_tasks()) <= before, "no task is left behind")


async def test_the_servers_end_ends_streams_at_once(tmp_path: Path) -> None:
    async with subscribed(tmp_path / "store") as api:
        await api.channel()
        async with served(api) as (server, port), httpx.AsyncClient(headers={"x-api-key": "key"}, timeout=30) as client:
            async with client.stream("GET", f"http://127.0.0.1:{port}{STREAM}") as reply:
                chunks = reply.aiter_bytes()
                assert await anext(chunks) == b":\n"
                await until(lambda: readers(api) == 1, "it is read")
                began = time.monotonic()
                server.should_exit = True
                api.api.subscriptions.close()
                rest = b"".join([chunk async for chunk in chunks])
            assert rest.count(b"event: ") == 1
            assert time.monotonic() - began < 5
