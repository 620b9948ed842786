"""A partition's owner takes over a rebuilt generation: the tail, the late catalog, and what came out different.

Runs between two batches of the owner, so nothing else writes for the partition meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from schemas.topic_names import CHANNEL_ROLLUPS
from services.aggregator.pipeline import Outgoing
from services.aggregator.rebuild import Rebuild, latest_rebuild
from services.aggregator.replay import Replayer
from services.aggregator.sink import ClickHouseSink
from services.aggregator.state import Key
from services.runtime.clock import Clock
from services.runtime.kafka import key as message_key
from services.runtime.kafka import partition_of

# Catalog writes are timed by the API's clock, and the mirror is behind them by moments.
_CATALOG_MARGIN_MILLIS = 10 * 60 * 1000
HANDOVER_CHECK_SECONDS = 1.0
_HANDOVERS = ("rebuild_handovers", ("generation", "partition", "taken_at"))


class HandoverWatch:
    """Notices rebuilds that wait for owners, to mend or take over; asks once a second for a whole process."""

    def __init__(self, sink: ClickHouseSink) -> None:
        self._sink = sink
        self._asked_at = float("-inf")
        self._found: Rebuild | None = None

    async def pending(self, generation: int) -> Rebuild | None:
        """The rebuild that waits for owners of an older generation, if any."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at >= HANDOVER_CHECK_SECONDS:
            self._asked_at = now
            self._found = await latest_rebuild(self._sink)
        found = self._found
        if found is None or found.state == "filling" or found.generation <= generation:
            return None
        return found


async def fold_tail(
    sink: ClickHouseSink,
    clock: Clock,
    rebuild: Rebuild,
    partition: int,
    partitions: int,
    next_number: Callable[[], int],
    cache_targets: int,
) -> None:
    """Fold what the rebuild left to the owner: events from the cut on, and catalog writes since its beginning."""
    replayer = Replayer(sink, clock, rebuild.generation, partitions, next_number, cache_targets)
    since = rebuild.started_at - _CATALOG_MARGIN_MILLIS
    rows = await sink.query(
        "SELECT DISTINCT workspace_id FROM (SELECT workspace_id, updated_at FROM posts_store UNION ALL "
        "SELECT workspace_id, updated_at FROM channels_store) "
        "WHERE updated_at >= fromUnixTimestamp64Milli({since:Int64}) ORDER BY workspace_id",
        {"since": since},
    )
    for (workspace_id,) in rows:
        if partition_of(workspace_id, partitions) == partition:
            await replayer.catalog(workspace_id, since)
    await replayer.tail(partition, rebuild.cuts.get(partition, 0))


async def note_handover(sink: ClickHouseSink, clock: Clock, rebuild: Rebuild, partition: int) -> None:
    """Tell the rebuild that this partition writes to its generation now."""
    await sink.insert(_HANDOVERS, [(rebuild.generation, partition, clock.now())])


async def differing_posts(sink: ClickHouseSink, old: int, new: int, partition: int) -> list[Key]:
    """Posts of a partition that two generations tell differently, whether held by both or by one."""
    return _keys(
        await sink.query(
            "SELECT workspace_id, post_id FROM post_totals_store FINAL "
            "WHERE partition = {partition:UInt32} AND generation IN ({old:UInt16}, {new:UInt16}) "
            "GROUP BY workspace_id, post_id HAVING count() < 2 OR uniqExact(targets, is_deleted) > 1 "
            "ORDER BY workspace_id, post_id",
            {"partition": partition, "old": old, "new": new},
        )
    )


async def channels_of(sink: ClickHouseSink, new: int, partition: int) -> list[Key]:
    """Channels of a partition that the catalog holds: their windows are told anew, since time went by too."""
    return _keys(
        await sink.query(
            "SELECT DISTINCT workspace_id, channel_id FROM channel_totals_store FINAL "
            "WHERE partition = {partition:UInt32} AND generation = {new:UInt16} AND is_deleted = 0 "
            "ORDER BY workspace_id, channel_id",
            {"partition": partition, "new": new},
        )
    )


async def gone_channels(sink: ClickHouseSink, old: int, new: int, partition: int) -> list[Outgoing]:
    """Tombstones of windows that only the old generation tells."""
    rows = await sink.query(
        "SELECT workspace_id, channel_id, `range` FROM channel_totals_store FINAL "
        "WHERE partition = {partition:UInt32} AND generation IN ({old:UInt16}, {new:UInt16}) "
        "GROUP BY workspace_id, channel_id, `range` "
        "HAVING countIf(generation = {new:UInt16} AND is_deleted = 0) = 0 AND countIf(is_deleted = 0) > 0",
        {"partition": partition, "old": old, "new": new},
    )
    return [(CHANNEL_ROLLUPS, message_key(row[0], row[1], row[2]), None) for row in rows]


def _keys(rows: Sequence[Sequence[Any]]) -> list[Key]:
    return [(row[0], row[1]) for row in rows]
