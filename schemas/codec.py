"""Bytes to events and back, in the Confluent wire format (a zero byte, a four-byte schema id, Avro).

The only importer of fastavro. Schemas are files beside this module; the id of a schema is the registry's, given by
the caller, so nothing here opens a connection.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from dataclasses import fields
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import fastavro
from fastavro.types import Schema

from schemas.events import (
    AccountEvent,
    ApiKey,
    BackfillJob,
    CatalogChannel,
    CatalogPost,
    CatalogTarget,
    ChannelSnapshot,
    ChannelTokens,
    DeadLetter,
    PlatformRaw,
    PollerReply,
    PollerRequest,
    PostSnapshot,
    PullTarget,
    RawTarget,
)
from schemas.measuring import Measure
from schemas.metrics import (
    CHANNEL_METRICS,
    CHANNEL_NAMES,
    POST_METRICS,
    POST_NAMES,
    Metric,
    Values,
    engagement_rate,
    millis,
    post_engagement_rate,
    post_engagements,
    seconds,
)
from schemas.raw_decoder import Layout, NotReadable, layout_of, read_raw
from schemas.topic_names import (
    ACCOUNT_EVENTS,
    API_KEYS,
    BACKFILLS,
    CHANNEL_SNAPSHOTS,
    CHANNELS,
    DEAD_LETTERS,
    POST_SNAPSHOTS,
    POSTS,
    RAW,
    REPLIES,
    REQUESTS,
    TOKENS,
)
from schemas.writers import UnknownSchema, Writers

AVRO_DIR = Path(__file__).parent / "avro"
_HEADER = struct.Struct(">bI")
# Of all lists of one value together; a post has some targets, an answer 10,000 at most.
_ITEMS_MAX = 50_000
Event = TypeVar("Event")


class MalformedEvent(ValueError):
    """These bytes are no event of this topic: not in the wire format, of an unknown schema, or not decodable."""


@cache
def newest_version(topic: str) -> int:
    """The highest version of a topic's schema among the files."""
    versions = [int(path.name.rsplit(".v", 1)[1].removesuffix(".avsc")) for path in AVRO_DIR.glob(f"{topic}.v*.avsc")]
    if not versions:
        raise KeyError(f"no schema file for topic {topic!r} in {AVRO_DIR.name}/")
    return max(versions)


@cache
def schema_text(topic: str, version: int | None = None) -> str:
    """The Avro schema of a topic as JSON text; the newest version unless told."""
    return (AVRO_DIR / f"{topic}.v{version or newest_version(topic)}.avsc").read_text(encoding="utf-8")


@lru_cache(maxsize=512)
def _parsed(text: str) -> Schema:
    return fastavro.parse_schema(json.loads(text))


def _usable(text: str) -> Schema:
    try:
        return _parsed(text)
    except Exception as error:  # fastavro raises many kinds; all of them mean that nothing can be read by it
        raise UnknownSchema(f"it can't be used: {error}") from None


class RecordCodec:
    """Encodes and decodes plain records (dicts) of one topic.

    Args:
        topic: name without prefix, as in `schemas/topics`.
        schema_id: the registry's id of the newest schema; needed to encode.
        fetch_schema: from a schema id to the writer's Avro schema as JSON text; raises KeyError for an unknown id.
            Needed to decode; answers are kept, and ids without an Avro schema are not asked for again for a while.
    """

    def __init__(
        self, topic: str, *, schema_id: int | None = None, fetch_schema: Callable[[int], str] | None = None
    ) -> None:
        self.topic = topic
        self._reader = _parsed(schema_text(topic))
        self._header = _HEADER.pack(0, schema_id) if schema_id is not None else None
        self._fetch_schema = fetch_schema
        self._writers = Writers(self._resolve)

    def encode(self, record: dict[str, Any]) -> bytes:
        """One record as the bytes of a message value.

        Raises:
            ValueError: the record doesn't fit the schema, or the codec has no schema id.
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
            MalformedEvent: see there; the caller sends the message to the dead letters.
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

    def _resolve(self, schema_id: int) -> tuple[Schema, Measure | None]:
        """A writer's schema, and what measures its values where it is none of ours."""
        if self._fetch_schema is None:
            raise ValueError(f"the codec of {self.topic} was made without fetch_schema, so it can't decode")
        text = self._fetch_schema(schema_id)
        return _usable(text), None if text == schema_text(self.topic) else Measure(json.loads(text), _ITEMS_MAX)


