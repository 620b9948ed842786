"""Schemas that strangers register: whatever they say, a value is read, or refused, in a moment and in little memory."""

from __future__ import annotations

import gc
import io
import json
import struct
import time
import tracemalloc
from dataclasses import replace
from typing import Any

import fastavro
import fastavro.utils
import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from schemas.codec import Codec, MalformedEvent, RecordCodec, codec, schema_text
from schemas.foreign import TEXT_MAX, bounded
from schemas.measuring import Measure, TooMuch, _Walk
from schemas.positional import PositionalCodec
from schemas.writers import KNOWN_MAX, SchemasAway, UnknownSchema, Writers
from tests.support import properties
from tests.support.backend import bluesky_event

RAW = "platform.raw"
OWN = schema_text(RAW)
EVENT = bluesky_event("w", "c", "e1", {"t": {"likeCount": 1}}, captured_at=1_760_000_000_000)
GOOD = codec(RAW, schema_id=1, fetch_schema=lambda _: OWN).encode(EVENT)
FOREIGN = struct.pack(">bI", 0, 2)
# What takes seconds by the clock of a slow machine takes hours where it has no bound.
SECONDS = 5.0


def with_fields(*fields: dict[str, Any]) -> str:
    schema = json.loads(OWN)
    schema["fields"] += fields
    return json.dumps(schema)


def reader(text: str) -> Codec[Any]:
    return codec(RAW, schema_id=1, fetch_schema={1: OWN, 2: text}.__getitem__)


def refused(text: str, data: bytes) -> str:
    began = time.process_time()
    with pytest.raises(MalformedEvent) as caught:
        reader(text).decode(data)
    assert time.process_time() - began < SECONDS
    return str(caught.value)


@pytest.mark.parametrize("levels", [3, 6, 14])
def test_records_of_records_without_bytes_are_not_walked_through(levels: int) -> None:
    def record(level: int, kind: Any) -> dict[str, Any]:
        return {"type": "record", "name": f"L{level}", "fields": [{"name": f"f{n}", "type": kind} for n in range(20)]}

    fields = [{"name": "l0", "type": record(0, "null")}]
    fields += [{"name": f"l{level}", "type": record(level, f"L{level - 1}")} for level in range(1, levels)]
    assert "more parts than its bytes" in refused(with_fields(*fields), FOREIGN + GOOD[5:])


def test_what_is_measured_has_the_names_that_are_read() -> None:
    empty = {"type": "record", "name": "N", "namespace": "a", "fields": []}
    full = {"type": "record", "name": "N", "fields": [{"name": "l", "type": {"type": "array", "items": "null"}}]}
    holder = [{"name": "p", "type": full}, {"name": "q", "type": "N"}]
    text = with_fields(
        {"name": "x", "type": empty},
        {"name": "y", "type": {"type": "record", "name": "Holder", "namespace": "b", "fields": holder}},
    )
    endless = b"\0" + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\0"
    assert "more items" in refused(text, FOREIGN + GOOD[5:] + endless)
    assert reader(text).decode(FOREIGN + GOOD[5:] + b"\0\0").event_id == "e1"


@pytest.mark.parametrize("kind", ["decimal", "uuid", "duration", "date", "time-micros", 7])
def test_a_body_is_bytes_whatever_a_schema_says_of_it(kind: Any) -> None:
    schema = json.loads(with_fields({"name": "more", "type": "null"}))
    (body,) = [field for field in schema["fields"] if field["name"] == "body"]
    body["type"] = {"type": "bytes", "logicalType": kind, "precision": 9, "scale": 0}
    long = codec(RAW, schema_id=1, fetch_schema=lambda _: OWN).encode(replace(EVENT, body=b"7" * 800_000))
    began = time.process_time()
    assert reader(json.dumps(schema)).decode(FOREIGN + long[5:]).body == b"7" * 800_000
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("size", [16, 32, 33, 400_000])
@pytest.mark.parametrize("is_fixed", [False, True])
def test_numbers_are_as_long_as_numbers_are(size: int, is_fixed: bool) -> None:
    topic = "rollups.posts"
    number = {"logicalType": "decimal", "precision": 38, "scale": 9}
    kind = {"type": "fixed", "name": "Big", "size": size, **number} if is_fixed else {"type": "bytes", **number}
    schema = {"type": "record", "name": "R", "fields": [{"name": "big", "type": kind}]}
    length = b"" if is_fixed else _long(size)
    events = RecordCodec(topic, fetch_schema=lambda _: json.dumps(schema))
    began = time.process_time()
    with pytest.raises(MalformedEvent) as caught:
        events.decode(FOREIGN + length + b"\x7f" * size)
    assert time.process_time() - began < SECONDS
    assert ("a number is too long" in str(caught.value)) == (size > 32)


def _long(value: int) -> bytes:
    number, out = value << 1, b""
    while number > 0x7F:
        out += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return out + bytes((number,))


