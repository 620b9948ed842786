"""Whether this process may be sent requests, and what of it does not work meanwhile. No I/O of its own.

A process that can read its own store answers most questions while ClickHouse is away, and takes writes, so it stays
ready: whoever took all processes out of service for that would turn a part's outage into one of everything.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

# Whoever asks waits for 5 s in the chart, and for less elsewhere.
_ANSWER_SECONDS = 1.0


class Feed(Protocol):
    """What the catalog is read by."""

    @property
    def missing(self) -> str | None:
        """What is not read to its end yet, as one line; None once everything was."""


class OwnStore(Protocol):
    """The store, as far as readiness needs it."""

    @property
    def awaited(self) -> str | None:
        """What it waits for until it was current once, as one line."""

    @property
    def missing(self) -> str | None:
        """What it waits for, as one line; None while it is current."""

    @property
    def is_readable(self) -> bool:
        """Whether something can be read at all, be it old."""


class Analytics(Protocol):
    """ClickHouse, as far as readiness needs it."""

    async def answers(self) -> bool:
        """Whether it answers and holds the tables."""


class Readiness:
    """What `/readyz` says.

    Args:
        store: None where there is none; then nothing can be read without ClickHouse.
    """

    def __init__(self, feed: Feed, store: OwnStore | None, clickhouse: Analytics) -> None:
        self._feed = feed
        self._store = store
        self._clickhouse = clickhouse
        self._problem: str | None = None

    async def missing(self) -> str | None:
        """Why no request should be sent here, as one line; None where the process is ready."""
        if self._feed.missing is not None:
            return self._feed.missing
        if self._store is not None and self._store.awaited is not None:
            return self._store.awaited
        self._problem = None if await self._answers() else "ClickHouse does not answer, or lacks the tables"
        return None if self._store is not None and self._store.is_readable else self._problem

    def note(self) -> str | None:
        """What does not work although the process is ready, as one line; of ClickHouse as `missing` last found it."""
        waiting = self._store.missing if self._store is not None else None
        if self._problem is None:
            return None if waiting is None else f"reads go to ClickHouse: {waiting}"
        if waiting is None:
            return f"only what the store holds can be read: {self._problem}"
        return f"only what the store held can be read: {self._problem}; {waiting}"

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._clickhouse.answers()
        except TimeoutError:
            return False
