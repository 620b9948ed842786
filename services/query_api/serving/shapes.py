"""Short words for JSON schemas of replies. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer"}
COUNT_OR_NULL: Schema = {"type": ["integer", "null"]}
NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
TIME_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}
ANYTHING: Schema = {}
NOTHING: Schema = {"type": ["string", "null"], "maxLength": 0, "description": "Always null."}
"""Null alone; said so that generators of clients, few of which know a type that is only null, have a type for it."""


def named(name: str, schema: Schema) -> Schema:
    """A schema that generated clients know by a name."""
    return {"title": name, **schema}


def shape(name: str, properties: Schema, required: Iterable[str] | None = None) -> Schema:
    """An object with exactly these properties, of which all are there unless it is said which.

    Args:
        name: of its type in generated clients; see `components`.
    """
    return {
        "title": name,
        "type": "object",
        "required": list(properties if required is None else required),
        "additionalProperties": False,
        "properties": properties,
    }


def each(names: Iterable[str], schema: Schema) -> Schema:
    """The same schema for every name."""
    return dict.fromkeys(names, schema)


def listed(items: Schema) -> Schema:
    """The schema of an array of items."""
    return {"type": "array", "items": items}


def or_null(schema: Schema) -> Schema:
    """What may be missing.

    A plain type names null beside it, since few generators of clients read `{"type": "null"}` as a property.
    """
    if "title" not in schema and isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def one_of(names: Iterable[str]) -> Schema:
    """One of some texts."""
    return {"type": "string", "enum": list(names)}
