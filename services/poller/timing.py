"""Waiting behind one seam, so that tests of the loop move time by hand."""

from __future__ import annotations

import asyncio
from typing import Protocol

from services.runtime.clock import Clock, SystemClock

# Waits are cut into pieces, so that a clock that was set forward is noticed.
_LONGEST_WAIT_SECONDS = 30.0


class Time(Clock, Protocol):
    """A clock that one can wait by."""

    async def wait(self, changed: asyncio.Event, until: int | None) -> None:
        """Return when `changed` is set, or at about `until` (ms; None: whenever); may return early."""


class SystemTime(SystemClock):
    """The machine's clock and the event loop's timers."""

    async def wait(self, changed: asyncio.Event, until: int | None) -> None:
        """See `Time.wait`."""
        seconds = _LONGEST_WAIT_SECONDS
        if until is not None:
            seconds = min(max(0.0, (until - self.now()) / 1000), _LONGEST_WAIT_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            pass  # the other way to be done
