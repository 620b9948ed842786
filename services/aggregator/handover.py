"""The steps by which a partition's owner takes over a rebuilt generation; `takeover.py` calls them in order.

The owner folds the newest events and catalog writes into the generation, and finds the totals that differ from the
totals that the owner published before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from schemas.topic_names import CHANNEL_ROLLUPS
from services.aggregator.batch import Outgoing
from services.aggregator.claims import active_generation
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.rebuild_runs import CatalogCut, Rebuild, latest_rebuild
from services.aggregator.replay import Replayer
from services.aggregator.rows import REBUILD_PROGRESS
from services.aggregator.state import Key
from services.runtime.clock import Clock
from services.runtime.kafka import key as message_key
from services.runtime.kafka import partition_of

HANDOVER_CHECK_SECONDS = 1.0
# In a rebuild's progress this prefix and a partition's number stand for told channels; workspace ids hold no slash.
_ANNOUNCED = "/announced/"
_HANDOVERS = ("rebuild_handovers", ("generation", "partition", "taken_at"))


class HandoverWatch:
    """Notices a rebuild that waits for owners to mend or take over; one query a second for the whole process."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store
        self._asked_at = float("-inf")
        self._found: Rebuild | None = None

    async def pending(self, generation: int) -> Rebuild | None:
        """The rebuild that waits for the owners of an older generation; None when there is none."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at >= HANDOVER_CHECK_SECONDS:
            self._asked_at = now
            self._found = await latest_rebuild(self._store)
        found = self._found
        if found is None or found.state == "filling" or found.generation <= generation:
            return None
        return found


async def fold_tail(
    store: ClickHouse,
    clock: Clock,
    rebuild: Rebuild,
    partition: int,
    partitions: int,
    next_number: Callable[[], int],
    cache_targets: int,
) -> None:
    """Fold the part of history that the rebuild left to the owner.

    The part is the raw events from the partition's cut on, and the rows of the catalog's mirror whose version is not
    below the mirror's when the rebuild began. The version counts, and not `updated_at`: that is the clock of whoever
    wrote to the catalog.
    """
    replayer = Replayer(store, clock, rebuild.generation, partitions, next_number, cache_targets)
    cut = rebuild.catalog.get(partition, CatalogCut())
    if max(cut) > next_number():
        cut = CatalogCut()  # no owner wrote such versions: they do not part older rows from newer ones
    rows = await store.query(
        "SELECT DISTINCT workspace_id FROM ("
        "SELECT workspace_id FROM posts_store WHERE version >= {posts:UInt64} UNION ALL "
        "SELECT workspace_id FROM channels_store WHERE version >= {channels:UInt64}) ORDER BY workspace_id",
        {"posts": cut.posts, "channels": cut.channels},
    )
    for (workspace_id,) in rows:
        if partition_of(workspace_id, partitions) == partition:
            await replayer.catalog(workspace_id, cut)
    await replayer.tail(partition, rebuild.cuts.get(partition, 0))


async def note_handover(store: ClickHouse, clock: Clock, rebuild: Rebuild, partition: int) -> None:
    """Store that this partition writes to the rebuilt generation from now on; the rebuild waits for this note."""
    await store.insert(_HANDOVERS, [(rebuild.generation, partition, clock.now())])


async def differing_posts(store: ClickHouse, old: int, new: int, partition: int) -> list[Key]:
    """Posts of a partition whose totals differ between two generations or exist in only one generation."""
    return _keys(
        await store.query(
            "SELECT workspace_id, post_id FROM post_totals_store FINAL "
            "WHERE partition = {partition:UInt32} AND generation IN ({old:UInt16}, {new:UInt16}) "
            "GROUP BY workspace_id, post_id HAVING count() < 2 OR uniqExact(targets, is_deleted) > 1 "
            "ORDER BY workspace_id, post_id",
            {"partition": partition, "old": old, "new": new},
        )
    )


async def channels_of(store: ClickHouse, new: int, partition: int) -> list[Key]:
    """Channels of a partition that the catalog holds; their windows are emitted again, since time has passed."""
    return _keys(
        await store.query(
            "SELECT DISTINCT workspace_id, channel_id FROM channel_totals_store FINAL "
            "WHERE partition = {partition:UInt32} AND generation = {new:UInt16} AND is_deleted = 0 "
            "ORDER BY workspace_id, channel_id",
            {"partition": partition, "new": new},
        )
    )


async def gone_channels(store: ClickHouse, old: int, new: int, partition: int) -> list[Outgoing]:
    """Tombstones for the rollups of channel windows that only the old generation holds."""
    rows = await store.query(
        "SELECT workspace_id, channel_id, `range` FROM channel_totals_store FINAL "
        "WHERE partition = {partition:UInt32} AND generation IN ({old:UInt16}, {new:UInt16}) "
        "GROUP BY workspace_id, channel_id, `range` "
        "HAVING countIf(generation = {new:UInt16} AND is_deleted = 0) = 0 AND countIf(is_deleted = 0) > 0",
        {"partition": partition, "old": old, "new": new},
    )
    return [(CHANNEL_ROLLUPS, message_key(row[0], row[1], row[2]), None) for row in rows]


async def is_shown(store: ClickHouse, generation: int) -> bool:
    """Whether readers see a generation."""
    return await active_generation(store) == generation


async def is_announced(store: ClickHouse, generation: int, partition: int) -> bool:
    """Whether this partition's channels were told again since readers see the generation."""
    rows = await store.query(
        "SELECT count() FROM rebuild_progress FINAL WHERE generation = {generation:UInt16} "
        "AND workspace_id = {place:String}",
        {"generation": generation, "place": f"{_ANNOUNCED}{partition}"},
    )
    return int(rows[0][0]) > 0


async def note_announced(store: ClickHouse, clock: Clock, generation: int, partition: int) -> None:
    """Store that they were."""
    await store.insert(REBUILD_PROGRESS, [(generation, f"{_ANNOUNCED}{partition}", "", 1, 0, clock.now())])


def _keys(rows: Sequence[Sequence[Any]]) -> list[Key]:
    return [(row[0], row[1]) for row in rows]
