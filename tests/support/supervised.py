"""A supervisor in a process of its own, so that a test can kill it: `python -m tests.support.supervised SCENARIO.json`.

The scenario is `{"folder": ..., "services": [{"name": ..., "code": Python source, "depends_on": [...], "once": false,
"stop_timeout_seconds": 1, "silent_seconds": 2}]}`. A service is ready when `<folder>/<name>.ready` exists; one with
`silent_seconds` is alive while it touches `<folder>/<name>.alive`. The ready-file is `<folder>/ready.json`: name, pid.
The disk counts as full while `<folder>/full` exists.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from infra.embedded.console import say
from infra.embedded.datadir import write_atomically
from infra.embedded.disk import Disk
from infra.embedded.display import LineDisplay
from infra.embedded.errors import EmbeddedError
from infra.embedded.logs import Logs
from infra.embedded.service import Service
from infra.embedded.supervisor import Supervisor


def main(scenario_path: Path) -> int:
    scenario = json.loads(scenario_path.read_text())
    folder = Path(scenario["folder"])
    (folder / "logs").mkdir(exist_ok=True)

    def on_pids(pids: Mapping[str, int]) -> None:
        write_atomically(folder / "ready.json", json.dumps(pids))

    supervisor = Supervisor(
        [_service(folder, described) for described in scenario["services"]],
        logs=Logs(folder / "logs"),
        display=LineDisplay(),
        on_pids=on_pids,
        on_ready=lambda: say("all ready"),
        disk=Disk(folder, free_bytes=lambda held: 0 if (held / "full").exists() else 1 << 40),
    )
    try:
        asyncio.run(supervisor.run())
    except EmbeddedError as error:
        say(f"tidemark: {error}")
        return 1
    return 0


def _service(folder: Path, described: dict[str, Any]) -> Service:
    return Service(
        name=described["name"],
        argv=[sys.executable, "-c", described["code"]],
        environment={**os.environ, "FOLDER": str(folder), "NAME": described["name"]},
        ready=_exists(folder / f"{described['name']}.ready"),
        depends_on=frozenset(described.get("depends_on", [])),
        once=described.get("once", False),
        stop_timeout_seconds=described.get("stop_timeout_seconds", 5),
        start_timeout_seconds=described.get("start_timeout_seconds", 30),
        alive=_is_touched(folder / f"{described['name']}.alive") if "silent_seconds" in described else None,
        silent_seconds=described.get("silent_seconds", 30),
    )


def _exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        return path.exists()  # noqa: ASYNC240 - one stat

    return probe


def _is_touched(path: Path) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        return path.exists() and time.time() - path.stat().st_mtime < 0.5  # noqa: ASYNC240 - one stat

    return probe


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
