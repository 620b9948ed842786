"""`tidemark rebuild`: maps all history anew into a generation beside the live generation, then swaps the two.

0. Raw events that `platform.raw` still holds and ClickHouse lost are stored again. Partitions whose mirror of the
   catalog or whose rollups differ from their topics are noted. Owners mend a noted mirror at once, since all numbers
   follow from the mirror, and mend noted rollups in step 3.
1. A new generation is noted with a cut for each partition: the first offset that the partition's owner folds itself.
2. Every tenant's catalog and raw events are folded into the new generation. Progress is noted, so that a stopped
   rebuild continues where it stopped.
3. The state turns to `handover`: each partition's owner folds the events after the cut, publishes the rollups that
   changed or were noted, and writes to the new generation from then on (`handover.py`).
4. Once all owners have taken over, one row makes the new generation the active one, and the parts of older generations
   are dropped.

One run at a time holds the rebuild (`rebuild_runs.py`). A run that lost the rebuild ends at its next step. What it
still writes has lower versions than the newer run's rows, and the newer run folds all of it itself. One batch may be
under way then, and what of it belongs to a post that was deleted meanwhile stays until the next rebuild.

Readers see the old generation until step 4 and the new generation after it, never a mixture.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from services.aggregator.claims import active_generation
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.rebuild_fold import RebuildFold, take_on_progress
from services.aggregator.rebuild_runs import CatalogCut, Found, Rebuild, RebuildClaim, RebuildError
from services.aggregator.rows import RAW_EVENTS, REBUILD_PROGRESS, RESTORED_TOPIC, raw_event_row
from services.aggregator.survey import Survey
from services.runtime.clock import Clock

GENERATION_TABLES = (
    "post_snapshots_store",
    "channel_snapshots_store",
    "latest_post_metrics_store",
    "latest_channel_metrics_store",
    "post_totals_store",
    "channel_totals_store",
)
# In a rebuild's progress this prefix and a partition's number stand for a mended mirror; workspace ids hold no slash.
_MENDED = "/catalog/"
_HANDOVER_POLL_SECONDS = 0.5
# How long to wait, at most, for queries that began on the old generation, before its parts are dropped.
_DROP_AFTER_SECONDS = 10.0
_DROP_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Step:
    """Progress to show.

    Attributes:
        phase: `looking`, `mending`, `folding`, `handover` or `done`.
        done: a count that depends on the phase: partitions of topics compared, partitions mended, events folded, or
            partitions handed over.
        total: the final value of the count.
    """

    phase: str
    done: int
    total: int


async def run_rebuild(
    store: ClickHouse,
    clock: Clock,
    partitions: int,
    survey: Survey,
    on_step: Callable[[Step], None],
    handover_seconds: float,
    *,
    is_taking_over: bool = False,
    on_wait: Callable[[str], None] = lambda _: None,
) -> dict[str, int]:
    """Run a rebuild to its end, or continue a rebuild that was stopped.

    Args:
        partitions: number of partitions of the topics.
        survey: finds lost events and differing topics; not used when a stopped rebuild continues.
        on_step: called with the progress, at least after every batch.
        handover_seconds: how long to wait for the owners in each phase that needs them.
        is_taking_over: go on in the place of a run that lives; that run ends.
        on_wait: called with a line while it is not known yet whether another run lives.

    Returns:
        The number of events that could not be mapped, by reason.

    Raises:
        RebuildError: another run lives or took over, or an owner did not take part in time; after the latter, running
            the rebuild again continues from there.
        AuditFailed: the survey can't use ClickHouse.
        TopicUnreadable: the survey can't read Kafka.
        RegistryUnavailable: the survey can't use the registry.
    """
    claim = await RebuildClaim.take(store, is_forced=is_taking_over, on_wait=on_wait)
    beating = asyncio.create_task(claim.beat())
    try:
        return await _RebuildRun(store, clock, partitions, claim, on_step, handover_seconds).run(survey)
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await claim.end()


class _RebuildRun:
    """One run of the command. Before each change of the stored state it sees that no newer run holds the rebuild."""

    def __init__(
        self,
        store: ClickHouse,
        clock: Clock,
        partitions: int,
        claim: RebuildClaim,
        on_step: Callable[[Step], None],
        handover_seconds: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._partitions = partitions
        self._claim = claim
        self._on_step = on_step
        self._handover_seconds = handover_seconds

    async def run(self, survey: Survey) -> dict[str, int]:
        """Go through the states from the one in which the run before stopped; returns the unmapped events by reason."""
        found = await self._claim.found()
        rebuild = await self._begin(survey) if found is None else await self._take_on(found)
        await self._claim.close_older(rebuild.generation)
        unmapped: dict[str, int] = {}
        if rebuild.state == "mending":
            await self._wait_for_owners(rebuild, rebuild.mirror)
            rebuild = await self._note(rebuild, "filling")
        if rebuild.state == "filling":
            fold = RebuildFold(self._store, self._clock, self._partitions, self._claim, rebuild, found is not None)
            unmapped = await fold.run(lambda done, total: self._on_step(Step("folding", done, total)))
            rebuild = await self._note(rebuild, "handover")
        await self._wait_for_owners(rebuild, frozenset(range(self._partitions)))
        await self._show(rebuild.generation)
        await self._note(rebuild, "done")
        await wait_for_readers(self._store)
        await drop_generations_before(self._store, rebuild.generation)
        self._on_step(Step("done", self._partitions, self._partitions))
        return unmapped

    async def _note(self, rebuild: Rebuild, state: str) -> Rebuild:
        noted = replace(rebuild, state=state)
        await self._claim.note(noted)
        return noted

    async def _take_on(self, found: Found) -> Rebuild:
        """Make the rebuild of an earlier run this run's: its progress, then its state. Nothing is folded before."""
        rebuild = replace(found.rebuild, first_run=found.rebuild.first_run or self._claim.number)
        await take_on_progress(self._store, self._clock, self._claim, rebuild, found.run)
        return await self._note(rebuild, rebuild.state)

    async def _begin(self, survey: Survey) -> Rebuild:
        mirror, rollups = await self._look(survey)
        generation = await self._claim.new_generation(await active_generation(self._store))
        ends = await self._store.query(
            "SELECT partition, max(offset) + 1 FROM raw_events_store WHERE NOT startsWith(topic, {restored:String}) "
            "GROUP BY partition",
            {"restored": RESTORED_TOPIC},
        )
        cuts = dict.fromkeys(range(self._partitions), 0) | {int(row[0]): int(row[1]) for row in ends}
        rebuild = Rebuild(
            generation, "mending" if mirror else "filling", cuts, self._clock.now(), mirror, rollups,
            await self._catalog_cuts(), self._claim.number,
        )  # fmt: skip
        return await self._note(rebuild, rebuild.state)

    async def _catalog_cuts(self) -> dict[int, CatalogCut]:
        """By partition, the greatest versions of the mirror: owners write with these, where a batch is under way, or
        with greater ones from now on.
        """
        greatest: list[dict[int, int]] = []
        for table in ("channels_store", "posts_store"):
            rows = await self._store.query(
                f"SELECT kafkaMurmurHash(workspace_id) % {self._partitions} AS part, max(version) FROM {table} "
                "GROUP BY part"
            )
            greatest.append({int(row[0]): int(row[1]) for row in rows})
        channels, posts = greatest
        return {part: CatalogCut(channels.get(part, 0), posts.get(part, 0)) for part in range(self._partitions)}

    async def _look(self, survey: Survey) -> tuple[frozenset[int], frozenset[int]]:
        """Store lost raw events again; returns partitions with a differing mirror, and those with differing rollups."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(survey.__enter__)
        try:
            total = survey.partitions

            def on_done(done: int) -> None:
                loop.call_soon_threadsafe(self._on_step, Step("looking", done, total))

            chunks = survey.missing_events(on_done)
            while chunk := await asyncio.to_thread(next, chunks, None):
                await self._claim.require()
                await self._store.insert(RAW_EVENTS, [raw_event_row(read) for read in chunk])
            mirror = await asyncio.to_thread(survey.mirrors, on_done)
            return mirror, await asyncio.to_thread(survey.rollups, on_done)
        finally:
            await asyncio.to_thread(survey.__exit__, None, None, None)

    async def _show(self, generation: int) -> None:
        """Make the generation visible to readers, by one write.

        The version follows those before by one, and not by a clock: should this write come late, after another
        rebuild's, it counts less.
        """
        rows = await self._store.query("SELECT argMax(generation, version), max(version) FROM active_generations")
        shown, version = int(rows[0][0]), int(rows[0][1])
        await self._claim.require()
        if shown < generation:
            await self._store.insert(("active_generations", ("generation", "version")), [(generation, version + 1)])

    async def _wait_for_owners(self, rebuild: Rebuild, wanted: frozenset[int]) -> None:
        deadline = time.monotonic() + self._handover_seconds
        while True:
            done = await (_mended if rebuild.state == "mending" else _taken_over)(self._store, rebuild)
            self._on_step(Step(rebuild.state, len(done & wanted), len(wanted)))
            if wanted <= done:
                return
            if time.monotonic() > deadline:
                raise RebuildError(
                    f"the owners of partitions {sorted(wanted - done)} did not take part within "
                    f"{self._handover_seconds:.0f} s; check that the aggregator runs, then run `tidemark rebuild` "
                    "again: it continues from here"
                )
            await asyncio.sleep(_HANDOVER_POLL_SECONDS)
            await self._claim.require()


async def note_mended(store: ClickHouse, clock: Clock, rebuild: Rebuild, partition: int) -> None:
    """Store that this partition's mirror equals its topics; the rebuild waits for this note."""
    await store.insert(REBUILD_PROGRESS, [(rebuild.generation, f"{_MENDED}{partition}", "", 1, 0, clock.now())])


