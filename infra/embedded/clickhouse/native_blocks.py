"""Native blocks for a client that sends a protocol version: these have a head, and an extra byte for each column.

In: blocks as the engine writes them; the engine knows no `client_protocol_version`. Out: the same rows in the blocks
that a server writes for such a client. Pure. Each column is walked over once, since only its type tells where it ends.
Source: ClickHouse, `src/Formats/NativeWriter.cpp`; `src/Core/ProtocolDefines.h`.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from infra.embedded.clickhouse.errors import NOT_IMPLEMENTED, TOO_MANY_ROWS_OR_BYTES, refusal

MOST_COLUMN_BYTES = 64 * 1024 * 1024
_WITH_CUSTOM_SERIALIZATION = 54454
# Field 1: not an overflow row; field 2: bucket -1; end of fields.
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_NO_CUSTOM_SERIALIZATION = b"\x00"
_U64 = struct.Struct("<Q")

_SIZES = {
    **dict.fromkeys(("Int8", "UInt8", "Bool", "Enum8", "Nothing"), 1),
    **dict.fromkeys(("Int16", "UInt16", "Date", "Enum16", "BFloat16"), 2),
    **dict.fromkeys(("Int32", "UInt32", "Float32", "Date32", "DateTime", "Time", "IPv4", "Decimal32"), 4),
    **dict.fromkeys(("Int64", "UInt64", "Float64", "DateTime64", "Time64", "Decimal64"), 8),
    **dict.fromkeys(("Int128", "UInt128", "UUID", "IPv6", "Decimal128"), 16),
    **dict.fromkeys(("Int256", "UInt256", "Decimal256"), 32),
}
_MADE_OF = {
    "Point": "Tuple(Float64, Float64)",
    "Ring": "Array(Point)",
    "LineString": "Array(Point)",
    "Polygon": "Array(Ring)",
    "MultiLineString": "Array(LineString)",
    "MultiPolygon": "Array(Polygon)",
}
_TYPE = re.compile(r"\s*([A-Za-z]\w*)\s*(?:\((.*)\))?\s*", re.DOTALL)
_NAMED = re.compile(r"\s*(?:[A-Za-z_]\w*|`(?:[^`\\]|\\.)*`)\s+(?=[A-Za-z])", re.DOTALL)


class _Kind(Protocol):
    """How a type's column is laid out: the bytes before its rows, and where its rows end."""

    def prefix(self) -> int: ...

    def end(self, data: bytes, at: int, rows: int) -> int: ...


@dataclass(frozen=True, slots=True)
class _Fixed:
    size: int

    def prefix(self) -> int:
        return 0

    def end(self, data: bytes, at: int, rows: int) -> int:
        return at + self.size * rows


@dataclass(frozen=True, slots=True)
class _String:
    def prefix(self) -> int:
        return 0

    def end(self, data: bytes, at: int, rows: int) -> int:
        for _ in range(rows):
            length = data[at]
            if length < 128:
                at += length + 1
            else:
                length, at = _varint(data, at)
                at += length
        return at


@dataclass(frozen=True, slots=True)
class _Nullable:
    inner: _Kind

    def prefix(self) -> int:
        return self.inner.prefix()

    def end(self, data: bytes, at: int, rows: int) -> int:
        return self.inner.end(data, at + rows, rows)


@dataclass(frozen=True, slots=True)
class _Array:
    inner: _Kind

    def prefix(self) -> int:
        return self.inner.prefix()

    def end(self, data: bytes, at: int, rows: int) -> int:
        if not rows:
            return at
        at += 8 * rows
        return self.inner.end(data, at, _U64.unpack_from(data, at - 8)[0])


@dataclass(frozen=True, slots=True)
class _Tuple:
    elements: tuple[_Kind, ...]

    def prefix(self) -> int:
        return sum(element.prefix() for element in self.elements)

    def end(self, data: bytes, at: int, rows: int) -> int:
        for element in self.elements:
            at = element.end(data, at, rows)
        return at


@dataclass(frozen=True, slots=True)
class _LowCardinality:
    keys: _Kind

    def prefix(self) -> int:
        return 8

    def end(self, data: bytes, at: int, rows: int) -> int:
        while rows > 0:
            (flags,) = _U64.unpack_from(data, at)
            (count,) = _U64.unpack_from(data, at + 8)
            at = self.keys.end(data, at + 16, count)
            (count,) = _U64.unpack_from(data, at)
            at += 8 + (count << (flags & 0xFF))
            rows -= count
        return at


