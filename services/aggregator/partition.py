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

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from schemas.codec import Codec
from schemas.encoder import Encode
from schemas.events import DeadLetter, PlatformRaw
from services.aggregator import metrics, pipeline
from services.aggregator.catalog import CatalogReader
from services.aggregator.errors import DeadLetterLimitReached, InvalidEvent, SinkUnavailable
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
from services.aggregator.limits import DeadLetterLimit
from services.aggregator.mending import MirrorMender, all_posts, stray_rollups
from services.aggregator.pipeline import Batch, CatalogWrite, Effects, Inserts
from services.aggregator.publisher import Encoded, PartitionPublisher
from services.aggregator.reading import Message, dead_letter, read_message
from services.aggregator.rebuild import Rebuild, note_mended
from services.aggregator.rows import Version
from services.aggregator.settings import AggregatorSettings
from services.aggregator.sink import ClickHouseSink
from services.aggregator.state import PartitionState
from services.runtime.clock import Clock
from services.runtime.kafka import partition_of
from services.runtime.logging import get_logger

log = get_logger(__name__)
Result = TypeVar("Result")
RAW = "platform.raw"
DEAD_LETTERS = "platform.raw.dead-letters"
CLAIMS = "aggregator.claims"
# Topics whose values are encoded from positional fields.
RECORD_TOPICS = (CLAIMS, "metrics.post-snapshots", "metrics.channel-snapshots", "rollups.posts", "rollups.channels")
# A version is the owner's epoch, then the number of its batch: 16 million claims of 10^12 batches.
_SEQUENCE_BITS = 40
_CATALOG_POLL_MILLIS = 500
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

    __slots__ = ("acknowledge", "message")

    def __init__(self, message: Message, acknowledge: Callable[[], Awaitable[None]]) -> None:
        self.message = message
        self.acknowledge = acknowledge


