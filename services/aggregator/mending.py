"""Finds the differences that a partition's owner has to mend for a rebuild, in the catalog's mirror and in rollups.

The mirror must equal the catalog's topics, and the rollup topics must equal the stored totals. A topic is read twice:
first for the place of each key's last message, then for the last messages alone, so that memory holds keys and not
values.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from schemas import topic_names
from schemas.codec import Codec, MalformedEvent
from schemas.events import CatalogPost
from schemas.keys import checked_key
from schemas.topic_names import CHANNEL_ROLLUPS, POST_ROLLUPS
from services.aggregator.batch import CatalogWrite, Outgoing
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.rows import CHANNELS, POSTS, Table, Version, channel_row, post_row
from services.aggregator.state import Key
from services.aggregator.topic_reader import TopicReader
from services.runtime.clock import Clock
from services.runtime.kafka import partition_of
from services.runtime.settings import KafkaSettings

_KEYS_PER_PAGE = 1_000
_NO_VERSION = Version(0, 0, 0)
_INSTANTS = frozenset({"created_at", "published_at", "updated_at", "token_expires_at"})


class LastMessages:
    """Finds the last message of each key in one partition of a compacted topic. Blocking.

    Args:
        topic: the topic's full name.

    Attributes:
        places: the offset of each key's last message.
        held: the keys whose last message is no tombstone.

    Raises:
        TopicUnreadable: Kafka can't be read.
    """

    def __init__(self, reader: TopicReader, topic: str, partition: int) -> None:
        self._reader = reader
        self._topic = topic
        self._partition = partition
        self._begin, self._end = reader.bounds(topic, partition)
        self.places: dict[bytes, int] = {}
        self.held: set[bytes] = set()
        for message in reader.read(topic, partition, self._begin, self._end):
            key = message.key or b""
            self.places[key] = message.offset
            if message.intact is None:
                self.held.discard(key)
            else:
                self.held.add(key)

    def pages(self) -> Iterator[list[tuple[bytes, bytes | None, int]]]:
        """Yield key, value and time (ms) of each last message, in offset order, in pages of at most 1,000.

        Raises:
            TopicUnreadable: Kafka can't be read.
        """
        page = []
        for message in self._reader.read(self._topic, self._partition, self._begin, self._end):
            key = message.key or b""
            # A key whose last message was compacted away meanwhile has a newer message, which the owner reads anyway.
            if self.places.get(key) != message.offset:
                continue
            page.append((key, message.intact, message.timestamp))
            if len(page) >= _KEYS_PER_PAGE:
                yield page
                page = []
        if page:
            yield page


class MirrorMender:
    """Finds the catalog writes that the mirror lacks, in one partition.

    Args:
        codecs: the codecs of the catalog's topics, by the topic's name without prefix.
        partitions: number of partitions of the topics.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        store: ClickHouse,
        codecs: Mapping[str, Codec[Any]],
        clock: Clock,
        partition: int,
        partitions: int,
    ) -> None:
        self._settings = settings
        self._store = store
        self._codecs = codecs
        self._clock = clock
        self._partition = partition
        self._partitions = partitions

    async def writes(self) -> AsyncIterator[list[CatalogWrite]]:
        """Yield the writes that make the mirror equal to the topics, in pages: channels first, then posts."""
        for name, table in ((topic_names.CHANNELS, CHANNELS), (topic_names.POSTS, POSTS)):
            with TopicReader(self._settings) as reader:
                last = await asyncio.to_thread(LastMessages, reader, self._settings.topic(name), self._partition)
                pages = last.pages()
                while page := await asyncio.to_thread(next, pages, None):
                    yield await self._lacking(page, name, table)
            async for stray in self._strays(table, last.places):
                yield stray

    async def forget(self, writes: Sequence[CatalogWrite], number: int) -> bool:
        """Remove rows of the written posts and channels whose version is above the owner's: no owner wrote such rows.

        Args:
            number: the version of the owner's last batch.

        Returns:
            Whether rows were removed. They may have replaced rows of the batch, so the batch must be written again.
        """
        were_there = False
        for table, is_post in ((CHANNELS, False), (POSTS, True)):
            keys = [(write.workspace_id, write.id) for write in writes if write.is_post is is_post]
            if not keys:
                continue
            name, where = table[0], f"{_is_one_of(table)} AND version > {{number:UInt64}}"
            parameters = {"keys": keys, "number": number}
            found = await self._store.query(f"SELECT count() FROM {name} WHERE {where}", parameters)
            if found[0][0]:
                await self._store.command(f"ALTER TABLE {name} DELETE WHERE {where}", parameters, {"mutations_sync": 2})
                were_there = True
        return were_there

    async def _lacking(
        self, page: Sequence[tuple[bytes, bytes | None, int]], name: str, table: Table
    ) -> list[CatalogWrite]:
        told = [write for key, value, at in page if (write := self._decoded(name, key, value, at)) is not None]
        keys = [(write.workspace_id, write.id) for write in told]
        held = {(row[0], row[1]): row for row in await self._rows(table, _is_one_of(table), {"keys": keys})}
        return [write for write in told if not _is_mirrored(write, held.get((write.workspace_id, write.id)))]

    def _decoded(self, name: str, key: bytes, value: bytes | None, at: int) -> CatalogWrite | None:
        try:
            event = None if value is None else self._codecs[name].decode(value)
            workspace_id, thing_id = checked_key(
                name, key, event, lambda workspace: partition_of(workspace, self._partitions) == self._partition
            )
        except MalformedEvent:
            return None  # the catalog reader skipped and logged this message when it was first read
        return CatalogWrite(workspace_id, thing_id, event, name == topic_names.POSTS, at)

    async def _strays(self, table: Table, known: Mapping[bytes, int]) -> AsyncIterator[list[CatalogWrite]]:
        """Yield tombstones for posts or channels that the mirror holds and the topic does not."""
        name, thing = table[0], table[1][1]
        after: Key = ("", "")
        while True:
            found = await self._store.query(
                f"SELECT workspace_id, {thing} FROM {name} FINAL WHERE NOT (is_deleted AND status = '') "
                f"AND kafkaMurmurHash(workspace_id) % {self._partitions} = {self._partition} "
                f"AND (workspace_id, {thing}) > ({{workspace:String}}, {{thing:String}}) "
                f"ORDER BY workspace_id, {thing} LIMIT {_KEYS_PER_PAGE}",
                {"workspace": after[0], "thing": after[1]},
            )
            if not found:
                return
            after = (found[-1][0], found[-1][1])
            strays = [
                CatalogWrite(row[0], row[1], None, table is POSTS, self._clock.now())
                for row in found
                if f"{row[0]}/{row[1]}".encode() not in known
            ]
            if strays:
                yield strays

    async def _rows(self, table: Table, where: str, parameters: dict[str, Any]) -> Sequence[Sequence[Any]]:
        """Rows of a mirror with all of its columns except the version."""
        name, columns = table
        shown = (f"toUnixTimestamp64Milli({at})" if at in _INSTANTS else at for at in columns[:-1])
        return await self._store.query(f"SELECT {', '.join(shown)} FROM {name} FINAL WHERE {where}", parameters)


