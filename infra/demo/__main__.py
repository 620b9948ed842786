"""Run the demo: start everything, register a tenant, wait for numbers, print and check them, stop everything."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from infra.demo.checks import Checker
from infra.demo.report import Report
from infra.demo.scene import Scene, make_scene
from tidemark_client import TidemarkError

START_SECONDS = 170
NUMBERS_SECONDS = 90
STOP_SECONDS = 20
PROGRESS_SECONDS = 15
SHOWN_LOG_LINES = 10
# In the working folder (git ignores it), since the data folder is removed when the demo ends well.
ANSWERS_FOLDER = Path(".tidemark-demo")


class DemoFailedError(RuntimeError):
    """The demo can't go on; the message names the cause and where to look."""


def main() -> int:
    """Run the demo; returns the exit code, which is 0 only when every compared figure was right."""
    parser = argparse.ArgumentParser(prog="demo", description="Tidemark end to end on this machine, checked.")
    parser.add_argument("--data-dir", type=Path, help="keep the state here instead of a folder that is removed")
    options = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    started = time.monotonic()
    folder = options.data_dir or Path(tempfile.mkdtemp(prefix="tidemark-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    ready_file = folder / "ready.json"
    console.print("[bold]Tidemark demo[/bold]: starting Kafka, registry, ClickHouse, the sandbox and all services")
    # `up` prints the more the longer it takes, so its output goes to a file, and the demo shows its last line at times.
    up_log = folder / "up.log"
    with up_log.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, with arguments of our own
            [sys.executable, "-m", "services.cli", "up", "--data-dir", str(folder), "--ports", "auto", "--sandbox",
             "--ready-file", str(ready_file)],
            stdout=log, stderr=log,
            # With a session of its own, Ctrl-C reaches this process alone, which then stops `up` cleanly.
            start_new_session=True,
        )  # fmt: skip
    answers = (options.data_dir or ANSWERS_FOLDER) / "answers.txt"
    report = Report(console, answers)
    passed = False
    try:
        _wait(
            console, process, "the services", START_SECONDS, ready_file.exists,
            lambda: "".join(_last_lines(up_log, 1)) or "nothing printed yet",
        )  # fmt: skip
        ready = json.loads(ready_file.read_text(encoding="utf-8"))
        console.print(f"all is ready after {time.monotonic() - started:.0f} s; query API {ready['query_api']}")
        _show(console, process, ready, report)
        report.finish()
        passed = not report.wrong and report.compared > 0
    except (DemoFailedError, TidemarkError, httpx.HTTPError, RuntimeError) as error:
        console.print(f"\n[red]demo failed:[/red] {escape(str(error))}\nlogs: {up_log} and {folder / 'logs'}")
        for line in _last_lines(up_log, SHOWN_LOG_LINES):
            console.print(escape(f"  {line}"))
    except KeyboardInterrupt:
        console.print("\ninterrupted")
    finally:
        _stop(console, process)
    report.show_differences()
    if report.compared:
        console.print(f"every answer whole, and every comparison: {answers}")
    seconds = time.monotonic() - started
    if passed:
        console.print(f"[green]{report.compared} figures, all as the sandbox served them[/green], in {seconds:.0f} s")
        if options.data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if passed else 1


def _last_lines(log: Path, number: int) -> list[str]:
    """The last `number` lines of a log that are not empty."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-number:]


def _show(console: Console, process: subprocess.Popen[bytes], ready: dict[str, Any], report: Report) -> None:
    scene: Scene = make_scene()
    channels = len(scene.platforms)
    checker = Checker(ready, scene, report)
    try:
        checker.register()
        console.print(
            f"registered {len(scene.post_ids)} posts with {len(scene.targets)} targets on {channels} channels"
        )
        total = len(scene.targets)
        _wait(
            console, process, f"numbers of {total} targets", NUMBERS_SECONDS,
            lambda: checker.measured() >= total, lambda: f"{checker.measured()} of {total} measured",
        )  # fmt: skip
        _wait(
            console, process, f"figures of {channels} channels", NUMBERS_SECONDS,
            lambda: checker.followed() >= channels,
            lambda: f"{checker.followed()} of {channels} known",
        )  # fmt: skip
        checker.check_all(checker.followers())
    finally:
        checker.close()


def _wait(
    console: Console,
    process: subprocess.Popen[bytes],
    what: str,
    seconds: float,
    condition: Callable[[], bool],
    progress: Callable[[], str] | None = None,
) -> None:
    """Wait for a condition, and print the progress now and then.

    Raises:
        DemoFailedError: the time is up, or `tidemark up` ended.
    """
    started = told_at = time.monotonic()
    while not condition():
        now = time.monotonic()
        if process.poll() is not None:
            raise DemoFailedError(f"tidemark up ended with exit code {process.returncode}")
        if now - started > seconds:
            raise DemoFailedError(f"{what}: not within {seconds:.0f} s ({progress() if progress else 'not ready'})")
        if progress is not None and now - told_at > PROGRESS_SECONDS:
            console.print(escape(f"waiting for {what}: {progress()}"))
            told_at = now
        time.sleep(0.2)


def _stop(console: Console, process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    console.print("\nstopping everything")
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
