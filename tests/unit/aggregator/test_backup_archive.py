"""The file of a backup: what was put in comes out, and a damaged file is refused before anything is read from it."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.aggregator.backup.archive import FORMAT, BackupError, Manifest, Reader, Writer

CONTENT = {"topics/a.ndjson": [b'{"k": "YQ=="}\n', b'{"k": "Yg=="}\n'], "raw_events/000001.parquet": [b"PAR1" * 500]}


def manifest(writer: Writer) -> Manifest:
    return Manifest(FORMAT, "0.1.0", "2026-11-30T00:00:00.000Z", 4, 14, {"a": {"7": "{}"}}, list(writer.members))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "backup"
    with Writer(path) as writer:
        for name, chunks in CONTENT.items():
            writer.add(name, ((chunk, 1) for chunk in chunks), is_compressed=name.endswith("parquet"))
        writer.finish(manifest(writer))
    return path


def test_what_goes_in_comes_out(made: Path) -> None:
    with Reader(made) as reader:
        assert {m.name: (m.count, b"".join(reader.chunks(m))) for m in reader.manifest.members} == {
            name: (len(chunks), b"".join(chunks)) for name, chunks in CONTENT.items()
        }
        assert reader.manifest.schemas == {"a": {"7": "{}"}}
        assert list(reader.lines(reader.manifest.members[0])) == [b'{"k": "YQ=="}', b'{"k": "Yg=="}']


def test_the_file_is_its_owners_alone_and_nothing_else_stays(made: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert list(made.parent.iterdir()) == [made]


@pytest.mark.parametrize("kept", [0, 1, 63, 64, 65, 0.5, -1, -64, -200])
def test_a_file_that_was_cut_short_is_refused(made: Path, kept: float) -> None:
    whole = made.read_bytes()
    made.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(BackupError, match="cut short or altered; nothing was written"):
        Reader(made)


def test_a_file_that_was_altered_anywhere_is_refused(made: Path) -> None:
    whole = made.read_bytes()
    for at in range(0, len(whole), 7):
        made.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(BackupError, match="cut short or altered"):
            Reader(made)


def test_another_file_is_no_backup(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear reader, " * 100)
    with pytest.raises(BackupError, match="no whole backup"):
        Reader(tmp_path / "letter")
    with pytest.raises(BackupError, match="can't be read: No such file"):
        Reader(tmp_path / "missing")


def test_a_newer_format_names_the_version_that_made_it(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    with Writer(path) as writer:
        writer.finish(replace(manifest(writer), format=FORMAT + 1, tidemark="9.0.0"))
    with pytest.raises(BackupError, match=r"Tidemark 9\.0\.0"):
        Reader(path)


def test_a_file_is_never_overwritten(made: Path) -> None:
    before = made.read_bytes()
    with pytest.raises(BackupError, match="exists already"):
        Writer(made)
    assert made.read_bytes() == before


def test_a_backup_that_broke_off_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Kafka went away"), Writer(tmp_path / "backup") as writer:
        writer.add("topics/a.ndjson", _broken_off())
    assert list(tmp_path.iterdir()) == []


def _broken_off() -> Iterator[tuple[bytes, int]]:
    yield b"one\n", 1
    raise RuntimeError("Kafka went away")


@pytest.mark.parametrize("goes_on", [True, False])
def test_of_two_backups_at_once_the_first_is_whole_and_the_other_says_so(tmp_path: Path, goes_on: bool) -> None:
    path = tmp_path / "nightly"
    first, second = Writer(path), Writer(path)
    with first:
        first.add("topics/a.ndjson", [(b"first\n", 1)])
        with contextlib.suppress(RuntimeError), second:
            second.add("topics/a.ndjson", [(b"second\n" * 100, 1)])
            first.finish(manifest(first))
            with Reader(path) as reader:
                assert list(reader.lines(reader.manifest.members[0])) == [b"first"]
            if not goes_on:
                raise RuntimeError
            second.add("topics/b.ndjson", [(b"more\n", 1)])
            with pytest.raises(BackupError, match="exists already"):
                second.finish(manifest(second))
    with Reader(path) as reader:
        assert [member.count for member in reader.manifest.members] == [1]
    assert list(tmp_path.iterdir()) == [path]
