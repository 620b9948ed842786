"""Published schemas are never edited, and a newer version reads whatever an earlier one wrote."""

from __future__ import annotations

import copy
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.codec import RecordCodec, codec, newest_version, schema_text
from schemas.compatibility import AVRO_DIR, LOCK_NAME, incompatibilities, main, problems, publish, versions
from schemas.conversions import TYPED
from tests.support.examples import all_examples, normal

Schema = dict[str, Any]


def record(*fields: Schema, name: str = "Thing") -> Schema:
    return {"type": "record", "name": name, "namespace": "tidemark", "fields": list(fields)}


def field(name: str, kind: Any, **more: Any) -> Schema:
    return {"name": name, "type": kind, **more}


OLD = record(field("id", "string"), field("count", "int"))
COLOURS = {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}

COMPATIBLE = {
    "the same": (OLD, OLD, {"id": "a", "count": 1}),
    "a new field with a default": (
        record(*OLD["fields"], field("more", "string", default="")),
        OLD,
        {"id": "a", "count": 1},
    ),
    "a field left out": (record(field("id", "string")), OLD, {"id": "a", "count": 1}),
    "a wider number": (record(field("id", "string"), field("count", "long")), OLD, {"id": "a", "count": 1}),
    "made nullable": (record(field("id", "string"), field("count", ["null", "int"])), OLD, {"id": "a", "count": 1}),
    "renamed with an alias": (
        record(field("id", "string"), field("n", "int", aliases=["count"])),
        OLD,
        {"id": "a", "count": 1},
    ),
    "a symbol more": (
        record(field("c", {**COLOURS, "symbols": ["RED", "BLUE", "GREEN"]})),
        record(field("c", COLOURS)),
        {"c": "RED"},
    ),
    "a symbol less, with a default": (
        record(field("c", {**COLOURS, "symbols": ["RED"], "default": "RED"})),
        record(field("c", COLOURS)),
        {"c": "BLUE"},
    ),
    "deeper down": (
        record(
            field(
                "items", {"type": "array", "items": record(*OLD["fields"], field("x", "int", default=0), name="Part")}
            )
        ),
        record(field("items", {"type": "array", "items": record(*OLD["fields"], name="Part")})),
        {"items": [{"id": "a", "count": 2}]},
    ),
    "a map of wider numbers": (
        record(field("m", {"type": "map", "values": "long"})),
        record(field("m", {"type": "map", "values": "int"})),
        {"m": {"a": 1}},
    ),
}
BREAKING = {
    "a new field without a default": (record(*OLD["fields"], field("more", "string")), OLD, "value.more: is new"),
    "a field renamed": (record(field("id", "string"), field("n", "int")), OLD, "value.n: is new"),
    "another type": (record(field("id", "string"), field("count", "string")), OLD, "value.count: int was written"),
    "a narrower number": (OLD, record(field("id", "string"), field("count", "long")), "value.count: long was written"),
    "no longer nullable": (OLD, record(field("id", "string"), field("count", ["null", "int"])), "null was written"),
    "a symbol less": (record(field("c", {**COLOURS, "symbols": ["RED"]})), record(field("c", COLOURS)), "symbols BLUE"),
    "another unit": (
        record(field("at", {"type": "long", "logicalType": "timestamp-micros"})),
        record(field("at", {"type": "long", "logicalType": "timestamp-millis"})),
        "its logical type was timestamp-millis",
    ),
    "another scale": (
        record(field("s", {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2})),
        record(field("s", {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 3})),
        "its logical type was decimal(18, 3)",
    ),
    "another record": (record(*OLD["fields"], name="Other"), OLD, "the record was named Thing"),
    "deeper down": (
        record(field("items", {"type": "array", "items": record(field("id", "int"), name="Part")})),
        record(field("items", {"type": "array", "items": record(field("id", "string"), name="Part")})),
        "value.items[].id: string was written",
    ),
}


@pytest.mark.parametrize("case", COMPATIBLE)
def test_what_is_called_compatible_is_read(case: str) -> None:
    reader, writer, value = COMPATIBLE[case]
    assert incompatibilities(reader, writer) == []
    written = io.BytesIO()
    fastavro.schemaless_writer(written, copy.deepcopy(writer), value)
    read = fastavro.schemaless_reader(io.BytesIO(written.getvalue()), copy.deepcopy(writer), copy.deepcopy(reader))
    assert isinstance(read, dict)
    assert set(read) == {entry["name"] for entry in reader["fields"]}


