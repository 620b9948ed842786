"""Lets requests wait for the keys while a process that has just begun still reads them.

Callers of an origin that was started anew would else be told that their keys are wrong, and a subscriber would give up.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from services.query_api.errors import KeysUnread

FIRST_READ_SECONDS = 5.0


class FirstReads(Protocol):
    """How far this process has read its topics since it began."""

    @property
    def missing(self) -> str | None:
        """What is not read yet; None once all was read, and from then on."""

    async def caught_up(self) -> None:
        """Wait until all is read."""


class FirstRead:
    """Waits until a process that began a moment ago has read the keys: it knows none of them before.

    Args:
        seconds: the longest wait of one request.
    """

    def __init__(self, reads: FirstReads, *, seconds: float = FIRST_READ_SECONDS) -> None:
        self._reads = reads
        self._seconds = seconds

    async def __call__(self) -> bool:
        """Wait, and return whether there was anything to wait for.

        Raises:
            KeysUnread: it is not read in time; who has the key can't be told.
        """
        if self._reads.missing is None:
            return False
        try:
            async with asyncio.timeout(self._seconds):
                await self._reads.caught_up()
        except TimeoutError:
            raise KeysUnread from None
        return True
