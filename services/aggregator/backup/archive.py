"""The file of a backup: a zip archive with a manifest, and the checksum of the whole file at its end.

Comes in: members, one after the other, as chunks of bytes. Goes out: the same chunks, once the whole file was verified.
The last 64 bytes of the file, the archive's comment, are the SHA-256 of all bytes before them: a file that was cut
short or altered anywhere is refused before its content is looked at. The checksum protects against damage, not against
somebody who can write the file: keep backups where nobody else writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from services.runtime.new_files import NewFile
from services.runtime.registry import Registered

FORMAT = 2
# Format 1 had no subjects and no positions.
_READABLE = (1, 2)
MANIFEST = "manifest.json"
_DIGEST_BYTES = 64
_CHUNK_BYTES = 1024 * 1024


class BackupError(RuntimeError):
    """The backup can't be made or restored; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive.

    Attributes:
        name: such as `topics/catalog.posts.ndjson`.
        count: number of messages or rows.
        sha256: of its content, hex.
        size: of its content, in bytes.
    """

    name: str
    count: int
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds and where it is from.

    Attributes:
        format: version of the archive's layout.
        tidemark: version of the product that made it.
        created_at: ISO instant.
        topic_partitions: of the installation; a restored installation may have another number.
        migration: number of the newest migration of the installation's tables.
        schemas: by topic (without prefix) and schema id, the Avro schemas that its messages were written with.
        members: in the order of the restore.
        subjects: by topic (without prefix), every version of its schema with the registry's id of it.
        told_until: by topic (without prefix), the instant (ms) up to which webhooks were told of its messages; topics
            that nobody tells webhooks of are left out.
        workspace: the one workspace whose export it is; empty for a backup of the whole.
    """

    format: int
    tidemark: str
    created_at: str
    topic_partitions: int
    migration: int
    schemas: dict[str, dict[str, str]] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    workspace: str = ""
    subjects: dict[str, list[Registered]] = field(default_factory=dict)
    told_until: dict[str, int] = field(default_factory=dict)


class Writer:
    """Writes an archive; a context manager. The file has its name only once it is whole, and is its owner's alone.

    Raises:
        BackupError: the file exists already, or can't be written.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise BackupError(_taken(path))
        self._path = path
        self._new = NewFile(path)
        self.members: list[Member] = []

    def __enter__(self) -> Self:
        try:
            self._file = self._new.__enter__().stream
        except OSError as error:
            raise BackupError(f"{self._path} can't be written: {error.strerror}") from None
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        if kind is not None:
            # A full disk refuses the directory of the file, which nobody will read.
            with contextlib.suppress(OSError, ValueError):
                self._zip.close()
            self._zip.fp = None
        self._new.__exit__(kind, *about)

    def add(self, name: str, chunks: Iterable[tuple[bytes, int]], *, is_compressed: bool = False) -> Member:
        """Add one member.

        Args:
            chunks: bytes, with the number of messages or rows that they complete.
            is_compressed: whether the content is compressed already.

        Raises:
            BackupError: the disk refuses the bytes.
        """
        digest, size, count = hashlib.sha256(), 0, 0
        entry = zipfile.ZipInfo(name)
        entry.compress_type = zipfile.ZIP_STORED if is_compressed else zipfile.ZIP_DEFLATED
        entry.external_attr = 0o600 << 16
        try:
            with self._zip.open(entry, "w", force_zip64=True) as out:
                for chunk, completed in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    count += completed
                    out.write(chunk)
        except OSError as error:
            raise BackupError(f"{self._path} can't be written: {error.strerror}") from None
        member = Member(name, count, digest.hexdigest(), size)
        self.members.append(member)
        return member

    def finish(self, manifest: Manifest) -> None:
        """Add the manifest and the checksum, and give the file its name.

        Raises:
            BackupError: the disk refuses the bytes, or another run made the file meanwhile.
        """
        try:
            self._zip.writestr(MANIFEST, orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))
            self._zip.comment = b"0" * _DIGEST_BYTES
            self._zip.close()
            digest = _digest_of_start(self._file)
            self._file.seek(-_DIGEST_BYTES, os.SEEK_END)
            self._file.write(digest)
            self._new.publish()
        except FileExistsError:
            raise BackupError(_taken(self._path)) from None
        except OSError as error:
            raise BackupError(f"{self._path} can't be written: {error.strerror}") from None


def _taken(path: Path) -> str:
    return f"{path} exists already; name another file, or move it away"


class Reader:
    """A verified archive; a context manager.

    Attributes:
        manifest: what the archive holds.
        digest: the checksum of the whole file, which names this archive.

    Raises:
        BackupError: the file is missing, cut short, altered, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise BackupError(f"{path} can't be read: {error.strerror}") from None
        try:
            self.digest, self._zip, self.manifest = _verified(self._file, path)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    def chunks(self, member: Member) -> Iterator[bytes]:
        """Yield a member's content."""
        with self._zip.open(member.name) as content:
            while chunk := content.read(_CHUNK_BYTES):
                yield chunk

    def lines(self, member: Member) -> Iterator[bytes]:
        """Yield a member's lines, without their ends."""
        with self._zip.open(member.name) as content:
            for line in content:
                yield line.rstrip(b"\n")


def _verified(file: Any, path: Path) -> tuple[str, zipfile.ZipFile, Manifest]:
    file.seek(0, os.SEEK_END)
    refused = BackupError(f"{path} is no whole backup: it was cut short or altered; nothing was written")
    if file.tell() <= _DIGEST_BYTES:
        raise refused
    digest = _digest_of_start(file)
    file.seek(-_DIGEST_BYTES, os.SEEK_END)
    if file.read() != digest:
        raise refused
    try:
        archive = zipfile.ZipFile(file)
        found = orjson.loads(archive.read(MANIFEST))
        if found["format"] not in _READABLE:
            raise BackupError(
                f"{path} has format {found['format']}, this Tidemark reads {FORMAT}; restore it by Tidemark "
                f"{found['tidemark']}"
            )
        members = [Member(**member) for member in found.pop("members")]
        subjects = {
            topic: [Registered(**one) for one in versions] for topic, versions in found.pop("subjects", {}).items()
        }
        manifest = Manifest(**found, members=members, subjects=subjects)
        is_complete = {MANIFEST, *(member.name for member in members)} == set(archive.namelist())
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError):
        raise refused from None
    if not is_complete:
        raise refused
    return digest.decode(), archive, manifest


def _digest_of_start(file: Any) -> bytes:
    """The SHA-256, hex, of all bytes but the last 64."""
    file.flush()
    file.seek(0, os.SEEK_END)
    left = file.tell() - _DIGEST_BYTES
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0:
        chunk = file.read(min(left, _CHUNK_BYTES))
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest().encode()
