"""Bytes a row of the snapshot table, and its parts under small batches."""

from __future__ import annotations

import time

from benchmarks.chart import Bar
from benchmarks.progress import Progress
from benchmarks.report import Ratio, Result
from benchmarks.stage import Stage, contestant
from benchmarks.workload import Workload
from services.aggregator.rows import POST_SNAPSHOTS
from tests.support.engines import EmbeddedEngines

DEFAULT_ROWS = 1_000_000
FULL_ROWS = 10_000_000
WANTED_BYTES = 16
WANTED_PARTS = 100
_SMALL_BATCHES = 300
_ROWS_A_BATCH = 200


def run(on: EmbeddedEngines, is_full: bool) -> Result:
    """Rows as polls make them, merged; then many small inserts one after the other."""
    rows = FULL_ROWS if is_full else DEFAULT_ROWS
    with Progress(f"storage: {rows:,} snapshots, merged"):
        stored = contestant("benchmarks.floor", [str(rows), "1"], 1500 if is_full else 300)
    most, after = _small_batches(on)
    return Result(
        "storage",
        {
            "merged": {name: stored[name] for name in ("rows", "bytes_per_row", "largest_columns_bytes_per_row")},
            "small_batches": {
                "inserts": _SMALL_BATCHES,
                "rows_an_insert": _ROWS_A_BATCH,
                "most_active_parts": most,
                "active_parts_5_seconds_later": after,
            },
        },
        [
            Ratio(f"bytes a snapshot at {rows:,}", float(stored["bytes_per_row"]), WANTED_BYTES, is_ceiling=True),
            Ratio("most parts under small inserts", float(most), WANTED_PARTS, is_ceiling=True),
        ],
        ["Inserts follow each other without a pause; the worker makes about one a second and table at low traffic."],
        (
            "Where a stored snapshot's bytes go",
            "bytes a row",
            [
                Bar("whole row", float(stored["bytes_per_row"]), "ours"),
                *(Bar(column, float(size)) for column, size in stored["largest_columns_bytes_per_row"].items()),
            ],
        ),
    )


def _small_batches(on: EmbeddedEngines) -> tuple[int, int]:
    stage = Stage(on, "storage", Workload(_ROWS_A_BATCH))
    name, columns = POST_SNAPSHOTS
    used = ("generation", "workspace_id", "target_id", "event_id", "captured_at", "version")
    assert set(used) <= set(columns)
    types = list(stage.clickhouse.create_insert_context(name, list(used)).column_types)
    most = 0

    def active() -> int:
        found = stage.rows(
            f"SELECT count() AS n FROM system.parts WHERE active AND table = '{name}' AND database = currentDatabase()"
        )
        return int(found[0]["n"])

    try:
        with Progress(f"storage: {_SMALL_BATCHES} inserts of {_ROWS_A_BATCH} rows"):
            for batch in range(_SMALL_BATCHES):
                numbers = range(_ROWS_A_BATCH)
                stage.clickhouse.insert(
                    name,
                    [
                        [0] * _ROWS_A_BATCH,
                        [f"bench-{number % 40}" for number in numbers],
                        [f"t{number}" for number in numbers],
                        [f"e{batch:06d}"] * _ROWS_A_BATCH,
                        [stage.start + batch] * _ROWS_A_BATCH,
                        [batch] * _ROWS_A_BATCH,
                    ],
                    column_names=list(used),
                    column_types=types,
                    column_oriented=True,
                )
                if batch % 10 == 9:
                    most = max(most, active())
            time.sleep(5)
            return most, active()
    finally:
        stage.close()
