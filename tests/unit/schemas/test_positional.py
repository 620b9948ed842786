"""Values as tuples: by whatever schema they were written, the same as the general reader's records."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest

from schemas.codec import MalformedEvent, RecordCodec, newest_version, schema_text
from schemas.positional import PositionalCodec
from tests.support.examples import Example, all_examples

TOPICS = ("rollups.posts", "rollups.channels", "catalog.posts", "catalog.channels", "accounts.events")
EXAMPLES = [example for example in all_examples() if example.topic in TOPICS]


def foreign(topic: str, version: int | None = None) -> str:
    """Another writer's schema of a topic: a field more, which our files don't have."""
    schema = json.loads(schema_text(topic, version))
    schema["fields"].append({"name": "of_tomorrow", "type": ["null", "string"], "default": None})
    return json.dumps(schema)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(plain(part) for part in value.values())
    return tuple(plain(part) for part in value) if isinstance(value, list) else value


def written(example: Example, text: str) -> bytes:
    out = io.BytesIO()
    record = example.record(json.loads(schema_text(example.topic, example.version)))
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(text)), record)
    return b"\0\0\0\0\7" + out.getvalue()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.topic}/{e.version}/{e.name}")
@pytest.mark.parametrize("is_foreign", [False, True])
def test_values_are_the_records_that_the_general_reader_gives(example: Example, is_foreign: bool) -> None:
    text = (foreign if is_foreign else schema_text)(example.topic, example.version)
    value = written(example, text)
    general = RecordCodec(example.topic, fetch_schema=lambda _: text).decode(value)
    # By the general reader, instants are aware datetimes and durations decimals; the examples have none of the latter.
    names = list(general)
    told = dict(zip(names, PositionalCodec(example.topic, lambda _: text).decode(value), strict=True))
    for name, expected in general.items():
        if not hasattr(expected, "year") and name not in ("targets", "channels"):
            assert told[name] == plain(expected), name
    again = PositionalCodec(example.topic, lambda _: foreign(example.topic, example.version))
    if not is_foreign:
        assert again.decode(written(example, foreign(example.topic, example.version))) == tuple(told.values())


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.topic == "rollups.posts"], ids=lambda e: e.name)
def test_a_field_that_the_writer_did_not_have_is_its_default(example: Example) -> None:
    text = schema_text(example.topic, example.version)
    codec = PositionalCodec(example.topic, lambda _: text, {"post_id", "targets"})
    post_id, targets = codec.decode(written(example, text))
    assert post_id == example.content["post_id"]
    assert (targets is None) == (example.version < 2)
    if targets is not None:
        assert [target[0] for target in targets] == [target["target_id"] for target in example.content["targets"]]
    assert newest_version("rollups.posts") == 2


@pytest.mark.parametrize("value", [b"", b"\0\0\0\0", b"\1\0\0\0\7abc", b"\0\0\0\0\7", b"\0\0\0\0\7\xff\xff"])
def test_what_is_no_value_is_refused(value: bytes) -> None:
    with pytest.raises(MalformedEvent):
        PositionalCodec("rollups.posts", lambda _: schema_text("rollups.posts")).decode(value)


def test_an_unknown_schema_is_refused() -> None:
    def unknown(_: int) -> str:
        raise KeyError("no such schema")

    with pytest.raises(MalformedEvent, match="no such schema"):
        PositionalCodec("rollups.posts", unknown).decode(b"\0\0\0\0\7abc")
