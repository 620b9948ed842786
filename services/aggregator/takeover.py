"""The work of a partition's owner for a rebuild: mending the catalog's mirror, and taking over the new generation.

Both run between two batches of the owner, so that nothing else writes for the partition meanwhile.

Guarantee: repeating either after a crash gives the same rows and messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from schemas.codec import Codec
from services.aggregator.batch import CATALOG_WRITES_PER_BATCH, Batch, Effects
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.handover import (
    HANDOVER_CHECK_SECONDS,
    HandoverWatch,
    channels_of,
    differing_posts,
    fold_tail,
    gone_channels,
    is_announced,
    is_shown,
    note_announced,
    note_handover,
)
from services.aggregator.mending import MirrorMender, all_posts, stray_rollups
from services.aggregator.pipeline import Pipeline
from services.aggregator.rebuild import note_mended
from services.aggregator.rebuild_runs import Rebuild
from services.aggregator.settings import AggregatorSettings
from services.aggregator.state import Key
from services.aggregator.writing import BatchWriter
from services.runtime.clock import Clock
from services.runtime.logging import get_logger

log = get_logger(__name__)
_EMITTED_PER_BATCH = 2_000


class Takeover:
    """Looks for rebuilds that wait for one partition, once a second.

    Args:
        catalog: the codecs of the catalog's topics, by the topic's name without prefix.
        watch: notices a rebuild that waits for owners; shared by all partitions of the process.

    Attributes:
        due_at: when to look for a rebuild next, in seconds of the event loop's clock.
        is_running: whether the owner works for a rebuild right now, which may take minutes.
    """

    def __init__(
        self,
        partition: int,
        settings: AggregatorSettings,
        store: ClickHouse,
        catalog: Mapping[str, Codec[Any]],
        clock: Clock,
        watch: HandoverWatch,
        pipeline: Pipeline,
        writer: BatchWriter,
    ) -> None:
        self._partition = partition
        self._settings = settings
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._watch = watch
        self._pipeline = pipeline
        self._writer = writer
        self._mended_for = 0
        self._is_announced = False
        self.due_at = 0.0
        self.is_running = False

    async def look(self) -> None:
        """Once a second, look for a waiting rebuild and do the work that the rebuild needs of this partition.

        Raises:
            OwnershipLost: a newer owner has the partition.
        """
        now = asyncio.get_running_loop().time()
        if now < self.due_at:
            return
        self.due_at = now + HANDOVER_CHECK_SECONDS
        rebuild = await self._watch.pending(self._pipeline.generation)
        if rebuild is None:
            await self._announce()
            return
        await self._pipeline.settle()
        self.is_running = True
        await (self._mend_mirror if rebuild.state == "mending" else self._take_over)(rebuild)
        self.is_running = False

    async def _take_over(self, rebuild: Rebuild) -> None:
        """Complete a rebuilt generation with this partition's newest events, and write to it from then on."""
        partition, old, new = self._partition, self._pipeline.generation, rebuild.generation
        log.info("handover_begins", partition=partition, generation=new)
        await fold_tail(
            self._store,
            self._clock,
            rebuild,
            partition,
            self._settings.topic_partitions,
            self._pipeline.next_number,
            self._settings.aggregator_cache_targets,
        )
        self._pipeline.move_to(new)
        await self._writer.publish(Effects(rollups=await gone_channels(self._store, old, new, partition)))
        if partition in rebuild.rollups:
            async for strays in stray_rollups(self._settings, self._store, new, partition):
                await self._writer.publish(Effects(rollups=strays))
            posts = await all_posts(self._store, new, partition)
        else:
            posts = await differing_posts(self._store, old, new, partition)
        await self._apply_in_parts(posts, lambda some: Batch(reemitted=some))
        channels = await channels_of(self._store, new, partition)
        await self._apply_in_parts(channels, lambda some: Batch(expired=some))
        await self._pipeline.settle()
        await note_handover(self._store, self._clock, rebuild, partition)
        self._is_announced = False
        log.info("handover_done", partition=partition, generation=new, posts=len(posts))

    async def _announce(self) -> None:
        """Tell every channel again, once readers see the generation that this partition writes to.

        Until then readers saw the figures of the generation before, also those who were told of a channel meanwhile:
        subscribers read a channel's own figures from ClickHouse when its windows are told.
        """
        partition, generation = self._partition, self._pipeline.generation
        if self._is_announced or not await is_shown(self._store, generation):
            return
        if generation and not await is_announced(self._store, generation, partition):
            channels = await channels_of(self._store, generation, partition)
            await self._apply_in_parts(channels, lambda some: Batch(expired=some))
            await self._pipeline.settle()
            await note_announced(self._store, self._clock, generation, partition)
            log.info("generation_announced", partition=partition, generation=generation, channels=len(channels))
        self._is_announced = True

    async def _apply_in_parts(self, keys: list[Key], batch: Callable[[list[Key]], Batch]) -> None:
        for start in range(0, len(keys), _EMITTED_PER_BATCH):
            await self._pipeline.apply(batch(keys[start : start + _EMITTED_PER_BATCH]))

    async def _mend_mirror(self, rebuild: Rebuild) -> None:
        """Fold every catalog write that the mirror lacks, like a write that arrives now."""
        if self._partition not in rebuild.mirror or self._mended_for == rebuild.generation:
            return
        mender = MirrorMender(
            self._settings, self._store, self._catalog, self._clock, self._partition, self._settings.topic_partitions
        )
        mended = 0
        async for writes in mender.writes():
            for start in range(0, len(writes), CATALOG_WRITES_PER_BATCH):
                some = writes[start : start + CATALOG_WRITES_PER_BATCH]
                await self._pipeline.apply(Batch(catalog=some))
                await self._pipeline.settle()
                if await mender.forget(some, self._pipeline.last_number):
                    await self._pipeline.apply(Batch(catalog=some))
                    await self._pipeline.settle()
                mended += len(some)
        await note_mended(self._store, self._clock, rebuild, self._partition)
        self._mended_for = rebuild.generation
        log.info("mirror_mended", partition=self._partition, entries=mended)
