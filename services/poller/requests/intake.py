"""Takes requests from `poller.requests`, and hands each to whoever does its kind.

Only the owner of a workspace's partition takes its requests. An owner that Kafka has not confirmed of late does as if
there were no request.

Guarantee: at most once. A request that is late, or one too many, gets no reply: whoever waits goes on without.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Protocol

from schemas.codec import Codec, MalformedEvent
from schemas.events import Origin, PollerReply, PollerRequest, PullTarget
from services.platforms.base import Target
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import Ownership
from services.poller.timing import Time
from services.runtime.logging import get_logger

# For how long a request may be served, ms, whatever deadline it names: whoever asks waits for some minutes at most.
LONGEST = 10 * 60_000
_log = get_logger(__name__)


class Server(Protocol):
    """Does requests of one kind.

    Attributes:
        most_requests: taken and not finished; one more is refused.
    """

    most_requests: int

    async def serve(self, request: PollerRequest) -> None:
        """Do one request, and reply."""


class Replies(Protocol):
    """Where replies to requests go; see `services.poller.publisher.KafkaPublisher`."""

    async def reply(self, reply_to: str, reply: PollerReply) -> None:
        """Hand over one part of a reply."""


class Intake:
    """Takes requests.

    Args:
        codec: of `poller.requests`.
        ownership: whose requests are this process's.
        live: does live pulls and probes.
        backfill: does parts of backfills.
    """

    def __init__(
        self,
        *,
        time: Time,
        codec: Codec[Any],
        metrics: PollerMetrics,
        ownership: Ownership,
        live: Server,
        backfill: Server,
    ) -> None:
        self._time = time
        self._codec = codec
        self._metrics = metrics
        self._ownership = ownership
        self._live = live
        self._backfill = backfill
        self._served: dict[bool, set[asyncio.Task[None]]] = {False: set(), True: set()}

    def take(self, value: bytes | None) -> None:
        """Begin what the value of one message asks for."""
        try:
            request: PollerRequest = self._codec.decode(value or b"")
        except MalformedEvent as error:
            _log.error("a request can't be read and is passed over", error=str(error))
            return
        request = replace(request, deadline_at=min(request.deadline_at, self._time.now() + LONGEST))
        is_backfill = request.origin == Origin.BACKFILL
        server, served = self._backfill if is_backfill else self._live, self._served[is_backfill]
        is_taken = (
            self._ownership.may_ask(request.workspace_id)
            and len(served) < server.most_requests
            and self._time.now() < request.deadline_at
        )
        kind = f"BACKFILL_{request.kind}" if is_backfill else request.kind
        self._metrics.live.labels(kind, "taken" if is_taken else "refused").inc()
        if is_taken:
            task = asyncio.create_task(server.serve(request))
            served.add(task)
            task.add_done_callback(served.discard)

    async def close(self) -> None:
        """Break off the requests that are being served, and wait until they have ended."""
        tasks = [task for served in self._served.values() for task in served]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def target_of(pulled: PullTarget) -> Target:
    """A target of a request, as platforms know it."""
    return Target(
        pulled.target_id, pulled.post_id, pulled.external_id, pulled.post_type, pulled.published_at, pulled.is_story
    )
