"""`tidemark rebuild` of what one worker has just taken in, against the pace at which that worker took it in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from benchmarks.chart import Bar
from benchmarks.progress import Progress
from benchmarks.report import Ratio, Result
from benchmarks.stage import Stage
from benchmarks.workload import Workload
from infra.embedded.processes import tied
from tests.support.engines import EmbeddedEngines

DEFAULT_SNAPSHOTS = 300_000
FULL_SNAPSHOTS = 5_000_000
WANTED = 1.0
# Sums over everything that a rebuild makes anew; the two generations have to agree on all of them.
_FINGERPRINTS = {
    "post_snapshots": "SELECT count() AS n, sum(cityHash64(target_id, event_id, likes, impressions, clicks)) AS hash "
    "FROM post_snapshots",
    "latest_post_metrics": "SELECT count() AS n, sum(cityHash64(target_id, post_id, channel_id, captured_at, likes, "
    "impressions, shares, clicks, engagements)) AS hash FROM latest_post_metrics",
    "post_totals": "SELECT count() AS n, sum(cityHash64(post_id, captured_at, likes, impressions, shares, "
    "engagements)) AS hash FROM post_totals",
}


def run(on: EmbeddedEngines, is_full: bool) -> Result:
    """Take in, rebuild with the worker running beside, compare what came out."""
    workload = Workload(FULL_SNAPSHOTS if is_full else DEFAULT_SNAPSHOTS, workspaces=40)
    timeout = 300.0 * (10 if is_full else 1)
    stage = Stage(on, "rebuild", workload)
    try:
        stage.prefill_catalog()
        with Progress("rebuild: the worker reads the catalog"), stage.aggregator():
            pass
        stage.prefill_events()
        with stage.aggregator():
            live = _taken_in(stage, timeout)
            before = _fingerprints(stage)
            folded, seconds = _rebuilt(stage, timeout)
            after = _fingerprints(stage)
    finally:
        stage.close()
    assert after == before, f"the rebuild ended in other numbers: {before} became {after}"
    rate = workload.snapshots / folded
    return Result(
        "rebuild",
        {
            "snapshots": workload.snapshots,
            "live_snapshots_per_second": live,
            "rebuild_snapshots_per_second": rate,
            "folded_seconds": folded,
            "whole_seconds": seconds,
        },
        [
            Ratio("snapshots/s, rebuild / live", rate / live, WANTED),
            Ratio("the same, handover and swap included", workload.snapshots / seconds / live),
        ],
        [
            "The rebuild's pace is from the command's start until all history is folded. Handover and swap take some "
            "20 s whatever the size: owners look for it every 10 s, and the old rows stay for queries under way.",
            "The worker runs beside it and has nothing else to do.",
            "Rows of both generations are compared by hashes over all of them: equal.",
        ],
        (
            "Mapping history anew",
            "snapshots/s",
            [Bar("rebuild", rate, "ours"), Bar("live", live)],
        ),
    )


def _taken_in(stage: Stage, timeout: float) -> float:
    """Wait until the worker has stored everything; returns snapshots a second."""
    total = stage.workload.snapshots
    with Progress("rebuild: the worker takes the events in") as progress:
        started, before = time.monotonic(), _stored(stage)
        while (seen := _stored(stage)) < total:
            assert time.monotonic() - started < timeout, f"{seen} of {total}: {stage.log_tail()}"
            progress.show(f"{seen:,} of {total:,}")
            time.sleep(0.1)
        pace = (total - before) / (time.monotonic() - started)
        stage.settle()
    return pace


def _stored(stage: Stage) -> int:
    return int(stage.rows("SELECT count() AS n FROM post_snapshots_store WHERE generation = 0")[0]["n"])


def _fingerprints(stage: Stage) -> dict[str, list[dict[str, Any]]]:
    return {name: stage.rows(query) for name, query in _FINGERPRINTS.items()}


def _rebuilt(stage: Stage, timeout: float) -> tuple[float, float]:
    """Run the command; returns the seconds until all history was folded, and those of the whole."""
    with (
        Progress(f"rebuild: {stage.workload.snapshots:,} snapshots anew"),
        (stage.logs / "rebuild.log").open("wb") as log,
    ):
        started = time.monotonic()
        running = subprocess.Popen(
            tied([sys.executable, "-m", "services.cli", "rebuild"]),
            env={**os.environ, **stage.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        folded = 0.0
        try:
            while running.poll() is None:
                assert time.monotonic() - started < timeout, "the rebuild takes too long"
                if not folded and stage.rows("SELECT 1 FROM rebuilds WHERE state IN ('handover', 'done')"):
                    folded = time.monotonic() - started
                time.sleep(0.1)
        finally:
            if running.poll() is None:
                running.kill()
        assert running.returncode == 0, stage.log_tail("rebuild")
        return folded, time.monotonic() - started
