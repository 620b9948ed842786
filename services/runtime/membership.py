"""This process's place in a consumer group: tells which partitions it gains and has to give back.

The group is joined on one catalog topic, whose partitions stand for those of all; nothing is consumed through it. A
thread of its own keeps the place, and proves it again and again by committing: the broker accepts a commit only from
a member of the group's present generation. What is committed is how far the catalog was read, so that the group's lag
means what it says.

Assignment is cooperative and sticky: at a rebalance only the partitions that move are given back, and only once their
calls are over. The others are asked for all the time.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from services.runtime.clock import ticks
from services.runtime.kafka import confluent_options
from services.runtime.logging import get_logger
from services.runtime.settings import KafkaSettings

# Of a session: how long a proof is good for, and how often there is a new one.
LEASE_SHARE = 0.5
_PROOF_SHARE = 0.125
_HEARTBEAT_SHARE = 1 / 3
_POLL_SECONDS = 0.1
_RETRY_SECONDS = 1.0
# A process whose event loop hangs for this long loses its place, although its heartbeats go on.
_HUNG_SECONDS = 60.0
_STOP_SECONDS = 1.0
_REFUSALS = (
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.INVALID_SESSION_TIMEOUT,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
)
_log = get_logger(__name__)


class Listener(Protocol):
    """Who acts on what the group says; called in the event loop."""

    async def gained(self, partitions: Sequence[int], not_before: int) -> None:
        """These are this process's; before these ticks their former owner may still ask."""

    async def revoked(self, partitions: Sequence[int]) -> None:
        """These have to be given back; they go to another process when this returns."""

    async def lost(self, partitions: Sequence[int]) -> None:
        """These may be another's already."""

    def proven(self, sent_at: int) -> None:
        """Kafka confirmed the membership, by what was sent at these ticks."""


class GroupRefused(Exception):
    """The group refuses this process for a reason that trying again won't change."""


class _Fenced(Exception):
    """Another process took this one's static name."""


