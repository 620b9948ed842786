"""Values of a topic as tuples in the order of its newest schema, for readers of millions. Pure.

Values that were written by one of our own schema files are read by a compiled decoder (`decoder.py`), all others by the
general reader.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from schemas.codec import FetchSchema, ListIds, MalformedEvent, RecordCodec, newest_version, schema_text, usable
from schemas.conversions import instant
from schemas.decoder import Decode, NotDecodable, compile_decoder
from schemas.metrics import millis
from schemas.writers import UnknownSchema, Writers

_HEADER = struct.Struct(">bI")
Row = tuple[Any, ...]


class PositionalCodec:
    """Decodes values of one topic to the fields that are wanted, in the order of the newest schema.

    Instants are whole milliseconds, durations likewise, records and lists tuples. A field that the writer's schema
    lacks has its default.

    Args:
        topic: name without prefix.
        fetch_schema: see `codec.RecordCodec`.
        wanted: names of the fields; None is all.
        list_ids: see `codec.RecordCodec`.
    """

    def __init__(
        self,
        topic: str,
        fetch_schema: FetchSchema,
        wanted: Collection[str] | None = None,
        list_ids: ListIds | None = None,
    ) -> None:
        self.topic = topic
        self._fetch = fetch_schema
        newest = json.loads(schema_text(topic))
        self._names = [entry["name"] for entry in newest["fields"] if wanted is None or entry["name"] in wanted]
        self._defaults = {entry["name"]: entry.get("default") for entry in newest["fields"]}
        self._general = RecordCodec(topic, fetch_schema=fetch_schema, list_ids=list_ids)
        self._readers: Writers[Callable[[bytes], Row]] = Writers(self._reader, list_ids=list_ids)

    def decode(self, data: bytes) -> Row:
        """The wanted fields of a message value.

        Raises:
            MalformedEvent: these bytes are no value of the topic.
        """
        if len(data) < _HEADER.size or data[0] != 0:
            raise MalformedEvent(f"a value of {self.topic} must begin with a zero byte and a schema id")
        schema_id = _HEADER.unpack_from(data)[1]
        try:
            return self._readers.get(schema_id)(data)
        except UnknownSchema as error:
            raise MalformedEvent(f"schema {schema_id} can't be used for a value of {self.topic}: {error}") from None
        except NotDecodable as error:
            raise MalformedEvent(f"a value of {self.topic} can't be read by schema {schema_id}: {error}") from None

    def _reader(self, schema_id: int) -> Callable[[bytes], Row]:
        text = self._fetch(schema_id)
        ours = usable(text, partial(_ours, self.topic))
        return self._read_generally if ours is None else self._compiled(ours)

    def _compiled(self, schema: Mapping[str, Any]) -> Callable[[bytes], Row]:
        padding = _padding(self.topic, schema, self._names)
        if padding is None:
            return self._read_generally
        held = [entry["name"] for entry in schema["fields"]]
        decode: Decode = compile_decoder(dict(schema), set(self._names))
        found = [name for name in held if name in self._names]
        if found == self._names and not padding:
            return lambda data: decode(data, _HEADER.size)

        def read(data: bytes) -> Row:
            values = dict(zip(found, decode(data, _HEADER.size), strict=True))
            for name, defaults in padding.items():
                values[name] = tuple([(*item, *defaults) for item in values[name]])
            return tuple([values.get(name, self._defaults[name]) for name in self._names])

        return read

    def _read_generally(self, data: bytes) -> Row:
        record = self._general.decode(data)
        return tuple([_plain(record[name]) for name in self._names])


def _ours(topic: str, text: str) -> Mapping[str, Any] | None:
    """The schema of a text that one of our files says too; a registry may write it with other spaces."""
    schema: Mapping[str, Any] = json.loads(text)
    for version in range(newest_version(topic), 0, -1):
        if schema == json.loads(schema_text(topic, version)):
            return schema
    return None


def _padding(topic: str, schema: Mapping[str, Any], wanted: Collection[str]) -> dict[str, tuple[Any, ...]] | None:
    """The defaults of what items of lists lack by an older schema, by the list; None where they differ otherwise."""
    newest, padding = json.loads(schema_text(topic)), dict[str, tuple[Any, ...]]()
    items = {entry["name"]: _item_fields(entry["type"]) for entry in newest["fields"] if entry["name"] in wanted}
    for entry in schema["fields"]:
        old, new = _item_fields(entry["type"]), items.get(entry["name"], [])
        if entry["name"] not in items or [field["name"] for field in old] == [field["name"] for field in new]:
            continue
        more = new[len(old) :]
        if [field["name"] for field in old] != [field["name"] for field in new[: len(old)]]:
            return None
        padding[entry["name"]] = tuple([field["default"] for field in more])
    return padding


def _item_fields(kind: Any) -> list[Mapping[str, Any]]:
    """The fields of a list's records; [] of anything else."""
    if not isinstance(kind, dict) or kind.get("type") != "array" or not isinstance(kind["items"], dict):
        return []
    fields: list[Mapping[str, Any]] = kind["items"].get("fields", [])
    return fields


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, Decimal):
        return millis(value)
    if isinstance(value, dict):
        return tuple([_plain(part) for part in value.values()])
    if isinstance(value, list):
        return tuple([_plain(part) for part in value])
    return value
