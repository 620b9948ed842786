"""Schemas by id: what is unknown is remembered, look-ups come at a bounded rate, nothing grows without end."""

from __future__ import annotations

import json
import struct
import time
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import writers
from schemas.codec import MalformedEvent, codec, schema_text
from schemas.measuring import Measure, TooMuch
from schemas.writers import SchemasAway, UnknownSchema, Writers

RAW = "platform.raw"


class Registry:
    """Counts what it is asked."""

    def __init__(self, known: dict[int, str]) -> None:
        self.known = known
        self.asked: list[int] = []
        self.lists = 0

    def list(self) -> list[int]:
        self.lists += 1
        return list(self.known)

    def fetch(self, schema_id: int) -> str:
        self.asked.append(schema_id)
        return self.known[schema_id]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_unknown_id_is_asked_for_once_in_a_while() -> None:
    registry, clock = Registry({}), Clock()
    held = Writers(registry.fetch, clock)
    for _ in range(100):
        with pytest.raises(UnknownSchema):
            held.get(7)
    assert registry.asked == [7]
    clock.now += writers.UNKNOWN_SECONDS
    registry.known[7] = "a schema"
    assert held.get(7) == "a schema"


def test_an_id_that_was_invented_before_it_was_registered_is_found() -> None:
    registry, clock = Registry({1: "ours"}), Clock()
    held = Writers(registry.fetch, clock, list_ids=registry.list)
    with pytest.raises(UnknownSchema):
        held.get(7)
    registry.known[7] = "a schema"
    clock.now += writers.LIST_SECONDS
    assert held.get(7) == "a schema"


def test_a_new_schema_is_found_amid_a_flood_of_invented_ids() -> None:
    registry, clock = Registry({1: "ours"}), Clock()
    held = Writers(registry.fetch, clock, list_ids=registry.list)
    for schema_id in range(1000, 3000):
        clock.now += 0.001
        with pytest.raises(UnknownSchema):
            held.get(schema_id)
    assert len(registry.asked) <= writers.LOOKUPS_AT_ONCE + writers.LOOKUPS_PER_SECOND * 2 + 1
    assert registry.lists <= 2 / writers.LIST_SECONDS + 1
    registry.known[2999] = registry.known[3000] = "a schema"
    clock.now += writers.LIST_SECONDS
    assert held.get(2999) == held.get(3000) == "a schema"


def test_a_listed_schema_that_is_of_no_use_is_loaded_once() -> None:
    registry, clock = Registry({1: "ours"}), Clock()

    def load(schema_id: int) -> str:
        registry.asked.append(schema_id)
        raise UnknownSchema("it is no Avro")

    held = Writers(load, clock, list_ids=lambda: [*registry.known])
    for _ in range(1_000):
        clock.now += 0.01
        with pytest.raises(UnknownSchema, match="no Avro"):
            held.get(1)
    assert len(registry.asked) <= 3
    registry.known[2] = "another"
    clock.now += writers.LIST_SECONDS
    with pytest.raises(UnknownSchema):
        held.get(1)
    assert len(registry.asked) <= 4


def test_a_slow_registry_is_asked_for_its_list_a_tenth_of_the_time() -> None:
    registry, clock = Registry({}), Clock()

    def slow() -> list[int]:
        clock.now += 1
        return registry.list()

    held = Writers(registry.fetch, clock, list_ids=slow)
    while clock.now < 110:
        clock.now += 0.01
        with pytest.raises(UnknownSchema):
            held.get(7)
    assert 8 <= registry.lists <= 12


def test_a_list_that_a_registry_does_not_answer_is_left_alone_for_a_while() -> None:
    registry, clock, attempts = Registry({}), Clock(), list[float]()

    def away() -> list[int]:
        attempts.append(clock.now)
        raise SchemasAway("no answer")

    held = Writers(registry.fetch, clock, list_ids=away)
    with pytest.raises(UnknownSchema):
        Writers(registry.fetch, clock).get(7)
    for _ in range(100):
        with pytest.raises((SchemasAway, UnknownSchema)):
            held.get(7)
    assert len(attempts) == 1


def test_two_thousand_unknown_ids_are_not_two_thousand_look_ups() -> None:
    registry, clock = Registry({1: "ours"}), Clock()
    held = Writers(registry.fetch, clock)
    assert held.get(1) == "ours"
    for schema_id in range(1000, 3000):
        with pytest.raises(UnknownSchema):
            held.get(schema_id)
        assert held.get(1) == "ours", "what is known is never refused"
    assert len(registry.asked) <= 1 + writers.LOOKUPS_AT_ONCE


def test_look_ups_go_on_at_a_bounded_rate() -> None:
    registry, clock = Registry({}), Clock()
    held = Writers(registry.fetch, clock)
    for schema_id in range(10_000):
        clock.now += 0.01
        with pytest.raises(UnknownSchema):
            held.get(schema_id)
    assert len(registry.asked) <= writers.LOOKUPS_AT_ONCE + writers.LOOKUPS_PER_SECOND * 100 + 1


def test_its_memory_is_bounded() -> None:
    clock = Clock()
    held = Writers(Registry(dict.fromkeys(range(0, 60000, 2), "text")).fetch, clock)
    for schema_id in range(60_000):
        clock.now += 1
        try:
            held.get(schema_id)
        except UnknownSchema:
            pass
    assert len(held._known) <= writers.KNOWN_MAX
    assert len(held._unknown) <= writers.UNKNOWN_MAX


