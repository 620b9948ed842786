"""The embedded ClickHouse's users beside each other: nobody gets another's rows, and the product's statements go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.integration.infra.test_clickhouse_server import PASSWORDS, Process, wait_for

MIB = 1024 * 1024
FAILING = "SELECT number, throwIf(number = 300000) FROM numbers(1000000)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process.running(tmp_path_factory.mktemp("neighbours")) as process:
        yield process


class Memory:
    """The greatest resident memory of a process, looked at as long as the context lasts."""

    def __init__(self, process: Process) -> None:
        self._process = psutil.Process(process.popen.pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.before = self.now
        self.most = self.before

    @property
    def now(self) -> int:
        return int(self._process.memory_info().rss)

    def _look(self) -> None:
        while not self._stop.wait(0.01):
            self.most = max(self.most, self.now)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Inserts:
    """Small inserts of the product, one after the other, as long as the context lasts."""

    def __init__(self, server: Process) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._insert)
        self.confirmed = 0
        self.failed: list[str] = []
        server.post("CREATE TABLE IF NOT EXISTS beside (n UInt64) ENGINE = MergeTree ORDER BY n").raise_for_status()

    def _insert(self) -> None:
        with httpx.Client(auth=("default", PASSWORDS["default"]), timeout=30) as http:
            while not self._stop.wait(0.02):
                reply = http.post(self._server.url, params={"query": "INSERT INTO beside FORMAT TSV"}, content="1\n")
                if reply.is_success:
                    self.confirmed += 1
                else:
                    self.failed.append(reply.text)

    def __enter__(self) -> Inserts:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("fmt", ["JSON", "JSONCompact", "TabSeparated", "CSV", "Pretty", "Parquet"])
@pytest.mark.parametrize("user", ["default", "analyst"])
def test_the_rows_of_a_failed_statement_are_in_no_later_reply(server: Process, user: str, fmt: str) -> None:
    later = {
        "SELECT 'next'": "next\n",
        "SHOW DATABASES LIKE 'tidemark'": "tidemark\n",
        "EXISTS system.one": "1\n",
        "SELECT 'again' FORMAT JSONCompactEachRow": '["again"]\n',
        "EXPLAIN AST SELECT 1": "SelectWithUnionQuery (children 1)\n ExpressionList (children 1)\n  SelectQuery"
        " (children 1)\n   ExpressionList (children 1)\n    Literal UInt64_1\n",
    }
    for statement, expected in later.items():
        failed = server.post(f"{FAILING} FORMAT {fmt}", user=user, wait_end_of_query="1")
        assert (failed.status_code, failed.headers["x-clickhouse-exception-code"]) == (500, "395")
        assert server.post(statement, user=user).text == expected


def test_a_session_goes_on_after_a_failed_statement(server: Process) -> None:
    server.post("CREATE TEMPORARY TABLE kept AS SELECT 7 AS n", session_id="failing").raise_for_status()
    assert server.post(f"{FAILING} FORMAT JSON", session_id="failing").status_code == 500
    assert server.post("SELECT n FROM kept", session_id="failing").text == "7\n"
    server.post("SELECT 1", session_id="failing", close_session="1").raise_for_status()


def test_failed_statements_in_a_row_keep_no_memory(server: Process) -> None:
    sql = "SELECT number, repeat('x', 200), throwIf(number = 300000) FROM numbers(1000000) FORMAT JSON"
    server.post(sql)
    with Memory(server) as memory:
        for _ in range(12):
            assert server.post(sql).status_code == 500
    # Each makes 80 MB of text before it fails.
    assert memory.most - memory.before < 400 * MIB


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a.number FROM numbers(1000000) AS a CROSS JOIN numbers(1000000) AS b FORMAT JSON",
        # 8 MB of columns in a block, and six times as much text.
        "SELECT concat(repeat('\\0', 1000), toString(number)) FROM system.numbers FORMAT JSONEachRow",
        # 16 names of one column of 8 MB.
        "SELECT " + ", ".join(f"s AS s{n}" for n in range(16)) + " FROM (SELECT"
        " concat(repeat('x', 1000), toString(number)) AS s FROM system.numbers)",
        "SELECT number, repeat('x', 1000) FROM system.numbers SETTINGS max_block_size = 1000000",
        "SELECT number, repeat('x', 1000) FROM system.numbers FORMAT Native",
    ],
)
def test_the_text_of_a_guests_rows_is_never_held(server: Process, sql: str) -> None:
    """All slots hold a reply whose text has no end; the product's inserts go on, and memory stays near the columns'."""

    def look(_: int) -> int:
        """Read the first megabytes slowly, as a reader does that is about to leave."""
        with (
            httpx.Client(auth=("analyst", PASSWORDS["analyst"]), timeout=60) as http,
            http.stream("POST", server.url, content=sql, params={"client_protocol_version": "54460"}) as reply,
        ):
            seen = 0
            for chunk in reply.iter_raw():
                seen += len(chunk)
                if seen > 3 * MIB:
                    break
            return reply.status_code

    with Memory(server) as memory, Inserts(server) as inserts, ThreadPoolExecutor(8) as readers:
        assert list(readers.map(look, range(8))) == [200] * 8
        wait_for(lambda: inserts.confirmed > 0, "an insert")
    assert not inserts.failed
    assert memory.most - memory.before < 400 * MIB


def test_a_guests_reply_has_an_end(server: Process) -> None:
    """The text may be far larger than the columns, which the engine's own limits count."""
    sql = "SELECT repeat('\\0', 1000) FROM numbers(80000) FORMAT JSONEachRow"
    reply = server.post(sql, user="analyst", wait_end_of_query="1")
    assert (reply.status_code, reply.headers["x-clickhouse-exception-code"]) == (500, "396"), reply.text
    assert "wait_end_of_query" in reply.text
    assert server.post(sql, wait_end_of_query="1").is_success


def test_guests_never_have_all_memory(server: Process) -> None:
    """Whatever the guests' statements hold at once, the product's statements have memory left."""
    taking = "SELECT groupArray(number), sleepEachRow(0) FROM numbers(20000000)"
    started = time.monotonic()
    with Inserts(server) as inserts, ThreadPoolExecutor(6) as guests:
        asked = [
            guests.submit(server.post, taking.replace(", sleepEachRow(0)", ""), user=user)
            for user in ("analyst",) * 4 + ("builder",) * 2
        ]
        for each in asked:
            assert "memory limit exceeded: would use" not in each.result().text or "Query" in each.result().text
        wait_for(lambda: inserts.confirmed > 5, "inserts")
    assert not inserts.failed
    assert time.monotonic() - started < 60
