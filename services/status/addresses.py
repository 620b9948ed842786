"""Where things are: the environment, over what a data folder of `tidemark up` says of itself.

Nothing is guessed: a part without an address is shown as unknown, with the setting that would say it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.runtime.settings import SettingsError

SERVICES = ("poller", "aggregator", "query_api")
_HOST = "127.0.0.1"
_DATABASE = "tidemark"


@dataclass(frozen=True, slots=True)
class Addresses:
    """What is known.

    Attributes:
        services: operators' origin by name; a name may be numbered, as `aggregator-2`.
        environment: settings of the engines, `TIDEMARK_*`.
        supervisor_pid: of a running `tidemark up` on the data folder.
    """

    services: dict[str, str]
    environment: dict[str, str]
    supervisor_pid: int | None


def find(data_dir: Path, environment: Mapping[str, str]) -> Addresses:
    """Put together what the folder and the environment say; the environment wins.

    Raises:
        SettingsError: TIDEMARK_STATUS_TARGETS is no list of name=URL.
    """
    ports: Mapping[str, Any] = _read(data_dir / "ports.json")
    secrets: Mapping[str, Any] = _read(data_dir / "secrets.json")
    pid = _running_pid(data_dir / "up.pid")
    services: dict[str, str] = {}
    told: dict[str, str] = {}
    if pid is not None:
        at = {name: ports.get(f"{name}_metrics") for name in SERVICES}
        services = {name: f"http://{_HOST}:{port}" for name, port in at.items() if port}
        if "kafka" in ports:
            told["TIDEMARK_KAFKA_BOOTSTRAP"] = f"{_HOST}:{ports['kafka']}"
        if "clickhouse" in ports and "clickhouse_password" in secrets:
            password = secrets["clickhouse_password"]
            told["TIDEMARK_CLICKHOUSE_URL"] = f"http://default:{password}@{_HOST}:{ports['clickhouse']}/{_DATABASE}"
    told.update({name: value for name, value in environment.items() if name.startswith("TIDEMARK_") and value})
    if targets := told.get("TIDEMARK_STATUS_TARGETS"):
        services = parse_targets(targets)
    return Addresses(services, told, pid)


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


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _running_pid(path: Path) -> int | None:
    try:
        pid = int(path.read_text(encoding="utf-8"))
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid
