"""Does the work for the partitions that the group gives to this process, and begins anew whenever these change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.notifier.metrics import Gauges
from services.notifier.work import Work
from services.runtime.clock import ticks
from services.runtime.logging import get_logger
from services.runtime.membership import LEASE_SHARE

_RETRY_SECONDS = 1.0
_log = get_logger(__name__)


class Owner:
    """See `services.runtime.membership.Listener`.

    Args:
        make: makes the work for some partitions.
        session_seconds: how long the group waits for a silent process.
    """

    def __init__(self, make: Callable[[Sequence[int]], Work], session_seconds: float) -> None:
        self._make = make
        self._lease = int(session_seconds * 1000 * LEASE_SHARE)
        self._proven_at = 0
        self._owned: set[int] = set()
        self._is_member = False
        self._work: Work | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def may_try(self) -> bool:
        """Whether Kafka confirmed this process's place in the group within half a session."""
        return ticks() - self._proven_at < self._lease

    def missing(self) -> str | None:
        """What is missing before this process does its work; None when it does. To have no partition is fine."""
        if not self._is_member:
            return "joining the group of the notifiers"
        if self._owned and (self._work is None or not self._work.is_ready):
            return "reading webhooks and their deliveries"
        if self._owned and not self.may_try():
            return "Kafka has not confirmed the place in the group of late; nothing is sent until it does"
        return None

    def gauges(self) -> Gauges:
        """The present state, for operators."""
        return self._work.gauges() if self._work is not None else Gauges()

    def position(self, partition: int) -> int:
        """How far `catalog.webhooks` was read, as its next offset; safe to call from any thread."""
        return self._work.position(partition) if self._work is not None else 0

    async def gained(self, partitions: Sequence[int], not_before: int) -> None:
        """Begin with these too; a former owner that still runs may send what this process sends, under the same id."""
        self._is_member = True
        self._proven_at = ticks()
        self._owned.update(partitions)
        if partitions:
            await self._begin_anew()

    async def revoked(self, partitions: Sequence[int]) -> None:
        """End the work for these before they go to another process."""
        self._owned.difference_update(partitions)
        await self._begin_anew()

    async def lost(self, partitions: Sequence[int]) -> None:
        """End the work for these, which may be another's already."""
        self._is_member = False
        await self.revoked(partitions)

    def proven(self, sent_at: int) -> None:
        """Kafka confirmed the place, by what was sent at these ticks."""
        self._proven_at = sent_at

    async def stop(self) -> None:
        """End all work."""
        self._owned.clear()
        await self._begin_anew()

    async def _begin_anew(self) -> None:
        async with self._lock:
            task, self._task, self._work = self._task, None, None
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            if self._owned:
                self._task = asyncio.create_task(self._keep_working(tuple(self._owned)))

    async def _keep_working(self, partitions: Sequence[int]) -> None:
        while True:
            self._work = self._make(partitions)
            try:
                await self._work.run()
            except Exception:
                # Whatever it was: what is durable is read back, and the work goes on from there.
                _log.exception("the work for partitions broke; beginning it anew", partitions=partitions)
            await asyncio.sleep(_RETRY_SECONDS)
