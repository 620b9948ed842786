"""`tidemark rebuild`: maps all history anew into a generation beside the live generation, then swaps the two.

0. Raw events that `platform.raw` still holds and ClickHouse lost are stored again. Partitions whose mirror of the
   catalog or whose rollups differ from their topics are noted. Owners mend a noted mirror at once, since all numbers
   follow from the mirror, and mend noted rollups in step 3.
1. A new generation is noted with a cut for each partition: the first offset that the partition's owner folds itself.
2. Every tenant's catalog and raw events are folded into the new generation. Progress is noted, so that a stopped
   rebuild continues where it stopped.
3. The state turns to `handover`: each partition's owner folds the events after the cut, publishes the rollups that
   changed or were noted, and writes to the new generation from then on (`handover.py`).
4. Once all owners have taken over, one row makes the new generation the active one, and the old generation's parts are
   dropped.

Readers see the old generation until step 4 and the new generation after it, never a mixture.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import orjson

from services.aggregator.claims import active_generation
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.replay import Replayer
from services.aggregator.rows import RAW_EVENTS, REBUILD_PROGRESS, RESTORED_TOPIC, raw_event_row
from services.aggregator.survey import Survey
from services.runtime.clock import Clock

# Versions of replayed rows must be below every owner's (epoch << 40): milliseconds since 2020 fit for 34 years.
_NUMBERS_BEGIN = 1_577_836_800_000
GENERATION_TABLES = (
    "post_snapshots_store",
    "channel_snapshots_store",
    "latest_post_metrics_store",
    "latest_channel_metrics_store",
    "post_totals_store",
    "channel_totals_store",
)
_REBUILDS = ("rebuilds", ("generation", "state", "cuts", "started_at", "updated_at"))
# In a rebuild's progress this prefix and a partition's number stand for a mended mirror; workspace ids hold no slash.
_MENDED = "/catalog/"
_HANDOVER_POLL_SECONDS = 0.5
_SIDE_BY_SIDE = 6
_CACHE_TARGETS = 300_000
# How long to wait, at most, for queries that began on the old generation, before its parts are dropped.
_DROP_AFTER_SECONDS = 10.0
_DROP_POLL_SECONDS = 0.2


class RebuildError(RuntimeError):
    """The rebuild can't go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """One rebuild as stored.

    Attributes:
        generation: the new generation's number.
        state: `mending`, `filling`, `handover` or `done`.
        cuts: by partition, the first offset that is left to the owner.
        started_at: ms.
        mirror: partitions whose owners mend the catalog's mirror while the state is `mending`.
        rollups: partitions whose owners emit every total again.
    """

    generation: int
    state: str
    cuts: dict[int, int]
    started_at: int
    mirror: frozenset[int] = frozenset()
    rollups: frozenset[int] = frozenset()


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


class Numbers:
    """Makes growing version numbers that are below every owner's versions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def next(self) -> int:
        """A number greater than all numbers given before."""
        self._last = max(self._last + 1, self._clock.now() - _NUMBERS_BEGIN)
        return self._last


async def latest_rebuild(store: ClickHouse) -> Rebuild | None:
    """The newest rebuild that is not done; None when all rebuilds are done."""
    rows = await store.query(
        "SELECT generation, state, cuts, toUnixTimestamp64Milli(started_at) FROM rebuilds FINAL "
        "WHERE state IN ('mending', 'filling', 'handover') ORDER BY generation DESC LIMIT 1"
    )
    if not rows:
        return None
    generation, state, cuts, started_at = rows[0]
    noted = orjson.loads(cuts)
    mirror, rollups = (frozenset(noted.pop(name, ())) for name in ("mirror", "rollups"))
    return Rebuild(
        generation, state, {int(name): offset for name, offset in noted.items()}, started_at, mirror, rollups
    )


