"""An address counts as public only when nothing that it is, or carries, leads to a private network."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.runtime.addresses import is_public

# Sources: the IANA registries of special-purpose addresses.
PRIVATE_4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
]  # fmt: skip
PRIVATE_6 = [
    "::/128", "::1/128", "::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/32", "2001:2::/48",
    "2001:10::/28", "2001:20::/28", "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10",
    "ff00::/8", "::ffff:0:0:0/96",
]  # fmt: skip
PUBLIC_4 = ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
            "128.0.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
            "198.17.255.255", "198.20.0.0", "223.255.255.255"]  # fmt: skip
PUBLIC_6 = ["2606:4700::1111", "2001:4860:4860::8888", "2a00:1450:4001:800::200e", "2001:200::1", "2400:cb00::1"]


def forms(inner: ipaddress.IPv4Address) -> list[str]:
    """The IPv6 addresses by which an IPv4 address may be reached."""
    number = int(inner)
    return [
        f"::ffff:{inner}",
        str(ipaddress.IPv6Address((0xFFFF << 32) | number)),
        str(ipaddress.IPv6Address((0x64FF9B << 96) | number)),
        str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1)),
    ]


def unroutable_forms(inner: ipaddress.IPv4Address) -> list[str]:
    """Those that no public host has, whatever is within: compatible, translated, Teredo, a network's own NAT64."""
    number = int(inner)
    return [
        f"::{inner}",
        str(ipaddress.IPv6Address((0xFFFF << 48) | number)),
        str(ipaddress.IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF))),
        str(ipaddress.IPv6Address((0x20010000 << 96) | (number << 64))),
        str(ipaddress.IPv6Address((0x0064FF9B0001 << 80) | number)),
    ]


def within(block: str, data: st.DataObject) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    network = ipaddress.ip_network(block)
    return network[data.draw(st.integers(0, network.num_addresses - 1))]


@settings(deadline=None)
@given(st.sampled_from(PRIVATE_4), st.data())
def test_no_form_of_a_private_address_is_public(block: str, data: st.DataObject) -> None:
    inner = within(block, data)
    assert isinstance(inner, ipaddress.IPv4Address)
    for address in (str(inner), *forms(inner), *unroutable_forms(inner)):
        assert not is_public(address), address


@settings(deadline=None)
@given(st.sampled_from(PRIVATE_6), st.data())
def test_no_special_block_is_public(block: str, data: st.DataObject) -> None:
    assert not is_public(str(within(block, data)))
    network = ipaddress.ip_network(block)
    assert not is_public(str(network[0]))
    assert not is_public(str(network[-1]))


@pytest.mark.parametrize("address", PUBLIC_4)
def test_a_public_address_is_public_in_each_form_that_reaches_it(address: str) -> None:
    inner = ipaddress.IPv4Address(address)
    assert is_public(address)
    assert all(is_public(form) for form in forms(inner))
    assert not any(is_public(form) for form in unroutable_forms(inner))


@pytest.mark.parametrize("address", PUBLIC_6)
def test_public_hosts_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", ["fe80::1%eth0", "fe80::1%25eth0", "::1%lo", "2606:4700::1111%eth0"])
def test_an_address_with_a_zone_is_of_one_link(address: str) -> None:
    assert not is_public(address)


@settings(deadline=None)
@given(st.integers(0, 2**128 - 1))
@example(0x64FF9B << 96 | 0x7F000001)
def test_every_address_has_an_answer(number: int) -> None:
    address = ipaddress.IPv6Address(number)
    # Nothing that Python knows to be private becomes public here, but for the forms that carry a public one.
    if is_public(str(address)):
        assert address.is_global or address.ipv4_mapped is not None or address.sixtofour is not None
