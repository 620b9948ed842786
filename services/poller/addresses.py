"""Keeps calls to platforms out of private networks, whatever a name resolves to.

A platform's host can come from outside (an account's own server), so a name may lead to this machine or its
neighbours. The check is made on the address that is then connected to, so a name can't change in between.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import anyio
import httpcore
import httpx

from services.poller.errors import ForbiddenAddress


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return parsed.is_global and not parsed.is_multicast


class PublicOnlyBackend(httpcore.AsyncNetworkBackend):
    """Connects by TCP to public addresses only."""

    def __init__(self) -> None:
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, check and connect.

        Raises:
            ForbiddenAddress: the name leads nowhere public.
            httpcore.ConnectError, httpcore.ConnectTimeout: as the backend within.
        """
        addresses = await _resolve(host, port, timeout)
        public = [address for address in addresses if is_public(address)]
        if not public:
            raise ForbiddenAddress(
                f"{host} resolves to no public address; set the platform's TIDEMARK_<PLATFORM>_BASE_URL to allow it"
            )
        return await self._inner.connect_tcp(public[0], port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class's signature
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: a platform is not on this machine."""
        raise ForbiddenAddress("a platform can't be asked through a socket file")

    async def sleep(self, seconds: float) -> None:
        """As the backend within."""
        await self._inner.sleep(seconds)


async def _resolve(host: str, port: int, seconds: float | None) -> list[str]:
    try:
        with anyio.fail_after(seconds):
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from None
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} can't be resolved: {error}") from None
    return [str(entry[4][0]) for entry in found]


def public_only_transport(verify: ssl.SSLContext, limits: httpx.Limits) -> httpx.AsyncHTTPTransport:
    """A transport that refuses private, loopback and link-local addresses."""
    transport = httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)
    # httpx has no parameter for it; a test shows that it takes effect.
    transport._pool._network_backend = PublicOnlyBackend()
    return transport
