"""No statement is answered 200 unless the engine confirmed it: every way to insert, every way to fail."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from infra.embedded.clickhouse.compression import compressor
from tests.integration.infra.test_clickhouse_server import PASSWORD, Process, wait_for

# Each is written by the engine itself and inserted again, so that a format is one line here.
FORMATS = (
    "Native", "RowBinary", "RowBinaryWithNamesAndTypes", "CSV", "CSVWithNames", "TabSeparated", "TSVWithNames",
    "JSONEachRow", "JSONCompactEachRow", "JSON", "JSONColumns", "Values", "Parquet", "Arrow", "ArrowStream", "ORC",
    "Avro", "MsgPack", "CustomSeparated", "TSKV",
)  # fmt: skip
VIOLATED = "469"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process.running(tmp_path_factory.mktemp("clickhouse")) as process:
        yield process


Send = Callable[[Process, str, list[int]], httpx.Response]


def rows_as(server: Process, values: list[int], fmt: str) -> bytes:
    reply = server.post(f"SELECT arrayJoin({values}::Array(UInt64)) AS a, 'x' AS b FORMAT {fmt}")
    assert reply.status_code == 200, reply.text
    return reply.content


def in_body(fmt: str) -> Send:
    return lambda server, table, values: server.post(
        f"INSERT INTO {table} (a, b) FORMAT {fmt}\n".encode() + rows_as(server, values, fmt)
    )


def in_address(fmt: str, setting: str = "max_threads", value: str = "2") -> Send:
    return lambda server, table, values: server.http.post(
        server.url,
        content=rows_as(server, values, fmt),
        params={"query": f"INSERT INTO {table} (a, b) FORMAT {fmt}", setting: value},
        auth=("default", PASSWORD),
    )


def compressed(encoding: str) -> Send:
    def send(server: Process, table: str, values: list[int]) -> httpx.Response:
        encoder = compressor(encoding)
        content = encoder.feed(rows_as(server, values, "Native")) + encoder.finish()
        query = f"INSERT INTO {table} (a, b) FORMAT Native"
        return server.post(content, headers={"Content-Encoding": encoding}, query=query)

    return send


def values_of(values: list[int]) -> str:
    return ", ".join(f"({value}, 'x')" for value in values)


def as_form(server: Process, table: str, values: list[int]) -> httpx.Response:
    query = f"INSERT INTO {table} (a, b) VALUES {values_of(values)}"
    return server.http.post(server.url, files={"query": (None, query)}, auth=("default", PASSWORD))


def with_parameters(server: Process, table: str, values: list[int]) -> httpx.Response:
    rows = ", ".join(f"({{p{n}:UInt64}}, {{b:String}})" for n in range(len(values)))
    parameters = {"param_t": table, "param_b": "x", **{f"param_p{n}": str(value) for n, value in enumerate(values)}}
    query = f"INSERT INTO {{t:Identifier}} (a, b) VALUES {rows}"
    return server.http.post(server.url, content=query, params=parameters, auth=("default", PASSWORD))


WAYS: dict[str, Send] = {
    **{f"body {fmt}": in_body(fmt) for fmt in FORMATS},
    **{f"address {fmt}": in_address(fmt) for fmt in ("Native", "RowBinary", "JSONEachRow", "Values")},
    "one thread": in_address("CSV", "input_format_parallel_parsing", "0"),
    "async": in_address("Native", "async_insert", "1"),
    "async, unwaited": lambda server, table, values: server.post(
        f"INSERT INTO {table} (a, b) SETTINGS async_insert = 1, wait_for_async_insert = 0 FORMAT JSONEachRow\n".encode()
        + rows_as(server, values, "JSONEachRow")
    ),
    "gzip": compressed("gzip"),
    "zstd": compressed("zstd"),
    "lz4": compressed("lz4"),
    "values": lambda server, table, values: server.post(f"INSERT INTO {table} (a, b) VALUES {values_of(values)}"),
    "values in address": lambda server, table, values: server.post(
        "", query=f"INSERT INTO {table} (a, b) VALUES {values_of(values)}"
    ),
    "values on lines": lambda server, table, values: server.post(
        f"-- it's a comment\nINSERT INTO {table} (a, b) -- VALUES (1)\nVALUES\n"
        + ",\n".join(f"({value} + 0, lower('X'))" for value in values)
        + "\n;\n"
    ),
    "values, settings": lambda server, table, values: server.post(
        f"INSERT INTO {table} (a, b) SETTINGS max_threads = 1 VALUES {values_of(values)}"
    ),
    "values, parameters": with_parameters,
    "format, parameters": lambda server, table, values: server.post(
        b"INSERT INTO {t:Identifier} (a, b) FORMAT Native\n" + rows_as(server, values, "Native"), param_t=table
    ),
    "values as a form": as_form,
    "select": lambda server, table, values: server.post(
        f"INSERT INTO {table} (a, b) SELECT arrayJoin({values}::Array(UInt64)), 'x'"
    ),
    "select in brackets": lambda server, table, values: server.post(
        f"INSERT INTO {table} (a, b) (SELECT arrayJoin({values}::Array(UInt64)), 'x')"
    ),
    "with": lambda server, table, values: server.post(
        f"INSERT INTO {table} (a, b) WITH {values}::Array(UInt64) AS v SELECT arrayJoin(v), 'x'"
    ),
    "long select": lambda server, table, values: server.post(
        f"INSERT INTO {table} (a, b) SELECT * FROM ("
        + " UNION ALL ".join(f"SELECT {value}, '{'x' * 40_000}'" for value in values)
        + ")"
    ),
    "input": lambda server, table, values: server.post(
        f"INSERT INTO {table} (a, b) SELECT a, b FROM input('a UInt64, b String') FORMAT CSV\n".encode()
        + rows_as(server, values, "CSV")
    ),
    "column named select": lambda server, table, values: server.post(
        f'INSERT INTO {table} ("a", b) FORMAT CSV\n'.encode() + rows_as(server, values, "CSV")
    ),
}


def count(server: Process, table: str) -> int:
    return int(server.post(f"SELECT count() FROM {table}").text)


@pytest.fixture(scope="module")
def guarded(server: Process) -> str:
    """A table that takes numbers below 100."""
    reply = server.post(
        "CREATE TABLE guarded (a UInt64, b String, CONSTRAINT small CHECK a < 100) ENGINE = MergeTree ORDER BY a"
    )
    assert reply.status_code == 200
    return "guarded"


@pytest.mark.parametrize("way", WAYS)
def test_a_violated_constraint_is_said(server: Process, guarded: str, way: str) -> None:
    before = count(server, guarded)
    refused = WAYS[way](server, guarded, [1, 2, 500])
    assert refused.headers.get("X-ClickHouse-Exception-Code") == VIOLATED, (refused.status_code, refused.text)
    assert refused.status_code == 500
    assert "/dev/fd" not in refused.text
    assert count(server, guarded) == before
    taken = WAYS[way](server, guarded, [1, 2, 3])
    assert (taken.status_code, taken.text) == (200, "")
    assert count(server, guarded) == before + 3


@pytest.mark.parametrize("way", ["body Native", "values", "select", "async", "input"])
@pytest.mark.parametrize("failure", ["too many parts", "view", "unknown table", "not insertable"])
def test_what_the_table_refuses_is_said(server: Process, failure: str, way: str) -> None:
    table = f"refusing_{list(WAYS).index(way)}_{failure.replace(' ', '_')}"
    settings = " SETTINGS parts_to_throw_insert = 1" if failure == "too many parts" else ""
    server.post(f"CREATE TABLE {table} (a UInt64, b String) ENGINE = MergeTree ORDER BY a{settings}")
    codes = {"too many parts": "252", "view": "395", "unknown table": "60", "not insertable": "48"}
    target = table
    if failure == "too many parts":
        server.post(f"SYSTEM STOP MERGES {table}")
        assert WAYS[way](server, table, [1]).status_code == 200
    elif failure == "view":
        server.post(f"CREATE MATERIALIZED VIEW {table}_v ENGINE = Memory AS SELECT throwIf(a = 7) AS x FROM {table}")
    elif failure == "unknown table":
        target = f"{table}_absent"
    else:
        target = f"{table}_w"
        server.post(f"CREATE VIEW {target} AS SELECT a, b FROM {table}")
    before = count(server, table)
    refused = WAYS[way](server, target, [7])
    assert refused.status_code != 200
    assert refused.headers["X-ClickHouse-Exception-Code"] == codes[failure], refused.text
    if failure != "view":
        assert count(server, table) == before


BROKEN: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "cut in a block": ("Native", lambda data: data[:-5]),
    "cut in a head": ("Native", lambda data: data + data[:3]),
    "rubbish after the first block": ("Native", lambda data: data + b"\x02\x05rubbish" * 20),
    "no block at all": ("Native", lambda data: b"certainly not a block"),
    "cut row": ("RowBinary", lambda data: data[:-1]),
    "another type": ("CSV", lambda data: data + b'"three","x"\n'),
    "another type after many": ("CSV", lambda data: data * 100_000 + b'"three","x"\n'),
    "unclosed row": ("JSONEachRow", lambda data: data * 1000 + b'{"a": 1, "b": "'),
    "text after values": ("Values", lambda data: data + b", (1, 'x'"),
    "cut file": ("Parquet", lambda data: data[:-20]),
}


@pytest.mark.parametrize("where", ["body", "address"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_insert_is_said_and_leaves_nothing(server: Process, guarded: str, case: str, where: str) -> None:
    fmt, damage = BROKEN[case]
    before = count(server, guarded)
    data = damage(rows_as(server, [1, 2, 3], fmt))
    query = f"INSERT INTO {guarded} (a, b) FORMAT {fmt}"
    refused = server.post(query.encode() + b"\n" + data) if where == "body" else server.post(data, query=query)
    assert refused.status_code != 200
    assert int(refused.headers["X-ClickHouse-Exception-Code"]) > 0
    assert count(server, guarded) == before


def test_a_failure_in_a_later_block_is_said(server: Process, guarded: str) -> None:
    before = count(server, guarded)
    sql = "SELECT if(number = 2999999, 500, 1)::UInt64 AS a, 'x' AS b FROM numbers(3000000)"
    data = server.post(sql + " FORMAT Native").content
    refused = server.post(data, query=f"INSERT INTO {guarded} (a, b) FORMAT Native")
    assert refused.headers["X-ClickHouse-Exception-Code"] == VIOLATED
    # Whole blocks of the engine may stay, as on a server.
    assert count(server, guarded) < before + 3_000_000


def test_data_that_the_engine_would_drop_is_refused(server: Process, guarded: str) -> None:
    before = count(server, guarded)
    for sql in (
        f"INSERT INTO {guarded} (a, b) SELECT 1, 'x' FORMAT CSV\n2,x\n",
        f"INSERT INTO {guarded} (a, b) SELECT a, b FROM input('a UInt64, b String')",
        f"INSERT INTO {guarded} (a, b) /* /* */ FORMAT CSV\n1,x\n",
        f"INSERT INTO {guarded} (select) FORMAT CSV\n1\n",
        f"INSERT INTO {guarded} (a, b) VALUES (1, 'x'); SELECT 1",
        f"INSERT INTO {guarded} (a, b) VALUES (1, 'x;'), (2, 'y') ; INSERT INTO {guarded} (a, b) VALUES (3, 'z')",
    ):
        reply = server.post(sql)
        assert reply.status_code != 200, sql
        assert int(reply.headers["X-ClickHouse-Exception-Code"]) > 0
    assert count(server, guarded) == before


class WithToken(Process):
    """A server's clients whose writes carry a token."""

    def __init__(self, process: Process, token: str) -> None:
        self.__dict__.update(process.__dict__)
        self._token = token

    def post(
        self, sql: str | bytes, *, user: str = "default", headers: dict[str, str] | None = None, **params: str
    ) -> httpx.Response:
        reads = isinstance(sql, str) and sql.startswith("SELECT")
        more = {} if reads else {"insert_deduplication_token": self._token}
        return super().post(sql, user=user, headers=headers, **{**params, **more})


