"""A request's SQL and data: bounded in size, kept in memory while short and in a file from then on.

In: pieces of a body, decompressed. Out: the text that begins with the statement, and the data after the statement as a
file that the engine can open. Never keeps more than `MEMORY_BYTES` of a body in memory.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from infra.embedded.clickhouse.errors import NOT_ENOUGH_SPACE, QUERY_IS_TOO_LARGE, ServerError, refusal
from infra.embedded.clickhouse.inserts import is_insert

# The most bytes of a statement, and of a guest's statement; the data after an INSERT's head does not count.
STATEMENT_BYTES = 4 * 1024 * 1024
# The engine's own default of max_query_size.
GUEST_STATEMENT_BYTES = 256 * 1024
MEMORY_BYTES = 8 * 1024 * 1024
_HEAD_BYTES = 64 * 1024
_COPY_BYTES = 1024 * 1024


class Body:
    """A request's SQL and data.

    Args:
        statement: the part of the SQL that stood in the URL; empty, or ending in a line end.
        folder: holds bodies too large for memory.
        statement_bytes: how many bytes the statement may have.
        insert_bytes: how many bytes of data an INSERT may carry; 0 for a user who may not insert.
    """

    def __init__(self, statement: bytes, *, folder: Path, statement_bytes: int, insert_bytes: int) -> None:
        self._statement = statement
        self._folder = str(folder)
        self._insert_bytes = insert_bytes
        self._statement_bytes = statement_bytes
        self._allowed = statement_bytes
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES, dir=self._folder)  # noqa: SIM115
        self.size = len(statement)
        self._check_size()

    def write(self, piece: bytes) -> None:
        """Add the next piece.

        Raises:
            ServerError: QUERY_IS_TOO_LARGE; NOT_ENOUGH_SPACE where the disk is full.
        """
        self.size += len(piece)
        self._check_size()
        with disk_errors():
            self._file.write(piece)

    def _check_size(self) -> None:
        if self.size <= self._allowed:
            return
        if self._allowed < self._insert_bytes and is_insert(self.head()):
            self._allowed = self._insert_bytes
            if self.size <= self._allowed:
                return
        what = "The data of an INSERT" if self._allowed > self._statement_bytes else "The statement"
        raise refusal(QUERY_IS_TOO_LARGE, f"{what} has more than {self._allowed} bytes; send it in smaller parts")

    @property
    def is_short(self) -> bool:
        """Whether the beginning that `head` gives is the whole body."""
        return self.size <= _HEAD_BYTES

    def head(self) -> str:
        """The beginning of SQL and data, as text; see `is_short`."""
        return (self._statement + self._read(0, _HEAD_BYTES))[:_HEAD_BYTES].decode("utf-8", "surrogateescape")

    def text(self, *, has_rows: bool = False) -> str:
        """The whole body as text.

        Args:
            has_rows: whether the body is an INSERT with its rows.

        Raises:
            ServerError: QUERY_IS_TOO_LARGE: the body is longer than a statement may be.
        """
        allowed = STATEMENT_BYTES if has_rows else self._statement_bytes
        if self.size > allowed:
            raise refusal(QUERY_IS_TOO_LARGE, f"The statement has {self.size} bytes; at most {allowed} are read")
        return (self._statement + self._read(0, self.size)).decode("utf-8", "surrogateescape")

    def _read(self, position: int, size: int) -> bytes:
        self._file.seek(position)
        content = self._file.read(size)
        self._file.seek(0, io.SEEK_END)
        return content

    @contextlib.contextmanager
    def file_from(self, position: int) -> Iterator[str]:
        """The path of a file with the body from a position on; the file exists as long as the context lasts.

        Raises:
            ServerError: NOT_ENOUGH_SPACE where the disk is full.
        """
        size = self.size - position
        on_disk = size > MEMORY_BYTES
        with disk_errors():
            if on_disk and position == len(self._statement):
                self._file.rollover()
                self._file.flush()
                self._file.seek(0)
                yield f"/dev/fd/{self._file.fileno()}"
                return
            with _scratch_file(self._folder, on_disk) as target:
                target.write(self._statement[position:])
                self._file.seek(max(0, position - len(self._statement)))
                while piece := self._file.read(_COPY_BYTES):
                    target.write(piece)
                target.flush()
                target.seek(0)
                yield f"/dev/fd/{target.fileno()}"

    def close(self) -> None:
        """Free the body's memory and disk space."""
        with contextlib.suppress(OSError):
            self._file.close()


def _scratch_file(folder: str, on_disk: bool) -> IO[bytes]:
    if on_disk or not hasattr(os, "memfd_create"):
        return tempfile.TemporaryFile(dir=folder)
    return os.fdopen(os.memfd_create("insert", os.MFD_CLOEXEC), "w+b")


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Turn errors of the disk into NOT_ENOUGH_SPACE for the client."""
    try:
        yield
    except ServerError:
        raise
    except OSError as error:
        raise refusal(NOT_ENOUGH_SPACE, f"Cannot keep the request's body: {error.strerror}") from error
