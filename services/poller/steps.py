"""Notices when the machine's clock is set back, and moves what waits for an instant with it.

Set forward, a clock only makes everything due at once, which the budgets spread. Set back by an hour, it would leave
every target waiting for an hour more than its interval, and circuits and budgets closed for as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from services.runtime.logging import get_logger

# Less is drift, corrected by slewing or by small steps; nothing waits for so short a time.
LEAST_STEP = 1_000
_LOOK_SECONDS = 0.5
_log = get_logger(__name__)


class ClockSteps:
    """Compares the clock with one that is never set; all in ms.

    Args:
        now: the clock.
        ticks: see `services.runtime.clock.ticks`.
    """

    def __init__(self, now: Callable[[], int], ticks: Callable[[], int]) -> None:
        self._now = now
        self._ticks = ticks
        self._ahead = now() - ticks()

    def set_back_by(self) -> int:
        """By how much the clock was set back since the last look; 0 when it was not, or hardly."""
        ahead = self._now() - self._ticks()
        by = self._ahead - ahead
        if abs(by) < LEAST_STEP:
            return 0
        self._ahead = ahead
        return max(0, by)

    async def watch(self, followers: Iterable[Callable[[int], None]]) -> None:
        """Tell each follower by how much the clock was set back, as often as it is; until cancelled."""
        while True:
            by = self.set_back_by()
            if by:
                _log.warning("the clock was set back; what is due moves with it", milliseconds=by)
                for follow in followers:
                    follow(by)
            await asyncio.sleep(_LOOK_SECONDS)