class Versioned:
    """Blocks as a server writes them for a client of one protocol version, made from the engine's bytes as they come.

    A column is given on once it is whole, so never more than the longest column is held.
    """

    def __init__(self, version: int) -> None:
        self._version = version
        self._rest = bytearray()
        # How long the rest must be before another try, so that a long column is not walked over with every piece.
        self._wanted = 0
        self._rows = 0
        self._columns = 0

    def feed(self, content: bytes) -> bytes:
        """The next bytes of the engine, and what can be given on by now.

        Raises:
            ServerError: NOT_IMPLEMENTED for a column of a type whose layout is not known here;
                TOO_MANY_ROWS_OR_BYTES for a column of more than `MOST_COLUMN_BYTES`.
        """
        if self._version <= 0:
            return content
        self._rest += content
        if len(self._rest) < self._wanted:
            return b""
        whole = bytes(self._rest)
        written: list[bytes] = []
        at = 0
        while at < len(whole):
            # A part that is cut ends past the bytes that are there, or asks for a byte past them.
            try:
                end = self._column(whole, at, written) if self._columns else self._head(whole, at, written)
            except (IndexError, struct.error):
                break
            at = end
        del self._rest[:at]
        if len(self._rest) > MOST_COLUMN_BYTES:
            raise refusal(
                TOO_MANY_ROWS_OR_BYTES,
                f"One column of a block has more than {MOST_COLUMN_BYTES} bytes; send a smaller max_block_size",
            )
        self._wanted = len(self._rest) + len(self._rest) // 2
        return b"".join(written)

    def finish(self) -> bytes:
        """What is left once the engine has ended."""
        self._wanted = 0
        return self.feed(b"")

    def _head(self, data: bytes, start: int, written: list[bytes]) -> int:
        columns, at = _varint(data, start)
        rows, at = _varint(data, at)
        written += (_BLOCK_INFO, data[start:at])
        self._columns, self._rows = columns, rows
        return at

    def _column(self, data: bytes, start: int, written: list[bytes]) -> int:
        _, at = _text(data, start)
        name, named = _text(data, at)
        end = named
        if self._rows:
            kind = _kind(name)
            end = kind.end(data, named + kind.prefix(), self._rows)
        if end > len(data):
            raise IndexError
        written.append(data[start:named])
        if self._version >= _WITH_CUSTOM_SERIALIZATION:
            written.append(_NO_CUSTOM_SERIALIZATION)
        written.append(data[named:end])
        self._columns -= 1
        return end


def for_version(blocks: bytes, version: int) -> bytes:
    """Whole blocks as a server writes them for a client of this protocol version.

    Raises:
        ServerError: as `Versioned.feed`.
    """
    versioned = Versioned(version)
    return versioned.feed(blocks) + versioned.finish()


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 128:
            return value, at
        shift += 7


def _text(data: bytes, at: int) -> tuple[str, int]:
    length, at = _varint(data, at)
    if at + length > len(data):
        raise IndexError
    return data[at : at + length].decode("utf-8", "replace"), at + length


@lru_cache(maxsize=1000)
def _kind(name: str) -> _Kind:
    found = _TYPE.fullmatch(name)
    base, inside = (found.group(1), found.group(2) or "") if found else ("", "")
    if base in _MADE_OF:
        return _kind(_MADE_OF[base])
    if base.startswith("Interval"):
        return _Fixed(8)
    if base == "String":
        return _String()
    if base == "FixedString":
        return _Fixed(int(inside))
    if base == "Decimal":
        digits = int(inside.split(",")[0])
        return _Fixed(next(size for size, most in ((4, 9), (8, 18), (16, 38), (32, 76)) if digits <= most))
    if base in _SIZES:
        return _Fixed(_SIZES[base])
    arguments = _split(inside)
    if base in ("Tuple", "Nested") and arguments:
        elements = _Tuple(tuple(_kind(_NAMED.sub("", argument, count=1)) for argument in arguments))
        return _Array(elements) if base == "Nested" else elements
    if base == "Array":
        return _Array(_kind(inside))
    if base == "Map":
        return _Array(_Tuple(tuple(_kind(argument) for argument in arguments)))
    if base == "Nullable":
        return _Nullable(_kind(inside))
    if base == "LowCardinality":
        nullable = _TYPE.fullmatch(inside)
        return _LowCardinality(_kind(nullable.group(2) if nullable and nullable.group(1) == "Nullable" else inside))
    if base == "SimpleAggregateFunction":
        return _kind(arguments[1])
    raise refusal(
        NOT_IMPLEMENTED,
        f"A column of the type {name} is not served here to a client that sends client_protocol_version;"
        " select it as another type, such as toString(...)",
    )


def _split(inside: str) -> list[str]:
    """The arguments of a type, at the commas outside of brackets and quotes."""
    parts, depth, start, at = [], 0, 0, 0
    while at < len(inside):
        character = inside[at]
        if character in "'`":
            at += 1
            while at < len(inside) and inside[at] != character:
                at += 2 if inside[at] == "\\" else 1
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(inside[start:at].strip())
            start = at + 1
        at += 1
    return [*parts, inside[start:].strip()] if inside.strip() else []
