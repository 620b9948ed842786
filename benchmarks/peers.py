"""The pipeline beside a peer on the same events: Quix Streams with inserts.

The peer only maps and stores snapshots. The pipeline also stores raw events, latest figures and totals, publishes what
changed, and counts a repeated event once. ClickHouse's own Kafka engine, with a view that maps, would be another peer;
the embedded engine makes no such table: its pool for message brokers has no thread
(`background_message_broker_schedule_pool_size` is 0, whatever the configuration says).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.chart import Bar
from benchmarks.pipeline import measure
from benchmarks.progress import Progress
from benchmarks.quix_streams import VERSION
from benchmarks.report import Ratio, Result
from benchmarks.stage import Stage, contestant
from benchmarks.workload import Workload
from tests.support.engines import EmbeddedEngines

DEFAULT_SNAPSHOTS = 300_000
FULL_SNAPSHOTS = 3_000_000
_TIMEOUT_SECONDS = 240.0


def run(on: EmbeddedEngines, is_full: bool) -> Result:
    """Both, one after the other."""
    workload = Workload(FULL_SNAPSHOTS if is_full else DEFAULT_SNAPSHOTS)
    timeout = _TIMEOUT_SECONDS * (5 if is_full else 1)
    ours = measure(on, "peers_pipeline", workload, timeout)
    stage = Stage(on, "peers", workload)
    try:
        stage.prefill_events()
        environment = {**os.environ, **stage.environment}
        with tempfile.TemporaryDirectory(prefix="tidemark-quix-") as folder:
            with Progress(f"installing Quix Streams {VERSION}"):
                _install(Path(folder))
            with Progress("Quix Streams"):
                quix = contestant(
                    "benchmarks.quix_streams",
                    [str(timeout), str(workload.events)],
                    timeout + 60,
                    {**environment, "TIDEMARK_BENCH_QUIX": folder},
                )
    finally:
        stage.close()
    assert quix["snapshots"] >= workload.snapshots, f"Quix Streams: {quix['snapshots']} of {workload.snapshots}"
    return Result(
        "peers",
        {"pipeline": ours.figures(), "quix_streams": quix},
        [
            Ratio("snapshots/s, pipeline / Quix Streams", ours.rate / quix["snapshots_per_second"]),
            Ratio(
                "CPU a snapshot, Quix Streams / the pipeline's worker",
                quix["cpu_microseconds_per_snapshot"] / ours.micros("aggregator"),
            ),
        ],
        [
            "Quix Streams maps and stores snapshots alone. The pipeline also stores raw events, latest figures and "
            "totals, publishes rollups and snapshots in transactions, and counts a repeated event once.",
            f"Quix Streams {VERSION} has no sink for ClickHouse; the contestant's is its BatchingSink with an insert.",
            "CPU of Quix Streams is its process alone, without ClickHouse's part of the inserts.",
        ],
        (
            "Post snapshots, 50 an event",
            "snapshots/s",
            [
                Bar("pipeline", ours.rate, "ours"),
                Bar("Quix Streams, inserts", quix["snapshots_per_second"]),
            ],
        ),
    )


def _install(folder: Path) -> None:
    """Quix Streams and what it needs, into a folder behind the project's own packages."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(folder)]
    subprocess.run([*command, f"quixstreams=={VERSION}"], check=True, timeout=300)
