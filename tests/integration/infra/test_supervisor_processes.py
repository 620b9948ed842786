"""The supervisor against real processes: restarts, the ready-file, the clean stop, and no orphan whatever happens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.embedded.strain import MOST_PATIENCE
from tests.support.waiting import wait_until

START_SECONDS = 30.0

PREAMBLE = """
import os, pathlib, signal, subprocess, sys, time
folder, name = pathlib.Path(os.environ["FOLDER"]), os.environ["NAME"]
def note(what):
    with (folder / "notes").open("a") as notes:
        notes.write(f"{what} {name}\\n")
def ready():
    note("start")
    (folder / f"{name}.ready").touch()
"""
FOREVER = """
while True:
    time.sleep(60)
"""
POLITE = PREAMBLE + "signal.signal(signal.SIGTERM, lambda *_: (note('stop'), sys.exit(0)))\nready()\n" + FOREVER
STUBBORN = PREAMBLE + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nready()\n" + FOREVER
PARENT = (
    PREAMBLE
    + """
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
grandchild = subprocess.Popen([sys.executable, "-c", code])
(folder / f"{name}.grandchild").write_text(str(grandchild.pid))
ready()
"""
    + FOREVER
)
BROKEN = PREAMBLE + "print('the reason is on this line', flush=True)\nsys.exit(3)\n"
JOB = PREAMBLE + "note('job')\n"


@dataclass
class Run:
    """A supervisor process and what can be seen of it."""

    process: subprocess.Popen[str]
    folder: Path

    def pids(self) -> dict[str, int]:
        try:
            pids: dict[str, int] = json.loads((self.folder / "ready.json").read_text())
        except FileNotFoundError:
            return {}
        return pids

    def wait_ready(self) -> dict[str, int]:
        return wait_until(self.pids, START_SECONDS, "the ready-file")

    def notes(self) -> list[str]:
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def wait_end(self, timeout: float) -> tuple[int, str]:
        _, error = self.process.communicate(timeout=timeout)
        return self.process.returncode, error

    def kill(self, name: str) -> None:
        """SIGKILL a service by its pid in the ready-file, and wait for another pid there."""
        old = self.pids()[name]
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: self.pids()[name] != old, 15, f"another pid of {name} in the ready-file")

    def grandchild(self, name: str) -> int:
        return int((self.folder / f"{name}.grandchild").read_text())


class Runner:
    """Starts supervisors and, at the end of the test, whatever happened, kills them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: list[Run] = []

    def start(self, *services: dict[str, Any]) -> Run:
        scenario = self._folder / "scenario.json"
        scenario.write_text(json.dumps({"folder": str(self._folder), "services": services}))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.supervised", str(scenario)],
            stderr=subprocess.PIPE,
            text=True,
        )
        self._runs.append(Run(process, self._folder))
        return self._runs[-1]

    def close(self) -> None:
        for run in self._runs:
            if run.process.poll() is None:
                run.process.kill()
                run.process.wait()
            if run.process.stderr is not None:
                run.process.stderr.close()


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    started = Runner(tmp_path)
    yield started
    started.close()


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_gone(*pids: int) -> None:
    wait_until(lambda: not any(map(is_alive, pids)), 10, lambda: f"the end of {[p for p in pids if is_alive(p)]}")


def test_sigkill_of_the_supervisor_leaves_no_orphan(runner: Runner) -> None:
    run = runner.start(
        {"name": "a", "code": PARENT},
        {"name": "b", "code": STUBBORN, "depends_on": ["a"]},
        {"name": "c", "code": PARENT},
    )
    pids = run.wait_ready()
    everyone = [*pids.values(), run.grandchild("a"), run.grandchild("c")]
    assert all(map(is_alive, everyone))
    family = psutil.Process(run.process.pid).children(recursive=True)
    run.process.kill()
    wait_gone(*everyone, *(process.pid for process in family))


def test_sigterm_stops_dependents_first_and_within_15_seconds(runner: Runner) -> None:
    run = runner.start(
        {"name": "engine", "code": POLITE},
        {"name": "service", "code": POLITE, "depends_on": ["engine"]},
        {"name": "stubborn", "code": STUBBORN, "depends_on": ["engine"], "stop_timeout_seconds": 1},
        {"name": "parent", "code": PARENT, "depends_on": ["engine"]},
    )
    pids = run.wait_ready()
    grandchild = run.grandchild("parent")
    started_at = time.monotonic()
    run.process.terminate()
    code, output = run.wait_end(15)
    assert code == 0, output
    assert time.monotonic() - started_at < 15
    assert [note for note in run.notes() if note.startswith("stop")] == ["stop service", "stop engine"]
    wait_gone(*pids.values(), grandchild)


def test_services_start_in_order_and_jobs_run_once(runner: Runner) -> None:
    run = runner.start(
        {"name": "service", "code": POLITE, "depends_on": ["job"]},
        {"name": "job", "code": JOB, "depends_on": ["engine"], "once": True},
        {"name": "engine", "code": POLITE},
    )
    assert set(run.wait_ready()) == {"engine", "service"}
    assert run.notes() == ["start engine", "job job", "start service"]


