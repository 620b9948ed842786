"""A multipart form: its text fields, as clients send long parameters and statements.

In: the pieces of a body. Out: fields. Nothing of a form is kept but its fields, which are bounded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from infra.embedded.clickhouse.bodies import STATEMENT_BYTES
from infra.embedded.clickhouse.errors import BAD_ARGUMENTS, NOT_IMPLEMENTED, QUERY_IS_TOO_LARGE, refusal

MOST_FIELDS = 1000
_FRAME_BYTES = 1024 * 1024


class _Reader:
    """The fields of one form."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self._count = 0
        self._name = ""
        self._value = bytearray()
        self._header = bytearray()
        self._header_value = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_part_data": lambda data, start, end: self._value.extend(data[start:end]),
                "on_part_end": self._end,
            },
        )

    def write(self, piece: bytes) -> None:
        self._parser.write(piece)

    def finish(self) -> None:
        self._parser.finalize()

    def _begin(self) -> None:
        self._count += 1
        if self._count > MOST_FIELDS:
            raise refusal(BAD_ARGUMENTS, f"The form has more than {MOST_FIELDS} fields")
        self._name = ""
        self._value = bytearray()

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._header_value))
            if b"filename" in options:
                raise refusal(NOT_IMPLEMENTED, "External data (temporary tables in a request) is not supported here")
            self._name = options.get(b"name", b"").decode("utf-8", "surrogateescape")
        self._header.clear()
        self._header_value.clear()

    def _end(self) -> None:
        if self._name:
            self.fields[self._name] = self._value.decode("utf-8", "surrogateescape")


async def form_fields(content_type: str, pieces: AsyncIterator[bytes]) -> dict[str, str]:
    """The text fields of a form.

    Raises:
        ServerError: QUERY_IS_TOO_LARGE; BAD_ARGUMENTS for too many fields or what is no form; NOT_IMPLEMENTED for
            files.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise refusal(BAD_ARGUMENTS, "The form names no boundary in its Content-Type")
    size = 0
    try:
        reader = _Reader(boundary)
        async for piece in pieces:
            size += len(piece)
            if size > STATEMENT_BYTES + _FRAME_BYTES:
                raise refusal(QUERY_IS_TOO_LARGE, f"The form has more than {STATEMENT_BYTES} bytes")
            reader.write(piece)
        reader.finish()
    except FormParserError as error:
        raise refusal(BAD_ARGUMENTS, f"Cannot read the multipart form: {error}") from error
    return reader.fields