class PartitionTask:
    """Owns one partition from assignment to revocation.

    Args:
        partition: number.
        on_taken: called after received events were taken up, so that more may be given.
        limit: of dead letters; one for all partitions of the process.
        handovers: likewise.
    """

    def __init__(
        self,
        partition: int,
        settings: AggregatorSettings,
        sink: ClickHouseSink,
        codecs: Codecs,
        clock: Clock,
        on_taken: Callable[[], None],
        limit: DeadLetterLimit,
        handovers: HandoverWatch,
    ) -> None:
        self.partition = partition
        self._handovers = handovers
        self._on_taken = on_taken
        self._limit = limit
        self._settings = settings
        self._sink = sink
        self._codecs = codecs
        self._clock = clock
        self._publisher = PartitionPublisher(settings, settings.aggregator_group, partition)
        self._catalog = CatalogReader(settings, settings.aggregator_group, partition, codecs.catalog)
        self._state = PartitionState.empty(settings.aggregator_cache_targets)
        self._raw: deque[Received] = deque()
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
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            OwnershipLost: a newer owner has the partition.
            DeadLetterLimitReached: most events are bad; nothing of the last batch was written.
        """
        loop = asyncio.get_running_loop()
        self.last_progress = loop.time()
        follower: asyncio.Task[None] | None = None
        try:
            await self._claim()
            await self._until_done(self._catalog.start)
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
        await self._until_done(lambda: asyncio.to_thread(self._publisher.start))
        instance = self._settings.instance_id or "aggregator"
        self._epoch = await self._sink.claim(self.partition, instance)
        claim = (self.partition, self._epoch, instance, self._clock.now())
        proof = Encoded(
            self._settings.topic(CLAIMS),
            self.partition,
            str(self.partition).encode(),
            self._codecs.encoders[CLAIMS](claim),
        )
        await self._until_done(lambda: asyncio.to_thread(self._publisher.publish, [proof]))
        self._generation = await self._sink.generation_of(self.partition)

    async def _follow_catalog(self) -> None:
        while True:
            # Positions are committed only once the writes up to them are folded: hold the next poll until then.
            if not self._writes:
                writes = await self._catalog.poll(_CATALOG_POLL_MILLIS)
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
        received = [self._raw.popleft() for _ in range(min(len(self._raw), self._settings.aggregator_batch_events))]
        self._on_taken()
        writes = [self._writes.popleft() for _ in range(min(len(self._writes), _CATALOG_WRITES_PER_BATCH))]
        positions = self._catalog.positions() if writes and not self._writes else None
        batch = await asyncio.to_thread(self._read, [entry.message for entry in received])
        await self._hold_to_limit(len(received), batch)
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
        return len(self._raw) >= self._settings.aggregator_batch_events

    def _is_written(self) -> bool:
        return self._writing is not None and self._writing.done()

    def _read(self, messages: Sequence[Message]) -> Batch:
        batch = Batch()
        now = self._clock.now()
        for message in messages:
            try:
                read = read_message(self._codecs.raw, message)
            except InvalidEvent as error:
                batch.dead.append(dead_letter(self._codecs.raw, message, error, now))
                continue
            home = partition_of(read.event.workspace_id, self._settings.topic_partitions)
            if home != self.partition:
                batch.misplaced.append((message, home))
                continue
            if read.failure is not None:
                batch.dead.append(dead_letter(self._codecs.raw, message, read.failure, now))
            batch.raw.append(read)
        return batch

    async def _hold_to_limit(self, events: int, batch: Batch) -> None:
        """Stop before anything of the batch is written or acknowledged, when too much turns bad."""
        dead = [(letter.workspace_id or _key_of(letter), letter.reason) for letter in batch.dead]
        breach = self._limit.note(self._clock.now(), events, dead)
        if breach is not None:
            await self._settle()
            raise DeadLetterLimitReached(
                f"{breach.dead} of the last {breach.events} events can't be used, in {breach.workspaces} workspaces "
                f"(mostly {', '.join(breach.reasons)}): more than TIDEMARK_DEAD_LETTER_LIMIT_RATIO="
                f"{self._settings.dead_letter_limit_ratio:g}; see `tidemark dead-letters list`, fix the cause, start "
                "again"
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
        await self._publish(await asyncio.to_thread(self._encode, Batch(), Effects(rollups=gone)))
        if self.partition in rebuild.rollups:
            async for strays in stray_rollups(self._settings, self._sink, rebuild.generation, self.partition):
                await self._publish(await asyncio.to_thread(self._encode, Batch(), Effects(rollups=strays)))
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
        effects = await asyncio.to_thread(pipeline.fold_batch, self._state, batch, related, version, now)
        self._state.trim()
        await self._settle()
        self._writing = asyncio.create_task(self._write(batch, effects, started, confirm))
        # An idle partition has to notice what became of it.
        self._writing.add_done_callback(lambda _: self._wake.set())

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
        encoding = asyncio.create_task(asyncio.to_thread(self._encode, batch, effects))
        stages = pipeline.insert_stages(effects)
        try:
            await self._insert(stages[0])
        finally:
            messages = await encoding
        await self._publish(messages)
        for stage in stages[1:]:
            await self._insert(stage)
        if len(stages) > 1:
            # Whoever drops what it cached on a rollup must find the states behind it.
            await self._publish(await asyncio.to_thread(self._encode, Batch(), Effects(rollups=effects.rollups)))
        metrics.observe_batch(batch, effects, asyncio.get_running_loop().time() - started, self._clock.now())
        if confirm is not None:
            await confirm()

    async def _insert(self, inserts: Inserts) -> None:
        await asyncio.gather(*(self._sink.insert(table, rows) for table, rows in inserts.items()))

    async def _publish(self, messages: Sequence[Encoded]) -> None:
        await self._until_done(lambda: asyncio.to_thread(self._publisher.publish, messages))

    def _encode(self, batch: Batch, effects: Effects) -> list[Encoded]:
        prefix, partition = self._settings.topic, self.partition
        encoders = {name: (prefix(name), encode) for name, encode in self._codecs.encoders.items()}
        encoded: list[Encoded] = []
        for name, message_key, fields in (*effects.metrics, *effects.rollups):
            topic, encode = encoders[name]
            encoded.append(Encoded(topic, partition, message_key, None if fields is None else encode(fields)))
        for dead in batch.dead:
            home = (
                partition_of(dead.workspace_id, self._settings.topic_partitions)
                if dead.workspace_id
                else self.partition
            )
            encoded.append(
                Encoded(prefix(DEAD_LETTERS), home, dead.workspace_id.encode(), self._codecs.dead_letters.encode(dead))
            )
        for message, home in batch.misplaced:
            # Sent by a producer with another partitioner: bring it to its tenant's partition, as it is.
            encoded.append(Encoded(prefix(RAW), home, message.key, message.value, message.headers))
        return encoded

    async def _until_done(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Try again while Kafka is away, for as long as it takes."""
        result: Result
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(SinkUnavailable),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            before_sleep=lambda state: metrics.note_kafka_retry(),
            reraise=True,
        ):
            with attempt:
                result = await call()
        return result


def _key_of(letter: DeadLetter) -> str:
    """Stands for the workspace where the event can't say it: producers key by it."""
    return (letter.origin_key or b"").decode(errors="replace")
