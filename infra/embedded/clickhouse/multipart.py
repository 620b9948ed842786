"""A multipart form: text fields, in which clients send long parameters and statements, and files.

In: the pieces of a body. Out: fields in memory and files on disk; both are bounded.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from infra.embedded.clickhouse.bodies import STATEMENT_BYTES, disk_errors
from infra.embedded.clickhouse.errors import ACCESS_DENIED, BAD_ARGUMENTS, QUERY_IS_TOO_LARGE, refusal

MOST_FIELDS = 1000
MOST_FILES = 16
_FRAME_BYTES = 1024 * 1024


@dataclass(slots=True)
class Form:
    """The fields and files of a form; its reader must close it.

    Attributes:
        files: open files by the names of their fields; each position is at the file's beginning.
    """

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, IO[bytes]] = field(default_factory=dict)

    def close(self) -> None:
        """Close the files, which frees their disk space."""
        for file in self.files.values():
            with contextlib.suppress(OSError):
                file.close()


class _Reader:
    """The fields and files of one form."""

    def __init__(self, boundary: bytes, form: Form, folder: Path, file_bytes: int) -> None:
        self._form = form
        self._folder = folder
        self._file_bytes = file_bytes
        self._in_files = 0
        self._in_fields = 0
        self._count = 0
        self._name = ""
        self._value = bytearray()
        self._file: IO[bytes] | None = None
        self._header = bytearray()
        self._header_value = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_part_data": self._data,
                "on_part_end": self._end,
            },
        )

    def write(self, piece: bytes) -> None:
        before = self._in_files
        self._parser.write(piece)
        # The parts' boundaries and headers count too, although they are not kept.
        self._in_fields += len(piece) - (self._in_files - before)
        if self._in_fields > STATEMENT_BYTES + _FRAME_BYTES:
            raise refusal(QUERY_IS_TOO_LARGE, f"The form has more than {STATEMENT_BYTES} bytes besides its files")

    def finish(self) -> None:
        self._parser.finalize()
        for file in self._form.files.values():
            with disk_errors():
                file.flush()
                file.seek(0)

    def _begin(self) -> None:
        self._count += 1
        if self._count > MOST_FIELDS:
            raise refusal(BAD_ARGUMENTS, f"The form has more than {MOST_FIELDS} fields")
        self._name = ""
        self._value = bytearray()
        self._file = None

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._header_value))
            self._name = options.get(b"name", b"").decode("utf-8", "surrogateescape")
            if b"filename" in options:
                self._begin_file()
        self._header.clear()
        self._header_value.clear()

    def _begin_file(self) -> None:
        if not self._file_bytes:
            raise refusal(
                ACCESS_DENIED, "External tables are open to user default alone; write their rows into the statement"
            )
        if self._name in self._form.files or len(self._form.files) >= MOST_FILES:
            raise refusal(BAD_ARGUMENTS, f"The form has two files of one name, or more than {MOST_FILES}")
        with disk_errors():
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        self._form.files[self._name] = self._file

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._value.extend(data[start:end])
            return
        self._in_files += end - start
        if self._in_files > self._file_bytes:
            raise refusal(QUERY_IS_TOO_LARGE, f"The external tables have more than {self._file_bytes} bytes together")
        with disk_errors():
            self._file.write(data[start:end])

    def _end(self) -> None:
        if self._name and self._file is None:
            self._form.fields[self._name] = self._value.decode("utf-8", "surrogateescape")


async def read_form(content_type: str, pieces: AsyncIterator[bytes], *, folder: Path, file_bytes: int) -> Form:
    """Read the fields and files of a form.

    Args:
        folder: holds the files.
        file_bytes: how many bytes all files together may have; 0 for a user who may send none.

    Raises:
        ServerError: QUERY_IS_TOO_LARGE; ACCESS_DENIED for a file from a user who may send none; BAD_ARGUMENTS for too
            many parts or a body that is no form; NOT_ENOUGH_SPACE.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise refusal(BAD_ARGUMENTS, "The form names no boundary in its Content-Type")
    form = Form()
    try:
        reader = _Reader(boundary, form, folder, file_bytes)
        async for piece in pieces:
            reader.write(piece)
        reader.finish()
    except FormParserError as error:
        form.close()
        raise refusal(BAD_ARGUMENTS, f"Cannot read the multipart form: {error}") from error
    except BaseException:
        form.close()
        raise
    return form