def _is_one_of(table: Table) -> str:
    return f"(workspace_id, {table[1][1]}) IN {{keys:Array(Tuple(String, String))}}"


def _is_mirrored(write: CatalogWrite, row: Sequence[Any] | None) -> bool:
    """Whether a row equals the row that a write makes."""
    if write.event is None:
        # A tombstone's row has no status; a post of status deleted keeps its own.
        return row is None or bool(row[-1] and not row[2 if write.is_post else 5])
    event = write.event
    expected = post_row(_NO_VERSION, event) if isinstance(event, CatalogPost) else channel_row(_NO_VERSION, event)
    return row is not None and tuple(row) == expected[:-1]


async def stray_rollups(
    settings: KafkaSettings, store: ClickHouse, generation: int, partition: int
) -> AsyncIterator[list[Outgoing]]:
    """Yield tombstones for keys of the rollup topics that have no stored total, in pages.

    Raises:
        TopicUnreadable: Kafka can't be read.
    """
    for name, query in (
        (POST_ROLLUPS, "SELECT concat(workspace_id, '/', post_id) FROM post_totals_store"),
        (CHANNEL_ROLLUPS, "SELECT concat(workspace_id, '/', channel_id, '/', `range`) FROM channel_totals_store"),
    ):
        with TopicReader(settings) as reader:
            last = await asyncio.to_thread(LastMessages, reader, settings.topic(name), partition)
        told = sorted(last.held)
        for start in range(0, len(told), _KEYS_PER_PAGE):
            page = told[start : start + _KEYS_PER_PAGE]
            keys = [key.decode(errors="replace") for key in page]
            found = await store.query(
                f"SELECT message_key FROM ({query.replace(' FROM', ' AS message_key FROM')} FINAL "
                "WHERE generation = {generation:UInt16} AND partition = {partition:UInt32} AND is_deleted = 0 "
                "AND workspace_id IN {workspaces:Array(String)}) WHERE message_key IN {keys:Array(String)}",
                {
                    "generation": generation,
                    "partition": partition,
                    "workspaces": sorted({key.partition("/")[0] for key in keys}),
                    "keys": keys,
                },
            )
            held = {row[0] for row in found}
            strays: list[Outgoing] = [
                (name, key, None) for key, text in zip(page, keys, strict=True) if text not in held
            ]
            if strays:
                yield strays


async def all_posts(store: ClickHouse, generation: int, partition: int) -> list[Key]:
    """Keys of all posts of a partition that the catalog holds, in order."""
    rows = await store.query(
        "SELECT workspace_id, post_id FROM post_totals_store FINAL WHERE partition = {partition:UInt32} "
        "AND generation = {generation:UInt16} AND is_deleted = 0 ORDER BY workspace_id, post_id",
        {"partition": partition, "generation": generation},
    )
    return [(row[0], row[1]) for row in rows]
