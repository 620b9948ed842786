"""What the kernel takes from a confined process, tried in one, and when a process may go on as root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.embedded.clickhouse.__main__ import root_refusal

ROOT = Path(__file__).resolve().parents[3]
TRIED = """
import json, os, socket, sys
from pathlib import Path
from infra.embedded.clickhouse.confinement import confine, needed_to_read
inside, outside = Path(sys.argv[1]), Path(sys.argv[2])
standing = confine(write=[inside], read=needed_to_read())
deeds = {
    "write inside": lambda: (inside / "made").write_text("x"),
    "read inside": lambda: (inside / "made").read_text(),
    "load a module": lambda: __import__("xml.dom.minidom"),
    "pipe by its path": lambda: os.close(os.open(f"/dev/fd/{os.pipe()[1]}", os.O_WRONLY | os.O_TRUNC)),
    "read outside": lambda: (outside / "secret").read_text(),
    "write outside": lambda: (outside / "made").write_text("x"),
    "rename outside": lambda: os.rename(inside / "made", outside / "made"),
    "list outside": lambda: os.listdir(outside),
    "read its environment": lambda: open("/proc/self/environ").read(),
    "socket": lambda: socket.socket(),
    "datagram socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "local socket": lambda: socket.socket(socket.AF_UNIX),
    "give way": lambda: os.setpriority(os.PRIO_PROCESS, 0, 19),
    "stop giving way": lambda: os.setpriority(os.PRIO_PROCESS, 0, 0),
    "go first": lambda: os.setpriority(os.PRIO_PROCESS, 0, -1),
    "be scheduled before all": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "program": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),
}
done = []
for name, deed in deeds.items():
    try:
        deed()
        done.append(name)
    except OSError:
        pass
sys.stdout.write(json.dumps([standing, done]))
"""


def test_a_confined_process_does_its_work_and_nothing_else(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    ran = subprocess.run(
        [sys.executable, "-c", TRIED, str(inside), str(outside)], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    standing, done = json.loads(ran.stdout)
    if {"landlock", "seccomp"} - set(standing):
        pytest.skip(f"this kernel has only {standing}")
    # Only root may let a thread stop giving way.
    back = ["stop giving way"] if os.geteuid() == 0 else []
    assert done == ["write inside", "read inside", "load a module", "pipe by its path", "give way", *back]
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_root_goes_on_only_confined_or_told_so() -> None:
    assert root_refusal(["seccomp"], root=False, allowed=False) is None
    assert root_refusal(["landlock"], root=True, allowed=False) is None
    assert root_refusal([], root=True, allowed=True) is None
    refused = root_refusal(["seccomp", "capabilities"], root=True, allowed=False)
    assert refused is not None
    assert "--allow-root" in refused
