"""External tables: they come with a request, serve its statement, and leave and reach nothing."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import clickhouse_connect.driver.external
import httpx
import pytest

from tests.integration.infra.test_clickhouse_bodies import GROWTH_BYTES, MIB, Peak
from tests.integration.infra.test_clickhouse_server import PASSWORDS, Process

USERS = ("default",)
GUESTS = ("analyst", "builder")
STRUCTURE = "id UInt32, tags Array(String)"
ROWS = b"1\t['a']\n2\t['b','c']\n"
READ = "SELECT sum(id), sum(length(tags)) FROM e"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process.running(tmp_path_factory.mktemp("clickhouse"), "--insert-mb", "64") as process:
        for sql in (
            "CREATE TABLE posts (id UInt32, likes UInt32) ENGINE = MergeTree ORDER BY id",
            "INSERT INTO posts SELECT number, number * 10 FROM numbers(10)",
            "CREATE TABLE _hidden (a String) ENGINE = MergeTree ORDER BY a",
            "INSERT INTO _hidden VALUES ('canary')",
        ):
            assert process.post(sql).status_code == 200
        yield process


def ask(server: Process, user: str, sql: str, tables: dict[str, bytes], **params: str) -> httpx.Response:
    files = {name: (f"{name}.data", io.BytesIO(rows)) for name, rows in tables.items()}
    return server.http.post(
        server.url, params={"query": sql, **params}, files=files, auth=(user, PASSWORDS[user]), timeout=60
    )


def answer(server: Process, user: str, sql: str, tables: dict[str, bytes], **params: str) -> str:
    reply = ask(server, user, sql, tables, **params)
    assert reply.status_code == 200, reply.text
    return reply.text


def code(server: Process, user: str, sql: str, tables: dict[str, bytes], **params: str) -> str:
    reply = ask(server, user, sql, tables, **params)
    assert reply.status_code >= 400, reply.text
    return reply.headers["X-ClickHouse-Exception-Code"]


@pytest.mark.parametrize("user", USERS)
def test_a_table_serves_its_statement_alone(server: Process, user: str) -> None:
    assert answer(server, user, READ, {"e": ROWS}, e_structure=STRUCTURE) == "3\t3\n"
    joined = "SELECT sum(likes) FROM posts WHERE (id IN (SELECT id FROM e)) SETTINGS max_threads = 1"
    assert answer(server, user, joined, {"e": b"3,\n4,\n"}, e_structure="id UInt32, x String", e_format="CSV") == "70\n"
    two = "SELECT e._1 + f.b FROM e, f"
    given = {"e_types": "UInt8", "f_structure": "b Nullable(Float64)", "f_format": "JSONEachRow"}
    assert answer(server, user, two, {"e": b"1\n", "f": b'{"b": 0.5}'}, **given) == "1.5\n"
    assert "nobody" not in ask(server, user, READ, {}).text
    assert ask(server, user, READ, {}).status_code in (400, 404)


@pytest.mark.parametrize("user", USERS)
def test_structures_hold_names_and_types_and_nothing_else(server: Process, user: str) -> None:
    structure = (
        "`a b` Enum8('x' = 1, 'y' = -2), c DateTime64(3, 'Europe/Berlin'), d Map(String, Array(Nullable(Int8))), "
        "e Tuple(n LowCardinality(String), m Decimal(9, 2)), f FixedString(3), Tuple Tuple(UInt8, String)"
    )
    row = b"y\t2026-01-01 00:00:00.5\t{'k':[1,NULL]}\t('n',1.25)\tabc\t(1,'s')\n"
    read = "SELECT toTypeName(`a b`), `a b`, c, d['k'], e.n, e.2, f, Tuple.2 FROM t"
    made = answer(server, user, read, {"t": row}, t_structure=structure)
    assert made.split("\t")[1:] == ["y", "2026-01-01 00:00:00.500", "[1,NULL]", "n", "1.25", "abc", "s\n"]
    for wrong in (
        "a", "a UInt8,", "a UInt8 DEFAULT 1", "a UInt8 DEFAULT file('/etc/passwd')", "a UInt8 CODEC(NONE)", "a Nope",
        "a UInt8) ENGINE = File('CSV') --", "a AggregateFunction(sum, UInt8)", "a Array", "a Array(UInt8", "a UInt8(3)",
        "a Enum8", "a FixedString('x\\'y')", "a UInt8 TTL now()", "a UInt8; SELECT 1", "a Dynamic", "a JSON",
        "\x00 UInt8", "a x.UInt8", "a " + "Array(" * 40 + "UInt8" + ")" * 40,
        ", ".join(f"c{n} UInt8" for n in range(1001)),
    ):  # fmt: skip
        assert code(server, user, READ, {"e": ROWS}, e_structure=wrong) == "36", wrong
    assert code(server, user, READ, {"e": ROWS}) == "36"
    assert code(server, user, READ, {"": ROWS}, _structure=STRUCTURE) == "36"
    assert code(server, user, READ, {"e": ROWS}, e_structure=STRUCTURE, e_format="CSV\nSETTINGS x") == "73"
    refused = ask(server, user, READ, {"e": b"x\ty\n"}, e_structure=STRUCTURE)
    assert refused.headers["X-ClickHouse-Exception-Code"] == "27"
    assert "/dev/fd" not in refused.text
    assert refused.text.count("of the external table e") == 1


def test_sessions_and_other_statements_of_the_owner(server: Process) -> None:
    session = {"session_id": "s"}
    assert answer(server, "default", "CREATE TEMPORARY TABLE mine (a UInt8)", {}, **session) == ""
    given = {**session, "e_structure": STRUCTURE}
    for _ in range(2):
        assert answer(server, "default", READ, {"e": ROWS}, **given) == "3\t3\n"
        assert code(server, "default", READ, {"e": b"x\n"}, **given) == "27"
    assert code(server, "default", READ, {"mine": ROWS, "e": ROWS}, mine_structure="a UInt8", **given) == "57"
    assert answer(server, "default", "SELECT count() FROM mine", {}, **session) == "0\n"
    assert (
        answer(server, "default", "INSERT INTO posts SELECT id + 90, 1 FROM e", {"e": ROWS}, e_structure=STRUCTURE)
        == ""
    )
    assert answer(server, "default", "SELECT count() FROM posts WHERE id > 90", {}) == "2\n"
    assert answer(server, "default", READ, {"e": ROWS}, e_structure=STRUCTURE, readonly="1") == "3\t3\n"
    assert code(server, "default", "CREATE TABLE n AS e", {"e": ROWS}, e_structure=STRUCTURE, readonly="1") == "164"


@pytest.mark.parametrize("user", GUESTS)
def test_guests_send_none(server: Process, user: str) -> None:
    """Not a byte of a guest's files is kept: neither disk, memory nor time of the engine is spent before a refusal."""
    peak = Peak(server)
    for rows in (ROWS, b"1\t[]\n" * (4 * MIB)):
        refused = ask(server, user, READ, {"e": rows}, e_structure=STRUCTURE)
        assert refused.headers["X-ClickHouse-Exception-Code"] == "497"
        assert "External tables are open to user default alone" in refused.text
    assert code(server, user, READ, {f"e{n}": ROWS for n in range(20)}) == "497"
    assert peak.growth() < GROWTH_BYTES
    # Forms without files serve them as before.
    form = server.http.post(server.url, files={"query": (None, "SELECT 1")}, auth=(user, PASSWORDS[user]))
    assert (form.status_code, form.text) == (200, "1\n")


