"""Cost of a snapshot on top of little and of much history."""

from __future__ import annotations

from benchmarks.chart import Bar
from benchmarks.pipeline import measure
from benchmarks.report import Ratio, Result
from benchmarks.workload import Workload
from tests.support.engines import EmbeddedEngines

DEFAULT_HISTORIES = (200_000, 2_000_000)
FULL_HISTORIES = (1_000_000, 20_000_000)
WANTED = 1.3
_TIMEOUT_SECONDS = 240.0


def run(on: EmbeddedEngines, is_full: bool) -> Result:
    """The pipeline twice, each on a database of its own."""
    histories = FULL_HISTORIES if is_full else DEFAULT_HISTORIES
    workload = Workload(400_000 if is_full else 150_000)
    small, large = (
        measure(on, f"growth_{index}", workload, _TIMEOUT_SECONDS, history) for index, history in enumerate(histories)
    )
    return Result(
        "growth",
        {
            "stored_before": list(histories),
            "small": small.figures(),
            "large": large.figures(),
        },
        [
            Ratio(
                f"CPU a snapshot, {histories[1]:,} / {histories[0]:,} stored",
                large.own_micros / small.own_micros,
                WANTED,
                is_ceiling=True,
            ),
            Ratio("time a snapshot, the same", small.rate / large.rate),
        ],
        [
            "CPU is of the worker, ClickHouse and Kafka together: unlike time it does not depend on what else runs.",
            "The history has a hundred answers a target; its targets' latest figures are stored too.",
        ],
        (
            "Cost of a snapshot as the tables grow",
            "CPU microseconds",
            [
                Bar(f"{histories[0]:,} stored", small.own_micros, "ours"),
                Bar(f"{histories[1]:,} stored", large.own_micros, "ours"),
            ],
        ),
    )
