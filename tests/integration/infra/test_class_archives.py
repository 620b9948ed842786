"""A class archive that was made is one that the JVM takes, and a damaged one is as good as none."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.embedded import artifacts, class_archives, jvm

# An archive takes half a minute of processor time to make.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kafka's files in a cache of this file's own, with the archive that was made of them."""
    cache = tmp_path_factory.mktemp("cache")
    kept = artifacts.ensure(artifacts.KAFKA)[artifacts.KAFKA]
    shutil.copytree(kept, cache / kept.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEMARK_CACHE_DIR", str(cache))
        assert class_archives.missing([artifacts.KAFKA]) == [artifacts.KAFKA]
        assert class_archives.make(artifacts.KAFKA)
        assert class_archives.missing([artifacts.KAFKA]) == []
    assert [path.name for path in cache.glob(".*")] == []
    return cache / kept.name


def _run(folder: Path, scratch: Path, share: str) -> subprocess.CompletedProcess[str]:
    """A program of Kafka that ends; with `on` the JVM refuses to run without the archive."""
    options = [option.replace("-Xshare:auto", f"-Xshare:{share}") for option in jvm.archive_options(folder)]
    assert options
    command = jvm.java_command(64, scratch, *options, "-cp", f"{folder}/*", "kafka.tools.StorageTool", "random-uuid")
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_jvm_takes_it(folder: Path, tmp_path: Path) -> None:
    assert jvm.archive_of(folder).stat().st_mode & 0o077 == 0
    ran = _run(folder, tmp_path, "on")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "cds" not in ran.stdout + ran.stderr


def _cut(held: bytes) -> bytes:
    return held[: len(held) // 2]


def _flipped(held: bytes) -> bytes:
    """Bytes of the middle; the JVM that runs them crashes."""
    damaged = bytearray(held)
    for place in range(len(held) // 8, len(held) // 2, 10_007):
        damaged[place] ^= 0xFF
    return bytes(damaged)


def _another(_: bytes) -> bytes:
    return b"no archive"


def _empty(_: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [_cut, _flipped, _another, _empty])
def test_a_damaged_one_is_passed_over(folder: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    copy = tmp_path / folder.name
    copy.symlink_to(folder)
    shutil.copyfile(jvm.archive_of(folder), jvm.archive_of(copy))
    archive = jvm.archive_of(copy)
    archive.chmod(0o600)
    assert _run(copy, tmp_path, "on").returncode == 0
    archive.write_bytes(damage(archive.read_bytes()))
    assert _run(copy, tmp_path, "on").returncode != 0
    ran = _run(copy, tmp_path, "auto")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(ran.stdout.strip().splitlines()[-1]) == 22, ran.stdout
