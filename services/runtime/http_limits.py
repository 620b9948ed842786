"""Bounds of an HTTP server that hold before any application sees a request: connections, heads, bodies, time.

uvicorn reads a head of any length, waits for a head for ever, and waits as long for a client that does not read. Here a
request out of bounds gets one clear status and its connection is closed. The application never sees such a request,
unless it was answering already.

Time limits are checked once a second for all connections of a server together, so that a request costs no timer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Self

import orjson
from prometheus_client import Counter as Metric
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from services.runtime.http_upgrades import UpgradeIgnoringProtocol
from services.runtime.settings import HttpSettings

REFUSED = Metric("tidemark_http_refused_total", "Connections closed for a bound of the server, by status.", ["status"])

# The parser gets pieces of this size: with each piece it copies anew a header that is not whole yet.
_PIECE_BYTES = 16 * 1024
_LOOK_SECONDS = 1.0
# For how long, and for how many bytes, a refused request is still read, so that its sender receives the refusal.
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 4 * 1024 * 1024
_MOST_LINGERING = 64
# How many requests a client may send on a connection without waiting for replies.
_MOST_PIPELINED = 64
# A client that reads less than this within the limit's seconds counts as not reading.
_PROGRESS_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The bounds of one server process, with the status of a request past the bound.

    Attributes:
        target_bytes: length of the address in the request line (414).
        head_bytes: length of the request line and all headers (431), in steps of 16 KiB.
        headers: number of headers (431).
        head_seconds: time from the connection, or from a head's first byte, to the head's end (408; a connection that
            sent nothing is just closed).
        body_bytes: length of one request's body (413).
        body_seconds: time for a body, plus a second for each `body_bytes_per_second` of its length (408). No time
            passes while the application does not read the body.
        unread_seconds: how long a client may read less than 64 KiB of a reply (the reply is cut off).
        connections: connections open at once (503).
        connections_by_address: connections open at once from one address (503). Behind a proxy all callers have the
            proxy's address.
    """

    target_bytes: int = 32 * 1024
    head_bytes: int = 64 * 1024
    headers: int = 100
    head_seconds: float = 30.0
    body_bytes: int = 512 * 1024 * 1024
    body_seconds: float = 20.0
    body_bytes_per_second: int = 1024
    unread_seconds: float = 20.0
    connections: int = 4_000
    connections_by_address: int = 2_000

    @classmethod
    def of(cls, settings: HttpSettings) -> Self:
        """The bounds from the settings `TIDEMARK_HTTP_*`."""
        return cls(
            target_bytes=settings.http_address_bytes,
            head_bytes=settings.http_head_bytes,
            headers=settings.http_headers,
            head_seconds=settings.http_head_seconds,
            body_bytes=settings.http_body_bytes,
            body_seconds=settings.http_body_seconds,
            unread_seconds=settings.http_unread_seconds,
            connections=settings.http_connections,
            connections_by_address=settings.http_connections_by_address,
        )


