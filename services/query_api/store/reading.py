"""One snapshot of the store: posts, targets, channels, windows and account events, and the order of changes."""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

from schemas.events import AccountEvent, CatalogChannel
from schemas.metrics import Values
from services.query_api.store import layout, ordering, records
from services.query_api.store.changes import Offsets
from services.query_api.store.files import Environment, Transaction
from services.query_api.store.layout import (
    ACCOUNT_AT,
    CHANNEL_AT,
    FIGURES_AT,
    POST_AT,
    TOPICS,
    WINDOW_AT,
    Held,
    checked_payload,
    item_key,
)
from services.query_api.store.ordering import Placed
from services.query_api.store.records import ReadPost, StoredPost, StoredWindow
from services.query_api.store.writing import INCOMPLETE
from services.runtime.kafka import partition_of


class Incomplete(Exception):
    """An older aggregator wrote what is asked for, without the figures of each target: ask ClickHouse."""


PostsPage = list[tuple[str, int]]
"""Ids of posts, each with its place: when it was published, ms, or `ordering.UNPUBLISHED`."""


class View:
    """A snapshot; good within the block or the turn that it was made for. Whatever it reads may raise Damaged."""

    __slots__ = ("_db", "_get", "_partitions", "_tables", "_txn")

    def __init__(self, environment: Environment, txn: Transaction, partitions: int) -> None:
        self._db = environment.databases
        self._txn = txn
        self._get = txn.get
        self._tables = environment.tables
        self._partitions = partitions

    def post(self, workspace_id: str, post_id: str) -> StoredPost | None:
        """A post with the figures of its targets; None where the catalog or the aggregator does not hold it.

        Raises:
            Incomplete: see there.
        """
        read = self.read_post(workspace_id, post_id)
        return None if read is None else records.post(post_id, read)

    def read_post(self, workspace_id: str, post_id: str) -> ReadPost | None:
        """As `post`, for a reply's post, which is made without a `StoredPost` in between.

        Raises:
            Incomplete: see there.
        """
        # Not by `item_key` and `_payload`, though they are shorter: every read of a post pays for each call.
        key = f"{workspace_id}/{post_id}".encode()
        get, tables, key_checksum = self._get, self._tables, crc32(key)
        stored = get(key, None, tables[POST_AT])
        if stored is None or not (catalog := checked_payload(key_checksum, stored)):
            return None
        stored = get(key, None, tables[FIGURES_AT])
        if stored is None or not (figures := checked_payload(key_checksum, stored)):
            return None
        found = records.read_post(catalog, figures)
        if found is None:
            raise Incomplete(post_id)
        return found

    def post_of(self, workspace_id: str, target_id: str) -> str | None:
        """The post that a target belongs to; None where the catalog lists no such target.

        Raises:
            Incomplete: it may belong to one whose targets are not known.
        """
        found = self._get(item_key(workspace_id, target_id), db=self._db[layout.TARGETS])
        if found is not None:
            return found.decode()
        if self.incomplete:
            raise Incomplete(target_id)
        return None

    def newest_targets(self, workspace_id: str, channel_id: str, since: int, most: int) -> list[str]:
        """The newest targets of a channel, by time and then by id, the greatest first.

        Args:
            since: ms, inclusive.

        Raises:
            Incomplete: some post's targets are not known.
        """
        found: list[Placed] = []
        for placed in self._targets(workspace_id, channel_id, None):
            # Of those of one instant the greatest ids count: all of them are looked at.
            if placed.published_at < since or (len(found) >= most and placed.published_at != found[-1].published_at):
                break
            found.append(placed)
        found.sort(key=lambda placed: (placed.published_at, placed.target_id), reverse=True)
        return [placed.target_id for placed in found[:most]]

    def published_targets(
        self, workspace_id: str, channel_id: str, start: int, end: int, most: int
    ) -> list[Placed] | None:
        """A channel's targets that were published in a span, `start <= published_at < end`, ms, the newest first.

        Returns:
            None where they are more than `most`.

        Raises:
            Incomplete: some post's targets are not known.
        """
        found: list[Placed] = []
        for placed in self._targets(workspace_id, channel_id, end - 1):
            if placed.published_at < start:
                break
            if len(found) == most:
                return None
            found.append(placed)
        return found

    def _targets(self, workspace_id: str, channel_id: str, first: int | None) -> Iterator[Placed]:
        if self.incomplete:
            raise Incomplete(channel_id)
        prefix = ordering.targets_of(workspace_id.encode(), channel_id.encode())
        with self._txn.cursor(db=self._db[layout.ORDER]) as cursor:
            if not cursor.set_range(prefix if first is None else ordering.from_place(prefix, first)):
                return
            for key, value in cursor:
                if not key.startswith(prefix):
                    return
                yield ordering.placed(prefix, key, value)

    def measured(self, workspace_id: str, placed: Placed) -> Values | None:
        """The figures of a target that was found by its time; None where it was never measured."""
        payload = self._payload(FIGURES_AT, item_key(workspace_id, placed.post_id))
        return records.measured(payload, placed.target_id) if payload else None

    def posts_from(
        self, workspace_id: str, begin: tuple[int, str] | None, until: int | None, most: int, *, is_dated: bool = False
    ) -> PostsPage:
        """Posts that the catalog holds, the newest first, those of one instant by id.

        Args:
            begin: the place with which the page begins, behind this id of the same place; None is the very beginning.
            until: the last place, ms; None is the end.
            is_dated: whether posts without a time of publication are left out.
        """
        prefix = ordering.posts_of(workspace_id.encode())
        found: PostsPage = []
        with self._txn.cursor(db=self._db[layout.ORDER]) as cursor:
            first = prefix if begin is None else ordering.from_place(prefix, begin[0], begin[1].encode())
            if not cursor.set_range(first):
                return found
            for key in cursor.iternext(values=False):
                if len(found) >= most or not key.startswith(prefix):
                    break
                at, post_id = ordering.read(prefix, key)
                if until is not None and at < until:
                    break
                if (at, post_id) != begin and not (is_dated and at == ordering.UNPUBLISHED):
                    found.append((post_id, at))
        return found

    @property
    def incomplete(self) -> int:
        """How many posts an older aggregator wrote last, of all workspaces."""
        found = self._get(INCOMPLETE, db=self._db[layout.META])
        return 0 if found is None else layout.number_of(found)

    def channel(self, workspace_id: str, channel_id: str) -> CatalogChannel | None:
        """A connected account; None where the catalog does not hold it."""
        payload = self._payload(CHANNEL_AT, item_key(workspace_id, channel_id))
        return records.channel(workspace_id, channel_id, payload) if payload else None

    def window(self, workspace_id: str, channel_id: str, length: str) -> StoredWindow | None:
        """Totals of a channel's window, as they were last told.

        Args:
            length: 24h, 7d or 28d.
        """
        payload = self._payload(WINDOW_AT, item_key(workspace_id, channel_id, length))
        return records.window(payload) if payload else None

    def account(self, workspace_id: str, channel_id: str, since: int) -> AccountEvent | None:
        """What last happened to a channel's connection; None where nothing did, or the channel is gone.

        Args:
            since: ms; what happened before counts as nothing. Its topic lets go of old events, and then a store that
                was filled later lacks what this one holds.
        """
        payload = self._payload(ACCOUNT_AT, item_key(workspace_id, channel_id))
        if not payload or self.channel(workspace_id, channel_id) is None:
            return None
        event = records.account(workspace_id, channel_id, payload)
        return event if event.occurred_at >= since else None

    def _payload(self, topic_at: int, key: bytes) -> bytes:
        """What a message key holds; empty where there never was any, and where it is gone."""
        # By position, which takes two thirds of the time.
        return layout.payload_of(key, self._get(key, None, self._tables[topic_at]))

    # The order of changes: see `changes.Ordered`.

    def offsets(self, workspace_id: str) -> Offsets:
        """How far the topics of a workspace's partition were read."""
        partition = partition_of(workspace_id, self._partitions)
        positions = self._db[layout.POSITIONS]
        found = (self._get(layout.place_key(at, partition), db=positions) for at in range(len(TOPICS)))
        return tuple([0 if value is None else layout.number_of(value) for value in found])

    def held(self, topic_at: int, key: bytes) -> Held | None:
        """What a message key holds; None where there never was any."""
        stored = self._get(key, db=self._tables[topic_at])
        return None if stored is None else layout.unpack(key, stored)

    def offset(self, topic_at: int, key: bytes) -> int | None:
        """The offset of what a message key holds; None where there never was any."""
        stored = self._get(key, db=self._tables[topic_at])
        # Unchecked: what is damaged is noticed where the state is read, which whoever asks for an offset does next.
        return None if stored is None else layout.offset_of(stored)

    def next_changes(self, workspace: bytes, topic_at: int, offset: int, most: int) -> list[tuple[int, bytes]]:
        """Offsets and keys (without workspace) of messages from an offset on, in their order."""
        prefix = layout.changes_of(workspace, topic_at)
        found: list[tuple[int, bytes]] = []
        with self._txn.cursor(db=self._db[layout.CHANGES]) as cursor:
            if not cursor.set_range(layout.change_key(workspace, topic_at, offset)):
                return found
            for key, rest in cursor:
                if len(found) >= most or not key.startswith(prefix):
                    break
                found.append((layout.change_offset(key), rest))
        return found
