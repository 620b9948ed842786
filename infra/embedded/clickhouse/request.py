"""Reads an HTTP request of ClickHouse's interface: credentials, SQL, data, settings and parameters.

In: the ASGI request. Out: `Incoming`. Nothing is run here, and no right is checked.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request

from infra.embedded.clickhouse import statements
from infra.embedded.clickhouse.bodies import STATEMENT_BYTES, Body
from infra.embedded.clickhouse.compression import Chain, Compressor, Decoder, Decompressor, chosen_encoding, compressor
from infra.embedded.clickhouse.errors import BAD_ARGUMENTS, QUERY_IS_TOO_LARGE, SOCKET_TIMEOUT, refusal
from infra.embedded.clickhouse.external import ExternalTable, external_tables, of_tables
from infra.embedded.clickhouse.inserts import is_insert
from infra.embedded.clickhouse.multipart import MOST_FIELDS, Form, read_form
from infra.embedded.clickhouse.native_compression import LZ4, ZSTD, BlockDecoder, BlockEncoder
from infra.embedded.clickhouse.sessions import Named, named
from infra.embedded.clickhouse.statements import Statement

# Source: ClickHouse's `http_max_uri_size`.
_ADDRESS_BYTES = 1024 * 1024
_MOST_HEADERS = 200
_HEADER_BYTES = 128 * 1024
# clickhouse-go ends a block with the column that takes it past 10 MiB.
_BLOCK_BYTES = 64 * 1024 * 1024
# Time for a body, besides the time that its bytes take at the slowest speed allowed.
_BODY_SECONDS = 30.0
_BODY_BYTES_PER_SECOND = 64 * 1024
_YIELD_BYTES = 4 * 1024 * 1024
# Where an INSERT's data seems to begin this close to the end of the text read so far, its head may go on.
_CUT_CHARACTERS = 64

# Parameters of the HTTP interface itself; all other parameters are settings of the statement.
_TRANSPORT = frozenset(
    {
        "query", "database", "default_format", "user", "password", "quota_key", "query_id", "session_id",
        "session_timeout", "session_check", "close_session", "role", "compress", "decompress", "buffer_size",
        "wait_end_of_query", "enable_http_compression", "http_zlib_compression_level", "stacktrace",
        "client_protocol_version", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "add_http_cors_header", "cancel_http_readonly_queries_on_client_close",
        "http_wait_end_of_query", "http_response_buffer_size", "http_send_timeout", "http_receive_timeout",
        "network_compression_method", "network_zstd_compression_level", "send_logs_level",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Credentials:
    """The user name and password that the client sent; both may be empty."""

    user: str
    password: str


@dataclass(slots=True)
class Incoming:
    """One request.

    Attributes:
        body: SQL and data, decompressed.
        form: the multipart form that was sent instead of a body; empty for none.
        tables: the external tables of the form.
        encoding: the HTTP encoding for the reply.
        blocks: the method of ClickHouse's own compression for the reply, inside `encoding`.
        protocol_version: the client's version of Native blocks; 0 where the client names none.
        settings: settings of the statement, as strings.
        params: values of `{name:Type}`, without `param_`.
    """

    body: Body
    form: Form
    tables: tuple[ExternalTable, ...]
    query_id: str
    database: str
    default_format: str | None
    encoding: str | None
    blocks: int | None
    wait_end: bool
    protocol_version: int
    session: Named | None
    settings: dict[str, str]
    params: dict[str, str]
    marker: str = field(default_factory=lambda: secrets.token_hex(12))
    _data_position: int = 0

    def statement(self) -> Statement:
        """The statement; read from the beginning of the body for an INSERT with data, else from the whole body.

        Takes some microseconds for each token: a long body is for another thread than the event loop's.

        Raises:
            ServerError: SYNTAX_ERROR for no statement or several; QUERY_IS_TOO_LARGE.
        """
        text = self.body.head()
        has_rows = False
        if not self.body.is_short and is_insert(text):
            statement = statements.parse(text)
            start = statement.data_start
            has_rows = start is not None and statement.format is not None and start + _CUT_CHARACTERS < len(text)
            if has_rows and (statement.format != "Values" or self.body.size > STATEMENT_BYTES):
                return self._found(statement, text)
        if not self.body.is_short:
            text = self.body.text(has_rows=has_rows)
        statement = statements.parse(text)
        if statement.format == "Values" and statement.data_start is not None:
            # The engine would read no further than the first semicolon, and ignore a second statement.
            statements.check_single(text[statement.data_start :])
        return self._found(statement, text)

    def _found(self, statement: Statement, text: str) -> Statement:
        self._data_position = len(text[: statement.data_start or 0].encode("utf-8", "surrogateescape"))
        return statement

    def encoder(self) -> Compressor | None:
        """A fresh compressor for the reply; None for a plain one."""
        blocks = BlockEncoder(self.blocks) if self.blocks is not None else None
        http = compressor(self.encoding) if self.encoding is not None else None
        return Chain(blocks, http) if blocks and http else blocks or http

    def close(self) -> None:
        """Free memory and disk space of body, form and tables."""
        self.body.close()
        self.form.close()

    def is_empty(self) -> bool:
        """Whether the request holds no statement."""
        return not self.body.head().strip()

    def data(self) -> AbstractContextManager[str]:
        """The path of a file with the data of the INSERT that `statement` returned; exists as long as the context."""
        return self.body.file_from(self._data_position)


def credentials(request: Request) -> Credentials:
    """The user and password of a request: headers first, then Basic, then the URL; `default` where none is named."""
    headers = request.headers
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return Credentials(headers.get("x-clickhouse-user", "default"), headers.get("x-clickhouse-key", ""))
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return Credentials("", "")
        return Credentials(user or "default", password)
    if scheme:
        return Credentials("", "")
    query = request.query_params
    return Credentials(query.get("user", "default"), query.get("password", ""))


def check_bounds(request: Request) -> None:
    """Check a request's address and headers before its body is read.

    Raises:
        ServerError: QUERY_IS_TOO_LARGE or BAD_ARGUMENTS: the address or the headers are out of bounds.
    """
    address = request.scope["query_string"]
    if len(address) > _ADDRESS_BYTES:
        raise refusal(QUERY_IS_TOO_LARGE, f"The address has {len(address)} bytes; at most {_ADDRESS_BYTES} are read")
    if address.count(b"&") >= MOST_FIELDS:
        raise refusal(BAD_ARGUMENTS, f"The address has more than {MOST_FIELDS} parameters")
    headers = request.scope["headers"]
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > _MOST_HEADERS or size > _HEADER_BYTES:
        raise refusal(
            BAD_ARGUMENTS,
            f"The request has {len(headers)} headers of {size} bytes; {_MOST_HEADERS} of {_HEADER_BYTES} are allowed",
        )


async def read(
    request: Request,
    *,
    default_database: str,
    spool: Path,
    statement_bytes: int,
    insert_bytes: int,
    external_bytes: int,
) -> Incoming:
    """Read a whole request.

    Args:
        default_database: the database of a request that names none.
        spool: folder for bodies too large for memory.
        statement_bytes: how many bytes a statement may have.
        insert_bytes: how many bytes of data an INSERT may carry; 0 for a user who may not insert.
        external_bytes: how many bytes all external tables may have together; 0 for a user who may send none.

    Raises:
        ServerError: the body is too large or too slow, in an unknown encoding, or broken.
    """
    query = dict(request.query_params)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    decoders: list[Decoder] = [Decompressor(encoding)] if encoding not in ("", "identity") else []
    if _is_on(query, "decompress"):
        decoders.append(BlockDecoder(_BLOCK_BYTES if insert_bytes else STATEMENT_BYTES))
    pieces = _decoded(_chunks(request), decoders)
    content_type = request.headers.get("content-type", "")
    is_form = content_type.startswith("multipart/form-data")
    form = await read_form(content_type, pieces, folder=spool, file_bytes=external_bytes) if is_form else Form()
    body: Body | None = None
    try:
        query.update(form.fields)
        tables = await asyncio.to_thread(external_tables, form.files, query) if form.files else ()
        query = {name: value for name, value in query.items() if not of_tables(form.files, name)}
        statement = query.get("query", "").encode("utf-8", "surrogateescape")
        body = Body(
            statement + (b"\n" if statement else b""),
            folder=spool,
            statement_bytes=statement_bytes,
            insert_bytes=insert_bytes,
        )
        if not is_form:
            async for piece in pieces:
                body.write(piece)
    except BaseException:
        form.close()
        if body is not None:
            body.close()
        raise
    return Incoming(
        body=body,
        form=form,
        tables=tables,
        query_id=query.get("query_id") or str(uuid.uuid4()),
        database=query.get("database") or request.headers.get("x-clickhouse-database") or default_database,
        default_format=query.get("default_format") or request.headers.get("x-clickhouse-format"),
        encoding=(
            chosen_encoding(request.headers.get("accept-encoding"))
            if _is_on(query, "enable_http_compression")
            else None
        ),
        blocks=_block_method(query) if _is_on(query, "compress") else None,
        wait_end=_is_on(query, "wait_end_of_query"),
        protocol_version=_protocol_version(query),
        session=named(query),
        settings=_settings(query),
        params={name.removeprefix("param_"): value for name, value in query.items() if name.startswith("param_")},
    )


def _settings(query: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if name not in _TRANSPORT and not name.startswith("param_")}


def _is_on(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "0") not in ("0", "false", "")


def _protocol_version(query: Mapping[str, str]) -> int:
    asked = query.get("client_protocol_version") or "0"
    if not re.fullmatch(r"[0-9]{1,9}", asked):
        raise refusal(BAD_ARGUMENTS, f"client_protocol_version is {asked!r}; it must be a number")
    return int(asked)


def _block_method(query: Mapping[str, str]) -> int:
    return ZSTD if query.get("network_compression_method", "").upper() == "ZSTD" else LZ4


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives.

    Raises:
        ServerError: SOCKET_TIMEOUT: the body arrives too slowly.
    """
    stream = request.stream()
    clock = asyncio.get_running_loop().time
    due = clock() + _BODY_SECONDS
    try:
        while True:
            async with asyncio.timeout_at(due):
                chunk = await anext(stream, b"")
            if not chunk:
                return
            due += len(chunk) / _BODY_BYTES_PER_SECOND
            yield chunk
    except TimeoutError:
        raise refusal(SOCKET_TIMEOUT, "The request's body did not arrive in time") from None


async def _decoded(chunks: AsyncIterator[bytes], decoders: Sequence[Decoder]) -> AsyncIterator[bytes]:
    """Decode a body; between the pieces of a long one other requests get their turn."""
    done = 0
    async for chunk in chunks:
        for piece in _through(chunk, decoders):
            yield piece
            done += len(piece)
            if done > _YIELD_BYTES:
                done = 0
                await asyncio.sleep(0)
    for decoder in decoders:
        decoder.close()


def _through(chunk: bytes, decoders: Sequence[Decoder]) -> Iterator[bytes]:
    if not decoders:
        yield chunk
        return
    for piece in decoders[0].feed(chunk):
        yield from _through(piece, decoders[1:])
