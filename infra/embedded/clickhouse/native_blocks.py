"""Native blocks for a client that sends a protocol version: these have a head, and an extra byte for each column.

In: blocks as the engine writes them; the engine knows no `client_protocol_version`. Out: the same rows in the blocks
that a server writes for such a client. Pure. Each column is walked over once, since only its type tells where it ends.
Source: ClickHouse, `src/Formats/NativeWriter.cpp`; `src/Core/ProtocolDefines.h`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
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
# The parts of a type's text. Quotes are always closed, since the engine has written the text.
_PART = re.compile(
    r"(?P<word>[A-Za-z_]\w*+)|(?P<quoted>`(?:[^`\\]|\\.)*+`|'(?:[^'\\]|\\.)*+')|(?P<mark>[(),])|(?P<rest>[^A-Za-z_`'(),]++)",
    re.DOTALL,
)
_NUMBER = re.compile(r"[0-9]{1,9}")
_KEPT_CHARACTERS = 1000


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
        kind = self.inner
        while isinstance(kind, _Array):
            kind = kind.inner
        return kind.prefix()

    def end(self, data: bytes, at: int, rows: int) -> int:
        # Arrays of arrays are passed through in a loop: they may be nested as deep as the engine parses.
        kind: _Kind = self
        while isinstance(kind, _Array):
            if not rows:
                return at
            at += 8 * rows
            (rows,) = _U64.unpack_from(data, at - 8)
            kind = kind.inner
        return kind.end(data, at, rows)


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


def _kind(name: str) -> _Kind:
    """The layout of a type.

    Raises:
        ServerError: NOT_IMPLEMENTED: the layout is not known here.
    """
    return _kept_kind(name) if len(name) <= _KEPT_CHARACTERS else _read_kind(name)


@dataclass(slots=True)
class _Open:
    """A type whose arguments are being read; of each argument its layout, if it is a type, and its number."""

    base: str
    kinds: list[_Kind | None] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    # Of the argument that is being read: a name may come before the type, so the last word counts.
    word: str = ""
    kind: _Kind | None = None
    number: str = ""
    is_empty: bool = True

    def end_argument(self) -> None:
        self.kinds.append(self.kind or _of(self.word, [], []))
        self.numbers.append(self.number.strip())
        self.word, self.kind, self.number = "", None, ""


def _read_kind(name: str) -> _Kind:
    """One pass over a type's text, without recursion: a client's statement makes types of any length and depth."""
    stack = [_Open("")]
    position = 0
    while (part := _PART.match(name, position)) is not None:
        position = part.end()
        top = stack[-1]
        text = part.group()
        if text == "(":
            top.is_empty = False
            stack.append(_Open(top.word))
        elif text == ")" and len(stack) > 1:
            if not top.is_empty:
                top.end_argument()
            stack.pop()
            stack[-1].kind = _of(top.base, top.kinds, top.numbers)
            stack[-1].word = ""
        elif text == ",":
            top.end_argument()
        elif part.lastgroup == "word":
            top.word, top.is_empty = text, False
        elif part.lastgroup == "rest":
            top.number += text
            top.is_empty = top.is_empty and text.isspace()
    top = stack[0]
    top.end_argument()
    kind = top.kinds[0]
    if kind is None or len(stack) > 1 or len(top.kinds) > 1 or position < len(name):
        raise refusal(
            NOT_IMPLEMENTED,
            f"A column of the type {name[:200]} is not served here to a client that sends client_protocol_version;"
            " select it as another type, such as toString(...)",
        )
    return kind


_kept_kind = lru_cache(maxsize=1000)(_read_kind)


def _of(base: str, kinds: list[_Kind | None], numbers: list[str]) -> _Kind | None:
    """The layout of a type with these arguments; None for a type that is not known here."""
    if base in _SIZES:
        return _Fixed(_SIZES[base])
    if base.startswith("Interval"):
        return _Fixed(8)
    if base == "String":
        return _String()
    if base in _MADE_OF:
        return _kind(_MADE_OF[base])
    if base in ("FixedString", "Decimal"):
        number = numbers[0] if numbers else ""
        if not _NUMBER.fullmatch(number):
            return None
        return _Fixed(int(number)) if base == "FixedString" else _decimal(int(number))
    known = [kind for kind in kinds if kind is not None]
    if base == "SimpleAggregateFunction":
        return kinds[1] if len(kinds) == 2 else None
    if len(known) < len(kinds) or not known:
        return None
    if base in ("Tuple", "Nested", "Map"):
        elements = _Tuple(tuple(known))
        return elements if base == "Tuple" else _Array(elements)
    if base == "LowCardinality":
        return _LowCardinality(known[0].inner if isinstance(known[0], _Nullable) else known[0])
    made: dict[str, Callable[[_Kind], _Kind]] = {"Array": _Array, "Nullable": _Nullable}
    return made[base](known[0]) if base in made else None


def _decimal(digits: int) -> _Kind | None:
    return next((_Fixed(size) for size, most in ((4, 9), (8, 18), (16, 38), (32, 76)) if digits <= most), None)
