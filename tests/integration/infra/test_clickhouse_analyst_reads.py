"""SELECTs as BI tools write them answer the analyst as they answer the product's own user."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.infra.test_clickhouse_server import ANALYST_PASSWORD, PASSWORD, Process

STATEMENTS = Path(__file__).parents[2] / "golden" / "clickhouse" / "bi_selects.sql"
TABLES = (
    "CREATE TABLE posts (post_id UInt64, account_id UInt32, platform LowCardinality(String), text String, likes UInt32,"
    " comments UInt32, shares UInt32, reach Nullable(UInt32), tags Array(String), meta Map(String, String),"
    " captured_at DateTime('UTC')) ENGINE = MergeTree ORDER BY post_id",
    "INSERT INTO posts SELECT number, number % 5, ['x', 'tiktok', 'facebook'][number % 3 + 1],"
    " concat('post ', toString(number)), number % 17, number % 7, number % 3, if(number % 4 = 0, NULL, number % 11),"
    " arraySlice(['a', 'b', 'c'], 1, number % 4), map('lang', if(number % 2 = 0, 'en', 'de')),"
    " toDateTime('2026-01-01 00:00:00', 'UTC') + number * 3600 FROM numbers(60)",
    "CREATE TABLE accounts (account_id UInt32, platform String, followers UInt32, seen_at DateTime('UTC'))"
    " ENGINE = MergeTree ORDER BY account_id",
    "INSERT INTO accounts SELECT number, 'x', number * 10, toDateTime('2026-01-01 00:00:00', 'UTC') FROM numbers(4)",
    "CREATE TABLE totals (post_id UInt64, likes UInt32, version UInt32) ENGINE = ReplacingMergeTree(version)"
    " ORDER BY post_id",
    "INSERT INTO totals SELECT number % 5, number, number FROM numbers(20)",
    "CREATE VIEW merge_view AS SELECT platform FROM posts WHERE (likes > 2)",
    "CREATE VIEW one_row AS SELECT 1 AS a",
)
DRIVERS = (
    "DESCRIBE TABLE posts",
    "DESC TABLE `tidemark`.`posts`",
    'DESCRIBE TABLE "tidemark"."posts"',
    "DESCRIBE posts FORMAT JSONEachRow",
    "DESCRIBE TABLE posts SETTINGS describe_compact_output = 1",
    "DESCRIBE (SELECT (likes) AS a, count() FROM posts WHERE (likes > 1) GROUP BY a)",
    "DESC (SELECT * FROM posts SETTINGS max_threads = 1)",
    "/* ApplicationName=DBeaver */ DESCRIBE TABLE posts",
    "EXISTS posts",
    "EXISTS TABLE tidemark.posts",
    "EXISTS TABLE nowhere",
    "EXISTS VIEW merge_view",
    "EXISTS DATABASE tidemark",
    "SHOW TABLES",
    "SHOW TABLES FROM `tidemark`",
    "SHOW TABLES FROM tidemark LIKE 'po%' FORMAT JSONEachRow",
    "SHOW FULL TABLES FROM tidemark",
    "SHOW DATABASES LIKE 'tide%'",
    "SHOW CREATE TABLE posts",
    "SHOW CREATE TABLE tidemark.posts FORMAT TabSeparatedRaw",
    "SHOW CREATE VIEW merge_view",
    "SHOW COLUMNS FROM posts",
    "SHOW FULL COLUMNS FROM posts FROM tidemark",
    "SHOW INDEX FROM posts",
    "SHOW FUNCTIONS LIKE 'sum'",
    "SHOW ENGINES",
    "EXPLAIN SELECT count() FROM posts WHERE (likes > 1)",
    "EXPLAIN SYNTAX SELECT 1 + 1",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process.running(tmp_path_factory.mktemp("clickhouse")) as process:
        for sql in TABLES:
            reply = process.post(sql)
            assert reply.status_code == 200, reply.text
        yield process


def statements() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for line in STATEMENTS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("--"):
            sql, _, options = line.partition("\t")
            found.append((sql, json.loads(options or "{}")))
    return found


def answer(server: Process, user: str, sql: str, params: dict[str, str]) -> tuple[int, bytes]:
    query = {f"param_{name}": value for name, value in params.items()}
    password = PASSWORD if user == "default" else ANALYST_PASSWORD
    reply = server.http.post(server.url, content=sql.encode(), params=query, auth=(user, password))
    return reply.status_code, reply.content


def without_statistics(content: bytes) -> bytes:
    return re.sub(rb"(?s)(\"statistics\"|<statistics>).*", b"", content)


def test_selects_answer_the_analyst_as_they_answer_default(server: Process) -> None:
    asked = [(sql, options) for sql, options in statements() if "skip" not in options]
    assert len(asked) >= 200
    different = []
    for sql, options in asked:
        params = options.get("params", {})
        expected, got = (answer(server, user, sql, params) for user in ("default", "analyst"))
        if expected[0] != 200:
            different.append((sql, got, expected))
        if options.get("ignore") == "statistics":
            expected, got = ((status, without_statistics(content)) for status, content in (expected, got))
        if got != expected:
            different.append((sql, got, expected))
    assert not different


def test_statements_of_drivers_answer_the_analyst_as_they_answer_default(server: Process) -> None:
    different = []
    for sql in DRIVERS:
        expected, got = (answer(server, user, sql, {}) for user in ("default", "analyst"))
        assert expected[0] == 200, (sql, expected[1])
        if got != expected:
            different.append((sql, got, expected))
    assert not different


def test_a_driver_sends_the_settings_that_the_server_lets_it_change(server: Process) -> None:
    given = {"max_execution_time": 20, "max_threads": 1, "async_insert": 0, "mutations_sync": 3}
    with server.client("analyst", ANALYST_PASSWORD, settings=given) as analyst:
        read = analyst.query(
            "SELECT getSetting('max_threads'), settings.value FROM system.settings WHERE name = 'max_threads'"
        )
        assert read.result_rows == [(1, "1")]
        refused = analyst.query(
            "SELECT name FROM system.settings AS s WHERE s.readonly = 0 AND name IN"
            " ('readonly', 'allow_ddl', 'format_schema', 'input_format_max_rows_to_read_for_schema_inference',"
            " 'filesystem_cache_name', 'os_threads_nice_value_query', 'priority')"
        )
        assert refused.result_rows == []
    all_of_them, columns = (
        [answer(server, user, sql, {}) for user in ("default", "analyst")]
        for sql in ("SELECT name, value, type FROM system.settings ORDER BY name", "DESCRIBE TABLE system.settings")
    )
    assert columns[0] == columns[1]
    names = [[line.split(b"\t")[0] for line in content.splitlines()] for _, content in all_of_them]
    assert len(names[0]) > 1000
    assert names[0] == names[1]
