"""The embedded ClickHouse as its clients meet it: clickhouse-connect, plain HTTP, two users, kills and restarts."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import clickhouse_connect
import httpx
import pyarrow.ipc
import pyarrow.parquet
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from infra.embedded.clickhouse.compression import ENCODINGS, compressor
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "write-and-read"
ANALYST_PASSWORD = "only-look"
BUILDER_PASSWORD = "look-and-build"
PASSWORDS = {"default": PASSWORD, "analyst": ANALYST_PASSWORD, "builder": BUILDER_PASSWORD}
DEADLINE_SECONDS = 30.0


class Process:
    """One server process on a data directory, and clients to it."""

    def __init__(self, path: Path, *arguments: str) -> None:
        self.path = path
        self.http = httpx.Client(timeout=30)
        environment = {
            **os.environ,
            "TIDEMARK_EMBEDDED_CLICKHOUSE_PASSWORD": PASSWORD,
            "TIDEMARK_EMBEDDED_CLICKHOUSE_ANALYST_PASSWORD": ANALYST_PASSWORD,
            "TIDEMARK_EMBEDDED_CLICKHOUSE_BUILDER_PASSWORD": BUILDER_PASSWORD,
        }
        self._start = partial(
            subprocess.Popen[str],
            [sys.executable, "-m", "infra.embedded.clickhouse", "--path", str(path), "--port", "0", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.popen = self._start()

    @classmethod
    @contextmanager
    def running(cls, path: Path, *arguments: str) -> Iterator[Process]:
        """A process that is ready, and is ended with the block."""
        process = cls(path, *arguments)
        try:
            yield process.wait_until_ready()
        finally:
            if process.popen.poll() is None:
                process.end()

    def wait_until_ready(self) -> Process:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert "ready on " in line, f"{self.popen.communicate()[1]}\nended with {self.popen.returncode}"
        self.url = line.split("ready on ")[1].split(",")[0]
        self.port = int(self.url.rsplit(":", 1)[1])
        return self

    def client(self, user: str = "default", password: str = PASSWORD, **options: object) -> Client:
        return clickhouse_connect.get_client(
            host="127.0.0.1",
            port=self.port,
            username=user,
            password=password,
            autogenerate_session_id=False,
            **options,  # type: ignore[arg-type]
        )

    def post(
        self, sql: str | bytes, *, user: str = "default", headers: dict[str, str] | None = None, **params: str
    ) -> httpx.Response:
        auth = (user, PASSWORDS[user])
        return self.http.post(self.url, content=sql, params=params, headers=headers, auth=auth)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.popen.send_signal(number)
        self.popen.communicate(timeout=DEADLINE_SECONDS)
        return self.popen.returncode


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {DEADLINE_SECONDS} s"
        threading.Event().wait(0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("clickhouse")
    with Process.running(folder, "--analyst-database", "report_*", "--analyst-hide", "raw_*") as process:
        yield process


@pytest.fixture(scope="module")
def client(server: Process) -> Iterator[Client]:
    with server.client() as client:
        client.command(
            "CREATE TABLE numbers_table (a UInt64, b LowCardinality(String), c Nullable(Float64)) ENGINE = MergeTree"
            " ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
        )
        rows = 100_000
        summary = client.insert(
            "numbers_table",
            [list(range(rows)), [str(n % 10) for n in range(rows)], [None if n % 2 else 0.5 for n in range(rows)]],
            column_names=["a", "b", "c"],
            column_oriented=True,
        )
        assert summary.written_rows == rows
        yield client


def test_inserted_columns_read_back(client: Client) -> None:
    result = client.query("SELECT count(), sum(a), uniqExact(b), countIf(c IS NULL) FROM numbers_table")
    assert result.result_rows == [(100_000, 4_999_950_000, 10, 50_000)]
    assert int(result.summary["read_rows"]) == 100_000


def test_server_side_parameters(client: Client) -> None:
    parameters = {"a": 7, "names": ["7", "it's", "tab\t, line\n, \\"], "none": None}
    sql = "SELECT a, {names:Array(String)}, {none:Nullable(String)} FROM numbers_table WHERE a = {a:UInt64}"
    assert client.query(sql, parameters=parameters).result_rows == [(7, parameters["names"], None)]


def test_long_parameters_travel_as_a_form(client: Client) -> None:
    wanted = list(range(0, 40_000, 2))
    sql = "SELECT count() FROM numbers_table WHERE a IN {wanted:Array(UInt64)}"
    assert client.query(sql, parameters={"wanted": wanted}).result_rows == [(20_000,)]


def test_a_large_result_streams_in_blocks(client: Client) -> None:
    with client.query_column_block_stream("SELECT number, toString(number) FROM numbers(1000000)") as stream:
        sizes = [len(block[0]) for block in stream]
    assert sum(sizes) == 1_000_000
    assert len(sizes) > 5


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", False])
def test_compressed_both_ways(server: Process, client: Client, encoding: str | bool) -> None:
    table = f"compressed_{encoding}"
    client.command(f"CREATE TABLE {table} (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    with server.client(compress=encoding) as compressing:
        compressing.insert(table, [[1, 2, 3], ["x", "y", "z" * 100_000]], column_names=["a", "b"], column_oriented=True)
        rows = compressing.query(f"SELECT a, length(b) FROM {table} ORDER BY a").result_rows
        assert rows == [(1, 1), (2, 1), (3, 100_000)]
        assert sum(len(b) for b in compressing.query_df("SELECT toString(number) AS s FROM numbers(300000)")["s"]) > 0


@pytest.mark.parametrize(
    ("sql", "code", "status"),
    [
        ("SELECT * FROM nowhere", 60, 404),
        ("SELECT * FROM no_database.t", 81, 404),
        ("SELECT FROM WHERE", 62, 400),
        ("SELECT unknown_function()", 46, 404),
        ("SELECT 1 SETTINGS unknown_setting = 1", 115, 404),
        ("SELECT throwIf(1)", 395, 500),
        ("SELECT 1; SELECT 2", 62, 400),
        ("CREATE USER someone", 514, 500),
    ],
)
def test_errors_as_clickhouse_tells_them(server: Process, client: Client, sql: str, code: int, status: int) -> None:
    reply = server.post(sql)
    assert (reply.status_code, reply.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert reply.text.startswith(f"Code: {code}. DB::Exception: ")
    assert "(version " in reply.text
    with pytest.raises(DatabaseError) as caught:
        client.command(sql)
    assert caught.value.code == code


@pytest.mark.parametrize("compress", [True, False])
def test_an_error_in_mid_stream_reaches_the_client(server: Process, compress: bool) -> None:
    sql = "SELECT throwIf(number = 3000000), number FROM numbers(10000000)"
    seen = 0
    with (  # noqa: PT012
        server.client(compress=compress) as client,
        client.query_column_block_stream(sql) as stream,
        pytest.raises(StreamFailureError) as caught,
    ):
        for block in stream:
            seen += len(block[0])
    assert caught.value.code == 395
    assert seen > 0


_COLUMNS = "number AS id, if(number % 3 = 0, NULL, toString(number)) AS name"


@pytest.mark.parametrize("rows", [0, 1, 300_000])
def test_a_document_of_many_blocks_is_one_document(server: Process, rows: int) -> None:
    def read(fmt: str, wait: str = "0") -> bytes:
        sql = f"SELECT {_COLUMNS} FROM numbers({{rows:UInt64}}) FORMAT {fmt}"
        reply = server.post(sql, param_rows=str(rows), wait_end_of_query=wait)
        assert reply.status_code == 200, reply.text
        assert reply.headers["x-clickhouse-format"] == fmt
        return reply.content

    names = [None if number % 3 == 0 else str(number) for number in range(rows)]
    lines = [f"{number},{chr(92)}N" if name is None else f'{number},"{name}"' for number, name in enumerate(names)]
    assert read("CSVWithNames").decode().splitlines() == ['"id","name"', *lines]
    for table in (
        pyarrow.ipc.open_stream(read("ArrowStream")).read_all(),
        pyarrow.parquet.read_table(io.BytesIO(read("Parquet"))),
        pyarrow.parquet.read_table(io.BytesIO(read("Parquet", wait="1"))),
    ):
        assert table.column("id").to_pylist() == list(range(rows))
        assert table.column("name").to_pylist() == names


def test_a_document_leaves_while_it_is_made(server: Process) -> None:
    endless = "SELECT number, toString(number) FROM numbers(1000000000000) FORMAT CSVWithNames"
    with server.http.stream("POST", server.url, content=endless, auth=("default", PASSWORD)) as reply:
        # Held on to: a dropped iterator closes the connection, and the server then ends the statement.
        pieces = reply.iter_bytes()
        assert next(pieces).startswith(b'"number"')
        wait_for(lambda: "1000000000000" in server.post("SELECT query FROM system.processes").text, "its start")
    wait_for(lambda: "1000000000000" not in server.post("SELECT query FROM system.processes").text, "its end")


@pytest.mark.parametrize("fmt", ["CSVWithNames", "ArrowStream", "Parquet"])
def test_a_document_that_fails_is_no_whole_reply(server: Process, fmt: str) -> None:
    early = server.post(f"SELECT throwIf(number = 1) FROM numbers(3) FORMAT {fmt}")
    assert (early.status_code, early.headers["x-clickhouse-exception-code"]) == (500, "395")
    late = f"SELECT toString(cityHash64(number)), throwIf(number = 2000000) FROM numbers(3000000) FORMAT {fmt}"
    with server.http.stream("POST", server.url, content=late, auth=("default", PASSWORD)) as reply:
        assert reply.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            reply.read()


def test_unknown_settings_and_settings_for_one_statement(server: Process, client: Client) -> None:
    assert server.post("SELECT 1", no_such_setting="1").headers["X-ClickHouse-Exception-Code"] == "115"
    assert server.post("SELECT getSetting('max_threads')", max_threads="1").text == "1\n"
    assert server.post("SET max_threads = 1").status_code == 200
    assert client.query("SELECT getSetting('max_block_size')", settings={"max_block_size": 4321}).result_rows == [
        (4321,)
    ]
    for _ in range(20):
        assert server.post("SELECT getSetting('max_block_size') = 4321").text == "0\n"
        assert server.post("SELECT getSetting('max_threads') = 1").text == "0\n"


def test_readonly_requests_do_not_write(server: Process, client: Client) -> None:
    assert server.post("INSERT INTO numbers_table (a) VALUES (1)", readonly="1").status_code == 500
    got = httpx.get(server.url, params={"query": "DROP TABLE numbers_table"}, auth=("default", PASSWORD))
    assert got.headers["X-ClickHouse-Exception-Code"] == "164"
    assert server.post("SELECT 1").text == "1\n"


def test_the_same_token_inserts_once(client: Client) -> None:
    client.command(
        "CREATE TABLE once (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
    )
    for token in ("first", "first", "second"):
        client.insert("once", [[1, 2]], ["a"], column_oriented=True, settings={"insert_deduplication_token": token})
    assert client.query("SELECT count() FROM once").result_rows == [(4,)]


def test_one_client_for_many_threads(client: Client) -> None:
    client.command("CREATE TABLE together (a UInt64) ENGINE = MergeTree ORDER BY a")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(10):
                client.insert("together", [[number * 100 + step]], ["a"], column_oriented=True)
                rows = client.query(
                    "SELECT {n:UInt64}", parameters={"n": number}, settings={"max_threads": 1 + step % 2}
                )
                assert rows.result_rows == [(number,)]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert client.query("SELECT uniqExact(a) FROM together").result_rows == [(80,)]


@pytest.mark.parametrize("encoding", ["", *ENCODINGS])
@pytest.mark.parametrize("where", ["query", "body"])
def test_raw_inserts(server: Process, client: Client, encoding: str, where: str) -> None:
    table = f"raw_insert_{encoding}_{where}"
    client.command(f"CREATE TABLE {table} (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    sql = f"INSERT INTO {table} FORMAT JSONEachRow"
    data = b"".join(b'{"a": %d, "b": "x"}\n' % n for n in range(1000))
    content = data if where == "query" else sql.encode() + b"\n" + data
    headers = {}
    if encoding:
        encoder = compressor(encoding)
        content = encoder.feed(content) + encoder.finish()
        headers["Content-Encoding"] = encoding
    params = {"query": sql} if where == "query" else {}
    reply = server.post(content, headers=headers, **params)
    assert (reply.status_code, reply.text) == (200, "")
    assert '"written_rows":"1000"' in reply.headers["X-ClickHouse-Summary"]
    assert server.post(f"SELECT count(), max(a) FROM {table}").text == "1000\t999\n"


def test_inserts_of_every_shape(server: Process, client: Client) -> None:
    client.command("CREATE TABLE shapes (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    assert server.post("INSERT INTO shapes VALUES (1, 'a;b'), (1 + 1, upper('c'))").status_code == 200
    assert (
        server.post("INSERT INTO shapes VALUES ({a:UInt64}, {b:String})", param_a="3", param_b="d").status_code == 200
    )
    assert server.post("INSERT INTO shapes FORMAT CSV\n4,e\n").status_code == 200
    assert server.post("INSERT INTO shapes SELECT 5, 'f'").status_code == 200
    assert server.post("INSERT INTO shapes (a) SETTINGS async_insert = 1 FORMAT TSV\n6\n").status_code == 200
    client.raw_insert("shapes", ["a", "b"], b"\x07\0\0\0\0\0\0\0\x01g", fmt="RowBinary")
    rows = client.query("SELECT a, b FROM shapes ORDER BY a").result_rows
    assert rows == [(1, "a;b"), (2, "C"), (3, "d"), (4, "e"), (5, "f"), (6, ""), (7, "g")]


def test_a_broken_insert_leaves_nothing(server: Process, client: Client) -> None:
    client.command("CREATE TABLE unbroken (a UInt64) ENGINE = MergeTree ORDER BY a")
    assert server.post("INSERT INTO unbroken FORMAT CSV\n1\n2\nthree\n").status_code == 400
    cut = server.post(gzip.compress(b"INSERT INTO unbroken FORMAT CSV\n1\n")[:-4], headers={"Content-Encoding": "gzip"})
    assert cut.headers["X-ClickHouse-Exception-Code"] == "271"
    assert server.post("SELECT count() FROM unbroken").text == "0\n"


def test_plain_http(server: Process) -> None:
    assert httpx.get(server.url + "/ping").text == "Ok.\n"
    assert httpx.head(server.url + "/ping").status_code == 200
    assert httpx.get(server.url + "/replicas_status").text == "Ok.\n"
    assert httpx.get(server.url + "/nothing").status_code == 404
    reply = httpx.get(
        server.url, params={"query": "SELECT 1 AS x", "default_format": "JSON"}, auth=("default", PASSWORD)
    )
    assert reply.json()["data"] == [{"x": 1}]
    assert reply.headers["X-ClickHouse-Format"] == "JSON"
    assert reply.headers["Content-Type"].startswith("application/json")
    assert reply.headers["X-ClickHouse-Timezone"]
    reply = server.post("SELECT 1", query_id="mine", headers={"X-ClickHouse-Format": "CSVWithNames"})
    assert (reply.text, reply.headers["X-ClickHouse-Query-Id"]) == ('"1"\n1\n', "mine")
    assert server.post("", query="SELECT currentDatabase()").text == "tidemark\n"
    assert server.post("SELECT currentDatabase()", database="system").text == "system\n"
    assert server.post("SELECT 1", database="no_such_database").headers["X-ClickHouse-Exception-Code"] == "81"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_replies_are_compressed_when_asked(server: Process, encoding: str) -> None:
    sql = "SELECT repeat('x', 1000) FROM numbers(100)"
    headers = {"Accept-Encoding": encoding}
    for wait in ("0", "1"):
        reply = server.post(sql, headers=headers, enable_http_compression="1", wait_end_of_query=wait)
        assert reply.headers["Content-Encoding"] == encoding
        assert int(reply.headers["Content-Length"]) < 50_000
    assert "Content-Encoding" not in server.post(sql, headers=headers).headers


def test_a_waited_for_result_has_its_status_and_length(server: Process) -> None:
    failed = server.post("SELECT throwIf(number = 3000000), number FROM numbers(10000000)", wait_end_of_query="1")
    assert failed.status_code == 500
    whole = server.post("SELECT number FROM numbers(3000000) FORMAT RowBinary", wait_end_of_query="1")
    assert int(whole.headers["Content-Length"]) == len(whole.content) == 24_000_000


def test_a_client_that_leaves_cancels_its_query(server: Process) -> None:
    running = (
        "SELECT count() FROM system.processes WHERE query LIKE '%a_query_to_leave%' AND query NOT LIKE '%processes%'"
    )

    def leave() -> None:
        sql = "SELECT count() AS a_query_to_leave FROM numbers(1000000000000) WHERE sipHash64(number) = 1"
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.url, content=sql, auth=("default", PASSWORD), timeout=1)

    thread = threading.Thread(target=leave)
    thread.start()
    wait_for(lambda: server.post(running).text == "1\n", "the query's start")
    thread.join()
    wait_for(lambda: server.post(running).text == "0\n", "the query's end")


def test_kill_query_by_the_clients_id(server: Process) -> None:
    replies: list[httpx.Response] = []

    def run() -> None:
        sql = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 2"
        replies.append(server.post(sql, query_id="to-be-killed"))

    thread = threading.Thread(target=run)
    thread.start()
    kill = "KILL QUERY WHERE query_id = 'to-be-killed' ASYNC"
    wait_for(lambda: bool(server.post(kill).text) or not thread.is_alive(), "the kill")
    thread.join(DEADLINE_SECONDS)
    assert replies[0].headers["X-ClickHouse-Exception-Code"] == "394"


def test_authentication(server: Process) -> None:
    refused = httpx.post(server.url, content="SELECT 1", auth=("default", "wrong"))
    assert (refused.status_code, refused.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert refused.headers["WWW-Authenticate"].startswith("Basic")
    assert httpx.post(server.url, content="SELECT 1").status_code == 403
    given = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": PASSWORD}
    assert httpx.post(server.url, content="SELECT 1", headers=given).text == "1\n"
    params = {"user": "analyst", "password": ANALYST_PASSWORD, "query": "SELECT 1"}
    assert httpx.get(server.url, params=params).text == "1\n"


def test_the_analyst_reads(server: Process, client: Client) -> None:
    client.command("CREATE DATABASE IF NOT EXISTS report_1")
    client.command("CREATE OR REPLACE TABLE report_1.t (a UInt8) ENGINE = Memory")
    client.command("CREATE OR REPLACE TABLE _internal (a UInt8) ENGINE = Memory")
    client.command("CREATE OR REPLACE VIEW over_internal AS SELECT * FROM _internal")
    with server.client("analyst", ANALYST_PASSWORD) as analyst:
        assert analyst.query("SELECT count() FROM numbers_table").result_rows == [(100_000,)]
        sql = "WITH x AS (SELECT a FROM tidemark.numbers_table LIMIT {n:UInt8}) SELECT count() FROM x"
        assert analyst.query(sql, parameters={"n": 3}).result_rows == [(3,)]
        assert len(analyst.query_df("SELECT * FROM numbers_table LIMIT 10")) == 10
    for sql in (
        "SHOW TABLES",
        "SHOW DATABASES",
        "DESCRIBE TABLE numbers_table",
        "SHOW CREATE TABLE numbers_table",
        "EXISTS numbers_table",
        "EXPLAIN indexes = 1 SELECT * FROM numbers_table",
        "SELECT * FROM report_1.t",
        "SELECT * FROM over_internal",
        "SELECT name FROM system.columns WHERE table = 'numbers_table'",
        "SELECT sum(number) FROM numbers(10)",
        "SELECT a, row_number() OVER (PARTITION BY b ORDER BY a) FROM numbers_table LIMIT 2 FORMAT JSON",
    ):
        reply = server.post(sql, user="analyst")
        assert reply.status_code == 200, (sql, reply.text)
    assert (
        server.post("SELECT 1", user="analyst", max_threads="1", output_format_json_quote_64bit_integers="1").text
        == "1\n"
    )


ATTACKS = [
    "SELECT 1 INTO OUTFILE '{out}'",
    "SELECT 1 INTO OUTFILE '{out}' TRUNCATE FORMAT TSV",
    "EXPLAIN SELECT 1 INTO OUTFILE '{out}'",
    "SHOW TABLES INTO OUTFILE '{out}'",
    "DESCRIBE numbers_table INTO OUTFILE '{out}'",
    "INSERT INTO FUNCTION file('{out}', 'TSV') SELECT 1",
    "INSERT INTO numbers_table (a) VALUES (1)",
    'INSERT INTO numbers_table FORMAT JSONEachRow {{"a": 1}}',
    "CREATE TABLE made (a UInt8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE made (a UInt8)",
    "CREATE VIEW made AS SELECT 1",
    "CREATE FUNCTION made AS x -> x",
    "DROP TABLE numbers_table",
    "TRUNCATE TABLE numbers_table",
    "ALTER TABLE numbers_table DELETE WHERE 1",
    "DELETE FROM numbers_table WHERE 1",
    "OPTIMIZE TABLE numbers_table",
    "RENAME TABLE numbers_table TO other",
    "SYSTEM STOP MERGES",
    "SYSTEM SHUTDOWN",
    "KILL QUERY WHERE 1",
    "BACKUP TABLE numbers_table TO File('{out}')",
    "GRANT ALL ON *.* TO analyst",
    "EXECUTE AS default SELECT 1",
    "SET readonly = 0",
    "USE default",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT * FROM (SELECT 1 SETTINGS readonly = 0)",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    "SELECT 1; DROP TABLE numbers_table",
    "SELECT * FROM file('/etc/passwd', LineAsString)",
    "SELECT * FROM FiLe('/etc/passwd', LineAsString)",
    "SELECT * FROM `file`('/etc/passwd', LineAsString)",
    "SELECT * /* ' */ FROM file/**/('/etc/passwd', LineAsString)",
    "FROM file('/etc/passwd', LineAsString) SELECT *",
    "DESCRIBE file('/etc/passwd')",
    "DESCRIBE (SELECT * FROM file('/etc/passwd', LineAsString))",
    "EXPLAIN SELECT * FROM file('/etc/passwd', LineAsString)",
    "SELECT * FROM view(SELECT * FROM file('/etc/passwd', LineAsString))",
    "WITH x AS (SELECT * FROM file('/etc/passwd', LineAsString)) SELECT * FROM x",
    "SELECT (SELECT * FROM file('/etc/passwd', LineAsString) LIMIT 1)",
    "SELECT file('/etc/passwd')",
    "SELECT arrayMap(file, ['/etc/passwd'])",
    "SELECT arrayMap(x -> file(x), ['/etc/passwd'])",
    "SELECT * APPLY(file) FROM values('a String', '/etc/passwd')",
    "WITH file AS f SELECT arrayMap(f, ['/etc/passwd'])",
    "SELECT * FROM url('{url}/ping', LineAsString)",
    "SELECT * FROM s3('{url}/a/b', 'TSV', 'a String')",
    "SELECT * FROM remote('127.0.0.1', 'default.hidden_here')",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM sqlite('{out}', 't')",
    "SELECT * FROM executable('x', 'TSV', 'a String')",
    "SELECT * FROM python('x')",
    "SELECT * FROM merge('default', '.*')",
    "SELECT * FROM loop(default, hidden_here)",
    "SELECT * FROM filesystem('/etc')",
    "SELECT * FROM dictionary('x')",
    "SELECT * FROM mergeTreeIndex('default', 'hidden_here')",
    "EXPLAIN TABLE OVERRIDE mysql('127.0.0.1:1', 'a', 'b', 'c', 'd') COLUMNS (x Int8)",
    "SELECT aiGenerate('x')",
    "SELECT dictGet('d', 'a', 1)",
    "SELECT joinGet('default.j', 'a', 1)",
    "SELECT * FROM default.hidden_here",
    "SELECT * FROM `default` . `hidden_here`",
    "SELECT * FROM {{d:Identifier}}.hidden_here",
    "SELECT 1 IN default.hidden_here",
    "SELECT * FROM numbers_table JOIN default.hidden_here USING a",
    "SELECT EXISTS(SELECT 1 FROM default.hidden_here)",
    "DESCRIBE default.hidden_here",
    "SHOW CREATE TABLE default.hidden_here",
    "SELECT * FROM _internal",
    "SELECT * FROM tidemark._internal",
    "SELECT 1 IN _internal",
    "WITH _internal AS y SELECT 1 IN y",
    "WITH _internal AS (SELECT 1) SELECT * FROM _internal",
    "SELECT * FROM raw_secrets",
    "SELECT * FROM system.processes",
    "SELECT * FROM system.users",
    "SELECT * FROM system.server_settings",
    "SHOW CREATE USER default",
    "SHOW GRANTS",
    "SHOW PROCESSLIST",
]


def test_the_analyst_does_nothing_else(server: Process, client: Client, tmp_path: Path) -> None:
    client.command("CREATE OR REPLACE TABLE default.hidden_here (a UInt8) ENGINE = Memory")
    client.command("CREATE OR REPLACE TABLE _internal (a UInt8) ENGINE = Memory")
    client.command("CREATE OR REPLACE TABLE raw_secrets (a UInt8) ENGINE = Memory")
    allowed = []
    out = tmp_path / "out"
    for attack in ATTACKS:
        sql = attack.format(out=out, url=server.url)
        reply = server.post(sql, user="analyst", param_d="default")
        if reply.headers.get("X-ClickHouse-Exception-Code") not in ("164", "497", "62"):
            allowed.append((sql, reply.status_code, reply.text[:200]))
    assert not allowed
    assert not out.exists()
    for reply in (
        server.post("SELECT 1", user="analyst", readonly="0"),
        server.post("SELECT 1", user="analyst", readonly="2"),
        server.post("SELECT 1", user="analyst", allow_ddl="0"),
        server.post("SELECT 1", user="analyst", format_schema="/etc/passwd"),
        server.post("SELECT 1", user="analyst", dialect="prql"),
        server.post("SELECT 1", user="analyst", profile="default"),
    ):
        assert reply.headers["X-ClickHouse-Exception-Code"] == "164", reply.url
    for database in ("default", "no_such_database"):
        reply = server.post("SELECT * FROM hidden_here", user="analyst", database=database)
        assert reply.headers["X-ClickHouse-Exception-Code"] in ("60", "497")


def test_what_was_confirmed_survives_a_kill_and_sigterm_exits_promptly(tmp_path: Path) -> None:
    process = Process(tmp_path / "data").wait_until_ready()
    try:
        with process.client() as client:
            client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
            for number in range(20):
                client.insert("t", [list(range(number * 1000, number * 1000 + 1000))], ["a"], column_oriented=True)
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
        process = Process(tmp_path / "data").wait_until_ready()
        assert process.post("SELECT count(), uniqExact(a) FROM t").text == "20000\t20000\n"
        # Merges are running while it stops.
        assert process.post("INSERT INTO t SELECT number FROM numbers(3000000)").status_code == 200
        assert process.post("SYSTEM START MERGES").status_code == 200
        began = time.monotonic()
        assert process.end() == 0
        assert time.monotonic() - began < 10 * PATIENCE
        process = Process(tmp_path / "data").wait_until_ready()
        assert process.post("SELECT count() FROM t").text == "3020000\n"
    finally:
        if process.popen.poll() is None:
            process.end(signal.SIGKILL)


def test_a_statement_that_runs_may_finish_before_the_exit(tmp_path: Path) -> None:
    process = Process(tmp_path / "data").wait_until_ready()
    replies: list[httpx.Response] = []
    sql = "SELECT sum(sleepEachRow(0.5)) AS slow FROM numbers(3) SETTINGS max_block_size = 1"
    thread = threading.Thread(target=lambda: replies.append(process.post(sql)))
    thread.start()
    running = "SELECT count() FROM system.processes WHERE query LIKE '%slow%' AND query NOT LIKE '%processes%'"
    wait_for(lambda: process.post(running).text == "1\n", "the statement's start")
    assert process.end() == 0
    thread.join()
    assert replies[0].text == "0\n"


def test_what_keeps_it_from_starting(server: Process, tmp_path: Path) -> None:
    taken_port = Process(tmp_path / "other", "--port", str(server.port))
    taken_path = Process(server.path)
    blocker = tmp_path / "file"
    blocker.write_text("")
    unwritable = Process(blocker / "data")
    for process, words in ((taken_port, "--port"), (taken_path, "--path"), (unwritable, "--path")):
        _, errors = process.popen.communicate(timeout=DEADLINE_SECONDS)
        assert process.popen.returncode == 2
        assert words in errors
        assert len(errors.splitlines()) == 1
