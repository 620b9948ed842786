"""Look-ups that hang delay their owner alone, and count until their thread really ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from services.runtime.resolving import NameUnanswered, NameUnknown, Resolver, system_look_up
from tests.support.waiting import wait_until_async


class Names:
    """Names that answer, don't exist, or are silent until they are released."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released = threading.Event()

    def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        if host.startswith("silent"):
            self.released.wait(20)
        if host.startswith("unknown"):
            raise OSError("no such name")
        return [f"93.184.215.{len(host)}"]


@pytest.fixture
def names() -> Iterator[Names]:
    made = Names()
    yield made
    made.released.set()


async def hang(resolver: Resolver, owner: str, *hosts: str) -> None:
    """Look-ups that nobody waits for any more."""
    asked = [resolver.addresses(host, owner, 0.02) for host in hosts]
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(outcome, NameUnanswered)


async def test_silent_names_delay_their_owner_alone(names: Names) -> None:
    resolver = Resolver(names, most=8, most_each=2)
    await hang(resolver, "w1", *(f"silent{number}" for number in range(10)))
    # Nobody waits for them any more, and their threads still count.
    assert (resolver.threads, sorted(names.asked)) == (2, ["silent0", "silent1"])
    with pytest.raises(NameUnanswered):
        await resolver.addresses("good", "w1", 0.02)
    assert await resolver.addresses("good", "w2", 5) == ["93.184.215.4"]
    names.released.set()
    assert await resolver.addresses("good", "w1", 5) == ["93.184.215.4"]
    await until_idle(resolver)


async def test_a_name_that_is_being_looked_up_is_joined(names: Names) -> None:
    resolver = Resolver(names, most_each=1)
    asked = [asyncio.create_task(resolver.addresses("silent", owner, 5)) for owner in ("w1", "w1", "w2")]
    await hang(resolver, "w3", "silent")
    assert (names.asked, resolver.threads) == (["silent"], 1)
    names.released.set()
    assert await asyncio.gather(*asked) == [["93.184.215.6"]] * 3


async def test_a_name_that_waits_for_a_busy_owner_is_not_joined(names: Names) -> None:
    resolver = Resolver(names, most_each=1)
    await hang(resolver, "w1", "silent")
    waits = asyncio.create_task(resolver.addresses("shared", "w1", 5))
    await asyncio.sleep(0)
    assert await resolver.addresses("shared", "w2", 5) == ["93.184.215.6"]
    names.released.set()
    assert await waits == ["93.184.215.6"]


async def test_owners_have_free_threads_in_turns(names: Names) -> None:
    resolver = Resolver(names, most=1)
    held = asyncio.create_task(resolver.addresses("silent", "w0", 5))
    await asyncio.sleep(0)
    hosts = [("w1", f"a{number}") for number in range(20)] + [("w2", "b")]
    asked = [asyncio.create_task(resolver.addresses(host, owner, 5)) for owner, host in hosts]
    given_up = asyncio.create_task(resolver.addresses("c", "w3", 5))
    await asyncio.sleep(0)
    given_up.cancel()
    names.released.set()
    await asyncio.gather(held, *asked)
    assert names.asked.index("b") <= 2
    assert "c" not in names.asked
    await until_idle(resolver)


async def test_each_waits_no_longer_than_it_wants_and_the_turn_goes_on(names: Names) -> None:
    resolver = Resolver(names, most=2, most_each=2)
    await hang(resolver, "w1", "silent0", "silent1")
    await hang(resolver, "w2", *(f"x{number}" for number in range(5)))
    assert (resolver.threads, len(names.asked)) == (2, 2)
    names.released.set()
    assert await resolver.addresses("y", "w2", 5) == ["93.184.215.1"]


async def test_a_name_that_does_not_exist_is_told_apart(names: Names) -> None:
    resolver = Resolver(names)
    with pytest.raises(NameUnknown, match="unknown can't be resolved: no such name"):
        await resolver.addresses("unknown", "w1", 5)
    await until_idle(resolver)


@pytest.mark.parametrize("address", ["127.0.0.1", "2606:4700::1111", "fe80::1%eth0"])
async def test_an_address_needs_no_look_up(names: Names, address: str) -> None:
    assert await Resolver(names).addresses(address, "w1", 0) == [address]
    assert not names.asked


def test_the_system_looks_names_up() -> None:
    assert set(system_look_up("localhost")) <= {"127.0.0.1", "::1"}
    with pytest.raises((OSError, UnicodeError)):
        system_look_up("a" * 64 + ".example")


async def until_idle(resolver: Resolver) -> None:
    """All threads have ended, and nobody waits for one."""

    async def is_idle() -> bool:
        return not resolver.threads and not resolver._waiting and not resolver._running

    await wait_until_async(is_idle, 5, "idle")
