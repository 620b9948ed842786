"""The HTTP interface: one request in, one statement run, its rows out block by block.

In: ASGI requests. Out: replies with ClickHouse's headers, statuses and error texts. `access` decides whether a user's
statement may run, `statements` reads its kind, and only `engine` talks to chDB.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from infra.embedded.clickhouse import request as requests
from infra.embedded.clickhouse import statements
from infra.embedded.clickhouse.access import User, Users
from infra.embedded.clickhouse.bodies import GUEST_STATEMENT_BYTES, STATEMENT_BYTES
from infra.embedded.clickhouse.compression import Compressor
from infra.embedded.clickhouse.defaults import without_meaning
from infra.embedded.clickhouse.disk import DiskGuard, may_write
from infra.embedded.clickhouse.engine import Call, Engine, Handle, quoted_string
from infra.embedded.clickhouse.errors import (
    ABORTED,
    AUTHENTICATION_FAILED,
    BAD_ARGUMENTS,
    READONLY,
    SOCKET_TIMEOUT,
    ServerError,
    refusal,
    unexpected,
)
from infra.embedded.clickhouse.external import ExternalTable, made
from infra.embedded.clickhouse.guests import Guests
from infra.embedded.clickhouse.headers import content_type, header_text, summary
from infra.embedded.clickhouse.native_blocks import for_version
from infra.embedded.clickhouse.native_compression import BlockEncoder
from infra.embedded.clickhouse.pieces import pieces_of, send_spooled, spooled
from infra.embedded.clickhouse.reply import ClientGone, Reply, exception_block
from infra.embedded.clickhouse.request import Incoming
from infra.embedded.clickhouse.rights import Rights
from infra.embedded.clickhouse.running import Totals
from infra.embedded.clickhouse.sessions import Sessions
from infra.embedded.clickhouse.statements import Statement

log = logging.getLogger(__name__)

T = TypeVar("T")

DISPLAY_NAME = "tidemark-embedded"
_DEFAULT_FORMAT = "TabSeparated"
# The disk is the product's: where it is full, nothing is inserted any more.
_GUEST_SPOOL_BYTES = 256 * 1024 * 1024


class Server:
    """Runs statements for HTTP clients.

    Args:
        spool: folder for large bodies and replies.
        default_database: database of requests that name none.
        insert_bytes: how many bytes of data one INSERT may carry, decompressed.
        guard: watches the disk that statements write to.
        rights: the operator's users; None where there can be none.
    """

    def __init__(
        self,
        engine: Engine,
        users: Users,
        guests: Mapping[str, Guests],
        *,
        spool: Path,
        default_database: str,
        insert_bytes: int,
        guard: DiskGuard,
        rights: Rights | None = None,
    ) -> None:
        self._rights = rights
        self._engine = engine
        self._users = users
        self._guests = guests
        self._spool = spool
        self._default_database = default_database
        self._insert_bytes = insert_bytes
        self._guard = guard
        self._sessions = Sessions(engine)
        self._running: dict[str, str] = {}
        self._closing = False

    def app(self) -> Starlette:
        """Build the ASGI application of the HTTP interface."""

        async def unknown_path(request: Request, error: Exception) -> Response:
            text = f"There is no handle {request.url.path}\n\nUse / or /ping for health checks.\n"
            return PlainTextResponse(text, status_code=404)

        endpoint = _Endpoint(self)
        return Starlette(
            routes=[
                Route("/ping", self._ping, methods=["GET", "HEAD"]),
                Route("/replicas_status", self._ping, methods=["GET", "HEAD"]),
                Route("/", endpoint),
                Route("/query", endpoint),
            ],
            exception_handlers={404: unknown_path},
        )

    def close(self) -> None:
        """End all sessions; all statements must have ended before."""
        self._sessions.close()

    async def cancel_all(self) -> None:
        """Ask the engine to stop every running statement, and refuse new ones."""
        self._closing = True
        for marker in list(self._running.values()):
            await asyncio.to_thread(self._engine.cancel, marker)

    async def _ping(self, request: Request) -> Response:
        return PlainTextResponse("Ok.\n", headers=self._headers())

    def _headers(
        self,
        query_id: str = "",
        fmt: str | None = None,
        totals: Totals | None = None,
        encoding: str | None = None,
    ) -> dict[str, str]:
        headers = {
            "X-ClickHouse-Server-Display-Name": DISPLAY_NAME,
            "X-ClickHouse-Timezone": self._engine.timezone,
            "Access-Control-Expose-Headers": (
                "X-ClickHouse-Query-Id,X-ClickHouse-Summary,X-ClickHouse-Server-Display-Name,"
                "X-ClickHouse-Format,X-ClickHouse-Timezone,X-ClickHouse-Exception-Code,X-ClickHouse-Exception-Tag"
            ),
        }
        if query_id:
            headers["X-ClickHouse-Query-Id"] = header_text(query_id)
        if fmt is not None:
            headers["X-ClickHouse-Format"] = header_text(fmt)
            headers["Content-Type"] = content_type(fmt)
        if totals is not None:
            headers["X-ClickHouse-Summary"] = summary(totals)
        if encoding is not None:
            headers["Content-Encoding"] = encoding
        return headers

    async def serve(self, request: Request, send: Send) -> None:
        """Run one request's statement and send the reply, or the error in ClickHouse's form."""
        incoming: Incoming | None = None
        reply: Reply | None = None
        user: User | None = None
        try:
            try:
                requests.check_bounds(request)
                # Before the body is read, so that nobody uploads without a password.
                user = self._users.authenticate(requests.credentials(request))
                incoming = await requests.read(
                    request,
                    default_database=self._default_database,
                    spool=self._spool,
                    statement_bytes=GUEST_STATEMENT_BYTES if user.guest else STATEMENT_BYTES,
                    insert_bytes=self._insert_bytes if user.inserts else 0,
                    external_bytes=0 if user.guest else self._insert_bytes,
                )
                reply = Reply(request.receive, send)
                await self._execute(request.method, user, incoming, reply)
            except (ClientGone, ClientDisconnect):
                raise
            except Exception as failure:
                error = failure if isinstance(failure, ServerError) else unexpected(failure)
                if reply is not None and reply.is_started:
                    # No last piece was sent: the connection breaks off, which every HTTP client takes for an error.
                    raise
                error = error if self._rights is None else self._rights.named(error, user)
                reply = reply or Reply(request.receive, send)
                await self._fail(error, incoming, reply)
        except (ClientGone, ClientDisconnect):
            log.debug("client left before its reply was complete")
        finally:
            if reply is not None:
                reply.close()
            if incoming is not None:
                incoming.close()

    async def _fail(self, error: ServerError, incoming: Incoming | None, reply: Reply) -> None:
        headers = self._headers(incoming.query_id if incoming else "")
        headers["Content-Type"] = "text/plain; charset=UTF-8"
        headers["X-ClickHouse-Exception-Code"] = str(error.code)
        if error.code == AUTHENTICATION_FAILED:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        content = error.body(self._engine.version).encode("utf-8", "replace")
        if incoming is not None and incoming.blocks is not None and error.status not in (401, 403):
            # As a server does it: the JDBC driver expects every error in compressed blocks, but for these two.
            content = BlockEncoder(incoming.blocks).feed(content)
        if error.code == SOCKET_TIMEOUT:
            headers["Connection"] = "close"
        await reply.whole(headers, content, error.status)
        reply.close()

    async def _execute(self, method: str, user: User, incoming: Incoming, reply: Reply) -> None:
        if incoming.is_empty() and method in ("GET", "HEAD"):
            await reply.whole(self._headers(), b"Ok.\n")
            return
        if self._closing:
            raise refusal(ABORTED, "The server is shutting down")
        statement = await self._statement(user, incoming)
        settings = dict(incoming.settings)
        call = Call(
            sql=statement.sql,
            format=statement.format or incoming.default_format or _DEFAULT_FORMAT,
            database=incoming.database,
            settings=settings,
            params=incoming.params,
            readonly=_readonly_level(settings.pop("readonly", "0"), method),
            marker=incoming.marker if statement.has_result else "",
        )
        if self._rights is not None:
            if user.name == "default" and await self._rights.change(statement):
                await reply.whole(self._headers(incoming.query_id), b"")
                return
            call = await self._rights.held_to(user, call, statement, self._sessions)
        if user.guest:
            if not user.inserts and incoming.settings.get("readonly", "1") != "1":
                raise refusal(READONLY, "Cannot modify 'readonly' setting in readonly mode.")
            values = await asyncio.to_thread(lambda: self._engine.setting_values)
            call = dataclasses.replace(call, settings=without_meaning(settings, values))
            call, statement = await self._guests[user.name].permit(user, call, statement)
            if statement.data_start is None:
                call = dataclasses.replace(call, marker=incoming.marker)
        self._running[incoming.query_id] = incoming.marker
        try:
            # A guest's statement leaves nothing behind, so a guest's session needs no handle.
            leaves = statement.changes_session and not user.guest
            async with (
                self._turn(user, reply),
                self._sessions.lease(
                    call, user.name, incoming.session, leaves=leaves, fresh=bool(incoming.tables)
                ) as handle,
                self._external(incoming, call, handle, reply),
            ):
                handle.spoiled = handle.spoiled or "allow_ddl" in settings
                await self._run(incoming, statement, call, handle, reply)
        finally:
            self._running.pop(incoming.query_id, None)

    async def _statement(self, user: User, incoming: Incoming) -> Statement:
        """The request's statement. A long one is read beside the event loop, on which everybody's requests wait."""
        if incoming.body.size <= statements.SHORT_BYTES:
            return incoming.statement()
        if user.guest:
            return await self._guests[user.name].in_thread(incoming.statement)
        return await asyncio.to_thread(incoming.statement)

    def _turn(self, user: User, reply: Reply) -> contextlib.AbstractAsyncContextManager[None]:
        return self._guests[user.name].turn(reply) if user.guest else contextlib.nullcontext()

    @contextlib.asynccontextmanager
    async def _external(self, incoming: Incoming, call: Call, handle: Handle, reply: Reply) -> AsyncIterator[None]:
        """Make the request's external tables on a handle, which then takes the rights and settings of `call`."""
        if not incoming.tables:
            yield
            return
        engine = self._engine
        there: list[ExternalTable] = []

        def run(sql: str) -> object:
            return engine.run(handle, dataclasses.replace(call, sql=sql, format=_DEFAULT_FORMAT, params={}))

        try:
            filled = engine.in_thread(handle, lambda: there.extend(made(incoming.tables, run)))
            await reply.unless_gone(filled, self._canceller(call))
            handle.readonly = call.readonly
            yield
        finally:
            # A readonly handle is thrown away with its tables; a session's handle may stay, so its tables are dropped.
            # Nobody waits for the drop: the handle has one thread, and its next statement runs after the drop.
            if not call.readonly:
                handle.thread.submit(lambda: [run(table.dropping) for table in there])

    async def _run(self, incoming: Incoming, statement: Statement, call: Call, handle: Handle, reply: Reply) -> None:
        engine = self._engine
        is_piped, writes = await _apart(call.sql, lambda: (_is_piped(statement, call), may_write(statement)))
        writing = self._guard.writing if writes else contextlib.nullcontext
        if statement.data_start is not None:

            def insert() -> Totals:
                with writing():
                    return self._insert(handle, call, statement, incoming)

            written = await engine.in_thread(handle, insert)
            await reply.whole(self._headers(incoming.query_id, None, written), b"")
            return
        if is_piped:
            await self._stream(incoming, call, handle, reply)
            return
        if statement.verb == "KILL":
            call = await asyncio.to_thread(self._with_engine_ids, call)
        encoding = incoming.encoding if statement.has_result else None
        encoder = incoming.encoder() if statement.has_result else None

        def work() -> tuple[bytes, Totals]:
            with writing():
                content, totals = engine.run(handle, call)
            if call.format == "Native" and statement.has_result:
                content = for_version(content, incoming.protocol_version)
            if encoder is not None:
                content = encoder.feed(content) + encoder.finish()
            return content, totals

        cancel = self._canceller(call) if statement.reads or call.guest else None
        content, totals = await reply.unless_gone(engine.in_thread(handle, work), cancel)
        fmt = call.format if statement.has_result else None
        await reply.whole(self._headers(incoming.query_id, fmt, totals, encoding), content)

    def _insert(self, handle: Handle, call: Call, statement: Statement, incoming: Incoming) -> Totals:
        with incoming.data() as path:
            return self._engine.run_insert(handle, call, statement, path)

    def _with_engine_ids(self, call: Call) -> Call:
        """The KILL statement with the engine's own query ids in place of the ids that clients gave."""
        sql = call.sql
        for query_id, marker in list(self._running.items()):
            literal = quoted_string(query_id)
            if literal in sql and (engine_id := self._engine.engine_query_id(marker)):
                sql = sql.replace(literal, quoted_string(engine_id))
        return dataclasses.replace(call, sql=sql)

    def _canceller(self, call: Call) -> _Canceller:
        return _Canceller(self._engine, call.marker)

    async def _stream(self, incoming: Incoming, call: Call, handle: Handle, reply: Reply) -> None:
        engine = self._engine
        encoder = incoming.encoder()
        version = incoming.protocol_version if call.format == "Native" else 0
        cancel = self._canceller(call)
        select = engine.start(handle, call)
        pieces = pieces_of(select, version, encoder)

        def first_piece() -> tuple[bytes, bool, IO[bytes] | None]:
            if incoming.wait_end:
                return spooled(pieces, self._spool, _GUEST_SPOOL_BYTES if call.guest else 0)
            return (*next(pieces), None)

        try:
            content, ended, rest = await reply.unless_gone(engine.in_reader(handle, first_piece), cancel)
            headers = self._headers(incoming.query_id, call.format, select.totals if ended else None, incoming.encoding)
            if ended and rest is None:
                await reply.whole(headers, content)
            elif rest is not None:
                await send_spooled(headers, rest, reply)
            else:
                await self._send_stream(headers, content, handle, pieces, encoder, cancel, reply)
        finally:
            if not select.ended:
                await engine.in_reader(handle, select.close)

    async def _send_stream(
        self,
        headers: dict[str, str],
        content: bytes,
        handle: Handle,
        pieces: Iterator[tuple[bytes, bool]],
        encoder: Compressor | None,
        cancel: _Canceller,
        reply: Reply,
    ) -> None:
        tag = secrets.token_hex(8)
        await reply.start({**headers, "X-ClickHouse-Exception-Tag": tag})
        await reply.piece(content)
        ended = False
        while not ended:
            try:
                content, ended = await reply.unless_gone(self._engine.in_reader(handle, lambda: next(pieces)), cancel)
            except (ClientGone, asyncio.CancelledError):
                raise
            except Exception as failure:
                error = failure if isinstance(failure, ServerError) else unexpected(failure)
                # No last chunk follows: the connection breaks off, which every HTTP client takes for an error.
                await reply.piece(exception_block(error.body(self._engine.version), tag, encoder))
                return
            await reply.piece(content, last=ended)


