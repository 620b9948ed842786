"""A platform that fails as it is told to, over real HTTP: Bluesky's read methods with made-up figures.

It serves from a thread of its own, so that a test may kill, wait and look meanwhile. Each answer carries a serial
number as its posts' likes, so that a test can tell which answers arrived.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"
_START_SECONDS = 10
# Closing a socket that lingers for no time resets its connection.
_RESET = struct.pack("ii", 1, 0)
_REASONS = {200: "OK", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}


class Way(StrEnum):
    """What becomes of a call."""

    WHOLE = "whole"  # an answer, of whatever status
    RESET = "reset"  # the connection breaks before an answer
    HALF_BODY = "half body"  # it breaks in the middle of the body
    NOT_HTTP = "not HTTP"  # bytes that mean nothing


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How calls are answered.

    Attributes:
        status: of a whole answer; above 299 the body is the platform's error.
        delay_seconds: before anything is sent.
    """

    way: Way = Way.WHOLE
    status: int = 200
    delay_seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


WELL = Behaviour()


class Asked(NamedTuple):
    """One call: when it came (seconds of `time.monotonic`), and for which posts."""

    at: float
    posts: tuple[str, ...]


class Answered(NamedTuple):
    """A call that was answered as a whole, with status 200, and the answer's serial number."""

    asked: Asked
    serial: int


class FaultyPlatform:
    """The server; `behave` changes what it does from the next call on.

    Args:
        tls: serve https with it.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.answered: list[Answered] = []
        self.connections = 0
        self.behaviour = WELL
        self._tls = tls
        self._serial = 0
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-platform", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(_START_SECONDS)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'http' if tls is None else 'https'}://{HOST}:{port}"

    def behave(self, behaviour: Behaviour) -> None:
        """Answer so from now on; calls that wait already are answered as before."""
        self.behaviour = behaviour

    def since(self, at: float) -> list[Asked]:
        """Calls that came after an instant of `time.monotonic`."""
        return [asked for asked in list(self.asked) if asked.at > at]

    def answered_since(self, at: float) -> set[str]:
        """Posts that were answered in calls that came after an instant of `time.monotonic`."""
        return {post for answered in list(self.answered) if answered.asked.at > at for post in answered.asked.posts}

    def serials(self) -> set[int]:
        """Of every answer about posts that was sent as a whole with status 200."""
        return {answered.serial for answered in list(self.answered) if answered.asked.posts}

    def close(self) -> None:
        """End every connection and the thread."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_START_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_SECONDS)
        self._loop.close()

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, HOST, 0, ssl=self._tls, backlog=512)

    async def _stop(self) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # whoever asked has gone, or the test is over
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one call; returns whether the connection stays."""
        head = await reader.readuntil(b"\r\n\r\n")
        path = urlsplit(head.split(b" ", 2)[1].decode("ascii"))
        query = parse_qs(path.query)
        asked, behaviour = Asked(time.monotonic(), tuple(query.get("uris", ()))), self.behaviour
        self.asked.append(asked)
        self._serial += 1
        serial = self._serial
        if behaviour.delay_seconds:
            await asyncio.sleep(behaviour.delay_seconds)
            if reader.at_eof():
                return False  # nobody waits any more
        if behaviour.way is Way.RESET:
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
            writer.transport.abort()
            return False
        if behaviour.way is Way.NOT_HTTP:
            writer.write(b"\x00\xff no such thing as HTTP\r\n\r\n")
            await writer.drain()
            return False
        body = _body(asked.posts, query.get("actors", []), serial)
        if behaviour.status >= 300:
            body = orjson.dumps({"error": _REASONS[behaviour.status].replace(" ", ""), "message": "as it was told to"})
        head_lines = [f"HTTP/1.1 {behaviour.status} {_REASONS[behaviour.status]}", "content-type: application/json"]
        head_lines += [f"{name}: {value}" for name, value in behaviour.headers.items()]
        head_lines.append(f"content-length: {len(body)}")
        is_half = behaviour.way is Way.HALF_BODY
        writer.write("\r\n".join([*head_lines, "", ""]).encode() + (body[: len(body) // 2] if is_half else body))
        await writer.drain()
        if not is_half and behaviour.status == 200:
            self.answered.append(Answered(asked, serial))
        return not is_half


def _body(posts: Sequence[str], actors: Sequence[str], serial: int) -> bytes:
    if actors:
        profiles = [{"did": did, "followersCount": 7, "followsCount": 5, "postsCount": 3} for did in actors]
        return orjson.dumps({"profiles": profiles})
    counts = {"likeCount": serial, "replyCount": 1, "repostCount": 2, "quoteCount": 0, "bookmarkCount": 0}
    return orjson.dumps({"posts": [{"uri": uri, **counts} for uri in posts]})


def self_signed(folder: Path) -> ssl.SSLContext:
    """TLS with a certificate that nobody trusts; its files are written to a folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "self-signed.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
