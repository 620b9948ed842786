"""The audit of raw events: what is an event is told from what can't be told while the schema registry is away."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, cast

import orjson
import pytest

from schemas.codec import RawCodec, schema_text
from schemas.topic_names import RAW
from services.aggregator.audit.raw_events import RawAudit
from services.aggregator.audit.store import AuditStore
from services.aggregator.reading import Message
from services.aggregator.topic_reader import TopicReader
from services.runtime.registry import RegistryUnavailable
from tests.support.backend import bluesky_event

TEXT = schema_text(RAW)
WRITER = RawCodec(schema_id=7, fetch_schema=lambda _: TEXT)
AT = 1_760_000_000_000


class _Empty:
    """A store without a row, and a topic of one partition."""

    def __init__(self, values: list[bytes]) -> None:
        self.asked: list[int] = []
        self._messages = [Message(RAW, 0, offset, b"w", value, AT) for offset, value in enumerate(values)]

    def stream(self, query: str, parameters: dict[str, Any]) -> Iterator[Any]:
        if "keys" in parameters:
            self.asked.append(len(orjson.dumps(parameters["keys"])))
        return iter(())

    def keeps_raw_event(self, captured_at: int) -> bool:
        return True

    def committed(self, group: str, topic: str, partition: int) -> int:
        return len(self._messages)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, len(self._messages)

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Message]:
        return iter(self._messages[start:stop])


class _Registry:
    """A registry that holds schema 7 and may be away."""

    def __init__(self) -> None:
        self.is_away = False

    def fetch(self, schema_id: int) -> str:
        if self.is_away:
            raise RegistryUnavailable("the schema registry can't be reached")
        if schema_id != 7:
            raise KeyError("the registry doesn't know it")
        return TEXT


def _event(number: int) -> bytes:
    return WRITER.encode(bluesky_event("w", "c", f"e{number}", {"t": {"likeCount": 1}}, captured_at=AT))


def _of_schema(schema_id: int) -> bytes:
    return struct.pack(">bI", 0, schema_id) + _event(9)[5:]


def _audit(registry: _Registry, values: list[bytes]) -> tuple[RawAudit, RawCodec]:
    return _audit_of(registry, _Empty(values))


def _audit_of(registry: _Registry, world: _Empty) -> tuple[RawAudit, RawCodec]:
    codec = RawCodec(schema_id=7, fetch_schema=registry.fetch, list_ids=lambda: {7})
    made = RawAudit(RAW, cast("AuditStore", world), cast("TopicReader", world), codec, partitions=1, group="g")
    return made, codec


def _missing(made: RawAudit) -> list[str]:
    return [difference.key for difference in made.differences(0)]


def test_messages_of_invented_schemas_are_no_events_and_hide_none() -> None:
    made, _ = _audit(_Registry(), [_of_schema(8), _event(1), _of_schema(2**32 - 1), _event(2)])
    assert _missing(made) == ["e1", "e2"]


def test_long_ids_are_asked_for_in_questions_that_are_short_enough() -> None:
    ids = [f"{number:04}" + "é" * 126 for number in range(600)]
    values = [WRITER.encode(bluesky_event("w", "c", long, {"t": {"likeCount": 1}}, captured_at=AT)) for long in ids]
    world = _Empty(values)
    assert _missing(_audit_of(_Registry(), world)[0]) == ids
    assert max(world.asked) < 100_000


def test_a_registry_that_is_away_does_not_make_events_look_stored() -> None:
    registry = _Registry()
    registry.is_away = True
    made, _ = _audit(registry, [_event(1)])
    with pytest.raises(RegistryUnavailable, match=r"can't be reached.*try again"):
        _missing(made)


def test_what_may_be_an_event_of_a_newer_schema_ends_the_audit_while_the_registry_is_away() -> None:
    registry = _Registry()
    made, codec = _audit(registry, [_event(1), _of_schema(8)])
    codec.load([7])
    registry.is_away = True
    with pytest.raises(RegistryUnavailable):
        _missing(made)
    known_only, codec = _audit(registry, [_event(1), _of_schema(2**31), b"\0\0", b""])
    registry.is_away = False
    codec.load([7])
    registry.is_away = True
    assert _missing(known_only) == ["e1"], "the schemas that were looked up need no registry"
