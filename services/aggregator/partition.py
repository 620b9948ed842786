"""The life of one owned partition: claim it, read its catalog, then fold arriving events in batches until revoked.

`pipeline.py` and `writing.py` fold and write a batch, and say why a crash between any two steps only repeats the batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from schemas.codec import Codec, RecordCodec
from schemas.encoder import Encode
from schemas.events import DeadLetter, PlatformRaw
from schemas.topic_names import CHANNEL_ROLLUPS, CHANNEL_SNAPSHOTS, CLAIMS, POST_ROLLUPS, POST_SNAPSHOTS
from services.aggregator.batch import CATALOG_WRITES_PER_BATCH, Batch, newest_writes
from services.aggregator.catalog import CatalogReader
from services.aggregator.claims import claim, generation_of, told_epoch
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.forgetting import Forgetter, ForgetWatch
from services.aggregator.handover import HandoverWatch
from services.aggregator.intake import Intake, Received
from services.aggregator.limits import STRANGERS
from services.aggregator.pause import DeadLetterPause, Judged
from services.aggregator.pipeline import Pipeline
from services.aggregator.publisher import Encoded, PartitionPublisher
from services.aggregator.reading import Message
from services.aggregator.set_aside import BatchReader, key_of
from services.aggregator.settings import AggregatorSettings
from services.aggregator.state import PartitionState
from services.aggregator.states import StoredStates
from services.aggregator.takeover import Takeover
from services.aggregator.tenants import Tenants
from services.aggregator.topic_reader import TopicReader
from services.aggregator.topic_writer import TopicWriter, until_done
from services.aggregator.writing import BatchWriter
from services.runtime.clock import Clock
from services.runtime.logging import get_logger
from services.runtime.tracing import UNTRACED, Tracer

log = get_logger(__name__)
# Topics whose values are encoded from positional fields.
RECORD_TOPICS = (CLAIMS, POST_SNAPSHOTS, CHANNEL_SNAPSHOTS, POST_ROLLUPS, CHANNEL_ROLLUPS)


class Codecs:
    """Every codec that a partition needs; all partitions of a process share the codecs.

    Args:
        raw: the codec of raw events.
        catalog: the codecs of the catalog's topics, by the topic's name without prefix.
        dead_letters: the codec of dead letters.
        claims: the codec of claims.
        encoders: the encoders of `RECORD_TOPICS`, by the topic's name without prefix.
    """

    def __init__(
        self,
        raw: Codec[PlatformRaw],
        catalog: dict[str, Codec[Any]],
        dead_letters: Codec[DeadLetter],
        claims: RecordCodec,
        encoders: dict[str, Encode],
    ) -> None:
        self.raw = raw
        self.catalog = catalog
        self.dead_letters = dead_letters
        self.claims = claims
        self.encoders = encoders


class PartitionTask:
    """Owns one partition from assignment to revocation.

    Args:
        partition: the partition's number.
        on_taken: called after received events were taken from the queue, so that more may be given.
        pause: holds all partitions of the process back while most events are bad.
        tenants: knows which workspaces the catalog holds.
        handovers: notices a rebuild that waits for owners; shared by all partitions of the process.
        erasures: notices workspaces to forget; shared like `handovers`.
        tracer: traces events and the batches that they are written in.

    Attributes:
        is_caught_up: whether the catalog was read to its end once.
    """

    def __init__(
        self,
        partition: int,
        settings: AggregatorSettings,
        store: ClickHouse,
        codecs: Codecs,
        clock: Clock,
        on_taken: Callable[[], None],
        pause: DeadLetterPause,
        tenants: Tenants,
        handovers: HandoverWatch,
        erasures: ForgetWatch,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self.partition = partition
        self._on_taken = on_taken
        self._pause = pause
        self._tenants = tenants
        self._settings = settings
        self._store = store
        self._codecs = codecs
        self._clock = clock
        self._states = StoredStates(store)
        self._intake = Intake(settings)
        self._batches = BatchReader(partition, settings, codecs.raw, codecs.dead_letters, clock, tracer)
        self._publisher = PartitionPublisher(settings, settings.aggregator_group, partition)
        topics = TopicWriter(partition, settings.topic, codecs.encoders, self._publisher, self._batches)
        writer = BatchWriter(store, topics, self._batches, clock)
        self._pipeline = Pipeline(
            partition,
            self._states,
            writer,
            self._batches,
            clock,
            settings.aggregator_cache_targets,
            self._intake.wake,  # an idle partition has to notice whether its last batch was written or failed
            tracer,
        )
        self._takeover = Takeover(partition, settings, store, codecs.catalog, clock, handovers, self._pipeline, writer)
        self._forgetter = Forgetter(partition, settings.topic_partitions, store, erasures, self._pipeline)
        self._catalog = CatalogReader(settings, settings.aggregator_group, partition, codecs.catalog)
        self._windows_due_at = 0.0
        self.is_caught_up = False

    @property
    def waiting(self) -> int:
        """The number of raw events that were received and are not in a batch yet."""
        return self._intake.waiting

    @property
    def waiting_bytes(self) -> int:
        """The size of the raw events that were received and are not in a batch yet."""
        return self._intake.waiting_bytes

    @property
    def state(self) -> PartitionState:
        """The states in memory; for metrics."""
        return self._pipeline.state

    @property
    def is_taking_over(self) -> bool:
        """Whether this partition works for a rebuild right now; its offsets stand still meanwhile."""
        return self._takeover.is_running

    def give(self, received: Received) -> None:
        """Add one raw message to the queue; messages come in offset order."""
        self._intake.give(received)

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            OwnershipLost: a newer owner has the partition.
        """
        follower: asyncio.Task[None] | None = None
        try:
            epoch = await self._claim()
            await self._read_catalog()
            self.is_caught_up = True
            log.info("partition_ready", partition=self.partition, epoch=epoch, generation=self._pipeline.generation)
            follower = asyncio.create_task(self._follow_catalog())
            while True:
                await self._round(follower)
        finally:
            if follower is not None:
                follower.cancel()
                await asyncio.gather(follower, return_exceptions=True)
            await self._pipeline.stop()
            await self._catalog.stop()
            await asyncio.to_thread(self._publisher.close)

    async def _claim(self) -> int:
        """Become the only owner, before any state is read; returns the epoch.

        Starting the publisher fences every older owner. The claim is stored first, and a transaction proves it
        afterwards. An owner that passes the proof stored its claim before any newer owner could begin, so newer owners
        see the claim and get a greater epoch. An owner that was fenced fails here, and never writes a state.
        """
        await until_done(lambda: asyncio.to_thread(self._publisher.start))
        instance = self._settings.instance_id or "aggregator"
        epoch = await claim(self._store, self.partition, instance, lambda: asyncio.to_thread(self._told_epoch))
        fields = (self.partition, epoch, instance, self._clock.now())
        proof = Encoded(
            self._settings.topic(CLAIMS),
            self.partition,
            str(self.partition).encode(),
            self._codecs.encoders[CLAIMS](fields),
        )
        await until_done(lambda: asyncio.to_thread(self._publisher.publish, [proof]))
        self._pipeline.begin(epoch, await generation_of(self._store, self.partition))
        return epoch

    def _told_epoch(self) -> int:
        with TopicReader(self._settings) as reader:
            return told_epoch(reader, self._settings.topic(CLAIMS), self.partition, self._codecs.claims.decode)

    async def _read_catalog(self) -> None:
        """Fold the catalog from the last owner's committed position to the end."""
        async for writes in self._catalog.to_end():
            for start in range(0, len(writes), CATALOG_WRITES_PER_BATCH):
                some = newest_writes(writes[start : start + CATALOG_WRITES_PER_BATCH])
                await self._pipeline.apply(Batch(catalog=some))
            await self._pipeline.settle()
            await self._catalog.commit(self._catalog.positions())
        # Also where nothing new was read: from here on Kafka does not forget the positions.
        await self._catalog.commit(self._catalog.positions())

    async def _follow_catalog(self) -> None:
        while True:
            # The next poll waits until all writes are folded: only then may positions be committed.
            await self._intake.writes_taken()
            writes = await self._catalog.poll()
            if writes:
                self._intake.give_writes(writes)

    async def _round(self, follower: asyncio.Task[None]) -> None:
        """Wait for a batch and begin to write it; also emit expired windows, and work for rebuilds and erasures."""
        loop = asyncio.get_running_loop()
        idle_seconds = max(0.01, min(self._windows_due_at, self._takeover.due_at) - loop.time())
        await self._intake.gather(idle_seconds, self._pipeline)
        if follower.done():
            follower.result()
        received = self._intake.take()
        self._on_taken()
        writes, is_last = self._intake.take_writes(CATALOG_WRITES_PER_BATCH)
        positions = self._catalog.positions() if writes and is_last else None
        batch = await self._usable([entry.message for entry in received])
        batch.catalog = newest_writes(writes)
        await self._takeover.look()
        await self._forgetter.look()
        if loop.time() >= self._windows_due_at:
            await self._pipeline.settle()
            batch.expired = await self._states.expired_channels(
                self._pipeline.generation, self.partition, self._clock.now()
            )
            self._windows_due_at = loop.time() + self._settings.aggregator_window_check_seconds

        async def acknowledge() -> None:
            for entry in received:
                await entry.acknowledge()
            if positions is not None:
                await self._catalog.commit(positions)

        if received or batch.catalog or batch.expired:
            await self._pipeline.apply(batch, acknowledge)

    async def _usable(self, messages: Sequence[Message]) -> Batch:
        """Read messages into a batch; while the dead-letter limit holds the worker back, this call does not return."""
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
        # For events that name no workspace the message's key is used, since producers key by workspace.
        named = [letter.workspace_id or key_of(letter) for letter in batch.dead]
        known = await self._tenants.known(set(named)) if named else set()
        reasons = [letter.reason for letter in batch.dead]
        return Judged(
            events,
            [(name if name in known else STRANGERS, reason) for name, reason in zip(named, reasons, strict=True)],
        )
