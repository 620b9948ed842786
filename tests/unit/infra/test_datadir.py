"""A data folder is its owner's alone, whatever it was before."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.datadir import DataDir


@pytest.fixture(autouse=True)
def generous_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[Path]:
    paths = [folder, *folder.rglob("*")]
    return [path for path in paths if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_a_new_folder_is_closed(tmp_path: Path) -> None:
    with DataDir(tmp_path / "data") as folder:
        folder.secrets()
        folder.ports(["kafka"], usual=False)
        assert [path.name for path in open_to_others(folder.path)] == []
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(folder.secrets_path.stat().st_mode) == 0o600


def test_a_folder_of_an_earlier_version_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with DataDir(path) as folder:
        secrets = folder.secrets()
    (path / "kafka" / "log" / "topic-0").mkdir(parents=True)
    (path / "kafka" / "log" / "topic-0" / "0.log").write_text("messages")
    (path / "clickhouse" / "store").mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("not ours")
    (path / "clickhouse" / "link").symlink_to(tmp_path / "elsewhere")
    (path / "something-new").write_text("of a later version")
    for found in (path, *path.rglob("*")):
        if not found.is_symlink():
            found.chmod(0o777 if found.is_dir() else 0o666)
    with DataDir(path) as folder:
        assert open_to_others(path) == []
        assert folder.secrets() == secrets
        assert (path / "kafka" / "log" / "topic-0" / "0.log").read_text() == "messages"
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o666


@pytest.mark.parametrize("what", ["a home", "a sticky folder"])
def test_a_folder_that_is_not_ours_alone_keeps_its_mode(tmp_path: Path, what: str) -> None:
    path = tmp_path / "shared"
    path.mkdir()
    (path / "letter.txt").write_text("somebody's")
    path.chmod(0o1777 if what == "a sticky folder" else 0o755)
    before = path.stat().st_mode
    with DataDir(path):
        assert path.stat().st_mode == before
        assert stat.S_IMODE((path / "letter.txt").stat().st_mode) == 0o666
        assert open_to_others(path / "logs") == []
        assert stat.S_IMODE((path / "up.pid").stat().st_mode) == 0o600


def test_a_folder_of_an_earlier_version_may_hold_unbound_tokens(tmp_path: Path) -> None:
    with DataDir(tmp_path) as folder:
        assert folder.secrets().tokens_bound
        held = json.loads(folder.secrets_path.read_text())
        del held["tokens_bound"]
        folder.secrets_path.write_text(json.dumps(held))
        assert not folder.secrets().tokens_bound


def test_a_folder_of_a_version_without_a_builder_gets_its_password_once(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with DataDir(path) as folder:
        made = folder.secrets()
        held = json.loads(folder.secrets_path.read_text())
        del held["clickhouse_builder_password"]
        folder.secrets_path.write_text(json.dumps(held))
        mended = folder.secrets()
        assert len(mended.clickhouse_builder_password) >= 16
        assert mended.clickhouse_builder_password != made.clickhouse_builder_password
        assert folder.secrets() == mended
        kept = json.loads(folder.secrets_path.read_text())
        assert {**kept, "clickhouse_builder_password": ""} == {**held, "clickhouse_builder_password": ""}
        assert stat.S_IMODE(folder.secrets_path.stat().st_mode) == 0o600
