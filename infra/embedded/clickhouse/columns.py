"""The columns of an external table, parsed into names and types and written anew.

In: a structure (`a UInt8, b Array(String)`) or a list of types, as a client sends them. Out: the same columns as SQL,
made only of quoted names, known types, numbers and quoted strings. Pure. A type that is not known here is refused, and
so is anything else that a column can have: a default, a codec, an expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from infra.embedded.clickhouse.errors import BAD_ARGUMENTS, ServerError, refusal
from infra.embedded.clickhouse.statements import Token, tokens

MOST_COLUMNS = 1000
MOST_CHARACTERS = 64 * 1024
_DEPTH = 16
_NUMBER = re.compile(r"[0-9]{1,20}")

_INTEGERS = frozenset(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64, 128, 256))
_PLAIN = _INTEGERS | {
    "BFloat16", "Bool", "Date", "Date32", "DateTime", "DateTime64", "Decimal", "Enum", "Enum16", "Enum8", "Float32",
    "Float64", "IPv4", "IPv6", "LineString", "MultiLineString", "MultiPolygon", "Nothing", "Point", "Polygon", "Ring",
    "String", "Time", "Time64", "UUID",
}  # fmt: skip
_OF_NUMBERS = frozenset(
    {
        "DateTime", "DateTime64", "Decimal", "Decimal128", "Decimal256", "Decimal32", "Decimal64", "FixedString",
        "Time64",
    }
)  # fmt: skip
_ENUMS = frozenset({"Enum", "Enum16", "Enum8"})
_OF_TYPES = frozenset({"Array", "LowCardinality", "Map", "Nullable", "Tuple", "Variant"})


def of_structure(text: str) -> str:
    """The columns of a structure `name type, ...`, as SQL.

    Raises:
        ServerError: BAD_ARGUMENTS for anything else.
    """
    reader = _Reader(text)
    columns = [f"{reader.name()} {reader.type()}"]
    while reader.took(","):
        columns.append(f"{reader.name()} {reader.type()}")
    return reader.finished(columns)


def of_types(text: str) -> str:
    """The columns of a list `type, ...`, as SQL; they are named `_1`, `_2` and so on, as a server names them.

    Raises:
        ServerError: BAD_ARGUMENTS for anything else.
    """
    reader = _Reader(text)
    types = [reader.type()]
    while reader.took(","):
        types.append(reader.type())
    return reader.finished([f"`_{number}` {kind}" for number, kind in enumerate(types, 1)])


class _Reader:
    """Reads a text from its beginning to its end, once."""

    def __init__(self, text: str) -> None:
        if len(text) > MOST_CHARACTERS:
            raise _refused(f"it has {len(text)} characters; at most {MOST_CHARACTERS} are allowed")
        self._tokens: Iterator[Token] = tokens(text)
        self._next = next(self._tokens, None)

    def finished(self, columns: list[str]) -> str:
        if self._next is not None:
            raise self._unexpected()
        if len(columns) > MOST_COLUMNS:
            raise _refused(f"it has {len(columns)} columns; at most {MOST_COLUMNS} are allowed")
        return ", ".join(columns)

    def name(self) -> str:
        """A name, in backticks."""
        token = self._next
        if token is None or token.kind not in ("word", "quoted"):
            raise self._unexpected()
        plain = token.text if token.kind == "word" else token.text[1:-1]
        if not plain.isprintable() or not plain or set(plain) & set('`"\\'):
            raise self._unexpected()
        self._step()
        return f"`{plain}`"

    def type(self, depth: int = 0) -> str:
        if depth > _DEPTH:
            raise _refused(f"its types are nested more than {_DEPTH} deep")
        token = self._next
        if token is None or token.kind != "word":
            raise self._unexpected()
        kind = token.text
        self._step()
        if not self.took("("):
            if kind not in _PLAIN or kind in _ENUMS:
                raise _refused(f"the type {kind[:40]} is not known, or needs arguments")
            return kind
        if kind in _ENUMS:
            arguments = self._list(self._enumerated)
        elif kind in _OF_NUMBERS:
            arguments = self._list(self._literal)
        elif kind in _OF_TYPES:
            arguments = self._list(lambda: self._element(kind, depth + 1))
        else:
            raise _refused(f"the type {kind[:40]} is not known, or takes no arguments")
        return f"{kind}({', '.join(arguments)})"

    def _list(self, read: Callable[[], str]) -> list[str]:
        found = [read()]
        while self.took(","):
            found.append(read())
        if not self.took(")"):
            raise self._unexpected()
        return found

    def _element(self, kind: str, depth: int) -> str:
        """A type as another type's argument; elements of a tuple may have names."""
        token = self._next
        known = token is not None and token.text in _PLAIN | _OF_NUMBERS | _OF_TYPES
        name = f"{self.name()} " if kind == "Tuple" and not known else ""
        return name + self.type(depth)

    def _enumerated(self) -> str:
        text = self._literal()
        return f"{text} = {self._literal()}" if self.took("=") else text

    def _literal(self) -> str:
        """A whole number, or a string that holds no quotes and no backslashes."""
        sign = "-" if self.took("-") else ""
        token = self._next
        if token is None:
            raise self._unexpected()
        is_string = token.kind == "string" and not sign and not set(token.text[1:-1]) & set("\\'")
        is_number = token.kind == "number" and _NUMBER.fullmatch(token.text) is not None
        if not is_string and not is_number:
            raise self._unexpected()
        self._step()
        return sign + token.text

    def took(self, mark: str) -> bool:
        """Step over a mark if it comes next; whether it did."""
        if self._next is None or self._next.kind != "other" or self._next.text != mark:
            return False
        self._step()
        return True

    def _step(self) -> None:
        self._next = next(self._tokens, None)

    def _unexpected(self) -> ServerError:
        where = "its end" if self._next is None else f"{self._next.text[:40]!r} at character {self._next.start + 1}"
        return _refused(f"{where} was not expected")


def _refused(why: str) -> ServerError:
    return refusal(BAD_ARGUMENTS, f"Cannot read the structure of an external table: {why}")
