"""Finds addresses: in the environment, else in the data folder of a running `tidemark up`.

Nothing is guessed: a part without an address is shown as unknown, with the name of its setting.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.runtime.settings import ENV_PREFIX, SettingsError

# Written by `tidemark up` while it runs: {"services": {name: origin}, "environment": {setting: value}}.
RUNNING_FILE = "running.json"
PID_FILE = "up.pid"
# Whoever names one of these means an installation of its own, and gets nothing of another.
_PLACES = frozenset(
    f"{ENV_PREFIX}{name}" for name in ("KAFKA_BOOTSTRAP", "SCHEMA_REGISTRY_URL", "CLICKHOUSE_URL", "QUERY_API_URL")
)


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses that are known.

    Attributes:
        services: operators' origin by name; a name may be numbered, as `aggregator-2`.
        environment: settings of the engines, `TIDEMARK_*`.
        supervisor_pid: of a running `tidemark up` on the data folder.
    """

    services: dict[str, str]
    environment: dict[str, str]
    supervisor_pid: int | None


def find(data_dir: Path, environment: Mapping[str, str]) -> Addresses:
    """The addresses of the folder and of the environment; the environment wins.

    Raises:
        SettingsError: TIDEMARK_STATUS_TARGETS is no list of name=URL.
    """
    running, pid = _running(data_dir)
    services = dict(running.get("services", {}))
    told = {**running.get("environment", {}), **_settings_of(environment)}
    if targets := told.get("TIDEMARK_STATUS_TARGETS"):
        services = parse_targets(targets)
    return Addresses(services, told, pid)


def adopted(data_dir: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that a command takes over from a running `tidemark up`.

    Returns:
        those that the environment does not name itself; {} when nothing runs on the folder, or when the environment
        names an address of its own: a command never mixes two installations.
    """
    told = _settings_of(environment)
    if _PLACES & told.keys():
        return {}
    running, _ = _running(data_dir)
    return {name: value for name, value in running.get("environment", {}).items() if name not in told}


def parse_targets(text: str) -> dict[str, str]:
    """`aggregator-0=http://host:port,poller=...` as origins by name.

    Raises:
        SettingsError: naming the part that is none.
    """
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, url = part.partition("=")
        if not name or not url.startswith(("http://", "https://")):
            raise SettingsError(f"TIDEMARK_STATUS_TARGETS: {part!r} is not name=http://host:port")
        found[name] = url.rstrip("/")
    return found


def _settings_of(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(ENV_PREFIX) and value}


def _running(data_dir: Path) -> tuple[Mapping[str, Any], int | None]:
    """What the folder's `up` notes of itself, and its pid; nothing once it has ended, however it ended."""
    try:
        pid = int((data_dir / PID_FILE).read_text(encoding="utf-8"))
        os.kill(pid, 0)
        found = json.loads((data_dir / RUNNING_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}, None
    return (found if isinstance(found, dict) else {}), pid
