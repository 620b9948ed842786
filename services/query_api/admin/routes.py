"""The admin API's endpoints: each writes to the catalog or the keys, and answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from schemas.events import ChannelStatus
from services.query_api.admin import models
from services.query_api.admin.bulk import write_lines
from services.query_api.admin.catalog import Catalog
from services.query_api.admin.keys import Keys
from services.query_api.admin.letters import MOST_LETTERS, Letters
from services.query_api.admin.parameters import (
    ChannelLine,
    ChannelPut,
    KeyRequest,
    PostLine,
    PostPut,
    RedriveRequest,
)
from services.query_api.admin.status import StatusReader
from services.query_api.errors import NotFound
from services.query_api.serving.actions import writes
from services.query_api.serving.bodies import BODY_LIMIT_BYTES
from services.query_api.serving.endpoint import Api, Body, Endpoint, Key, Lines, Request
from services.query_api.serving.parameters import AnyParameters
from services.runtime.clock import iso_seconds

MOST_ACCOUNTS = 500
"""The most accounts of one reply."""


@dataclass(frozen=True, slots=True)
class Admin:
    """The services that the endpoints use."""

    catalog: Catalog
    keys: Keys
    status: StatusReader
    letters: Letters


async def _put_channel(admin: Admin, request: Request[ChannelPut]) -> dict[str, Any]:
    path = request.path
    status = await admin.catalog.put_channel(path["workspace_id"], path["channel_id"], request.parameters)
    return {**path, "status": status}


async def _delete_channel(admin: Admin, request: Request[AnyParameters]) -> None:
    await admin.catalog.delete_channel(request.path["workspace_id"], request.path["channel_id"])


async def _put_post(admin: Admin, request: Request[PostPut]) -> dict[str, Any]:
    path, put = request.path, request.parameters
    await admin.catalog.put_post(path["workspace_id"], path["post_id"], put)
    return {**path, "status": put.status.value}


async def _delete_post(admin: Admin, request: Request[AnyParameters]) -> None:
    await admin.catalog.delete_post(request.path["workspace_id"], request.path["post_id"])


async def _write_catalog(admin: Admin, request: Request[AnyParameters]) -> dict[str, Any]:
    assert request.lines is not None
    return await write_lines(admin.catalog, request.lines)


async def _make_key(admin: Admin, request: Request[KeyRequest]) -> dict[str, Any]:
    made = await admin.keys.make(request.path["workspace_id"], request.parameters)
    return {"id": made.id, "key": made.key, "scopes": list(made.scopes)}


async def _revoke_key(admin: Admin, request: Request[AnyParameters]) -> None:
    await admin.keys.revoke(request.path["workspace_id"], request.path["key_id"])


async def _show_workspace(admin: Admin, request: Request[AnyParameters]) -> dict[str, Any]:
    workspace_id = request.path["workspace_id"]
    channels = [
        {"channel_id": channel.channel_id, "platform": channel.platform, "status": channel.status}
        for channel in admin.catalog.channels_of(workspace_id)
    ]
    keys = [
        {"id": key.key_id, "scopes": list(key.scopes), "style": key.style, "created_at": iso_seconds(key.created_at)}
        for key in admin.keys.of(workspace_id)
    ]
    return {"workspace_id": workspace_id, "channels": channels, "keys": keys}


async def _show_status(admin: Admin, _: Request[AnyParameters]) -> dict[str, Any]:
    return await admin.status.read()


async def _list_dead_letters(admin: Admin, _: Request[AnyParameters]) -> dict[str, Any]:
    return await admin.letters.show()


async def _redrive(admin: Admin, request: Request[RedriveRequest]) -> dict[str, Any]:
    return await admin.letters.redrive(request.parameters)


async def _list_accounts(admin: Admin, _: Request[AnyParameters]) -> dict[str, Any]:
    held = admin.catalog.all_channels()
    by_status: dict[str, int] = {}
    for channel in held:
        by_status[channel.status] = by_status.get(channel.status, 0) + 1
    waiting = [channel for channel in held if channel.status in (ChannelStatus.TOKEN_EXPIRED, ChannelStatus.REVOKED)]
    waiting.sort(key=lambda channel: (channel.updated_at, channel.workspace_id, channel.channel_id))
    return {
        "by_status": dict(sorted(by_status.items())),
        "workspaces": len({channel.workspace_id for channel in held}),
        "waiting": len(waiting),
        "data": [
            {
                "workspace_id": channel.workspace_id,
                "channel_id": channel.channel_id,
                "platform": channel.platform,
                "username": channel.username,
                "status": channel.status,
                "updated_at": iso_seconds(channel.updated_at),
            }
            for channel in waiting[:MOST_ACCOUNTS]
        ],
    }


_WORKSPACE = "/admin/v1/workspaces/{workspace_id}"
_CHANNEL = _WORKSPACE + "/channels/{channel_id}"
_POST = _WORKSPACE + "/posts/{post_id}"

_endpoint = partial(Endpoint, key=Key.ADMIN)
_body = partial(Body, limit_bytes=BODY_LIMIT_BYTES)

ENDPOINTS: tuple[Endpoint[Admin, Any, Any], ...] = (
    _endpoint(
        id="getStatus",
        path="/admin/v1/status",
        summary="Look at the whole installation",
        description="What `tidemark status --json` shows: services with their rates, latencies and platforms, lag and "
        "owners of partitions, tables of ClickHouse. Services are found by TIDEMARK_STATUS_TARGETS. Takes about a "
        "second; an answer is shown to all callers of the next seconds.",
        action=writes(AnyParameters, _show_status),
        sample=models.STATUS,
        schema=models.STATUS_SCHEMA,
    ),
    _endpoint(
        id="listAccounts",
        path="/admin/v1/accounts",
        summary="List accounts that a person has to reconnect",
        description="Channels of all workspaces whose token expired or was revoked, the longest waiting first, up to "
        f"{MOST_ACCOUNTS}; and the number of channels by status.",
        action=writes(AnyParameters, _list_accounts),
        sample=models.ACCOUNTS,
        schema=models.ACCOUNTS_SCHEMA,
    ),
    _endpoint(
        id="listDeadLetters",
        path="/admin/v1/dead-letters",
        summary="Look at dead letters by reason",
        description=f"Raw events that could not be mapped: the newest {MOST_LETTERS} letters by reason, with the"
        " payloads of some. Payloads are shortened, and everything like a token in them is blanked.",
        action=writes(AnyParameters, _list_dead_letters),
        sample=models.DEAD_LETTERS,
        schema=models.DEAD_LETTERS_SCHEMA,
    ),
    _endpoint(
        id="redriveDeadLetters",
        method="POST",
        path="/admin/v1/dead-letters/redrive",
        summary="Send the messages of dead letters again",
        description="After a fix: sends the messages of all letters with these reasons to the topic of raw events"
        " again, as `tidemark dead-letters redrive` does, and answers once Kafka has confirmed them. Repeating is safe:"
        " an event counts once. With `is_dry` the messages are only counted.",
        action=writes(RedriveRequest, _redrive),
        body=_body({"reasons": ["unmappable_body"], "is_dry": True}),
        sample=models.REDRIVEN,
        schema=models.REDRIVEN_SCHEMA,
    ),
    _endpoint(
        id="getWorkspace",
        path=_WORKSPACE,
        summary="Look at a workspace",
        description="The workspace's channels with their status, and its keys without the keys themselves. A workspace "
        "that was never written to is empty.",
        action=writes(AnyParameters, _show_workspace),
        sample=models.WORKSPACE,
        schema=models.WORKSPACE_SCHEMA,
    ),
    _endpoint(
        id="putChannel",
        method="PUT",
        path=_CHANNEL,
        summary="Write a channel",
        description="Adds or replaces a connected account. A token that is left out or null keeps the stored token; a "
        "PUT that repeats the previous PUT's tokens does not undo a refresh made since. An active account without any "
        "token is `token_expired`.",
        action=writes(ChannelPut, _put_channel),
        body=_body(
            {"platform": "x", "external_id": "1001", "username": "acme", "access_token": "...", "status": "active"}
        ),
        sample=models.CHANNEL,
        schema=models.CHANNEL_SCHEMA,
    ),
    _endpoint(
        id="deleteChannel",
        method="DELETE",
        path=_CHANNEL,
        summary="Delete a channel",
        description="Deletes the account and its tokens; its targets leave every reply. Also 204 when there is none.",
        action=writes(AnyParameters, _delete_channel, status=204),
    ),
    _endpoint(
        id="putPost",
        method="PUT",
        path=_POST,
        summary="Write a post",
        description="Adds or replaces a post with all its targets; a target absent from a newer PUT is deleted. A "
        "target that several posts list belongs to the post that was written last.",
        action=writes(PostPut, _put_post),
        body=_body(
            {
                "status": "published",
                "published_at": "2026-06-28T09:14:22Z",
                "targets": [{"target_id": "t1", "channel_id": "c1", "status": "published", "external_id": "199000"}],
            }
        ),
        sample=models.POST,
        schema=models.POST_SCHEMA,
    ),
    _endpoint(
        id="deletePost",
        method="DELETE",
        path=_POST,
        summary="Delete a post",
        description="The post reads 404 everywhere; a later PUT restores it with its history. Also 204 when there is "
        "none.",
        action=writes(AnyParameters, _delete_post, status=204),
    ),
    _endpoint(
        id="writeCatalog",
        method="POST",
        path="/admin/v1/catalog",
        summary="Write many channels and posts",
        description='NDJSON, one `{"type": "channel"|"post", "workspace_id": ..., "id": ..., ...}` a line, with the '
        "fields of the single writes. Bad lines are rejected one by one.",
        action=writes(AnyParameters, _write_catalog),
        body=Lines(
            example={"type": "channel", "workspace_id": "w1", "id": "c1", "platform": "x", "external_id": "1001"},
            name="CatalogLine",
            models=(ChannelLine, PostLine),
        ),
        sample=models.CATALOG,
        schema=models.CATALOG_SCHEMA,
    ),
    _endpoint(
        id="createKey",
        method="POST",
        path=_WORKSPACE + "/keys",
        summary="Make an API key",
        description="The key is shown once and stored only as a hash. The style sets the key's prefix; a key of any "
        "style opens all APIs.",
        action=writes(KeyRequest, _make_key, status=201),
        body=_body({"scopes": ["analytics:read"], "style": "tidemark"}),
        sample=models.KEY,
        schema=models.KEY_SCHEMA,
    ),
    _endpoint(
        id="revokeKey",
        method="DELETE",
        path=_WORKSPACE + "/keys/{key_id}",
        summary="Revoke an API key",
        description="The key stops working here at once, and within 5 s everywhere.",
        action=writes(AnyParameters, _revoke_key, status=204),
        errors=(NotFound,),
    ),
)

API = Api(
    name="admin",
    title="admin",
    description="The catalog and keys; needs the admin key.",
    endpoints=ENDPOINTS,
)