async def run_rebuild(
    store: ClickHouse,
    clock: Clock,
    partitions: int,
    survey: Survey,
    on_step: Callable[[Step], None],
    handover_seconds: float,
) -> dict[str, int]:
    """Run a rebuild to its end, or continue a rebuild that was stopped.

    Args:
        partitions: number of partitions of the topics.
        survey: finds lost events and differing topics; not used when a stopped rebuild continues.
        on_step: called with the progress, at least after every batch.
        handover_seconds: how long to wait for the owners in each phase that needs them.

    Returns:
        The number of events that could not be mapped, by reason.

    Raises:
        RebuildError: an owner did not take part in time; running the rebuild again continues from there.
        AuditFailed: the survey can't use ClickHouse.
        TopicUnreadable: the survey can't read Kafka.
        RegistryUnavailable: the survey can't use the registry.
    """
    rebuild = await latest_rebuild(store) or await _begin(store, clock, partitions, survey, on_step)
    unmapped: dict[str, int] = {}
    if rebuild.state == "mending":
        await _wait_for_owners(store, rebuild, "mending", rebuild.mirror, on_step, handover_seconds)
        rebuild = replace(rebuild, state="filling")
        await _note(store, clock, rebuild, "filling")
    if rebuild.state == "filling":
        unmapped = await _fold_all(store, clock, rebuild, partitions, on_step)
        await _note(store, clock, rebuild, "handover")
    await _wait_for_owners(store, rebuild, "handover", frozenset(range(partitions)), on_step, handover_seconds)
    old = await active_generation(store)
    # This one write makes the generation visible to readers.
    await store.insert(("active_generations", ("generation", "version")), [(rebuild.generation, clock.now())])
    await _note(store, clock, rebuild, "done")
    await wait_for_readers(store)
    if old != rebuild.generation:
        await drop_generation(store, old)
    on_step(Step("done", partitions, partitions))
    return unmapped


async def _begin(
    store: ClickHouse, clock: Clock, partitions: int, survey: Survey, on_step: Callable[[Step], None]
) -> Rebuild:
    mirror, rollups = await _look(store, survey, on_step)
    newest = await store.query("SELECT max(generation) FROM rebuilds FINAL")
    generation = max(int(newest[0][0]), await active_generation(store)) + 1
    ends = await store.query(
        "SELECT partition, max(offset) + 1 FROM raw_events_store WHERE NOT startsWith(topic, {restored:String}) "
        "GROUP BY partition",
        {"restored": RESTORED_TOPIC},
    )
    cuts = dict.fromkeys(range(partitions), 0) | {int(row[0]): int(row[1]) for row in ends}
    state = "mending" if mirror else "filling"
    rebuild = Rebuild(generation, state, cuts, clock.now(), mirror, rollups)
    await _note(store, clock, rebuild, state)
    return rebuild


async def _look(
    store: ClickHouse, survey: Survey, on_step: Callable[[Step], None]
) -> tuple[frozenset[int], frozenset[int]]:
    """Store lost raw events again; returns the partitions with a differing mirror, and those with differing rollups."""
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(survey.__enter__)
    try:
        total = survey.partitions

        def on_done(done: int) -> None:
            loop.call_soon_threadsafe(on_step, Step("looking", done, total))

        chunks = survey.missing_events(on_done)
        while chunk := await asyncio.to_thread(next, chunks, None):
            await store.insert(RAW_EVENTS, [raw_event_row(read) for read in chunk])
        mirror = await asyncio.to_thread(survey.mirrors, on_done)
        return mirror, await asyncio.to_thread(survey.rollups, on_done)
    finally:
        await asyncio.to_thread(survey.__exit__, None, None, None)


async def _note(store: ClickHouse, clock: Clock, rebuild: Rebuild, state: str) -> None:
    noted: dict[str, int | list[int]] = {str(partition): offset for partition, offset in rebuild.cuts.items()}
    noted |= {"mirror": sorted(rebuild.mirror), "rollups": sorted(rebuild.rollups)}
    cuts = orjson.dumps(noted).decode()
    await store.insert(_REBUILDS, [(rebuild.generation, state, cuts, rebuild.started_at, clock.now())])


