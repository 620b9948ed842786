"""An HTTP request as ClickHouse's interface understands it: whose it is, the SQL, its data, settings and parameters.

In: the ASGI request. Out: `Incoming`. Nothing is run and no right is checked here.
"""

from __future__ import annotations

import base64
import binascii
import email.parser
import email.policy
import secrets
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request

from infra.embedded.clickhouse import statements
from infra.embedded.clickhouse.bodies import STATEMENT_BYTES, Body
from infra.embedded.clickhouse.compression import Decompressor, chosen_encoding
from infra.embedded.clickhouse.errors import NOT_IMPLEMENTED, refusal
from infra.embedded.clickhouse.inserts import is_insert
from infra.embedded.clickhouse.statements import Statement

# An INSERT whose data begins this close to the end of what was read may go on with its head.
_CUT_CHARACTERS = 64

# Parameters of the HTTP interface itself; every other one is a setting of the statement.
_TRANSPORT = frozenset(
    {
        "query", "database", "default_format", "user", "password", "quota_key", "query_id", "session_id",
        "session_timeout", "session_check", "close_session", "role", "compress", "decompress", "buffer_size",
        "wait_end_of_query", "enable_http_compression", "http_zlib_compression_level", "stacktrace",
        "client_protocol_version", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "add_http_cors_header", "cancel_http_readonly_queries_on_client_close",
        "http_wait_end_of_query", "http_response_buffer_size", "http_send_timeout", "http_receive_timeout",
        "send_logs_level",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the client says it is; both may be empty."""

    user: str
    password: str


@dataclass(slots=True)
class Incoming:
    """One request.

    Attributes:
        body: everything that was sent as SQL and data, decompressed.
        settings: settings of the statement, as strings.
        params: values of `{name:Type}`, without `param_`.
    """

    body: Body
    query_id: str
    database: str
    default_format: str | None
    encoding: str | None
    wait_end: bool
    settings: dict[str, str]
    params: dict[str, str]
    marker: str = field(default_factory=lambda: secrets.token_hex(12))
    _data_position: int = 0

    def statement(self) -> Statement:
        """The statement, looked for in the beginning of the body, or in all of it where it is no INSERT with data.

        Raises:
            ServerError: SYNTAX_ERROR for no statement or several; QUERY_IS_TOO_LARGE.
        """
        text = self.body.head()
        if not self.body.is_short and is_insert(text):
            statement = statements.parse(text)
            start = statement.data_start
            is_whole = start is not None and statement.format is not None and start + _CUT_CHARACTERS < len(text)
            if is_whole and (statement.format != "Values" or self.body.size > STATEMENT_BYTES):
                return self._found(statement, text)
        if not self.body.is_short:
            text = self.body.text()
        statement = statements.parse(text)
        if statement.format == "Values" and statement.data_start is not None:
            # The engine reads no further than the first semicolon.
            statements.check_single(text[statement.data_start :])
        return self._found(statement, text)

    def _found(self, statement: Statement, text: str) -> Statement:
        self._data_position = len(text[: statement.data_start or 0].encode("utf-8", "surrogateescape"))
        return statement

    def is_empty(self) -> bool:
        """Whether nothing was asked."""
        return not self.body.head().strip()

    def data(self) -> AbstractContextManager[str]:
        """The path of a file with the data of the INSERT that `statement` gave, for as long as the context lasts."""
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
        except (binascii.Error, UnicodeDecodeError):
            return Credentials("", "")
        return Credentials(user or "default", password)
    if scheme:
        return Credentials("", "")
    query = request.query_params
    return Credentials(query.get("user", "default"), query.get("password", ""))


async def read(request: Request, *, default_database: str, spool: Path, insert_bytes: int) -> Incoming:
    """Reads a whole request.

    Args:
        default_database: where the request names none.
        spool: folder for bodies too large for memory.
        insert_bytes: how much an INSERT may carry; 0 for a user who may not insert.

    Raises:
        ServerError: the body is too large, in an unknown encoding, broken, or uses a feature that is not here.
    """
    query = dict(request.query_params)
    if query.get("compress", "0") not in ("0", "") or query.get("decompress", "0") not in ("0", ""):
        raise refusal(
            NOT_IMPLEMENTED,
            "compress=1 and decompress=1 (ClickHouse's own block compression) are not supported here:"
            " use Accept-Encoding with enable_http_compression=1, and Content-Encoding",
        )
    content_type = request.headers.get("content-type", "")
    is_form = content_type.startswith("multipart/form-data")
    if is_form:
        query.update(_form_fields(content_type, await request.body()))
    statement = query.get("query", "").encode("utf-8", "surrogateescape")
    body = Body(statement + (b"\n" if statement else b""), folder=spool, insert_bytes=insert_bytes)
    try:
        if not is_form:
            await _copy_body(request, body)
    except BaseException:
        body.close()
        raise
    return Incoming(
        body=body,
        query_id=query.get("query_id") or str(uuid.uuid4()),
        database=query.get("database") or request.headers.get("x-clickhouse-database") or default_database,
        default_format=query.get("default_format") or request.headers.get("x-clickhouse-format"),
        encoding=(
            chosen_encoding(request.headers.get("accept-encoding"))
            if query.get("enable_http_compression", "0") not in ("0", "false", "")
            else None
        ),
        wait_end=query.get("wait_end_of_query", "0") not in ("0", "false", ""),
        settings=_settings(query),
        params={name.removeprefix("param_"): value for name, value in query.items() if name.startswith("param_")},
    )


def _settings(query: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if name not in _TRANSPORT and not name.startswith("param_")}


async def _copy_body(request: Request, body: Body) -> None:
    encoding = request.headers.get("content-encoding", "").strip().lower()
    decompressor = Decompressor(encoding) if encoding not in ("", "identity") else None
    async for chunk in request.stream():
        body.write(decompressor.feed(chunk) if decompressor and chunk else chunk)
    if decompressor:
        decompressor.close()


def _form_fields(content_type: str, content: bytes) -> dict[str, str]:
    """The text fields of a multipart form, as clickhouse-connect sends long parameters."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + content)
    fields: dict[str, str] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None:
            raise refusal(NOT_IMPLEMENTED, "External data (temporary tables in a request) is not supported here")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            fields[name] = payload.decode("utf-8", "surrogateescape")
    return fields
