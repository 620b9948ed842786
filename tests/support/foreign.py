"""Clients of other languages, built from their registries in a folder of their own, for tests that run them.

A test of such a client is skipped where a tool of its language is missing, and for nothing else: a build that fails or
takes too long fails the test with what it printed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

FOREIGN = Path(__file__).parents[1] / "integration" / "infra" / "foreign"
COMMAND_SECONDS = 600
_SHOWN_CHARACTERS = 6000


def need(*tools: str) -> None:
    """Skip where a tool is missing."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def with_caches(folder: Path) -> dict[str, str]:
    """This process's environment, in which package managers keep what they fetch in a folder of the test's."""
    return {
        **os.environ,
        "CARGO_HOME": str(folder / "cargo"),
        "GOCACHE": str(folder / "go"),
        # Without it Go makes its modules' folders read-only, and pytest can't delete them.
        "GOFLAGS": "-modcacherw",
        "GOMODCACHE": str(folder / "gomod"),
        "MAVEN_OPTS": f"-Dmaven.repo.local={folder / 'maven'}",
        "PIP_CACHE_DIR": str(folder / "pip"),
        "UV_CACHE_DIR": str(folder / "uv"),
        "npm_config_cache": str(folder / "npm"),
    }


def run(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None, *, seconds: int = COMMAND_SECONDS
) -> str:
    """What a command that must succeed within its time printed on its standard output."""
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        shown = b"".join(stream for stream in (error.stdout, error.stderr) if stream).decode(errors="replace")
        pytest.fail(f"{' '.join(command)} took longer than {seconds} s; it printed:\n{shown[-_SHOWN_CHARACTERS:]}")
    if done.returncode != 0:
        shown = (done.stdout + done.stderr)[-_SHOWN_CHARACTERS:]
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}; it printed:\n{shown}")
    return done.stdout


def built(folder: Path, name: str | None, tools: tuple[str, ...], *commands: list[str]) -> Path:
    """A copy of a client's folder in which its commands ran.

    Args:
        name: of the folder in `foreign`; None for a client without files of its own.
    """
    need(*tools)
    target = folder / (name or "client")
    if name is None:
        target.mkdir()
    else:
        shutil.copytree(FOREIGN / name, target)
    environment = with_caches(folder / "caches")
    for command in commands:
        run(command, target, environment)
    return target