def test_a_killed_service_comes_back_and_the_ready_file_says_so(runner: Runner) -> None:
    run = runner.start({"name": "a", "code": PARENT}, {"name": "b", "code": POLITE})
    before = run.wait_ready()
    old_grandchild = run.grandchild("a")
    for _ in range(4):  # more often than a service that never worked would be tried
        run.kill("a")
    after = run.pids()
    assert after["b"] == before["b"]
    assert is_alive(after["a"])
    wait_gone(before["a"], old_grandchild)
    log = (run.folder / "logs" / "a.log").read_text()
    assert "was killed by SIGKILL" in log
    assert f"a started, pid {after['a']}" in log


def test_giving_up_is_loud_and_stops_everything(runner: Runner) -> None:
    run = runner.start({"name": "fine", "code": PARENT}, {"name": "broken", "code": BROKEN})
    code, output = run.wait_end(30)
    assert code == 1
    (line,) = [line for line in output.splitlines() if line.startswith("tidemark: ")]
    assert "broken exited with code 3, 3 times in a row" in line
    assert str(run.folder / "logs" / "broken.log") in line
    assert "the reason is on this line" in line
    assert "Traceback" not in output
    wait_gone(run.grandchild("fine"))


def test_a_failed_job_stops_everything(runner: Runner) -> None:
    run = runner.start(
        {"name": "job", "code": BROKEN, "once": True}, {"name": "service", "code": POLITE, "depends_on": ["job"]}
    )
    code, output = run.wait_end(30)
    assert code == 1
    assert "job exited with code 3" in output
    assert run.notes() == []


def test_a_service_that_is_never_ready_is_given_up(runner: Runner) -> None:
    deaf = PREAMBLE + FOREVER
    run = runner.start({"name": "deaf", "code": deaf, "start_timeout_seconds": 0.3})
    code, output = run.wait_end(30)
    assert code == 1
    told = re.search(r"deaf was not ready within ([\d.]+) s, 3 times in a row", output)
    assert told is not None, output
    # On an overloaded machine a start has more time.
    assert 0.3 <= float(told[1]) <= 0.3 * MOST_PATIENCE


def test_a_frozen_service_is_named_and_started_anew(runner: Runner) -> None:
    breathing = PREAMBLE + "ready()\nwhile True:\n    (folder / f'{name}.alive').touch()\n    time.sleep(0.05)\n"
    run = runner.start(
        {"name": "frozen", "code": breathing, "silent_seconds": 2},
        {"name": "fine", "code": breathing, "silent_seconds": 2},
    )
    before = run.wait_ready()
    os.kill(before["frozen"], signal.SIGSTOP)
    wait_until(lambda: run.pids()["frozen"] != before["frozen"], 15, "another pid of the frozen service")
    wait_gone(before["frozen"])
    assert run.pids()["fine"] == before["fine"]
    run.process.terminate()
    _, output = run.wait_end(15)
    assert "frozen silent (no answer for" in output
    told = re.search(r"frozen down \(did not answer for (\d+) s and was killed\)", output)
    assert told is not None, output
    # A machine that is busy asks later than it would, but a frozen service has no more time for that.
    assert 2 <= int(told[1]) < 2 * MOST_PATIENCE


@pytest.mark.long
def test_a_full_disk_is_told_and_makes_nobody_give_up(runner: Runner) -> None:
    """What dies of a full disk dies at each start, far more often than a broken service would be tried."""
    fails_on_full = (
        PREAMBLE
        + "if (folder / 'full').exists():\n    sys.exit(1)\nready()\n"
        + ("while not (folder / 'full').exists():\n    time.sleep(0.01)\nsys.exit(1)\n")
    )
    run = runner.start(*({"name": f"s{number}", "code": fails_on_full} for number in range(3)))
    run.wait_ready()
    (run.folder / "full").touch()
    # The supervisor's own files are as full: a ready-file that can't be written, logs that can't.
    wait_until(
        lambda: (run.folder / "logs" / "s0.log").read_text().count("exited with code 1") >= 3, 30, "three deaths"
    )
    (run.folder / "full").unlink()
    old = run.pids()
    wait_until(lambda: all(map(is_alive, run.pids().values())), 15, lambda: f"all run again: {old}")
    run.process.terminate()
    code, output = run.wait_end(15)
    assert code == 0, output
    assert "tidemark: only 0 MB are free on the disk of" in output
    assert "has space again" in output


def test_engines_of_a_killed_test_run_die_with_it(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from tests.support.engines import EmbeddedEngines
engines = EmbeddedEngines(Path({str(tmp_path)!r}))
child = engines.spawn("sleeper", [sys.executable, "-c", {PARENT!r}], {{"FOLDER": {str(tmp_path)!r}, "NAME": "sleeper"}})
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            wait_until((tmp_path / "sleeper.ready").exists, START_SECONDS, "the sleeper")
            grandchild = int((tmp_path / "sleeper.grandchild").read_text())
        finally:
            process.kill()
        wait_gone(pid, grandchild)
