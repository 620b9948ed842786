"""Counts the items and the steps of an Avro value before any of them is made. Pure.

A schema can be such that a value of ten bytes holds 2^60 items, or records of records that have no bytes at all, and a
general reader would make them all. Anybody who may register schemas can register such a schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.varints import IntegerTooLong, read_long

# No honest value nests deeper; a recursive schema allows it.
_DEPTH_MAX = 32
# The most steps of a walk: some of any value, and a few for each byte. A byte of a union is a step for the union, one
# for the branch, and some for names and records around it.
_STEPS, _STEPS_A_BYTE, _STEPS_MAX = 1_000, 8, 1_000_000
# A number of 38 digits has 16 bytes; making a number of the bytes takes the square of their count.
_DECIMAL_BYTES_MAX = 32
_FIXED_BYTES = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_VARINTS = frozenset({"int", "long", "enum"})


class TooMuch(ValueError):
    """The value holds more than the bounds, or its bytes are not of the schema."""


class Measure:
    """Measures values of one writer's schema.

    Args:
        schema: as the general reader has parsed it: names are whole, and so are references to them. Names that are
            resolved in two ways would have the one measured and the other read.
        named: the schema's named types by these names.
        most_items: the most items that all arrays and maps of a value may have together.
    """

    def __init__(self, schema: Any, named: Mapping[str, Any], most_items: int) -> None:
        self._schema = schema
        self._named = named
        self._most = most_items

    def check(self, data: bytes, start: int) -> None:
        """Walk over a value.

        Args:
            start: position of the value's first byte.

        Raises:
            TooMuch: the value has more items than the bound, takes more steps than its bytes account for, nests deeper
                than 32, has a number of more than 32 bytes, or is not of the schema.
        """
        try:
            _Walk(data, self._named, self._most).over(self._schema, start, 0)
        except IntegerTooLong as error:
            raise TooMuch(str(error)) from None
        except (IndexError, KeyError, TypeError, RecursionError) as error:
            raise TooMuch(f"the bytes are not of the schema: {error!r}") from None


class _Walk:
    def __init__(self, data: bytes, named: Mapping[str, Any], left: int) -> None:
        self._data = data
        self._named = named
        self._left = left
        self._steps = min(_STEPS + _STEPS_A_BYTE * len(data), _STEPS_MAX)

    def over(self, schema: Any, at: int, depth: int) -> int:
        """The position after a value of a schema that begins at `at`."""
        if depth > _DEPTH_MAX:
            raise TooMuch("the value nests too deep")
        self._steps -= 1
        if self._steps < 0:
            raise TooMuch("it has more parts than its bytes account for")
        if isinstance(schema, list):
            branch, at = read_long(self._data, at)
            if branch < 0:
                raise TooMuch("a union has no such branch")
            return self.over(schema[branch], at, depth + 1)
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, dict | list):
            return self.over(kind, at, depth + 1)
        if kind in _VARINTS:
            return read_long(self._data, at)[1]
        if kind in ("string", "bytes"):
            size, at = read_long(self._data, at)
            if size > _DECIMAL_BYTES_MAX and isinstance(schema, dict) and schema.get("logicalType") == "decimal":
                raise TooMuch("a number is too long")
            return self._passed(at, size)
        if kind in _FIXED_BYTES:
            return self._passed(at, _FIXED_BYTES[kind])
        if kind == "fixed":
            if schema["size"] > _DECIMAL_BYTES_MAX and schema.get("logicalType") == "decimal":
                raise TooMuch("a number is too long")
            return self._passed(at, schema["size"])
        if kind in ("record", "error"):
            for field in schema["fields"]:
                at = self.over(field["type"], at, depth + 1)
            return at
        if kind in ("array", "map"):
            return self._items(schema, kind, at, depth)
        return self.over(self._named[kind], at, depth + 1)

    def _items(self, schema: Any, kind: str, at: int, depth: int) -> int:
        while True:
            items, at = read_long(self._data, at)
            if items < 0:
                _, at = read_long(self._data, at)
                items = -items
            if not items:
                return at
            self._left -= items
            if self._left < 0:
                raise TooMuch("it holds more items than are read")
            for _ in range(items):
                if kind == "map":
                    at = self.over("string", at, depth + 1)
                at = self.over(schema["items" if kind == "array" else "values"], at, depth + 1)

    def _passed(self, at: int, size: int) -> int:
        if size < 0 or at + size > len(self._data):
            raise TooMuch("a text is longer than the message")
        return at + size
