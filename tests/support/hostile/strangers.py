"""Callers without a key: half-open connections, slow and huge headers, huge addresses and bodies, until time is up."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable

import httpx

from tests.support.hostile.scenario import STRANGER_ADDRESS, Scenario, Tally

HALF_OPEN_MOST = 300
BIG_PAUSE_SECONDS = 3.0
ROUND_SECONDS = 0.4
CHUNK = b"x" * 65536
# What one attack may send in all, and for how long it tries.
HUGE_BYTES = 200 * 1024 * 1024
HUGE_SECONDS = 5.0


def connect(port: int, source: str, seconds: float = 5) -> socket.socket:
    """A connection to a port of this machine, from a loopback address of its own where there are several."""
    made = socket.socket()
    made.settimeout(seconds)
    try:
        made.bind((source, 0))
    except OSError:
        pass  # a system with one loopback address only
    try:
        made.connect(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    return made


def send_until_refused(connection: socket.socket, head: bytes, chunk: bytes, size: int, seconds: float) -> str:
    """Send a head and then chunks up to a size; what came of it."""
    end = time.monotonic() + seconds
    sent = 0
    try:
        connection.sendall(head)
        while sent < size and time.monotonic() < end:
            connection.sendall(chunk)
            sent += len(chunk)
        connection.settimeout(2)
        answer = connection.recv(200)
    except TimeoutError:
        return f"not read after {sent >> 20} MiB" if sent < size else "no answer"
    except OSError:
        return "cut off"
    return answer.split(b"\r\n")[0].decode("latin-1") or "closed"


class Strangers:
    """Attacks on the ports of the query API and of ClickHouse.

    Args:
        tally: counts attacks and answers.
    """

    def __init__(self, scenario: Scenario, tally: Tally) -> None:
        self._scenario = scenario
        self._tally = tally
        self._chance = random.Random(scenario.seed + 1)
        self._port = httpx.URL(scenario.ready["query_api"]).port or 80
        self._clickhouse = httpx.URL(scenario.ready["clickhouse"]).port or 80
        self._half_open: list[socket.socket] = []
        self._slow: list[socket.socket] = []

    def run(self) -> None:
        """All attacks, one after the other, with the half-open connections held beside."""
        end = time.monotonic() + self._scenario.seconds
        big: list[Callable[[], None]] = [
            self._huge_address, self._huge_header, self._many_headers, self._huge_body, self._huge_body_of_clickhouse,
            self._chunked_without_end, self._huge_name,
        ]  # fmt: skip
        big_at = time.monotonic() + 1
        while time.monotonic() < end:
            self._open_some()
            self._drip()
            self._odd_request()
            if time.monotonic() >= big_at:
                attack = big.pop(0)
                big.append(attack)
                attack()
                big_at = time.monotonic() + BIG_PAUSE_SECONDS / self._scenario.strength
            time.sleep(ROUND_SECONDS)
        for connection in (*self._half_open, *self._slow):
            connection.close()

    def _connect(self, what: str, port: int | None = None) -> socket.socket | None:
        try:
            return connect(port or self._port, STRANGER_ADDRESS)
        except OSError as error:
            self._tally.note(what, f"no connection: {type(error).__name__}")
            return None

    def _open_some(self) -> None:
        """Half-sent requests that are never finished; the newest few hundred are kept."""
        for _ in range(5):
            connection = self._connect("half-open")
            if connection is None:
                return
            started = self._chance.choice((b"", b"GET", b"GET /healthz HTTP/1.1\r\nHost: a\r\n", b"\x16\x03\x01"))
            try:
                connection.sendall(started)
            except OSError:
                connection.close()
                self._tally.note("half-open", "cut off")
                continue
            self._half_open.append(connection)
            self._tally.note("half-open", "open")
        while len(self._half_open) > HALF_OPEN_MOST:
            self._half_open.pop(0).close()

    def _drip(self) -> None:
        """Headers that come a few bytes at a time, and bodies that do."""
        if len(self._slow) < 30:
            connection = self._connect("slow")
            if connection is not None:
                head = b"POST /tidemark/v1/posts/query HTTP/1.1\r\nHost: a\r\n"
                head += self._chance.choice((b"", b"Content-Length: 100000\r\n\r\n"))
                self._slow.append(connection)
                self._drop(connection, head)
        for connection in list(self._slow):
            self._drop(connection, self._chance.choice((b"a", b"x: y\r\n")))

    def _drop(self, connection: socket.socket, content: bytes) -> None:
        try:
            connection.sendall(content)
            self._tally.note("slow", "open")
        except OSError:
            connection.close()
            self._slow.remove(connection)
            self._tally.note("slow", "cut off")

    def _odd_request(self) -> None:
        connection = self._connect("odd request")
        if connection is None:
            return
        lines = (
            b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 100, b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /tidemark/v1/posts/..%2f..%2fetc HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xff\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        )  # fmt: skip
        with connection:
            outcome = send_until_refused(connection, self._chance.choice(lines), b"", 0, 1)
        self._tally.note("odd request", outcome)

    def _big(self, what: str, head: bytes, chunk: bytes = CHUNK, port: int | None = None) -> None:
        connection = self._connect(what, port)
        if connection is not None:
            with connection:
                outcome = send_until_refused(connection, head, chunk, HUGE_BYTES, HUGE_SECONDS)
            self._tally.note(what, outcome)

    def _huge_address(self) -> None:
        self._big("huge address", b"GET /api/v1/posts/")

    def _huge_header(self) -> None:
        self._big("huge header", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: ")

    def _huge_name(self) -> None:
        self._big("huge header name", b"GET /healthz HTTP/1.1\r\nHost: a\r\n")

    def _many_headers(self) -> None:
        self._big("many headers", b"GET /healthz HTTP/1.1\r\nHost: a\r\n", b"X-A: b\r\n" * 8000)

    def _huge_body(self) -> None:
        head = b"POST /tidemark/v1/posts/query HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        self._big("huge body", head + b"Content-Length: %d\r\n\r\n" % HUGE_BYTES)

    def _chunked_without_end(self) -> None:
        path = self._chance.choice((b"/tidemark/v1/posts/query", b"/admin/v1/catalog", b"/healthz"))
        head = b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._big("endless chunks", head, b"10000\r\n" + CHUNK + b"\r\n")

    def _huge_body_of_clickhouse(self) -> None:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % HUGE_BYTES
        self._big("huge body for ClickHouse", head, port=self._clickhouse)
