"""Reads pages of posts, targets and channels: the ids of a page, and the cursor of the next page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Request
from services.query_api.store.reading import PostsPage, View
from services.query_api.tidemark.cursor import Cursor, decode, encode
from services.query_api.tidemark.resources import sql
from services.query_api.tidemark.resources.parameters import (
    ChannelsParameters,
    PostsParameters,
    TargetsParameters,
    TopParameters,
)

_FIRST = Cursor(0, "")
_UNBOUNDED = -1
_PLAIN = re.compile(r"[A-Za-z0-9:._-]+")

Page = tuple[list[str], str | None]
"""Ids in order, and the cursor of the next page; None at the end."""


async def posts_page(sources: Sources, request: Request[PostsParameters]) -> Page:
    """A page of posts: the newest published first, or the oldest; unpublished ones last, ties ordered by id."""
    asked = request.parameters
    # The store holds posts in one order only.
    if sources.own_reads is not None and not (asked.search or asked.channels or asked.platform or asked.is_rising):
        found = await sources.own_reads.only(lambda view: _stored_posts(view, request))
        if found is not None:
            return _cut(found, asked.limit, "posts")
    more = {"search": asked.search or ""}
    return await _dated(sources, request, "posts", "tidemark_posts_page", sql.POSTS_PAGES, more)


def _stored_posts(view: View, request: Request[PostsParameters]) -> PostsPage:
    """As `sql.POSTS_PAGES` of all posts, the newest first."""
    asked = request.parameters
    cursor = decode("posts", asked.cursor)
    begin = None if cursor is None else (cursor.place, cursor.id)
    if asked.until is not None and (begin is None or begin[0] >= asked.until):
        begin = asked.until - 1, ""
    is_dated = asked.since is not None or asked.until is not None
    return view.posts_from(request.workspace_id, begin, asked.since, asked.limit + 1, is_dated=is_dated)


async def targets_page(sources: Sources, request: Request[TargetsParameters]) -> Page:
    """A page of targets in the order of `posts_page`; only those with the platform's id if the caller names one."""
    external_id = request.parameters.external_id or ""
    # A part of the id that JSON writes unchanged: posts without this text are skipped without parsing their JSON.
    needle = max(_PLAIN.findall(external_id), key=len, default="")
    more = {"external": external_id, "needle": needle or '"external_id"'}
    return await _dated(sources, request, "targets", "tidemark_targets_page", sql.TARGETS_PAGES, more)


async def _dated(
    sources: Sources,
    request: Request[PostsParameters] | Request[TargetsParameters],
    kind: str,
    name: str,
    texts: Mapping[bool, str],
    more: dict[str, Any],
) -> Page:
    asked = request.parameters
    if asked.is_rising:
        kind = f"{kind}/asc"
    chosen = {**_span(asked), "channels": list(asked.channels), **more}
    rows = await _rows(sources, request, name, texts[asked.is_rising], kind, chosen)
    return _cut([(id_, place) for id_, place in rows], asked.limit, kind)


async def channels_page(sources: Sources, request: Request[ChannelsParameters]) -> Page:
    """A page of channels, ordered by id."""
    more = {"external": request.parameters.external_id or ""}
    rows = await _rows(sources, request, "tidemark_channels_page", sql.CHANNELS_PAGE, "channels", more)
    return _cut([(row[0], 0) for row in rows], request.parameters.limit, "channels")


async def top_page(sources: Sources, request: Request[TopParameters]) -> Page:
    """A page of posts ranked by a metric, ties by id; posts without the figure are left out."""
    asked = request.parameters
    is_rising = asked.order == "asc"
    kind = f"top/{asked.metric}/asc" if is_rising else f"top/{asked.metric}"
    more = {**_span(asked), "channels": list(asked.channels), "search": asked.search or ""}
    statement = sql.top_posts(asked.metric, is_rising=is_rising)
    rows = await _rows(sources, request, "tidemark_top_posts", statement, kind, more)
    return _cut([(id_, ranked) for id_, ranked in rows], asked.limit, kind)


def _span(asked: PostsParameters | TargetsParameters | TopParameters) -> dict[str, int]:
    bounds = {"from": asked.since, "to": asked.until}
    return {name: _UNBOUNDED if bound is None else bound for name, bound in bounds.items()}


async def _rows(
    sources: Sources,
    request: Request[PostsParameters]
    | Request[TargetsParameters]
    | Request[ChannelsParameters]
    | Request[TopParameters],
    name: str,
    text: str,
    kind: str,
    more: dict[str, Any],
) -> list[list[Any]]:
    asked = request.parameters
    cursor = decode(kind, asked.cursor)
    after = cursor or _FIRST
    return await sources.store.rows(
        name,
        text,
        {
            "workspace": request.workspace_id,
            "platform": asked.platform or "",
            "is_first": int(cursor is None),
            "at": after.place,
            "after": after.id,
            # One more row than asked for shows whether there is a next page.
            "limit": asked.limit + 1,
            **more,
        },
    )


def _cut(rows: list[tuple[str, int]], limit: int, kind: str) -> Page:
    shown = rows[:limit]
    ids = [id_ for id_, _ in shown]
    if len(rows) <= limit:
        return ids, None
    last_id, place = shown[-1]
    return ids, encode(kind, Cursor(place, last_id))
