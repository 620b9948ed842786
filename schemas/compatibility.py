"""Checks published schemas: a published file is never edited, and a new version reads all values written before it.

`python -m schemas.compatibility` compares the files of `avro/` with `avro/published.lock` and every version of a topic
with the ones before it; `--publish` adds new versions to the record, and refuses to change what it holds. Pure but for
the files.

Source: the Avro specification, "Schema Resolution"; BACKWARD as in Confluent's registry: a reader with the new schema
reads what any earlier one wrote.
"""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

AVRO_DIR = Path(__file__).parent / "avro"
LOCK_NAME = "published.lock"
Schema = Any
# The other primitive types that a reader's primitive type can read.
_PROMOTIONS = {
    "long": {"int"},
    "float": {"int", "long"},
    "double": {"int", "long", "float"},
    "string": {"bytes"},
    "bytes": {"string"},
}
_NAMED = {"record", "enum", "fixed"}


class _Names:
    """Named types of one schema, so that a name can stand for its definition."""

    def __init__(self, schema: Schema) -> None:
        self._known: dict[str, Schema] = {}
        self._collect(schema, "")

    def _collect(self, schema: Schema, namespace: str) -> None:
        if isinstance(schema, list):
            for part in schema:
                self._collect(part, namespace)
        elif isinstance(schema, dict):
            if schema.get("type") in _NAMED:
                namespace = schema.get("namespace", namespace)
                self._known[schema["name"]] = schema
                self._known[f"{namespace}.{schema['name']}"] = schema
            for field in schema.get("fields", ()):
                self._collect(field["type"], namespace)
            for part in ("items", "values", "type"):
                if isinstance(schema.get(part), dict | list):
                    self._collect(schema[part], namespace)

    def resolve(self, schema: Schema) -> Schema:
        """A schema's definition: a name is looked up, and `{"type": "long"}` becomes `"long"`."""
        if isinstance(schema, str):
            return self._known.get(schema, schema)
        if isinstance(schema, dict) and isinstance(schema["type"], dict | list):
            return self.resolve(schema["type"])
        return schema


def incompatibilities(reader: Schema, writer: Schema) -> list[str]:
    """The reasons why values of a writer's schema can't all be read by a reader's schema; [] when they can.

    Args:
        reader: the newer schema, as parsed JSON.
        writer: the older schema, as parsed JSON.
    """
    return list(dict.fromkeys(_Comparison(_Names(reader), _Names(writer)).differences(reader, writer, "value")))


class _Comparison:
    def __init__(self, reader_names: _Names, writer_names: _Names) -> None:
        self._reader_names = reader_names
        self._writer_names = writer_names
        self._seen: set[tuple[str, str]] = set()

    def differences(self, reader: Schema, writer: Schema, at: str) -> Iterator[str]:
        reader, writer = self._reader_names.resolve(reader), self._writer_names.resolve(writer)
        if isinstance(writer, list):
            for branch in writer:
                yield from self.differences(reader, branch, at)
            return
        if isinstance(reader, list):
            if all(any(True for _ in self.differences(branch, writer, at)) for branch in reader):
                yield f"{at}: {_name(writer)} was written, none of {', '.join(map(_name, reader))} reads it"
            return
        yield from self._of_types(reader, writer, at)

    def _of_types(self, reader: Schema, writer: Schema, at: str) -> Iterator[str]:
        kind, written = _kind(reader), _kind(writer)
        if kind != written and written not in _PROMOTIONS.get(kind, ()):
            yield f"{at}: {_name(writer)} was written, {_name(reader)} can't read it"
            return
        if _logical(reader) != _logical(writer):
            # Avro itself would read the bare number, but with another meaning.
            yield f"{at}: its logical type was {_logical(writer)}, it is {_logical(reader)}"
        if kind == "array":
            yield from self.differences(reader["items"], writer["items"], f"{at}[]")
        elif kind == "map":
            yield from self.differences(reader["values"], writer["values"], f"{at}{{}}")
        elif kind == "enum":
            lost = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
            if lost and "default" not in reader:
                yield f"{at}: symbols {', '.join(lost)} were written and are unknown without a default"
        elif kind == "fixed":
            if reader["size"] != writer["size"]:
                yield f"{at}: its size was {writer['size']}, it is {reader['size']}"
        elif kind == "record":
            yield from self._of_records(reader, writer, at)

    def _of_records(self, reader: Schema, writer: Schema, at: str) -> Iterator[str]:
        pair = (reader["name"], writer["name"])
        if pair in self._seen:
            return  # a recursive type, compared already
        self._seen.add(pair)
        if reader["name"] != writer["name"] and writer["name"] not in reader.get("aliases", ()):
            yield f"{at}: the record was named {writer['name']}, it is {reader['name']} without that alias"
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            names = [field["name"], *field.get("aliases", ())]
            match = next((written[name] for name in names if name in written), None)
            if match is not None:
                yield from self.differences(field["type"], match["type"], f"{at}.{field['name']}")
            elif "default" not in field:
                yield f"{at}.{field['name']}: is new and has no default"


