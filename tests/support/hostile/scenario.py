"""What the processes of one hostile run are told, and what each counts. JSON files in one folder, nothing else."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# The beginnings of all canaries of a kind: whoever looks for one looks for these bytes.
FILE_MARK = "cnryfile"
TOKEN_MARK = "cnrytoken"
PATH_MARK = "cnrypath"
# Attackers come from loopback addresses of their own where the system has them, so that bounds by address are theirs.
ANALYST_ADDRESS = "127.0.0.66"
HOARDER_ADDRESS = "127.0.0.67"
STRANGER_ADDRESS = "127.0.0.68"
MOST_BREACHES = 50


@dataclass(frozen=True)
class Scenario:
    """One run.

    Attributes:
        folder: takes the processes' reports.
        seconds: how long the attack lasts.
        strength: 1 is what two cores carry beside the tenants; rates grow with it.
        ready: the ready-file.
        outside: folder outside the data folder with canary files, where canary paths must not come to exist.
        listener_port: of a listener on 127.0.0.1 that nobody may connect to.
        tenants: workspaces with normal traffic.
        hoarder: the workspace of the hoarding reader, and its key.
        table_functions: of the engine, all names.
        functions: of the engine, all scalar functions.
    """

    folder: str
    seed: int
    seconds: float
    strength: float
    ready: dict[str, Any]
    outside: str
    data_dir: str
    listener_port: int
    tenants: list[str]
    hoarder: str
    hoarder_key: str
    table_functions: list[str]
    functions: list[str]

    def write(self) -> Path:
        """Put it into its folder; returns the file."""
        path = Path(self.folder) / "scenario.json"
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def read(cls, path: Path) -> Scenario:
        """The inverse of `write`."""
        return cls(**json.loads(path.read_text()))

    def secrets(self) -> list[str]:
        """Secrets of the installation that no attacker may ever be shown."""
        held = json.loads((Path(self.data_dir) / "secrets.json").read_text())
        # Other facts of the folder stand beside them.
        texts = {name: value for name, value in held.items() if isinstance(value, str) and len(value) >= 16}
        return [value for name, value in texts.items() if name != "clickhouse_analyst_password"]


class Tally:
    """What one process sent and what it was answered, by kind; written to its report now and then.

    Args:
        secrets: texts that may be in no answer.
    """

    def __init__(self, path: Path, secrets: list[str]) -> None:
        self._path = path
        self._written_at = 0.0
        self._forbidden = [mark.encode() for mark in (FILE_MARK, TOKEN_MARK, *secrets)]
        self.sent: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.breaches: list[str] = []

    def note(self, kind: str, answer: object) -> None:
        """One attack and its outcome."""
        self.sent[kind] += 1
        self.answers[str(answer)] += 1
        self.write_sometimes()

    def look_into(self, content: bytes, what: str) -> None:
        """Note a breach when an answer holds a secret."""
        if any(secret in content for secret in self._forbidden):
            self.breach(f"a secret was answered to {what}: {content[:300]!r}")

    def breach(self, what: str) -> None:
        """Something that must never be."""
        if len(self.breaches) < MOST_BREACHES:
            self.breaches.append(what)

    def write_sometimes(self) -> None:
        """The report, once a second."""
        if time.monotonic() - self._written_at > 1:
            self.write()

    def write(self, more: Mapping[str, Any] | None = None) -> None:
        """The report, at once."""
        self._written_at = time.monotonic()
        told = {"sent": self.sent, "answers": self.answers, "breaches": self.breaches, **(more or {})}
        unfinished = self._path.with_suffix(".part")
        unfinished.write_text(json.dumps(told))
        os.replace(unfinished, self._path)
