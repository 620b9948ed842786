"""One poller process as fast as it can, against the sandbox in another process, over real HTTP and onto real Kafka."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks import reads_load
from benchmarks.chart import Bar
from benchmarks.machine import Usage
from benchmarks.progress import Progress
from benchmarks.report import Ratio, Result
from infra.sandbox.ids import make_id
from schemas.tiers import COMMON, MILLIS_PER_HOUR
from services.runtime.secrets import TokenPair
from tests.support.engines import EmbeddedEngines
from tests.support.loopback import LOOPBACK
from tests.support.pollers import PARTITIONS, Pollers, now_ms
from tests.support.waiting import wait_until

SECONDS = 45.0
FULL_SECONDS = 600.0
WARM_SECONDS = 10.0
WANTED_RATE = 400
WANTED_MEMORY = 1.05
# The sandbox closes what is idle for 5 s; the poller uses the connection again that it used last.
WANTED_CALLS_A_CONNECTION = 50
# Of these the sandbox's headers leave room for a call a second and token; the limits of our app are set aside.
PLATFORMS = {"x": "", "youtube": "data=100000000/3600", "reddit": "api=100000000/3600"}
CHANNELS = 200
POSTS = 25
INTERVAL_SECONDS = 0.8
_ALONE_SECONDS = 5.0
_SAMPLE_SECONDS = 0.5


def run(on: EmbeddedEngines, is_full: bool) -> Result:
    """Everything is always due, so what is measured is what the process manages."""
    seconds = FULL_SECONDS if is_full else SECONDS
    pollers = Pollers(
        on,
        "poller_calls.",
        on.folder / "logs",
        {
            "TIDEMARK_POLL_SPEED": str(COMMON.tiers[0][1] / 1000 / INTERVAL_SECONDS),
            **{f"TIDEMARK_{name.upper()}_LIMITS": limits for name, limits in PLATFORMS.items() if limits},
        },
    )
    try:
        alone = _sandbox_alone(pollers, on.folder)
        with Progress(f"the catalog of {len(PLATFORMS) * CHANNELS} channels"):
            _register(pollers)
        pollers.start("one")
        with Progress("the poller starts"):
            pollers.wait_until_ready("one", PARTITIONS, 60)
        found = _measure(pollers, on, seconds)
    finally:
        pollers.close()
    return _result(found, alone)


def _register(pollers: Pollers) -> None:
    for platform in PLATFORMS:
        for channel in range(CHANNELS):
            workspace = f"w{channel}"
            pollers.put_channel(workspace, platform, platform, TokenPair(f"sandbox-token-{platform}-{channel}"))
            for post in range(POSTS):
                number = channel * POSTS + post
                pollers.put_post(workspace, f"{platform}{post}", platform, platform, number, MILLIS_PER_HOUR)
        pollers.flush()


def _sandbox_alone(pollers: Pollers, folder: Path) -> float:
    """Calls a second of the sandbox when wrk asks it for the same number of posts."""
    ids = ",".join(make_id("x", now_ms() - MILLIS_PER_HOUR, number) for number in range(POSTS))
    path = f"/2/tweets?ids={ids}&tweet.fields=public_metrics&n=%d"
    tokens = [f"sandbox-alone-{number}" for number in range(100)]
    with Progress(f"the sandbox alone: {_ALONE_SECONDS:g} s"):
        load = reads_load.run(
            reads_load.generator(), folder, pollers.sandbox_url, path, reads_load.Posts(1000, tokens), _ALONE_SECONDS
        )
    return load.rate


def _measure(pollers: Pollers, on: EmbeddedEngines, seconds: float) -> dict[str, Any]:
    pids = {"poller": pollers.pid("one"), "sandbox": pollers.sandbox_pid, "kafka": on.child("kafka").pid}
    with Progress(f"polling: {seconds:g} s after {WARM_SECONDS:g} s") as progress:
        _until(time.monotonic() + WARM_SECONDS)
        usage, before, started = Usage(pids), _counts(pollers), time.monotonic()
        while (passed := time.monotonic() - started) < seconds:
            usage.note_memory()
            progress.show(f"{passed:.0f} s")
            _until(min(time.monotonic() + _SAMPLE_SECONDS, started + seconds))
        after, took, used = _counts(pollers), time.monotonic() - started, usage.cpu_seconds()
    calls = after["total"] - before["total"]
    memory = usage.resident["poller"]
    quarter = max(1, len(memory) // 4)
    return {
        "calls": calls,
        "seconds": took,
        "calls_per_second": calls / took,
        "posts_a_call": POSTS,
        "not_answered_200": _failed(after) - _failed(before),
        "connections_opened": after["connections"] - before["connections"],
        "calls_a_connection": calls / max(1, after["connections"] - before["connections"]),
        "cores": {name: share / took for name, share in used.items()},
        "poller_cpu_milliseconds_per_call": used["poller"] / calls * 1000,
        "memory_mib": {"first": memory[0] / 2**20, "last": memory[-1] / 2**20, "most": max(memory) / 2**20},
        "memory_growth": statistics.median(memory[-quarter:]) / statistics.median(memory[:quarter]),
    }


def _until(at: float) -> None:
    wait_until(lambda: time.monotonic() >= at, at - time.monotonic() + 60, "time passes")


def _counts(pollers: Pollers) -> dict[str, Any]:
    reply = LOOPBACK.get(f"{pollers.sandbox_url}/_sandbox/calls", params={"limit": 0}, timeout=30)
    found: dict[str, Any] = reply.raise_for_status().json()
    return found


def _failed(counts: dict[str, Any]) -> int:
    return sum(count["count"] for count in counts["counts"] if count["status"] != 200)


def _result(found: dict[str, Any], alone: float) -> Result:
    rate, cores = found["calls_per_second"], found["cores"]
    return Result(
        "poller_calls",
        {"poller": found, "sandbox_alone_calls_per_second": alone},
        [
            Ratio("calls/s of one process", rate, WANTED_RATE),
            Ratio("calls a second of its processor time", rate / cores["poller"], WANTED_RATE),
            Ratio("of what the sandbox answers alone", rate / alone),
            Ratio("memory, last quarter / first quarter", found["memory_growth"], WANTED_MEMORY, is_ceiling=True),
            Ratio("calls a connection opened meanwhile", found["calls_a_connection"], WANTED_CALLS_A_CONNECTION),
            Ratio("cores that the process used", cores["poller"], 1.0, is_ceiling=True),
        ],
        [
            "Every call is about 25 posts, or one channel; its answer is published and confirmed by Kafka.",
            "The sandbox makes up every answer in one process and shares the machine with the poller and Kafka: where "
            "the poller uses less than a core, the others held it back, and its calls a second of processor time are "
            "what one core would do.",
            "Connections are counted by the sandbox, from the end of the warm-up on.",
        ],
        (
            "Platform calls, one poller process",
            "calls/s",
            [
                Bar("poller", rate, "ours"),
                Bar("poller, a second of its processor time", rate / cores["poller"], "ours"),
                Bar("the sandbox alone, asked by wrk", alone, "bound"),
            ],
        ),
    )
