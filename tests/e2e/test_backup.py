"""A backup of one installation makes another one that gives the same answers."""

from __future__ import annotations

import base64
import stat
import zipfile
from pathlib import Path

import orjson
import pytest

from tests.support.installations import (
    POSTS,
    TOKEN,
    WORKSPACES,
    answers,
    command,
    difference,
    fill,
    make_keys,
    rows,
    started,
)
from tests.support.waiting import wait_until


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_restored_installation_answers_as_the_lost_one_did(tmp_path: Path) -> None:
    archive = tmp_path / "tidemark.backup"
    with started(tmp_path / "lost") as lost:
        fill(lost)
        keys = make_keys(lost)
        told_before, rows_before = answers(lost, keys), rows(lost)
        said = command(lost, "backup", "create", str(archive))
        assert f"{len(WORKSPACES) * POSTS * 2} raw events" in said
        assert "exists already" in command(lost, "backup", "create", str(archive), code=1)
        assert "this installation is not empty" in command(lost, "backup", "restore", str(archive), code=1)
    holds_no_secret(archive, keys)
    with started(tmp_path / "fresh") as fresh:
        damaged = tmp_path / "damaged"
        damaged.write_bytes(archive.read_bytes()[:-2000])
        (line,) = command(fresh, "backup", "restore", str(damaged), code=1).splitlines()
        assert "cut short or altered; nothing was written" in line
        assert fresh.query("SELECT count() AS n FROM raw_events") == [{"n": 0}]
        command(fresh, "backup", "restore", str(archive))
        command(fresh, "rebuild")
        audited = command(fresh, "audit")
        assert "no differences" in audited
        assert rows(fresh) == rows_before
        wait_until(
            lambda: answers(fresh, keys) == told_before, 20, lambda: difference(answers(fresh, keys), told_before)
        )
        # Goes on as any other: a newer figure counts, and a second restore is refused.
        assert "not empty" in command(fresh, "backup", "restore", str(archive), code=1)
        # On top of itself it changes nothing.
        command(fresh, "backup", "restore", "--force", str(archive))
        assert "no differences" in command(fresh, "audit")
        assert rows(fresh) == rows_before


def holds_no_secret(archive: Path, keys: dict[str, str]) -> None:
    """Neither as it is nor in base64, which topics' values are in, is a token or a key in the archive."""
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with zipfile.ZipFile(archive) as held:
        content = [held.read(name) for name in held.namelist()]
        lines = [line for name in held.namelist() if name.endswith(".ndjson") for line in held.read(name).splitlines()]
        assert held.read("topics/catalog.tokens.ndjson").count(b"\n") == len(WORKSPACES)
    values = [base64.b64decode(value) for line in lines if (value := orjson.loads(line)["v"])]
    for secret in (TOKEN, *keys.values()):
        assert not [part for part in (*content, *values) if secret.encode() in part]
