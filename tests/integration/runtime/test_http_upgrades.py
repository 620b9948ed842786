"""Clients that offer another protocol with their request: the request is answered as if they had not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from services.runtime.http_upgrades import UpgradeIgnoringProtocol
from tests.support.waiting import wait_until_async

OFFERS = {
    "h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
    "curl": "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAA\r\n",
    "kept open": "Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n",
    "two lines": "Connection: Upgrade\r\nConnection: HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
    "websocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n",
    "tls": "Connection: Upgrade\r\nUpgrade: TLS/1.2, HTTP/2.0\r\n",
    "made up": "Connection: Upgrade\r\nUpgrade: anything\r\n",
    "none": "",
}
BODY = b"INSERT INTO t VALUES (1)"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends back its address, its headers' names and its body."""
    content = scope["path"].encode() + b"|"
    content += b",".join(sorted(name for name, _ in scope["headers"])) + b"|"
    while True:
        message = await receive()
        content += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]},
    )
    await send({"type": "http.response.body", "body": content})


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    config = uvicorn.Config(
        application, port=0, http=UpgradeIgnoringProtocol, lifespan="off", log_config=None, ws="none"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    try:
        await wait_until_async(started, 10, "the server did not start")
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def _answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        return await reader.readexactly(int(length.partition(b":")[2]))


def request(path: str, offer: str, *, chunked: bool) -> bytes:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(BODY)}"
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) if chunked else BODY
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{offer}{framing}\r\nX-Mine: yes\r\n\r\n".encode() + body


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("pieces", [1, 7, 10_000])
@pytest.mark.parametrize("offer", OFFERS)
async def test_the_body_arrives(offer: str, pieces: int, chunked: bool) -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        # Three on one connection: what comes after an offer is read as well.
        for number in range(3):
            content = request(f"/{number}", OFFERS[offer] if number != 1 else "", chunked=chunked)
            size = max(1, len(content) // pieces)
            for first in range(0, len(content), size):
                writer.write(content[first : first + size])
                await writer.drain()
                await asyncio.sleep(0)
            path, names, body = (await _answer(reader)).split(b"|")
            assert (path, body) == (b"/%d" % number, BODY)
            assert b"x-mine" in names
            assert b"upgrade" not in names.split(b",")
        writer.close()


async def test_requests_sent_together() -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(request(f"/{number}", OFFERS["h2c"], chunked=False) for number in range(5)))
        for number in range(5):
            assert (await _answer(reader)).startswith(b"/%d|" % number)
        writer.close()


async def test_a_get_with_an_offer() -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n" + OFFERS["h2c"].encode() + b"\r\n")
        assert (await _answer(reader)).endswith(b"|")
        writer.close()
