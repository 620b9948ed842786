"""Generated attacks of the analyst, the wall behind the first one, and what its statements may take from others."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.embedded.clickhouse.analyst import TABLE_FUNCTIONS
from tests.integration.infra.test_clickhouse_server import ANALYST_PASSWORD, ROOT, Process
from tests.support.hostile_statements import hostile_statements
from tests.support.properties import some_of

CANARY = "canary-that-nobody-may-read"
# Answers of the harmless statements around a hostile one, of EXPLAIN, which runs nothing, and of DESCRIBE of a call of
# the scalar function `format`, which has the name of a table function.
HARMLESS = re.compile(r"(?s)(1\n)*|a\tUInt8\t*\n|Select\w+ .*|(arrayMap\(lambda\(tuple\(x\), )?format\([^\n]*\n")


def is_right(sql: str, answer: str) -> bool:
    """Whether an answer is one of the harmless ones, or says only what the statement says: its text as a literal."""
    words, said = (re.sub(r"[\W_]+", "", text.replace("\\n", "")) for text in (sql, answer))
    return CANARY not in answer and (HARMLESS.fullmatch(answer) is not None or said in words)


class Outside:
    """A file that nobody may read, a folder that nobody may write to, and a TCP socket that nobody may reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.canary = folder / "canary.txt"
        self.canary.write_text(f"{CANARY}=1\n")
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def fill(self, sql: str) -> str:
        values = {
            "{canary}": str(self.canary),
            "{out}": str(self.folder / "out"),
            "{url}": f"http://127.0.0.1:{self.port}/x",
            "{port}": str(self.port),
        }
        for name, value in values.items():
            sql = sql.replace(name, value)
        return sql

    def untouched(self) -> bool:
        return self.connections == 0 and [path.name for path in self.folder.iterdir()] == [self.canary.name]

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    folder = tmp_path / "outside"
    folder.mkdir()
    made = Outside(folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("clickhouse"))
    try:
        process.wait_until_ready()
        for sql in (
            "CREATE TABLE seen (a UInt8) ENGINE = MergeTree ORDER BY a",
            "INSERT INTO seen SELECT 1",
            "CREATE TABLE _internal (a String) ENGINE = MergeTree ORDER BY a",
            f"INSERT INTO _internal SELECT '{CANARY}'",
            "CREATE TABLE default.hidden_here (a String) ENGINE = MergeTree ORDER BY a",
            f"INSERT INTO default.hidden_here SELECT '{CANARY}'",
        ):
            assert process.post(sql).status_code == 200
        yield process
    finally:
        if process.popen.poll() is None:
            process.end()


def everything(server: Process) -> str:
    """What a hostile statement might have changed."""
    sql = (
        "SELECT database, name, create_table_query FROM system.tables WHERE database IN ('default', 'tidemark')"
        " ORDER BY ALL",
        "SELECT name FROM system.databases ORDER BY name",
        "SELECT name, storage FROM system.users ORDER BY name",
        "SELECT count() FROM system.functions",
        "SELECT * FROM seen",
    )
    return "".join(server.post(text).text for text in sql)


@pytest.mark.parametrize("share", [pytest.param(1, marks=pytest.mark.long), 10])
def test_generated_attacks_read_write_and_reach_nothing(server: Process, outside: Outside, share: int) -> None:
    functions = server.post("SELECT name FROM system.table_functions ORDER BY name").text.split()
    assert len(functions) > 80
    before = everything(server)
    closed = [name for name in functions if name.lower() not in TABLE_FUNCTIONS]
    tried = answered = 0
    found = []
    for made in some_of(hostile_statements(closed), share):
        sql = outside.fill(made)
        reply = server.post(sql.encode(), user="analyst")
        tried += 1
        if reply.status_code == 200:
            answered += 1
            if not is_right(sql, reply.text):
                found.append((sql, reply.text[:200]))
        elif "X-ClickHouse-Exception-Code" not in reply.headers:
            found.append((sql, f"{reply.status_code} {reply.text[:200]}"))
        elif CANARY in reply.text:
            found.append((sql, reply.text[:300]))
    assert not found, found[:10]
    assert tried > 4_000 / share
    assert answered < tried / 4
    assert outside.untouched()
    assert everything(server) == before
    assert server.popen.poll() is None


