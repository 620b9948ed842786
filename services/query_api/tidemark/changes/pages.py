"""Makes pages of changes: what changed in one snapshot of the store, its states, and their text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import orjson

from schemas.events import AccountEvent
from services.query_api.errors import ChangesUnavailable, CursorExpired, Invalid
from services.query_api.reads.sources import Sources
from services.query_api.store.changes import ALL_READ, BEGINNING, CHANNEL, POST, Changed, Cursor, end_of
from services.query_api.store.handle import Store, StoreUnavailable
from services.query_api.tidemark.changes import render
from services.query_api.tidemark.changes.finding import Found, find
from services.query_api.tidemark.changes.parameters import NOW
from services.query_api.tidemark.resources.reads import ResourceReads
from services.query_api.tidemark.resources.states import ChannelState, PostState
from services.runtime import cursors
from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.cursors import GOOD_DAYS, CursorRefused, CursorText, Place

# More changes are rendered in a thread: a post takes about a tenth of a millisecond.
_ON_THE_LOOP = 20

SMALL: Final = 20
"""Pages of more changes are made and sent by turns, since each takes memory until its reader has taken it."""

_NO_FOLDER = "This server has no store of changes: TIDEMARK_STORE_DIR is not set."
_NO_KEYS = "Cursors can't be signed: this server has no usable TIDEMARK_SECRET_KEYS."

State = PostState | ChannelState | AccountEvent


class Changes:
    """The changes of one workspace, with the cursors in which callers say where they are.

    Raises:
        ChangesUnavailable: this server has no store or no keys.
    """

    def __init__(self, sources: Sources, workspace_id: str) -> None:
        if sources.own_store is None:
            raise ChangesUnavailable(_NO_FOLDER, retry_after_seconds=60)
        if sources.subscriptions.cursors is None:
            raise ChangesUnavailable(_NO_KEYS, retry_after_seconds=60)
        self.store: Store = sources.own_store
        self._cursors: CursorText = sources.subscriptions.cursors
        self._sources = sources
        self._clock = sources.clock
        self._workspace_id = workspace_id

    def begin(self, text: str, types: Sequence[str]) -> Cursor:
        """Where a caller begins to read.

        Args:
            text: a cursor; `now`; empty for the beginning.
            types: those that the caller reads from there.

        Raises:
            Invalid: it is no cursor of this workspace.
            CursorExpired: it is not good any more, or not for these types: the caller may hold things of them whose
                deletion is forgotten.
            ChangesUnavailable: the store can't be read.
        """
        incarnation = self._incarnation()
        if not text:
            return BEGINNING.reading(types)
        if text == NOW:
            try:
                with self.store.view(is_current=False) as view:
                    return end_of(view, self._workspace_id).reading(types)
            except StoreUnavailable:
                raise self._unavailable() from None
        now = self._clock.now()
        try:
            place, given_at = self._cursors.read_with_time(self._workspace_id, text, now, incarnation)
        except CursorRefused:
            raise Invalid(
                "cursor: must be a next_cursor of this workspace, the id of one of its events, or now"
            ) from None
        except cursors.CursorExpired:
            raise CursorExpired from None
        cursor = Cursor(place.at, place.seen, place.left or ALL_READ)
        if not cursor.is_whole:
            # Of other topics than there are now.
            raise CursorExpired
        left_since = cursor.left_since(types)
        if left_since and now - left_since * MILLIS_PER_DAY > GOOD_DAYS * MILLIS_PER_DAY:
            raise CursorExpired
        return cursor.reading(types, given_at // MILLIS_PER_DAY)

    def text_of(self, cursor: Cursor) -> str:
        """A cursor as callers get it.

        Raises:
            ChangesUnavailable: the store can't be read any more.
        """
        return self._cursor_texts()(cursor)

    def find(self, cursor: Cursor, limit: int, types: Sequence[str]) -> Found:
        """What changed since a cursor; nothing is awaited.

        Raises:
            Behind: this replica can't say yet.
            ChangesUnavailable: the store can't be read.
        """
        try:
            with self.store.view(is_current=False) as view:
                return find(view, self._workspace_id, cursor, limit, types, self._clock.now())
        except StoreUnavailable:
            raise self._unavailable() from None

    async def texts(self, found: Found) -> list[bytes]:
        """What was found, with its states, each as JSON.

        Raises:
            ReadsUnavailable: ClickHouse does not answer.
        """
        now = self._clock.now()
        states = await self._states(found, now)
        if len(found.entries) <= _ON_THE_LOOP:
            return _texts_of(found.entries, states, now)
        return await self._sources.desk.run(self._workspace_id, _texts_of, found.entries, states, now)

    async def events(self, found: Found) -> bytes:
        """What was found as server-sent events; raises as `texts` does, or ChangesUnavailable."""
        text_of = self._cursor_texts()
        texts = await self.texts(found)
        written = zip(found.entries, texts, found.cursors, strict=True)
        return b"".join([render.event(entry, text, text_of(cursor)) for entry, text, cursor in written])

    async def _states(self, found: Found, now: int) -> dict[Changed, State]:
        reads = ResourceReads(self._sources, self._workspace_id, now, is_of_many=True)
        unread = await reads.stored_posts(found.unread) if found.unread else []
        posts = await reads.explained([*found.posts.values(), *unread])
        channels = await reads.figured(list(found.channels.values()))
        return {
            **_typed(POST, posts.items()),
            **_typed(CHANNEL, channels.items()),
            **{entry: found.accounts[entry.id] for entry in found.entries if _is_account(entry, found)},
        }

    def _cursor_texts(self) -> Callable[[Cursor], str]:
        """Writes cursors of one instant."""
        incarnation, now = self._incarnation(), self._clock.now()
        return lambda cursor: self._cursors.written(self._workspace_id, _place(cursor), now, incarnation)

    def _incarnation(self) -> str:
        identity = self.store.identity
        if identity is None or not self.store.is_readable:
            raise self._unavailable()
        return identity.incarnation

    def _unavailable(self) -> ChangesUnavailable:
        missing = self.store.missing
        return ChangesUnavailable(f"Changes can't be read yet: {missing}." if missing else None)


def _place(cursor: Cursor) -> Place:
    return Place(cursor.at, cursor.seen, () if cursor.left == ALL_READ else cursor.left)


def _typed(kind: str, states: Iterable[tuple[str, State]]) -> dict[Changed, State]:
    return {Changed(kind, id_): state for id_, state in states}


def _is_account(entry: Changed, found: Found) -> bool:
    return entry.type not in (POST, CHANNEL) and entry.id in found.accounts


def _texts_of(entries: Sequence[Changed], states: dict[Changed, State], now: int) -> list[bytes]:
    return [orjson.dumps(render.change(entry, states.get(entry), now)) for entry in entries]
