"""Holds all partitions of a worker back while most events are bad, and lets them go on.

A paused worker reads and acknowledges nothing more. The process stays, since a restart would pause again. The pause
ends in two ways: an operator sends SIGUSR1, or a batch turns good. Each time a window has passed, the batches held back
are read again, which helps if the cause lay outside (a registry that was away).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from services.aggregator import metrics
from services.aggregator.limits import Breach, DeadLetterLimit
from services.runtime.clock import Clock
from services.runtime.logging import get_logger
from services.runtime.wording import counted

log = get_logger(__name__)


class Judged(NamedTuple):
    """The counts of a batch for the limit: its number of events, and (workspace, reason) of each dead letter."""

    events: int
    dead: Sequence[tuple[str, str]]


class DeadLetterPause:
    """The pause of one worker.

    Args:
        limit: counts events and dead letters.
        ratio: the limit's ratio, for the message to the operator.
    """

    def __init__(self, limit: DeadLetterLimit, ratio: float, clock: Clock) -> None:
        self._limit = limit
        self._ratio = ratio
        self._clock = clock
        self._breach: Breach | None = None
        self._until = 0.0
        # An operator switched the limit off until this instant, ms.
        self._excused_until = 0
        self._changed = asyncio.Event()

    @property
    def why(self) -> str | None:
        """Why the worker is paused, in one line; None while the worker is not paused."""
        if self._breach is None:
            return None
        breach = self._breach
        return (
            f"paused by the dead-letter limit: {breach.dead} of {counted(breach.events, 'event')} can't be used, in "
            f"{counted(breach.workspaces, 'workspace')} (mostly {', '.join(breach.reasons)}), more than "
            f"TIDEMARK_DEAD_LETTER_LIMIT_RATIO={self._ratio:g}; see `tidemark dead-letters list` and fix the cause; "
            "SIGUSR1 lets it go on"
        )

    def resume(self) -> None:
        """End the pause by an operator's decision, and apply no limit for one window."""
        self._excused_until = self._clock.now() + self._limit.window_millis
        self._open("an operator ended the pause")

    async def pass_through(self, judged: Judged, again: Callable[[], Awaitable[Judged]]) -> None:
        """Wait until a batch may be used.

        Args:
            judged: counts of the batch.
            again: reads the batch once more, and returns the new counts.
        """
        while True:
            if self._breach is None:
                now = self._clock.now()
                breach = self._limit.note(now, judged.events, judged.dead)
                if breach is None or now < self._excused_until:
                    return
                self._hold(breach)
            self._changed.clear()
            try:
                async with asyncio.timeout_at(self._until):
                    await self._changed.wait()
            except TimeoutError:
                pass  # the batch is read again below: it may have turned good
            if self._clock.now() < self._excused_until:
                continue
            judged = await again()
            if self._breach is not None:
                breach = self._limit.judge(judged.events, judged.dead)
                if breach is None:
                    self._open("the batch held back is good")
                elif asyncio.get_running_loop().time() >= self._until:
                    self._hold(breach)

    def _hold(self, breach: Breach) -> None:
        if self._breach is None:
            metrics.PAUSED.set(1)
        self._breach = breach
        self._until = asyncio.get_running_loop().time() + self._limit.window_millis / 1000
        log.error("paused", why=self.why)

    def _open(self, why: str) -> None:
        if self._breach is None:
            return
        self._breach = None
        self._limit.forget()
        metrics.PAUSED.set(0)
        log.warning("resumed", why=why)
        self._changed.set()
