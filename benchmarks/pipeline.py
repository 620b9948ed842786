"""The pipeline: raw events on the broker to rows readable in ClickHouse and rollups on their topics, one worker.

Time runs from the worker's readiness to the later of two instants: the last snapshot is counted by a query, and the
last rollup is stable for readers of committed messages. What was done before readiness is not counted; an earlier
worker has read the catalog, so that all partitions become ready together, as after a restart.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks.history import insert_history
from benchmarks.machine import Usage
from benchmarks.progress import Progress
from benchmarks.stage import Stage
from benchmarks.workload import Workload
from schemas.conversions import instant
from tests.support.backend import PARTITIONS
from tests.support.engines import EmbeddedEngines

_SETTLED_SECONDS = 1.5
_SAMPLE_SECONDS = 0.2
_FINE_SAMPLE_SECONDS = 0.04
ROLLUPS = "rollups.posts"


@dataclass
class Measured:
    """One run of the pipeline.

    Attributes:
        snapshots: done after readiness.
        seconds: from readiness to the last of them readable and rolled up.
        snapshots_seconds: to the last of them readable.
        cpu_seconds: by process, in that time.
        resident_mib: of the worker: a quarter, half and all of the way.
        rollups: messages on `rollups.posts`.
        parts: active parts of the snapshot table at the end.
    """

    snapshots: int
    seconds: float
    snapshots_seconds: float
    cpu_seconds: dict[str, float]
    resident_mib: list[float]
    rollups: int
    parts: int

    @property
    def rate(self) -> float:
        """Snapshots a second."""
        return self.snapshots / self.seconds

    @property
    def growth(self) -> float:
        """Memory at the end against half of the way."""
        return self.resident_mib[-1] / self.resident_mib[-2]

    def micros(self, name: str) -> float:
        """Processor time a snapshot, in microseconds."""
        return self.cpu_seconds[name] / self.snapshots * 1e6

    @property
    def own_micros(self) -> float:
        """Of the worker, ClickHouse and Kafka together."""
        return sum(self.micros(name) for name in ("aggregator", "clickhouse", "kafka"))

    def figures(self) -> dict[str, Any]:
        """As the result files hold it."""
        return {
            "snapshots": self.snapshots,
            "seconds": self.seconds,
            "seconds_to_rows": self.snapshots_seconds,
            "snapshots_per_second": self.rate,
            "cpu_microseconds_per_snapshot": {name: self.micros(name) for name in self.cpu_seconds},
            "aggregator_resident_mib_at_quarter_half_end": self.resident_mib,
            "post_rollups_published": self.rollups,
            "post_snapshot_parts": self.parts,
        }


def measure(on: EmbeddedEngines, name: str, workload: Workload, timeout: float, history: int = 0) -> Measured:
    """Prefill, let one worker fold the catalog, run another over the events, and check what came out.

    Args:
        name: of this run: its database and the prefix of its topics.
        timeout: seconds from readiness on.
        history: snapshots that are stored before.
    """
    stage = Stage(on, name, workload)
    try:
        if history:
            insert_history(stage, history)
        stage.prefill_catalog()
        with Progress(f"{name}: the worker reads the catalog"), stage.aggregator():
            pass
        stage.prefill_events()
        return _run(stage, timeout, history)
    finally:
        stage.close()


def _run(stage: Stage, timeout: float, history: int) -> Measured:
    total = stage.workload.snapshots
    ends = _CommittedEnds(stage)
    try:
        with Progress(f"{stage.name}: the worker") as progress, stage.aggregator() as pid:
            usage = Usage(stage.pids(pid))
            started = time.monotonic()
            before = seen = _stored(stage) - history
            rows_at = settled_at = started
            samples: list[tuple[float, int, float]] = []
            timeline = [(started, ends.now())]
            cpu = usage.cpu_seconds()
            while True:
                now = time.monotonic()
                seen = _stored(stage) - history
                at_ends = ends.now()
                usage.note_memory()
                at = time.monotonic()
                samples.append((at, seen, usage.resident["aggregator"][-1] / 2**20))
                if seen < total:
                    rows_at = settled_at = at
                elif rows_at == settled_at:
                    # The first look that found them all.
                    rows_at = at
                if at_ends != timeline[-1][1]:
                    timeline.append((at, at_ends))
                    settled_at = at
                    cpu = usage.cpu_seconds()
                progress.show(f"{seen:,} of {total:,} snapshots, {(seen - before) / (now - started + 0.001):,.0f}/s")
                if seen >= total and at - max(rows_at, settled_at) > _SETTLED_SECONDS:
                    break
                assert at - started < timeout, f"{seen} of {total} within {timeout:g} s: {stage.log_tail()}"
                assert stage.is_alive(), "the worker ended"
                time.sleep(_FINE_SAMPLE_SECONDS if total - seen < total // 10 else _SAMPLE_SECONDS)
        with Progress(f"{stage.name}: checking rows and rollups"):
            rollups_at, rollups = _rolled_up(stage, timeline)
            _check_rows(stage, history)
        finished = max(rows_at, rollups_at)
        parts = stage.rows(
            "SELECT count() AS n FROM system.parts WHERE active AND table = 'post_snapshots_store' "
            "AND database = currentDatabase()"
        )
        return Measured(
            snapshots=total - before,
            seconds=finished - started,
            snapshots_seconds=rows_at - started,
            cpu_seconds=cpu,
            resident_mib=[_resident(samples, share * total) for share in (0.25, 0.5, 1.0)],
            rollups=rollups,
            parts=int(parts[0]["n"]),
        )
    finally:
        ends.close()


def _stored(stage: Stage) -> int:
    return int(stage.clickhouse.command("SELECT count() FROM post_snapshots_store"))  # type: ignore[arg-type]


def _resident(samples: list[tuple[float, int, float]], snapshots: float) -> float:
    return next((mib for _, seen, mib in samples if seen >= snapshots), samples[-1][2])


class _CommittedEnds:
    """Ends of the partitions of `rollups.posts` as readers of committed messages see them."""

    def __init__(self, stage: Stage) -> None:
        self._topic = stage.settings.topic(ROLLUPS)
        self._consumer = Consumer(
            {
                "bootstrap.servers": stage.settings.kafka_bootstrap,
                "group.id": f"{stage.name}-ends",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "log_level": 0,
            }
        )

    def now(self) -> tuple[int, ...]:
        """One offset a partition: everything below is committed."""
        return tuple(
            int(self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout=10)[1])
            for number in range(PARTITIONS)
        )

    def messages(self, ends: tuple[int, ...]) -> list[Message]:
        """Everything committed up to there."""
        self._consumer.assign([TopicPartition(self._topic, number, 0) for number in range(PARTITIONS)])
        found: list[Message] = []
        open_partitions = {number for number, end in enumerate(ends) if end > 0}
        deadline = time.monotonic() + 60
        while open_partitions:
            assert time.monotonic() < deadline, f"{self._topic} could not be read to its end"
            found += [message for message in self._consumer.consume(10_000, 0.2) if message.error() is None]
            for place in self._consumer.position([TopicPartition(self._topic, n) for n in open_partitions]):
                if place.offset >= ends[place.partition]:
                    open_partitions.discard(place.partition)
        return found

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()


def _rolled_up(stage: Stage, timeline: list[tuple[float, tuple[int, ...]]]) -> tuple[float, int]:
    """When the last post's final rollup became readable, and how many there are; checks that each is right."""
    ends = _CommittedEnds(stage)
    try:
        messages = ends.messages(timeline[-1][1])
    finally:
        ends.close()
    last: dict[str, Message] = {(message.key() or b"").decode(): message for message in messages}
    codec = stage.registry.record_codec(ROLLUPS)
    workload, needed = stage.workload, [0] * PARTITIONS
    for channel in range(workload.channels):
        newest = stage.start + _last_event(workload, channel)
        for number in range(workload.per_event):
            message = last[f"{workload.workspace(channel)}/p{channel}-{number}"]
            record = codec.decode(message.value() or b"")
            assert instant(record["captured_at"]) == newest, f"an older total stayed for p{channel}-{number}"
            assert record["impressions"] is not None
            needed[message.partition() or 0] = max(needed[message.partition() or 0], message.offset() or 0)
    readable = next(at for at, seen in timeline if all(end > offset for end, offset in zip(seen, needed, strict=True)))
    return readable, len(messages)


def _last_event(workload: Workload, channel: int) -> int:
    """Number of the newest event of a channel."""
    return channel + (workload.events - 1 - channel) // workload.channels * workload.channels


def _check_rows(stage: Stage, history: int) -> None:
    found = stage.rows("SELECT count() AS n, uniqExact(target_id) AS targets FROM post_snapshots")[0]
    total = stage.workload.snapshots + history
    assert found["n"] == total, f"{found['n']} snapshots of {total}"
    latest = stage.rows("SELECT count() AS n FROM latest_post_metrics WHERE captured_at IS NOT NULL")[0]["n"]
    assert latest >= stage.workload.channels * stage.workload.per_event, f"{latest} targets have figures"