@pytest.mark.parametrize("user", USERS)
def test_what_comes_is_bounded(server: Process, user: str) -> None:
    peak = Peak(server)
    rows = b"1\t[]\n" * (64 * MIB // 5)
    assert answer(server, user, "SELECT count() FROM e", {"e": rows}, e_structure=STRUCTURE) == f"{len(rows) // 5}\n"
    assert code(server, user, READ, {"e": rows + rows[: 4 * MIB]}, e_structure=STRUCTURE) == "229"
    assert code(server, user, READ, {f"e{n}": ROWS for n in range(20)}) == "36"
    assert peak.growth() < 3 * GROWTH_BYTES


def test_drivers(server: Process) -> None:
    data = clickhouse_connect.driver.external.ExternalData(
        file_name="e.tsv", data=ROWS, fmt="TSV", structure=STRUCTURE.split(", ")
    )
    for user in USERS:
        with server.client(user, PASSWORDS[user]) as client:
            assert client.query("SELECT id FROM e WHERE id > {n:UInt8}", {"n": 1}, external_data=data).result_rows == [
                (2,)
            ]


def test_broken_rows_break_nothing(server: Process) -> None:
    """Bytes that are almost right, end in rows or in an error of their own."""
    randomly = random.Random(7)
    structure = "a Nullable(String), b Array(LowCardinality(String)), c Tuple(UInt8, Map(String, DateTime64(3)))"
    source = (
        "SELECT if(number % 2, NULL, toString(number)) AS a,"
        " CAST(['x', toString(number)] AS Array(LowCardinality(String))) AS b,"
        " (toUInt8(number), map('k', toDateTime64(number, 3))) AS c FROM numbers(20)"
    )
    for fmt in (
        "Native",
        "RowBinary",
        "RowBinaryWithNamesAndTypes",
        "TSV",
        "CSVWithNames",
        "JSONCompactEachRow",
        "Values",
    ):
        right = server.post(source, default_format=fmt).content
        given = {"e_structure": structure, "e_format": fmt}
        assert answer(server, "default", "SELECT count() FROM e", {"e": right}, **given) == "20\n", fmt
        for _ in range(60):
            broken = bytearray(right)
            for _ in range(randomly.randint(1, 6)):
                broken[randomly.randrange(len(broken))] = randomly.choice(
                    (0, 1, 127, 128, 255, randomly.randrange(256))
                )
            reply = ask(server, "default", "SELECT * FROM e FORMAT Null", {"e": bytes(broken)}, **given)
            assert reply.status_code == 200 or "X-ClickHouse-Exception-Code" in reply.headers
    assert server.popen.poll() is None
    assert server.post("SELECT 1").text == "1\n"
