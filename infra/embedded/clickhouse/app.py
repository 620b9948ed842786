"""The HTTP interface: one request in, one statement run, its rows out block by block.

In: ASGI requests. Out: replies with ClickHouse's headers, statuses and error texts. Whose statement may run is
decided by `access`, what it is by `statements`, and only `engine` talks to chDB.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from infra.embedded.clickhouse import request as requests
from infra.embedded.clickhouse import statements
from infra.embedded.clickhouse.access import User, Users
from infra.embedded.clickhouse.compression import Compressor, compressor
from infra.embedded.clickhouse.disk import DiskGuard, may_write
from infra.embedded.clickhouse.engine import Call, Engine, Handle, quoted_string
from infra.embedded.clickhouse.errors import (
    ABORTED,
    AUTHENTICATION_FAILED,
    BAD_ARGUMENTS,
    READONLY,
    ServerError,
    refusal,
)
from infra.embedded.clickhouse.reply import ClientGone, Reply, exception_block
from infra.embedded.clickhouse.request import Incoming
from infra.embedded.clickhouse.running import RunningDocument, RunningSelect, Totals
from infra.embedded.clickhouse.statements import Statement

log = logging.getLogger(__name__)

DISPLAY_NAME = "tidemark-embedded"
_DEFAULT_FORMAT = "TabSeparated"
# A reply up to this size leaves whole: with its length, its totals, and the right status if it failed.
_PIECE_BYTES = 1024 * 1024
_SPOOL_BYTES = 16 * 1024 * 1024
_CONTENT_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
}
_BINARY_FORMATS = (
    "Native",
    "RowBinary",
    "Arrow",
    "Parquet",
    "ORC",
    "MsgPack",
    "Protobuf",
    "Avro",
    "Npy",
    "BSON",
)


class Server:
    """Runs statements for HTTP clients.

    Args:
        spool: folder for large bodies and replies.
        default_database: for requests that name none.
        insert_bytes: how much one INSERT may carry.
        guard: of the disk that statements write to.
    """

    def __init__(
        self,
        engine: Engine,
        users: Users,
        *,
        spool: Path,
        default_database: str,
        insert_bytes: int,
        guard: DiskGuard,
    ) -> None:
        self._engine = engine
        self._users = users
        self._spool = spool
        self._default_database = default_database
        self._insert_bytes = insert_bytes
        self._guard = guard
        self._running: dict[str, str] = {}
        self._closing = False

    def app(self) -> Starlette:
        """The ASGI application."""

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

    async def cancel_all(self) -> None:
        """Asks the engine to stop every running statement, and refuses new ones."""
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
            headers["X-ClickHouse-Query-Id"] = _header_text(query_id)
        if fmt is not None:
            headers["X-ClickHouse-Format"] = _header_text(fmt)
            headers["Content-Type"] = _content_type(fmt)
        if totals is not None:
            headers["X-ClickHouse-Summary"] = _summary(totals)
        if encoding is not None:
            headers["Content-Encoding"] = encoding
        return headers

    async def serve(self, request: Request, send: Send) -> None:
        """Answers one request."""
        incoming: Incoming | None = None
        reply: Reply | None = None
        try:
            try:
                # Before the body is read: nobody uploads without a password.
                user = self._users.authenticate(requests.credentials(request))
                incoming = await requests.read(
                    request,
                    default_database=self._default_database,
                    spool=self._spool,
                    insert_bytes=0 if user.analyst else self._insert_bytes,
                )
                reply = Reply(request.receive, send)
                await self._execute(request.method, user, incoming, reply)
            except ServerError as error:
                await self._fail(error, incoming, reply or Reply(request.receive, send))
        except (ClientGone, ClientDisconnect):
            log.debug("client left before its reply was complete")
        finally:
            if reply is not None:
                reply.close()
            if incoming is not None:
                incoming.body.close()

    async def _fail(self, error: ServerError, incoming: Incoming | None, reply: Reply) -> None:
        headers = self._headers(incoming.query_id if incoming else "")
        headers["Content-Type"] = "text/plain; charset=UTF-8"
        headers["X-ClickHouse-Exception-Code"] = str(error.code)
        if error.code == AUTHENTICATION_FAILED:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        await reply.whole(headers, error.body(self._engine.version).encode("utf-8", "replace"), error.status)
        reply.close()

    async def _execute(self, method: str, user: User, incoming: Incoming, reply: Reply) -> None:
        if incoming.is_empty() and method in ("GET", "HEAD"):
            await reply.whole(self._headers(), b"Ok.\n")
            return
        if self._closing:
            raise refusal(ABORTED, "The server is shutting down")
        statement = incoming.statement()
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
        if user.analyst:
            if incoming.settings.get("readonly", "1") != "1":
                raise refusal(READONLY, "Cannot modify 'readonly' setting in readonly mode.")
            call = await asyncio.to_thread(self._users.permit, call, statement, self._engine)
        self._running[incoming.query_id] = incoming.marker
        try:
            async with self._engine.lease(call) as handle:
                handle.spoiled = statement.changes_session or "allow_ddl" in settings
                await self._run(incoming, statement, call, handle, reply)
        finally:
            self._running.pop(incoming.query_id, None)

    async def _run(self, incoming: Incoming, statement: Statement, call: Call, handle: Handle, reply: Reply) -> None:
        engine = self._engine
        writing = self._guard.writing if may_write(statement) else contextlib.nullcontext
        if statement.data_start is not None:

            def insert() -> Totals:
                with writing():
                    return self._insert(handle, call, statement, incoming)

            written = await engine.in_thread(handle, insert)
            await reply.whole(self._headers(incoming.query_id, None, written), b"")
            return
        if statement.reads and _is_streamed(call):
            await self._stream(incoming, call, handle, reply)
            return
        if statement.verb == "KILL":
            call = await asyncio.to_thread(self._with_engine_ids, call)
        encoding = incoming.encoding if statement.has_result else None

        def work() -> tuple[bytes, Totals]:
            with writing():
                content, totals = engine.run(handle, call)
            if encoding is not None:
                encoder = compressor(encoding)
                content = encoder.feed(content) + encoder.finish()
            return content, totals

        cancel = self._canceller(call) if statement.reads else None
        content, totals = await reply.unless_gone(engine.in_thread(handle, work), cancel)
        fmt = call.format if statement.has_result else None
        await reply.whole(self._headers(incoming.query_id, fmt, totals, encoding), content)

    def _insert(self, handle: Handle, call: Call, statement: Statement, incoming: Incoming) -> Totals:
        with incoming.data() as path:
            return self._engine.run_insert(handle, call, statement, path)

    def _with_engine_ids(self, call: Call) -> Call:
        """The KILL statement with the engine's ids for those that clients gave their statements."""
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
        encoder = compressor(incoming.encoding) if incoming.encoding else None
        select: RunningSelect | RunningDocument | None = None
        cancel = self._canceller(call)

        def start() -> RunningSelect | RunningDocument:
            nonlocal select
            select = engine.start_select(handle, call)
            return select

        def first_piece() -> tuple[bytes, bool, IO[bytes] | None]:
            pieces = _pieces(start(), encoder)
            if incoming.wait_end:
                return _spooled(pieces, self._spool)
            return (*next(pieces), None)

        try:
            content, ended, rest = await reply.unless_gone(engine.in_thread(handle, first_piece), cancel)
            assert select is not None
            headers = self._headers(incoming.query_id, call.format, select.totals if ended else None, incoming.encoding)
            if ended and rest is None:
                await reply.whole(headers, content)
            elif rest is not None:
                await _send_spooled(headers, rest, reply)
            else:
                await self._send_stream(headers, content, handle, _pieces(select, encoder), encoder, cancel, reply)
        finally:
            if select is not None and not select.ended:
                await engine.in_thread(handle, select.close)

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
                content, ended = await reply.unless_gone(self._engine.in_thread(handle, lambda: next(pieces)), cancel)
            except ServerError as error:
                # No last chunk after this: the connection breaks off, which every HTTP client takes for an error.
                await reply.piece(exception_block(error.body(self._engine.version), tag, encoder))
                return
            await reply.piece(content, last=ended)


