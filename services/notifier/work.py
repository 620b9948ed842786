"""The work of this process for the partitions that it has: reads them back, takes in what happens, makes tries.

The order that nothing is lost by: what happened becomes deliveries, these become durable, and only then the positions
in the topics are committed. A crash in between repeats what was read, and deliveries that it makes again have the
ids of before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.codec import Codec, MalformedEvent, RecordCodec
from schemas.keys import Reason, checked_key, parsed_key, reason_of
from schemas.notices import NoticeType, WebhookDelivery
from schemas.topic_names import (
    ACCOUNT_EVENTS,
    CHANNEL_ROLLUPS,
    POST_ROLLUPS,
    TOPICS_OF_CHANGES,
    WEBHOOK_DELIVERIES,
    WEBHOOK_REQUESTS,
    WEBHOOK_STATES,
    WEBHOOKS,
)
from services.notifier import happenings
from services.notifier.book import Book, Effects
from services.notifier.changes import Gathering, told
from services.notifier.log import DeliveryLog, LogUnavailable
from services.notifier.metrics import Gauges, NotifierMetrics
from services.notifier.plan import Outcome
from services.notifier.records import Records
from services.runtime.brokers import Bounds, Brokers, BrokersUnavailable, Place, Reader, Record
from services.runtime.clock import Clock
from services.runtime.cursors import CursorText
from services.runtime.ends import Ends
from services.runtime.following import Batch, Follower, at_committed
from services.runtime.kafka import partition_of
from services.runtime.logging import get_logger
from services.runtime.registry import RegistryUnavailable
from services.runtime.revisions import Revisions

Send = Callable[[Any, WebhookDelivery], Coroutine[Any, Any, Outcome]]

_POLL_SECONDS: Final = 0.1
_LONGEST_WAIT_SECONDS: Final = 1.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the work needs.

    Attributes:
        codecs: of accounts' events and of all topics of webhooks, by name without prefix.
        rollups: of `rollups.posts`.
        incarnation: names the topics as they are now; see `runtime.topics.incarnation`.
        insert: inserts rows of the log.
        group: the group under whose name positions are committed, without prefix.
        may_try: whether Kafka confirmed lately that the partitions are still this process's.
    """

    brokers: Brokers
    partitions: int
    codecs: Mapping[str, Codec[Any]]
    rollups: RecordCodec
    cursors: CursorText
    incarnation: Callable[[], Coroutine[Any, Any, str]]
    send: Send
    insert: Callable[[Sequence[tuple[Any, ...]]], Coroutine[Any, Any, None]]
    clock: Clock
    metrics: NotifierMetrics
    share: Callable[[], float]
    group: str
    may_try: Callable[[], bool] = lambda: True


