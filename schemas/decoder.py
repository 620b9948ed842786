"""Compiles an Avro schema into a fast decoder to positional values: the inverse of `encoder`. Pure.

Whoever takes in millions of values would spend nearly all of its time in a general reader, which builds a dict a record
and a datetime a timestamp: 43 microseconds for a post's rollup. A function made once for a schema, with each field's
reader in line, takes a fifth of that. Values of schemas that it does not know go through the general reader
(`codec.PositionalCodec`); a property test holds the two equal.

Supported: what `encoder` supports.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection
from typing import Any

from schemas.encoder import UnsupportedSchemaError
from schemas.varints import IntegerTooLong, read_long

Decode = Callable[[bytes, int], tuple[Any, ...]]
"""From a value's bytes and the place of its first one to the fields, in the schema's order."""

_DOUBLE = struct.Struct("<d").unpack_from
_ITEMS_MAX = 50_000
"""Of one array; a post has some targets."""
# The bits of a number that has more bytes, or is negative.
_NOT_FEW = 0x81


class NotDecodable(ValueError):
    """The bytes are not of the schema."""


def _end(data: bytes, at: int) -> tuple[int, int]:
    """Where a text begins and ends."""
    size, at = read_long(data, at)
    if size < 0 or at + size > len(data):
        raise NotDecodable("a text is longer than the value")
    return at, at + size


def _bad(what: str) -> None:
    raise NotDecodable(what)


class _NullableLongs(dict[bytes, int | None]):
    """Decoded integers and nulls, looked up by their bytes with the union's branch.

    Large ones are made each time, and so are medium ones once the first `_KEPT_MAX` are known.
    """

    def __missing__(self, encoded: bytes) -> int | None:
        if encoded == b"\0":
            value = None
        elif len(encoded) == _MEDIUM_BYTES:
            # Most figures that are looked up in vain: up to a million.
            number = encoded[1] & 0x7F | (encoded[2] & 0x7F) << 7 | encoded[3] << 14
            value = (number >> 1) ^ -(number & 1)
        else:
            value, _ = read_long(encoded, 1)
        # Small ones always: they are most figures, and medium ones that came first must not keep them out.
        if len(encoded) <= (_MEDIUM_BYTES if len(self) < _KEPT_MAX else _SMALL_BYTES):
            self[encoded] = value
        return value


_LONGS = _NullableLongs()
# Instants from 1987 to 2039 take six bytes, and the values of a batch share them: looked up.
_TIMES: dict[bytes, int] = {}
_TIME_BYTES = 6
_TIMES_MAX = 50_000


def _time(data: bytes, at: int) -> tuple[int, int]:
    value, end = read_long(data, at)
    if end - at == _TIME_BYTES:
        if len(_TIMES) >= _TIMES_MAX:
            _TIMES.clear()
        _TIMES[data[at:end]] = value
    return value, end


# With the branch: integers of two bytes, 16,384 of them, and of three.
_SMALL_BYTES, _MEDIUM_BYTES = 3, 4
_KEPT_MAX = 32_768
# Figures come in rows of optional integers: one match of a pattern finds all of a row at the speed of C.
_ROW_MIN = 4
_OPTIONAL = {
    # The tenth byte of an integer holds the last of its 64 bits.
    "long": rb"\x00|\x02[\x80-\xff]{0,8}+[\x00-\x7f]|\x02[\x80-\xff]{9}[\x00\x01]",
    "double": rb"\x00|\x02.{8}",
    # 9 bytes hold 18 digits; an unscaled integer of more is none of ours.
    "decimal": rb"\x00|\x02(?:" + b"|".join(rb"\x%02x.{%d}" % (2 * n, n) for n in range(1, 10)) + rb")",
}


def _optional(schema: Any) -> str | None:
    """The name of the pattern of an optional field; None where no pattern can tell where it ends."""
    if not isinstance(schema, list) or len(schema) != 2 or schema[0] != "null":
        return None
    branch = schema[1]
    if isinstance(branch, dict):
        kind = "decimal" if branch.get("logicalType") == "decimal" else branch["type"]
    else:
        kind = branch
    return kind if kind in _OPTIONAL else None


def _row_pattern(kinds: list[str], *, is_kept: bool) -> re.Pattern[bytes]:
    group = rb"(%s)" if is_kept else rb"(?:%s)"
    return re.compile(b"".join(group % _OPTIONAL[kind] for kind in kinds), re.DOTALL)


class _Source:
    """Lines of a function that reads one record."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "long_": read_long, "end_": _end, "double_": _DOUBLE, "bad_": _bad, "longs_": _LONGS.__getitem__,
            "times_": _TIMES, "time_": _time,
        }  # fmt: skip

    def name(self, value: Any) -> str:
        made = f"k{len(self.names)}"
        self.names[made] = value
        return made

    def add(self, indent: int, *lines: str) -> None:
        self.lines += ["    " * indent + line for line in lines]

    def read(self, schema: Any, into: str, indent: int, *, is_kept: bool = True) -> None:
        """Lines that read a value from `d` at `i` into a name, and move `i` behind it.

        Args:
            is_kept: whether the value is wanted; parts of others are passed over.
        """
        if isinstance(schema, list):
            if len(schema) != 2 or schema[0] != "null":
                raise UnsupportedSchemaError(f"only unions of null and one type, not {schema!r}")
            self.add(indent, "b = d[i]", "i += 1", "if b == 0:", f"    {into} = None", "elif b == 2:")
            self.read(schema[1], into, indent + 1, is_kept=is_kept)
            self.add(indent, "else:", "    bad_('a union has no such branch')")
            return
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, dict):
            self.read(kind, into, indent, is_kept=is_kept)
        elif isinstance(schema, dict) and schema.get("logicalType") == "decimal":
            self.text(indent)
            self.add(indent, f"{into} = int.from_bytes(d[s:i], 'big', signed=True)")
        elif isinstance(schema, dict) and schema.get("logicalType") == "timestamp-millis":
            self.add(indent, f"{into} = times_.get(d[i:i + 6])", f"if {into} is None:", f"    {into}, i = time_(d, i)")
            self.add(indent, "else:", "    i += 6")
        elif kind in ("int", "long"):
            # Nearly all have one byte or two, and are read without a call.
            self.add(indent, "n = d[i]", "if n < 128:", "    i += 1", f"    {into} = n >> 1 ^ -(n & 1)")
            self.add(indent, "elif d[i + 1] < 128:", "    n = n & 127 | d[i + 1] << 7", "    i += 2")
            self.add(indent, f"    {into} = n >> 1 ^ -(n & 1)", "else:", f"    {into}, i = long_(d, i)")
        elif kind in ("string", "bytes"):
            self.text(indent)
            if is_kept:
                self.add(indent, f"{into} = d[s:i]" + (".decode()" if kind == "string" else ""))
        elif kind == "double":
            self.add(indent, f"{into}, = double_(d, i)", "i += 8")
        elif kind == "boolean":
            self.add(indent, f"{into} = d[i] == 1", "i += 1")
        elif kind == "enum":
            symbols = self.name(tuple(schema["symbols"]))
            self.add(indent, "n, i = long_(d, i)", "if n < 0:", "    bad_('an enum has no such symbol')")
            self.add(indent, f"{into} = {symbols}[n]")
        elif kind == "record":
            self.add(indent, f"{into}, i = {self.name(_record(schema, None if is_kept else ()))}(d, i)")
        elif kind == "array":
            item = _record(schema["items"], None if is_kept else ())
            self.add(indent, f"{into}, i = {self.name(_array(item))}(d, i)")
        else:
            raise UnsupportedSchemaError(f"no decoder for {schema!r}")

    def row(self, kinds: list[str], into: list[str]) -> None:
        """Lines that read a row of optional integers, or pass a row of optional fields over where nothing is kept."""
        self.add(1, f"m = {self.name(_row_pattern(kinds, is_kept=bool(into)))}.match(d, i)")
        self.add(1, "if m is None:", "    bad_('optional figures are not of the schema')", "i = m.end()")
        if into:
            self.add(1, f"{', '.join(into)} = map(longs_, m.groups())")

    def text(self, indent: int) -> None:
        """Lines after which a text lies from `s` to `i`; that it ends within the value is checked at its end."""
        self.add(indent, "n = d[i]", "if n < 128 and not n & 1:", "    s = i + 1", "    i = s + (n >> 1)", "else:")
        self.add(indent, "    s, i = end_(d, i)")


