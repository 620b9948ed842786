"""Bytes and processor time of one answer, for answers of one post and of twenty: what a sizing is reckoned from.

The pipeline runs over both kinds of events. Bytes in Kafka are those of the topics' segments on the broker's disk; a
raw event's are those of a batch of one event, compressed as the poller does it. Bytes in ClickHouse are those of the
tables' parts after one merge.
"""

from __future__ import annotations

from typing import Any

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from benchmarks.chart import Bar
from benchmarks.pipeline import Measured, measure
from benchmarks.report import Ratio, Result
from benchmarks.stage import PAST_MILLIS, Stage
from benchmarks.workload import Workload
from tests.support.backend import now_ms
from tests.support.engines import EmbeddedEngines

TARGETS_AN_EVENT = (1, 20)
_SNAPSHOTS = {1: 40_000, 20: 200_000}
_FULL_SNAPSHOTS = {1: 200_000, 20: 2_000_000}
_TIMEOUT_SECONDS = 600.0
_SAMPLED_EVENTS = 200
_TABLES = ("raw_events_store", "post_snapshots_store", "latest_post_metrics_store", "post_totals_store")
# Each answer is of posts of an hour to two weeks of age, of as many channels as make a thousand posts.
_POSTS = 1_000


def run(on: EmbeddedEngines, is_full: bool) -> Result:
    """The pipeline twice, and what it leaves behind."""
    sizes = _FULL_SNAPSHOTS if is_full else _SNAPSHOTS
    found: dict[str, Any] = {}
    micros: dict[int, float] = {}
    for targets in TARGETS_AN_EVENT:
        workload = Workload(sizes[targets], channels=_POSTS // targets, per_event=targets)
        name = f"footprint_{targets}"
        measured = measure(on, name, workload, _TIMEOUT_SECONDS)
        micros[targets] = measured.micros("aggregator") * targets
        found[f"targets_{targets}"] = _figures(on, name, workload, measured)
    one, twenty = (found[f"targets_{targets}"]["kafka_bytes"]["platform.raw_an_event"] for targets in TARGETS_AN_EVENT)
    return Result(
        "footprint",
        found,
        [
            Ratio("bytes of an event of twenty posts / of one", twenty / one),
            Ratio("worker's time of an event of twenty posts / of one", micros[20] / micros[1]),
        ],
        [
            "Bodies are those of X with public and private figures; other platforms' differ.",
            "The aggregator writes its topics uncompressed; rollups before compaction.",
        ],
        (
            "Where a post's figures take room",
            "bytes a snapshot, twenty an answer",
            [
                Bar("raw event, Kafka", twenty / 20, "ours"),
                *(
                    Bar(f"{name}, ClickHouse", size, "ours")
                    for name, size in found["targets_20"]["clickhouse_bytes_a_row"].items()
                    if name != "raw_events_store"
                ),
            ],
        ),
    )


def _figures(on: EmbeddedEngines, name: str, workload: Workload, measured: Measured) -> dict[str, Any]:
    stage = Stage(on, name, workload)
    try:
        return {
            "events": workload.events,
            "aggregator_cpu_microseconds_per_event": measured.micros("aggregator") * workload.per_event,
            "clickhouse_cpu_microseconds_per_event": measured.micros("clickhouse") * workload.per_event,
            "kafka_cpu_microseconds_per_event": measured.micros("kafka") * workload.per_event,
            "kafka_bytes": {
                "platform.raw_an_event": _raw_bytes(stage),
                "metrics.post-snapshots_a_snapshot": _topic_bytes(on, name, "metrics.post-snapshots")
                / workload.snapshots,
                "rollups.posts_a_message": _topic_bytes(on, name, "rollups.posts") / measured.rollups,
            },
            "clickhouse_bytes_a_row": {table: _table_bytes(stage, table) for table in _TABLES},
        }
    finally:
        stage.close()


def _raw_bytes(stage: Stage) -> float:
    """Bytes of an event on the broker: a batch of its own, compressed with gzip."""
    codec, total = stage.codec("platform.raw"), 0
    for number, event in enumerate(stage.workload.raw(now_ms() - PAST_MILLIS), 1):
        batch = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=DefaultRecordBatch.CODEC_GZIP,
            is_transactional=0,
            producer_id=1,
            producer_epoch=0,
            base_sequence=0,
            batch_size=2**23,
        )
        batch.append(0, event.captured_at, event.workspace_id.encode(), codec.encode(event), [])
        total += len(batch.build())
        if number == _SAMPLED_EVENTS:
            break
    return total / number


def _topic_bytes(on: EmbeddedEngines, name: str, topic: str) -> int:
    """Bytes of a topic's segments on the one broker's disk."""
    segments = on.kafka.folder.glob(f"log/{name}.{topic}-*/*.log")
    found = sum(path.stat().st_size for path in segments)
    assert found, f"no segments of {name}.{topic} in {on.kafka.folder}"
    return found


def _table_bytes(stage: Stage, table: str) -> float:
    """Bytes on disk of a row after one merge."""
    stage.clickhouse.command(f"OPTIMIZE TABLE {table} FINAL")
    (found,) = stage.rows(
        "SELECT sum(bytes_on_disk) AS bytes, sum(rows) AS stored FROM system.parts WHERE active"
        f" AND database = currentDatabase() AND table = '{table}'"
    )
    return float(found["bytes"]) / float(found["stored"])
