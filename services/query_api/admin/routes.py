"""The admin API's endpoints: who may, what came, what to write, what to answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from schemas.events import ChannelStatus, PostStatus
from services.query_api.admin.bulk import write_lines
from services.query_api.admin.catalog import Catalog
from services.query_api.admin.keys import Keys
from services.query_api.admin.parameters import ChannelPut, KeyRequest, PostPut
from services.query_api.errors import ApiError, BodyTooLarge, Invalid, MethodNotAllowed, NotFound
from services.query_api.observability import REQUESTS
from services.query_api.reads.query import ID
from services.query_api.serving.auth import AdminKey
from services.query_api.serving.bodies import ClientGone, lines, parsed, whole_body
from services.query_api.serving.replies import send_json, send_problem
from services.query_api.serving.shapes import COUNT, TEXT, listed, named, one_of, shape
from services.runtime.clock import iso_seconds

PRODUCT = "admin"


@dataclass(frozen=True, slots=True)
class Admin:
    """What the endpoints work with."""

    key: AdminKey
    catalog: Catalog
    keys: Keys


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and JSON value; None is no body."""

    status: int
    value: Any = None


Answer = Callable[[Admin, Mapping[str, str], Scope, Receive], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        id: its name in generated clients, which a new release must not change.
        model: of the body; None when there is none, or when it is no single JSON value.
        sample: of the reply.
        schema: JSON schema of the reply.
        body: sample of the request's body.
        errors: that it may answer with, besides those of all.
    """

    id: str
    method: str
    path: str
    summary: str
    description: str
    answer: Answer
    model: type[BaseModel] | None = None
    status: int = 200
    sample: Any = None
    schema: Mapping[str, Any] | None = None
    body: Any = None
    errors: tuple[type[ApiError], ...] = ()


async def _put_channel(admin: Admin, path: Mapping[str, str], scope: Scope, receive: Receive) -> Reply:
    put = parsed(ChannelPut, await whole_body(scope, receive))
    status = await admin.catalog.put_channel(path["workspace_id"], path["channel_id"], put)
    return Reply(200, {**path, "status": status})


async def _delete_channel(admin: Admin, path: Mapping[str, str], _: Scope, __: Receive) -> Reply:
    await admin.catalog.delete_channel(path["workspace_id"], path["channel_id"])
    return Reply(204)


async def _put_post(admin: Admin, path: Mapping[str, str], scope: Scope, receive: Receive) -> Reply:
    put = parsed(PostPut, await whole_body(scope, receive))
    await admin.catalog.put_post(path["workspace_id"], path["post_id"], put)
    return Reply(200, {**path, "status": put.status.value})


async def _delete_post(admin: Admin, path: Mapping[str, str], _: Scope, __: Receive) -> Reply:
    await admin.catalog.delete_post(path["workspace_id"], path["post_id"])
    return Reply(204)


async def _write_catalog(admin: Admin, _: Mapping[str, str], __: Scope, receive: Receive) -> Reply:
    return Reply(200, await write_lines(admin.catalog, lines(receive)))


async def _make_key(admin: Admin, path: Mapping[str, str], scope: Scope, receive: Receive) -> Reply:
    request = parsed(KeyRequest, await whole_body(scope, receive))
    made = await admin.keys.make(path["workspace_id"], request)
    return Reply(201, {"id": made.id, "key": made.key, "scopes": list(made.scopes)})


async def _revoke_key(admin: Admin, path: Mapping[str, str], _: Scope, __: Receive) -> Reply:
    await admin.keys.revoke(path["workspace_id"], path["key_id"])
    return Reply(204)


async def _show_workspace(admin: Admin, path: Mapping[str, str], _: Scope, __: Receive) -> Reply:
    workspace_id = path["workspace_id"]
    channels = [
        {"channel_id": channel.channel_id, "platform": channel.platform, "status": channel.status}
        for channel in admin.catalog.channels_of(workspace_id)
    ]
    keys = [
        {"id": key.key_id, "scopes": list(key.scopes), "style": key.style, "created_at": iso_seconds(key.created_at)}
        for key in admin.keys.of(workspace_id)
    ]
    return Reply(200, {"workspace_id": workspace_id, "channels": channels, "keys": keys})


_WORKSPACE = "/admin/v1/workspaces/{workspace_id}"
_CHANNEL = _WORKSPACE + "/channels/{channel_id}"
_POST = _WORKSPACE + "/posts/{post_id}"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "getWorkspace",
        "GET",
        _WORKSPACE,
        "Look at a workspace",
        "Its channels with their status, and its keys without the keys themselves. A workspace that nothing was "
        "written of is empty.",
        _show_workspace,
        sample={
            "workspace_id": "w1",
            "channels": [{"channel_id": "c1", "platform": "x", "status": "active"}],
            "keys": [
                {
                    "id": "key_5f3a",
                    "scopes": ["analytics:read"],
                    "style": "tidemark",
                    "created_at": "2026-06-28T09:14:22Z",
                }
            ],
        },
        schema=shape(
            "Workspace",
            {
                "workspace_id": TEXT,
                "channels": listed(
                    shape(
                        "WorkspaceChannel",
                        {"channel_id": TEXT, "platform": TEXT, "status": named("ChannelStatus", one_of(ChannelStatus))},
                    )
                ),
                "keys": listed(
                    shape("WorkspaceKey", {"id": TEXT, "scopes": listed(TEXT), "style": TEXT, "created_at": TEXT})
                ),
            },
        ),
    ),
    Operation(
        "putChannel",
        "PUT",
        _CHANNEL,
        "Write a channel",
        "Adds or replaces a connected account. A token left out or null keeps the one held; a PUT that repeats the "
        "tokens of the PUT before it does not undo a refresh made since. An active account without any token is "
        "`token_expired`.",
        _put_channel,
        model=ChannelPut,
        sample={"workspace_id": "w1", "channel_id": "c1", "status": "active"},
        schema=shape(
            "ChannelWritten",
            {"workspace_id": TEXT, "channel_id": TEXT, "status": named("ChannelStatus", one_of(ChannelStatus))},
        ),
        body={"platform": "x", "external_id": "1001", "username": "acme", "access_token": "...", "status": "active"},
        errors=(BodyTooLarge,),
    ),
    Operation(
        "deleteChannel",
        "DELETE",
        _CHANNEL,
        "Delete a channel",
        "Deletes the account and its tokens; its targets leave every reply. Also 204 when there is none.",
        _delete_channel,
        status=204,
    ),
    Operation(
        "putPost",
        "PUT",
        _POST,
        "Write a post",
        "Adds or replaces a post with all its targets; a target absent from a newer PUT is deleted. A target that "
        "several posts list belongs to the one of them that was written last.",
        _put_post,
        model=PostPut,
        sample={"workspace_id": "w1", "post_id": "p1", "status": "published"},
        schema=shape(
            "PostWritten", {"workspace_id": TEXT, "post_id": TEXT, "status": named("PostStatus", one_of(PostStatus))}
        ),
        body={
            "status": "published",
            "published_at": "2026-06-28T09:14:22Z",
            "targets": [{"target_id": "t1", "channel_id": "c1", "status": "published", "external_id": "199000"}],
        },
        errors=(BodyTooLarge,),
    ),
    Operation(
        "deletePost",
        "DELETE",
        _POST,
        "Delete a post",
        "The post reads 404 everywhere; a later PUT restores it with its history. Also 204 when there is none.",
        _delete_post,
        status=204,
    ),
    Operation(
        "writeCatalog",
        "POST",
        "/admin/v1/catalog",
        "Write many channels and posts",
        'NDJSON, one `{"type": "channel"|"post", "workspace_id": ..., "id": ..., ...}` a line, with the fields of the '
        "single writes. Bad lines are refused one by one.",
        _write_catalog,
        sample={"accepted": 2, "rejected": [{"line": 3, "error": "platform: Field required"}]},
        schema=shape(
            "CatalogWritten",
            {"accepted": COUNT, "rejected": listed(shape("RejectedLine", {"line": COUNT, "error": TEXT}))},
        ),
        body=(
            '{"type": "channel", "workspace_id": "w1", "id": "c1", "platform": "x", "external_id": "1001"}\n'
            '{"type": "post", "workspace_id": "w1", "id": "p1", "status": "draft"}\n'
        ),
        errors=(BodyTooLarge,),
    ),
    Operation(
        "createKey",
        "POST",
        _WORKSPACE + "/keys",
        "Make an API key",
        "The key is shown once and stored only as a hash. The style sets the prefix; any key opens any of the APIs.",
        _make_key,
        model=KeyRequest,
        status=201,
        sample={"id": "key_5f3a", "key": "tm_live_...", "scopes": ["analytics:read"]},
        schema=shape("CreatedKey", {"id": TEXT, "key": TEXT, "scopes": listed(TEXT)}),
        body={"scopes": ["analytics:read"], "style": "tidemark"},
        errors=(BodyTooLarge,),
    ),
    Operation(
        "revokeKey",
        "DELETE",
        _WORKSPACE + "/keys/{key_id}",
        "Revoke an API key",
        "The key stops working here at once, and within 5 s everywhere.",
        _revoke_key,
        status=204,
        errors=(NotFound,),
    ),
)


class AdminEndpoint:
    """Serves the methods of one path."""

    def __init__(self, admin: Admin, operations: Mapping[str, Operation]) -> None:
        self._admin = admin
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = self._operations.get(scope["method"])
        label = next(iter(self._operations.values())).path
        try:
            # Before the body is read: nobody uploads without the key.
            self._admin.key.check(scope["headers"])
            if operation is None:
                raise MethodNotAllowed(headers=((b"allow", ", ".join(self._operations).encode()),))
            for name, value in scope["path_params"].items():
                if not ID.fullmatch(value):
                    raise Invalid(f"{name}: must be 1 to 128 characters of A-Z, a-z, 0-9 and . _ : -")
            reply = await operation.answer(self._admin, scope["path_params"], scope, receive)
        except ApiError as error:
            REQUESTS.labels(PRODUCT, label, str(error.status)).inc()
            await send_problem(send, error)
            return
        except ClientGone:
            return
        REQUESTS.labels(PRODUCT, label, str(reply.status)).inc()
        if reply.status == 204:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
            return
        await send_json(send, reply.status, orjson.dumps(reply.value))
