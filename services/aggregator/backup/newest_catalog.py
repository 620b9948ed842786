"""The catalog after Kafka was lost: of each channel and post the newest state of the backup and of ClickHouse's mirror.

The mirror follows the catalog within a second, so it knows what was written after the backup. It holds no tokens, and
of channels not whether their accounts' posts are looked for: that is the backup's, where it knows the channel.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson

from schemas.codec import Codec, MalformedEvent
from schemas.events import CatalogChannel
from schemas.keys import checked_key
from schemas.topic_names import CHANNELS, POSTS
from services.aggregator.backup.raw_rows import RawRows
from services.aggregator.backup.topic_messages import line_of
from services.aggregator.batch import CatalogWrite
from services.aggregator.replay import channel_write, post_write
from services.runtime.kafka import key as message_key
from services.runtime.kafka import split_key

_PER_PAGE = 1_000
_NEVER = -(2**63)
_QUERIES = {
    CHANNELS: (
        "channels_store",
        "channel_id",
        "channel_id, platform, external_id, username, status, toUnixTimestamp64Milli(token_expires_at), "
        "toUnixTimestamp64Milli(updated_at), is_deleted",
    ),
    POSTS: (
        "posts_store",
        "post_id",
        "post_id, status, toUnixTimestamp64Milli(created_at), toUnixTimestamp64Milli(published_at), "
        "toUnixTimestamp64Milli(updated_at), targets, is_deleted",
    ),
}
MIRRORED = tuple(_QUERIES)


class NewestCatalog:
    """Lines of one topic of the catalog.

    Args:
        topic: without prefix, one of `MIRRORED`.
        codec: decodes values of the backup, and encodes with this registry's id.

    Attributes:
        unknown: the keys of what is held and is in ClickHouse alone.
    """

    def __init__(self, rows: RawRows, topic: str, codec: Codec[Any]) -> None:
        self._rows = rows
        self._topic = topic
        self._codec = codec
        self.unknown: list[str] = []

    def lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield lines of a backup with those of the mirror in their place where it is newer, then what only it knows.

        Raises:
            BackupError: ClickHouse can't be used.
        """
        seen: set[bytes] = set()
        for page in _pages(lines):
            entries = {base64.b64decode(entry["k"]): (line, entry) for line, entry in page}
            seen.update(entries)
            held = {message_key(write.workspace_id, write.id): write for write in self._of(list(entries))}
            for key, (line, entry) in entries.items():
                write = held.get(key)
                before, since = self._told(entry)
                yield line if write is None or write.updated_at <= since else self._line(write, before)
        for write in self._all():
            key = message_key(write.workspace_id, write.id)
            if key not in seen:
                if write.event is not None:
                    self.unknown.append(key.decode())
                yield self._line(write, None)

    def _told(self, entry: dict[str, Any]) -> tuple[Any, int]:
        """The event of an entry, and since when it stands, ms; what no reader takes is older than all else."""
        if entry["v"] is None:
            return None, entry["t"]
        try:
            event = self._codec.decode(base64.b64decode(entry["v"]))
            checked_key(self._topic, base64.b64decode(entry["k"]), event)
        except MalformedEvent:
            return None, _NEVER
        return event, event.updated_at

    def _line(self, write: CatalogWrite, before: Any) -> bytes:
        event = write.event
        if isinstance(event, CatalogChannel) and isinstance(before, CatalogChannel):
            event = replace(event, discover=before.discover)
        value = None if event is None else self._codec.encode(event)
        return line_of(message_key(write.workspace_id, write.id), value, write.updated_at, is_own=True)

    def _of(self, keys: Sequence[bytes]) -> Iterator[CatalogWrite]:
        thing = _QUERIES[self._topic][1]
        pairs = [split_key(key) for key in keys]
        yield from self._select(
            f"WHERE (workspace_id, {thing}) IN {{keys:Array(Tuple(String, String))}}", {"keys": pairs}
        )

    def _all(self) -> Iterator[CatalogWrite]:
        thing = _QUERIES[self._topic][1]
        after = ("", "")
        while True:
            found = list(
                self._select(
                    f"WHERE (workspace_id, {thing}) > ({{workspace:String}}, {{thing:String}}) "
                    f"ORDER BY workspace_id, {thing} LIMIT {_PER_PAGE}",
                    {"workspace": after[0], "thing": after[1]},
                )
            )
            if not found:
                return
            yield from found
            after = (found[-1].workspace_id, found[-1].id)

    def _select(self, where: str, parameters: dict[str, Any]) -> Iterator[CatalogWrite]:
        table, _, columns = _QUERIES[self._topic]
        write = channel_write if self._topic == CHANNELS else post_write
        for row in self._rows.query(f"SELECT workspace_id, {columns} FROM {table} FINAL {where}", parameters):
            yield write(row[0], row[1:])


def _pages(lines: Iterable[bytes]) -> Iterator[list[tuple[bytes, dict[str, Any]]]]:
    page: list[tuple[bytes, dict[str, Any]]] = []
    for line in lines:
        page.append((line, orjson.loads(line)))
        if len(page) >= _PER_PAGE:
            yield page
            page = []
    if page:
        yield page
