"""Compares stored totals with the compacted topics: the last value of every key, and tombstones of deleted keys.

A partition is read in passes over its keys, so that memory holds a bounded number of values whatever the topic's size.
A rollup is published after its row is stored, and both carry the batch's version. Keys that differ are read again on
both sides, and a row is compared with the rollup of the same version, so that numbers in flight are no differences.

Anybody may have written to the topic: an unreadable key or value is a difference, never an error.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas.codec import MalformedEvent, RecordCodec, schema_text
from schemas.encoder import Encode
from schemas.topic_names import CHANNEL_ROLLUPS, POST_ROLLUPS
from services.aggregator.audit.figures import (
    CHANNEL_COLUMNS,
    POST_COLUMNS,
    Fields,
    Platforms,
    channel_fields,
    post_fields,
    record_fields,
)
from services.aggregator.audit.plan import Sample
from services.aggregator.audit.store import AuditStore, Difference
from services.aggregator.topic_reader import TopicReader

# Values held in memory at once; a value has about half a kilobyte.
KEYS_PER_PASS = 200_000
_KEYS_PER_STATEMENT = 500
_UNREADABLE: Fields = ()
_PARTITION = "generation = {generation:UInt16} AND is_deleted = 0 AND partition = {partition:UInt32}"


@dataclass(frozen=True, slots=True)
class RollupTopic:
    """One compacted topic and the table whose rows it repeats.

    Attributes:
        name: the topic's name without prefix.
        table: the table's name.
        key: SQL of the message key that belongs to a row.
        columns: SQL of the columns that `fields` needs after version, workspace and key.
        fields: returns the message that must belong to a row.
    """

    name: str
    table: str
    key: str
    columns: str
    fields: Callable[[Sequence[Any], Platforms], Fields]

    def query(self, where: str) -> str:
        """SQL of the rows that are not deleted: version, workspace, key and `columns`."""
        return (
            f"SELECT version, workspace_id, {self.key} AS message_key, {self.columns} FROM {self.table} FINAL "
            f"WHERE generation = {{generation:UInt16}} AND is_deleted = 0 AND {where}"
        )


TOPICS = (
    RollupTopic(POST_ROLLUPS, "post_totals_store", "concat(workspace_id, '/', post_id)", POST_COLUMNS, post_fields),
    RollupTopic(
        CHANNEL_ROLLUPS,
        "channel_totals_store",
        "concat(workspace_id, '/', channel_id, '/', `range`)",
        CHANNEL_COLUMNS,
        channel_fields,
    ),
)


@dataclass(slots=True)
class _Open:
    """A key that has differed at every look so far.

    Attributes:
        values: the messages seen, by their version.
        last: the newest message; `_UNREADABLE` for a value that can't be decoded, None for a tombstone or no message.
    """

    values: dict[int, Fields] = field(default_factory=dict)
    last: Fields | None = None


class RollupAudit:
    """Compares one topic with its table.

    Args:
        full_name: the topic's name with the prefix.
        codec: the topic's decoder.
        encode: the topic's encoder; nearly every value is right, and comparing bytes is faster than decoding.
        platforms: the platforms of channels that the catalog holds, by (workspace, channel).
        workspace: compare this workspace only; None for all workspaces.
        sample: chooses the keys to compare.
        retries: how often differing keys are read again.
        grace_seconds: the pause before each of these reads.
        keys_per_pass: how many keys, about, are held in memory at once.

    Attributes:
        compared: number of keys compared so far.
    """

    def __init__(
        self,
        topic: RollupTopic,
        full_name: str,
        store: AuditStore,
        reader: TopicReader,
        codec: RecordCodec,
        encode: Encode,
        platforms: Platforms,
        *,
        workspace: str | None,
        sample: Sample,
        retries: int,
        grace_seconds: float,
        keys_per_pass: int = KEYS_PER_PASS,
    ) -> None:
        self._topic = topic
        self._full_name = full_name
        self._store = store
        self._reader = reader
        self._codec = codec
        self._encode = encode
        self._names = tuple(entry["name"] for entry in orjson.loads(schema_text(topic.name))["fields"])
        self._version = self._names.index("version")
        self._platforms = platforms
        self._workspace = workspace
        self._sample = sample
        self._retries = retries
        self._grace_seconds = grace_seconds
        self._keys_per_pass = keys_per_pass
        self.compared = 0

    def differences(self, partition: int) -> Iterator[Difference]:
        """Yield the differences in one partition.

        Raises:
            AuditFailed: ClickHouse can't be used.
            TopicUnreadable: Kafka can't be read.
        """
        query = f"SELECT count() FROM {self._topic.table} WHERE {_PARTITION} AND {self._of_workspace}"
        rows = int(next(iter(self._store.stream(query, self._parameters(partition))))[0])
        passes = max(1, -(-rows // self._keys_per_pass))
        for number in range(passes):
            yield from self._pass(partition, number, passes)

    def _pass(self, partition: int, number: int, passes: int) -> Iterator[Difference]:
        low, end = self._reader.bounds(self._full_name, partition)
        held: dict[bytes, bytes] = {}
        for key, value in self._messages(partition, low, end):
            if zlib.crc32(key) % passes != number or not self._is_wanted(key):
                continue
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
        where = f"{_PARTITION} AND {self._of_workspace} AND CRC32({self._topic.key}) % {passes} = {number}"
        open_keys: dict[bytes, _Open] = {}
        for row in self._store.stream(self._topic.query(where), self._parameters(partition)):
            key = row[2].encode()
            if not self._sample.takes(row[2]):
                continue
            self.compared += 1
            value = held.pop(key, None)
            expected = self._topic.fields(row, self._platforms)
            if value is None:
                open_keys[key] = _Open()
            elif value != self._encode(expected):
                told = self._decoded(value)
                if not self._are_same(told, expected):
                    open_keys[key] = self._opened(told)
        for key, value in held.items():
            self.compared += 1
            open_keys[key] = self._opened(self._decoded(value))
        held.clear()
        yield from self._settled(partition, end, open_keys)

    def _settled(self, partition: int, end: int, open_keys: dict[bytes, _Open]) -> Iterator[Difference]:
        """Read differing keys again on both sides, until a key agrees or the retries are used up."""
        rows: dict[bytes, Fields] = {}
        for _ in range(self._retries):
            if not open_keys:
                return
            time.sleep(self._grace_seconds)
            rows = dict(self._rows(partition, list(open_keys)))
            start, end = end, self._reader.bounds(self._full_name, partition)[1]
            for key, value in self._messages(partition, start, end):
                if key in open_keys:
                    told = None if value is None else self._decoded(value)
                    open_keys[key].last = told
                    if told:
                        open_keys[key].values[told[self._version]] = told
            for key in [key for key, held in open_keys.items() if self._agree(rows.get(key), held)]:
                del open_keys[key]
        for key, held in open_keys.items():
            workspace_id, _, rest = _text(key).partition("/")
            yield Difference(self._topic.name, workspace_id, _text(key), rest, self._fields(held.last, rows.get(key)))

    def _fields(self, told: Fields | None, row: Fields | None) -> tuple[tuple[str, str | None, str | None], ...]:
        if not told or row is None:
            held = "absent" if told is None else "present" if told else "unreadable"
            return (("message", held, "present" if row else "absent"),)
        return tuple(
            (name, _shown(was), _shown(is_now))
            for name, was, is_now in zip(self._names, told, row, strict=True)
            if was != is_now and name != "version"
        )

    def _opened(self, told: Fields) -> _Open:
        return _Open({told[self._version]: told} if told else {}, told)

    def _are_same(self, told: Fields, row: Fields) -> bool:
        at = self._version
        return told[:at] == row[:at] and told[at + 1 :] == row[at + 1 :]

    def _agree(self, row: Fields | None, held: _Open) -> bool:
        if row is None:
            return held.last is None
        told = held.values.get(row[self._version]) or held.last
        return told is not None and self._are_same(told, row)

    def _rows(self, partition: int, keys: Sequence[bytes]) -> Iterator[tuple[bytes, Fields]]:
        for start in range(0, len(keys), _KEYS_PER_STATEMENT):
            some = [_text(key) for key in keys[start : start + _KEYS_PER_STATEMENT]]
            where = (
                "partition = {partition:UInt32} AND workspace_id IN {workspaces:Array(String)} "
                f"AND {self._topic.key} IN {{keys:Array(String)}}"
            )
            names = sorted({key.partition("/")[0] for key in some})
            parameters = {"partition": partition, "workspaces": names, "keys": some}
            for row in self._store.stream(self._topic.query(where), parameters):
                yield row[2].encode(), self._topic.fields(row, self._platforms)

    def _messages(self, partition: int, start: int, end: int) -> Iterator[tuple[bytes, bytes | None]]:
        for message in self._reader.read(self._full_name, partition, start, end):
            yield message.key or b"", message.intact

    def _is_wanted(self, key: bytes) -> bool:
        if self._workspace is not None and not key.startswith(f"{self._workspace}/".encode()):
            return False
        return self._sample.takes(_text(key))

    def _decoded(self, value: bytes) -> Fields:
        try:
            return record_fields(self._codec.decode(value))
        except MalformedEvent:
            return _UNREADABLE

    @property
    def _of_workspace(self) -> str:
        return "1" if self._workspace is None else "workspace_id = {workspace:String}"

    def _parameters(self, partition: int) -> dict[str, Any]:
        return {"partition": partition, "workspace": self._workspace or ""}


def _text(key: bytes) -> str:
    """A key as text, to show and to query; a key that is not UTF-8 matches no row."""
    return key.decode(errors="backslashreplace")


def _shown(value: Any) -> str | None:
    return None if value is None else str(value)