async def _mended(store: ClickHouse, rebuild: Rebuild) -> set[int]:
    rows = await store.query(
        "SELECT workspace_id FROM rebuild_progress FINAL WHERE generation = {generation:UInt16} "
        "AND startsWith(workspace_id, {mended:String})",
        {"generation": rebuild.generation, "mended": _MENDED},
    )
    return {int(row[0].removeprefix(_MENDED)) for row in rows}


async def _taken_over(store: ClickHouse, rebuild: Rebuild) -> set[int]:
    rows = await store.query(
        "SELECT partition FROM rebuild_handovers FINAL WHERE generation = {generation:UInt16}",
        {"generation": rebuild.generation},
    )
    return {int(row[0]) for row in rows}


async def wait_for_readers(store: ClickHouse) -> None:
    """Wait until every query that runs now has ended, for at most 10 seconds.

    A server lists its own queries only, so on a cluster this waits for the whole 10 seconds.
    """
    since = time.monotonic()
    while (waited := time.monotonic() - since) < _DROP_AFTER_SECONDS:
        await asyncio.sleep(_DROP_POLL_SECONDS)
        # This query itself is younger than the wait, and so are all queries that began after the swap.
        running = await store.query(
            "SELECT count(), (SELECT count() FROM system.clusters WHERE NOT is_local) FROM system.processes "
            "WHERE elapsed > {waited:Float64}",
            {"waited": waited},
        )
        if running[0] == (0, 0):
            return


async def drop_generations_before(store: ClickHouse, generation: int) -> None:
    """Drop the parts of all older generations in every table; the generation must be the active one, or older."""
    for table in GENERATION_TABLES:
        rows = await store.query(
            "SELECT DISTINCT partition_id FROM system.parts WHERE database = currentDatabase() AND table = {t:String} "
            "AND active AND toUInt32OrZero(extract(partition, '[0-9]+')) < {generation:UInt16}",
            {"t": table, "generation": generation},
        )
        for (partition_id,) in rows:
            await store.command(f"ALTER TABLE {table} DROP PARTITION ID '{partition_id}'")
