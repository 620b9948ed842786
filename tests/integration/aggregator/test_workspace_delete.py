"""A workspace deleted for good: nothing of it is left but what retention removes, and others are as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from schemas.events import CatalogTarget
from services.aggregator.audit.run import AuditSettings
from services.aggregator.backup.archive import BackupError
from services.aggregator.erase import run
from services.aggregator.erase.tables import TABLES
from services.aggregator.erase.topics import compacted
from services.runtime.clock import SystemClock
from tests.support.backend import Backend, bluesky_event

EVENTS = 6


def settings_of(backend: Backend) -> AuditSettings:
    told = {name.removeprefix("TIDEMARK_").lower(): value for name, value in backend.environment.items()}
    return AuditSettings.model_validate({name: told[name] for name in AuditSettings.model_fields if name in told})


def fill(backend: Backend, workspace: str) -> None:
    backend.put_channel(workspace, "c1", "bluesky")
    backend.put_post(workspace, "p1", [CatalogTarget("t1", "c1", "", "published", "at://t1")])
    # A message that the aggregator does not read, under a key of the workspace; a backup takes it as it is.
    backend.publish("catalog.tokens", f"{workspace}/c1".encode(), workspace, b"sealed")
    for number in range(EVENTS):
        backend.publish_raw(bluesky_event(workspace, "c1", f"e{number}", {"t1": {"likeCount": number}}))


def held(backend: Backend, workspace: str) -> Mapping[str, Any]:
    """Everything of a workspace: rows of each table, and what compacted topics hold, unread."""
    rows = {
        table: backend.rows(
            f"SELECT count() AS n FROM {table} FINAL WHERE workspace_id = {{w:String}}", {"w": workspace}
        )
        for table in TABLES
    }
    topics = {
        spec.name: sorted(key for key in backend.latest(spec.name) if key.startswith(f"{workspace}/"))
        for spec in compacted()
    }
    return {**rows, **topics}


def deleted(backend: Backend, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.cli", "workspace", "delete", *arguments],
        env={**os.environ, **backend.environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip


def likes(backend: Backend, workspace: str) -> list[dict[str, Any]]:
    return backend.rows("SELECT likes FROM post_totals WHERE workspace_id = {w:String}", {"w": workspace})


def is_gone(backend: Backend, workspace: str) -> bool:
    return not any(count for count in held(backend, workspace).values() if count not in ([], [{"n": 0}]))


def test_a_workspace_is_deleted_for_good(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    for workspace in ("w-goes", "w-goes-not"):
        fill(backend, workspace)
    backend.settle()
    others = held(backend, "w-goes-not")
    assert others["raw_events_store"] == [{"n": EVENTS}]
    # A run that is killed in the middle: keys are gone, rows are there. The next one goes on.
    with monkeypatch.context() as patched:
        patched.setattr(run._Erasure, "_erase_tables", _break_off)
        with pytest.raises(BackupError, match="was killed"):
            run.erase(settings_of(backend), "w-goes", SystemClock(), 60, lambda _: None)
    assert not is_gone(backend, "w-goes")
    proof = run.erase(settings_of(backend), "w-goes", SystemClock(), 60, lambda _: None)
    assert proof.left == 0
    assert set(proof.tables) == set(TABLES)
    assert proof.topics["catalog.tokens"] == 0
    assert proof.removed_rows > EVENTS
    assert proof.kept_until["platform.raw"] > proof.erased_at
    assert is_gone(backend, "w-goes")
    assert held(backend, "w-goes-not") == others
    # The same ids anew: the figures of before are not in the aggregator's memory either.
    backend.put_channel("w-goes", "c1", "bluesky")
    backend.put_post("w-goes", "p1", [CatalogTarget("t1", "c1", "", "published", "at://t1")])
    backend.settle()
    assert likes(backend, "w-goes") == [{"likes": None}]
    backend.publish_raw(bluesky_event("w-goes", "c1", "e0", {"t1": {"likeCount": 1}}))
    backend.settle()
    assert likes(backend, "w-goes") == [{"likes": 1}]


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_nothing_brings_a_deleted_workspace_back(backend: Backend) -> None:
    fill(backend, "w-gone")
    backend.settle()
    refused = deleted(backend, "w-gone")
    assert refused.returncode != 0
    assert "add --yes if that is meant" in refused.stderr
    assert held(backend, "w-gone")["catalog.posts"] == ["w-gone/p1"], "nothing was deleted"
    done = deleted(backend, "w-gone", "--yes", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    proof = orjson.loads(done.stdout)
    assert proof["left"] == 0
    assert proof["kept_until"]["platform.raw"] > proof["erased_at"]
    # The topic of raw events still has its events: neither an audit nor a rebuild takes them for lost ones.
    backend.command("audit", "--grace-seconds", "0")
    backend.command("rebuild")
    assert is_gone(backend, "w-gone")
    again = deleted(backend, "w-gone", "--yes", "--json")
    assert orjson.loads(again.stdout)["removed"] == {"keys": 0, "rows": 0}


def _break_off(_: object) -> None:
    raise BackupError("was killed")


@pytest.mark.long
def test_a_name_that_is_no_workspace_is_refused(backend: Backend) -> None:
    refused = deleted(backend, "w-goes/%", "--yes")
    assert refused.returncode != 0
    (line,) = refused.stderr.splitlines()
    assert "is no workspace id" in line
