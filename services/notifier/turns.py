"""Turns of those who want the same names: each has a name once all who asked for it before are through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Hashable
from contextlib import asynccontextmanager


class Turns:
    """Gives each name to one at a time, in the order in which `of` was entered.

    Whoever wants several names asks for all of them at once, so nobody waits for somebody who came later, and no two
    wait for each other.
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def of(self, names: Collection[Hashable]) -> AsyncIterator[None]:
        """Have all of these names, until the block ends."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        before = {held for name in names if (held := self._last.get(name)) is not None}
        self._last.update(dict.fromkeys(names, mine))
        try:
            if before:
                await asyncio.wait(before)
            yield
        finally:
            # One that was cancelled while it waited lets the next one go on only after those before it.
            if all(held.done() for held in before):
                self._end(names, mine)
            else:
                waiting = asyncio.gather(*before)
                waiting.add_done_callback(lambda _: self._end(names, mine))

    def _end(self, names: Collection[Hashable], mine: asyncio.Future[None]) -> None:
        mine.set_result(None)
        for name in names:
            if self._last.get(name) is mine:
                del self._last[name]