@pytest.mark.parametrize("way", ["body Native", "body CSV", "values in address", "values", "select", "input", "zstd"])
def test_the_same_token_lands_once_by_every_way(server: Process, way: str) -> None:
    table = f"once_{way.replace(' ', '_')}"
    server.post(
        f"CREATE TABLE {table} (a UInt64, b String) ENGINE = MergeTree ORDER BY a"
        " SETTINGS non_replicated_deduplication_window = 100"
    )
    for token in ("first", "first", "second", "first"):
        assert WAYS[way](WithToken(server, token), table, [1, 2]).status_code == 200
    assert count(server, table) == 4


@contextlib.contextmanager
def filled(path: Path) -> Iterator[None]:
    """No space left on the file system at a path."""
    free = os.statvfs(path)
    filler = path / "filler"
    with filler.open("wb") as file, contextlib.suppress(OSError):
        file.write(b"\0" * (free.f_bavail * free.f_frsize))
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 192 MB. The engine does not see a limit of file sizes, so that nothing can stand for it."""
    path = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no file system of its own: {error}")
    if mounted.returncode:
        pytest.skip(f"mounting a file system is not permitted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture(scope="module")
def on_a_small_disk(small_disk: Path) -> Iterator[Process]:
    with Process.running(small_disk / "data", "--keep-free-mb", "32") as process:
        process.post("CREATE TABLE kept (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
        yield process


@pytest.mark.parametrize("way", ["body Native", "body JSONEachRow", "values", "select", "async", "input", "zstd"])
def test_a_full_disk_is_said(on_a_small_disk: Process, small_disk: Path, way: str) -> None:
    process = on_a_small_disk
    before = count(process, "kept")
    values = list(range(1000))
    with filled(small_disk):
        refused = WAYS[way](process, "kept", values)
        assert (refused.status_code, refused.headers["X-ClickHouse-Exception-Code"]) == (500, "243")
        assert count(process, "kept") == before
    wait_for(lambda: WAYS[way](process, "kept", values).status_code == 200, "an insert after the disk has space")
    assert count(process, "kept") == before + 1000


def test_statements_on_a_full_disk_are_said(on_a_small_disk: Process, small_disk: Path) -> None:
    process = on_a_small_disk
    wait_for(lambda: WAYS["select"](process, "kept", list(range(1000))).status_code == 200, "space")
    before = count(process, "kept")
    with filled(small_disk):
        for sql in (
            "CREATE TABLE made (a UInt64) ENGINE = MergeTree ORDER BY a AS SELECT number FROM numbers(1000)",
            "OPTIMIZE TABLE kept FINAL SETTINGS optimize_throw_if_noop = 1",
        ):
            reply = process.post(sql)
            assert reply.status_code != 200, sql
            assert int(reply.headers["X-ClickHouse-Exception-Code"]) > 0
        large = process.post(b"1234567890\n" * 1_000_000, query="INSERT INTO kept (a) FORMAT CSV")
        assert (large.status_code, large.headers["X-ClickHouse-Exception-Code"]) == (500, "243")
        assert process.post("SELECT count() FROM kept").text == f"{before}\n"


@pytest.mark.parametrize("megabytes", [1, 8, 16, 24])
def test_a_disk_that_fills_while_a_part_is_written(on_a_small_disk: Process, small_disk: Path, megabytes: int) -> None:
    """The engine does not see that its write failed; what was answered 200 can be read all the same."""
    process = on_a_small_disk
    wait_for(lambda: process.post("INSERT INTO kept (a) VALUES (1)").status_code == 200, "space")
    table = f"slow_{megabytes}"
    columns = ", ".join(f"c{n} String CODEC(ZSTD(9))" for n in range(4))
    process.post(
        f"CREATE TABLE {table} (a UInt64, {columns}) ENGINE = MergeTree ORDER BY a"
        " SETTINGS non_replicated_deduplication_window = 100, min_bytes_for_wide_part = 0"
    )
    values = ", ".join(f"randomString({100 + n})" for n in range(4))
    sql = f"INSERT INTO {table} SELECT number, {values} FROM numbers(100000)"
    replies: list[httpx.Response] = []

    def used() -> int:
        disk = os.statvfs(small_disk)
        return (disk.f_blocks - disk.f_bavail) * disk.f_frsize

    before = used()
    thread = threading.Thread(target=lambda: replies.append(process.post(sql, insert_deduplication_token="t")))
    thread.start()
    wait_for(lambda: used() > before + megabytes * 1024 * 1024 or not thread.is_alive(), "the part")
    with filled(small_disk):
        thread.join()
    read = f"SELECT count(), sum(a) FROM {table} WHERE NOT ignore(c0, c1, c2, c3)"
    if replies[0].status_code == 200:
        assert process.post(read).text == "100000\t4999950000\n"
    else:
        assert replies[0].headers["X-ClickHouse-Exception-Code"] == "243", replies[0].text
        # Without any space the broken part can't be dropped either: it is as soon as there is some.
        wait_for(lambda: process.post(read).text == "0\t0\n", "the table without its broken part")
    # Confirmed before or not, the same insert may come again and lands once.
    wait_for(lambda: process.post(sql, insert_deduplication_token="t").status_code == 200, "the insert, again")
    assert process.post(f"SELECT count() FROM {table}").text == "100000\n"
    process.post(f"DROP TABLE {table} SYNC")
