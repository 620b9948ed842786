"""A release of before, from its commit: its sources, with an environment of its own made by its own `make setup`."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_NAMED = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - [\d-]+\n\nCommit `([0-9a-f]{40})`", re.MULTILINE)


@dataclass(frozen=True)
class Release:
    """One version's sources, and the interpreter that runs them."""

    name: str
    folder: Path
    python: str


THIS = Release("this commit", ROOT, sys.executable)


def last_release(folder: Path) -> Release:
    """The newest release that CHANGELOG.md names, set up in a folder; skips the test where its commit is not known."""
    found = _NAMED.search((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert found is not None, "CHANGELOG.md names the last release and its commit"
    name, commit = found.groups()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.skip(f"needs the commit of {name} ({commit[:7]}): a checkout with its whole history")
    target = folder / name
    target.mkdir()
    subprocess.run(["tar", "xf", "-", "-C", str(target)], input=archive.stdout, check=True)
    made = subprocess.run(["make", "setup"], cwd=target, capture_output=True, text=True, timeout=900, check=False)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    return Release(name, target, str(target / ".venv" / "bin" / "python"))
