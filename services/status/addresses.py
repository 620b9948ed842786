"""Finds the addresses of services and engines: in the environment, or in the data folder of a running `tidemark up`.

No address is guessed: a part without one is shown as unknown, with the name of its setting.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.runtime.settings import ENV_PREFIX, SettingsError

# Written by `tidemark up` while it runs: {"services": {name: origin}, "environment": {setting: value}, "roles": {role:
# {setting: value}}}.
RUNNING_FILE = "running.json"
PID_FILE = "up.pid"
# The role whose users ask the engines for their state.
_ROLE = "status"
# An environment that sets one of these names an installation of its own, and takes no address from `tidemark up`.
_PLACES = frozenset(
    f"{ENV_PREFIX}{name}" for name in ("KAFKA_BOOTSTRAP", "SCHEMA_REGISTRY_URL", "CLICKHOUSE_URL", "QUERY_API_URL")
)


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses that were found.

    Attributes:
        services: origin of each service's operators' port, by name; a name may be numbered, as `aggregator-2`.
        environment: settings of the engines, `TIDEMARK_*`.
        supervisor_pid: process id of a running `tidemark up` on the data folder; None when there is none.
    """

    services: dict[str, str]
    environment: dict[str, str]
    supervisor_pid: int | None


@dataclass(frozen=True, slots=True)
class Adopted:
    """What a command takes over from a running `tidemark up`.

    Attributes:
        environment: settings that the environment lacks.
        roles: settings of the users of each service and command, by role; {} where all share one.
    """

    environment: dict[str, str]
    roles: dict[str, dict[str, str]]


def find(data_dir: Path, environment: Mapping[str, str]) -> Addresses:
    """The addresses from the data folder and the environment; the environment wins.

    Raises:
        SettingsError: TIDEMARK_STATUS_TARGETS is not a list of name=URL.
    """
    running, pid = _running(data_dir)
    services = dict(running.get("services", {}))
    own = _settings_of(environment)
    # An environment with an address of its own has users of its own.
    role = {} if _PLACES & own.keys() else running.get("roles", {}).get(_ROLE, {})
    told = {**running.get("environment", {}), **role, **own}
    if targets := told.get("TIDEMARK_STATUS_TARGETS"):
        services = parse_targets(targets)
    return Addresses(services, told, pid)


def adopted(data_dir: Path, environment: Mapping[str, str]) -> Adopted:
    """The settings that a command takes over from a running `tidemark up`.

    Returns:
        the settings that the environment lacks; none when nothing runs on the folder, or when the environment names an
        address of its own, since a command never mixes two installations.
    """
    told = _settings_of(environment)
    if _PLACES & told.keys():
        return Adopted({}, {})
    running, _ = _running(data_dir)
    lacking = {name: value for name, value in running.get("environment", {}).items() if name not in told}
    return Adopted(lacking, running.get("roles", {}))


def parse_targets(text: str) -> dict[str, str]:
    """Parse `aggregator-0=http://host:port,poller=...` to origins by name.

    Raises:
        SettingsError: a part is not name=URL; the message names the part.
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
    """The document of a running `tidemark up` on the folder, and its pid; empty and None when none runs."""
    try:
        pid = int((data_dir / PID_FILE).read_text(encoding="utf-8"))
        os.kill(pid, 0)
        found = json.loads((data_dir / RUNNING_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}, None
    return (found if isinstance(found, dict) else {}), pid
