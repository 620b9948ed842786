"""Bytes to events and back, in the Confluent wire format (a zero byte, a four-byte schema id, Avro).

The only importer of fastavro. Schemas are files beside this module. The caller passes the registry's id of a schema, so
nothing here opens a connection.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Collection, Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import fastavro
from fastavro.types import Schema

from schemas.conversions import TYPED, raw_from, raw_to
from schemas.events import PlatformRaw
from schemas.foreign import TEXT_MAX, bounded, logical_types
from schemas.measuring import Measure
from schemas.raw_decoder import Layout, NotReadable, layout_of, read_ids, read_raw
from schemas.topic_names import RAW
from schemas.writers import UnknownSchema, Writers

AVRO_DIR = Path(__file__).parent / "avro"
_HEADER = struct.Struct(">bI")
HEADER_BYTES = _HEADER.size
"""The bytes before the record in a message's value: a zero and the schema's id."""
# The most items in all lists of one value together; a post has some targets, an answer 10,000 at most.
_ITEMS_MAX = 50_000
Event = TypeVar("Event")
Made = TypeVar("Made")
FetchSchema = Callable[[int], str]
ListIds = Callable[[], Collection[int]]


class MalformedEvent(ValueError):
    """The bytes are no event of this topic: not in the wire format, of an unknown schema, or not decodable."""


@cache
def newest_version(topic: str) -> int:
    """The highest version of a topic's schema among the files."""
    versions = [int(path.name.rsplit(".v", 1)[1].removesuffix(".avsc")) for path in AVRO_DIR.glob(f"{topic}.v*.avsc")]
    if not versions:
        raise KeyError(f"no schema file for topic {topic!r} in {AVRO_DIR.name}/")
    return max(versions)


@cache
def schema_text(topic: str, version: int | None = None) -> str:
    """The Avro schema of a topic as JSON text.

    Args:
        version: None for the newest.

    Raises:
        KeyError: the topic has no schema file.
    """
    return (AVRO_DIR / f"{topic}.v{version or newest_version(topic)}.avsc").read_text(encoding="utf-8")


@lru_cache(maxsize=512)
def _parsed(text: str) -> Schema:
    return fastavro.parse_schema(json.loads(text))


def usable(text: str, make: Callable[[str], Made]) -> Made:
    """What is made of a schema's text.

    Raises:
        UnknownSchema: the text is too long, or nothing can be made of it.
    """
    if len(text) > TEXT_MAX:
        raise UnknownSchema(f"its text has {len(text)} characters; at most {TEXT_MAX} are used")
    try:
        return make(text)
    except Exception as error:  # many kinds, fastavro's among them; all of them mean that the schema can't be used
        raise UnknownSchema(f"it can't be used: {error}") from None


class RecordCodec:
    """Encodes and decodes plain records (dicts) of one topic.

    Args:
        topic: name without prefix, as in `schemas/topics`.
        schema_id: the registry's id of the newest schema; needed to encode.
        fetch_schema: from a schema id to the writer's Avro schema as JSON text; raises KeyError for an unknown id.
            Needed to decode. Schemas are kept, and an id without an Avro schema is not looked up again for a while.
        list_ids: the ids of the topic's own schemas, which are found at once all the same; see `writers.Writers`.
    """

    def __init__(
        self,
        topic: str,
        *,
        schema_id: int | None = None,
        fetch_schema: FetchSchema | None = None,
        list_ids: ListIds | None = None,
    ) -> None:
        self.topic = topic
        self._reader = _parsed(schema_text(topic))
        self._header = _HEADER.pack(0, schema_id) if schema_id is not None else None
        self._fetch_schema = fetch_schema
        self._writers = Writers(self._resolve, list_ids=list_ids)

    def encode(self, record: dict[str, Any]) -> bytes:
        """One record as the bytes of a message value.

        Raises:
            ValueError: the record does not fit the schema, or the codec has no schema id.
        """
        if self._header is None:
            raise ValueError(f"the codec of {self.topic} was made without a schema id, so it can't encode")
        out = io.BytesIO()
        out.write(self._header)
        fastavro.schemaless_writer(out, self._reader, record)
        return out.getvalue()

    def decode(self, data: bytes) -> dict[str, Any]:
        """The bytes of a message value as a record of the newest schema.

        Raises:
            MalformedEvent: these bytes are no value of the topic; readers of events make a dead letter of the message.
        """
        if len(data) < _HEADER.size or data[0] != 0:
            raise MalformedEvent(f"a value of {self.topic} must begin with a zero byte and a schema id")
        schema_id = _HEADER.unpack_from(data)[1]
        try:
            writer, measure = self._writers.get(schema_id)
        except UnknownSchema as error:
            raise MalformedEvent(f"schema {schema_id} can't be used for a value of {self.topic}: {error}") from None
        try:
            if measure is not None:
                measure.check(data, _HEADER.size)
            record = fastavro.schemaless_reader(io.BytesIO(data[_HEADER.size :]), writer, self._reader)
        except Exception as error:  # fastavro raises many kinds; all of them mean that these bytes don't fit
            raise MalformedEvent(f"a value of {self.topic} can't be read by schema {schema_id}: {error}") from error
        if not isinstance(record, dict):
            raise MalformedEvent(f"schema {schema_id} of {self.topic} is not a record")
        return record

    def load(self, schema_ids: Iterable[int]) -> None:
        """Look the topic's own schemas up, so that values of these ids are decoded also while the registry is away.

        Raises:
            SchemasAway: the registry does not answer; other errors of `fetch_schema` are raised as they are.
        """
        self._writers.load(schema_ids)

    def _resolve(self, schema_id: int) -> tuple[Schema, Measure | None]:
        """A writer's schema, and a measure of its values where the schema is none of this project's files."""
        if self._fetch_schema is None:
            raise ValueError(f"the codec of {self.topic} was made without fetch_schema, so it can't decode")
        text = self._fetch_schema(schema_id)
        if text == schema_text(self.topic):
            return _parsed(text), None
        return usable(text, self._foreign)

    def _foreign(self, text: str) -> tuple[Schema, Measure]:
        parsed: Any = fastavro.parse_schema(bounded(text, logical_types(self._reader)))
        return parsed, Measure(parsed, parsed["__named_schemas"], _ITEMS_MAX)


