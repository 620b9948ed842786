"""Answers with changes as they come, as server-sent events.

A stream has one page in memory at most, which other readers at the same place share. It ends when the server does, when
its key does not open reads any more, and when the store can't be read: its reader resumes by the last event's id.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from time import monotonic
from typing import NamedTuple

from services.query_api.errors import ChangesUnavailable, ReadsUnavailable
from services.query_api.observability import STREAMS
from services.query_api.reads.sources import Sources
from services.query_api.reads.subscribing import Subscriptions
from services.query_api.serving.endpoint import Request
from services.query_api.serving.streams import Stream
from services.query_api.store.changes import Behind, Cursor
from services.query_api.tidemark.changes.pages import Changes
from services.query_api.tidemark.changes.parameters import StreamParameters
from services.query_api.tidemark.changes.render import HEARTBEAT
from services.runtime.logging import get_logger

log = get_logger(__name__)

MEDIA_TYPE = "text/event-stream"
# Between comments, by the contract.
HEARTBEAT_SECONDS = 15.0
# Between looks whether the key still opens reads: a revoked one must not for longer than 5 s.
_LOOK_SECONDS = 2.0
# Readers are woken together: then they are at one place, and one page is made for all of them.
_TICK_SECONDS = 0.1
_PAGE = 100
# No proxy may hold events back to send more of them at once.
_HEADERS = ((b"x-accel-buffering", b"no"),)


class _Part(NamedTuple):
    """Some events.

    Attributes:
        text: empty where there are none.
        made_at: seconds of `monotonic`.
    """

    text: bytes
    cursor: Cursor
    has_more: bool
    made_at: float


async def stream_changes(sources: Sources, request: Request[StreamParameters]) -> Stream:
    """Changes since the last event's id, or the cursor, for as long as the caller reads.

    Raises:
        Invalid: the cursor is none of this workspace.
        CursorExpired: the cursor is not good any more.
        ChangesUnavailable: the store can't be read.
    """
    changes = Changes(sources, request.workspace_id)
    last = next((value for name, value in request.headers if name == b"last-event-id"), b"").decode("latin-1")
    cursor = changes.begin(last or request.parameters.cursor, request.parameters.types)
    events = _Events(sources, changes, request, cursor)
    wanted = partial(sources.subscriptions.turns.is_wanted, request.workspace_id)
    return Stream(MEDIA_TYPE, events.chunks(), _HEADERS, wanted)


class _Events:
    """One reader's stream."""

    def __init__(self, sources: Sources, changes: Changes, request: Request[StreamParameters], cursor: Cursor) -> None:
        self._common: Subscriptions = sources.subscriptions
        self._changes = changes
        self._workspace_id = request.workspace_id
        self._key = (request.workspace_id, request.key_id)
        self._types = request.parameters.types
        self._cursor = cursor
        # Since when this reader is at the cursor: pages that were made before may be older than what it was shown.
        self._since = monotonic()
        self._spoke_at = self._since

    async def chunks(self) -> AsyncIterator[bytes]:
        """Events and comments."""
        # The reply begins at once, though nothing may have changed for days.
        yield HEARTBEAT
        is_catching_up = True
        with (
            STREAMS.track_inprogress(),
            self._changes.store.watch(self._workspace_id) as event,
            self._common.woken(event),
        ):
            while self._goes_on():
                event.clear()
                # Nor may a page be older than the change that woke this reader.
                self._since = max(self._since, self._changes.store.changed_at(self._workspace_id))
                async with AsyncExitStack() as turn:
                    if is_catching_up:
                        # Each page has a turn, held until its reader has taken it.
                        await turn.enter_async_context(self._common.turns.turn(self._workspace_id))
                    try:
                        part = await self._part()
                    except ChangesUnavailable:
                        return
                    if part is not None and part.text:
                        yield part.text
                        self._spoke_at = monotonic()
                if part is not None:
                    self._cursor, self._since = part.cursor, part.made_at
                    is_catching_up = part.has_more
                    if is_catching_up:
                        continue
                    while self._goes_on() and not event.is_set():
                        await self._wait(event)
                        if self._is_silent():
                            yield HEARTBEAT
                await asyncio.sleep(_TICK_SECONDS - monotonic() % _TICK_SECONDS)
                if self._is_silent():
                    yield HEARTBEAT

    def _goes_on(self) -> bool:
        return not self._common.is_closing and self._common.opens(*self._key)

    def _is_silent(self) -> bool:
        """Whether a comment is due, which counts as sent then."""
        now = monotonic()
        if now - self._spoke_at < HEARTBEAT_SECONDS:
            return False
        self._spoke_at = now
        return True

    async def _wait(self, event: asyncio.Event) -> None:
        until = self._spoke_at + HEARTBEAT_SECONDS - monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(_LOOK_SECONDS, until))):
                await event.wait()
        except TimeoutError:
            pass

    async def _part(self) -> _Part | None:
        """The next events, made for this reader or for others at its place; None where they can't be made yet."""
        key = (self._workspace_id, self._cursor, self._types)
        try:
            return await self._common.pages.page(key, self._since, partial(self._made, self._cursor))
        except (Behind, ReadsUnavailable):
            return None

    async def _made(self, cursor: Cursor) -> _Part:
        found = self._changes.find(cursor, _PAGE, self._types)
        text = await self._changes.events(found) if found.entries else b""
        return _Part(text, found.cursor, found.has_more, monotonic())