class Codec(Generic[Event]):
    """Encodes and decodes typed events of one topic; see `RecordCodec` for the arguments and errors."""

    def __init__(
        self,
        topic: str,
        to_record: Callable[[Event], dict[str, Any]],
        from_record: Callable[[dict[str, Any]], Event],
        *,
        schema_id: int | None = None,
        fetch_schema: Callable[[int], str] | None = None,
    ) -> None:
        self.topic = topic
        self._records = RecordCodec(topic, schema_id=schema_id, fetch_schema=fetch_schema)
        self._to_record = to_record
        self._from_record = from_record

    def encode(self, event: Event) -> bytes:
        """One event as the bytes of a message value."""
        return self._records.encode(self._to_record(event))

    def decode(self, data: bytes) -> Event:
        """The bytes of a message value as an event."""
        return self._from_record(self._records.decode(data))


def instant(value: Any) -> int | None:
    """An Avro timestamp (an aware datetime after decoding) as whole milliseconds."""
    if value is None:
        return None
    if isinstance(value, int):
        return value
    # Not `timestamp()`: a float loses the last millisecond now and then.
    return int(value.replace(microsecond=0).timestamp()) * 1000 + int(value.microsecond) // 1000


def _required_instant(value: Any) -> int:
    return instant(value) or 0


def metric_record(metrics: tuple[Metric, ...], values: Values) -> dict[str, Any]:
    """Values in the order of `metrics` as Avro fields."""
    return {
        metric.name: seconds(value) if metric.is_duration else value
        for metric, value in zip(metrics, values, strict=True)
    }


def metric_values(metrics: tuple[Metric, ...], record: dict[str, Any]) -> Values:
    """Avro fields as values in the order of `metrics`."""
    return tuple(millis(record[m.name]) if m.is_duration else record[m.name] for m in metrics)


def _fields_of(event: Any) -> dict[str, Any]:
    return {entry.name: getattr(event, entry.name) for entry in fields(event)}


def _raw_to(event: PlatformRaw) -> dict[str, Any]:
    record = _fields_of(event)
    record["targets"] = [target._asdict() for target in event.targets]
    return record


def raw_from(record: dict[str, Any]) -> PlatformRaw:
    """A decoded `platform.raw` record as an event."""
    return PlatformRaw(
        event_id=record["event_id"],
        workspace_id=record["workspace_id"],
        channel_id=record["channel_id"],
        platform=record["platform"],
        kind=record["kind"],
        endpoint=record["endpoint"],
        request=record["request"],
        targets=tuple([RawTarget(t["target_id"], t["post_id"], t["external_id"]) for t in record["targets"]]),
        http_status=record["http_status"],
        body=record["body"],
        captured_at=_required_instant(record["captured_at"]),
        origin=record["origin"],
    )


def _channel_from(record: dict[str, Any]) -> CatalogChannel:
    return CatalogChannel(
        **{
            **record,
            "token_expires_at": instant(record["token_expires_at"]),
            "updated_at": _required_instant(record["updated_at"]),
        }
    )


def _post_to(event: CatalogPost) -> dict[str, Any]:
    return {**_fields_of(event), "targets": [_fields_of(target) for target in event.targets]}


def _post_from(record: dict[str, Any]) -> CatalogPost:
    return CatalogPost(
        workspace_id=record["workspace_id"],
        post_id=record["post_id"],
        status=record["status"],
        created_at=instant(record["created_at"]),
        published_at=instant(record["published_at"]),
        targets=tuple(
            CatalogTarget(**{**target, "published_at": instant(target["published_at"])}) for target in record["targets"]
        ),
        updated_at=_required_instant(record["updated_at"]),
    )


def _key_from(record: dict[str, Any]) -> ApiKey:
    return ApiKey(
        **{**record, "scopes": tuple(record["scopes"]), "created_at": _required_instant(record["created_at"])}
    )


def _tokens_from(record: dict[str, Any]) -> ChannelTokens:
    return ChannelTokens(
        **{
            **record,
            "token_expires_at": instant(record["token_expires_at"]),
            "updated_at": _required_instant(record["updated_at"]),
        }
    )


def _post_snapshot_to(event: PostSnapshot) -> dict[str, Any]:
    record = _fields_of(event)
    values = record.pop("values")
    record.update(metric_record(POST_METRICS, values))
    record["engagements"] = post_engagements(values)
    record["engagement_rate"] = post_engagement_rate(values)
    return record


def _post_snapshot_from(record: dict[str, Any]) -> PostSnapshot:
    values = metric_values(POST_METRICS, record)
    rest = {k: v for k, v in record.items() if k not in POST_NAMES and k not in {"engagements", "engagement_rate"}}
    return PostSnapshot(**{**rest, "captured_at": _required_instant(record["captured_at"])}, values=values)


