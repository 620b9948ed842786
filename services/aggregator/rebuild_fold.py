"""The folding of a rebuild: every tenant's catalog and raw events, with progress notes, by one run of the command.

A note of progress names the run that wrote it. Notes count from the run on that took the rebuild on last: what a run
before that one wrote late, of events that the newer run has not folded yet, is passed over.

Guarantee: folding events again changes nothing, so a run may begin a tenant anew or go on at any note that counts.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from services.aggregator.clickhouse import ClickHouse
from services.aggregator.rebuild_runs import Numbers, Rebuild, RebuildClaim, Store
from services.aggregator.replay import Replayer
from services.aggregator.rows import REBUILD_PROGRESS, Row
from services.runtime.clock import Clock

_SIDE_BY_SIDE = 6
_CACHE_TARGETS = 300_000


class Progress(NamedTuple):
    """How far a tenant is folded.

    Attributes:
        last_event_id: events up to and with this are folded.
        events: how many they are.
        noted_at: when the note was written, ms.
    """

    last_event_id: str = ""
    is_done: bool = False
    events: int = 0
    noted_at: int = 0


async def take_on_progress(store: Store, clock: Clock, claim: RebuildClaim, rebuild: Rebuild, run: int) -> None:
    """Repeat an earlier run's notes as this run's; call it before this run notes the rebuild's state.

    Args:
        run: the run that worked for the rebuild last.

    Raises:
        RebuildError: a newer run claimed the rebuild.
    """
    noted = await _progress(store, rebuild.generation, run)
    await claim.require()
    if noted:
        rows = [_note(claim, rebuild, tenant, at, clock) for tenant, at in sorted(noted.items())]
        await store.insert(REBUILD_PROGRESS, rows)


async def _progress(store: Store, generation: int, run: int) -> dict[str, Progress]:
    """Notes of progress by tenant, of this run and those after it."""
    rows = await store.query(
        "SELECT workspace_id, last_event_id, is_done, events, toUnixTimestamp64Milli(updated_at) FROM rebuild_progress "
        "FINAL WHERE generation = {generation:UInt16} AND position(workspace_id, '/') = 0",
        {"generation": generation},
    )
    found = {}
    for workspace_id, place, is_done, events, noted_at in rows:
        by, last = _read_place(place)
        if by >= run:
            found[workspace_id] = Progress(last, bool(is_done), int(events), int(noted_at))
    return found


def _read_place(place: str) -> tuple[int, str]:
    """The run and the event of a note's `last_event_id`; run 0 for a version that wrote the event alone."""
    begin, _, rest = place.partition("/")
    number, slash, event_id = rest.partition("/")
    return (int(number), event_id) if not begin and slash and number.isdecimal() else (0, place)


def _note(claim: RebuildClaim, rebuild: Rebuild, workspace_id: str, at: Progress, clock: Clock) -> Row:
    # Newer than the note that it follows, by whatever clock that was written.
    return (
        rebuild.generation, workspace_id, f"/{claim.number}/{at.last_event_id}", int(at.is_done), at.events,
        max(clock.now(), at.noted_at + 1),
    )  # fmt: skip


class RebuildFold:
    """Folds all tenants into a rebuild's generation, six at a time: while one's batch waits, another's is mapped.

    Args:
        partitions: number of partitions of the topics.
        claim: is required before each insert.
        is_resumed: whether an earlier run folded a part of it, and may still be writing.
    """

    def __init__(
        self,
        store: ClickHouse,
        clock: Clock,
        partitions: int,
        claim: RebuildClaim,
        rebuild: Rebuild,
        is_resumed: bool,
    ) -> None:
        self._store = store
        self._clock = clock
        self._partitions = partitions
        self._claim = claim
        self._rebuild = rebuild
        self._is_resumed = is_resumed
        self._numbers = Numbers(claim, rebuild)
        self._progress: dict[str, Progress] = {}
        self._waiting: deque[str] = deque()
        self._done = 0

    async def run(self, on_step: Callable[[int, int], None]) -> dict[str, int]:
        """Fold all that is not noted as folded; returns the number of unmapped events by reason.

        Args:
            on_step: called with the number of folded events, and of all.

        Raises:
            RebuildError: a newer run claimed the rebuild.
        """
        total = int((await self._store.query("SELECT count() FROM raw_events_store FINAL"))[0][0])
        self._progress = await _progress(self._store, self._rebuild.generation, self._claim.number)
        rows = await self._store.query(
            "SELECT DISTINCT workspace_id FROM (SELECT workspace_id FROM raw_events_store UNION ALL "
            "SELECT workspace_id FROM posts_store UNION ALL SELECT workspace_id FROM channels_store) "
            "ORDER BY workspace_id"
        )
        self._waiting = deque(row[0] for row in rows if not self._noted(row[0]).is_done)
        self._done = sum(at.events for at in self._progress.values())
        on_step(self._done, total)
        unmapped: Counter[str] = Counter()
        for found in await _all_or_none([self._fold_tenants(on_step, total) for _ in range(_SIDE_BY_SIDE)]):
            unmapped.update(found)
        return dict(unmapped)

    def _noted(self, workspace_id: str) -> Progress:
        return self._progress.get(workspace_id, Progress())

    async def _fold_tenants(self, on_step: Callable[[int, int], None], total: int) -> dict[str, int]:
        replayer = Replayer(
            self._store,
            self._clock,
            self._rebuild.generation,
            self._partitions,
            self._numbers.next,
            _CACHE_TARGETS // _SIDE_BY_SIDE,
            self._claim.require,
        )
        while self._waiting:
            workspace_id = self._waiting.popleft()
            at = self._noted(workspace_id)
            await replayer.catalog(workspace_id)
            async for last, count in replayer.events(workspace_id, at.last_event_id):
                at = at._replace(last_event_id=last, events=at.events + count)
                self._done += count
                await self._note(workspace_id, at)
                on_step(self._done, total)
            if self._is_resumed:
                # Rows that an earlier run wrote meanwhile may have been read for one state, and not for another.
                await replayer.channels(workspace_id)
            await self._note(workspace_id, at._replace(is_done=True))
        return replayer.unmapped

    async def _note(self, workspace_id: str, at: Progress) -> None:
        await self._claim.require()
        await self._store.insert(REBUILD_PROGRESS, [_note(self._claim, self._rebuild, workspace_id, at, self._clock)])


async def _all_or_none(folds: Sequence[Coroutine[Any, Any, dict[str, int]]]) -> list[dict[str, int]]:
    """What all folds found; where one fails, the others end before its error is raised."""
    tasks = [asyncio.create_task(fold) for fold in folds]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
