"""Snapshots of a year gone by, made inside ClickHouse: what a run is put on top of."""

from __future__ import annotations

from benchmarks.progress import Progress
from benchmarks.stage import Stage

_BLOCK = 1_000_000
# The same tenants; a hundred answers a target, one an hour, of posts that are polled no more and of those that are.
_INSERT = """
INSERT INTO post_snapshots_store (generation, workspace_id, target_id, post_id, channel_id, platform, event_id,
    captured_at, origin, spoken, ranged, impressions, likes, comments, shares, saves, clicks, version)
SELECT 0, concat('bench-', toString(channel % {workspaces:UInt32})),
    concat('t', toString(channel), '-', toString(post)), concat('p', toString(channel), '-', toString(post)),
    concat('c', toString(channel)), 'x',
    concat('01900000-0000-7000-8000-', leftPad(toString(intDiv(number, 50)), 12, '0')),
    fromUnixTimestamp64Milli(toInt64({start:Int64} + answer * 3600000)), 'SCHEDULE', 1069, 0,
    1000 + answer * 150 + rand(1) % 100, 80 + answer * 8 + rand(2) % 10, 5 + answer + rand(3) % 3,
    10 + answer + rand(4) % 3, 3 + intDiv(answer, 3), 20 + answer * 2,
    bitShiftLeft(toUInt64({start:Int64} + answer * 3600000), 20) + 1
FROM (
    SELECT number, number % 50 + 50 * (intDiv(number, 50 * {channels:UInt32} * 100)) AS post,
        intDiv(number, 50) % {channels:UInt32} AS channel, intDiv(number, 50 * {channels:UInt32}) % 100 AS answer
    FROM numbers({first:UInt64}, {count:UInt64})
)
"""
_LATEST = """
INSERT INTO latest_post_metrics_store (generation, workspace_id, target_id, post_id, channel_id, is_listed,
    captured_at, impressions, likes, comments, shares, saves, clicks, registers, partition, version)
SELECT 0, workspace_id, concat('old-', target_id), concat('old-', post_id), concat('old-', channel_id), 0,
    max(captured_at), max(impressions), max(likes), max(comments), max(shares), max(saves), max(clicks),
    '[]', 0, 1
FROM post_snapshots_store GROUP BY workspace_id, target_id, post_id, channel_id
"""


def insert_history(stage: Stage, rows: int) -> None:
    """Store `rows` snapshots and the latest figures of as many targets as they speak of, merged as months would."""
    workload, client = stage.workload, stage.clickhouse
    with Progress(f"{stage.name}: {rows:,} snapshots of before") as progress:
        for first in range(0, rows, _BLOCK):
            client.command(
                _INSERT,
                parameters={
                    "first": first,
                    "count": min(_BLOCK, rows - first),
                    "channels": workload.channels,
                    "workspaces": workload.workspaces,
                    "start": stage.start - 200 * 3_600_000,
                },
            )
            progress.show(f"{first:,} of {rows:,}")
        client.command(_LATEST)
        client.command("OPTIMIZE TABLE post_snapshots_store FINAL")
        stored = int(client.command("SELECT count() FROM post_snapshots_store"))  # type: ignore[arg-type]
        assert stored == rows, f"{stored} rows of {rows}: the history repeats itself"
