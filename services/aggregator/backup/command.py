"""The console side of `tidemark backup`: settings, lines of progress, an exit code."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from schemas.kafka_rights import Names
from services.aggregator.audit.run import AuditSettings
from services.aggregator.backup.archive import BackupError, Manifest
from services.aggregator.backup.create import create
from services.aggregator.backup.restore import Lost, restore
from services.aggregator.backup.workspace import export
from services.aggregator.topic_reader import TopicUnreadable
from services.runtime import stopping
from services.runtime.brokers import BrokersUnavailable
from services.runtime.clock import SystemClock
from services.runtime.patience import saying
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import exit_with, load_or_exit
from services.runtime.wording import counted

_LINE_SECONDS = 2.0
_SILENT_SECONDS = 8.0
_NOTHING_MADE = "no file was made"


class BackupSettings(AuditSettings):
    """Settings of `tidemark backup`: the audit's, and under which group notifiers keep their positions."""

    notifier_group: str = Names().notifier_group


class _Lines:
    """Shows progress: a line at most every two seconds."""

    def __init__(self) -> None:
        self.last = "backup: starting"
        self._told_at = 0.0

    def show(self, line: str) -> None:
        """Note a line, and print it when the last one is two seconds old."""
        self.last = f"backup: {line}"
        now = time.monotonic()
        if now - self._told_at >= _LINE_SECONDS:
            self._told_at = now
            print(self.last, file=sys.stderr, flush=True)  # noqa: T201 - a command line prints


def run_create(path: Path, wait_seconds: float) -> int:
    """Make a backup; returns the exit code."""
    settings = load_or_exit(BackupSettings)
    manifest = _told(lambda show: create(settings, path, SystemClock(), wait_seconds, show), _NOTHING_MADE)
    print(f"{path}: {_content(manifest)}, {counted(path.stat().st_size, 'byte')}")  # noqa: T201 - likewise
    return 0


def run_restore(path: Path, *, is_forced: bool, lost: str) -> int:
    """Restore a backup; returns the exit code.

    Args:
        lost: a value of `Lost`.
    """
    settings = load_or_exit(BackupSettings)
    unknown: list[str] = []
    what = Lost(lost)
    manifest = _told(
        lambda show: restore(settings, path, is_forced=is_forced, show=show, lost=what, tell=unknown.append),
        "the restore goes on when the command is given again",
    )
    for line in unknown:
        print(line)  # noqa: T201 - likewise
    if what is Lost.REGISTRY:
        print(f"restored the ids of {counted(len(manifest.subjects), 'schema')}, of {manifest.created_at}")  # noqa: T201 - likewise
        return 0
    print(f"restored {_content(manifest, what)}, of {manifest.created_at}")  # noqa: T201 - likewise
    print("next: `tidemark rebuild` makes all numbers from it, then `tidemark audit`")  # noqa: T201 - likewise
    return 0


def run_export(workspace: str, path: Path) -> int:
    """Export one workspace; returns the exit code."""
    settings = load_or_exit(AuditSettings)
    manifest = _told(lambda show: export(settings, workspace, path, SystemClock(), show), _NOTHING_MADE)
    held = ", ".join(f"{member.name} {member.count}" for member in manifest.members)
    print(f"{path}: {held}")  # noqa: T201 - likewise
    return 0


def _told(work: Callable[[Callable[[str], None]], Manifest], when_stopped: str) -> Manifest:
    lines = _Lines()
    try:
        with saying(lambda: lines.last, every_seconds=_SILENT_SECONDS):
            return work(lines.show)
    except (BackupError, TopicUnreadable, BrokersUnavailable, RegistryUnavailable) as error:
        exit_with(str(error), 1)
    except KeyboardInterrupt:
        exit_with(f"stopped; {when_stopped}", stopping.exit_code())


def _content(manifest: Manifest, lost: Lost = Lost.EVERYTHING) -> str:
    raw = sum(member.count for member in manifest.members if member.name.endswith(".parquet"))
    messages = sum(member.count for member in manifest.members) - raw
    said = {Lost.KAFKA: counted(messages, "message"), Lost.CLICKHOUSE: counted(raw, "raw event")}
    return said.get(lost, f"{counted(raw, 'raw event')} and {counted(messages, 'message')}")
