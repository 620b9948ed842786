"""Puts raw answers and account events on their topics.

Guarantee: at-least-once. An answer handed to `publish` is sent again until Kafka has confirmed it, for as long as the
process lives; the event's id makes a repeat count once. Room is reserved before a platform is asked, so while Kafka is
away the platforms are left in peace and no answer is lost for want of room.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from schemas.codec import Codec
from schemas.events import AccountEvent, BackfillJob, CatalogChannel, ChannelTokens, PlatformRaw, PollerReply
from schemas.topic_names import ACCOUNT_EVENTS, RAW, REPLIES
from services.poller.errors import AnswerTooLarge
from services.runtime.brokers import Brokers, BrokersUnavailable, MessageTooLarge
from services.runtime.kafka import key, partition_of
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.logging import get_logger
from services.runtime.producing import Producer
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings
from services.runtime.tracing import NO_SPAN, UNTRACED, Kind, Span, Tracer

TOPICS = (RAW, ACCOUNT_EVENTS)
# Kafka's own bytes around a message, which count against its limit.
_OVERHEAD_BYTES = 4096
_SEND = f"send {RAW}"
_RETRY_SECONDS = 1.0
_CLOSE_SECONDS = 0.5
_LINGER_SECONDS = 0.005
_BATCH_BYTES = 512 * 1024
_log = get_logger(__name__)


class Room:
    """How many answers, and of what size, may wait for Kafka at a time.

    Args:
        events: most answers reserved or unconfirmed.
        size: most bytes unconfirmed; one answer more than fits may come, since its size shows late.
        now: seconds of a clock that only goes forward.
    """

    def __init__(self, events: int, size: int, now: Callable[[], float] = time.monotonic) -> None:
        self._events = events
        self._size = size
        self._now = now
        # Since when Kafka has confirmed none of the answers that it was given.
        self._silent_since = 0.0
        self.held_events = 0
        self.held_bytes = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    async def emptied(self) -> None:
        """Wait until nothing is reserved or unconfirmed."""
        await self._is_empty.wait()

    @property
    def silent_seconds(self) -> float:
        """How long Kafka has confirmed no answer although some were handed to it; 0 while none are."""
        return self._now() - self._silent_since if self.held_bytes > 0 else 0.0

    def _free(self) -> bool:
        return self.held_events < self._events and self.held_bytes < self._size

    async def reserve(self) -> None:
        """Wait for room for one answer, and take it."""
        while not self._free():
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._waiting = deque(other for other in self._waiting if other is not waiter)
                self._wake()
                raise
        self.held_events += 1
        self._is_empty.clear()

    def fill(self, size: int) -> None:
        """The reserved answer has this size, and is handed to Kafka."""
        if self.held_bytes == 0:
            self._silent_since = self._now()
        self.held_bytes += size

    def release(self, size: int = 0) -> None:
        """Give the room of one reserved answer back, and the bytes that it filled."""
        self.held_events -= 1
        self.held_bytes -= size
        if size:
            self._silent_since = self._now()
        if not self.held_events:
            self._is_empty.set()
        self._wake()

    def _wake(self) -> None:
        free = self._events - self.held_events if self._free() else 0
        while self._waiting and free > 0:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1


class KafkaPublisher:
    """Publishes to Kafka.

    Args:
        codecs: a codec for each of `TOPICS` and for what is written, by name without prefix.
        partitions: partitions of every topic.
        room: shared with whoever shows it to operators.
        brokers: Kafka's of the settings, if none are given.
        tracer: traces the messages of raw answers.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        codecs: Mapping[str, Codec[Any]],
        partitions: int,
        room: Room,
        brokers: Brokers | None = None,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._codecs = codecs
        self._tracer = tracer
        self._raw_topic = settings.topic(RAW)
        self._partitions = partitions
        self._room = room
        self._producer = Producer(
            brokers or KafkaBrokers(settings), linger_seconds=_LINGER_SECONDS, batch_bytes=_BATCH_BYTES
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def start(self) -> None:
        """Connect; keeps trying while Kafka is away."""
        self._producer.start()
        await self._producer.connected()

    async def reserve(self) -> None:
        """Wait until an answer more can be held; `publish` or `release` must follow."""
        await self._room.reserve()

    def release(self) -> None:
        """Give back what `reserve` took, because no answer came."""
        self._room.release()

    async def publish(self, event: PlatformRaw, within: Span = NO_SPAN) -> None:
        """Hand over one raw answer, for which room was reserved; returns before Kafka has confirmed it.

        Args:
            within: the call that was answered; the message carries its trace on.

        Raises:
            AnswerTooLarge: it doesn't fit a message; the room stays reserved.
        """
        value = self._codecs[RAW].encode(event)
        message_key = event.workspace_id.encode()
        if len(value) + len(message_key) + _OVERHEAD_BYTES > MESSAGE_MAX_BYTES:
            raise AnswerTooLarge(f"an event of {len(value)} bytes doesn't fit a message of {MESSAGE_MAX_BYTES}")
        self._room.fill(len(value))
        span = self._begin(event, len(value), within) if self._tracer.is_on else NO_SPAN
        await self._send(RAW, event.workspace_id, message_key, value, span)

    def _begin(self, event: PlatformRaw, size: int, within: Span) -> Span:
        """The span of a message, which ends once Kafka has confirmed the message."""
        span = self._tracer.begin(_SEND, Kind.PRODUCER, within)
        if span.is_recorded:
            span.note(
                {
                    "messaging.system": "kafka",
                    "messaging.operation.type": "send",
                    "messaging.destination.name": self._raw_topic,
                    "messaging.message.id": event.event_id,
                    "messaging.message.body.size": size,
                    "tidemark.workspace_id": event.workspace_id,
                    "tidemark.channel_id": event.channel_id,
                }
            )
        return span

    async def announce(self, event: AccountEvent) -> None:
        """Hand over one account event."""
        await self._room.reserve()
        value = self._codecs[ACCOUNT_EVENTS].encode(event)
        self._room.fill(len(value))
        await self._send(ACCOUNT_EVENTS, event.workspace_id, key(event.workspace_id, event.channel_id), value)

    async def write(self, topic: str, event: CatalogChannel | ChannelTokens | BackfillJob) -> None:
        """Make a channel or its tokens durable; returns when Kafka has confirmed it, however long that takes."""
        await self.put(topic, event.workspace_id, key(event.workspace_id, event.channel_id), event)

    async def erase(self, topic: str, subject: tuple[str, str]) -> None:
        """Make the tombstone of a workspace's thing durable; returns when Kafka has confirmed it."""
        await self.put(topic, subject[0], key(*subject), None)

    async def put(self, topic: str, workspace_id: str, message_key: bytes, event: object | None) -> None:
        """Make any event of a workspace, or a tombstone, durable; returns when Kafka has confirmed it."""
        value = None if event is None else self._codecs[topic].encode(event)
        partition = partition_of(workspace_id, self._partitions)
        while True:
            generation = await self._producer.connected()
            try:
                await (await self._producer.send(topic, partition, message_key, value))
            except BrokersUnavailable as error:
                await self._failed(error, generation)
            else:
                return

    async def reply(self, reply_to: str, reply: PollerReply) -> None:
        """Hand over one part of a reply; whoever waits for it does so for seconds, so it is sent once or not at all."""
        if not self._producer.is_connected:
            return
        value, message_key = self._codecs[REPLIES].encode(reply), reply_to.encode()
        if len(value) + len(message_key) + _OVERHEAD_BYTES > MESSAGE_MAX_BYTES:
            _log.warning("an answer is too large for a reply", bytes=len(value))
            return
        try:
            sent = await self._producer.send(REPLIES, partition_of(reply_to, self._partitions), message_key, value)
            sent.add_done_callback(_settled_anyhow)
        except BrokersUnavailable as error:
            _log.warning("a reply was not sent", error=repr(error))

    async def close(self, seconds: float) -> None:
        """Send what is held, for at most this long, then disconnect."""
        try:
            async with asyncio.timeout(seconds if self._producer.is_connected else 0):
                await self._room.emptied()
        except TimeoutError:
            _log.error("stopped with answers that Kafka has not confirmed", events=self._room.held_events)
        self._closing = True
        await self._producer.close(_CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()

    async def _send(
        self, topic: str, workspace_id: str, message_key: bytes, value: bytes, span: Span = NO_SPAN
    ) -> None:
        """Hand a message to the producer, again and again until it takes it."""
        partition = partition_of(workspace_id, self._partitions)
        while True:
            generation = await self._producer.connected()
            try:
                sent = await self._producer.send(topic, partition, message_key, value, span.headers)
            except MessageTooLarge:
                self._room.release(len(value))
                with span:
                    span.fail(MessageTooLarge.__name__)
                _log.error("an event doesn't fit a message and is given up", topic=topic, bytes=len(value))
                return
            except BrokersUnavailable as error:
                await self._failed(error, generation)
                continue
            again = partial(self._send, topic, workspace_id, message_key, value, span)
            sent.add_done_callback(partial(self._settled, generation, len(value), again, span))
            return

    def _settled(
        self,
        generation: int,
        size: int,
        again: Callable[[], Coroutine[Any, Any, None]],
        span: Span,
        done: asyncio.Future[Any],
    ) -> None:
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            self._room.release(size)
            span.end()
        elif not self._closing:
            self._background(self._resend(error, generation, again))

    async def _resend(
        self, error: BaseException, generation: int, again: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        await self._failed(error, generation)
        await again()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _failed(self, error: BaseException, generation: int) -> None:
        if self._producer.generation == generation and self._producer.is_connected:
            _log.warning("Kafka did not take an event; sending it again", error=repr(error))
        await asyncio.sleep(_RETRY_SECONDS)
        self._producer.replace(generation)


def _settled_anyhow(sent: asyncio.Future[Any]) -> None:
    """Look at the outcome, which nobody else does."""
    if not sent.cancelled() and (error := sent.exception()) is not None:
        _log.warning("a reply was not confirmed", error=repr(error))
