"""The way to the poller and back: requests on `poller.requests`, replies on this instance's part of `poller.replies`.

Guarantee: at most once. A request that no poller acknowledges in time is given up, and so is every reply after the
deadline; the caller then shows a snapshot.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

from schemas.codec import Codec, MalformedEvent
from schemas.events import PlatformRaw, PollerReply, PollerRequest, PullKind, PullTarget, ReplyKind
from schemas.keys import Reason
from schemas.topic_names import RAW, REPLIES, REQUESTS
from services.query_api.live import Pulled
from services.query_api.observability import REFUSED
from services.query_api.publisher import Codecs
from services.runtime.brokers import Brokers, BrokersUnavailable
from services.runtime.clock import Clock
from services.runtime.following import Batch, Follower, at_end
from services.runtime.kafka import partition_of
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.logging import get_logger
from services.runtime.producing import Producer
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import KafkaSettings

log = get_logger(__name__)

# Source: the contract's 500 ms for a snapshot without a poller, less the time for reading the snapshot.
ACK_SECONDS = 0.3
# The same after a partition's owner missed a request, until the owner answers again; a present owner takes a tenth of
# it.
ACK_SECONDS_OF_SILENT = 0.1
# The part of the deadline that is left for reading storage and merging answers.
_MERGING_SECONDS = 0.25
_CLOSE_SECONDS = 1.0
# Answers from this size on are decoded in a thread, so that other reads go on meanwhile.
_LARGE_BYTES = 64 * 1024
# The most bytes of one request's answers; targets in further answers show their last snapshot.
_MOST_ANSWER_BYTES = 32 * 1024 * 1024


class _Waiting:
    """A running request of one workspace."""

    def __init__(self, workspace_id: str) -> None:
        self.workspace_id = workspace_id
        self.acknowledged = asyncio.Event()
        self.finished = asyncio.Event()
        self.events: list[PlatformRaw] = []
        self.size_bytes = 0
        self.done: PollerReply | None = None


class PollerLink:
    """Asks the poller.

    Args:
        deadline_seconds: how long a whole live answer may take.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        codecs: Codecs,
        clock: Clock,
        *,
        deadline_seconds: float,
        brokers: Brokers | None = None,
    ) -> None:
        self._partitions = settings.topic_partitions
        self._codecs = codecs
        self._clock = clock
        self._deadline_seconds = deadline_seconds - _MERGING_SECONDS
        self._address = f"query-api-{secrets.token_hex(8)}"
        brokers = brokers or KafkaBrokers(settings)
        # A request is one message with milliseconds to spare, so it is sent at once, confirmed by the leader alone.
        self._producer = Producer(brokers, is_durable=False)
        self._follower = Follower(
            brokers,
            (REPLIES,),
            (self._partition(self._address),),
            self._hear,
            begin=at_end,
            retry_on=(RegistryUnavailable,),
            is_committed=False,
            name="the poller's replies",
        )
        self._requests: Codec[Any] | None = None
        self._waiting: dict[str, _Waiting] = {}
        self._knows_schemas = False
        # Partitions whose owner missed a request; requests on other partitions still wait for the full time.
        self._silent: set[int] = set()

    def start(self) -> None:
        """Begin to connect to Kafka, in a task of its own."""
        self._producer.start()
        self._follower.start()

    async def stop(self) -> None:
        """Stop following replies, and close the connections to Kafka."""
        await self._follower.stop()
        await self._producer.close(_CLOSE_SECONDS)

    async def ask(
        self, kind: PullKind, workspace_id: str, *, channel_id: str = "", targets: Sequence[PullTarget] = ()
    ) -> Pulled | None:
        """Ask the poller and wait for its answers until the deadline; None when no poller takes the request."""
        started = asyncio.get_running_loop().time()
        codec = self._requests
        # Without a connected follower the reply would be missed.
        if codec is None or not self._follower.is_connected or not self._producer.is_connected:
            return None
        now, partition = self._clock.now(), self._partition(workspace_id)
        request = PollerRequest(
            request_id=secrets.token_hex(12),
            reply_to=self._address,
            workspace_id=workspace_id,
            kind=kind,
            channel_id=channel_id,
            targets=tuple(targets),
            requested_at=now,
            deadline_at=now + int(self._deadline_seconds * 1000),
        )
        waiting = self._waiting[request.request_id] = _Waiting(workspace_id)
        try:
            patience = ACK_SECONDS_OF_SILENT if partition in self._silent else ACK_SECONDS
            async with asyncio.timeout_at(started + patience):
                sent = await self._producer.send(REQUESTS, partition, workspace_id.encode(), codec.encode(request))
                sent.add_done_callback(_seen)
                await waiting.acknowledged.wait()
            async with asyncio.timeout_at(started + self._deadline_seconds):
                await waiting.finished.wait()
        except TimeoutError:
            if not waiting.acknowledged.is_set():
                self._silent.add(partition)
                return None
        except BrokersUnavailable as error:
            log.warning("a live request was not sent", error=str(error))
            return None
        finally:
            del self._waiting[request.request_id]
        return Pulled(waiting.events, waiting.done)

    def _partition(self, workspace_id: str) -> int:
        """The partition of the workspace's requests, which the owner of this partition on every topic serves."""
        return partition_of(workspace_id, self._partitions)

    async def _hear(self, batch: Batch) -> None:
        replies, raw = await self._codecs.get(REPLIES), await self._codecs.get(RAW)
        self._requests = await self._codecs.get(REQUESTS)
        address = self._address.encode()
        while batch.records:
            record = batch.records[0]
            if record.key == address and record.value is not None:
                await self._take(replies, raw, record.value)
            batch.records.popleft()

    async def _take(self, replies: Codec[Any], raw: Codec[Any], value: bytes) -> None:
        try:
            # In a thread also the first time, when the registry is asked for schemas.
            if len(value) > _LARGE_BYTES or not self._knows_schemas:
                reply, event = await asyncio.to_thread(_decode, replies, raw, value)
                self._knows_schemas = self._knows_schemas or event is not None
            else:
                reply, event = _decode(replies, raw, value)
        except RegistryUnavailable:
            raise
        except MalformedEvent as error:
            REFUSED.labels(REPLIES, Reason.UNREADABLE_VALUE.value).inc()
            log.error("a reply of the poller is unreadable", error=str(error))
            return
        except Exception as error:
            REFUSED.labels(REPLIES, Reason.UNREADABLE_VALUE.value).inc()
            log.error("a reply of the poller breaks its decoder", error=repr(error))
            return
        # An acknowledgement that is late for its own request shows too that the owner is there.
        self._silent.discard(self._partition(reply.workspace_id))
        waiting = self._waiting.get(reply.request_id)
        if waiting is None:
            return
        told = {reply.workspace_id} if event is None else {reply.workspace_id, event.workspace_id}
        if told != {waiting.workspace_id}:
            REFUSED.labels(REPLIES, Reason.KEY_AND_VALUE_DIFFER.value).inc()
            log.error("a reply of the poller is about another workspace than its request")
            return
        waiting.acknowledged.set()
        if event is not None and waiting.size_bytes <= _MOST_ANSWER_BYTES:
            waiting.events.append(event)
            waiting.size_bytes += len(value)
        if reply.kind == ReplyKind.DONE:
            waiting.done = reply
            waiting.finished.set()


def _decode(replies: Codec[Any], raw: Codec[Any], value: bytes) -> tuple[PollerReply, PlatformRaw | None]:
    reply: PollerReply = replies.decode(value)
    return reply, raw.decode(reply.event) if reply.event is not None else None


def _seen(sent: asyncio.Future[Any]) -> None:
    """Retrieve the outcome, which nobody else does: a request that was not sent is simply not acknowledged."""
    if not sent.cancelled():
        sent.exception()
