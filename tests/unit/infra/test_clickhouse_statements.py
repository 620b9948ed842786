"""Reading statements by their tokens: verb, FORMAT clause, where an INSERT's data begins."""

from __future__ import annotations

import pytest

from infra.embedded.clickhouse.errors import ServerError
from infra.embedded.clickhouse.statements import parse, writes_a_file, written_to


@pytest.mark.parametrize(
    ("text", "verb", "fmt"),
    [
        ("SELECT 1", "SELECT", None),
        ("  select 1 \n FORMAT Native", "SELECT", "Native"),
        ("SELECT 1 FORMAT JSON SETTINGS max_threads = 1", "SELECT", "JSON"),
        ("SELECT 1 -- FORMAT JSON", "SELECT", None),
        ("SELECT 1 FORMAT CSV -- FORMAT JSON", "SELECT", "CSV"),
        ("SELECT ' FORMAT JSON'", "SELECT", None),
        ("SELECT 1 AS `a FORMAT JSON`", "SELECT", None),
        ("SELECT format('{}', 'x') FROM t", "SELECT", None),
        ("SELECT * FROM (SELECT 1 FORMAT) AS t", "SELECT", None),
        ("/* FORMAT JSON */ (SELECT 1) UNION ALL (SELECT 2) FORMAT TSV;", "SELECT", "TSV"),
        ("#!comment\nWITH x AS (SELECT 1) SELECT * FROM x", "WITH", None),
        ("SHOW TABLES", "SHOW", None),
        ("CREATE TABLE t (a UInt8) ENGINE = Memory", "CREATE", None),
    ],
)
def test_verb_and_format(text: str, verb: str, fmt: str | None) -> None:
    statement = parse(text)
    assert (statement.verb, statement.format) == (verb, fmt)


@pytest.mark.parametrize(
    ("text", "head", "fmt", "data"),
    [
        ("INSERT INTO t FORMAT Native\n\x02\x03", "INSERT INTO t ", "Native", "\x02\x03"),
        ("INSERT INTO t FORMAT CSV \r\n1,2", "INSERT INTO t ", "CSV", "1,2"),
        ('INSERT INTO t FORMAT JSONEachRow {"a": 1}', "INSERT INTO t ", "JSONEachRow", '{"a": 1}'),
        ("INSERT INTO t FORMAT TSV\n\n1", "INSERT INTO t ", "TSV", "\n1"),
        ("insert into t (a, `format`) values (1, ';')", "insert into t (a, `format`) ", "Values", " (1, ';')"),
        (
            "INSERT INTO db.t (a) SETTINGS async_insert = 1 FORMAT RowBinary\n",
            "INSERT INTO db.t (a) SETTINGS async_insert = 1 ",
            "RowBinary",
            "",
        ),
        ("INSERT INTO values FORMAT CSV\n1", "INSERT INTO values ", "CSV", "1"),
        ("INSERT INTO db.format VALUES (1)", "INSERT INTO db.format ", "Values", " (1)"),
    ],
)
def test_insert_data(text: str, head: str, fmt: str, data: str) -> None:
    statement = parse(text)
    assert statement.data_start is not None
    assert (statement.sql, statement.format, text[statement.data_start :]) == (head, fmt, data)


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO t SELECT * FROM u",
        "INSERT INTO t (a) WITH x AS (SELECT 1) SELECT * FROM x",
        "INSERT INTO t (SELECT 1)",
        "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
    ],
)
def test_insert_without_data(text: str) -> None:
    assert parse(text).data_start is None


@pytest.mark.parametrize(
    "text", ["SELECT 1; SELECT 2", "SELECT 1;;DROP TABLE t", "SELECT 1; -- x\n DROP TABLE t", "", " -- x"]
)
def test_more_or_less_than_one_statement_is_a_syntax_error(text: str) -> None:
    with pytest.raises(ServerError) as caught:
        parse(text)
    assert caught.value.code == 62


@pytest.mark.parametrize("text", ["SELECT 1;", "SELECT ';'", "SELECT 1 ; -- x", "SELECT $x$;$x$, 1", "SELECT 1; ;"])
def test_semicolons_that_separate_nothing(text: str) -> None:
    assert parse(text).verb == "SELECT"


def test_statements_that_change_the_session() -> None:
    assert parse("SET max_threads = 1").changes_session
    assert parse("USE db").changes_session
    assert parse("CREATE TEMPORARY TABLE t (a UInt8)").changes_session
    assert not parse("CREATE TABLE temporary (a UInt8) ENGINE = Memory").changes_session


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("SELECT 1 FORMAT Parquet", "SELECT 1 INTO OUTFILE '/p' TRUNCATE FORMAT Parquet"),
        ("SELECT 1 -- the end", "SELECT 1 -- the end\nINTO OUTFILE '/p' TRUNCATE FORMAT CSVWithNames"),
        (
            "SELECT 1 SETTINGS a = 1 FORMAT Parquet SETTINGS b = 1",
            "SELECT 1 SETTINGS a = 1 INTO OUTFILE '/p' TRUNCATE FORMAT Parquet SETTINGS b = 1",
        ),
        ("SELECT ' FORMAT X' FORMAT ORC", "SELECT ' FORMAT X' INTO OUTFILE '/p' TRUNCATE FORMAT ORC"),
    ],
)
def test_a_select_written_to_a_file(text: str, written: str) -> None:
    assert written_to(text, "/p", "CSVWithNames") == written
    assert writes_a_file(written)
    assert not writes_a_file(text)