Part = Callable[[bytes, int], tuple[tuple[Any, ...], int]]


def _record(schema: dict[str, Any], wanted: Collection[str] | None = None) -> Part:
    """A reader of a record's wanted fields; None wants all."""
    source = _Source()
    source.add(0, "def read(d, i):")
    fields = schema["fields"]
    names: list[str] = []
    place = 0
    while place < len(fields):
        is_wanted = wanted is None or fields[place]["name"] in wanted
        kinds: list[str] = []
        for field in fields[place:]:
            kind = _optional(field["type"])
            is_alike = is_wanted == (wanted is None or field["name"] in wanted)
            if kind is None or not is_alike or (is_wanted and kind != "long"):
                break
            kinds.append(kind)
        if len(kinds) >= _ROW_MIN:
            row = [f"v{place + step}" for step in range(len(kinds))] if is_wanted else []
            source.row(kinds, row)
            names += row
            place += len(kinds)
            continue
        source.read(fields[place]["type"], f"v{place}", 1, is_kept=is_wanted)
        names += [f"v{place}"] if is_wanted else []
        place += 1
    source.add(1, f"return ({', '.join(names)}{',' if names else ''}), i")
    text = "\n".join(source.lines)
    exec(compile(text, "<decoder>", "exec"), source.names)  # noqa: S102 - source made of schema files of this repo
    read: Part = source.names["read"]
    return read


