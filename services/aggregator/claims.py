"""Stores and reads in ClickHouse who owns a partition, and which rebuild generation the owner writes to."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from schemas.codec import MalformedEvent
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.rows import Table
from services.aggregator.topic_reader import TopicReader

_CLAIMS: Table = ("partition_claims", ("partition", "epoch", "instance", "claimed_at"))


async def claim(
    store: ClickHouse, partition: int, instance: str, told: Callable[[], Awaitable[int]] | None = None
) -> int:
    """Store this worker's claim of a partition.

    Args:
        instance: this worker's name, for people who read the table.
        told: the greatest epoch that the topic of claims holds; asked where the table has no claim of the partition.
            Where tables were lost, the topics of before hold versions of its epochs, and newer ones have to be greater.

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
    if epoch == 1 and told is not None:
        epoch = await told() + 1
    await store.insert(_CLAIMS, [(partition, epoch, instance, now)])
    return epoch


def told_epoch(reader: TopicReader, topic: str, partition: int, decode: Callable[[bytes], dict[str, Any]]) -> int:
    """The greatest epoch of a partition's claims on their topic; 0 when it holds none. Blocking.

    Args:
        topic: the full name of the topic of claims.
        decode: decodes its values.

    Raises:
        TopicUnreadable: Kafka can't be read.
    """
    epoch = 0
    for message in reader.read(topic, partition, *reader.bounds(topic, partition)):
        if message.intact is not None:
            with contextlib.suppress(MalformedEvent):
                epoch = max(epoch, int(decode(message.intact)["epoch"]))
    return epoch


async def active_generation(store: ClickHouse) -> int:
    """The rebuild generation that public names show."""
    rows = await store.query("SELECT argMax(generation, version) FROM active_generations")
    return int(rows[0][0])


async def generation_of(store: ClickHouse, partition: int) -> int:
    """The generation that a partition's owner writes to: the active one, or a newer one that it took over."""
    rows = await store.query(
        "SELECT max(generation) FROM rebuild_handovers FINAL WHERE partition = {partition:UInt32} "
        "AND generation IN (SELECT generation FROM rebuilds FINAL WHERE state != 'abandoned')",
        {"partition": partition},
    )
    return max(int(rows[0][0]), await active_generation(store))
