"""A new file is whole or not there, whoever else writes it; what dead runs left goes, what living runs write stays."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from services.runtime.new_files import NewFile

DYING = """
import sys, time
from pathlib import Path
from services.runtime.new_files import NewFile
with NewFile(Path(sys.argv[1])) as new:
    new.stream.write(b"unfinished")
    print("written", flush=True)
    time.sleep(60)
"""


def write(path: Path, content: bytes) -> None:
    with NewFile(path) as new:
        new.stream.write(content)
        new.publish()


def test_a_file_is_its_owners_alone_and_nothing_else_stays(tmp_path: Path) -> None:
    write(tmp_path / "f", b"whole")
    assert (tmp_path / "f").read_bytes() == b"whole"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_of_two_runs_at_once_each_writes_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with NewFile(path) as first:
        first.stream.write(b"first")
        with NewFile(path) as second:
            second.stream.write(b"second")
            first.publish()
            assert path.read_bytes() == b"first"
            second.stream.write(b", more")
            with pytest.raises(FileExistsError):
                second.publish()
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replaced_file_is_one_of_both(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with NewFile(path) as first, NewFile(path) as second:
        first.stream.write(b"first")
        second.stream.write(b"second")
        second.replace()
        first.replace()
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["f", "[ab]*?", "a.b.partial"])
def test_what_a_dead_run_left_is_removed_by_the_next(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    dying = subprocess.Popen([sys.executable, "-c", DYING, str(path)], stdout=subprocess.PIPE)
    assert dying.stdout is not None
    assert dying.stdout.readline() == b"written\n"
    (left,) = tmp_path.iterdir()
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    with NewFile(path):
        assert left.exists(), "a living run writes it"
    os.kill(dying.pid, signal.SIGKILL)
    dying.wait()
    dying.stdout.close()
    assert left.exists()
    write(path, b"whole")
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_others_stay(tmp_path: Path) -> None:
    others = ["f.partial", "f.x.partial", "f.0123456789abcdef.partial.gz", "g.0123456789abcdef.partial", "f.zip"]
    for name in others:
        (tmp_path / name).write_text(name)
    (tmp_path / "f.0123456789abcdef.partial").symlink_to(tmp_path / "f.zip")
    write(tmp_path / "f", b"whole")
    assert {path.name for path in tmp_path.iterdir()} >= {*others, "f"}
    assert all((tmp_path / name).read_text() == name for name in others)


def test_an_unfinished_file_that_somebody_replaced_is_not_published(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with NewFile(path) as new:
        new.stream.write(b"whole")
        (partial,) = tmp_path.iterdir()
        partial.unlink()
        partial.write_bytes(b"somebody else's")
        with pytest.raises(FileNotFoundError, match="somebody removed"):
            new.publish()
    assert not path.exists()


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("services.runtime.new_files.fcntl.flock", refused)
    left = tmp_path / "f.0123456789abcdef.partial"
    left.write_bytes(b"of whoever")
    write(tmp_path / "f", b"whole")
    assert (tmp_path / "f").read_bytes() == b"whole"
    assert left.exists(), "nobody knows whether its run lives"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_a_run_that_ends_early_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def end_early() -> None:
        with NewFile(tmp_path / "f") as new:
            new.stream.write(b"some")
            raise error

    with pytest.raises(error):
        end_early()
    assert list(tmp_path.iterdir()) == []