async def _fold_all(
    store: ClickHouse, clock: Clock, rebuild: Rebuild, partitions: int, on_step: Callable[[Step], None]
) -> dict[str, int]:
    """Fold every tenant, six at a time: while one tenant's batch waits for ClickHouse, another's is mapped."""
    total = int((await store.query("SELECT count() FROM raw_events_store FINAL"))[0][0])
    noted = await store.query(
        "SELECT workspace_id, last_event_id, is_done, events FROM rebuild_progress FINAL "
        "WHERE generation = {generation:UInt16}",
        {"generation": rebuild.generation},
    )
    progress = {row[0]: (row[1], bool(row[2]), int(row[3])) for row in noted}
    rows = await store.query(
        "SELECT DISTINCT workspace_id FROM (SELECT workspace_id FROM raw_events_store UNION ALL "
        "SELECT workspace_id FROM posts_store UNION ALL SELECT workspace_id FROM channels_store) ORDER BY workspace_id"
    )
    waiting = deque(row[0] for row in rows if not progress.get(row[0], ("", False, 0))[1])
    done = sum(events for _, _, events in progress.values())
    numbers = Numbers(clock)
    on_step(Step("folding", done, total))

    async def fold_tenants() -> dict[str, int]:
        nonlocal done
        cache = _CACHE_TARGETS // _SIDE_BY_SIDE
        replayer = Replayer(store, clock, rebuild.generation, partitions, numbers.next, cache)
        while waiting:
            workspace_id = waiting.popleft()
            after, _, events = progress.get(workspace_id, ("", False, 0))
            await replayer.catalog(workspace_id)
            async for last, count in replayer.events(workspace_id, after):
                events += count
                done += count
                after = last
                await store.insert(REBUILD_PROGRESS, [(rebuild.generation, workspace_id, last, 0, events, clock.now())])
                on_step(Step("folding", done, total))
            await store.insert(REBUILD_PROGRESS, [(rebuild.generation, workspace_id, after, 1, events, clock.now())])
        return replayer.unmapped

    unmapped: Counter[str] = Counter()
    for found in await asyncio.gather(*(fold_tenants() for _ in range(_SIDE_BY_SIDE))):
        unmapped.update(found)
    return dict(unmapped)


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


async def _wait_for_owners(
    store: ClickHouse,
    rebuild: Rebuild,
    phase: str,
    wanted: frozenset[int],
    on_step: Callable[[Step], None],
    seconds: float,
) -> None:
    deadline = time.monotonic() + seconds
    while True:
        done = await (_mended if phase == "mending" else _taken_over)(store, rebuild)
        on_step(Step(phase, len(done & wanted), len(wanted)))
        if wanted <= done:
            return
        if time.monotonic() > deadline:
            raise RebuildError(
                f"the owners of partitions {sorted(wanted - done)} did not take part within {seconds:.0f} s; "
                "check that the aggregator runs, then run `tidemark rebuild` again: it continues from here"
            )
        await asyncio.sleep(_HANDOVER_POLL_SECONDS)


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


async def drop_generation(store: ClickHouse, generation: int) -> None:
    """Drop the parts of a generation in every table; the generation must not be the active one."""
    for table in GENERATION_TABLES:
        rows = await store.query(
            "SELECT DISTINCT partition_id FROM system.parts WHERE database = currentDatabase() AND table = {t:String} "
            "AND active AND (partition = {one:String} OR startsWith(partition, {many:String}))",
            {"t": table, "one": str(generation), "many": f"({generation},"},
        )
        for (partition_id,) in rows:
            await store.command(f"ALTER TABLE {table} DROP PARTITION ID '{partition_id}'")
