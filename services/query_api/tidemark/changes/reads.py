"""Answers with a page of changes; an empty one may be held back until something changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from time import monotonic

from services.query_api.errors import Unauthorized
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Answer, Request
from services.query_api.serving.replies import JSON
from services.query_api.serving.streams import Stream
from services.query_api.store.changes import Behind, Cursor
from services.query_api.tidemark.changes import render
from services.query_api.tidemark.changes.finding import Found
from services.query_api.tidemark.changes.pages import SMALL, Changes
from services.query_api.tidemark.changes.parameters import ChangesParameters

# A replica that is behind the one that gave the cursor is asked again for so long.
_BEHIND_SECONDS = 3.0
_AGAIN_SECONDS = 0.05
# Changes of other types than the wanted ones are passed over for so long before the caller gets a cursor behind them.
_PASSING_SECONDS = 1.0


async def list_changes(sources: Sources, request: Request[ChangesParameters]) -> Answer[object] | Stream:
    """A page of changes since the cursor.

    Raises:
        Invalid: the cursor is none of this workspace.
        CursorExpired: the cursor is not good any more.
        Unauthorized: the key was revoked while the page was held back.
        ChangesUnavailable: the store can't be read.
        ReadsUnavailable: ClickHouse does not answer.
    """
    asked = request.parameters
    changes = Changes(sources, request.workspace_id)
    cursor = changes.begin(asked.cursor, asked.types)
    found = await _awaited(sources, changes, cursor, request)
    if found is None or not found.entries:
        # What was passed over needs not be passed over again.
        behind = cursor if found is None else found.cursor
        has_more = found is not None and found.has_more
        return Answer(render.page([], changes.text_of(behind), has_more=has_more))
    if len(found.entries) <= SMALL:
        return Answer(await _page(changes, found))
    owner = request.workspace_id
    return Stream(JSON, _in_turn(sources, changes, found, owner), is_wanted=partial(sources.answers.is_wanted, owner))


async def _awaited(
    sources: Sources, changes: Changes, cursor: Cursor, request: Request[ChangesParameters]
) -> Found | None:
    """What changed since a cursor, at the latest when the wait is over; None where this replica is behind all along."""
    asked = request.parameters
    began = monotonic()
    with changes.store.watch(request.workspace_id) as event, sources.subscriptions.woken(event):
        while True:
            event.clear()
            waited = monotonic() - began
            if not sources.subscriptions.opens(request.workspace_id, request.key_id):
                # Revoked meanwhile.
                raise Unauthorized
            try:
                found = changes.find(cursor, asked.limit, asked.types)
            except Behind:
                if waited >= max(_BEHIND_SECONDS, asked.wait) or sources.subscriptions.is_closing:
                    return None
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            if found.entries or waited >= max(asked.wait, _PASSING_SECONDS if found.has_more else 0):
                return found
            if sources.subscriptions.is_closing:
                return found
            cursor = found.cursor
            if found.has_more:
                await asyncio.sleep(0)
                continue
            try:
                async with asyncio.timeout(asked.wait - waited):
                    await event.wait()
            except TimeoutError:
                continue


async def _in_turn(sources: Sources, changes: Changes, found: Found, owner: str) -> AsyncIterator[bytes]:
    """A large page, which is in memory until its reader has taken it."""
    async with sources.answers.turn(owner):
        yield await _page(changes, found)


async def _page(changes: Changes, found: Found) -> bytes:
    texts = await changes.texts(found)
    return render.page(texts, changes.text_of(found.cursor), has_more=found.has_more)
