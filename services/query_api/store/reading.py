"""One snapshot of the store: posts, targets, channels, windows and account events, and the order of changes."""

from __future__ import annotations

from schemas.events import AccountEvent, CatalogChannel
from services.query_api.store import layout, records
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
    item_key,
)
from services.query_api.store.records import StoredPost, StoredWindow
from services.query_api.store.writing import INCOMPLETE
from services.runtime.kafka import partition_of


class Incomplete(Exception):
    """An older aggregator wrote what is asked for, without the figures of each target: ask ClickHouse."""


class View:
    """A snapshot; good within the block that it was made for. Whatever it reads may raise Damaged."""

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
        key = item_key(workspace_id, post_id)
        catalog = self.held(POST_AT, key)
        if catalog is None or not catalog.payload:
            return None
        figures = self.held(FIGURES_AT, key)
        if figures is None or not figures.payload:
            return None
        found = records.post(post_id, catalog.payload, figures.payload, (catalog.offset, figures.offset))
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

    @property
    def incomplete(self) -> int:
        """How many posts an older aggregator wrote last, of all workspaces."""
        found = self._get(INCOMPLETE, db=self._db[layout.META])
        return 0 if found is None else layout.number_of(found)

    def channel(self, workspace_id: str, channel_id: str) -> CatalogChannel | None:
        """A connected account; None where the catalog does not hold it."""
        held = self.held(CHANNEL_AT, item_key(workspace_id, channel_id))
        return records.channel(workspace_id, channel_id, held.payload) if held is not None and held.payload else None

    def window(self, workspace_id: str, channel_id: str, length: str) -> StoredWindow | None:
        """Totals of a channel's window, as they were last told.

        Args:
            length: 24h, 7d or 28d.
        """
        held = self.held(WINDOW_AT, item_key(workspace_id, channel_id, length))
        return records.window(held.payload) if held is not None and held.payload else None

    def account(self, workspace_id: str, channel_id: str) -> AccountEvent | None:
        """What last happened to a channel's connection; None where nothing did, or the channel is gone."""
        held = self.held(ACCOUNT_AT, item_key(workspace_id, channel_id))
        if held is None or not held.payload or self.channel(workspace_id, channel_id) is None:
            return None
        return records.account(workspace_id, channel_id, held.payload)

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
