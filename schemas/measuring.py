"""Counts the items of an Avro value before any of them is made. Pure.

A schema can be such that a value of ten bytes holds 2^60 items, and a general reader would make them all. Anybody who
may register schemas can register such a schema.
"""

from __future__ import annotations

from typing import Any

# No honest value nests deeper; a recursive schema allows it.
_DEPTH_MAX = 32
_FIXED_BYTES = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_VARINTS = frozenset({"int", "long", "enum"})


class TooMuch(ValueError):
    """The value holds more items than the bound, or its bytes are not of the schema."""


class Measure:
    """Measures values of one writer's schema.

    Args:
        schema: Avro, parsed from its JSON.
        most_items: the most items that all arrays and maps of a value may have together.
    """

    def __init__(self, schema: Any, most_items: int) -> None:
        self._schema = schema
        self._most = most_items
        self._named: dict[str, Any] = {}
        _name(schema, "", self._named)

    def check(self, data: bytes, start: int) -> None:
        """Walk over a value.

        Args:
            start: position of the value's first byte.

        Raises:
            TooMuch: the value has more items than the bound, nests deeper than 32, or is not of the schema.
        """
        try:
            _Walk(data, self._named, self._most).over(self._schema, start, 0)
        except (IndexError, KeyError, TypeError, RecursionError) as error:
            raise TooMuch(f"the bytes are not of the schema: {error!r}") from None


def _name(schema: Any, namespace: str, named: dict[str, Any]) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _name(branch, namespace, named)
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if kind in {"record", "error", "enum", "fixed"}:
        namespace = schema.get("namespace", namespace)
        name = str(schema["name"])
        named[name if "." in name or not namespace else f"{namespace}.{name}"] = schema
        named.setdefault(name.rpartition(".")[2], schema)
    for field in schema.get("fields", ()):
        _name(field["type"], namespace, named)
    for part in ("items", "values"):
        if part in schema:
            _name(schema[part], namespace, named)
    if isinstance(kind, dict | list):
        _name(kind, namespace, named)


class _Walk:
    def __init__(self, data: bytes, named: dict[str, Any], left: int) -> None:
        self._data = data
        self._named = named
        self._left = left

    def over(self, schema: Any, at: int, depth: int) -> int:
        """The position after a value of a schema that begins at `at`."""
        if depth > _DEPTH_MAX:
            raise TooMuch("the value nests too deep")
        if isinstance(schema, list):
            branch, at = self._varint(at)
            if branch < 0:
                raise TooMuch("a union has no such branch")
            return self.over(schema[branch], at, depth + 1)
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, dict | list):
            return self.over(kind, at, depth + 1)
        if kind in _VARINTS:
            return self._varint(at)[1]
        if kind in ("string", "bytes"):
            size, at = self._varint(at)
            return self._passed(at, size)
        if kind in _FIXED_BYTES:
            return self._passed(at, _FIXED_BYTES[kind])
        if kind == "fixed":
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
            items, at = self._varint(at)
            if items < 0:
                _, at = self._varint(at)
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

    def _varint(self, at: int) -> tuple[int, int]:
        shift = number = 0
        while True:
            byte = self._data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (number >> 1) ^ -(number & 1), at
            shift += 7
            if shift > 63:
                raise TooMuch("an integer is longer than 64 bits")