def _array(item: Part) -> Part:
    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        found: list[Any] = []
        # One block of a few items, as nearly all lists are: the loop below reads any list.
        count = data[at]
        if not count & _NOT_FEW:
            at += 1
            if not count:
                return (), at
            for _ in range(count >> 1):
                value, at = item(data, at)
                found.append(value)
            if not data[at]:
                return tuple(found), at + 1
        while True:
            count, at = read_long(data, at)
            if count < 0:
                # A negative count is followed by the block's bytes.
                _, at = read_long(data, at)
                count = -count
            if not count:
                return tuple(found), at
            if len(found) + count > _ITEMS_MAX:
                raise NotDecodable(f"a list has more than {_ITEMS_MAX} items")
            for _ in range(count):
                value, at = item(data, at)
                found.append(value)

    return read


def compile_decoder(schema: dict[str, Any], wanted: Collection[str] | None = None) -> Decode:
    """A decoder of a record schema.

    Args:
        wanted: names of the fields that are made; the others are passed over. None makes all.

    Returns:
        A function from a value's bytes to the wanted fields in the schema's order: arrays as tuples of such tuples,
        decimals as the unscaled integer, timestamps as whole milliseconds. It raises NotDecodable for bytes that are
        not of the schema.

    Raises:
        UnsupportedSchemaError: the schema has a type that is not supported.
    """
    read = _record(schema, wanted)

    def decode(data: bytes, start: int) -> tuple[Any, ...]:
        try:
            value, end = read(data, start)
        except IntegerTooLong as error:
            raise NotDecodable(str(error)) from None
        except (IndexError, UnicodeDecodeError, struct.error) as error:
            raise NotDecodable(f"the bytes end early or are no text: {error}") from None
        if end > len(data):
            raise NotDecodable("a text is longer than the value")
        return value

    return decode