NESTED = "/* /* */ DESCRIBE seen -- */ "


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE file('{canary}', 'Form')",
        "DESCRIBE url('{url}')",
        "DESCRIBE seen INTO OUTFILE '{out}'",
        "SHOW ACCESS",
        "SELECT * FROM python('x')",
    ],
)
def test_what_stood_behind_a_nested_comment_is_refused(server: Process, outside: Outside, sql: str) -> None:
    reply = server.post(NESTED + outside.fill(sql), user="analyst")
    assert reply.headers.get("X-ClickHouse-Exception-Code") in ("62", "164", "497"), reply.text
    assert outside.untouched()


# The engine in a process confined as the server is, and every hostile statement given to it as it stands, by the
# user who may do everything: nothing judges them.
BEHIND_THE_FIRST_WALL = """
import json, os, sys
from pathlib import Path
from infra.embedded.clickhouse.confinement import confine, needed_to_read
data = Path(sys.argv[1])
os.environ["TMPDIR"] = str(data)
standing = confine(write=[data], read=needed_to_read())
from infra.embedded.clickhouse.engine import Call, Engine
config = data / "config.xml"
config.write_text("<clickhouse><logger><level>none</level></logger></clickhouse>")
engine = Engine(str(data / "engine"), str(config), handles=2)
replies = []
once = {"http_max_tries": "1", "connections_with_failover_max_tries": "1", "connect_timeout_with_failover_ms": "50"}
for sql in json.load(sys.stdin):
    call = Call(sql, "TSV", "default", once, {})
    handle = engine._take(call)
    try:
        content, _ = engine.run(handle, call)
        replies.append(content.decode("utf-8", "replace"))
    except Exception as error:
        replies.append("refused: " + str(error))
    engine.close_handle(handle)
sys.stdout.write(json.dumps([standing, replies]))
sys.stdout.flush()
os._exit(0)
"""


def behind_the_first_wall(data: Path, sql: list[str]) -> tuple[list[str], list[str]]:
    data.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", BEHIND_THE_FIRST_WALL, str(data)],
        cwd=ROOT, input=json.dumps(sql), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    standing, replies = json.loads(done.stdout)
    return standing, replies


DIRECT = (
    "file", "fileCluster", "url", "mysql", "postgresql", "remote", "sqlite", "executable", "filesystem",
    "icebergLocal", "deltaLakeLocal", "paimonLocal", "python", "arrowstream",
)  # fmt: skip


def test_the_process_holds_when_nothing_is_judged(tmp_path: Path, outside: Outside) -> None:
    standing, _ = behind_the_first_wall(tmp_path / "first", ["SELECT 1"])
    if {"landlock", "seccomp"} - set(standing):
        pytest.skip(f"this kernel has only {standing}")
    deeds = [
        "SELECT * FROM {f}('{canary}', 'LineAsString')", "DESCRIBE {f}('{canary}')", "DESCRIBE {f}('{url}')",
        "DESCRIBE {f}('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
        "SELECT * FROM {f}('{url}', 'LineAsString', 'a String')",
        "INSERT INTO FUNCTION {f}('{out}', 'TSV', 'a String') SELECT 'x'",
    ]  # fmt: skip
    # Those of object stores, queues and catalogs try again for minutes; they go the same way to the kernel.
    sql = [deed.replace("{f}", name) for name in DIRECT for deed in deeds]
    sql += [
        "SELECT file('{canary}')", "SELECT 1 INTO OUTFILE '{out}'", "SELECT * FROM remote('127.0.0.1:{port}', 'a.b')",
        "BACKUP DATABASE default TO File('{out}')", "CREATE TABLE f (a String) ENGINE = File(CSV, '{out}')",
        "CREATE DATABASE d ENGINE = Filesystem('/')", "SELECT * FROM file('/etc/passwd', LineAsString)",
        "SELECT * FROM file('/proc/self/environ', LineAsString)", "SELECT * FROM url('http://localhost:{port}/', CSV)",
        f"SELECT * FROM file('{ROOT / 'pyproject.toml'}', LineAsString)",
    ]  # fmt: skip
    _, replies = behind_the_first_wall(tmp_path / "second", [outside.fill(text) for text in sql])
    assert len(replies) == len(sql)
    assert outside.untouched()
    for text, reply in zip(sql, replies, strict=True):
        assert f"{CANARY}=1" not in reply, text
        assert "root:" not in reply, text
        assert "[project]" not in reply, text


