"""The pipeline against its floor and against plain Faust, on the same events, in one run."""

from __future__ import annotations

import os

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from benchmarks.chart import Bar
from benchmarks.pipeline import measure
from benchmarks.plain_faust import START_SECONDS
from benchmarks.progress import Progress
from benchmarks.report import Ratio, Result
from benchmarks.stage import Stage, contestant
from benchmarks.workload import Workload
from tests.support.engines import EmbeddedEngines

DEFAULT_SNAPSHOTS = 500_000
FULL_SNAPSHOTS = 3_000_000
FLOOR_SNAPSHOTS = 300_000
WANTED_RATE = 30_000
WANTED_OF_FLOOR = 0.2
WANTED_OF_PLAIN = 10
WANTED_MEMORY = 1.15
_PIPELINE_TIMEOUT_SECONDS = 240.0
_FLOOR_TIMEOUT_SECONDS = 120.0
_PLAIN_SECONDS = 20.0
_PLAIN_SNAPSHOTS = 200_000
_PLAIN_ATTEMPTS = 3


def run(on: EmbeddedEngines, is_full: bool) -> Result:
    """The floor before and after the pipeline, since a machine's pace changes; then both plain agents."""
    workload = Workload(FULL_SNAPSHOTS if is_full else DEFAULT_SNAPSHOTS)
    floors = [_floor()]
    ours = measure(on, "pipeline", workload, _PIPELINE_TIMEOUT_SECONDS * (5 if is_full else 1))
    floors.append(_floor())
    floor_rate = sum(floor["snapshots_per_second"] for floor in floors) / len(floors)
    floor_micros = sum(floor["cpu_microseconds_per_snapshot"] for floor in floors) / len(floors)
    plain = _plain(on)
    rates = {kind: float(found["snapshots_per_second"]) for kind, found in plain.items()}
    plain_micros = float(plain["table"]["cpu_microseconds_per_snapshot"])
    return Result(
        "pipeline",
        {"pipeline": ours.figures(), "floor": floors, "plain_faust": plain},
        [
            Ratio("snapshots/s", ours.rate, WANTED_RATE),
            Ratio("of the floor", ours.rate / floor_rate, WANTED_OF_FLOOR),
            Ratio("of plain Faust with a Table", ours.rate / rates["table"], WANTED_OF_PLAIN),
            Ratio("of plain Faust that also inserts", ours.rate / rates["insert"]),
            Ratio("memory at the end / half of the way", ours.growth, WANTED_MEMORY, is_ceiling=True),
            Ratio("CPU a snapshot, floor / pipeline with its engines", floor_micros / ours.own_micros),
            Ratio("CPU a snapshot, plain Faust with a Table / worker", plain_micros / ours.micros("aggregator")),
        ],
        [
            "The pipeline's time runs from the worker's readiness to the last row readable and the last rollup stable "
            "for readers of committed messages; what it did before readiness is not counted.",
            "The floor holds the engine in its own process and writes snapshots alone: no raw events, no latest "
            "figures, totals or messages, all of which the pipeline's time includes.",
            "Plain Faust only maps and keeps a Table (with its changelog); its second figure also stores snapshots.",
            "CPU of everything else on the machine is told beside the worker's. Where it is large, a contestant of one "
            "process gets a smaller part of the machine than the pipeline of three, so its rate says little: the "
            "ratios of CPU a snapshot then count.",
        ],
        (
            "Post snapshots, one worker, 50 an event",
            "snapshots/s",
            [
                Bar("pipeline", ours.rate, "ours"),
                Bar("floor: map and insert, no Kafka", floor_rate, "bound"),
                Bar("plain Faust, Table", rates["table"]),
                Bar("plain Faust, Table and inserts", rates["insert"]),
            ],
        ),
    )


def _contestant(stage: Stage, kind: str) -> dict[str, float]:
    """One plain agent; tried again when Faust does not start: it gives up on a coordinator that is not there yet."""
    tried = Retrying(
        stop=stop_after_attempt(_PLAIN_ATTEMPTS), retry=retry_if_exception_type(AssertionError), reraise=True
    )
    return tried(
        contestant,
        "benchmarks.plain_faust",
        [str(_PLAIN_SECONDS), str(_PLAIN_SNAPSHOTS), kind],
        _PLAIN_SECONDS + 2 * START_SECONDS,
        {**os.environ, **stage.environment},
    )


def _floor() -> dict[str, float]:
    with Progress(f"floor: {FLOOR_SNAPSHOTS:,} snapshots"):
        return contestant("benchmarks.floor", [str(FLOOR_SNAPSHOTS), "0"], _FLOOR_TIMEOUT_SECONDS)


def _plain(on: EmbeddedEngines) -> dict[str, dict[str, float]]:
    stage = Stage(on, "plain", Workload(_PLAIN_SNAPSHOTS))
    try:
        stage.prefill_events()
        found = {}
        for kind in ("table", "insert"):
            with Progress(f"plain Faust, {kind}: at most {_PLAIN_SECONDS:g} s"):
                found[kind] = _contestant(stage, kind)
        return found
    finally:
        stage.close()
