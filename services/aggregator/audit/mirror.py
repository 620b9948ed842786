"""Compares the catalog's mirror in ClickHouse with the last value of every key in the catalog's compacted topics.

A write that the aggregator has not confirmed yet is no difference, so keys with a message after the committed position
are not judged. A partition is read in passes over its keys, so that memory holds a bounded number of values.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from schemas.codec import MalformedEvent, RecordCodec
from schemas.conversions import instant
from schemas.keys import checked_key
from schemas.topic_names import CHANNELS, POSTS
from schemas.values import read_detail
from services.aggregator.audit.plan import Sample
from services.aggregator.audit.store import AuditStore, Difference
from services.aggregator.topic_reader import TopicReader
from services.runtime.kafka import partition_of, split_key

# Values held at once; a post has about a kilobyte.
KEYS_PER_PASS = 100_000
_KEYS_PER_STATEMENT = 500
Texts = tuple[str | None, ...]
"""A row's compared columns as texts, in the order of `Mirror.fields`; `_ABSENT` for a thing that is not there."""
_ABSENT: Texts = ()


def _at(column: str) -> str:
    return f"toString(toUnixTimestamp64Milli({column}))"


@dataclass(frozen=True, slots=True)
class Mirror:
    """One topic of the catalog and the table that mirrors it.

    Attributes:
        topic: the topic's name without prefix.
        table: the table's name.
        id: the column with the id of the post or channel.
        fields: names of the compared fields.
        columns: SQL of the compared fields, all of them as texts.
        told: returns the compared fields of a decoded message.
    """

    topic: str
    table: str
    id: str
    fields: tuple[str, ...]
    columns: str
    told: Callable[[Mapping[str, Any]], Texts]

    @property
    def key(self) -> str:
        """SQL of the message key that belongs to a row."""
        return f"concat(workspace_id, '/', {self.id})"


def _text(value: Any) -> str | None:
    if isinstance(value, datetime):
        value = instant(value)
    return None if value is None else str(value)


def _channel(record: Mapping[str, Any]) -> Texts:
    return (*(_text(record[name]) for name in _CHANNEL_FIELDS), "0")


def _post(record: Mapping[str, Any]) -> Texts:
    targets = [
        {
            # Rows leave the origin out where it is the product's.
            **{name: value for name, value in target.items() if (name, value) != ("origin", "product")},
            "published_at": instant(target["published_at"]),
            "detail": read_detail(target["detail"]),
        }
        for target in record["targets"]
    ]
    return (
        *(_text(record[name]) for name in ("status", "created_at", "published_at", "updated_at")),
        _sorted(targets),
        _text(int(record["status"] == "deleted")),
    )