class _Canceller:
    """Asks the engine to stop one statement; called again until the statement has ended."""

    def __init__(self, engine: Engine, marker: str) -> None:
        self._engine = engine
        self._marker = marker

    async def __call__(self) -> None:
        await asyncio.to_thread(self._engine.cancel, self._marker)


class _Endpoint:
    """The ASGI side of `Server.serve`; a class, so that the framework leaves the reply to it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._server.serve(Request(scope, receive), send)


def _is_streamed(call: Call) -> bool:
    """Whether a SELECT's rows leave while more of them are made."""
    if call.format in statements.DOCUMENT_FORMATS:
        return not statements.writes_a_file(call.sql)
    return call.format in statements.STREAMED_FORMATS


def _pieces(select: RunningSelect | RunningDocument, encoder: Compressor | None) -> Iterator[tuple[bytes, bool]]:
    """The encoded body in parts of about a megabyte, each with whether it is the last."""
    gathered: list[bytes] = []
    size = 0
    for block in select.blocks():
        gathered.append(encoder.feed(block) if encoder else block)
        size += len(block)
        if size >= _PIECE_BYTES:
            yield b"".join(gathered), False
            gathered.clear()
            size = 0
    if encoder:
        gathered.append(encoder.finish())
    yield b"".join(gathered), True


