"""Finds what changed since a cursor in one snapshot of the store, with the states that the snapshot has.

Pure but for the snapshot. Of posts the snapshot has the figures, of accounts their events. Figures of channels and the
answers that explain unknown figures are read from ClickHouse afterwards. What is read later is never older: the
aggregator stores what follows from an answer before it publishes the message that moves the thing in the order of
changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from schemas.events import AccountEvent, CatalogChannel
from services.query_api.connections import KEPT
from services.query_api.store.changes import CHANNEL, POST, Changed, Cursor, changes_since
from services.query_api.store.reading import Incomplete, View
from services.query_api.tidemark.resources.states import PostState
from services.query_api.tidemark.resources.stored import stored_post


class Found(NamedTuple):
    """What changed.

    Attributes:
        entries: each thing once.
        cursors: behind each of them.
        cursor: behind all of them.
        has_more: whether there are further ones now.
        posts: those that are there, not explained yet.
        unread: posts that an older aggregator wrote last, whose figures only ClickHouse has.
        channels: those that are there.
        accounts: the last event of each.
    """

    entries: Sequence[Changed]
    cursors: Sequence[Cursor]
    cursor: Cursor
    has_more: bool
    posts: Mapping[str, PostState]
    unread: Sequence[str]
    channels: Mapping[str, CatalogChannel]
    accounts: Mapping[str, AccountEvent]


def find(view: View, workspace_id: str, cursor: Cursor, limit: int, types: Sequence[str], now: int) -> Found:
    """What changed in a workspace since a cursor; arguments as of `changes_since`.

    Args:
        now: ms; account events are there for 30 days.

    Raises:
        Behind: this replica can't say yet.
    """
    changes = changes_since(view, workspace_id, cursor, limit, types)
    since = now - KEPT // timedelta(milliseconds=1)
    known: dict[str, CatalogChannel | None] = {}

    def channel_of(_: str, channel_id: str) -> CatalogChannel | None:
        if channel_id not in known:
            known[channel_id] = view.channel(workspace_id, channel_id)
        return known[channel_id]

    posts: dict[str, PostState] = {}
    unread: list[str] = []
    channels: dict[str, CatalogChannel] = {}
    accounts: dict[str, AccountEvent] = {}
    for entry in changes.entries:
        if entry.type == POST:
            try:
                stored = view.post(workspace_id, entry.id)
            except Incomplete:
                unread.append(entry.id)
            else:
                if stored is not None:
                    posts[entry.id] = stored_post(workspace_id, stored, channel_of)
        elif entry.type == CHANNEL:
            if (channel := channel_of(workspace_id, entry.id)) is not None:
                channels[entry.id] = channel
        elif (event := view.account(workspace_id, entry.id, since)) is not None:
            accounts[entry.id] = event
    return Found(changes.entries, changes.cursors, changes.cursor, changes.has_more, posts, unread, channels, accounts)
