"""One Faust worker of the consumer group: gives each raw event to the task of the event's partition.

Faust provides group membership, fetching and commits. Events are acknowledged by hand, once ClickHouse and Kafka
confirmed every row and message that follows from them (decision 0007).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import faust
from faust.types import TP
from mode.utils.queues import ThrowableQueue

from schemas.topic_names import RAW
from services.aggregator import metrics
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.errors import OwnershipLost
from services.aggregator.forgetting import ForgetWatch
from services.aggregator.handover import HandoverWatch
from services.aggregator.intake import Received
from services.aggregator.limits import DeadLetterLimit
from services.aggregator.partition import Codecs, PartitionTask
from services.aggregator.pause import DeadLetterPause
from services.aggregator.reading import Message
from services.aggregator.settings import AggregatorSettings
from services.aggregator.tenants import Tenants
from services.runtime.clock import Clock
from services.runtime.fetching import guard_fetching, whole_or_why
from services.runtime.logging import get_logger
from services.runtime.record_bounds import held_bytes
from services.runtime.settings import MESSAGE_MAX_BYTES
from services.runtime.tracing import UNTRACED, Tracer

log = get_logger(__name__)
# Fetching pauses while this many raw events wait in all partitions together: a few batches for each partition.
_WAITING_MAX = 4_000
# Fetching also pauses while the waiting events have this many bytes: a message may have 8 MiB.
_WAITING_MAX_BYTES = 64 * 1024 * 1024
_BUFFER_MAX_BYTES = 32 * 1024 * 1024


class _Buffer(ThrowableQueue[Any]):
    """Faust's queue of events, limited by the events' bytes as well as by their number."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._bytes = 0
        super().__init__(*args, **kwargs)

    def full(self) -> bool:
        return self._bytes >= _BUFFER_MAX_BYTES or super().full()

    def clear(self) -> None:
        super().clear()
        self._bytes = 0

    def _put(self, item: Any) -> None:
        self._bytes += _bytes_of(item)
        super()._put(item)

    def _get(self) -> Any:
        item = super()._get()
        self._bytes -= _bytes_of(item)
        return item


def _bytes_of(event: Any) -> int:
    message = getattr(event, "message", None)
    return 0 if message is None else held_bytes(message.key, message.value, message.headers or ())


class _App(faust.App):
    def _create_directories(self) -> None:
        """Create no directories: an app without tables needs none, and a kill would leave them behind."""

    def FlowControlQueue(self, maxsize: int | None = None, *, clear_on_resume: bool = False) -> Any:
        return _Buffer(maxsize=maxsize, flow_control=self.flow_control, clear_on_resume=clear_on_resume)


def build_app(settings: AggregatorSettings) -> faust.App:
    """Build the Faust app of one worker, without tables, leader topic or web server."""
    guard_fetching()
    options: dict[str, Any] = {}
    if settings.kafka_security_protocol != "PLAINTEXT":
        options["broker_credentials"] = _credentials(settings)
    if settings.instance_id:
        # A restarted worker takes its old place in the group without a rebalance.
        options["consumer_group_instance_id"] = settings.instance_id
    return _App(
        f"{settings.topic_prefix}{settings.aggregator_group}",
        broker=[f"kafka://{address}" for address in settings.kafka_bootstrap.split(",")],
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        key_serializer="raw",
        value_serializer="raw",
        # A killed worker's partitions move once its session ends; with Faust's default of 60 s they would wait as long.
        broker_session_timeout=6.0,
        broker_heartbeat_interval=2.0,
        broker_rebalance_timeout=30.0,
        broker_request_timeout=40.0,
        broker_max_poll_interval=3600.0,
        broker_commit_interval=0.5,
        broker_commit_every=1_000,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=MESSAGE_MAX_BYTES,
        producer_max_request_size=MESSAGE_MAX_BYTES,
        stream_buffer_maxsize=1_000,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        **options,
    )


def _credentials(settings: AggregatorSettings) -> Any:
    context = settings.kafka_tls.context() if "SSL" in settings.kafka_security_protocol else None
    if settings.kafka_sasl_mechanism:
        password = settings.kafka_sasl_password.get_secret_value() if settings.kafka_sasl_password else None
        return faust.SASLCredentials(
            username=settings.kafka_sasl_username,
            password=password,
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context)


