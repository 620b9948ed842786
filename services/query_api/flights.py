"""Shares fetches: requests for a key that is being fetched wait for the same fetch (a flight). No I/O.

A flight with many askers is kept for a moment after it landed. The thousand requests of a burst are not read off their
sockets at once: without this, the last of them would find that the burst's flight has just landed, and begin another
one. A single asker always gets a flight of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")

CROWD = 4
"""How many askers of one flight make a burst."""
LINGER_SECONDS = 1.0
"""How long a burst's result is kept after the last asker."""
LONGEST_LINGER_SECONDS = 10.0
"""How long a burst's result is kept at most, even while requests go on."""


class _Flight(Generic[Value]):
    __slots__ = ("asked_at", "askers", "landed_at", "task")

    def __init__(self, task: asyncio.Task[Value]) -> None:
        self.task = task
        self.askers = 0
        self.asked_at = 0.0
        self.landed_at = 0.0


class Flights:
    """Running flights, and bursts' flights that landed a moment ago."""

    def __init__(
        self, *, linger_seconds: float = LINGER_SECONDS, longest_seconds: float = LONGEST_LINGER_SECONDS
    ) -> None:
        self._linger_seconds = linger_seconds
        self._longest = longest_seconds
        self._flights: dict[Hashable, _Flight[Any]] = {}

    async def share(self, key: Hashable, fetch: Callable[[], Awaitable[Value]]) -> Value:
        """The result of `fetch`, or of the key's flight that runs or has just landed.

        Raises:
            Exception: the error of the fetch; errors are not kept.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(_run(fetch)))
            flight.task.add_done_callback(lambda _: self._landed(key, flight))
        flight.askers += 1
        flight.asked_at = asyncio.get_running_loop().time()
        # Shielded, so that an asker that gives up does not cancel the fetch for the others.
        value: Value = await asyncio.shield(flight.task)
        return value

    def _landed(self, key: Hashable, flight: _Flight[Any]) -> None:
        failed = flight.task.cancelled() or flight.task.exception() is not None
        if failed or flight.askers < CROWD:
            self._drop(key, flight)
            return
        flight.landed_at = asyncio.get_running_loop().time()
        self._linger(key, flight)

    def _linger(self, key: Hashable, flight: _Flight[Any]) -> None:
        """Keep a flight until nobody has asked for a while."""
        loop = asyncio.get_running_loop()
        until = min(max(flight.asked_at, flight.landed_at) + self._linger_seconds, flight.landed_at + self._longest)
        if loop.time() >= until:
            self._drop(key, flight)
        else:
            loop.call_at(until, self._linger, key, flight)

    def _drop(self, key: Hashable, flight: _Flight[Any]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _run(fetch: Callable[[], Awaitable[Value]]) -> Value:
    return await fetch()
