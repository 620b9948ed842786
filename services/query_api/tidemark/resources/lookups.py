"""Answers the endpoints of posts, targets and channels: one, many by their ids, pages, and the top posts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.query_api.cache import channels_tag, post_tag, posts_tag
from services.query_api.errors import NotFound
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Answer, Request
from services.query_api.serving.parameters import NoParameters
from services.query_api.tidemark.resources import render
from services.query_api.tidemark.resources.capabilities import capabilities, discovery
from services.query_api.tidemark.resources.paging import channels_page, posts_page, targets_page, top_page
from services.query_api.tidemark.resources.parameters import (
    ByIds,
    ChannelsParameters,
    PostsParameters,
    TargetsParameters,
    TopParameters,
)
from services.query_api.tidemark.resources.reads import ResourceReads

# Ages are shown in whole seconds.
_SECONDS = 1.0
_RENDERED_AT_ONCE = 25


async def get_post(sources: Sources, request: Request[NoParameters]) -> Answer[object]:
    """The post of the path; NotFound when the workspace has no such post."""
    post_id = request.path["id"]
    found = await _posts(sources, request, [post_id])
    if post_id not in found:
        raise NotFound
    tags = (post_tag(request.workspace_id, post_id), channels_tag(request.workspace_id))
    return Answer(found[post_id], tags, _SECONDS)


async def get_target(sources: Sources, request: Request[NoParameters]) -> Answer[object]:
    """The target of the path; NotFound when the workspace has no such target."""
    target_id = request.path["id"]
    found = await _targets(sources, request, [target_id])
    if target_id not in found:
        raise NotFound
    tags = (post_tag(request.workspace_id, found[target_id]["post_id"]), channels_tag(request.workspace_id))
    return Answer(found[target_id], tags, _SECONDS)


async def get_channel(sources: Sources, request: Request[NoParameters]) -> Answer[object]:
    """The channel of the path; NotFound when the workspace has no such channel."""
    channel_id = request.path["id"]
    found = await _channels(sources, request, [channel_id])
    if channel_id not in found:
        raise NotFound
    return Answer(found[channel_id])


async def list_posts(sources: Sources, request: Request[PostsParameters]) -> Answer[object]:
    """Posts by their ids, or a page of them."""
    if request.parameters.ids is not None:
        return _many(request, request.parameters.ids, await _posts(sources, request, request.parameters.ids))
    ids, cursor = await posts_page(sources, request)
    return _listed(request, ids, await _posts(sources, request, ids), cursor)


async def list_targets(sources: Sources, request: Request[TargetsParameters]) -> Answer[object]:
    """Targets by their ids, or a page of them."""
    if request.parameters.ids is not None:
        return _many(request, request.parameters.ids, await _targets(sources, request, request.parameters.ids))
    ids, cursor = await targets_page(sources, request)
    return _listed(request, ids, await _targets(sources, request, ids), cursor)


async def list_channels(sources: Sources, request: Request[ChannelsParameters]) -> Answer[object]:
    """Channels by their ids, or a page of them."""
    if request.parameters.ids is not None:
        return _many(request, request.parameters.ids, await _channels(sources, request, request.parameters.ids))
    ids, cursor = await channels_page(sources, request)
    return _listed(request, ids, await _channels(sources, request, ids), cursor)


async def query_posts(sources: Sources, request: Request[ByIds]) -> Answer[object]:
    """Posts by the ids of the body."""
    return _many(request, request.parameters.ids, await _posts(sources, request, request.parameters.ids))


async def query_targets(sources: Sources, request: Request[ByIds]) -> Answer[object]:
    """Targets by the ids of the body."""
    return _many(request, request.parameters.ids, await _targets(sources, request, request.parameters.ids))


async def query_channels(sources: Sources, request: Request[ByIds]) -> Answer[object]:
    """Channels by the ids of the body."""
    return _many(request, request.parameters.ids, await _channels(sources, request, request.parameters.ids))


async def list_top_posts(sources: Sources, request: Request[TopParameters]) -> Answer[object]:
    """The posts with the greatest values of a figure, each with all of its figures."""
    ids, cursor = await top_page(sources, request)
    return _listed(request, ids, await _posts(sources, request, ids), cursor)


async def list_capabilities(_: Sources, __: Request[NoParameters]) -> Answer[object]:
    """The figures that each platform can report."""
    return Answer({"data": capabilities(), "discovery": discovery()})


async def _posts(sources: Sources, request: Request[Any], ids: Sequence[str]) -> dict[str, Any]:
    if not ids:
        return {}
    found = await ResourceReads(sources, request.workspace_id, request.now).posts(ids)
    return await _rendered(found, lambda state: render.post(state, request.now, sources.poll_speed))


async def _targets(sources: Sources, request: Request[Any], ids: Sequence[str]) -> dict[str, Any]:
    if not ids:
        return {}
    found = await ResourceReads(sources, request.workspace_id, request.now).targets(ids)
    return await _rendered(found, lambda state: render.target(state, request.now, sources.poll_speed))


async def _channels(sources: Sources, request: Request[Any], ids: Sequence[str]) -> dict[str, Any]:
    if not ids:
        return {}
    found = await ResourceReads(sources, request.workspace_id, request.now).channels(ids)
    return await _rendered(found, lambda state: render.channel(state, request.now, sources.poll_speed))


async def _rendered(found: Mapping[str, Any], make: Callable[[Any], Any]) -> dict[str, Any]:
    """Each thing in the form of replies; every 25 things the loop serves others, since 500 things take tens of ms."""
    shown = {}
    for number, (id_, state) in enumerate(found.items(), 1):
        shown[id_] = make(state)
        if number % _RENDERED_AT_ONCE == 0:
            await asyncio.sleep(0)
    return shown


def _many(request: Request[Any], ids: Sequence[str], found: dict[str, Any]) -> Answer[object]:
    missing = [id_ for id_ in ids if id_ not in found]
    return _whole(request, [found[id_] for id_ in ids if id_ in found], missing, None)


def _listed(request: Request[Any], ids: Sequence[str], found: dict[str, Any], cursor: str | None) -> Answer[object]:
    # Things that were deleted since the page's ids were read are left out.
    return _whole(request, [found[id_] for id_ in ids if id_ in found], [], cursor)


def _whole(request: Request[Any], data: list[Any], missing: list[str], cursor: str | None) -> Answer[object]:
    tags = (posts_tag(request.workspace_id), channels_tag(request.workspace_id))
    return Answer({"data": data, "missing": missing, "next_cursor": cursor}, tags, _SECONDS)