class Codec(Generic[Event]):
    """Encodes and decodes typed events of one topic; see `RecordCodec` for the arguments and errors."""

    def __init__(
        self,
        topic: str,
        to_record: Callable[[Event], dict[str, Any]],
        from_record: Callable[[dict[str, Any]], Event],
        *,
        schema_id: int | None = None,
        fetch_schema: FetchSchema | None = None,
        list_ids: ListIds | None = None,
    ) -> None:
        self.topic = topic
        self._records = RecordCodec(topic, schema_id=schema_id, fetch_schema=fetch_schema, list_ids=list_ids)
        self._to_record = to_record
        self._from_record = from_record

    def encode(self, event: Event) -> bytes:
        """One event as the bytes of a message value."""
        return self._records.encode(self._to_record(event))

    def load(self, schema_ids: Iterable[int]) -> None:
        """Look schemas up; see `RecordCodec.load`."""
        self._records.load(schema_ids)

    def decode(self, data: bytes) -> Event:
        """The bytes of a message value as an event."""
        return self._from_record(self._records.decode(data))


class RawCodec(Codec[PlatformRaw]):
    """The codec of `platform.raw`: values of today's schema are read straight into events, others by fastavro."""

    def __init__(
        self,
        *,
        schema_id: int | None = None,
        fetch_schema: FetchSchema | None = None,
        list_ids: ListIds | None = None,
    ) -> None:
        super().__init__(RAW, raw_to, raw_from, schema_id=schema_id, fetch_schema=fetch_schema, list_ids=list_ids)
        self._fetch = fetch_schema
        self._layouts: Writers[tuple[Layout | None]] = Writers(self._layout, list_ids=list_ids)

    def decode(self, data: bytes) -> PlatformRaw:
        """The bytes of a message value as an event; see `RecordCodec.decode`."""
        if len(data) < _HEADER.size or data[0] != 0 or self._fetch is None:
            return super().decode(data)
        schema_id = _HEADER.unpack_from(data)[1]
        try:
            (layout,) = self._layouts.get(schema_id)
        except UnknownSchema as error:
            raise MalformedEvent(f"schema {schema_id} can't be used for a value of {self.topic}: {error}") from None
        if layout is None:
            return super().decode(data)
        try:
            return read_raw(data, _HEADER.size, layout)
        except NotReadable as error:
            raise MalformedEvent(f"a value of {self.topic} can't be read by schema {schema_id}: {error}") from None

    def load(self, schema_ids: Iterable[int]) -> None:
        """Look schemas up; see `RecordCodec.load`."""
        schema_ids = frozenset(schema_ids)
        super().load(schema_ids)
        self._layouts.load(schema_ids)

    def ids(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Event id and workspace id of a value as bytes, without decoding the rest.

        Returns:
            None where only `decode` can tell: of values of another schema, and of bytes that end early.
        """
        if len(data) < _HEADER.size or data[0] != 0:
            return None
        try:
            (layout,) = self._layouts.get(_HEADER.unpack_from(data)[1])
        except Exception:  # the registry is away, or holds what can't be used; `decode` tells which
            return None
        return None if layout is None else read_ids(data, _HEADER.size)

    def _layout(self, schema_id: int) -> tuple[Layout | None]:
        if self._fetch is None:
            raise KeyError(schema_id)
        text = self._fetch(schema_id)
        usable(text, _parsed)
        try:
            return (layout_of(text),)
        except Exception:  # Avro, written in a way that only the general reader knows
            return (None,)


def codec(
    topic: str,
    *,
    schema_id: int | None = None,
    fetch_schema: FetchSchema | None = None,
    list_ids: ListIds | None = None,
) -> Codec[Any]:
    """The typed codec of a topic; see `RecordCodec` for the arguments.

    Topics that only the aggregator writes (`metrics.*`, `rollups.*`) have no typed codec; `RecordCodec` reads them.

    Raises:
        KeyError: the topic has no typed event.
    """
    if topic == RAW:
        return RawCodec(schema_id=schema_id, fetch_schema=fetch_schema, list_ids=list_ids)
    to_record, from_record = TYPED[topic]
    return Codec(topic, to_record, from_record, schema_id=schema_id, fetch_schema=fetch_schema, list_ids=list_ids)
