"""The artifact cache: the lock round-trips, damage is seen and repaired, and every failure is one line.

Maven is replaced at one seam, `artifacts.download`; nothing here opens a socket.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from infra.embedded import artifacts, maven
from infra.embedded.artifacts import cache_dir, ensure, is_genuine, is_intact
from infra.embedded.errors import ArtifactError
from infra.embedded.lockfile import (
    LOCK_PATH,
    Bundle,
    LockedFile,
    digest_of_tree,
    parse_coordinate,
    read_lock,
    render_lock,
)


def archive(**members: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


UNPACKED = {"run": "run me", "lib": "a library"}
CONTENT = {"a-1.jar": b"jar a", "b-2.jar": b"jar b", "app-3-all.tar.gz": archive(**UNPACKED)}


def locked(artifact: str, version: str, packaging: str = "jar", classifier: str = "") -> LockedFile:
    probe = LockedFile("org.example", artifact, version, packaging, classifier, 0, "")
    content = CONTENT[probe.filename]
    return LockedFile(
        "org.example", artifact, version, packaging, classifier, len(content), hashlib.sha256(content).hexdigest()
    )


JARS = Bundle("jars", ("org.example:a:1",), (locked("a", "1"), locked("b", "2")))
APP = Bundle("app", ("org.example:app:3:all:tar.gz",), (locked("app", "3", "tar.gz", "all"),))


class FakeMaven:
    """Serves `CONTENT` and counts what was asked for; safe with threads."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self._lock = threading.Lock()

    def download(self, wanted: LockedFile, target: Path, count_bytes: Callable[[int], None], scratch: Path) -> None:
        with self._lock:
            self.asked.append(wanted.filename)
        if self.failure is not None:
            raise self.failure
        target.write_bytes(CONTENT[wanted.filename])
        count_bytes(wanted.size_bytes)


def started_again() -> None:
    """What another process knows of the cache: nothing."""
    artifacts._genuine.clear()