class Worker:
    """Runs the partition tasks of one process, one task for each partition that the group assigns.

    Args:
        on_failure: called with the error that makes the process end.
        tracer: traces events and batches.

    Attributes:
        pause: holds every partition back while most events are bad.
        was_assigned: whether the group has assigned partitions at least once.
    """

    def __init__(
        self,
        settings: AggregatorSettings,
        app: faust.App,
        store: ClickHouse,
        codecs: Codecs,
        clock: Clock,
        on_failure: Callable[[BaseException], None],
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._tracer = tracer
        self._settings = settings
        self._app = app
        self._store = store
        self._codecs = codecs
        self._clock = clock
        self._on_failure = on_failure
        self._raw_topic = settings.topic(RAW)
        self._tasks: dict[int, tuple[PartitionTask, asyncio.Task[None]]] = {}
        self._room = asyncio.Event()
        limit = DeadLetterLimit(
            settings.dead_letter_limit_ratio,
            int(settings.dead_letter_limit_window_seconds * 1000),
            settings.dead_letter_limit_minimum_events,
            settings.dead_letter_limit_workspace_share,
        )
        self.pause = DeadLetterPause(limit, settings.dead_letter_limit_ratio, clock)
        self._tenants = Tenants(store, clock)
        self._handovers = HandoverWatch(store)
        self._erasures = ForgetWatch(store)
        self.was_assigned = False
        self._rebalanced = asyncio.Event()
        app.on_partitions_assigned.connect(self._assigned)  # type: ignore[arg-type]  # signal types want exact names
        app.on_partitions_revoked.connect(self._revoked)  # type: ignore[arg-type]  # likewise
        topic = app.topic(self._raw_topic, key_serializer="raw", value_serializer="raw")
        app.agent(topic, name="raw", concurrency=1)(self._consume)

    @property
    def partitions(self) -> list[PartitionTask]:
        """The tasks of the partitions that this process owns now."""
        return [task for task, _ in self._tasks.values()]

    @property
    def missing(self) -> str | None:
        """Why the worker is not ready, in one line; None while the worker is ready.

        A worker is ready once the group assigned partitions to it and each of them has read its catalog to the end.
        """
        if self.pause.why is not None:
            return self.pause.why
        if self.was_assigned and all(task.is_caught_up for task in self.partitions):
            return None
        return "waiting for an assignment and for the catalog's end"

    async def _consume(self, stream: Any) -> None:
        """Hand each event to its partition's task; nothing is acknowledged here."""
        stream.enable_acks = False
        async for event in stream.events():
            message = event.message
            task = await self._owner(message.partition)
            if task is None:
                # The event was buffered before the partition was revoked: the next owner reads the event again.
                continue
            task.give(Received(_message(message), _acknowledge(stream, event)))
            if not self._has_room():
                self._room.clear()
                await self._room.wait()

    def _has_room(self) -> bool:
        events = size = 0
        for task, _ in self._tasks.values():
            events += task.waiting
            size += task.waiting_bytes
        return events < _WAITING_MAX and size < _WAITING_MAX_BYTES

    def _make_room(self) -> None:
        """Let fetching go on if there is room; a task calls this after taking events from its queue."""
        if self._has_room():
            self._room.set()

    async def _owner(self, partition: int) -> PartitionTask | None:
        """The task of a partition; None once the partition is not assigned. Waits while the task is about to start."""
        while partition not in self._tasks:
            assigned = self._app.consumer.assignment()
            if not any(tp.topic == self._raw_topic and tp.partition == partition for tp in assigned):
                return None
            self._rebalanced.clear()
            await self._rebalanced.wait()
        return self._tasks[partition][0]

    async def _assigned(self, _: Any, *args: Any, **__: Any) -> None:
        assigned: set[TP] = args[0]
        wanted = {tp.partition for tp in assigned if tp.topic == self._raw_topic}
        # Every assignment begins again at the committed offsets, so the tasks of earlier assignments end here.
        await self._stop_tasks(set(self._tasks))
        for partition in sorted(wanted):
            task = PartitionTask(
                partition,
                self._settings,
                self._store,
                self._codecs,
                self._clock,
                self._make_room,
                self.pause,
                self._tenants,
                self._handovers,
                self._erasures,
                self._tracer,
            )
            running = asyncio.create_task(task.run(), name=f"partition-{partition}")
            running.add_done_callback(self._ended)
            self._tasks[partition] = (task, running)
        self.was_assigned = True
        self._rebalanced.set()
        metrics.OWNED.set(len(self._tasks))
        log.info("assigned", partitions=sorted(wanted))

    async def _revoked(self, _: Any, *args: Any, **__: Any) -> None:
        revoked: set[TP] = args[0]
        gone = {tp.partition for tp in revoked if tp.topic == self._raw_topic}
        await self._stop_tasks(gone)
        self._rebalanced.set()
        metrics.OWNED.set(len(self._tasks))
        if gone:
            log.info("revoked", partitions=sorted(gone))

    async def stop(self) -> None:
        """End the tasks of all partitions and wait for them; nothing more is acknowledged."""
        await self._stop_tasks(set(self._tasks))

    async def _stop_tasks(self, partitions: set[int]) -> None:
        ended = [self._tasks.pop(partition)[1] for partition in partitions if partition in self._tasks]
        for running in ended:
            running.cancel()
        if ended:
            await asyncio.gather(*ended, return_exceptions=True)
        self._make_room()

    def _ended(self, running: asyncio.Task[None]) -> None:
        if running.cancelled():
            return
        error = running.exception()
        if error is None:
            return
        if isinstance(error, OwnershipLost):
            log.warning("ownership_lost", task=running.get_name(), error=str(error))
        self._on_failure(error)


def _acknowledge(stream: Any, event: Any) -> Callable[[], Any]:
    async def acknowledge() -> None:
        await stream.ack(event)

    return acknowledge


def _message(message: Any) -> Message:
    value, headers, unreadable = whole_or_why(message.value, message.headers)
    return Message(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=value,
        # Faust gives seconds as a float; a float holds today's milliseconds exactly.
        timestamp=round(message.timestamp * 1000),
        headers=headers,
        unreadable=unreadable,
    )