class Work:
    """Tells the webhooks of some partitions, from `run` until it is cancelled."""

    def __init__(self, parts: Parts, partitions: Sequence[int]) -> None:
        self.partitions = tuple(sorted(partitions))
        self.is_ready = False
        self._parts = parts
        self._clock = parts.clock
        self._book = Book(parts.share)
        self._revisions = Revisions()
        self._gathering = Gathering()
        self._records = Records(parts.brokers, parts.codecs, parts.partitions)
        self._incarnation = ""
        self._changed = asyncio.Event()
        self._held: dict[tuple[str, ...], bytes] = {}
        self._committed: dict[Place, int] = {}
        self._earliest = parts.clock.now()
        self._ends = Ends(parts.brokers)
        follower, numbers = self._follower, self.partitions
        self._webhooks = follower((WEBHOOKS,), numbers, self._take_webhooks)
        self._happenings = follower(
            (*TOPICS_OF_CHANGES, WEBHOOK_REQUESTS), numbers, self._take_happenings, begin=self._begin,
            group=parts.group, wait_seconds=_POLL_SECONDS, is_committed=True,
        )  # fmt: skip
        self._log_reader = follower(
            (WEBHOOK_DELIVERIES,), numbers, self._take_log, begin=at_committed, group=f"{parts.group}-log"
        )
        self._delivery_log = DeliveryLog(
            parts.insert, lambda finished: self._records.settle(finished, self._book.is_pending)
        )

    def gauges(self) -> Gauges:
        """The present state, for operators."""
        return Gauges(
            len(self.partitions),
            self._book.pending(),
            self._book.failing(),
            self._book.slow(),
            self._book.overdue(self._clock.now()) / 1000,
            self._happenings.lag().messages,
            self._log_reader.lag().messages,
        )

    def position(self, partition: int) -> int:
        """How far `catalog.webhooks` was read, as its next offset."""
        return self._webhooks.position(WEBHOOKS, partition)

    async def run(self) -> None:
        """Read back what was, then work until cancelled."""
        self._records.start()
        try:
            self._incarnation = await self._parts.incarnation()
            await self._read_back()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._webhooks.run())
                tasks.create_task(self._happenings.run())
                tasks.create_task(self._log_reader.run())
                tasks.create_task(self._make_tries(tasks))
                self.is_ready = True
                _log.info("telling webhooks", partitions=self.partitions, pending=self._book.pending())
        finally:
            self.is_ready = False
            await self._ends.close()
            await self._records.close()

    # Read back

    async def _read_back(self) -> None:
        topics = (WEBHOOK_STATES, WEBHOOK_DELIVERIES)
        # The newest value of each key, as bytes: most records of the topic are of deliveries long finished.
        await self._follower(topics, self.partitions, self._hold).run(until_caught_up=True)
        held, self._held = self._held, {}
        for name, value in held.items():
            if name[0] == WEBHOOK_STATES and (state := self._decoded(WEBHOOK_STATES, value)) is not None:
                self._book.restore_state((name[1], name[2]), state)
        await self._webhooks.run(until_caught_up=True)
        strays = []
        for name, value in held.items():
            if name[0] != WEBHOOK_DELIVERIES or (delivery := self._decoded(WEBHOOK_DELIVERIES, value)) is None:
                continue
            if not self._book.restore(delivery):
                strays.append(delivery)
        await self._records.erase(strays)
        # What a crash left waiting for webhooks that were shut down just before.
        await self._carry_out(self._book.tidy(self._clock.now()))

    async def _hold(self, batch: Batch) -> None:
        for record in batch.records:
            try:
                name = (record.topic, *parsed_key(record.topic, record.key))
            except MalformedEvent as error:
                self._refuse(record, error)
                continue
            if not self._is_home(name[1], record):
                continue
            if record.value is None:
                self._held.pop(name, None)
            else:
                self._held[name] = record.value

    async def _begin(self, reader: Reader, bounds: Mapping[Place, Bounds]) -> Mapping[Place, int]:
        """Where positions were committed; else what came since the oldest webhook of these partitions was made."""
        found = await reader.committed(bounds)
        since = dict.fromkeys(bounds, self._earliest)
        first = await reader.offsets_at(since)
        return {
            place: held if (held := found[place]) is not None else bound.end if (at := first[place]) is None else at
            for place, bound in bounds.items()
        }

    # What happens

    async def _take_webhooks(self, batch: Batch) -> None:
        for record in batch.records:
            event = self._read(record)
            if event is _UNREADABLE:
                continue
            if not self._revisions.counts(record.key or b"", record.offset, record.headers):
                continue  # its writer had not read another's change, and makes its own again
            key = parsed_key(WEBHOOKS, record.key)
            if event is not None:
                self._earliest = min(self._earliest, event.created_at)
            await self._carry_out(self._book.change((key[0], key[1]), event, self._clock.now()))

    async def _take_happenings(self, batch: Batch) -> None:
        if batch.lost:
            self._incarnation = await self._parts.incarnation()
        if batch.records:
            # A webhook that was made or enabled before something happened is told of it, though the two topics are
            # read apart.
            await self._webhooks.read_written(self._ends)
        effects = Effects()
        before = self._happenings.positions
        try:
            for record in batch.records:
                try:
                    self._happened(record, before, effects)
                except RegistryUnavailable:
                    raise
                except Exception as error:
                    self._refuse(record, error)
        finally:
            # Also where the registry is away in the middle of a batch: what was made already is known, and not made
            # again when the batch is given again.
            await self._carry_out(effects)
        positions = {**before, **batch.positions}
        await self._tell_changes(positions)
        await self._commit(self._gathering.safe(positions, self._partition_of))

    def _happened(self, record: Record, before: Mapping[Place, int], effects: Effects) -> None:
        topic, now = record.topic, self._clock.now()
        if topic == WEBHOOK_REQUESTS:
            event = self._read(record)
            if event is not _UNREADABLE and event is not None:
                effects.add(self._book.request(event, now))
        elif topic == ACCOUNT_EVENTS:
            event = self._read(record)
            if event is not _UNREADABLE and event is not None:
                source = f"{topic}/{record.partition}/{record.offset}"
                effects.add(happenings.account(self._book, event, source, now))
        elif topic in (POST_ROLLUPS, CHANNEL_ROLLUPS):
            self._rolled_up(record, before, effects)

    def _rolled_up(self, record: Record, before: Mapping[Place, int], effects: Effects) -> None:
        workspace_id, id_ = parsed_key(record.topic, record.key)[:2]
        if not self._book.of(workspace_id) or not self._is_home(workspace_id, record):
            return
        if self._book.wants(workspace_id, NoticeType.METRICS_CHANGED):
            at = self._offsets(record.partition, before)
            self._gathering.add(workspace_id, record.topic, id_, at, record.timestamp)
        if (
            record.topic == POST_ROLLUPS
            and record.value
            and any(map(happenings.has_rules, self._book.of(workspace_id)))
        ):
            rollup = self._parts.rollups.decode(record.value)
            checked_key(record.topic, record.key, rollup)
            effects.add(happenings.thresholds(self._book, rollup, record.timestamp, self._clock.now()))

    async def _tell_changes(self, positions: Mapping[Place, int]) -> None:
        now = self._clock.now()
        effects = Effects()
        for workspace_id, news in self._gathering.take(now).items():
            seen = self._offsets(self._partition_of(workspace_id), positions)
            content = told(workspace_id, news, seen, self._parts.cursors, self._incarnation, now)
            source = f"{self._partition_of(workspace_id)}/{news.at}/{seen}"
            for endpoint in self._book.of(workspace_id):
                if endpoint.wants(NoticeType.METRICS_CHANGED, news.newest_at):
                    effects.add(self._book.tell_change(endpoint, content, source, news.happened_at, now))
        await self._carry_out(effects)

    async def _commit(self, positions: Mapping[Place, int]) -> None:
        moved = {place: at for place, at in positions.items() if self._committed.get(place) != at}
        if not moved:
            return
        try:
            await self._happenings.commit(moved)
        except BrokersUnavailable as error:
            _log.info("positions are not committed yet", error=str(error))
        else:
            self._committed |= moved

    async def _carry_out(self, effects: Effects) -> None:
        """Make effects durable, and let their deliveries be tried."""
        for state in effects.shut:
            self._parts.metrics.shut.labels(state.reason).inc()
            _log.warning(
                "a webhook is shut down", workspace=state.workspace_id, webhook=state.webhook_id, reason=state.reason
            )
        if effects.writes:
            await self._records.write(effects.writes)
        if effects.erased:
            await self._records.erase(effects.erased)
        if effects.made:
            self._book.enqueue(effects.made)
        self._changed.set()

    # Tries

    async def _make_tries(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._changed.clear()
            if self._parts.may_try():
                for delivery in self._book.take(self._clock.now()):
                    tasks.create_task(self._try(delivery))
            due = self._book.wakes_at()
            seconds = _LONGEST_WAIT_SECONDS if due is None else max(0.0, (due - self._clock.now()) / 1000)
            try:
                async with asyncio.timeout(min(seconds, _LONGEST_WAIT_SECONDS)):
                    await self._changed.wait()
            except TimeoutError:
                pass  # something is due, or the clock was moved

    async def _try(self, delivery: WebhookDelivery) -> None:
        endpoint = self._book.get((delivery.workspace_id, delivery.webhook_id))
        began = asyncio.get_running_loop().time()
        try:
            outcome = (
                await self._parts.send(endpoint.webhook, delivery)
                if endpoint is not None
                else Outcome(None, error="the webhook was deleted")
            )
        except Exception as error:
            # A mistake of our own at one delivery must not keep the others from being made.
            _log.exception("a try broke", webhook=delivery.webhook_id)
            outcome = Outcome(None, error=f"a mistake of the notifier: {type(error).__name__}")
        metrics = self._parts.metrics
        metrics.try_seconds.observe(asyncio.get_running_loop().time() - began)
        metrics.tries.labels("failed" if outcome.error else "delivered").inc()
        now = self._clock.now()
        if not outcome.error and not delivery.tries:
            metrics.first_seconds.observe(max(0, now - delivery.occurred_at) / 1000)
        await self._carry_out(self._book.ended(delivery, outcome, now))

    # The log

    async def _take_log(self, batch: Batch) -> None:
        held = [
            (record.offset, event)
            for record in batch.records
            if record.value is not None and (event := self._read(record)) is not _UNREADABLE
        ]
        await self._delivery_log.take(held)
        if batch.positions:
            try:
                await self._log_reader.commit({**self._log_reader.positions, **batch.positions})
            except BrokersUnavailable as error:
                _log.info("positions of the log are not committed yet", error=str(error))

    # Reading

    def _follower(self, topics: Sequence[str], numbers: Sequence[int], take: Any, **options: Any) -> Follower:
        return Follower(
            self._parts.brokers, topics, numbers, take,
            retry_on=(RegistryUnavailable, LogUnavailable), **{"is_committed": False, **options},
        )  # fmt: skip

    def _read(self, record: Record) -> Any:
        """The event of a record, None for a tombstone; `_UNREADABLE` for a record that does not count."""
        try:
            event = None if record.value is None else self._parts.codecs[record.topic].decode(record.value)
            checked_key(record.topic, record.key, event, lambda name: self._is_home(name, record))
        except RegistryUnavailable:
            raise
        except Exception as error:
            self._refuse(record, error)
            return _UNREADABLE
        return event

    def _decoded(self, topic: str, value: bytes) -> Any:
        try:
            return self._parts.codecs[topic].decode(value)
        except MalformedEvent as error:
            self._parts.metrics.refused.labels(topic, reason_of(error).value).inc()
            return None

    def _refuse(self, record: Record, error: Exception) -> None:
        """Pass over a record that does not count, or that breaks its reader: it must not keep the others from it."""
        is_known = isinstance(error, MalformedEvent)
        reason = (reason_of(error) if isinstance(error, MalformedEvent) else Reason.UNREADABLE_VALUE).value
        self._parts.metrics.refused.labels(record.topic, reason).inc()
        _log.error(
            "a record does not count", topic=record.topic, partition=record.partition, offset=record.offset,
            reason=reason, error="" if is_known else repr(error),
        )  # fmt: skip

    def _is_home(self, workspace_id: str, record: Record) -> bool:
        return self._partition_of(workspace_id) == record.partition

    def _partition_of(self, workspace_id: str) -> int:
        return partition_of(workspace_id, self._parts.partitions)

    @staticmethod
    def _offsets(partition: int, positions: Mapping[Place, int]) -> tuple[int, ...]:
        return tuple(positions.get(Place(topic, partition), 0) for topic in TOPICS_OF_CHANGES)


_UNREADABLE: Final[Any] = object()
