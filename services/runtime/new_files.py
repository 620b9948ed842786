"""Files that appear only once they are whole, whoever else writes the same file at the same time.

In: a path, and bytes. Out: a whole file under this path, or none. Each run writes a partial file of its own beside the
path, `NAME.<16 hex digits>.partial`, and holds a lock on it; so what a dead run left is known from what a living run
writes. Files are their owner's alone (mode 0600).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import re
import secrets
from pathlib import Path
from typing import BinaryIO, Self

_PARTIAL = ".partial"
_OWN_PART = re.compile(r"\.[0-9a-f]{16}\.partial")
_MOST_NAMES = 100


class NewFile:
    """A context manager; without `publish` or `replace` nothing of the file stays.

    Attributes:
        stream: takes the file's bytes.

    Raises:
        OSError: the folder can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.stream: BinaryIO

    def __enter__(self) -> Self:
        _remove_leftovers(self._path)
        self._partial, descriptor = _made(self._path)
        try:
            self.stream = os.fdopen(descriptor, "w+b")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()
        # A full disk refuses what is still buffered; the file is gone or whole by now.
        with contextlib.suppress(OSError):
            self.stream.close()

    def publish(self) -> None:
        """Give the file its name.

        Raises:
            FileExistsError: the name is taken.
            OSError: the disk refuses the bytes, or the name.
        """
        self._finish()
        os.link(self._partial, self._path)
        self._remove()

    def replace(self) -> None:
        """Give the file its name, in place of the file that has it now.

        Raises:
            OSError: the disk refuses the bytes, or the name.
        """
        self._finish()
        os.replace(self._partial, self._path)

    def _finish(self) -> None:
        """Bring all bytes to the disk, and make sure that the partial file's name still leads to them."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        if not _is_named(self.stream.fileno(), self._partial):
            raise FileNotFoundError(errno.ENOENT, "somebody removed the unfinished file", str(self._partial))

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)


def _made(path: Path) -> tuple[Path, int]:
    """A new partial file that this process has locked, and its descriptor."""
    for _ in range(_MOST_NAMES):
        partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}{_PARTIAL}")
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor)
            # Until it is locked, another run may take the file for a leftover.
            if _is_named(descriptor, partial):
                return partial, descriptor
        except BaseException:
            os.close(descriptor)
            partial.unlink(missing_ok=True)
            raise
        os.close(descriptor)
    raise FileExistsError(errno.EEXIST, "other runs remove the unfinished file again and again", str(path))


def _remove_leftovers(path: Path) -> None:
    """Remove partial files of runs that died; those of living runs are locked, and stay."""
    for found in path.parent.glob(f"{glob.escape(path.name)}.*{_PARTIAL}"):
        if not _OWN_PART.fullmatch(found.name.removeprefix(path.name)):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(found, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.unlink()
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> None:
    # A run that takes the file for a leftover holds the lock for a moment, and removes the file; hence no LOCK_NB.
    # A file system that knows no locks refuses it to every run, so that nobody takes the file for a leftover.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), found)