def _spooled(pieces: Iterator[tuple[bytes, bool]], folder: Path) -> tuple[bytes, bool, IO[bytes] | None]:
    """Everything up to the end: as bytes when it is short, else in a file."""
    content, ended = next(pieces)
    if ended:
        return content, True, None
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=str(folder))  # noqa: SIM115
    try:
        spool.write(content)
        for content, _ in pieces:
            spool.write(content)
    except BaseException:
        spool.close()
        raise
    return b"", True, spool


async def _send_spooled(headers: dict[str, str], spool: IO[bytes], reply: Reply) -> None:
    with spool:
        length = spool.tell()
        spool.seek(0)
        await reply.start({**headers, "Content-Length": str(length)})
        while content := await asyncio.to_thread(spool.read, _PIECE_BYTES):
            await reply.piece(content)
        await reply.piece(b"", last=True)


def _readonly_level(asked: str, method: str) -> int:
    """The engine's `readonly` for a request: what it asks for, and 2 at least for a GET, as on a server."""
    if asked not in ("0", "1", "2"):
        raise refusal(BAD_ARGUMENTS, f"Setting readonly is {asked!r}; allowed are 0, 1 and 2")
    return int(asked) or (2 if method in ("GET", "HEAD") else 0)


def _content_type(fmt: str) -> str:
    if fmt.startswith(_BINARY_FORMATS):
        return "application/octet-stream"
    return _CONTENT_TYPES.get(fmt, "text/plain; charset=UTF-8")


def _summary(totals: Totals) -> str:
    return json.dumps(
        {
            "read_rows": str(totals.read_rows),
            "read_bytes": str(totals.read_bytes),
            "written_rows": str(totals.written_rows),
            "written_bytes": str(totals.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(totals.result_rows or totals.written_rows),
            "result_bytes": str(totals.result_bytes or totals.written_bytes),
            "elapsed_ns": str(int(totals.elapsed_seconds * 1_000_000_000)),
        },
        separators=(",", ":"),
    )


def _header_text(text: str) -> str:
    """A client's own text as a header's value: printable ASCII only."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)