class Gate:
    """Counts the open connections of one server process, and checks each connection's time limits."""

    def __init__(self, limits: HttpLimits) -> None:
        self.limits = limits
        self.lingering = 0
        self._open: set[LimitedHttpProtocol] = set()
        self._by_address: Counter[str] = Counter()
        self._look: asyncio.TimerHandle | None = None

    def enter(self, connection: LimitedHttpProtocol, address: str) -> bool:
        """Count a connection; returns False when there are too many."""
        if len(self._open) >= self.limits.connections:
            return False
        if self._by_address[address] >= self.limits.connections_by_address:
            return False
        self._open.add(connection)
        self._by_address[address] += 1
        if self._look is None:
            self._look = connection.loop.call_later(_LOOK_SECONDS, self._look_at_all, connection.loop)
        return True

    def leave(self, connection: LimitedHttpProtocol, address: str) -> None:
        """Take a connection from the count."""
        if connection in self._open:
            self._open.discard(connection)
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def _look_at_all(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in tuple(self._open):
            connection.look(now)
        self._look = loop.call_later(_LOOK_SECONDS, self._look_at_all, loop) if self._open else None


def limited_protocol(limits: HttpLimits | None = None) -> Any:
    """The protocol class for `uvicorn.Config(http=...)`; each process counts its own connections."""
    return partial(LimitedHttpProtocol, limits=limits or HttpLimits())


def _gate_of(server_state: Any, limits: HttpLimits) -> Gate:
    """The gate of a server; uvicorn makes one state for each server and passes it to every connection."""
    gate: Gate | None = getattr(server_state, "tidemark_gate", None)
    if gate is None:
        gate = server_state.tidemark_gate = Gate(limits)
    return gate


class LimitedHttpProtocol(UpgradeIgnoringProtocol):
    """uvicorn's protocol with bounds; may be combined with other subclasses of that protocol.

    Args:
        limits: the bounds; uvicorn passes all other arguments.
    """

    # Slots, because an object with more than thirty names in its dictionary is slower, which every request would pay.
    __slots__ = (
        "_address", "_body_bytes", "_gate", "_head_bytes", "_head_of", "_limits", "_linger", "_lingered_bytes",
        "_refused", "_resumed", "_seen", "_since", "_unread",
    )  # fmt: skip

    def __init__(self, *args: Any, limits: HttpLimits, **more: Any) -> None:
        super().__init__(*args, **more)
        self._limits = limits
        self._gate = _gate_of(self.server_state, limits)
        self._address = ""
        self._refused = False
        self._lingered_bytes = 0
        self._linger: asyncio.TimerHandle | None = None
        # Bytes of a head that is not whole yet, and the request that the head belongs to.
        self._head_bytes = 0
        self._head_of: object = None
        self._body_bytes = 0
        self._resumed = 0
        self.url = b""
        # The last check's result, and since when it has been the same.
        self._seen: tuple[bool, object] = (True, None)
        self._since = 0.0
        self._unread: tuple[float, int, int] | None = None

    # Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self._since = self.loop.time()
        if not self._gate.enter(self, self._address):
            self.connections.discard(self)
            self._refuse(503, "too_many_connections", "Too many connections are open; close some, or come again later.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.leave(self, self._address)
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
            self._gate.lingering -= 1
        super().connection_lost(exc)

    # Bytes

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > _LINGER_BYTES:
                self.transport.abort()
        elif len(data) > _PIECE_BYTES:
            for first in range(0, len(data), _PIECE_BYTES):
                self.data_received(data[first : first + _PIECE_BYTES])
                if self._refused or self.transport.is_closing():
                    return
        else:
            super().data_received(data)
            cycle = self.cycle
            if cycle is None or cycle.scope is not self.scope:
                self._count_head(len(data))

    @property
    def _is_in_head(self) -> bool:
        """Whether a head is not whole yet; also True before the first byte of a fresh connection."""
        # uvicorn makes a scope when a request begins, and a cycle with this scope once the head is whole.
        return self.cycle is None or self.cycle.scope is not self.scope

    def _count_head(self, size: int) -> None:
        if self._refused:
            return
        if self._head_of is not self.scope:
            self._head_of = self.scope
            self._head_bytes = 0
        self._head_bytes += size
        if len(self.url) > self._limits.target_bytes:
            self._refuse_target()
        elif self._head_bytes > self._limits.head_bytes:
            self._refuse_head()

    def send_400_response(self, msg: str) -> None:
        """As uvicorn's, but so that the client surely receives the reply."""
        if not self._refused:
            self._refuse(400, "bad_request", "This is no valid HTTP request.")

    def _refuse_target(self) -> None:
        self._refuse(414, "address_too_long", f"The address is longer than {self._limits.target_bytes} bytes.")

    def _refuse_head(self) -> None:
        limits = self._limits
        self._refuse(
            431,
            "headers_too_large",
            f"The headers are longer than {limits.head_bytes} bytes, or more than {limits.headers}.",
        )

    # Callbacks of the parser

    def on_headers_complete(self) -> None:
        limits = self._limits
        if self._refused:
            return
        if len(self.url) > limits.target_bytes:
            self._refuse_target()
        elif len(self.headers) > limits.headers:
            self._refuse_head()
        elif len(self.pipeline) >= _MOST_PIPELINED:
            # No refusal can be sent, since the replies to earlier requests are not sent yet.
            self._refused = True
            self.transport.abort()
        else:
            self._body_bytes = 0
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._refuse(413, "body_too_large", "The request body is too large.")
            return
        super().on_body(body)

    # Time

    def resume_writing(self) -> None:
        self._resumed += 1
        super().resume_writing()

    def look(self, now: float) -> None:
        """Close the connection if a time limit has passed; called about once a second."""
        if self._refused:
            return
        self._look_at_reader(now)
        is_in_head = self._is_in_head
        if self._seen[0] is not is_in_head or self._seen[1] is not self.scope:
            self._seen, self._since = (is_in_head, self.scope), now
        elif is_in_head:
            self._look_at_head(now)
        elif self.cycle.more_body:
            self._look_at_body(now)

    def _look_at_head(self, now: float) -> None:
        if now - self._since <= self._limits.head_seconds:
            return
        if self.scope is not None:
            self._refuse(408, "request_timeout", "The request's head did not arrive in time.")
        else:
            self._refused = True
            self.transport.close()

    def _look_at_body(self, now: float) -> None:
        if self.flow.read_paused:
            self._since += _LOOK_SECONDS
        limits = self._limits
        if now - self._since > limits.body_seconds + self._body_bytes / limits.body_bytes_per_second:
            self._refuse(408, "request_timeout", "The request's body did not arrive in time.")

    def _look_at_reader(self, now: float) -> None:
        size = self.transport.get_write_buffer_size()
        if not size:
            self._unread = None
            return
        if self._unread is None:
            self._unread = (now, size, self._resumed)
            return
        since, held, resumed = self._unread
        if resumed != self._resumed or size <= held - _PROGRESS_BYTES:
            self._unread = (now, size, self._resumed)
        elif now - since > self._limits.unread_seconds:
            REFUSED.labels("unread").inc()
            self._refused = True
            self.transport.abort()

    # Refusing

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer in the application's place, and close once the client had a moment to read the answer."""
        self._refused = True
        REFUSED.labels(str(status)).inc()
        cycle = self.cycle
        if self._is_in_head:
            is_answerable = cycle is None or cycle.response_complete
        else:
            is_answerable = not (cycle.response_started or self.pipeline)
        if cycle is not None and not cycle.response_complete:
            # The application's own answer is not wanted any more.
            cycle.disconnected = True
            cycle.message_event.set()
        self.pipeline.clear()
        if not is_answerable or self.transport.is_closing():
            self.transport.abort()
            return
        self.flow.resume_reading()
        self.transport.write(_refusal(status, code, message))
        if self._gate.lingering >= _MOST_LINGERING or not self.transport.can_write_eof():
            self.transport.close()
            return
        # A connection that is closed with unread bytes loses the answer, so only this side is closed yet.
        self.transport.write_eof()
        self._gate.lingering += 1
        self._linger = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)


def _refusal(status: int, code: str, message: str) -> bytes:
    body = orjson.dumps(
        {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": message,
            "code": code,
            "message": message,
        }
    )
    head = STATUS_LINE[status] + b"content-type: application/problem+json\r\ncontent-length: %d\r\n" % len(body)
    more = b"retry-after: 2\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else b""
    return head + more + b"cache-control: no-store\r\nconnection: close\r\n\r\n" + body