@pytest.mark.parametrize("case", BREAKING)
def test_what_breaks_is_named(case: str) -> None:
    reader, writer, said = BREAKING[case]
    assert any(said in reason for reason in incompatibilities(reader, writer)), incompatibilities(reader, writer)


def test_the_files_keep_their_word() -> None:
    assert problems() == [], "run `python -m schemas.compatibility`"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the schema files with their record."""
    copied = tmp_path / "avro"
    shutil.copytree(AVRO_DIR, copied)
    return copied


def _edit(path: Path, change: Callable[[Schema], object], to: Path | None = None) -> None:
    schema = json.loads(path.read_text())
    change(schema)
    (to or path).write_text(json.dumps(schema))


def test_an_edited_published_version_fails(directory: Path) -> None:
    path = directory / "platform.raw.v1.avsc"
    _edit(path, lambda schema: schema["fields"].append(field("region", "string", default="")))
    assert [problem for problem in problems(directory) if "was edited" in problem]
    publish(directory)
    assert [problem for problem in problems(directory) if "was edited" in problem], "the record is never rewritten"


def test_another_layout_is_no_edit(directory: Path) -> None:
    _edit(directory / "platform.raw.v1.avsc", lambda _: None)
    assert problems(directory) == []


def test_a_removed_published_version_fails(directory: Path) -> None:
    (directory / "platform.raw.v1.avsc").unlink()
    assert any("gone" in problem for problem in problems(directory))


def test_a_new_version_must_read_the_earlier_ones_and_be_published(directory: Path) -> None:
    first, second = directory / "platform.raw.v1.avsc", directory / "platform.raw.v2.avsc"
    _edit(first, lambda schema: schema["fields"].append(field("region", "string", default="")), second)
    assert problems(directory) == [
        f"platform.raw.v2.avsc is not in {LOCK_NAME}: run `python -m schemas.compatibility --publish` once it is final"
    ]
    assert publish(directory) == ["platform.raw.v2.avsc"]
    assert problems(directory) == []
    _edit(first, lambda schema: schema["fields"].append(field("region", "string")), directory / "platform.raw.v3.avsc")
    publish(directory)
    found = problems(directory)
    assert "platform.raw: v3 can't read v1: value.region: is new and has no default" in found


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert main(["--nonsense"]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("topic", sorted(versions()))
def test_old_and_new_values_of_a_topic_are_read_side_by_side(topic: str) -> None:
    """Today's reader, fed by a writer of the past (an optional field less) and one of the future (a field more)."""
    schema: Schema = json.loads(schema_text(topic))
    optional = [entry for entry in schema["fields"] if "default" in entry]
    past = {**schema, "fields": [entry for entry in schema["fields"] if entry not in optional]}
    future = {**schema, "fields": [*schema["fields"], field("of_tomorrow", ["null", "string"], default=None)]}
    written = {7: past, 8: schema, 9: future}
    texts = {number: json.dumps(held) for number, held in written.items()}
    newest = [held for held in all_examples() if held.topic == topic and held.version == newest_version(topic)]
    for example in newest:
        value = example.record(schema)
        reader = RecordCodec(topic, schema_id=8, fetch_schema=texts.__getitem__)
        for number, held in written.items():
            out = io.BytesIO()
            fastavro.schemaless_writer(out, copy.deepcopy(held), {"of_tomorrow": "x", **value})
            message = b"\0" + number.to_bytes(4, "big") + out.getvalue()
            read = normal(reader.decode(message))
            for entry in schema["fields"]:
                name = entry["name"]
                is_lost = held is past and entry in optional
                assert read[name] == (entry["default"] if is_lost else value[name]), (name, number)
            if topic in TYPED:
                typed = codec(topic, schema_id=8, fetch_schema=texts.__getitem__)
                if not is_lost_anywhere(held, past, optional):
                    assert typed.decode(message) == typed.decode(reader.encode(value))
                else:
                    typed.decode(message)


def is_lost_anywhere(held: Schema, past: Schema, optional: list[Schema]) -> bool:
    return held is past and bool(optional)
