"""Folds history from ClickHouse into a generation: the mirrored catalog, and the stored raw events.

`tidemark rebuild` replays all history, and a partition's owner replays the newest part. This module publishes nothing.

Guarantee: folding an event or a catalog entry twice changes nothing, so any part of history may be replayed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import orjson

from schemas.events import CatalogChannel, CatalogPost, CatalogTarget, PlatformRaw, RawTarget
from schemas.values import read_targets
from services.aggregator.batch import Batch, CatalogWrite
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.filling import fill
from services.aggregator.fold import fold_batch
from services.aggregator.reading import Message, RawReading, map_or_failure
from services.aggregator.rebuild_runs import CatalogCut
from services.aggregator.rows import CHANNELS, POSTS, RAW_EVENTS, RESTORED_TOPIC, Version
from services.aggregator.state import ChannelState, PartitionState, PostState
from services.aggregator.states import StoredStates
from services.aggregator.writing import insert_all
from services.runtime.clock import Clock
from services.runtime.kafka import partition_of

EVENTS_PER_BATCH = 300
CATALOG_PER_BATCH = 1_000
# A generation does not store when a post was last written. With this value no write counts as newer, so that the
# listings of all targets of the post are read.
_UNKNOWN = 2**63 - 1
# All generations share the raw events and the mirror of the catalog.
_SHARED = frozenset({RAW_EVENTS, CHANNELS, POSTS})
_RAW_COLUMNS = (
    "workspace_id, event_id, channel_id, platform, kind, endpoint, request, `targets.target_id`, `targets.post_id`, "
    "`targets.external_id`, http_status, body, toUnixTimestamp64Milli(captured_at), origin, topic, partition, offset, "
    "toUnixTimestamp64Milli(ingested_at)"
)


async def _require_nothing() -> None:
    """The owner of a partition folds history between two batches of its own."""


class Replayer:
    """Folds history into one generation.

    Args:
        generation: the generation to read from and write to.
        partitions: number of partitions of the topics.
        next_number: gives the number of the next batch's version.
        cache_targets: the most targets held in memory, and as many posts.
        require: called before each insert; raises an error where nothing may be inserted any more.

    Attributes:
        unmapped: number of events that could not be mapped, by reason.
    """

    def __init__(
        self,
        store: ClickHouse,
        clock: Clock,
        generation: int,
        partitions: int,
        next_number: Callable[[], int],
        cache_targets: int = 100_000,
        require: Callable[[], Awaitable[None]] = _require_nothing,
    ) -> None:
        self._store = store
        self._states = StoredStates(store)
        self._clock = clock
        self._generation = generation
        self._partitions = partitions
        self._next_number = next_number
        self._require = require
        self._cache_targets = cache_targets
        self._state = PartitionState.empty(cache_targets)
        self.unmapped: dict[str, int] = {}

    async def fold(self, workspace_id: str, batch: Batch) -> None:
        """Fold one batch of a tenant and wait until its rows are stored."""
        now = self._clock.now()
        related = await fill(self._state, batch, self._states, self._generation, now)
        version = Version(self._generation, partition_of(workspace_id, self._partitions), self._next_number())
        effects = await asyncio.to_thread(fold_batch, self._state, batch, related, version, now)
        await self._require()
        await insert_all(self._store, {table: rows for table, rows in effects.inserts.items() if table not in _SHARED})
        self._state.trim()

    async def catalog(self, workspace_id: str, cut: CatalogCut | None = None) -> None:
        """Fold a tenant's mirrored catalog.

        Args:
            cut: fold only rows with these versions or greater ones, as writes that come after all others.
        """
        least = cut or CatalogCut()
        parameters = {"workspace": workspace_id}
        where = "workspace_id = {workspace:String} AND version >= {version:UInt64}"
        channels = await self._store.query(
            "SELECT channel_id, platform, external_id, username, status, toUnixTimestamp64Milli(token_expires_at), "
            f"toUnixTimestamp64Milli(updated_at), is_deleted FROM channels_store FINAL WHERE {where}",
            {**parameters, "version": least.channels},
        )
        writes = [channel_write(workspace_id, row) for row in channels]
        for start in range(0, len(writes), CATALOG_PER_BATCH):
            chunk = writes[start : start + CATALOG_PER_BATCH]
            if cut is not None:
                await self._recall_channels(chunk)
            await self.fold(workspace_id, Batch(catalog=chunk))
        after = ""
        while True:
            posts = await self._store.query(
                "SELECT post_id, status, toUnixTimestamp64Milli(created_at), toUnixTimestamp64Milli(published_at), "
                f"toUnixTimestamp64Milli(updated_at), targets, is_deleted FROM posts_store FINAL WHERE {where} "
                "AND post_id > {after:String} ORDER BY post_id LIMIT {limit:UInt32}",
                {**parameters, "version": least.posts, "after": after, "limit": CATALOG_PER_BATCH},
            )
            if not posts:
                return
            if cut is not None:
                await self._recall_targets(workspace_id, [row[0] for row in posts])
            await self.fold(workspace_id, Batch(catalog=[post_write(workspace_id, row) for row in posts]))
            after = posts[-1][0]

    async def channels(self, workspace_id: str) -> None:
        """Compute the windows of all of a tenant's channels anew, from what is stored and not from memory."""
        rows = await self._store.query(
            "SELECT channel_id FROM channels_store FINAL WHERE workspace_id = {workspace:String} AND is_deleted = 0 "
            "ORDER BY channel_id",
            {"workspace": workspace_id},
        )
        self._state = PartitionState.empty(self._cache_targets)
        keys = [(workspace_id, row[0]) for row in rows]
        for start in range(0, len(keys), CATALOG_PER_BATCH):
            await self.fold(workspace_id, Batch(expired=keys[start : start + CATALOG_PER_BATCH]))

    async def _recall_channels(self, writes: Sequence[CatalogWrite]) -> None:
        """Make every write look like a change to the catalog: the mirror holds it already, but the totals may not."""
        keys = [(write.workspace_id, write.id) for write in writes]
        found = await self._states.fetch_channels(self._generation, keys, self._clock.now())
        for write, key in zip(writes, keys, strict=True):
            channel = found.get(key) or ChannelState(write.id)
            channel.is_held = write.event is None
            self._state.channels.put(key, channel)

    async def _recall_targets(self, workspace_id: str, post_ids: Sequence[str]) -> None:
        """Load which targets this generation lists under the posts: the mirror holds only the posts' newest version."""
        rows = await self._store.query(
            "SELECT post_id, groupArray(target_id) FROM latest_post_metrics_store FINAL "
            "WHERE generation = {generation:UInt16} AND workspace_id = {workspace:String} AND is_listed "
            "AND post_id IN {posts:Array(String)} GROUP BY post_id",
            {"generation": self._generation, "workspace": workspace_id, "posts": list(post_ids)},
        )
        for post_id, target_ids in rows:
            self._state.posts.put((workspace_id, post_id), PostState(post_id, True, tuple(target_ids), _UNKNOWN))

    async def events(self, workspace_id: str, after: str = "") -> AsyncIterator[tuple[str, int]]:
        """Fold a tenant's raw events by ascending id.

        Args:
            after: fold only events with a greater id.

        Yields:
            After each batch, the last id folded and the number of events in the batch.
        """
        page = asyncio.create_task(self._page(workspace_id, after))
        try:
            while rows := await page:
                after = rows[-1][1]
                # The next page is on its way while this one is folded.
                page = asyncio.create_task(self._page(workspace_id, after))
                reads = await asyncio.to_thread(self._read, rows)
                await self.fold(workspace_id, Batch(raw=reads))
                yield after, len(rows)
        finally:
            page.cancel()

    async def _page(self, workspace_id: str, after: str) -> Sequence[Sequence[Any]]:
        return await self._store.query(
            f"SELECT {_RAW_COLUMNS} FROM raw_events_store FINAL WHERE workspace_id = {{workspace:String}} "
            "AND event_id > {after:String} ORDER BY event_id LIMIT {limit:UInt32}",
            {"workspace": workspace_id, "after": after, "limit": EVENTS_PER_BATCH},
        )

    async def tail(self, partition: int, offset: int) -> int:
        """Fold a partition's raw events from an offset on; returns the number of folded events."""
        folded = 0
        while True:
            rows = await self._store.query(
                f"SELECT {_RAW_COLUMNS} FROM raw_events_store FINAL WHERE partition = {{partition:UInt32}} "
                "AND offset >= {offset:UInt64} AND NOT startsWith(topic, {restored:String}) "
                "ORDER BY offset LIMIT {limit:UInt32}",
                {
                    "partition": partition,
                    "offset": offset,
                    "limit": EVENTS_PER_BATCH,
                    "restored": RESTORED_TOPIC,
                },
            )
            if not rows:
                return folded
            by_workspace: dict[str, list[RawReading]] = {}
            for read in await asyncio.to_thread(self._read, rows):
                by_workspace.setdefault(read.event.workspace_id, []).append(read)
            for workspace_id, reads in by_workspace.items():
                await self.fold(workspace_id, Batch(raw=reads))
            folded += len(rows)
            offset = rows[-1][16] + 1

    def _read(self, rows: Sequence[Sequence[Any]]) -> list[RawReading]:
        reads = []
        for row in rows:
            event = PlatformRaw(
                event_id=row[1],
                workspace_id=row[0],
                channel_id=row[2],
                platform=row[3],
                kind=row[4],
                endpoint=row[5],
                request=row[6],
                targets=tuple(map(RawTarget, row[7], row[8], row[9])),
                http_status=row[10],
                body=row[11].encode() if isinstance(row[11], str) else row[11],
                captured_at=row[12],
                origin=row[13],
            )
            message = Message(row[14], row[15], row[16], None, None, row[17])
            reading, failure = map_or_failure(event)
            if failure is not None:
                self.unmapped[failure.reason] = self.unmapped.get(failure.reason, 0) + 1
            reads.append(RawReading(message, event, event.event_id.encode(), reading, failure))
        return reads


def channel_write(workspace_id: str, row: Sequence[Any]) -> CatalogWrite:
    """The write that a row of the mirror is of: id, platform, external id, name, status, instants in ms, is_deleted."""
    channel_id, platform, external_id, username, status, token_expires_at, updated_at, is_deleted = row
    event = CatalogChannel(
        workspace_id, channel_id, platform, external_id, username, status, token_expires_at, updated_at
    )
    return CatalogWrite(workspace_id, channel_id, None if is_deleted else event, False, updated_at)


def post_write(workspace_id: str, row: Sequence[Any]) -> CatalogWrite:
    """The write that a row of the mirror is of: id, status, three instants in ms, targets as JSON, is_deleted."""
    post_id, status, created_at, published_at, updated_at, targets, is_deleted = row
    parsed = tuple(
        CatalogTarget(**{**entry, "detail": orjson.dumps(entry["detail"]).decode()}) for entry in read_targets(targets)
    )
    event = CatalogPost(workspace_id, post_id, status, created_at, published_at, parsed, updated_at)
    # A tombstone is stored without a status; a post of status deleted keeps its targets.
    return CatalogWrite(workspace_id, post_id, None if is_deleted and not status else event, True, updated_at)
