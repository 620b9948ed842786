"""The example events of `schemas/examples`: JSON for people, records for the codec.

In the files instants are RFC 3339 text in UTC with milliseconds, decimals are text, and bytes are their UTF-8 text.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import schemas
from schemas.conversions import instant

EXAMPLES_DIR = Path(schemas.__file__).parent / "examples"


class Example(NamedTuple):
    """One file: `examples/<topic>/<version>/<name>.json`."""

    topic: str
    version: int
    name: str
    path: Path

    @property
    def content(self) -> dict[str, Any]:
        """The file's JSON."""
        loaded: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return loaded

    def record(self, schema: dict[str, Any]) -> dict[str, Any]:
        """What the codec encodes: the content with instants in ms, decimals and bytes as such."""
        record: dict[str, Any] = _from_json(schema, self.content)
        return record


def all_examples() -> list[Example]:
    """Every example, in order of topic, version and name."""
    return [
        Example(path.parts[-3], int(path.parts[-2]), path.stem, path)
        for path in sorted(EXAMPLES_DIR.glob("*/*/*.json"))
    ]


def normal(value: Any) -> Any:
    """Decoded records with every instant as ms, so that they compare with example records."""
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, dict):
        return {name: normal(part) for name, part in value.items()}
    if isinstance(value, list):
        return [normal(part) for part in value]
    return value


def _from_json(schema: Any, value: Any) -> Any:
    if isinstance(schema, list):
        if value is None:
            assert "null" in schema, f"null where one of {schema} is due"
            return None
        (only,) = [part for part in schema if part != "null"]
        return _from_json(only, value)
    if isinstance(schema, str):
        return value.encode() if schema == "bytes" else value
    logical = schema.get("logicalType")
    if logical == "timestamp-millis":
        return _millis(value)
    if logical == "decimal":
        return Decimal(value)
    kind = schema["type"]
    if kind == "record":
        return {field["name"]: _from_json(field["type"], value[field["name"]]) for field in schema["fields"]}
    if kind == "array":
        return [_from_json(schema["items"], part) for part in value]
    if kind == "map":
        return {name: _from_json(schema["values"], part) for name, part in value.items()}
    return _from_json(kind, value) if isinstance(kind, (list, dict)) else value


def _millis(text: str) -> int:
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo == UTC, f"{text} is not in UTC"
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000
