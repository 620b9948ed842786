"""How far partitions are written now, asked of Kafka itself rather than known from what was read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from services.runtime.brokers import Brokers, BrokersUnavailable, Place, Reader
from services.runtime.logging import get_logger

_RETRY_SECONDS = 1.0
_log = get_logger(__name__)


class Ends:
    """Asks how far partitions are written, on a connection of its own, where no fetch waits for messages before it."""

    def __init__(self, brokers: Brokers, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._brokers = brokers
        self._pause = pause
        self._lock = asyncio.Lock()
        self._reader: Reader | None = None

    async def ask(self, places: Iterable[Place]) -> dict[Place, int]:
        """The next offset to be written of each partition, asked now. Waits while Kafka is away.

        Cancelling it, and asking from several tasks, is safe.
        """
        asked = tuple(places)
        while True:
            try:
                async with self._lock:
                    reader = await self._connected()
                    return {place: bound.end for place, bound in (await reader.bounds(asked)).items()}
            except BrokersUnavailable as error:
                _log.warning("ends of topics can't be asked for; trying again", error=str(error))
                await self.close()
                await self._pause(_RETRY_SECONDS)

    async def close(self) -> None:
        """Disconnect; `ask` connects again."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.stop()

    async def _connected(self) -> Reader:
        if self._reader is None:
            reader = self._brokers.reader(is_committed=False)
            try:
                await reader.start()
            except BaseException:
                await reader.stop()
                raise
            self._reader = reader
        return self._reader
