"""Writers' schemas that are none of this project's files, cut down to what can be read without harm. Pure.

Whoever may register a schema chooses how long it takes to read a value by it. A schema of a megabyte is quoted by each
error; a `decimal` of a megabyte of bytes takes an hour to become a number. What a value holds is measured by
`measuring.py`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

TEXT_MAX = 64 * 1024
"""The longest text of a schema that is used, in characters; the longest of this project has 18,000."""
_DIGITS_MAX = 38


def bounded(text: str, logical_types: Collection[str]) -> dict[str, Any]:
    """A record's schema as JSON, without logical types that make other values than the topic's readers expect.

    Args:
        text: the schema as a registry holds it.
        logical_types: those that are kept; a `decimal` only with 38 digits at most.

    Raises:
        ValueError: the text is no schema of a record.
    """
    schema = json.loads(text)
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise ValueError("it is no record")
    _strip(schema, frozenset(logical_types))
    return schema


def logical_types(schema: Any) -> set[str]:
    """All logical types that a schema names."""
    if isinstance(schema, list):
        return set().union(*map(logical_types, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    named = {schema["logicalType"]} if "logicalType" in schema else set()
    return named.union(*map(logical_types, schema.values()))


def _strip(schema: Any, kept: frozenset[str]) -> None:
    if isinstance(schema, list):
        for part in schema:
            _strip(part, kept)
    elif isinstance(schema, dict):
        kind = schema.get("logicalType")
        if kind is not None and not (isinstance(kind, str) and kind in kept and _is_short(schema)):
            del schema["logicalType"]
        for part in schema.values():
            _strip(part, kept)


def _is_short(schema: dict[str, Any]) -> bool:
    if schema["logicalType"] != "decimal":
        return True
    digits = schema.get("precision"), schema.get("scale", 0)
    return all(isinstance(number, int) and number <= _DIGITS_MAX for number in digits)
