"""Reads payloads of raw events from ClickHouse in groups of some megabytes, never all at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Protocol

from services.query_api.reads import sql

BATCH_BYTES = 2 * 1024 * 1024
"""Of payloads in one query; a larger payload comes alone. In memory each is about ten times as large for a moment."""
ANSWER_BYTES = 16 * 1024 * 1024
"""Of payloads in one whole answer; what goes beyond is cut off, or streamed."""
# How many payloads' sizes are asked for at once; an answer may be full before further sizes are needed.
_SIZES_AT_ONCE = 50


class Rows(Protocol):
    """Runs queries; see `clickhouse.ClickHouse.rows`."""

    async def rows(self, name: str, sql: str, parameters: dict[str, Any], seconds: float = 5.0) -> list[list[Any]]:
        """See `clickhouse.ClickHouse.rows`."""


async def batches(store: Rows, workspace_id: str, event_ids: Sequence[str]) -> AsyncIterator[tuple[list[str], int]]:
    """The events in their order, in groups whose payloads fit into memory together, each with its payload bytes.

    A caller that has enough stops iterating; sizes of later events are then never read.
    """
    for first in range(0, len(event_ids), _SIZES_AT_ONCE):
        ids = event_ids[first : first + _SIZES_AT_ONCE]
        if len(event_ids) == 1:
            yield list(ids), 0
            return
        found = await store.rows("raw_sizes", sql.RAW_SIZES, {"workspace": workspace_id, "events": list(ids)})
        for group in grouped(ids, {event_id: int(size) for event_id, size in found}):
            yield group


def grouped(
    event_ids: Iterable[str], sizes: Mapping[str, int], most_bytes: int = BATCH_BYTES
) -> Iterable[tuple[list[str], int]]:
    """Events in their order, cut into groups of at most `most_bytes`, or of one larger event."""
    group: list[str] = []
    held = 0
    for event_id in event_ids:
        size = sizes.get(event_id, 0)
        if group and held + size > most_bytes:
            yield group, held
            group, held = [], 0
        group.append(event_id)
        held += size
    if group:
        yield group, held
