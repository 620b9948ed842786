"""Short names and functions for the JSON schemas of replies. Pure."""

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
"""A field that is always null; written as an empty string or null, since few client generators know a null type."""


def named(name: str, schema: Schema) -> Schema:
    """A schema that becomes a type of this name in generated clients."""
    return {"title": name, **schema}


def shape(name: str, properties: Schema, required: Iterable[str] | None = None) -> Schema:
    """The schema of an object with exactly these properties.

    Args:
        name: the type's name in generated clients; see `components`.
        required: the properties that are always present; None for all of them.
    """
    return {
        "title": name,
        "type": "object",
        "required": list(properties if required is None else required),
        "additionalProperties": False,
        "properties": properties,
    }


def each(names: Iterable[str], schema: Schema) -> Schema:
    """Properties that all have the same schema."""
    return dict.fromkeys(names, schema)


def listed(items: Schema) -> Schema:
    """The schema of an array of items."""
    return {"type": "array", "items": items}


def or_null(schema: Schema) -> Schema:
    """The schema of a value that may be null.

    A plain type lists null as a second type, since few client generators read `{"type": "null"}` as a property.
    """
    if "title" not in schema and isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def one_of(names: Iterable[str]) -> Schema:
    """The schema of a text that is one of some names."""
    return {"type": "string", "enum": list(names)}
