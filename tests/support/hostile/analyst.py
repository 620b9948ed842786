"""The hostile analyst: generated statements, unread endless answers, bombs and forms over ClickHouse's interface."""

from __future__ import annotations

import gzip
import random
import re
import socket
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from importlib import import_module
from itertools import cycle
from typing import Any

import httpx

from tests.support.hostile.scenario import ANALYST_ADDRESS, Scenario, Tally
from tests.support.hostile.statements import Aims, Statements
from tests.support.hostile.strangers import connect, send_until_refused

zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

STATEMENTS_PER_SECOND = 12
ENDLESS_MOST = 20
# Endless answers take the slots that statements need to run at all, so they come in waves, each after time without.
# They compute for as long as they are held, so a weaker attack holds them for less time. A short attack has one wave.
WAVE_EVERY_SECONDS = 120.0
WAVE_SHARE = 0.375
HEAVY_EVERY_SECONDS = 6.0
BOMB_BYTES = 1024 * 1024 * 1024
FORM_BYTES = 150 * 1024 * 1024
MIB = 1024 * 1024
HEAVY = ("zstd bomb", "gzip bomb", "150 MB form", "form of many parts", "150 MB statement", "deep statement")
_ODD_SETTINGS = (
    {"readonly": "0"},
    {"readonly": "2"},
    {"allow_ddl": "1"},
    {"format_schema": "{file}"},
    {"user_files_path": "/"},
    {"role": "default"},
    {"additional_table_filters": "{'posts':'1'}"},
    {"query_id": "../../x"},
    {"session_id": "s"},
    {"profile": "default"},
    {"max_memory_usage": "0", "max_execution_time": "0"},
    {"wait_end_of_query": "1", "max_result_rows": "0"},
    {"database": "system"},
    {"database": "../x"},
    {"param_file_param": "x') FROM file('/etc/passwd"},
    {"format_template_resultset": "/etc/passwd"},
    {"stacktrace": "1"},
    {"http_max_tries": "5"},
    {"send_logs_level": "trace"},
    {"compress": "1"},
    {"decompress": "1"},
    {"default_format": "Native"},
)


