"""Makes calls to platforms: a description in, a status, headers and a whole body out.

Never follows a redirect, never keeps a cookie, never lets an error of the HTTP library through. httpx's transports are
used without its client, which would carry cookies from one tenant's answer into another's request, and each holds one
connection: a pool of 32 searched through all of them at each call. Measured on one busy core with answers of 25 posts:
5.1 ms of processor time a call with client and pool, 1.2 ms so.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
import sys
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote, urlencode, urlsplit

import httpx
import orjson

from services.platforms.abilities import RefreshCall
from services.platforms.base import Call
from services.poller.errors import (
    AnswerTooLarge,
    BrokenAnswer,
    ForbiddenAddress,
    NotSent,
    PollerError,
    TimedOut,
    Unreachable,
)
from services.runtime.addresses import public_only_transport
from services.runtime.resolving import Resolver
from services.runtime.settings import MESSAGE_MAX_BYTES

# What the event needs beside the body: ids of up to 100 targets, the request, headers of the message.
EVENT_MARGIN_BYTES = 256 * 1024
BODY_MAX_BYTES = MESSAGE_MAX_BYTES - EVENT_MARGIN_BYTES
CONNECT_SECONDS = 5.0
KEEPALIVE_SECONDS = 30.0
# Open connections that wait for another call, over all platforms.
MOST_IDLE = 512
USER_AGENT = "tidemark/0.1 (analytics of the account owner's own posts)"
_HEADERS = {"user-agent": USER_AGENT, "accept": "application/json", "accept-encoding": "gzip"}
# What a path holds as it is; escapes in it are made already.
_PATH_SAFE = "/%:@!$&'()*+,;="
_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
# A compressed body may be longer than what it holds by this part and these bytes: stored blocks, and flushes between
# them. Blocks that hold nothing could go on without end.
_STORED_SHARE = 8
_STORED_BYTES = 64 * 1024
# RFC 1952, section 2.2: a gzip body may have several members, of which each costs a decoder. Servers that compress in
# blocks of 64 KiB need 120 for the largest body.
MOST_MEMBERS = 256
# What zlib copies at most where a member ends within a chunk.
_PIECE_BYTES = 64 * 1024

# httpcore asks for this package at every lock; a search that fails takes 0.1 ms and is not remembered by Python.
if importlib.util.find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]  # documented: makes the import fail at once

Transports = Callable[[str, bool], httpx.AsyncBaseTransport]
"""From a platform, and whether its address was configured, to a transport of one connection: the seam for tests."""


def target_of(call: Call | RefreshCall, origin: str = "") -> bytes:
    """Path and query as they are sent; the origin's own path, if it has one, comes first.

    Raises:
        NotSent: the path leads out of itself, so that it would name something else than was meant.
    """
    if any(unquote(segment) in (".", "..") for segment in call.path.split("/")):
        raise NotSent("the call's path holds a dot segment; an id in it was not escaped by `path_part`")
    path = urlsplit(origin).path + quote(call.path, safe=_PATH_SAFE)
    query = urlencode(call.query, quote_via=quote) if isinstance(call, RefreshCall) else call.query_text()
    return (f"{path}?{query}" if query else path).encode("ascii")


@lru_cache(maxsize=1024)
def _parsed(origin: str) -> httpx.URL:
    return httpx.URL(origin)


def _forbidden(host: str) -> ForbiddenAddress:
    return ForbiddenAddress(
        f"{host} resolves to no public address; set the platform's TIDEMARK_<PLATFORM>_BASE_URL to allow it"
    )


class Reply(NamedTuple):
    """One HTTP answer; header names in lower case, the body decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Fetcher:
    """Connections to all platforms.

    Args:
        base_urls: configured addresses by platform; they stand for all of the platform's origins and may be private.
        timeout_seconds: for one call as a whole.
        transports: None for the network.
        body_max_bytes: larger bodies are `AnswerTooLarge`.
    """

    def __init__(
        self,
        base_urls: Mapping[str, str],
        *,
        timeout_seconds: float = 30.0,
        transports: Transports | None = None,
        body_max_bytes: int = BODY_MAX_BYTES,
    ) -> None:
        self._base_urls = dict(base_urls)
        self._timeout_seconds = timeout_seconds
        timeout = httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
        self._timeout = timeout.as_dict()
        self._limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_SECONDS)
        self._make = transports or self._network
        self._body_max_bytes = body_max_bytes
        self._idle: OrderedDict[tuple[str, str], list[httpx.AsyncBaseTransport]] = OrderedDict()
        self._idle_count = 0
        self._verify: ssl.SSLContext | None = None
        self._resolver = Resolver()

    def origin(self, platform: str, call: Call | RefreshCall, default_base_url: str) -> str:
        """Where a call goes: the configured origin, or the platform's own."""
        return (self._base_urls.get(platform) or call.base_url or default_base_url).rstrip("/")

    async def fetch(
        self, platform: str, call: Call | RefreshCall, default_base_url: str, headers: Mapping[str, str]
    ) -> Reply:
        """Make one call.

        Raises:
            RetryLater: no answer came (`Unreachable`, `TimedOut`, `BrokenAnswer`).
            AnswerTooLarge: ask for less.
            NotSent: the request is impossible, or its address forbidden.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._fetch(platform, call, default_base_url, headers)
        except PollerError:
            raise
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TimedOut(f"{platform}: {type(error).__name__}") from None
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL, UnicodeError) as error:
            raise NotSent(f"{platform}: {type(error).__name__}: the request can't be sent") from None
        except (httpx.RemoteProtocolError, httpx.DecodingError, httpx.StreamError) as error:
            raise BrokenAnswer(f"{platform}: {type(error).__name__}") from None
        except (httpx.HTTPError, httpx.CookieConflict, OSError, ssl.SSLError) as error:
            raise Unreachable(f"{platform}: {type(error).__name__}: {error}") from None

    async def fetch_grant(self, platform: str, call: RefreshCall, default_base_url: str) -> Reply:
        """Make one call to a token endpoint; no error repeats anything of it.

        Raises:
            PollerError: as `fetch`.
        """
        try:
            return await self.fetch(platform, call, default_base_url, call.headers)
        except PollerError as error:
            raise type(error)(f"{platform}: token endpoint: {error.code}") from None

    async def _fetch(
        self, platform: str, call: Call | RefreshCall, default_base_url: str, headers: Mapping[str, str]
    ) -> Reply:
        origin = self.origin(platform, call, default_base_url)
        content = None
        if isinstance(call, RefreshCall):
            if call.form:
                content = urlencode(call.form).encode()
                headers = {**headers, "content-type": "application/x-www-form-urlencoded"}
        elif call.json is not None:
            content = orjson.dumps(call.json)
            headers = {**headers, "content-type": "application/json"}
        request = httpx.Request(
            call.method,
            _parsed(origin),
            headers={**_HEADERS, **headers},
            content=content,
            extensions={"timeout": self._timeout, "target": target_of(call, origin)},
        )
        transport = self._take(platform, origin)
        try:
            response = await transport.handle_async_request(request)
            try:
                return Reply(response.status_code, response.headers, await self._body(response))
            finally:
                await response.aclose()
        finally:
            await self._give_back(platform, origin, transport)

    async def _body(self, response: httpx.Response) -> bytes:
        """The whole body, decompressed, never holding more of it than allowed, nor reading on after its end."""
        limit = self._body_max_bytes
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding in ("identity", ""):
            received = bytearray()
            async for chunk in response.aiter_raw():
                received += chunk
                if len(received) > limit:
                    raise AnswerTooLarge(f"the answer has more than {limit} bytes")
            return bytes(received)
        if encoding not in _WBITS:
            raise BrokenAnswer(f"the answer is in {encoding[:40]!r}, which was not asked for")
        return await self._decompressed(response, _WBITS[encoding], limit)

    async def _decompressed(self, response: httpx.Response, wbits: int, limit: int) -> bytes:
        inflating = _Inflating(wbits, limit)
        try:
            async for chunk in response.aiter_raw():
                view = memoryview(chunk)
                for start in range(0, len(view), _PIECE_BYTES):
                    inflating.take(view[start : start + _PIECE_BYTES])
        except zlib.error as error:
            raise BrokenAnswer(f"the answer can't be decompressed: {error}") from None
        return inflating.body()

    def _take(self, platform: str, origin: str) -> httpx.AsyncBaseTransport:
        """The connection used last, which is the likeliest to be open still, or a new one."""
        idle = self._idle.get((platform, origin))
        if not idle:
            return self._make(platform, platform in self._base_urls)
        self._idle_count -= 1
        return idle.pop()

    async def _give_back(self, platform: str, origin: str, transport: httpx.AsyncBaseTransport) -> None:
        self._idle.setdefault((platform, origin), []).append(transport)
        self._idle.move_to_end((platform, origin))
        self._idle_count += 1
        while self._idle_count > MOST_IDLE:
            longest_unused = next(iter(self._idle))
            connections = self._idle[longest_unused]
            if connections:
                self._idle_count -= 1
                await connections.pop(0).aclose()
            if not connections:
                self._idle.pop(longest_unused, None)

    def _network(self, platform: str, configured: bool) -> httpx.AsyncBaseTransport:
        if self._verify is None:
            self._verify = httpx.create_ssl_context(trust_env=False)
        if configured:
            return httpx.AsyncHTTPTransport(verify=self._verify, limits=self._limits, trust_env=False)
        return public_only_transport(self._verify, self._limits, _forbidden, self._resolver)

    async def close(self) -> None:
        """Close all connections to platforms; no call may follow."""
        for idle in self._idle.values():
            for transport in idle:
                await transport.aclose()
        self._idle.clear()
        self._idle_count = 0


class _Inflating:
    """One compressed body, as it comes: what it holds, what it takes and how many members it has are bounded.

    Args:
        wbits: zlib's name of the format.
        limit: bytes that the body may hold.
    """

    def __init__(self, wbits: int, limit: int) -> None:
        self._wbits = wbits
        self._limit = limit
        self._decoder = zlib.decompressobj(wbits)
        self._members = 1
        self._taken = 0
        self._received = bytearray()

    def take(self, piece: bytes | memoryview) -> None:
        """Decompress one piece.

        Raises:
            AnswerTooLarge: the body holds more than it may.
            BrokenAnswer: something follows the end, of gzip more than further members; or the pieces hold nothing.
            zlib.error: as zlib.
        """
        self._taken += len(piece)
        if self._taken > self._limit + self._limit // _STORED_SHARE + _STORED_BYTES:
            raise BrokenAnswer("the compressed answer is longer than what it may hold")
        left: bytes | memoryview = piece
        while left:
            if self._decoder.eof:
                self._begin_member()
            self._received += self._decoder.decompress(left, self._limit + 1 - len(self._received))
            if len(self._received) > self._limit:
                raise AnswerTooLarge(f"the answer has more than {self._limit} bytes")
            left = self._decoder.unused_data

    def body(self) -> bytes:
        """All that was received, once no piece is left; an answer without a body is empty, however it is said to come.

        Raises:
            BrokenAnswer: the body ends early.
        """
        if self._taken and not self._decoder.eof:
            raise BrokenAnswer("the compressed answer ends early")
        return bytes(self._received)

    def _begin_member(self) -> None:
        if self._wbits != _WBITS["gzip"]:
            raise BrokenAnswer("something follows the end of the compressed answer")
        if self._members >= MOST_MEMBERS:
            raise BrokenAnswer(f"the compressed answer has more than {MOST_MEMBERS} members")
        self._members += 1
        self._decoder = zlib.decompressobj(self._wbits)