def _kind(schema: Schema) -> str:
    return str(schema["type"]) if isinstance(schema, dict) else str(schema)


def _logical(schema: Schema) -> str | None:
    if not isinstance(schema, dict) or "logicalType" not in schema:
        return None
    details = [str(schema[name]) for name in ("precision", "scale") if name in schema]
    return f"{schema['logicalType']}({', '.join(details)})" if details else str(schema["logicalType"])


def _name(schema: Schema) -> str:
    if isinstance(schema, list):
        return "a union"
    if isinstance(schema, dict) and schema.get("type") in _NAMED:
        return f"{schema['type']} {schema['name']}"
    return _kind(schema)


def checksum(text: str) -> str:
    """Hex SHA-256 of a schema's meaning: layout and order of keys don't matter, docs do."""
    return hashlib.sha256(json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def versions(directory: Path = AVRO_DIR) -> dict[str, dict[int, str]]:
    """Texts of all schema files by topic and version."""
    found: dict[str, dict[int, str]] = {}
    for path in sorted(directory.glob("*.avsc")):
        topic, _, version = path.name.removesuffix(".avsc").rpartition(".v")
        found.setdefault(topic, {})[int(version)] = path.read_text(encoding="utf-8")
    return found


def published(directory: Path = AVRO_DIR) -> dict[str, str]:
    """The record of published files: checksum by file name."""
    path = directory / LOCK_NAME
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines if line)}


def problems(directory: Path = AVRO_DIR) -> list[str]:
    """Violations of the two rules, one line each; [] when there are none."""
    found: list[str] = []
    record = published(directory)
    files = {
        f"{topic}.v{version}.avsc": text
        for topic, held in versions(directory).items()
        for version, text in held.items()
    }
    for name, digest in record.items():
        if name not in files:
            found.append(f"{name} is published and gone: restore it, topics may hold its values")
        elif checksum(files[name]) != digest:
            found.append(f"{name} is published and was edited: restore it, and put the change into the next version")
    for name in sorted(files.keys() - record.keys()):
        found.append(f"{name} is not in {LOCK_NAME}: run `python -m schemas.compatibility --publish` once it is final")
    for topic, held in versions(directory).items():
        ordered = sorted(held)
        for place, version in enumerate(ordered):
            for earlier in ordered[:place]:
                reasons = incompatibilities(json.loads(held[version]), json.loads(held[earlier]))
                found.extend(f"{topic}: v{version} can't read v{earlier}: {reason}" for reason in reasons)
    return found


def publish(directory: Path = AVRO_DIR) -> list[str]:
    """Add new versions to the record; returns their file names."""
    record = published(directory)
    new = {
        f"{topic}.v{version}.avsc": checksum(text)
        for topic, held in versions(directory).items()
        for version, text in held.items()
        if f"{topic}.v{version}.avsc" not in record
    }
    lines = [f"{digest}  {name}\n" for name, digest in sorted({**record, **new}.items())]
    (directory / LOCK_NAME).write_text("".join(lines), encoding="utf-8")
    return sorted(new)


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code: 1 when a rule is violated."""
    if list(arguments) == ["--publish"]:
        for name in publish():
            print(f"published {name}")
    elif arguments:
        print("usage: python -m schemas.compatibility [--publish]", file=sys.stderr)
        return 2
    found = problems()
    for problem in found:
        print(f"schemas: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