def _channel_snapshot_to(event: ChannelSnapshot) -> dict[str, Any]:
    record = _fields_of(event)
    values = record.pop("values")
    record.update(metric_record(CHANNEL_METRICS, values))
    record["engagement_rate"] = engagement_rate(
        record["engagements"], record["impressions"], record["reach"], record["views"]
    )
    return record


def _channel_snapshot_from(record: dict[str, Any]) -> ChannelSnapshot:
    values = metric_values(CHANNEL_METRICS, record)
    rest = {k: v for k, v in record.items() if k not in CHANNEL_NAMES and k != "engagement_rate"}
    for name in ("captured_at", "period_start", "period_end"):
        rest[name] = instant(rest[name])
    return ChannelSnapshot(**rest, values=values)


def _account_event_from(record: dict[str, Any]) -> AccountEvent:
    return AccountEvent(**{**record, "occurred_at": _required_instant(record["occurred_at"])})


def _dead_letter_from(record: dict[str, Any]) -> DeadLetter:
    return DeadLetter(**{**record, "failed_at": _required_instant(record["failed_at"])})


def _request_to(event: PollerRequest) -> dict[str, Any]:
    return {**_fields_of(event), "targets": [target._asdict() for target in event.targets]}


def _request_from(record: dict[str, Any]) -> PollerRequest:
    return PollerRequest(
        **{
            **record,
            "targets": tuple(
                PullTarget(**{**target, "published_at": instant(target["published_at"])})
                for target in record["targets"]
            ),
            "requested_at": _required_instant(record["requested_at"]),
            "deadline_at": _required_instant(record["deadline_at"]),
            "as_of": instant(record["as_of"]),
        }
    )


def _job_from(record: dict[str, Any]) -> BackfillJob:
    return BackfillJob(
        **{
            **record,
            "since": _required_instant(record["since"]),
            "started_at": _required_instant(record["started_at"]),
            "finished_at": instant(record["finished_at"]),
        }
    )


def _reply_from(record: dict[str, Any]) -> PollerReply:
    return PollerReply(**{**record, "token_expires_at": instant(record["token_expires_at"])})


_TYPED: dict[str, tuple[Callable[[Any], dict[str, Any]], Callable[[dict[str, Any]], Any]]] = {
    RAW: (_raw_to, raw_from),
    CHANNELS: (_fields_of, _channel_from),
    POSTS: (_post_to, _post_from),
    API_KEYS: (_fields_of, _key_from),
    TOKENS: (_fields_of, _tokens_from),
    POST_SNAPSHOTS: (_post_snapshot_to, _post_snapshot_from),
    CHANNEL_SNAPSHOTS: (_channel_snapshot_to, _channel_snapshot_from),
    ACCOUNT_EVENTS: (_fields_of, _account_event_from),
    DEAD_LETTERS: (_fields_of, _dead_letter_from),
    REQUESTS: (_request_to, _request_from),
    REPLIES: (_fields_of, _reply_from),
    BACKFILLS: (_fields_of, _job_from),
}


class RawCodec(Codec[PlatformRaw]):
    """The codec of `platform.raw`: today's schema is read straight into events, any other by the general reader."""

    def __init__(self, *, schema_id: int | None = None, fetch_schema: Callable[[int], str] | None = None) -> None:
        super().__init__(RAW, _raw_to, raw_from, schema_id=schema_id, fetch_schema=fetch_schema)
        self._fetch = fetch_schema
        self._layouts: Writers[tuple[Layout | None]] = Writers(self._layout)

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

    def _layout(self, schema_id: int) -> tuple[Layout | None]:
        if self._fetch is None:
            raise KeyError(schema_id)
        text = self._fetch(schema_id)
        _usable(text)
        try:
            return (layout_of(text),)
        except (KeyError, TypeError, AttributeError):
            return (None,)  # Avro, written in a way that only the general reader knows


def codec(topic: str, *, schema_id: int | None = None, fetch_schema: Callable[[int], str] | None = None) -> Codec[Any]:
    """The typed codec of a topic; see `RecordCodec`. Rollup topics have none: their records are written as dicts.

    Raises:
        KeyError: the topic has no typed event.
    """
    if topic == RAW:
        return RawCodec(schema_id=schema_id, fetch_schema=fetch_schema)
    to_record, from_record = _TYPED[topic]
    return Codec(topic, to_record, from_record, schema_id=schema_id, fetch_schema=fetch_schema)
