"""Collects the named components of the description, so that generated clients have types with readable names. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.query_api.serving.shapes import Schema

_REFERENCE = "#/components/schemas/"
# Keywords that hold schemas by name, one schema, or several.
_BY_NAME, _ONE, _SEVERAL = ("properties", "patternProperties"), ("items", "additionalProperties"), ("anyOf", "oneOf")
_NULL: Schema = {"type": "null"}
_NOT_OF_A_COMPONENT = ("title", "examples")


class Components:
    """Collects schemas by name: schemas with a `title`, and pydantic models."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}

    def schema(self, schema: Mapping[str, Any]) -> Schema:
        """A schema with references in place of its named parts, which become components.

        Raises:
            TypeError: an object has properties but no name, or two different schemas have the same name.
        """
        rest = {key: value for key, value in schema.items() if key != "title"}
        if "title" not in schema and "properties" in schema:
            raise TypeError(f"an object with {', '.join(schema['properties'])} has no name: give it one in `shape`")
        rest = _mapped(rest, self.schema)
        return self._add(schema["title"], rest) if "title" in schema else rest

    def model(self, *models: type[BaseModel]) -> list[Schema]:
        """References to the schemas that pydantic models accept; each schema becomes a component with the class name.

        Raises:
            TypeError: two different schemas have the same name.
        """
        made, described = models_json_schema(
            [(model, "validation") for model in models], ref_template=_REFERENCE + "{model}"
        )
        for name, schema in described.get("$defs", {}).items():
            self._add(name, readable(schema))
        return [made[model, "validation"] for model in models]

    def _add(self, name: str, schema: Schema) -> Schema:
        held = self.schemas.setdefault(name, schema)
        if _without_words(held) != _without_words(schema):
            raise TypeError(f"two different schemas are called {name}")
        return {"$ref": _REFERENCE + name}


def readable(schema: Mapping[str, Any]) -> Schema:
    """A pydantic schema in a form that client generators read: no null or object as default, no null in `anyOf`."""
    rest = {key: value for key, value in schema.items() if key not in _NOT_OF_A_COMPONENT}
    if isinstance(rest.get("default", ""), dict | None):
        del rest["default"]
    rest = _mapped(rest, readable)
    kinds = rest.get("anyOf", [])
    if _NULL in kinds:
        return _nullable(rest, [kind for kind in kinds if kind != _NULL])
    return rest


def _nullable(schema: Schema, kinds: list[Schema]) -> Schema:
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    if [kind.get("type") for kind in kinds] == ["integer", "number"]:
        kinds = [{"type": "number"}]
    if len(kinds) == 1 and isinstance(kinds[0].get("type"), str) and "enum" not in kinds[0]:
        return {**rest, **kinds[0], "type": [kinds[0]["type"], "null"]}
    return {**rest, "anyOf": [*kinds, _NULL]}


def _mapped(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """A schema with `change` applied to each of its parts."""
    changed = dict(schema)
    for key in _BY_NAME:
        if key in schema:
            changed[key] = {name: change(part) for name, part in schema[key].items()}
    for key in _ONE:
        if isinstance(schema.get(key), dict):
            changed[key] = change(schema[key])
    for key in _SEVERAL:
        if key in schema:
            changed[key] = [change(part) for part in schema[key]]
    return changed


def _without_words(schema: Schema) -> Schema:
    return _mapped({key: value for key, value in schema.items() if key != "description"}, _without_words)
