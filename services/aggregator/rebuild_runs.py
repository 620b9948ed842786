"""Stores and reads in ClickHouse which run of `tidemark rebuild` holds the rebuild, and how far that run is.

Each run has a row of its own in `rebuild_progress`, named `/run/<number>/<token>`: the run's claim, its sign of life
and the rebuild's state. Numbers only grow, and the run with the greatest number holds the rebuild. So nothing that an
older run still writes changes what the newest run says (docs/decisions/0043).

The table `rebuilds` repeats the state for people and for versions without claims. It is read here only for a rebuild
that such a version began or finished.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Protocol, Self

import orjson

from services.aggregator.rows import REBUILD_PROGRESS, Row, Table
from services.runtime.clock import iso_seconds

# Begins the name of a run's row; workspace ids hold no slash. The row's value of `generation` is that of no rebuild.
_PREFIX: Final = "/run/"
_GENERATION: Final = 0
_REBUILDS: Table = ("rebuilds", ("generation", "state", "cuts", "started_at", "updated_at"))
UNFINISHED: Final = ("mending", "filling", "handover")
_BEAT_SECONDS = 3.0
# A run that gave no sign of life for this long, by ClickHouse's clock, is taken for dead.
_DEAD_MILLIS = 20_000
_LOOK_SECONDS = 1.0
_END_SECONDS = 5.0
# Versions of a rebuild's rows are below 2**40, where those of owners begin. Of these 40 bits the upper 14 are the run's
# place among the generation's runs, counted from 2**13: a version without claims took milliseconds since 2020.
_BATCH_BITS = 26
_FIRST_EPOCH = 1 << 13
_EPOCHS_END = 1 << 14


UNCLAIMED_QUERY: Final = (
    "SELECT generation, state, cuts, toUnixTimestamp64Milli(started_at) FROM rebuilds FINAL "
    "WHERE state IN ('mending', 'filling', 'handover') ORDER BY generation DESC"
)
"""The rebuilds that their table calls unfinished, the newest first; runs with a claim say it better."""
RUNS_QUERY: Final = (
    "SELECT workspace_id, last_event_id, is_done, toUnixTimestamp64Milli(updated_at), "
    "toUnixTimestamp64Milli(now64(3)) FROM rebuild_progress FINAL WHERE generation = 0 "
    f"AND startsWith(workspace_id, '{_PREFIX}') ORDER BY workspace_id DESC LIMIT 100"
)
"""The newest runs, newest first, and ClickHouse's present time."""


class RebuildError(RuntimeError):
    """The rebuild can't go on; the message says why and what to do."""


