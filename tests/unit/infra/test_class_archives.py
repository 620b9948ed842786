"""Class archives: used only where nobody else can have written them, and made by a process that knows no secret."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from infra.embedded import artifacts, class_archives, jvm
from infra.embedded.up import _of_makers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An engine's files, with an archive beside them."""
    engine = tmp_path / "kafka-0123456789ab"
    engine.mkdir()
    archive = jvm.archive_of(engine)
    archive.write_bytes(b"an archive")
    archive.chmod(0o600)
    return engine


def test_an_archive_is_used_where_there_is_one(folder: Path) -> None:
    options = jvm.archive_options(folder)
    assert options[0] == f"-XX:SharedArchiveFile={jvm.archive_of(folder)}"
    # The JVM goes on without it, and finds a flipped byte before it runs it.
    assert {"-Xshare:auto", "-XX:+VerifySharedSpaces"} <= set(options)
    jvm.archive_of(folder).unlink()
    assert jvm.archive_options(folder) == []


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_an_archive_that_others_can_write_is_not_used(folder: Path, mode: int) -> None:
    jvm.archive_of(folder).chmod(mode)
    assert jvm.archive_options(folder) == []


def test_an_archive_that_lies_elsewhere_is_not_used(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    jvm.archive_of(folder).rename(elsewhere)
    jvm.archive_of(folder).symlink_to(elsewhere)
    assert jvm.archive_options(folder) == []


def test_archives_of_a_cache_that_a_group_could_write_are_gone(folder: Path, tmp_path: Path) -> None:
    artifacts._refuse_if_shared(tmp_path)
    assert jvm.archive_of(folder).exists()
    tmp_path.chmod(0o770)
    artifacts._refuse_if_shared(tmp_path)
    assert not jvm.archive_of(folder).exists()


def test_old_archives_of_other_jvms_go_and_new_ones_stay(folder: Path) -> None:
    held = jvm.archive_of(folder)
    names = (
        "kafka-0123456789ab.old.jsa",
        "kafka-fedcba987654.old.jsa",
        "kafka-0123456789ab.new.jsa",
        "registry-0.old.jsa",
    )
    old, older, new, registry = (held.with_name(name) for name in names)
    for path in (old, older, new, registry):
        path.touch()
    long_ago = time.time() - class_archives.OLD_SECONDS - 1
    for path in (held, old, older, registry):
        os.utime(path, (long_ago, long_ago))
    class_archives._remove_old(held)
    assert set(held.parent.glob("*.jsa")) == {held, new, registry}


def test_whoever_makes_them_knows_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIDEMARK_CACHE_DIR", str(tmp_path))
    told = _of_makers({"PATH": "/bin", "TIDEMARK_ADMIN_KEY": "a-secret", "AWS_SECRET_ACCESS_KEY": "another"})
    assert told == {"PATH": "/bin", "TIDEMARK_CACHE_DIR": str(tmp_path)}


def test_one_process_makes_them_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIDEMARK_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("os.nice", lambda by: by)
    abandoned = tmp_path / ".archive-abc"
    abandoned.mkdir()
    with FileLock(tmp_path / "class-archives.lock"):
        assert class_archives.main([]) == 0
        assert abandoned.exists()
    assert class_archives.main([]) == 0
    assert not abandoned.exists()
