"""Stores and reads in ClickHouse who owns a partition, and which rebuild generation the owner writes to."""

from __future__ import annotations

from services.aggregator.clickhouse import ClickHouse
from services.aggregator.rows import Table

_CLAIMS: Table = ("partition_claims", ("partition", "epoch", "instance", "claimed_at"))


async def claim(store: ClickHouse, partition: int, instance: str) -> int:
    """Store this worker's claim of a partition.

    Args:
        instance: this worker's name, for people who read the table.

    Returns:
        The claim's epoch, greater than the epoch of every claim stored before. Two workers that claim at once may get
        the same epoch: the transaction that follows a claim decides between them (decision 0004).
    """
    rows = await store.query(
        "SELECT max(epoch) + 1, toUnixTimestamp64Milli(now64(3)) FROM partition_claims "
        "WHERE partition = {partition:UInt32}",
        {"partition": partition},
    )
    epoch, now = int(rows[0][0]), int(rows[0][1])
    await store.insert(_CLAIMS, [(partition, epoch, instance, now)])
    return epoch


async def active_generation(store: ClickHouse) -> int:
    """The rebuild generation that public names show."""
    rows = await store.query("SELECT argMax(generation, version) FROM active_generations")
    return int(rows[0][0])


async def generation_of(store: ClickHouse, partition: int) -> int:
    """The generation that a partition's owner writes to: the active one, or a newer one that it took over."""
    rows = await store.query(
        "SELECT max(generation) FROM rebuild_handovers FINAL WHERE partition = {partition:UInt32} "
        "AND generation IN (SELECT generation FROM rebuilds FINAL WHERE state IN ('handover', 'done'))",
        {"partition": partition},
    )
    return max(int(rows[0][0]), await active_generation(store))
