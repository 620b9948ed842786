"""Keeps calls to others' servers out of private networks, whatever a name resolves to.

A host can come from outside (an account's own server, a webhook), so a name may lead to this machine or its neighbours.
The check is made on the address that is then connected to, so a name can't change in between.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Iterable
from typing import Any, Final

import httpcore
import httpx

from services.runtime.resolving import NameUnanswered, NameUnknown, Resolver

_MOST_ADDRESSES: Final = 3
"""Addresses of one name that a connection is tried at, one after the other."""

# Special-purpose blocks that Python's `is_global` takes for public, or that are no hosts. Sources: the IANA registries
# of special-purpose addresses, RFC 3879 (site-local), RFC 4291 (IPv4-compatible), RFC 2765 (IPv4-translated), RFC 7526
# (6to4 relays), RFC 8215 (a network's own NAT64: it chooses what is behind it), RFC 9602 (SRv6).
_NOT_HOSTS = [
    ipaddress.ip_network(block)
    for block in ("0.0.0.0/8", "192.0.0.0/24", "192.88.99.0/24", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48",
                  "100::/63", "2001::/23", "3fff::/20", "5f00::/16", "fec0::/10")
]  # fmt: skip
# What is sent there goes on to the IPv4 address in the last 32 bits: IPv4-mapped, and NAT64's own prefix (RFC 6052).
_EMBEDDING = [ipaddress.IPv6Network(block) for block in ("::ffff:0:0/96", "64:ff9b::/96")]


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet, also one that carries another address within.

    An address with a zone (`fe80::1%eth0`) is of one link, and so is not.
    """
    if "%" in address:
        return False
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        if any(parsed in block for block in _EMBEDDING):
            return _is_public_host(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
        if parsed.sixtofour is not None:
            return _is_public_host(parsed.sixtofour)
    return _is_public_host(parsed)


def _is_public_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in block for block in _NOT_HOSTS if block.version == address.version)
    )


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects by TCP to public addresses only, or to all; resolves names by a resolver of its own.

    Args:
        resolver: resolves names.
        refusal: makes the error that is raised for a host without a public address.
        owner: whose look-ups these are, from the host; see `Resolver.addresses`.
        allows_private: whether private addresses are connected to as well.
        inner: connects to addresses.
    """

    def __init__(
        self,
        resolver: Resolver,
        refusal: Callable[[str], Exception],
        owner: Callable[[str], str],
        *,
        allows_private: bool = False,
        inner: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._resolver = resolver
        self._refusal = refusal
        self._owner = owner
        self._allows_private = allows_private
        self._inner = inner or httpcore.AnyIOBackend()

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
            Exception: the one that `refusal` makes: the name leads nowhere public.
            httpcore.ConnectError, httpcore.ConnectTimeout: no address came, or none answered.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._addresses(host)
                failure: httpcore.ConnectError | None = None
                for address in addresses[:_MOST_ADDRESSES]:
                    try:
                        # The address, which was checked, and not the name again.
                        return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
                    except httpcore.ConnectError as error:
                        failure = failure or error
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"no connection to {host} in time") from None
        raise failure or self._refusal(host)

    async def _addresses(self, host: str) -> list[str]:
        try:
            found = await self._resolver.addresses(host, self._owner(host), None)
        except NameUnknown as error:
            raise httpcore.ConnectError(str(error)) from None
        return found if self._allows_private else [address for address in found if is_public(address)]

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class's signature
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: others' servers are not on this machine."""
        raise self._refusal(path)

    async def sleep(self, seconds: float) -> None:
        """Wait, as the backend within does; `seconds` of real time."""
        await self._inner.sleep(seconds)


async def leads_nowhere_public(resolver: Resolver, host: str, owner: str, seconds: float) -> bool:
    """Whether a host has addresses and none of them is public; False for a name that is not known or not answered."""
    try:
        addresses = await resolver.addresses(host, owner, seconds)
    except (NameUnknown, NameUnanswered):
        return False
    return not any(map(is_public, addresses))


def zone_of(host: str) -> str:
    """The last two labels of a name: who owns them can make as many names below as they like."""
    return ".".join(host.lower().rstrip(".").split(".")[-2:])


def public_only_transport(
    verify: ssl.SSLContext, limits: httpx.Limits, refusal: Callable[[str], Exception], resolver: Resolver
) -> httpx.AsyncHTTPTransport:
    """A transport that refuses private, loopback and link-local addresses, with the error that `refusal` makes.

    Look-ups belong to the owner of the name (`zone_of`).
    """
    transport = httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)
    # httpx has no parameter for it; a test shows that it takes effect.
    transport._pool._network_backend = CheckedBackend(resolver, refusal, zone_of)
    return transport
