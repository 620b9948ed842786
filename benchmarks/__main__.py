"""`make bench`: runs the benchmarks one after the other, writes their results and prints every ratio.

`--only NAME` (repeatable) runs some of them; `BENCH=full` in the environment takes the long ones.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

from benchmarks import (
    avro,
    changes,
    footprint,
    growth,
    machine,
    peers,
    poller_calls,
    poller_simulation,
    reads,
    rebuild,
    sizing_page,
    storage,
    throughput,
    visibility,
)
from benchmarks.report import RESULTS, Result, table
from benchmarks.stage import engines
from tests.support.engines import EmbeddedEngines

BENCHMARKS: dict[str, Callable[[EmbeddedEngines, bool], Result]] = {
    "pipeline": throughput.run,
    "peers": peers.run,
    "storage": storage.run,
    "growth": growth.run,
    "footprint": footprint.run,
    "rebuild": rebuild.run,
    "reads": reads.run,
    "changes": changes.run,
    "poller_calls": poller_calls.run,
    "visibility": visibility.run,
}

WITHOUT_ENGINES: dict[str, Callable[[bool], Result]] = {"poller": poller_simulation.run, "avro": avro.run}


def main(arguments: list[str]) -> int:
    """Returns the exit code: 1 when a benchmark could not be run; a bound that was missed is told, not an error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=[*WITHOUT_ENGINES, *BENCHMARKS], help="run this one; repeatable"
    )
    chosen = parser.parse_args(arguments).only or [*WITHOUT_ENGINES, *BENCHMARKS]
    is_full = os.environ.get("BENCH") == "full"
    # A terminated run stops its engines like one that ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results: list[Result] = []
    failed: list[str] = []
    for name in chosen:
        sys.stderr.write(f"{name}{' (full)' if is_full else ''}\n")
        facts, started = machine.facts(), time.monotonic()
        try:
            if name in WITHOUT_ENGINES:
                result = WITHOUT_ENGINES[name](is_full)
            else:
                with engines() as on:
                    result = BENCHMARKS[name](on, is_full)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        result.write(facts, time.monotonic() - started)
        results.append(result)
    if results:
        # The page on sizes follows from the results.
        sizing_page.main([])
    print(table(results))
    print(f"Written to {RESULTS.parent.name}/{RESULTS.name}; machine: {machine.facts()}")
    if failed:
        print(f"Could not be run: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