@pytest.mark.long
def test_an_analyst_who_reads_nothing_takes_nothing_from_others(server: Process) -> None:
    endless = "SELECT number, toString(number) FROM numbers(1000000000000)"
    request = (
        f"POST /?default_format=CSV HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: analyst\r\n"
        f"X-ClickHouse-Key: {ANALYST_PASSWORD}\r\nContent-Length: {len(endless)}\r\n\r\n{endless}"
    )
    unread = []
    try:
        for _ in range(24):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request.encode())
            unread.append(connection)
        running = (
            "SELECT count() FROM system.processes WHERE query LIKE '%1000000000000%' AND query NOT LIKE '%processes%'"
        )
        deadline = time.monotonic() + 20
        while server.post(running).text != "4\n":
            assert time.monotonic() < deadline, server.post(running).text
        took = []
        for _ in range(100):
            began = time.monotonic()
            assert server.post("SELECT a FROM seen WHERE a = 1").text == "1\n"
            took.append(time.monotonic() - began)
        assert statistics.median(took) < 0.25
        # Those that wait are told so, and those that read nothing are cut off; then an analyst who reads is served.
        deadline = time.monotonic() + 90
        while (reply := server.post("SELECT 1", user="analyst")).status_code != 200:
            assert reply.headers["X-ClickHouse-Exception-Code"] == "202", reply.text
            assert time.monotonic() < deadline
        assert reply.text == "1\n"
    finally:
        for connection in unread:
            connection.close()


def niceness(pid: int) -> list[int]:
    """Of all threads of a process: 19 gives way to everybody."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found.append(int((thread / "stat").read_text().rpartition(")")[2].split()[16]))
    return found


def test_the_analyst_gives_way_to_the_product(server: Process) -> None:
    """One thread a statement, after the product's, and last of all for the kernel where root may tell it so."""
    kept = "SELECT name, value FROM system.settings WHERE name IN ('max_threads', 'priority') ORDER BY name FORMAT CSV"
    assert server.post(kept, user="analyst").text == '"max_threads","1"\n"priority","10"\n'
    assert server.post(kept).text.endswith('"priority","1"\n')
    reply = server.post("SELECT 1 SETTINGS priority = 0", user="analyst")
    assert reply.headers["X-ClickHouse-Exception-Code"] == "164", reply.text
    if os.geteuid() != 0:
        pytest.skip("only root may let a thread give way and come back")
    seen: list[int] = []
    endless = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000) SETTINGS max_execution_time = 5"
    running = threading.Thread(target=lambda: server.post(endless, user="analyst"))
    running.start()
    while running.is_alive() and 19 not in seen:
        seen = niceness(server.popen.pid)
    running.join(30)
    assert 19 in seen
    assert 19 not in niceness(server.popen.pid)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT groupArray(number) FROM numbers(100000000)", "241"),
        ("SELECT sum(number) FROM numbers(1000000000000) SETTINGS max_execution_time = 1", "159"),
    ],
)
def test_a_statement_that_takes_too_much_is_told_so(server: Process, sql: str, code: str) -> None:
    reply = server.post(sql, user="analyst")
    assert reply.headers.get("X-ClickHouse-Exception-Code") == code, reply.text[:300]
    assert httpx.get(f"{server.url}/ping").text == "Ok.\n"


@pytest.mark.long
def test_a_reply_that_grows_too_long_ends_with_its_reason(server: Process) -> None:
    """It is on its way when its end is met: as a server does, it is broken off, with the error behind the last rows."""
    sql, pieces = "SELECT number FROM numbers(30000000) FORMAT JSON", [b""]
    with server.http.stream("POST", server.url, content=sql, auth=("analyst", ANALYST_PASSWORD)) as reply:
        tag = reply.headers["X-ClickHouse-Exception-Tag"]
        with pytest.raises(httpx.RemoteProtocolError):
            pieces.extend(reply.iter_bytes())
    end = b"".join(pieces)[-1000:]
    assert f"__exception__\r\n{tag}\r\nCode: 396. DB::Exception: Limit for result exceeded" in end.decode()
    assert httpx.get(f"{server.url}/ping").text == "Ok.\n"