class _Canceller:
    """Asks the engine to stop one statement; called again and again until the statement has ended."""

    def __init__(self, engine: Engine, marker: str) -> None:
        self._engine = engine
        self._marker = marker

    async def __call__(self) -> None:
        await asyncio.to_thread(self._engine.cancel, self._marker)


class _Endpoint:
    """The ASGI side of `Server.serve`; a class, so that the framework lets `serve` send the reply itself."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._server.serve(Request(scope, receive), send)


async def _apart(sql: str, look: Callable[[], T]) -> T:
    """Look at a statement's tokens, beside the event loop if the statement is long."""
    return look() if len(sql) <= statements.SHORT_BYTES else await asyncio.to_thread(look)


def _is_piped(statement: Statement, call: Call) -> bool:
    """Whether a statement's rows are sent while the engine still makes more."""
    if statement.piped or not statement.reads:
        return statement.piped
    if call.format in statements.DOCUMENT_FORMATS:
        return not statements.writes_a_file(call.sql)
    return call.format in statements.STREAMED_FORMATS


def _readonly_level(asked: str, method: str) -> int:
    """The engine's `readonly` for a request: the level that it asks for, and at least 2 for a GET, as on a server."""
    if asked not in ("0", "1", "2"):
        raise refusal(BAD_ARGUMENTS, f"Setting readonly is {asked!r}; allowed are 0, 1 and 2")
    return int(asked) or (2 if method in ("GET", "HEAD") else 0)
