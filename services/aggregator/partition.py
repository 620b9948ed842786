"""One owned partition: takes its raw events and its catalog together, batch by batch.

The order of a batch, and why a crash between any two steps only repeats it: decode and map; fill what is not in
memory from ClickHouse; fold; snapshots, registers and totals into ClickHouse, confirmed; snapshots and rollups onto
their topics, committed; then the offsets. Everything written is a function of registers that ignore a repeat, and
carries a version that an older owner can't exceed.

While one batch is written, the next is read and folded. Batches are still written one after the other, in the order of
their versions, and states are read back from ClickHouse only when nothing is on its way there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from schemas.codec import Codec
from schemas.encoder import Encode
from schemas.events import DeadLetter, PlatformRaw
from schemas.topic_names import CHANNEL_ROLLUPS, CHANNEL_SNAPSHOTS, CLAIMS, POST_ROLLUPS, POST_SNAPSHOTS
from services.aggregator import metrics, pipeline
from services.aggregator.catalog import CatalogReader
from services.aggregator.filling import SettledReader, fill
from services.aggregator.handover import (
    HANDOVER_CHECK_SECONDS,
    HandoverWatch,
    channels_of,
    differing_posts,
    fold_tail,
    gone_channels,
    note_handover,
)
from services.aggregator.limits import STRANGERS
from services.aggregator.mending import MirrorMender, all_posts, stray_rollups
from services.aggregator.pause import DeadLetterPause, Judged
from services.aggregator.pipeline import Batch, CatalogWrite, Effects
from services.aggregator.publisher import Encoded, PartitionPublisher
from services.aggregator.reading import Message
from services.aggregator.rebuild import Rebuild, note_mended
from services.aggregator.rows import Version
from services.aggregator.set_aside import BatchReader, halves, key_of
from services.aggregator.settings import AggregatorSettings
from services.aggregator.sink import ClickHouseSink
from services.aggregator.state import PartitionState
from services.aggregator.tenants import Tenants
from services.aggregator.writing import TopicWriter, insert_all, until_done
from services.runtime.clock import Clock
from services.runtime.logging import get_logger

log = get_logger(__name__)
Result = TypeVar("Result")
# Topics whose values are encoded from positional fields.
RECORD_TOPICS = (CLAIMS, POST_SNAPSHOTS, CHANNEL_SNAPSHOTS, POST_ROLLUPS, CHANNEL_ROLLUPS)
# A version is the owner's epoch, then the number of its batch: 16 million claims of 10^12 batches.
_SEQUENCE_BITS = 40
_RETOLD_PER_BATCH = 2_000
# Catalog writes folded at once; a deleted channel may touch every post it ever had.
_CATALOG_WRITES_PER_BATCH = 500


class Codecs:
    """Every codec a partition needs, made once a process."""

    def __init__(
        self,
        raw: Codec[PlatformRaw],
        catalog: dict[str, Codec[Any]],
        dead_letters: Codec[DeadLetter],
        encoders: dict[str, Encode],
    ) -> None:
        self.raw = raw
        self.catalog = catalog
        self.dead_letters = dead_letters
        self.encoders = encoders


class Received:
    """A raw message with how to acknowledge it."""

    __slots__ = ("acknowledge", "message", "size")

    def __init__(self, message: Message, acknowledge: Callable[[], Awaitable[None]]) -> None:
        self.message = message
        self.acknowledge = acknowledge
        self.size = message.size


class PartitionTask:
    """Owns one partition from assignment to revocation.

    Args:
        partition: number.
        on_taken: called after received events were taken up, so that more may be given.
        pause: what holds all partitions of the process back while most events are bad.
        tenants: which workspaces there are.
        handovers: whether a rebuild waits for its partitions to be taken over; one for all of the process.
    """

    def __init__(
        self,
        partition: int,
        settings: AggregatorSettings,
        sink: ClickHouseSink,
        codecs: Codecs,
        clock: Clock,
        on_taken: Callable[[], None],
        pause: DeadLetterPause,
        tenants: Tenants,
        handovers: HandoverWatch,
    ) -> None:
        self.partition = partition
        self._handovers = handovers
        self._on_taken = on_taken
        self._pause = pause
        self._tenants = tenants
        self._settings = settings
        self._sink = sink
        self._codecs = codecs
        self._clock = clock
        self._batches = BatchReader(partition, settings, codecs.raw, codecs.dead_letters, clock)
        self._publisher = PartitionPublisher(settings, settings.aggregator_group, partition)
        self._writer = TopicWriter(partition, settings.topic, codecs.encoders, self._publisher, self._batches)
        self._catalog = CatalogReader(settings, settings.aggregator_group, partition, codecs.catalog)
        self._state = PartitionState.empty(settings.aggregator_cache_targets)
        self._raw: deque[Received] = deque()
        self.waiting_bytes = 0
        self._writes: deque[CatalogWrite] = deque()
        self._wake = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._reader = SettledReader(sink, self._settle)
        self._generation = 0
        self._epoch = 0
        self._sequence = 0
        self._windows_due_at = 0.0
        self._handover_due_at = 0.0
        self._mended_for = 0
        self.is_caught_up = False
        self.is_taking_over = False
        self.last_progress = 0.0

    @property
    def waiting(self) -> int:
        """Raw events received and not done."""
        return len(self._raw)

    @property
    def state(self) -> PartitionState:
        """What it holds in memory; for metrics."""
        return self._state

    def give(self, received: Received) -> None:
        """Hand over one raw message, in offset order."""
        self._raw.append(received)
        self.waiting_bytes += received.size
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            OwnershipLost: a newer owner has the partition.
        """
        loop = asyncio.get_running_loop()
        self.last_progress = loop.time()
        follower: asyncio.Task[None] | None = None
        try:
            await self._claim()
            async for writes in self._catalog.to_end():
                for start in range(0, len(writes), _CATALOG_WRITES_PER_BATCH):
                    await self._apply(
                        Batch(catalog=pipeline.newest_writes(writes[start : start + _CATALOG_WRITES_PER_BATCH]))
                    )
                await self._settle()
                await self._catalog.commit(self._catalog.positions())
            self.is_caught_up = True
            log.info("partition_ready", partition=self.partition, epoch=self._epoch, generation=self._generation)
            follower = asyncio.create_task(self._follow_catalog())
            while True:
                await self._round(follower)
        finally:
            if follower is not None:
                follower.cancel()
                await asyncio.gather(follower, return_exceptions=True)
            if self._writing is not None:
                self._writing.cancel()
                await asyncio.gather(self._writing, return_exceptions=True)
            await self._catalog.stop()
            await asyncio.to_thread(self._publisher.close)

    async def _claim(self) -> None:
        """Become the one owner, before any state is read.

        Starting the publisher fences every older owner. The claim is stored, and only then proven by a transaction:
        whoever passes the proof wrote its claim before any newer owner could begin, so newer owners see it and take a
        greater epoch; whoever was fenced fails here and never writes a state.
        """
        await until_done(lambda: asyncio.to_thread(self._publisher.start))
        instance = self._settings.instance_id or "aggregator"
        self._epoch = await self._sink.claim(self.partition, instance)
        claim = (self.partition, self._epoch, instance, self._clock.now())
        proof = Encoded(
            self._settings.topic(CLAIMS),
            self.partition,
            str(self.partition).encode(),
            self._codecs.encoders[CLAIMS](claim),
        )
        await until_done(lambda: asyncio.to_thread(self._publisher.publish, [proof]))
        self._generation = await self._sink.generation_of(self.partition)

    async def _follow_catalog(self) -> None:
        while True:
            # Positions are committed only once the writes up to them are folded: hold the next poll until then.
            if not self._writes:
                writes = await self._catalog.poll()
                if writes:
                    self._writes.extend(writes)
                    self._wake.set()
                    continue
            await asyncio.sleep(0.02)

    async def _round(self, follower: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        await self._gather(max(0.01, min(self._windows_due_at, self._handover_due_at) - loop.time()))
        if follower.done():
            follower.result()
        received = self._taken()
        self._on_taken()
        writes = [self._writes.popleft() for _ in range(min(len(self._writes), _CATALOG_WRITES_PER_BATCH))]
        positions = self._catalog.positions() if writes and not self._writes else None
        batch = await self._usable([entry.message for entry in received])
        batch.catalog = pipeline.newest_writes(writes)
        if loop.time() >= self._handover_due_at:
            self._handover_due_at = loop.time() + HANDOVER_CHECK_SECONDS
            rebuild = await self._handovers.pending(self._generation)
            if rebuild is not None:
                await self._settle()
                self.is_taking_over = True
                await (self._mend_mirror if rebuild.state == "mending" else self._take_over)(rebuild)
                self.is_taking_over = False
        if loop.time() >= self._windows_due_at:
            await self._settle()
            batch.expired = await self._sink.expired_channels(self._generation, self.partition, self._clock.now())
            self._windows_due_at = loop.time() + self._settings.aggregator_window_check_seconds

        async def confirm() -> None:
            for entry in received:
                await entry.acknowledge()
            if positions is not None:
                await self._catalog.commit(positions)
            self.last_progress = loop.time()

        if received or batch.catalog or batch.expired:
            await self._apply(batch, confirm)

    async def _gather(self, seconds: float) -> None:
        """Wait for work, `seconds` at most, and then until there is enough of it for a batch.

        A full batch is enough. Otherwise it is what came while the batch before was written and until the next
        multiple of the linger: partitions of a process then begin together, and share their inserts.
        """
        try:
            async with asyncio.timeout(seconds):
                while not self._raw and not self._writes:
                    await self._woken()
                    if self._is_written():
                        await self._settle()
        except TimeoutError:
            pass  # time to look for windows that ran out
        if not self._raw or self._is_full():
            return
        while self._writing is not None and not self._is_written() and not self._is_full():
            await self._woken()
        linger = self._settings.aggregator_linger_seconds
        if linger:
            with suppress(TimeoutError):
                async with asyncio.timeout(linger - asyncio.get_running_loop().time() % linger):
                    while not self._is_full():
                        await self._woken()

    async def _woken(self) -> None:
        self._wake.clear()
        await self._wake.wait()

    def _is_full(self) -> bool:
        settings = self._settings
        return (
            len(self._raw) >= settings.aggregator_batch_events or self.waiting_bytes >= settings.aggregator_batch_bytes
        )

    def _taken(self) -> list[Received]:
        """The next events: as many as a batch holds, and not more bytes unless one event alone has them."""
        taken: list[Received] = []
        size = 0
        while self._raw and len(taken) < self._settings.aggregator_batch_events:
            size += self._raw[0].size
            if taken and size > self._settings.aggregator_batch_bytes:
                break
            taken.append(self._raw.popleft())
            self.waiting_bytes -= taken[-1].size
        return taken

    def _is_written(self) -> bool:
        return self._writing is not None and self._writing.done()

    async def _usable(self, messages: Sequence[Message]) -> Batch:
        """Read messages; while most events turn bad nothing comes back, and nothing is written or acknowledged."""
        batch = await asyncio.to_thread(self._batches.read, messages)
        if not batch.dead:
            await self._pause.pass_through(Judged(len(messages), ()), self._unread)
            return batch

        async def again() -> Judged:
            nonlocal batch
            batch = await asyncio.to_thread(self._batches.read, messages)
            return await self._judged(len(messages), batch)

        judged = await self._judged(len(messages), batch)
        await self._pause.pass_through(judged, again)
        return batch

    async def _unread(self) -> Judged:
        return Judged(0, ())

    async def _judged(self, events: int, batch: Batch) -> Judged:
        # Where the event can't say its workspace, the key stands for it: producers key by it.
        named = [letter.workspace_id or key_of(letter) for letter in batch.dead]
        known = await self._tenants.known(set(named)) if named else set()
        reasons = [letter.reason for letter in batch.dead]
        return Judged(
            events,
            [(name if name in known else STRANGERS, reason) for name, reason in zip(named, reasons, strict=True)],
        )

    async def _take_over(self, rebuild: Rebuild) -> None:
        """Move to a rebuilt generation that is complete but for this partition's tail."""
        old, partitions = self._generation, self._settings.topic_partitions
        log.info("handover_begins", partition=self.partition, generation=rebuild.generation)
        cache = self._settings.aggregator_cache_targets
        await fold_tail(self._sink, self._clock, rebuild, self.partition, partitions, self._next_number, cache)
        self._state = PartitionState.empty(cache)
        self._generation = rebuild.generation
        gone = await gone_channels(self._sink, old, rebuild.generation, self.partition)
        await self._writer.publish(await asyncio.to_thread(self._writer.encode, Batch(), Effects(rollups=gone)))
        if self.partition in rebuild.rollups:
            async for strays in stray_rollups(self._settings, self._sink, rebuild.generation, self.partition):
                await self._writer.publish(
                    await asyncio.to_thread(self._writer.encode, Batch(), Effects(rollups=strays))
                )
            posts = await all_posts(self._sink, rebuild.generation, self.partition)
        else:
            posts = await differing_posts(self._sink, old, rebuild.generation, self.partition)
        for start in range(0, len(posts), _RETOLD_PER_BATCH):
            await self._apply(Batch(retold=posts[start : start + _RETOLD_PER_BATCH]))
        channels = await channels_of(self._sink, rebuild.generation, self.partition)
        for start in range(0, len(channels), _RETOLD_PER_BATCH):
            await self._apply(Batch(expired=channels[start : start + _RETOLD_PER_BATCH]))
        await self._settle()
        await note_handover(self._sink, self._clock, rebuild, self.partition)
        log.info("handover_done", partition=self.partition, generation=rebuild.generation, posts=len(posts))

    async def _mend_mirror(self, rebuild: Rebuild) -> None:
        """Fold every catalog write that the mirror lacks, as if it came now."""
        if self.partition not in rebuild.mirror or self._mended_for == rebuild.generation:
            return
        mender = MirrorMender(
            self._settings,
            self._sink,
            self._codecs.catalog,
            self._clock,
            self.partition,
            self._settings.topic_partitions,
        )
        mended = 0
        async for writes in mender.writes():
            for start in range(0, len(writes), _CATALOG_WRITES_PER_BATCH):
                some = writes[start : start + _CATALOG_WRITES_PER_BATCH]
                await self._apply(Batch(catalog=some))
                await self._settle()
                if await mender.forget(some, self._last_number):
                    await self._apply(Batch(catalog=some))
                    await self._settle()
                mended += len(some)
        await note_mended(self._sink, self._clock, rebuild, self.partition)
        self._mended_for = rebuild.generation
        log.info("mirror_mended", partition=self.partition, entries=mended)

    @property
    def _last_number(self) -> int:
        return (self._epoch << _SEQUENCE_BITS) + self._sequence

    def _next_number(self) -> int:
        self._sequence += 1
        return self._last_number

    async def _apply(self, batch: Batch, confirm: Callable[[], Awaitable[None]] | None = None) -> None:
        """Fold a batch, wait until the one before it is written, and begin to write it.

        Args:
            confirm: called once everything of the batch is written.
        """
        started = asyncio.get_running_loop().time()
        related = await fill(self._state, batch, self._reader, self._generation, self._clock.now())
        version = Version(self._generation, self.partition, self._next_number())
        now = self._clock.now()
        try:
            effects = await asyncio.to_thread(pipeline.fold_batch, self._state, batch, related, version, now)
        except Exception as error:  # a bug of ours: find what it is about, and let everything else go on
            await self._apply_apart(batch, confirm, error)
            return
        self._state.trim()
        await self._settle()
        self._writing = asyncio.create_task(self._write(batch, effects, started, confirm))
        # An idle partition has to notice what became of it.
        self._writing.add_done_callback(lambda _: self._wake.set())

    async def _apply_apart(self, batch: Batch, confirm: Callable[[], Awaitable[None]] | None, error: Exception) -> None:
        """Apply a batch that can't be folded in halves, until what makes it fail stands alone and is set aside."""
        await self._settle()
        # Half of the batch may be folded in: what is stored is whole.
        self._state = PartitionState.empty(self._settings.aggregator_cache_targets)
        parts = halves(batch)
        if not parts:
            batch = self._batches.without_culprit(batch, error)
            parts = [batch] if batch.dead or batch.misplaced else []
        for part in parts:
            await self._apply(part)
            await self._settle()
        if confirm is not None:
            await confirm()

    async def _settle(self) -> None:
        """Wait until everything folded is written and confirmed.

        Raises:
            OwnershipLost: a newer owner took the partition meanwhile.
        """
        if self._writing is not None:
            await self._writing
            self._writing = None

    async def _write(
        self, batch: Batch, effects: Effects, started: float, confirm: Callable[[], Awaitable[None]] | None
    ) -> None:
        # Encoding and the blocks on their way to ClickHouse overlap; publishing waits for both.
        encoding = asyncio.create_task(asyncio.to_thread(self._writer.encode, batch, effects))
        stages = pipeline.insert_stages(effects)
        try:
            refused = await insert_all(self._sink, stages[0])
        finally:
            messages = await encoding
        if refused:
            messages += self._batches.not_stored(batch, refused)
        await self._writer.publish(messages, batch)
        for stage in stages[1:]:
            await insert_all(self._sink, stage)
        if len(stages) > 1:
            # Whoever drops what it cached on a rollup must find the states behind it.
            await self._writer.publish(
                await asyncio.to_thread(self._writer.encode, Batch(), Effects(rollups=effects.rollups))
            )
        metrics.observe_batch(batch, effects, asyncio.get_running_loop().time() - started, self._clock.now())
        if confirm is not None:
            await confirm()