class Analyst:
    """Asks until the scenario's time is up.

    Args:
        tally: counts statements and answers.
    """

    def __init__(self, scenario: Scenario, tally: Tally) -> None:
        self._scenario = scenario
        self._tally = tally
        self._lock = threading.Lock()
        self._chance = random.Random(scenario.seed + 3)
        url = httpx.URL(scenario.ready["clickhouse_analyst"])
        self._url = str(url.copy_with(path="/", userinfo=b""))
        self._port = url.port or 80
        self._credentials = (url.username, url.password)
        self._database = url.path.strip("/")
        self._aims = Aims(
            file=f"{scenario.outside}/canary.csv", secrets=f"{scenario.data_dir}/secrets.json",
            folder=scenario.outside, port=scenario.listener_port,
        )  # fmt: skip

    def run(self) -> None:
        """Statements, held connections and heavy bodies side by side."""
        end = time.monotonic() + self._scenario.seconds
        beside = [threading.Thread(target=part, args=(end,)) for part in (self._hold_endless, self._heavy)]
        for thread in beside:
            thread.start()
        self._ask(end)
        for thread in beside:
            thread.join(60)

    def _ask(self, end: float) -> None:
        made = iter(
            Statements(self._scenario.seed, self._aims, self._scenario.table_functions, self._scenario.functions)
        )
        pause = 1 / (STATEMENTS_PER_SECOND * self._scenario.strength)
        with httpx.Client(auth=self._credentials, timeout=15, trust_env=False) as client:
            while (started := time.monotonic()) < end:
                kind, statement = next(made)
                parameters = {"database": self._database}
                if self._chance.random() < 0.15:
                    parameters |= self._chance.choice(_ODD_SETTINGS)
                self._statement(client, kind, statement, parameters)
                time.sleep(max(0.0, started + pause - time.monotonic()))

    def _statement(self, client: httpx.Client, kind: str, statement: str, parameters: dict[str, str]) -> None:
        content = statement.encode("utf-8", "surrogatepass")
        try:
            if self._chance.random() < 0.1:
                with client.stream("GET", self._url, params={**parameters, "query": statement}) as reply:
                    answer = _beginning(reply)
            else:
                with client.stream("POST", self._url, params=parameters, content=content) as reply:
                    answer = _beginning(reply)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._note(kind, type(error).__name__)
            return
        code = reply.headers.get("x-clickhouse-exception-code", "")
        self._note(kind, f"{reply.status_code} {code}".strip())
        with self._lock:
            self._tally.look_into(answer, statement[:300])
            if reply.status_code == 200 and _changes(statement):
                self._tally.breach(f"answered 200: {statement[:300]}")

    def _hold_endless(self, end: float) -> None:
        """Waves of endless answers that nobody reads."""
        held: list[socket.socket] = []
        chance = random.Random(self._scenario.seed + 4)
        began = time.monotonic()
        every_seconds = min(WAVE_EVERY_SECONDS, self._scenario.seconds)
        quiet_seconds = every_seconds * (1 - WAVE_SHARE * min(1.0, self._scenario.strength))
        statements = (
            "SELECT number, repeat('x', 1000) FROM system.numbers",
            "SELECT * FROM numbers(1000000000000) ORDER BY number DESC",
            "SELECT count() FROM numbers(10000000000000) WHERE sipHash64(number) = 1",
            "SELECT groupArray(number) FROM system.numbers",
            "SELECT a.number FROM numbers(1000000) AS a CROSS JOIN numbers(1000000) AS b FORMAT JSON",
            "SELECT randomString(100000) FROM system.numbers FORMAT Native",
        )
        in_turn = cycle(chance.sample(statements, len(statements)))
        while (now := time.monotonic()) < end:
            if (now - began) % every_seconds < quiet_seconds:
                for connection in held:
                    connection.close()
                held.clear()
            elif len(held) < ENDLESS_MOST * self._scenario.strength:
                body = next(in_turn).encode()
                try:
                    connection = connect(self._port, ANALYST_ADDRESS)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    connection.sendall(self._head(f"Content-Length: {len(body)}\r\n") + body)
                    held.append(connection)
                    self._note("endless, unread", "held")
                except OSError as error:
                    self._note("endless, unread", f"no connection: {type(error).__name__}")
            time.sleep(0.2)
        for connection in held:
            connection.close()

    def _heavy(self, end: float) -> None:
        """Bodies that are small on the wire and large in memory, or simply large."""
        attacks = self._heavy_attacks()
        while (started := time.monotonic()) < end:
            what, head, chunks = next(attacks)
            try:
                connection = connect(self._port, ANALYST_ADDRESS, 10)
            except OSError as error:
                self._note(what, f"no connection: {type(error).__name__}")
                continue
            with connection:
                outcome = _send_all(connection, head, chunks)
            self._note(what, outcome)
            time.sleep(max(0.0, started + HEAVY_EVERY_SECONDS / self._scenario.strength - time.monotonic()))

    def _heavy_attacks(self) -> Iterator[tuple[str, bytes, list[bytes]]]:
        bombs = {"zstd": _zstd_bomb(), "gzip": _gzip_bomb()}
        select = b"SELECT '" + b"x" * (FORM_BYTES - 20) + b"'"
        part = b'--b\r\nContent-Disposition: form-data; name="param_a"\r\n\r\n'
        ending = b'\r\n--b\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT 1\r\n--b--\r\n'
        while True:
            for encoding, bomb in bombs.items():
                head = self._head(f"Content-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n")
                yield f"{encoding} bomb", head, [bomb]
            length = len(part) + FORM_BYTES + len(ending)
            head = self._head(f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n")
            yield "150 MB form", head, [part, *[b"x" * MIB] * (FORM_BYTES // MIB), ending]
            many = part * 100_000 + ending
            head = self._head(f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(many)}\r\n")
            yield "form of many parts", head, [many]
            yield "150 MB statement", self._head(f"Content-Length: {len(select)}\r\n"), [select]
            deep = b"SELECT " + b"(" * 200_000 + b"1" + b")" * 200_000
            yield "deep statement", self._head(f"Content-Length: {len(deep)}\r\n"), [deep]

    def _head(self, more: str) -> bytes:
        basic = b64encode(":".join(self._credentials).encode()).decode()
        lines = f"POST /?database={self._database} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {basic}\r\n"
        return (lines + more + "\r\n").encode()

    def _note(self, what: str, answer: object) -> None:
        with self._lock:
            self._tally.note(what, answer)


def _beginning(reply: httpx.Response, most: int = MIB) -> bytes:
    """As much of an answer as is looked at."""
    found = bytearray()
    for chunk in reply.iter_raw():
        found += chunk
        if len(found) > most:
            break
    return bytes(found)


_CHANGE = re.compile(
    r"\s*(?:ALTER|ATTACH|BACKUP|RESTORE|CREATE|DELETE|DETACH|DROP|EXCHANGE|GRANT|INSERT|KILL|MOVE|OPTIMIZE|RENAME|REVOKE|SET"
    r"|SYSTEM|TRUNCATE|UNDROP|UPDATE)\b"
)


def _changes(statement: str) -> bool:
    """Whether a statement, as it stands there without any disguise, is one that does not read."""
    return _CHANGE.match(statement) is not None


def _send_all(connection: socket.socket, head: bytes, chunks: list[bytes]) -> str:
    try:
        connection.sendall(head)
        for chunk in chunks:
            connection.sendall(chunk)
    except OSError:
        pass  # refused on the way; the answer may have been sent before
    return send_until_refused(connection, b"", b"", 0, 1)


def _zstd_bomb() -> bytes:
    compressor = zstd.ZstdCompressor(level=1)
    spaces = b" " * MIB
    return b"".join([*(compressor.compress(spaces) for _ in range(BOMB_BYTES // MIB)), compressor.flush()])


def _gzip_bomb() -> bytes:
    one = gzip.compress(b" " * (64 * MIB), 9)
    return one * 8