class Membership:
    """A place in the group, kept by a thread.

    Args:
        group: full name of the group.
        topic: full name of the topic whose partitions are shared out.
        instance_id: a name that a restarted process keeps, so that it takes its old place; "" for none.
        session_seconds: how long the group waits for a silent member.
        drain_seconds: the longest that `Listener.revoked` takes.
        position: how far a partition of the topic was read, as its next offset.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        topic: str,
        listener: Listener,
        *,
        instance_id: str,
        session_seconds: float,
        drain_seconds: float,
        position: Callable[[int], int],
    ) -> None:
        self._settings = settings
        self._group = group
        self._topic = topic
        self._listener = listener
        self._instance_id = instance_id
        self._session_seconds = session_seconds
        self._drain_seconds = drain_seconds
        self._position = position
        # In the metadata of what is committed: whose the partition is, until it was given back.
        self._token = secrets.token_hex(8)
        self._lease = int(session_seconds * 1000 * LEASE_SHARE)
        self._owned: set[int] = set()
        self._is_new = True
        self._proof_due_at = 0
        self._stopping = threading.Event()
        self._over: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Take part until `stop`.

        Raises:
            GroupRefused: trying again won't help.
        """
        loop = self._loop = asyncio.get_running_loop()
        over = self._over = loop.create_future()

        def work() -> None:
            try:
                self._take_part()
            except BaseException as error:
                self._in_loop(_fail, over, error)
            else:
                self._in_loop(_succeed, over)

        # A daemon: a client that can't say goodbye to a broker that is away must not keep the process.
        threading.Thread(target=work, name="membership", daemon=True).start()
        await asyncio.shield(over)

    async def stop(self) -> None:
        """Leave: at once for whoever has no static name, else the place is kept for a session."""
        self._stopping.set()
        if self._over is not None:
            await asyncio.wait((self._over,), timeout=_STOP_SECONDS)

    # In the thread

    def _take_part(self) -> None:
        while not self._stopping.is_set():
            consumer = Consumer(self._options())
            try:
                consumer.subscribe(
                    [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
                )
                self._keep_place(consumer)
            except _Fenced:
                _log.error(
                    "another process took this one's place; going on under no name: give each its own "
                    "TIDEMARK_INSTANCE_ID",
                    instance=self._instance_id,
                )
                self._instance_id = ""
                self._call(self._listener.lost(self._take_all()))
            finally:
                consumer.close()

    def _keep_place(self, consumer: Consumer) -> None:
        while not self._stopping.is_set():
            message = consumer.poll(_POLL_SECONDS)
            error = message.error() if message is not None else None
            if error is not None:
                self._judge(error)
            self._prove(consumer)
        self._release(consumer, self._take_all())

    def _prove(self, consumer: Consumer) -> None:
        """Renew the lease, when it is time to."""
        now = ticks()
        if now < self._proof_due_at or not self._owned:
            return
        self._proof_due_at = now + int(self._session_seconds * 1000 * _PROOF_SHARE)
        if self._commit(consumer, self._owned, self._token):
            # Waits for the loop: one that hangs must not keep its place.
            self._call(self._proven(now))

    async def _proven(self, sent_at: int) -> None:
        self._listener.proven(sent_at)

    def _commit(self, consumer: Consumer, partitions: Iterable[int], token: str) -> bool:
        offsets = [TopicPartition(self._topic, number, self._position(number), token) for number in partitions]
        try:
            results = consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            self._judge(error.args[0])
            return False
        failed = next((result.error for result in results or () if result.error is not None), None)
        if failed is not None:
            self._judge(failed)
        return failed is None

    def _judge(self, error: KafkaError) -> None:
        """Pass over what the client heals by itself.

        Raises:
            _Fenced: another took the static name.
            GroupRefused: nothing heals it.
        """
        if error.code() in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FENCED):
            raise _Fenced
        # What a poll tells of a fatal error has a code of its own, and is not marked as fatal: its text has the reason.
        is_fatal = error.fatal() or error.code() == KafkaError._FATAL
        if is_fatal and self._instance_id and "fenced" in error.str().lower():
            raise _Fenced
        if is_fatal or error.code() in _REFUSALS:
            raise GroupRefused(f"the group {self._group} refuses this process: {error.str()}")
        _log.info("the group did not answer as hoped", reason=error.str())

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = sorted(found.partition for found in partitions)
        not_before = 0
        if self._is_new and self._instance_id and partitions and not self._were_given_back(consumer, partitions):
            # A static name takes its place over at once, also from a process that still runs.
            not_before = ticks() + self._lease
        self._is_new = False
        places = [TopicPartition(self._topic, number, OFFSET_END) for number in numbers]
        consumer.incremental_assign(places)
        if places:
            consumer.pause(places)
        self._owned.update(numbers)
        self._proof_due_at = 0
        self._call(self._listener.gained(numbers, not_before))

    def _were_given_back(self, consumer: Consumer, partitions: list[TopicPartition]) -> bool:
        try:
            held = consumer.committed(partitions, timeout=self._session_seconds)
        except KafkaException as error:
            _log.info("the group did not answer as hoped", reason=error.args[0].str())
            return False
        return not any(found.metadata for found in held)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = sorted(found.partition for found in partitions)
        self._call(self._listener.revoked(numbers), lambda: self._prove(consumer))
        self._release(consumer, [number for number in numbers if number in self._owned])
        self._owned.difference_update(numbers)

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = sorted(found.partition for found in partitions)
        self._owned.difference_update(numbers)
        self._call(self._listener.lost(numbers))

    def _release(self, consumer: Consumer, partitions: Sequence[int]) -> None:
        """Say that these are nobody's now."""
        if partitions:
            self._commit(consumer, partitions, "")

    def _take_all(self) -> list[int]:
        held = sorted(self._owned)
        self._owned.clear()
        return held

    def _call(self, work: Coroutine[Any, Any, None], meanwhile: Callable[[], None] | None = None) -> None:
        """Do something in the event loop, and wait for it."""
        assert self._loop is not None
        try:
            done: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()  # the loop is closed: the process ends
            return
        while True:
            try:
                done.result(_POLL_SECONDS)
            except TimeoutError:
                if meanwhile is not None:
                    meanwhile()
            else:
                return

    def _in_loop(self, act: Callable[..., None], *arguments: Any) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(act, *arguments)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def _options(self) -> dict[str, Any]:
        session_ms = int(self._session_seconds * 1000)
        options: dict[str, Any] = {
            **confluent_options(self._settings),
            "group.id": self._group,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": int(session_ms * _HEARTBEAT_SHARE),
            "max.poll.interval.ms": int((self._drain_seconds + _HUNG_SECONDS) * 1000),
            "socket.timeout.ms": max(session_ms, 1000),
            "reconnect.backoff.max.ms": int(_RETRY_SECONDS * 1000),
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "log_level": 0,
        }
        if self._instance_id:
            options["group.instance.id"] = self._instance_id
        return options


def _succeed(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def _fail(over: asyncio.Future[None], error: BaseException) -> None:
    if not over.done():
        over.set_exception(error)