def test_a_registry_that_is_away_is_no_unknown_schema() -> None:
    clock = Clock()
    asked = 0

    def away(_: int) -> str:
        nonlocal asked
        asked += 1
        raise SchemasAway("no answer")

    held = Writers(away, clock)
    for schema_id in range(50):
        with pytest.raises(SchemasAway, match="no answer"):
            held.get(schema_id)
    assert asked == 1, "each try takes its time-outs"
    assert not held._unknown


NOT_AVRO = {
    2: 'syntax = "proto3"; message Event { string id = 1; }',
    3: '{"type": "object", "properties": {"event_id": {"type": "string"}}}',
    4: '"string"',
    5: '["null", "string"]',
    6: '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "Elsewhere"}]}',
    7: "[]",
    8: "null",
    9: "",
    10: '{"type": "array", "items": "null"}',
    11: '{"type": "record"}',
    12: "42",
    13: json.dumps({**json.loads(schema_text(RAW)), "fields": json.loads(schema_text(RAW))["fields"][:3]}),
}


@pytest.mark.parametrize("topic", [RAW, "catalog.posts", "poller.requests"])
@pytest.mark.parametrize("schema_id", sorted(NOT_AVRO))
@given(payload=st.binary(max_size=60))
def test_a_value_of_any_other_schema_is_malformed(topic: str, schema_id: int, payload: bytes) -> None:
    events = codec(topic, schema_id=1, fetch_schema=lambda wanted: {1: schema_text(topic), **NOT_AVRO}[wanted])
    with pytest.raises(MalformedEvent):
        events.decode(struct.pack(">bI", 0, schema_id) + payload)


def _with_field(field_type: object) -> str:
    schema = json.loads(schema_text(RAW))
    schema["fields"].insert(0, {"name": "extra", "type": field_type})
    return json.dumps(schema)


@pytest.mark.parametrize(
    ("field_type", "value"),
    [
        ({"type": "array", "items": "null"}, b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\x00"),
        ({"type": "array", "items": {"type": "array", "items": "null"}}, b"\x02\x80\x80\x80\x80\x80\x01\x00\x00"),
        (
            {"type": "array", "items": {"type": "record", "name": "Empty", "fields": []}},
            b"\x80\x80\x80\x80\x80\x01\x00",
        ),
        ({"type": "array", "items": {"type": "fixed", "name": "Nothing", "size": 0}}, b"\x80\x80\x80\x80\x80\x01\x00"),
        (
            {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]},
            b"\x02" * 200_000 + b"\x00",
        ),
    ],
)
def test_a_few_bytes_never_become_endless_items(field_type: object, value: bytes) -> None:
    text = _with_field(field_type)
    events = codec(RAW, schema_id=1, fetch_schema=lambda _: text)
    started = time.process_time()
    with pytest.raises(MalformedEvent):
        events.decode(struct.pack(">bI", 0, 2) + value)
    assert time.process_time() - started < 30, "2^60 items would take for ever"


def test_what_is_measured_is_what_is_read() -> None:
    schema = json.loads(_with_field({"type": "map", "values": ["null", "long", {"type": "array", "items": "float"}]}))
    parsed: Any = fastavro.parse_schema(schema)
    measure = Measure(parsed, parsed["__named_schemas"], 10)
    with pytest.raises(TooMuch):
        measure.check(b"\x16" + b"\x02a\x00" * 11 + b"\x00", 0)


def test_more_targets_than_an_answer_has_are_refused_before_they_are_made() -> None:
    events = codec(RAW, schema_id=1, fetch_schema=lambda _: schema_text(RAW))
    head = struct.pack(">bI", 0, 1) + b"\x02e\x02w\x02c\x02x\x00\x00\x00"
    many = b"\x80\x80\x40"  # 524,288 targets of three empty texts
    with pytest.raises(MalformedEvent, match="more than 10000 targets"):
        events.decode(head + many + bytes(3 * 524_288) + b"\x00")


def test_an_id_that_no_registry_gives_is_not_asked_for() -> None:
    registry = Registry({1: "ours"})
    held = Writers(registry.fetch, list_ids=registry.list)
    for schema_id in (2**31, 2**32 - 1):
        with pytest.raises(UnknownSchema):
            held.get(schema_id)
    assert registry.asked == []
    assert held.get(1) == "ours"


@pytest.mark.parametrize("topic", [RAW, "catalog.posts"])
def test_own_versions_that_were_looked_up_are_read_while_the_registry_is_away(topic: str) -> None:
    older = json.dumps({**json.loads(schema_text(topic)), "doc": "another text"})
    known = {1: schema_text(topic), 50: older, **NOT_AVRO}
    is_away = False

    def fetch(schema_id: int) -> str:
        if is_away:
            raise SchemasAway("no answer")
        return known[schema_id]

    events = codec(topic, schema_id=1, fetch_schema=fetch, list_ids=lambda: known.keys())
    events.load(known)
    is_away = True
    for schema_id in (1, 50, *NOT_AVRO, 77, 1, 50):
        # A record without bytes: each of them was looked at by its schema, or its schema can't be asked for.
        with pytest.raises(SchemasAway if schema_id == 77 else MalformedEvent):
            events.decode(struct.pack(">bI", 0, schema_id))


def test_a_schema_that_nothing_can_be_made_of_is_not_taken_for_a_registry_that_is_away() -> None:
    nested = json.dumps({"type": "record", "name": "A", "fields": [{"name": "a", "type": {"type": "record"}}]})
    events = codec(RAW, schema_id=1, fetch_schema={1: schema_text(RAW), 2: nested, 3: "[" * 100_000}.__getitem__)
    for schema_id in (2, 3):
        with pytest.raises(MalformedEvent):
            events.decode(struct.pack(">bI", 0, schema_id))
    with pytest.raises(MalformedEvent, match="can't be read by schema 1"):
        events.decode(struct.pack(">bI", 0, 1))
