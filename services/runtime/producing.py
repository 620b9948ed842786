"""One producer that replaces itself: what is built on it never holds a client.

An idempotent producer that lost a batch has a gap in its sequence numbers and may never be taken again, and it does not
say so: after a failure a new one takes its place. Producers are told apart by their generation, so that of all who
fail with the same one only the first has it replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from services.runtime.brokers import Brokers, BrokersUnavailable, Sent, Writer
from services.runtime.logging import get_logger

_log = get_logger(__name__)
RETRY_SECONDS = 1.0
"""The wait between attempts to connect."""


class Producer:
    """A writer, and another one when it has failed.

    Args:
        is_durable, linger_seconds, batch_bytes: see `brokers.Brokers.writer`.
        handover_seconds: how long a writer that failed may go on sending before the next one begins. With the time that
            this takes, what comes later never lies before what it still held; with 0, both send at once.
        pause: waits for seconds.
    """

    def __init__(
        self,
        brokers: Brokers,
        *,
        is_durable: bool = True,
        linger_seconds: float = 0.0,
        batch_bytes: int = 16_384,
        handover_seconds: float = 0.0,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._make: Callable[[], Writer] = partial(
            brokers.writer, is_durable=is_durable, linger_seconds=linger_seconds, batch_bytes=batch_bytes
        )
        self._handover_seconds = handover_seconds
        self._pause = pause
        self._writer: Writer | None = None
        self._connected = asyncio.Event()
        self._connecting: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self.generation = 0
        """Of the writer that `send` uses; grows with each."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a writer."""
        return self._writer is not None

    def start(self) -> None:
        """Begin to connect, and keep trying while Kafka is away."""
        self._connecting = asyncio.create_task(self._connect(None))

    async def connected(self) -> int:
        """Wait until there is a writer; returns its generation."""
        await self._connected.wait()
        return self.generation

    async def send(
        self, topic: str, partition: int, message_key: bytes | None, value: bytes | None
    ) -> asyncio.Future[Sent]:
        """Hand over one message to the writer that there is; its future says where the message lies once it is durable.

        Raises:
            BrokersUnavailable: it was not taken; the future may raise it too. `replace` what did it, and send again.
            MessageTooLarge: it never will be taken.
        """
        if self._writer is None:
            raise BrokersUnavailable("no producer is connected")
        return await self._writer.send(topic, partition, message_key, value)

    def replace(self, generation: int) -> None:
        """Begin to replace the writer of a generation; another one is left alone."""
        if self._writer is not None and self.generation == generation:
            old, self._writer = self._writer, None
            self._connected.clear()
            self._connecting = asyncio.create_task(self._connect(old))

    async def close(self, seconds: float) -> None:
        """Send what is held, and disconnect; what takes longer is given up."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._writer is not None:
            self._leave(self._writer)
            self._writer = None
            self._connected.clear()
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=seconds)
        for task in self._leaving:
            task.cancel()

    def _leave(self, writer: Writer) -> asyncio.Task[None]:
        """Let a writer end in the background: when its messages are sent or have failed."""
        task = asyncio.create_task(writer.stop())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    async def _connect(self, old: Writer | None) -> None:
        if old is not None:
            leaving = self._leave(old)
            if self._handover_seconds:
                with suppress(TimeoutError):  # it is given up either way
                    await asyncio.wait_for(leaving, self._handover_seconds)
        while True:
            writer = self._make()
            try:
                await writer.start()
                break
            except BrokersUnavailable as error:
                _log.warning("Kafka can't be reached; trying again", error=str(error))
                await writer.stop()
                await self._pause(RETRY_SECONDS)
            except BaseException:
                await writer.stop()
                raise
        self._writer = writer
        self.generation += 1
        self._connected.set()
