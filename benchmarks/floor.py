"""The floor: decode, parse, map and insert column-wise, in one process, without Kafka, states or rollups.

The process holds the engine itself, so that not even a socket is in the way. Run as a program it prints one JSON line.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import clickhouse_connect

from benchmarks.workload import Workload
from schemas.codec import codec, schema_text
from schemas.events import PlatformRaw
from services.aggregator.reading import map_event
from services.aggregator.rows import POST_SNAPSHOTS
from services.runtime.migrations import migrations

DATABASE = "floor"
EVENTS_PER_BLOCK = 300
_START = 1_760_000_000_000


def main(arguments: Sequence[str]) -> None:
    """`floor SNAPSHOTS STORAGE`: the second is 1 to merge at the end and tell the size."""
    snapshots, with_storage = int(arguments[0]), arguments[1] == "1"
    gc.set_threshold(200_000, 50, 100)
    with tempfile.TemporaryDirectory(prefix="tidemark-floor-", ignore_cleanup_errors=True) as folder:
        client = clickhouse_connect.get_client(interface="chdb", path=folder)
        client.command(f"CREATE DATABASE {DATABASE}")
        client.command(f"USE {DATABASE}")
        for migration in migrations():
            for statement in migration.statements(None):
                if statement.startswith("CREATE TABLE IF NOT EXISTS post_snapshots_store"):
                    client.command(statement)
        found = run(client, Workload(snapshots))
        if with_storage:
            found.update(storage(client))
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        client.close()


def snapshot_rows(event: PlatformRaw) -> list[tuple[Any, ...]]:
    """An event as rows of `post_snapshots_store`, in the order of its columns."""
    head = (event.platform, event.event_id, event.captured_at, event.origin)
    rows: list[tuple[Any, ...]] = []
    for position, spoken, ranged, values in map_event(event).posts:
        target_id, post_id, _ = event.targets[position]
        rows.append((0, event.workspace_id, target_id, post_id, event.channel_id, *head, spoken, ranged, *values, 1))
    return rows


def run(client: Any, workload: Workload) -> dict[str, Any]:
    """Encode outside of the measured time, a part at a time so that memory stays small; then the floor's own work."""
    raw = codec("platform.raw", schema_id=1, fetch_schema=lambda _: schema_text("platform.raw"))
    name, columns = POST_SNAPSHOTS
    types = list(client.create_insert_context(name, list(columns)).column_types)
    seconds = processor = 0.0
    waiting: list[bytes] = []

    def fold(part: Sequence[bytes]) -> None:
        rows = [row for value in part for row in snapshot_rows(raw.decode(value))]
        client.insert(
            name,
            list(zip(*rows, strict=True)),
            column_names=list(columns),
            column_types=types,
            column_oriented=True,
        )

    def timed() -> None:
        nonlocal seconds, processor
        started, used = time.perf_counter(), time.process_time()
        fold(waiting)
        seconds += time.perf_counter() - started
        processor += time.process_time() - used
        waiting.clear()

    for event in workload.raw(_START):
        waiting.append(raw.encode(event))
        if len(waiting) >= EVENTS_PER_BLOCK:
            timed()
    if waiting:
        timed()
    stored = int(client.command(f"SELECT count() FROM {name}"))
    assert stored == workload.snapshots, f"{stored} rows of {workload.snapshots}"
    return {
        "snapshots": stored,
        "seconds": seconds,
        "snapshots_per_second": stored / seconds,
        "cpu_microseconds_per_snapshot": processor / stored * 1e6,
    }


def storage(client: Any) -> dict[str, Any]:
    """Size of the table once it is merged, by its columns."""
    name = POST_SNAPSHOTS[0]
    client.command(f"OPTIMIZE TABLE {name} FINAL")
    where = f"WHERE active AND table = '{name}' AND database = currentDatabase()"
    total = client.query(f"SELECT sum(bytes_on_disk), sum(rows), count() FROM system.parts {where}").result_rows[0]
    by_column = client.query(
        f"SELECT column, sum(column_bytes_on_disk) FROM system.parts_columns {where} GROUP BY column "
        "ORDER BY sum(column_bytes_on_disk) DESC LIMIT 8"
    ).result_rows
    rows = int(total[1])
    return {
        "bytes_per_row": int(total[0]) / rows,
        "rows": rows,
        "parts": int(total[2]),
        "largest_columns_bytes_per_row": {column: int(size) / rows for column, size in by_column},
    }


if __name__ == "__main__":
    main(sys.argv[1:])
