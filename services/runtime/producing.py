"""A producer that replaces its client after a failure, so that its callers never hold a client.

An idempotent client that lost a batch has a gap in its sequence numbers. Brokers may refuse all its later messages, and
the client does not report that; so after a failure a new client takes its place. Clients are numbered by generation: of
all callers that fail with the same client, only the first one has it replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

from services.runtime.brokers import Brokers, BrokersUnavailable, Sent, Writer
from services.runtime.logging import get_logger

_log = get_logger(__name__)
RETRY_SECONDS = 1.0
"""The wait between attempts to connect."""


class Producer:
    """Sends by one writer, and by a new one when that writer has failed.

    Args:
        is_durable, linger_seconds, batch_bytes: see `brokers.Brokers.writer`.
        handover_seconds: how long a failed writer may go on sending before the next writer begins, so that no later
            message comes before a message that the failed writer still held; with 0, both send at the same time.
        pause: waits for a number of seconds.
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
        """The generation of the present writer; grows with each new writer."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a connected writer."""
        return self._writer is not None

    def start(self) -> None:
        """Begin to connect; attempts go on while Kafka is away."""
        self._connecting = asyncio.create_task(self._connect(None))

    async def connected(self) -> int:
        """Wait until a writer is connected; returns its generation."""
        await self._connected.wait()
        return self.generation

    async def send(
        self,
        topic: str,
        partition: int,
        message_key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[Sent]:
        """Hand one message to the present writer; the future's result is the message's place, once it is durable.

        Raises:
            BrokersUnavailable: the message was not accepted; the future may raise this too. Call `replace` with the
                writer's generation, and send again.
            MessageTooLarge: the message will never be accepted.
        """
        if self._writer is None:
            raise BrokersUnavailable("no producer is connected")
        return await self._writer.send(topic, partition, message_key, value, headers)

    def replace(self, generation: int) -> None:
        """Begin to replace the writer, if it is still the one of this generation."""
        if self._writer is not None and self.generation == generation:
            old, self._writer = self._writer, None
            self._connected.clear()
            self._connecting = asyncio.create_task(self._connect(old))

    async def close(self, seconds: float) -> None:
        """Send all held messages and disconnect; messages that take longer than `seconds` are given up."""
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
        """Let a writer end in the background, once its messages are sent or have failed."""
        task = asyncio.create_task(writer.stop())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    async def _connect(self, old: Writer | None) -> None:
        if old is not None:
            leaving = self._leave(old)
            if self._handover_seconds:
                with suppress(TimeoutError):  # the old writer is given up either way
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