class Store(Protocol):
    """Runs queries and inserts; `ClickHouse` in production."""

    async def query(self, query: str, parameters: dict[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """The rows of a query."""

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert rows and wait until they are stored."""


class CatalogCut(NamedTuple):
    """Versions of the catalog's mirror in one partition: rows from these on are left to the owner."""

    channels: int = 0
    posts: int = 0


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
        catalog: by partition, what of the mirror is left to the owner; the whole mirror where a partition is missing.
        first_run: the number of the first run of this generation; 0 while no run with a claim had it.
    """

    generation: int
    state: str
    cuts: dict[int, int]
    started_at: int
    mirror: frozenset[int] = frozenset()
    rollups: frozenset[int] = frozenset()
    catalog: dict[int, CatalogCut] = field(default_factory=dict)
    first_run: int = 0


class Found(NamedTuple):
    """A rebuild that is not done.

    Attributes:
        run: the run that worked for it last; 0 for a version without claims.
    """

    rebuild: Rebuild
    run: int


class _Run(NamedTuple):
    name: str
    number: int
    claimed_at: int
    rebuild: Rebuild | None
    is_ended: bool
    seen_at: int


async def latest_rebuild(store: Store) -> Rebuild | None:
    """The rebuild that the newest run works for; None without one, and until a new run has taken it on."""
    # A run's own row is stored before the table `rebuilds` repeats it: so this table is read first.
    table = await store.query(UNCLAIMED_QUERY)
    runs, _ = await _runs(store)
    if unclaimed := _unclaimed(table, runs):
        return unclaimed
    told = [run.rebuild for run in runs if run.rebuild is not None and run.number == runs[0].number]
    return told[0] if told and told[0].state in UNFINISHED else None


def unfinished_rebuild(table: Sequence[Sequence[Any]], runs: Sequence[Sequence[Any]]) -> Rebuild | None:
    """The rebuild that is not done, whether or not a run works for it; None when all are.

    Args:
        table: the rows of `UNCLAIMED_QUERY`, which is to be asked first.
        runs: the rows of `RUNS_QUERY`.
    """
    found = [_run(row) for row in runs]
    if unclaimed := _unclaimed(table, found):
        return unclaimed
    newest = next((run.rebuild for run in found if run.rebuild is not None), None)
    return newest if newest is not None and newest.state in UNFINISHED else None


def is_run_alive(runs: Sequence[Sequence[Any]]) -> bool:
    """Whether the newest run works, also where it has not begun a generation yet.

    Args:
        runs: the rows of `RUNS_QUERY`.
    """
    return bool(runs) and bool(_living([_run(row) for row in runs], int(runs[0][4])))


def _living(runs: Sequence[_Run], now: int) -> list[_Run]:
    return [
        run for run in runs if run.number == runs[0].number and not run.is_ended and now - run.seen_at < _DEAD_MILLIS
    ]


def _unclaimed(table: Sequence[Sequence[Any]], runs: Sequence[_Run]) -> Rebuild | None:
    """The unfinished rebuild that a version without claims began, newer than all of the runs; None without one."""
    newest = _of_table(table[0]) if table else None
    return newest if newest is not None and newest.generation > _greatest_generation(runs) else None


def _of_table(row: Sequence[Any]) -> Rebuild:
    generation, state, cuts, started_at = row
    noted = orjson.loads(cuts)
    mirror, rollups = (frozenset(noted.pop(name, ())) for name in ("mirror", "rollups"))
    return Rebuild(
        generation, state, {int(name): offset for name, offset in noted.items()}, started_at, mirror, rollups
    )


async def _runs(store: Store) -> tuple[list[_Run], int]:
    """The newest runs, newest first, and ClickHouse's present time, ms (0 when there are none)."""
    rows = await store.query(RUNS_QUERY)
    return [_run(row) for row in rows], int(rows[0][4]) if rows else 0


def _run(row: Sequence[Any]) -> _Run:
    told = orjson.loads(row[1])
    return _Run(
        row[0], int(row[0].split("/")[2]), told["claimed_at"], _rebuild(told.get("rebuild")), bool(row[2]), int(row[3])
    )


def _rebuild(told: dict[str, Any] | None) -> Rebuild | None:
    if told is None:
        return None
    return Rebuild(
        told["generation"],
        told["state"],
        {int(partition): offset for partition, offset in told["cuts"].items()},
        told["started_at"],
        frozenset(told["mirror"]),
        frozenset(told["rollups"]),
        {int(partition): CatalogCut(*cut) for partition, cut in told["catalog"].items()},
        told["first_run"],
    )


def _told(rebuild: Rebuild) -> dict[str, Any]:
    return {
        "generation": rebuild.generation,
        "state": rebuild.state,
        "cuts": {str(partition): offset for partition, offset in rebuild.cuts.items()},
        "started_at": rebuild.started_at,
        "mirror": sorted(rebuild.mirror),
        "rollups": sorted(rebuild.rollups),
        "catalog": {str(partition): list(cut) for partition, cut in rebuild.catalog.items()},
        "first_run": rebuild.first_run,
    }


def _greatest_generation(runs: Sequence[_Run]) -> int:
    return max((run.rebuild.generation for run in runs if run.rebuild is not None), default=0)


class RebuildClaim:
    """One run's claim of the rebuild; `take` makes it.

    Attributes:
        number: greater than the number of every run before.
    """

    def __init__(self, store: Store, number: int, claimed_at: int) -> None:
        self._store = store
        self._name = f"{_PREFIX}{number:010d}/{uuid.uuid4().hex}"
        self._claimed_at = claimed_at
        self._rebuild: Rebuild | None = None
        self._stored_at = 0
        self._writing = asyncio.Lock()
        self.number = number

    @classmethod
    async def take(cls, store: Store, *, is_forced: bool, on_wait: Callable[[str], None]) -> Self:
        """Claim the rebuild.

        Args:
            is_forced: take it from a run that lives.
            on_wait: called with a line while it is not known yet whether another run lives.

        Raises:
            RebuildError: another run lives.
        """
        while True:
            newest = await _newest_number(store)
            if not is_forced:
                newest = await _wait_for_its_end(store, on_wait)
            rows = await store.query("SELECT toUnixTimestamp64Milli(now64(3))")
            claim = cls(store, newest + 1, int(rows[0][0]))
            await claim._store_row()
            runs, _ = await _runs(store)
            # Of two runs that store the same number at least one sees the other, and gives the number up.
            if all(run.name == claim._name or run.number < claim.number for run in runs):
                return claim
            await claim.end()
            await asyncio.sleep(random.uniform(0, _LOOK_SECONDS))  # noqa: S311  # no secret: two runs part

    async def found(self) -> Found | None:
        """The rebuild to go on with: what the last run before this one said of it; None when all rebuilds are done."""
        table = await self._store.query(UNCLAIMED_QUERY)
        runs, _ = await _runs(self._store)
        if unclaimed := _unclaimed(table, runs):
            return Found(unclaimed, 0)
        for run in runs:
            if run.number < self.number and run.rebuild is not None:
                is_open = run.rebuild.state in UNFINISHED and not await self._is_done(run.rebuild.generation)
                return Found(run.rebuild, run.number) if is_open else None
        return None

    async def _is_done(self, generation: int) -> bool:
        """Whether the table calls a generation done: a version without claims may have finished it."""
        rows = await self._store.query(
            "SELECT count() FROM rebuilds FINAL WHERE generation = {generation:UInt16} AND state = 'done'",
            {"generation": generation},
        )
        return bool(rows[0][0])

    async def close_older(self, generation: int) -> None:
        """Call all older generations done in the table: a run that ended between its own row and the table's left one.

        Raises:
            RebuildError: a newer run claimed the rebuild.
        """
        for row in await self._store.query(UNCLAIMED_QUERY):
            if (older := _of_table(row)).generation < generation:
                await self._repeat(replace(older, state="done"))

    async def new_generation(self, active: int) -> int:
        """The number of a generation that no rebuild had.

        Args:
            active: the active generation.
        """
        rows = await self._store.query("SELECT max(generation) FROM rebuilds FINAL")
        runs, _ = await _runs(self._store)
        return max(int(rows[0][0]), _greatest_generation(runs), active) + 1

    async def require(self) -> None:
        """See that no newer run claimed the rebuild.

        Raises:
            RebuildError: one did; this run has nothing more to do.
        """
        if await _newest_number(self._store) > self.number:
            raise RebuildError(
                "another run of `tidemark rebuild` has taken the rebuild over; this run ends and changes nothing more"
            )

    async def note(self, rebuild: Rebuild) -> None:
        """Store the rebuild's state, as this run leaves it.

        Raises:
            RebuildError: a newer run claimed the rebuild.
        """
        await self.require()
        self._rebuild = rebuild
        await self._store_row()
        await self._repeat(rebuild)

    async def _repeat(self, rebuild: Rebuild) -> None:
        """Write the state to `rebuilds`, newer than what an older run's clock left there."""
        rows = await self._store.query(
            "SELECT toUnixTimestamp64Milli(max(updated_at)), toUnixTimestamp64Milli(now64(3)) FROM rebuilds "
            "WHERE generation = {generation:UInt16}",
            {"generation": rebuild.generation},
        )
        cuts = {str(partition): offset for partition, offset in rebuild.cuts.items()}
        noted = {**cuts, "mirror": sorted(rebuild.mirror), "rollups": sorted(rebuild.rollups)}
        at = max(int(rows[0][0]) + 1, int(rows[0][1]))
        await self.require()
        await self._store.insert(
            _REBUILDS,
            [(rebuild.generation, rebuild.state, orjson.dumps(noted).decode(), rebuild.started_at, at)],
        )

    async def beat(self) -> None:
        """Give signs of life, until cancelled."""
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            await self._store_row()

    async def end(self) -> None:
        """Say that this run ended, if ClickHouse takes it at once, so that the next one need not wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await self._store_row(is_ended=True)

    async def _store_row(self, *, is_ended: bool = False) -> None:
        async with self._writing:
            rows = await self._store.query("SELECT toUnixTimestamp64Milli(now64(3))")
            self._stored_at = max(self._stored_at + 1, int(rows[0][0]))
            told: dict[str, Any] = {"claimed_at": self._claimed_at}
            if self._rebuild is not None:
                told["rebuild"] = _told(self._rebuild)
            row = (_GENERATION, self._name, orjson.dumps(told).decode(), int(is_ended), 0, self._stored_at)
            await self._store.insert(REBUILD_PROGRESS, [row])


class Numbers:
    """Makes versions of one run's rows: above those of the generation's earlier runs, and below every owner's.

    Raises:
        RebuildError: the generation had too many runs.
    """

    def __init__(self, claim: RebuildClaim, rebuild: Rebuild) -> None:
        epoch = _FIRST_EPOCH + claim.number - rebuild.first_run
        if epoch >= _EPOCHS_END:
            raise RebuildError(
                f"{epoch - _FIRST_EPOCH} runs of `tidemark rebuild` have not finished generation {rebuild.generation}, "
                "and no versions are left for another; please report it"
            )
        self._last = epoch << _BATCH_BITS
        self._end = (epoch + 1) << _BATCH_BITS

    def next(self) -> int:
        """A number greater than all numbers given before.

        Raises:
            RebuildError: the run's numbers are used up.
        """
        self._last += 1
        if self._last >= self._end:
            raise RebuildError(
                "this run has used up its versions; run `tidemark rebuild` again: it continues from here"
            )
        return self._last


async def _newest_number(store: Store) -> int:
    rows = await store.query(
        f"SELECT max(workspace_id) FROM rebuild_progress WHERE generation = 0 AND startsWith(workspace_id, '{_PREFIX}')"
    )
    name = str(rows[0][0]) if rows else ""
    return int(name.split("/")[2]) if name else 0


async def _wait_for_its_end(store: Store, on_wait: Callable[[str], None]) -> int:
    """Wait until the newest run ended or died; returns its number, 0 when there was none.

    Raises:
        RebuildError: it lives.
    """
    seen: dict[str, int] = {}
    while True:
        runs, now = await _runs(store)
        living = _living(runs, now)
        if not living:
            return runs[0].number if runs else 0
        since = iso_seconds(living[0].claimed_at)
        if any(seen.get(run.name, run.seen_at) != run.seen_at for run in living):
            raise RebuildError(
                f"a rebuild runs since {since}: wait for its end, or stop it; "
                "`tidemark rebuild --take-over` goes on in its place"
            )
        seen |= {run.name: run.seen_at for run in living}
        on_wait(f"a rebuild runs since {since}; waiting for a sign that it lives (`--take-over` does not wait)")
        await asyncio.sleep(_LOOK_SECONDS)
