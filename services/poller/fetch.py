"""Makes calls to platforms: a description in, a status, headers and a whole body out.

Never follows a redirect, never keeps a cookie, never lets an error of the HTTP library through. One transport a
platform, so that a slow platform fills its own connections only. httpx's transports are used without its client: the
client would carry cookies from one tenant's answer into another's request, and costs as much as the call itself.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import httpx
import orjson

from services.platforms.base import Call
from services.poller.addresses import public_only_transport
from services.poller.errors import AnswerTooLarge, BrokenAnswer, NotSent, PollerError, TimedOut, Unreachable
from services.runtime.settings import MESSAGE_MAX_BYTES

# What the event needs beside the body: ids of up to 100 targets, the request, headers of the message.
EVENT_MARGIN_BYTES = 256 * 1024
BODY_MAX_BYTES = MESSAGE_MAX_BYTES - EVENT_MARGIN_BYTES
CONNECT_SECONDS = 5.0
USER_AGENT = "tidemark/0.1 (analytics of the account owner's own posts)"
_HEADERS = {"user-agent": USER_AGENT, "accept": "application/json", "accept-encoding": "gzip"}
_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}

Transports = Callable[[str, bool], httpx.AsyncBaseTransport]
"""From a platform, and whether its address was configured, to a transport: the seam for tests."""


class Reply(NamedTuple):
    """One HTTP answer; header names in lower case, the body decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Fetcher:
    """Connections to all platforms.

    Args:
        base_urls: configured addresses by platform; they stand for all of the platform's origins and may be private.
        concurrency: connections to one platform.
        timeout_seconds: for one call as a whole.
        transports: None for the network.
        body_max_bytes: larger bodies are `AnswerTooLarge`.
    """

    def __init__(
        self,
        base_urls: Mapping[str, str],
        *,
        concurrency: int = 32,
        timeout_seconds: float = 30.0,
        transports: Transports | None = None,
        body_max_bytes: int = BODY_MAX_BYTES,
    ) -> None:
        self._base_urls = dict(base_urls)
        self._timeout_seconds = timeout_seconds
        timeout = httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
        self._extensions = {"timeout": timeout.as_dict()}
        self._limits = httpx.Limits(
            max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=30.0
        )
        self._make = transports or self._network
        self._body_max_bytes = body_max_bytes
        self._transports: dict[str, httpx.AsyncBaseTransport] = {}
        self._verify: ssl.SSLContext | None = None

    def url(self, platform: str, call: Call, default_base_url: str) -> str:
        """Where a call goes: the platform's own path and query on the configured origin, or on its own."""
        origin = self._base_urls.get(platform) or call.base_url or default_base_url
        query = call.query_text()
        return f"{origin.rstrip('/')}{call.path}" + (f"?{query}" if query else "")

    async def fetch(self, platform: str, call: Call, default_base_url: str, headers: Mapping[str, str]) -> Reply:
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

    async def _fetch(self, platform: str, call: Call, default_base_url: str, headers: Mapping[str, str]) -> Reply:
        transport = self._transports.get(platform)
        if transport is None:
            transport = self._transports[platform] = self._make(platform, platform in self._base_urls)
        content = None
        if call.json is not None:
            content = orjson.dumps(call.json)
            headers = {**headers, "content-type": "application/json"}
        request = httpx.Request(
            call.method,
            self.url(platform, call, default_base_url),
            headers={**_HEADERS, **headers},
            content=content,
            extensions=self._extensions,
        )
        response = await transport.handle_async_request(request)
        try:
            return Reply(response.status_code, response.headers, await self._body(response))
        finally:
            await response.aclose()

    async def _body(self, response: httpx.Response) -> bytes:
        """The whole body, decompressed, never holding more of it than allowed."""
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
        decoder = zlib.decompressobj(wbits)
        received = bytearray()
        try:
            async for chunk in response.aiter_raw():
                received += decoder.decompress(chunk, limit + 1 - len(received))
                if len(received) > limit:
                    raise AnswerTooLarge(f"the answer has more than {limit} bytes")
        except zlib.error as error:
            raise BrokenAnswer(f"the answer can't be decompressed: {error}") from None
        if received and not decoder.eof:
            raise BrokenAnswer("the compressed answer ends early")
        return bytes(received)

    def _network(self, platform: str, configured: bool) -> httpx.AsyncBaseTransport:
        if self._verify is None:
            self._verify = httpx.create_ssl_context(trust_env=False)
        if configured:
            return httpx.AsyncHTTPTransport(verify=self._verify, limits=self._limits, trust_env=False)
        return public_only_transport(self._verify, self._limits)

    async def close(self) -> None:
        """Close all connections."""
        for transport in self._transports.values():
            await transport.aclose()
        self._transports.clear()
