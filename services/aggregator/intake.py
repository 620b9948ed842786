"""Holds the raw events and catalog writes that a partition received, until there is enough for a batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from services.aggregator.batch import CatalogWrite
from services.aggregator.pipeline import Pipeline
from services.aggregator.reading import Message
from services.aggregator.settings import AggregatorSettings


class Received:
    """A raw message with its acknowledgement.

    Args:
        acknowledge: marks the message as done, so that its offset may be committed.
    """

    __slots__ = ("acknowledge", "message", "size")

    def __init__(self, message: Message, acknowledge: Callable[[], Awaitable[None]]) -> None:
        self.message = message
        self.acknowledge = acknowledge
        self.size = message.held_bytes


class Intake:
    """The queues of one partition.

    Attributes:
        waiting_bytes: the size of the waiting raw events.
    """

    def __init__(self, settings: AggregatorSettings) -> None:
        self._settings = settings
        self._raw: deque[Received] = deque()
        self._writes: deque[CatalogWrite] = deque()
        self._woken = asyncio.Event()
        self._writes_taken = asyncio.Event()
        self._writes_taken.set()
        self.waiting_bytes = 0

    @property
    def waiting(self) -> int:
        """The number of raw events in the queue."""
        return len(self._raw)

    def give(self, received: Received) -> None:
        """Add one raw message, in offset order."""
        self._raw.append(received)
        self.waiting_bytes += received.size
        self.wake()

    def give_writes(self, writes: Sequence[CatalogWrite]) -> None:
        """Add catalog writes, in the order in which they were read; at least one."""
        self._writes.extend(writes)
        self._writes_taken.clear()
        self.wake()

    def wake(self) -> None:
        """Make `gather` check the queues again."""
        self._woken.set()

    async def writes_taken(self) -> None:
        """Wait until the queue of catalog writes is empty."""
        await self._writes_taken.wait()

    async def gather(self, seconds: float, pipeline: Pipeline) -> None:
        """Wait at most `seconds` for the first event or write, and then until there is enough for a batch.

        A full batch is enough at once. Otherwise events are gathered while the batch before is written, and then until
        the next multiple of the linger, so that the partitions of a process begin together and share their inserts.

        Raises:
            OwnershipLost: a newer owner took the partition while the batch before was written.
        """
        try:
            async with asyncio.timeout(seconds):
                while not self._raw and not self._writes:
                    await self._wakeup()
                    if pipeline.is_unsettled:
                        await pipeline.settle()
        except TimeoutError:
            pass  # the caller looks for expired windows now
        if not self._raw or self._is_full():
            return
        while pipeline.is_writing and not self._is_full():
            await self._wakeup()
        linger = self._settings.aggregator_linger_seconds
        if linger:
            with suppress(TimeoutError):
                async with asyncio.timeout(linger - asyncio.get_running_loop().time() % linger):
                    while not self._is_full():
                        await self._wakeup()

    async def _wakeup(self) -> None:
        self._woken.clear()
        await self._woken.wait()

    def _is_full(self) -> bool:
        settings = self._settings
        return (
            len(self._raw) >= settings.aggregator_batch_events or self.waiting_bytes >= settings.aggregator_batch_bytes
        )

    def take(self) -> list[Received]:
        """Remove the next batch of events from the queue, within the limits of events and bytes.

        A single event that is larger than the limit of bytes is a batch of its own.
        """
        taken: list[Received] = []
        size = 0
        while self._raw and len(taken) < self._settings.aggregator_batch_events:
            size += self._raw[0].size
            if taken and size > self._settings.aggregator_batch_bytes:
                break
            taken.append(self._raw.popleft())
            self.waiting_bytes -= taken[-1].size
        return taken

    def take_writes(self, most: int) -> tuple[list[CatalogWrite], bool]:
        """Remove at most `most` catalog writes from the queue; returns them, and whether the queue is now empty."""
        taken = [self._writes.popleft() for _ in range(min(len(self._writes), most))]
        if not self._writes:
            self._writes_taken.set()
        return taken, not self._writes
