"""Clients of other languages, built from their registries in a folder of their own, for tests that run them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOREIGN = Path(__file__).parents[1] / "integration" / "infra" / "foreign"
COMMAND_SECONDS = 420


def built(folder: Path, name: str | None, tools: tuple[str, ...], *commands: list[str]) -> Path:
    """A copy of a client's folder in which its commands ran; skips where a tool or a registry is missing.

    Args:
        name: of the folder in `foreign`; None for a client without files of its own.
    """
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    target = folder / (name or "client")
    if name is None:
        target.mkdir()
    else:
        shutil.copytree(FOREIGN / name, target)
    caches = folder / "caches"
    environment = {
        **os.environ,
        "CARGO_HOME": str(caches / "cargo"),
        "GOCACHE": str(caches / "go"),
        "GOFLAGS": "-modcacherw",
        "GOMODCACHE": str(caches / "gomod"),
        "MAVEN_OPTS": f"-Dmaven.repo.local={caches / 'maven'}",
        "npm_config_cache": str(caches / "npm"),
    }
    for command in commands:
        try:
            done = subprocess.run(
                command,
                cwd=target,
                env=environment,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"{' '.join(command)} took longer than {COMMAND_SECONDS} s")
        if done.returncode:
            pytest.skip(f"{' '.join(command)} failed, as without a registry: {(done.stdout + done.stderr)[-500:]}")
    return target