def _sorted(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


_CHANNEL_FIELDS = ("platform", "external_id", "username", "status", "token_expires_at", "updated_at")
MIRRORS = (
    Mirror(
        CHANNELS,
        "channels_store",
        "channel_id",
        (*_CHANNEL_FIELDS, "is_deleted"),
        f"toString(platform), external_id, username, toString(status), {_at('token_expires_at')}, "
        f"{_at('updated_at')}, toString(is_deleted)",
        _channel,
    ),
    Mirror(
        POSTS,
        "posts_store",
        "post_id",
        ("status", "created_at", "published_at", "updated_at", "targets", "is_deleted"),
        f"toString(status), {_at('created_at')}, {_at('published_at')}, {_at('updated_at')}, targets, "
        "toString(is_deleted)",
        _post,
    ),
)


class MirrorAudit:
    """Compares one mirror with its topic.

    Args:
        full_name: the topic's name with the prefix.
        partitions: number of partitions of the topic.
        group: the consumer group, without prefix, that commits how far the catalog is folded.
        workspace: compare this workspace only; None for all workspaces.
        sample: chooses the keys to compare.
        retries: how often differing keys are read again.
        grace_seconds: the pause before each of these reads.
        keys_per_pass: how many keys, about, are held in memory at once.
    """

    def __init__(
        self,
        mirror: Mirror,
        full_name: str,
        store: AuditStore,
        reader: TopicReader,
        codec: RecordCodec,
        *,
        partitions: int,
        group: str,
        workspace: str | None,
        sample: Sample,
        retries: int,
        grace_seconds: float,
        keys_per_pass: int = KEYS_PER_PASS,
    ) -> None:
        self._mirror = mirror
        self._full_name = full_name
        self._store = store
        self._reader = reader
        self._codec = codec
        self._partitions = partitions
        self._group = group
        self._workspace = workspace
        self._sample = sample
        self._retries = retries
        self._grace_seconds = grace_seconds
        self._keys_per_pass = keys_per_pass

    def differences(self, partition: int) -> Iterator[Difference]:
        """Yield the differences in one partition.

        Raises:
            AuditFailed: ClickHouse can't be used.
            TopicUnreadable: Kafka can't be read.
        """
        # Read first: writes that are confirmed now must be in the table when the table is read.
        folded = self._reader.committed(self._group, self._full_name, partition)
        low, end = self._reader.bounds(self._full_name, partition)
        passes = max(1, -(-(end - low) // self._keys_per_pass))
        for number in range(passes):
            yield from self._pass(partition, number, passes, low, folded, end)

    def _pass(self, partition: int, number: int, passes: int, low: int, folded: int, end: int) -> Iterator[Difference]:
        told: dict[str, bytes | None] = {}
        in_flight: set[str] = set()
        for key, value, offset in self._messages(partition, low, end):
            if zlib.crc32(key.encode()) % passes != number or not self._is_wanted(key):
                continue
            told[key] = value
            if offset >= folded:
                in_flight.add(key)
        where = f"kafkaMurmurHash(workspace_id) % {self._partitions} = {{partition:UInt32}} AND {self._of_workspace}"
        parameters = {"partition": partition, "workspace": self._workspace or ""}
        differing: dict[str, tuple[Texts, Texts]] = {}
        seen: set[str] = set()
        for key, held in self._rows(f"{where} AND CRC32({self._mirror.key}) % {passes} = {number}", parameters):
            seen.add(key)
            if key not in in_flight and self._sample.takes(key):
                self._compare(differing, key, held, told.get(key))
        for key, value in told.items():
            if key not in seen and key not in in_flight:
                self._compare(differing, key, _ABSENT, value)
        yield from self._settled(partition, end, differing, told)

    def _compare(self, differing: dict[str, tuple[Texts, Texts]], key: str, held: Texts, value: bytes | None) -> None:
        try:
            said = _ABSENT if value is None else self._told(key, value)
        except MalformedEvent:
            return  # such an entry does not count; the aggregator logged it
        if held == said:
            differing.pop(key, None)
        else:
            differing[key] = (held, said)

    def _told(self, key: str, value: bytes) -> Texts:
        record = self._codec.decode(value)
        checked_key(self._mirror.topic, key.encode(), record)
        return self._mirror.told(record)

    def _settled(
        self, partition: int, end: int, differing: dict[str, tuple[Texts, Texts]], told: dict[str, bytes | None]
    ) -> Iterator[Difference]:
        """Read differing keys again until a key agrees or is written anew, or the retries are used up."""
        for _ in range(self._retries):
            if not differing:
                return
            time.sleep(self._grace_seconds)
            start, end = end, self._reader.bounds(self._full_name, partition)[1]
            for key, _, _ in self._messages(partition, start, end):
                differing.pop(key, None)
            keys = list(differing)
            rows = dict(self._rows_of(keys))
            for key in keys:
                self._compare(differing, key, rows.get(key, _ABSENT), told.get(key))
        for key, (held, said) in differing.items():
            workspace_id, thing_id = split_key(key.encode())
            fields: tuple[tuple[str, str | None, str | None], ...] = (("row", _presence(held), _presence(said)),)
            if held and said:
                fields = tuple(
                    (name, was, is_now)
                    for name, was, is_now in zip(self._mirror.fields, held, said, strict=True)
                    if was != is_now
                )
            yield Difference(self._mirror.topic, workspace_id, thing_id, thing_id, fields)

    def _rows(self, where: str, parameters: dict[str, Any]) -> Iterator[tuple[str, Texts]]:
        # A tombstone's row has no other values to compare.
        is_gone = "is_deleted AND status = ''"
        query = (
            f"SELECT {self._mirror.key} AS message_key, {is_gone}, {self._mirror.columns} "
            f"FROM {self._mirror.table} FINAL WHERE {where}"
        )
        at = self._mirror.fields.index("targets") if "targets" in self._mirror.fields else None
        for key, gone, *texts in self._store.stream(query, parameters):
            if gone:
                yield key, _ABSENT
                continue
            if at is not None:
                texts[at] = _parsed(texts[at])
            yield key, tuple(texts)

    def _rows_of(self, keys: Sequence[str]) -> Iterator[tuple[str, Texts]]:
        for start in range(0, len(keys), _KEYS_PER_STATEMENT):
            some = keys[start : start + _KEYS_PER_STATEMENT]
            pairs = [split_key(key.encode()) for key in some]
            where = f"(workspace_id, {self._mirror.id}) IN {{keys:Array(Tuple(String, String))}}"
            yield from self._rows(where, {"keys": pairs})

    def _messages(self, partition: int, start: int, end: int) -> Iterator[tuple[str, bytes | None, int]]:
        for message in self._reader.read(self._full_name, partition, start, end):
            key = (message.key or b"").decode(errors="replace")
            # A message in another workspace's partition does not count.
            if partition_of(key.partition("/")[0], self._partitions) == partition:
                yield key, message.intact, message.offset

    def _is_wanted(self, key: str) -> bool:
        if self._workspace is not None and not key.startswith(f"{self._workspace}/"):
            return False
        return self._sample.takes(key)

    @property
    def _of_workspace(self) -> str:
        return "1" if self._workspace is None else "workspace_id = {workspace:String}"


def _parsed(targets: str) -> str:
    try:
        return _sorted(orjson.loads(targets))
    except orjson.JSONDecodeError:
        return targets


def _presence(texts: Texts) -> str:
    return "present" if texts else "absent"
