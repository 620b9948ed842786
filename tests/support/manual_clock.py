"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
from typing import Any

START = 1_790_000_000_000
# Enough turns of the event loop for whatever was woken to reach its next wait.
_TURNS = 60
# After so many turns in which nobody else ran, nobody is left who needs no time.
_QUIET_TURNS = 4


class ManualClock:
    """Wall clock in ms, moved by hand."""

    def __init__(self, at: int = START) -> None:
        self.at = at

    def now(self) -> int:
        """The instant it stands at."""
        return self.at


class ManualTime(ManualClock):
    """A clock to wait by; `advance` wakes whoever waited long enough, in order."""

    def __init__(self, at: int = START) -> None:
        super().__init__(at)
        self._alarms: list[list[Any]] = []
        self._count = 0

    async def wait(self, changed: asyncio.Event, until: int | None) -> None:
        """See `services.poller.timing.Time.wait`."""
        if until is not None and until <= self.at:
            await asyncio.sleep(0)
            return
        self._count += 1
        alarm = [until, self._count, changed]
        if until is not None:
            heapq.heappush(self._alarms, alarm)
        try:
            await changed.wait()
        finally:
            # Whoever was woken by something else waits for this instant no longer.
            alarm[2] = None

    async def advance(self, millis: int = 0) -> None:
        """Move on, stopping at each alarm on the way."""
        end = self.at + millis
        await self.settle()
        while self._alarms and self._alarms[0][0] <= end:
            at, _, changed = heapq.heappop(self._alarms)
            if changed is None:
                continue
            self.at = max(self.at, at)
            changed.set()
            await self.settle()
        self.at = end
        await self.settle()

    async def settle(self) -> None:
        """Let everything run that needs no time."""
        # Of the loops of asyncio, who runs next; a loop without it takes all turns.
        ready = getattr(asyncio.get_running_loop(), "_ready", None)
        quiet = 0
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            quiet = quiet + 1 if ready is not None and not ready else 0
            if quiet == _QUIET_TURNS:
                return