@pytest.fixture
def fake_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMaven:
    fake = FakeMaven()
    monkeypatch.setenv("TIDEMARK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(artifacts, "download", fake.download)
    monkeypatch.setattr(artifacts, "read_lock", lambda: {"jars": JARS, "app": APP})
    return fake


def test_the_committed_lock_pins_what_is_requested_and_names_no_host() -> None:
    bundles = read_lock()
    assert {name: bundle.requested for name, bundle in bundles.items()} == artifacts.REQUESTED
    assert len({file.coordinate for bundle in bundles.values() for file in bundle.files}) == 47
    assert all(len(file.sha256) == 64 for bundle in bundles.values() for file in bundle.files)
    text = LOCK_PATH.read_text()
    assert "://" not in text
    assert render_lock(list(bundles.values())) == text


@pytest.mark.parametrize("file", [locked("a", "1"), locked("app", "3", "tar.gz", "all")])
def test_a_coordinate_round_trips(file: LockedFile) -> None:
    assert parse_coordinate(file.coordinate) == (
        file.group,
        file.artifact,
        file.packaging,
        file.classifier,
        file.version,
    )


def test_a_bad_coordinate_is_shown() -> None:
    with pytest.raises(ValueError, match="not a coordinate"):
        parse_coordinate("org.example:a")


def test_everything_is_fetched_once_and_archives_are_unpacked(fake_maven: FakeMaven) -> None:
    folders = ensure("jars", "app")
    assert (folders["jars"] / "b-2.jar").read_bytes() == b"jar b"
    assert (folders["app"] / "lib").read_text() == "a library"
    assert not (folders["app"] / "app-3-all.tar.gz").exists()
    assert ensure("jars", "app") == folders
    assert sorted(fake_maven.asked) == sorted(CONTENT)
    assert not list(cache_dir().glob(".fetch-*"))


@pytest.mark.parametrize("damage", ["cut", "changed", "removed", "manifest"])
def test_a_damaged_cache_is_repaired(fake_maven: FakeMaven, damage: str) -> None:
    folder = ensure("jars")["jars"]
    file = folder / "a-1.jar"
    if damage == "cut":
        file.write_bytes(b"jar")
    elif damage == "changed":
        file.write_bytes(b"jar x")
    elif damage == "removed":
        file.unlink()
    else:
        (folder / "manifest.json").write_text("[")
    assert not is_intact(folder)
    assert ensure("jars")["jars"] == folder
    assert file.read_bytes() == b"jar a"
    assert fake_maven.asked.count("b-2.jar") == 1  # what was still right is taken from the damaged folder


def test_a_copied_cache_is_hashed_and_kept(fake_maven: FakeMaven) -> None:
    folder = ensure("app")["app"]
    (folder / "run").touch()
    assert is_intact(folder)
    ensure("app")
    assert fake_maven.asked == ["app-3-all.tar.gz"]


def test_a_failed_fetch_leaves_nothing_behind_and_can_be_repeated(fake_maven: FakeMaven) -> None:
    fake_maven.failure = ArtifactError("cannot fetch it")
    with pytest.raises(ArtifactError, match="cannot fetch it"):
        ensure("jars")
    assert not [path for path in cache_dir().iterdir() if path.is_dir()]
    fake_maven.failure = None
    assert is_intact(ensure("jars")["jars"])


def test_what_a_killed_fetch_left_is_removed(fake_maven: FakeMaven) -> None:
    abandoned, running = cache_dir() / ".fetch-old", cache_dir() / ".fetch-new"
    for folder in (abandoned, running):
        folder.mkdir(parents=True)
    os.utime(abandoned, (0, 0))
    ensure("jars")
    assert not abandoned.exists()
    assert running.exists()


def test_two_at_once_fetch_once(fake_maven: FakeMaven) -> None:
    threads = [threading.Thread(target=ensure, args=("jars",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fake_maven.asked) == ["a-1.jar", "b-2.jar"]


def test_a_cache_that_cannot_be_written_names_the_setting(
    fake_maven: FakeMaven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TIDEMARK_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(ArtifactError, match=r"cannot write the cache .* set TIDEMARK_CACHE_DIR"):
        ensure("jars")


@pytest.fixture
def quick_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(maven, "RETRY_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(maven, "default_maven_repo", lambda: tmp_path / "local")
    return monkeypatch


def test_no_network_says_what_to_do(quick_maven: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> Path:
        raise requests.ConnectionError("no route")

    quick_maven.setattr(maven, "_fetch", refuse)
    with pytest.raises(ArtifactError, match=r"org.example:a:jar:1: no answer .* the first start needs the network"):
        maven.download(locked("a", "1"), tmp_path / "a", lambda _: None, tmp_path)


def test_a_wrong_file_is_refused_and_its_bytes_are_taken_back(quick_maven: pytest.MonkeyPatch, tmp_path: Path) -> None:
    counted: list[int] = []

    def serve_wrong(_: LockedFile, folder: Path, count: Callable[[int], None]) -> Path:
        (folder / "wrong").write_bytes(b"jar x")
        count(5)
        return folder / "wrong"

    quick_maven.setattr(maven, "_fetch", serve_wrong)
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        maven.download(locked("a", "1"), tmp_path / "a", counted.append, tmp_path)
    assert sum(counted) == 0
    assert not (tmp_path / "a").exists()


def test_the_local_maven_repository_is_used_when_its_file_is_right(
    quick_maven: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quick_maven.setattr(maven, "_fetch", lambda *_: pytest.fail("asked the network"))
    kept = tmp_path / "local" / locked("a", "1").maven_path
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"jar a")
    maven.download(locked("a", "1"), tmp_path / "a", lambda _: None, tmp_path)
    assert (tmp_path / "a").read_bytes() == b"jar a"


@pytest.mark.parametrize("how", ["manifest kept", "manifest forged", "file added", "link", "folder added"])
@pytest.mark.parametrize("name", ["jars", "app"])
def test_a_tampered_cache_is_noticed_at_the_next_start_and_made_anew(
    fake_maven: FakeMaven, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, how: str
) -> None:
    sums = {member: hashlib.sha256(text.encode()).hexdigest() for member, text in UNPACKED.items()}
    app = Bundle(APP.name, APP.requested, APP.files, digest_of_tree(sums))
    monkeypatch.setattr(artifacts, "read_lock", lambda: {"jars": JARS, "app": app})
    folder = ensure(name)[name]
    file = folder / ("a-1.jar" if name == "jars" else "lib")
    right, status = file.read_bytes(), file.stat()
    if how in ("manifest kept", "manifest forged"):
        file.write_bytes(right[::-1])
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        if how == "manifest forged":
            artifacts._write_manifest(folder)
    elif how == "file added":
        (folder / "evil.jar").write_bytes(b"evil")
    elif how == "link":
        (tmp_path / "elsewhere").write_bytes(right)
        file.unlink()
        file.symlink_to(tmp_path / "elsewhere")
    else:
        (folder / "more").mkdir()
        (folder / "more" / "evil").write_bytes(b"evil")
    started_again()
    assert ensure(name)[name] == folder
    assert file.read_bytes() == right
    assert not file.is_symlink()
    assert is_genuine(folder, JARS if name == "jars" else app)
    assert not (folder / "evil.jar").exists()
    assert not (folder / "more").exists()
    started_again()
    asked = list(fake_maven.asked)
    ensure(name)
    assert fake_maven.asked == asked


def test_a_cache_that_others_can_write_is_refused(fake_maven: FakeMaven) -> None:
    ensure("jars")
    cache_dir().chmod(0o777)
    with pytest.raises(ArtifactError, match="others can write the cache"):
        ensure("jars")
    cache_dir().chmod(0o770)
    folder = ensure("jars")["jars"]
    folder.chmod(0o777)
    (folder / "a-1.jar").chmod(0o666)
    started_again()
    ensure("jars")
    assert [path.stat().st_mode & 0o022 for path in (cache_dir(), folder, folder / "a-1.jar")] == [0, 0, 0]


def test_a_new_cache_is_its_owners_alone(fake_maven: FakeMaven) -> None:
    ensure("jars")
    assert cache_dir().stat().st_mode & 0o777 == 0o700
