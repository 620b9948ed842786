"""Connections whose request leaves in one piece: head and body together, which spares the sender half of its writes."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore


class AtOnceBackend(httpcore.AsyncNetworkBackend):
    """Connects by another backend."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        self.inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As the backend within."""
        return _AtOnce(await self.inner.connect_tcp(host, port, timeout, local_address, socket_options))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class's signature
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As the backend within."""
        return _AtOnce(await self.inner.connect_unix_socket(path, timeout, socket_options))

    async def sleep(self, seconds: float) -> None:
        """As the backend within; `seconds` of real time."""
        await self.inner.sleep(seconds)


class _AtOnce(httpcore.AsyncNetworkStream):
    """Holds what is written until an answer is read. What fails then shows in the answer, or in that there is none."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._held = bytearray()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as above
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            try:
                await self._inner.write(held, timeout)
            except httpcore.WriteError:
                # As httpcore has it: a receiver may have answered before it read everything, and closed.
                pass
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        self._held += buffer

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> httpcore.AsyncNetworkStream:
        return _AtOnce(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
