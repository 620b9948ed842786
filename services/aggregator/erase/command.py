"""The console side of `tidemark workspace delete`: progress to standard error, the proof to standard output."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import sys
from typing import Any

import orjson

from services.aggregator.audit.run import AuditSettings
from services.aggregator.backup.archive import BackupError
from services.aggregator.erase.run import Proof, erase
from services.aggregator.topic_reader import TopicUnreadable
from services.runtime import stopping
from services.runtime.clock import SystemClock, iso_seconds
from services.runtime.settings import exit_with, load_or_exit
from services.runtime.wording import counted

_NOTES = (
    "backups that were made before hold the workspace until they are deleted; restore none of them on top of this",
    "query APIs keep the ids of what was deleted for 90 days, so that subscribers see the deletion",
    "compacted topics lose the bytes of older messages when Kafka next compacts their segments",
)


def run(workspace_id: str, wait_seconds: float, *, is_json: bool) -> int:
    """Delete a workspace; returns the exit code: 0 once nothing is left but what retention removes."""
    settings = load_or_exit(AuditSettings)
    try:
        proof = erase(settings, workspace_id, SystemClock(), wait_seconds, _show)
    except (BackupError, TopicUnreadable) as error:
        exit_with(str(error), 1)
    except KeyboardInterrupt:
        exit_with("stopped; the command goes on when it is given again", stopping.exit_code())
    if is_json:
        print(orjson.dumps(shown(proof), option=orjson.OPT_INDENT_2).decode())
    else:
        for line in lines(proof):
            print(line)
    return 1 if proof.left else 0


def shown(proof: Proof) -> dict[str, Any]:
    """The proof as JSON."""
    return {
        "workspace_id": proof.workspace_id,
        "erased_at": iso_seconds(proof.erased_at),
        "left": proof.left,
        "topics": proof.topics,
        "tables": proof.tables,
        "kept_until": {topic: iso_seconds(instant) for topic, instant in sorted(proof.kept_until.items())},
        "removed": {"keys": proof.removed_keys, "rows": proof.removed_rows},
        "notes": list(_NOTES),
    }


def lines(proof: Proof) -> list[str]:
    """The proof for people."""
    places = {**proof.topics, **proof.tables}
    said = [f"{place}: {count} left" for place, count in places.items()]
    said += [f"{topic}: until {iso_seconds(at)} by its retention" for topic, at in sorted(proof.kept_until.items())]
    said += [f"note: {note}" for note in _NOTES]
    removed = f"{counted(proof.removed_keys, 'key')} and {counted(proof.removed_rows, 'row')} removed"
    is_done = (
        "deleted for good" if not proof.left else f"NOT deleted yet, {counted(proof.left, 'item')} left: run again"
    )
    return [*said, f"workspace {proof.workspace_id}: {is_done}; {removed}"]


def _show(line: str) -> None:
    print(f"delete: {line}", file=sys.stderr, flush=True)
