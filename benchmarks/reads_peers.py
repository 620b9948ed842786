"""The servers that reads are compared with: the same ASGI server and endpoint, other sources. One process each.

`python -m benchmarks.reads_peers KIND PORT`, with the settings of the query API and BENCH_KEYS in the
environment. KIND is `static` (a constant body, without any source), `clickhouse` (one query a request) or `postgres`
(one query a request; its address in BENCH_POSTGRES).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import uvicorn
import uvloop
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.reads_data import CHANNELS, LATEST_SNAPSHOTS, WORKSPACES, channel, workspace
from schemas.events import ApiKey, CatalogChannel
from schemas.metrics import POST_NAMES
from services.query_api.app import QueryApi
from services.query_api.dialects.postme.routes import DIALECT
from services.query_api.directory import Directory
from services.query_api.reads.batching import Batcher
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.dispatch import Dispatch
from services.query_api.reads.query import Answered, Post, PostQuestion, Question, Target
from services.query_api.reads.read_model import ClickHouseReadModel
from services.query_api.reads.sources import Sources
from services.query_api.serving.auth import READ_SCOPE, AdminKey, KeyRing, key_hash
from services.query_api.serving.server import EndpointServer, Shared
from services.query_api.settings import QueryApiSettings
from services.runtime.clock import SystemClock

STATIC_PATH = "/static"
ROUTED_PATH = "/routed"
POSTGRES_CONNECTIONS = 16


def main(arguments: Sequence[str]) -> None:
    """Serve until a signal."""
    kind, port = arguments[0], int(arguments[1])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(kind, port))


async def _serve(kind: str, port: int) -> None:
    if kind == "static":
        app = static(os.environ["BENCH_BODY"].encode())
    else:
        keys, directory = _catalog(os.environ["BENCH_KEYS"].split(","))
        if kind == "clickhouse":
            store = ClickHouse(QueryApiSettings.load())
            app = reads(Sources(store, directory, UnbatchedReadModel(store, directory)), keys)
        else:
            pool = await asyncpg.create_pool(
                os.environ["BENCH_POSTGRES"], min_size=POSTGRES_CONNECTIONS, max_size=POSTGRES_CONNECTIONS
            )
            # The store is not asked: posts come from the read model.
            app = reads(
                Sources(ClickHouse(QueryApiSettings.load()), directory, PostgresReadModel(pool, directory)), keys
            )
    # As `services.query_api.__main__` has it.
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, http="httptools", ws="none", lifespan="off", log_config=None,
        access_log=False, server_header=False,
    )  # fmt: skip
    await uvicorn.Server(config).serve()


def static(body: bytes) -> ASGIApp:
    """A constant JSON body: sent by hand, and by a route of Starlette's."""

    async def routed(_: Request) -> Response:
        return Response(body, media_type="application/json")

    router = Router([Route(ROUTED_PATH, routed)])
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != STATIC_PATH:
            await router(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def reads(sources: Sources, keys: KeyRing) -> ASGIApp:
    """postme's post insights as the query API serves them, on another read model and without kept answers."""
    read = next(read for read in DIALECT.endpoints if read.path.startswith("/api/v1/posts/"))
    shared = Shared(keys=keys, admin_key=AdminKey(None), clock=SystemClock())
    return QueryApi([EndpointServer(DIALECT.name, read, sources, shared)])


class UnbatchedReadModel(ClickHouseReadModel):
    """The same questions, one query each, as many at once as are asked."""

    def __init__(self, clickhouse: ClickHouse, directory: Directory) -> None:
        super().__init__(clickhouse, directory)
        self._posts = Batcher(self._load_posts, max_keys=1, max_loads=1000, linger_seconds=0)


class PostgresReadModel:
    """The latest snapshot of each target from a table of snapshots, one query a request."""

    def __init__(self, pool: asyncpg.Pool, directory: Directory) -> None:
        self._pool = pool
        self._directory = directory
        self._answers = Dispatch(PostQuestion.answered_by(self._post))

    async def answer(self, question: Question[Answered]) -> Answered | None:
        """See `query.ReadModel`; knows posts only."""
        return await self._answers.answer(question)

    async def _post(self, question: PostQuestion) -> Post:
        rows = await self._pool.fetch(LATEST_SNAPSHOTS, question.post_id, question.workspace_id)
        targets = tuple(
            self._target(question, target_id, channel_id, captured_at, values)
            for target_id, channel_id, captured_at, *values in rows
        )
        return Post(question.post_id, "published", None, None, 0, targets)

    def _target(
        self, question: PostQuestion, target_id: str, channel_id: str, captured_at: datetime, values: list[int | None]
    ) -> Target:
        held = self._directory.get(question.workspace_id, channel_id)
        assert held is not None
        assert len(values) == len(POST_NAMES)
        return Target(
            target_id=target_id,
            channel_id=channel_id,
            platform=held.platform,
            username=held.username,
            post_type="x-post",
            status="published",
            external_id="",
            permalink=None,
            published_at=None,
            content=None,
            is_story=False,
            parent_target_id=None,
            detail=_NO_DETAIL,
            captured_at=int(captured_at.timestamp() * 1000),
            values=tuple(values),
            post_id=question.post_id,
        )


_NO_DETAIL: Mapping[str, Any] = {}


def catalog_keys(texts: Sequence[str]) -> list[ApiKey]:
    """One key a workspace, as the catalog holds it."""
    return [
        ApiKey(workspace(number), f"key-{number}", key_hash(text), (READ_SCOPE,), "postme", 1)
        for number, text in enumerate(texts)
    ]


def catalog_channels() -> list[CatalogChannel]:
    """Every channel of every workspace, as the catalog holds it."""
    return [
        CatalogChannel(workspace(owner), channel(number), "x", f"ext-{number}", channel(number), "active", None, 1)
        for owner in range(WORKSPACES)
        for number in range(CHANNELS)
    ]


def _catalog(texts: Sequence[str]) -> tuple[KeyRing, Directory]:
    keys, directory = KeyRing(), Directory()
    for key in catalog_keys(texts):
        keys.apply((key.workspace_id, key.key_id), key)
    for held in catalog_channels():
        directory.apply((held.workspace_id, held.channel_id), held)
    return keys, directory


if __name__ == "__main__":
    main(sys.argv[1:])
