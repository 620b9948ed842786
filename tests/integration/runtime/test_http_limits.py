"""A real server within bounds: what is sent half, without end or in masses ends in a status or a closed connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from services.runtime.http_limits import HttpLimits, limited_protocol

LIMITS = HttpLimits(
    target_bytes=8 * 1024,
    head_bytes=32 * 1024,
    headers=50,
    head_seconds=1.0,
    body_bytes=1024 * 1024,
    body_seconds=1.0,
    unread_seconds=1.0,
    connections=40,
    connections_by_address=30,
)
LARGE = b"x" * (24 * 1024 * 1024)
CLOSED_SECONDS = 8.0


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body and says how long it was; `/large` is answered in 24 MB."""
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = LARGE if scope["path"] == "/large" else b"%d" % length
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]},
    )
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(limits: HttpLimits) -> AsyncIterator[int]:
    """The port of a server within bounds."""
    server = uvicorn.Server(
        uvicorn.Config(application, port=0, http=limited_protocol(limits), lifespan="off", log_config=None, ws="none")
    )
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 - uvicorn tells it no other way
                await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(LIMITS) as held:
        yield held


async def exchange(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send, and read until the server closes; what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # From the beginning: what is sent to a server that has closed takes away what it said before.
    reading = asyncio.create_task(_all_of(reader))
    try:
        async with asyncio.timeout(CLOSED_SECONDS):
            with suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(pause)
            return await reading
    finally:
        reading.cancel()
        writer.close()


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    answer = bytearray()
    with suppress(ConnectionError):
        while chunk := await reader.read(65_536):
            answer += chunk
    return bytes(answer)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


GET = b"GET /healthz HTTP/1.1\r\nhost: a\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 414),
        (b"GET /?" + b"a" * 4_000_000, 414),
        (b"A" * 4_000_000, 400),
        (GET + b"x-long: " + b"a" * 4_000_000, 431),
        (GET + b"a" * 4_000_000, 431),
        (GET + b"a: b\r\n" * 51 + b"\r\n", 431),
        (GET + b"a: b\r\n" * 1_000_000, 431),
        (POST + b"content-length: 4000000\r\n\r\n" + b"a" * 4_000_000, 413),
        (POST + b"transfer-encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"a" * 65_536 + b"\r\n") * 40, 413),
        # Not before a whole request on the same connection, either.
        (GET + b"\r\n" + GET + b"x-long: " + b"a" * 4_000_000, 0),
    ],
)
async def test_what_is_too_large_is_refused_with_its_status(port: int, sent: bytes, status: int) -> None:
    answer = await exchange(port, sent)
    if status:
        assert status_of(answer) == status, answer[:200]
    assert status_of(await exchange(port, GET + b"connection: close\r\n\r\n")) == 200


async def test_what_is_as_large_as_allowed_is_taken(port: int) -> None:
    close = b"connection: close\r\n"
    assert (
        status_of(await exchange(port, b"GET /" + b"a" * 8_000 + b" HTTP/1.1\r\nhost: a\r\n" + close + b"\r\n")) == 200
    )
    assert status_of(await exchange(port, GET + close + b"a: b\r\n" * 48 + b"\r\n")) == 200
    assert status_of(await exchange(port, GET + close + b"a: " + b"b" * 30_000 + b"\r\n\r\n")) == 200
    body = b"a" * 1024 * 1024
    answer = await exchange(port, POST + close + b"content-length: %d\r\n\r\n" % len(body) + body)
    assert answer.endswith(b"\r\n\r\n%d" % len(body))


HALVES = [
    (b"", 0),
    (b"G", 408),
    (GET, 408),
    (GET + b"half", 408),
    (GET + b"\r\n" + b"GET /half", 200),
    (POST + b"content-length: 100\r\n\r\nhalf", 408),
    (POST + b"transfer-encoding: chunked\r\n\r\n5\r\nha", 408),
]


async def test_what_is_sent_half_is_closed(port: int) -> None:
    """Each waits for a second or two, so all of them wait together."""
    answers = await asyncio.gather(*(exchange(port, sent) for sent, _ in HALVES))
    for (sent, status), answer in zip(HALVES, answers, strict=True):
        assert (status_of(answer) if answer else 0) == status, sent


async def test_a_head_that_trickles_is_closed(port: int) -> None:
    answer = await exchange(port, GET, *[b"a: b\r\n"] * 40, pause=0.1)
    assert status_of(answer) == 408


async def test_half_sent_requests_leave_others_their_connections(port: int) -> None:
    """From one address 30 may be open: more are told so, and each of the half-sent ones is closed in time."""
    answers = await asyncio.gather(*(exchange(port, GET) for _ in range(60)))
    kinds = sorted(status_of(answer) for answer in answers)
    assert kinds == [408] * 30 + [503] * 30
    assert status_of(await exchange(port, GET + b"connection: close\r\n\r\n")) == 200


async def test_a_reply_that_nobody_reads_is_given_up(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")
    transport = writer.transport
    transport.pause_reading()  # type: ignore[attr-defined]  # of a socket it has it
    await asyncio.sleep(4)
    transport.resume_reading()  # type: ignore[attr-defined]  # likewise
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(len(LARGE))
    writer.close()


async def test_a_slow_reader_gets_all_of_it(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=64 * 1024)
    writer.write(b"GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    length = 0
    while chunk := await reader.read(1024 * 1024):
        length += len(chunk)
        await asyncio.sleep(0.01)
    assert length > len(LARGE)
    writer.close()


async def test_a_crowd_of_requests_at_once_is_cut_off_and_few_are_answered(port: int) -> None:
    few = await exchange(port, (GET + b"\r\n") * 19 + GET + b"connection: close\r\n\r\n")
    assert few.count(b"HTTP/1.1 200") == 20
    await exchange(port, (GET + b"\r\n") * 100_000)
    assert status_of(await exchange(port, GET + b"connection: close\r\n\r\n")) == 200