def test_numbers_of_many_digits_are_not_read_as_numbers() -> None:
    kind = {"type": "bytes", "logicalType": "decimal", "precision": 10**9, "scale": 10**9}
    kept = bounded(json.dumps({"type": "record", "fields": [{"name": "a", "type": kind}]}), {"decimal"})
    assert "logicalType" not in kept["fields"][0]["type"]


@pytest.mark.parametrize("fields", [500, 20_000])
def test_a_schema_of_any_length_costs_little_each_time(fields: int) -> None:
    text = with_fields(*({"name": f"f{n}", "type": ["null", "string"], "default": None} for n in range(fields)))
    events = reader(text)
    began = time.process_time()
    for _ in range(20):
        with pytest.raises(MalformedEvent) as caught:
            events.decode(FOREIGN + b"\xff")
        assert len(str(caught.value)) < 2 * TEXT_MAX
    assert time.process_time() - began < SECONDS


def test_a_schema_that_nests_too_deep_holds_up_no_other() -> None:
    deep = '{"type": "record", "name": "A", "fields": [], "x": ' + "[" * 20_000 + "]" * 20_000 + "}"
    texts = {1: schema_text("catalog.posts"), 2: deep}
    positional = PositionalCodec("catalog.posts", texts.__getitem__)
    with pytest.raises(MalformedEvent, match="schema 2 can't be used"):
        positional.decode(FOREIGN)
    with pytest.raises(MalformedEvent, match="can't be read by schema 1"):
        positional.decode(struct.pack(">bI", 0, 1))


def test_messages_of_invented_schemas_are_not_held_while_the_registry_is_away() -> None:
    def away(_: int) -> str:
        raise SchemasAway("no answer")

    events = codec(RAW, schema_id=1, fetch_schema=away)
    gc.collect()
    tracemalloc.start()
    try:
        for schema_id in range(2, 2_002):
            with pytest.raises(SchemasAway, match="no answer"):
                events.decode(struct.pack(">bI", 0, schema_id) + bytes(20_000))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4_000_000, "two hundred messages at most, of two thousand"


def test_own_schemas_stay_however_many_others_are_asked_for() -> None:
    asked: list[int] = []

    def load(schema_id: int) -> int:
        asked.append(schema_id)
        return schema_id

    clock = iter(range(10**9))
    held = Writers(load, clock=lambda: float(next(clock)))
    held.load([5, 6])
    for schema_id in range(100, 100 + 3 * KNOWN_MAX):
        assert held.get(schema_id) == schema_id
    assert held.get(100) == 100, "it was forgotten, and is asked for again"
    assert asked.count(100) == 2
    assert (held.get(5), held.get(6)) == (5, 6)
    assert (asked.count(5), asked.count(6)) == (1, 1)


def test_a_mistake_with_one_schema_holds_up_no_other() -> None:
    def load(schema_id: int) -> int:
        if schema_id == 3:
            raise ZeroDivisionError
        if schema_id == 4:
            raise UnknownSchema("none")
        return schema_id

    held = Writers(load)
    with pytest.raises(ZeroDivisionError):
        held.get(3)
    assert held.get(1) == 1
    with pytest.raises(UnknownSchema):
        held.get(4)


def _records(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    # Few names in few namespaces, so that references are often to the nearer of two types of one short name.
    return st.builds(
        lambda name, namespace, kinds: {
            "type": "record", "name": name, **({"namespace": namespace} if namespace else {}),
            "fields": [{"name": f"f{number}", "type": kind} for number, kind in enumerate(kinds)],
        },
        st.sampled_from("ABC"), st.sampled_from(["", "a", "b", "a.b"]), st.lists(children, max_size=3),
    )  # fmt: skip


KINDS = st.recursive(
    st.sampled_from(["null", "boolean", "int", "long", "float", "double", "bytes", "string", "A", "B", "a.A", "a.b.C"]),
    lambda children: st.one_of(
        _records(children),
        st.builds(lambda kind: {"type": "array", "items": kind}, children),
        st.builds(lambda kind: {"type": "map", "values": kind}, children),
        st.builds(lambda kind: ["null", kind], children),
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=properties.of(400), suppress_health_check=list(HealthCheck))
@given(KINDS)
@example(
    {
        "type": "record",
        "name": "B",
        "fields": [{"name": "f0", "type": ["null", "B"]}, {"name": "f1", "type": ["null", "B"]}],
    }
)
def test_the_measure_walks_as_the_general_reader_reads(kind: Any) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "x", "type": kind}]}
    try:
        parsed: Any = fastavro.parse_schema(schema)
        value = fastavro.utils.generate_one(parsed)
    except Exception:  # no schema: a name that nobody has defined, or that two have
        reject()
    out = io.BytesIO()
    fastavro.schemaless_writer(out, parsed, value)
    data = out.getvalue()
    try:
        Measure(parsed, parsed["__named_schemas"], 1_000_000).check(data, 0)
    except TooMuch as error:
        if "nests too deep" not in str(error):
            raise
        reject()  # a record of itself, of which a value came out deeper than is read
    assert _Walk(data, parsed["__named_schemas"], 1_000_000).over(parsed, 0, 0) == len(data)
