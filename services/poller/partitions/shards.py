"""Follows the partitions that the group gives to this process, and takes them away: loads, activates, drains, forgets.

A partition that is gained is read first: its accounts, its catalog, and what was last captured of what it holds. Only
then are its channels asked, each when it is due, and live requests for it taken. One that has to be given back is
drained: no call is begun, those under way (refreshes of tokens too) are waited for, for a bounded time, and then the
group may give it to another. One that was lost is dropped at once; what is still under way for it ends as it likes: an
answer counts once whoever published it, and a refreshed token is written in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from schemas.codec import Codec, RecordCodec
from schemas.tiers import COMMON, RULES
from schemas.topic_names import ACCOUNT_EVENTS, CHANNEL_SNAPSHOTS, CHANNELS, POST_ROLLUPS, RAW, REQUESTS
from services.poller.catalog import TOPICS as CATALOG
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.metrics import PollerMetrics
from services.poller.partitions.captures import Bookkeeper, Captures, account_events
from services.poller.partitions.ownership import Ownership, Stage
from services.poller.reader import Fold, TopicReader
from services.poller.schedule.schedule import Schedule
from services.poller.timing import Time
from services.runtime.brokers import Record
from services.runtime.kafka import partition_of
from services.runtime.logging import get_logger

# How long a load waits until this process's own earlier answers are in Kafka, where it looks for them.
_PUBLISHED_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_LONGEST_CHANNEL_INTERVAL = max(rule.channel_interval for rule in (COMMON, *RULES.values()))
_log = get_logger(__name__)


class _Shard:
    """Partitions that were gained together, less those given back since."""

    def __init__(self, partitions: Iterable[int]) -> None:
        self.partitions = set(partitions)
        self.task: asyncio.Task[None] | None = None

    def only(self, fold: Fold) -> Fold:
        """The fold, for messages of these partitions alone."""

        def folding(topic: str, record: Record) -> None:
            if record.partition in self.partitions:
                fold(topic, record)

        return folding


class Shards:
    """What this process does about its partitions; see `services.runtime.membership.Listener`.

    Args:
        codecs: of the catalog's topics, `accounts.events` and `platform.raw`, by name without prefix.
        rollup_codec: of `rollups.posts`.
        is_published: whether every answer so far is confirmed by Kafka.
        take: takes the value of a live request.
        on_loaded: called after partitions became active.
        on_share: told which part (0..1) of all partitions this process has, whenever that changes.
        drain_seconds: the longest that calls under way are waited for.
        bookkeeper: see `Captures`.
    """

    def __init__(
        self,
        *,
        time: Time,
        ownership: Ownership,
        reader: TopicReader,
        catalog: Catalog,
        schedule: Schedule,
        accounts: Accounts,
        codecs: Mapping[str, Codec[Any]],
        rollup_codec: RecordCodec,
        metrics: PollerMetrics,
        is_published: Callable[[], bool],
        take: Callable[[bytes | None], None],
        on_loaded: Callable[[], None],
        on_share: Callable[[float], None],
        drain_seconds: float,
        bookkeeper: Bookkeeper | None = None,
    ) -> None:
        self._time = time
        self._ownership = ownership
        self._reader = reader
        self._catalog = catalog
        self._schedule = schedule
        self._accounts = accounts
        self._codecs = codecs
        self._rollup_codec = rollup_codec
        self._metrics = metrics
        self._is_published = is_published
        self._take = take
        self._on_loaded = on_loaded
        self._on_share = on_share
        self._drain_seconds = drain_seconds
        self._bookkeeper = bookkeeper
        self._shards: list[_Shard] = []
        self._positions: dict[int, int] = {}
        self._is_member = False
        self._idle = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        ownership.on_idle = lambda _: self._idle.set()

    async def run(self) -> None:
        """Hold the tasks of all partitions, until cancelled; comes before the membership's `run`."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await asyncio.Event().wait()

    def position(self, partition: int) -> int:
        """How far `catalog.channels` was read, as its next offset; safe to call from any thread."""
        return self._positions.get(partition, 0)

    def missing(self) -> str | None:
        """What is missing before this process does its work; None when it does. To have no partition is fine."""
        if not self._is_member:
            return "joining the group of the pollers"
        loading = self._ownership.held(Stage.LOADING)
        if loading:
            return f"reading partitions {', '.join(map(str, loading))}: {self._reader.waiting_for or 'almost done'}"
        if self._ownership.held() and not self._ownership.is_leased():
            return "Kafka has not confirmed the place in the group of late; nothing is asked until it does"
        return None

    async def gained(self, partitions: Sequence[int], not_before: int) -> None:
        """See `services.runtime.membership.Listener`."""
        self._is_member = True
        for partition in partitions:
            self._ownership.gain(partition, not_before)
        self._on_share(self._ownership.share())
        self._metrics.partition_moves.labels("gained").inc(len(partitions))
        if partitions:
            assert self._tasks is not None, "run comes first"
            shard = _Shard(partitions)
            self._shards.append(shard)
            shard.task = self._tasks.create_task(self._tend(shard))
        elif not self._ownership.held():
            _log.info("no partition yet: idle until another poller gives one back or is gone")

    async def revoked(self, partitions: Sequence[int]) -> None:
        """See `services.runtime.membership.Listener`."""
        self._metrics.partition_moves.labels("revoked").inc(len(partitions))
        _log.info("giving partitions back", partitions=partitions)
        if not await self.drain(partitions, self._drain_seconds):
            _log.warning("partitions are given back with calls under way", partitions=partitions)
        self._drop(partitions)

    async def lost(self, partitions: Sequence[int]) -> None:
        """See `services.runtime.membership.Listener`."""
        self._is_member = False
        self._metrics.partition_moves.labels("lost").inc(len(partitions))
        _log.warning("partitions are lost; the group took this process for dead", partitions=partitions)
        self._ownership.drain(partitions)
        self._drop(partitions)

    def proven(self, sent_at: int) -> None:
        """See `services.runtime.membership.Listener`."""
        self._ownership.prove(sent_at)

    async def drain(self, partitions: Sequence[int] | None, seconds: float) -> bool:
        """Begin nothing more for partitions (None: all), and wait for what is under way.

        Returns:
            Whether it came to its end in time.
        """
        drained = self._ownership.held() if partitions is None else partitions
        self._ownership.drain(drained)
        self._catalog.deactivate(self._are_in(drained), self._time.now())
        try:
            async with asyncio.timeout(seconds):
                await self._nothing_under_way(drained)
        except TimeoutError:
            return False
        return True

    def _drop(self, partitions: Sequence[int]) -> None:
        for shard in self._shards:
            shard.partitions.difference_update(partitions)
            if not shard.partitions and shard.task is not None:
                shard.task.cancel()
        self._shards = [shard for shard in self._shards if shard.partitions]
        self._catalog.discard(self._are_in(partitions))
        for partition in partitions:
            self._ownership.give_up(partition)
        self._on_share(self._ownership.share())

    async def _tend(self, shard: _Shard) -> None:
        """Read a shard, make it active, and keep up with its catalog and its live requests."""
        numbers, started_at = sorted(shard.partitions), self._time.now()
        captures = Captures(self._schedule, self._catalog, self._time.now, self._bookkeeper)
        speed = self._schedule.speed

        async def replay(topic: str, fold: Fold, since: int | Mapping[int, int] | None = None) -> None:
            await self._reader.replay(topic, shard.only(fold), since, numbers)

        async with asyncio.TaskGroup() as tasks:
            await replay(ACCOUNT_EVENTS, account_events(self._accounts, self._codecs[ACCOUNT_EVENTS]))
            caught_up = asyncio.Event()
            tasks.create_task(self._reader.follow(CATALOG, shard.only(self._fold), caught_up, numbers))
            await caught_up.wait()
            await replay(POST_ROLLUPS, captures.rollup(self._rollup_codec))
            await replay(
                CHANNEL_SNAPSHOTS, captures.channel_snapshot(), started_at - int(_LONGEST_CHANNEL_INTERVAL / speed)
            )
            # Only after a partition that was lost comes back is there anything to wait for.
            await self._nothing_under_way(numbers)
            await self._all_published()
            raw = captures.raw(self._codecs[RAW])
            await replay(RAW, raw, captures.raw_since(numbers, self._time.now(), speed))
            await asyncio.sleep(self._ownership.wait(numbers) / 1000)
            tasks.create_task(
                self._reader.tail((REQUESTS,), shard.only(lambda _, record: self._take(record.value)), numbers)
            )
            self._activate(shard, captures, started_at)

    def _activate(self, shard: _Shard, captures: Captures, started_at: int) -> None:
        ready = [number for number in shard.partitions if self._ownership.stage(number) is Stage.LOADING]
        for number in ready:
            self._ownership.activate(number)
        now = self._time.now()
        channels = self._catalog.activate(self._are_in(ready), captures.channels, now)
        _log.info("polling partitions", partitions=sorted(ready), channels=channels, loaded_in_ms=now - started_at)
        self._on_loaded()

    def _fold(self, topic: str, record: Record) -> None:
        self._catalog.fold(topic, record.key, record.value, self._time.now(), self._are_in((record.partition,)))
        if topic == CHANNELS:
            self._positions[record.partition] = record.offset + 1

    async def _nothing_under_way(self, partitions: Sequence[int]) -> None:
        while not self._ownership.is_idle(partitions):
            self._idle.clear()
            await self._idle.wait()

    async def _all_published(self) -> None:
        """Wait for what a former hold on the partitions left; at worst something is asked once more."""
        for _ in range(int(_PUBLISHED_SECONDS / _LOOK_SECONDS)):
            if self._ownership.held(Stage.ACTIVE) or self._is_published():
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def _are_in(self, partitions: Iterable[int]) -> Callable[[str], bool]:
        """Whether a workspace is in one of these."""
        numbers, count = frozenset(partitions), self._ownership.partitions
        return lambda workspace_id: partition_of(workspace_id, count) in numbers
