"""One fetch a key while it lasts, and a moment longer for a crowd."""

from __future__ import annotations

import asyncio

import pytest

from services.query_api.flights import CROWD, Flights


class Fetch:
    """A fetch that ends when it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.count += 1
        mine = self.count
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return mine


async def test_askers_of_one_key_share_a_flight_and_others_have_their_own() -> None:
    flights, fetch, other = Flights(), Fetch(), Fetch()
    tasks = [asyncio.create_task(flights.share("a", fetch)) for _ in range(1000)]
    tasks.append(asyncio.create_task(flights.share("b", other)))
    await asyncio.sleep(0)
    tasks[0].cancel()
    fetch.go.set()
    other.go.set()
    values = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(values[0], asyncio.CancelledError)
    assert set(values[1:]) == {1}
    assert (fetch.count, other.count) == (1, 1)


async def test_who_asks_alone_gets_a_flight_each_time() -> None:
    flights, fetch = Flights(), Fetch()
    fetch.go.set()
    assert [await flights.share("a", fetch) for _ in range(3)] == [1, 2, 3]


async def test_the_last_of_a_burst_share_what_just_landed_for_a_moment() -> None:
    flights, fetch = Flights(linger_seconds=0.05), Fetch()
    burst = [asyncio.create_task(flights.share("a", fetch)) for _ in range(CROWD)]
    await asyncio.sleep(0)
    fetch.go.set()
    assert await asyncio.gather(*burst) == [1] * CROWD
    assert await flights.share("a", fetch) == 1
    await asyncio.sleep(0.2)
    assert await flights.share("a", fetch) == 2


async def test_a_burst_that_goes_on_is_served_anew_in_the_end() -> None:
    flights, fetch = Flights(linger_seconds=0.1, longest_seconds=0.3), Fetch()
    burst = [asyncio.create_task(flights.share("a", fetch)) for _ in range(CROWD)]
    await asyncio.sleep(0)
    fetch.go.set()
    await asyncio.gather(*burst)
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while await flights.share("a", fetch) == 1:
        assert loop.time() - began_at < 5
        await asyncio.sleep(0.02)
    assert loop.time() - began_at > 0.25


async def test_a_failure_reaches_every_asker_and_is_not_kept() -> None:
    flights, fetch = Flights(), Fetch()
    fetch.error = ValueError("no")
    burst = [asyncio.create_task(flights.share("a", fetch)) for _ in range(CROWD)]
    await asyncio.sleep(0)
    fetch.go.set()
    assert all(isinstance(one, ValueError) for one in await asyncio.gather(*burst, return_exceptions=True))
    with pytest.raises(ValueError, match="no"):
        await flights.share("a", fetch)
    assert fetch.count == 2
