"""The user `builder`: makes tables and views of its own of what it may read, and reaches nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.clickhouse.analyst import TABLE_FUNCTIONS
from infra.embedded.clickhouse.builder import TABLE_ENGINES
from tests.integration.infra.test_clickhouse_analyst_attacks import CANARY, Outside, everything, is_right
from tests.integration.infra.test_clickhouse_server import PASSWORDS, Process
from tests.support.hostile_statements import hostile_statements
from tests.support.properties import some_of

REFUSALS = ("62", "164", "497", "73", "48")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process.running(
        tmp_path_factory.mktemp("clickhouse"), "--analyst-database", "analytics", "--analyst-database", "analytics_*"
    ) as process:
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


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    folder = tmp_path / "outside"
    folder.mkdir()
    made = Outside(folder)
    yield made
    made.close()


def built(server: Process, sql: str | bytes, database: str = "analytics") -> str:
    reply = server.post(sql, user="builder", database=database)
    assert reply.status_code == 200, (sql, reply.text)
    return reply.text


def test_tables_and_views_are_made_changed_and_read_by_the_analyst(server: Process) -> None:
    for sql in (
        "CREATE TABLE IF NOT EXISTS by_a (a UInt8, b String DEFAULT 'x' COMMENT 'k', INDEX i a TYPE minmax,"
        " CONSTRAINT c CHECK a < 100) ENGINE = ReplacingMergeTree ORDER BY (a) PARTITION BY (a % 2)"
        " SETTINGS non_replicated_deduplication_window = 0 COMMENT 'made'",
        "INSERT INTO by_a (a) SELECT (a) FROM tidemark.seen SETTINGS max_threads = 1",
        "INSERT INTO analytics.by_a VALUES (2, 'it''s; 2'), (3, 'c')",
        "INSERT INTO by_a (a, b) SETTINGS max_threads = 1 FORMAT CSV 4,d\n5,e\n",
        'INSERT INTO by_a FORMAT JSONEachRow {"a": 6, "b": "f"}',
        "INSERT INTO by_a WITH x AS (SELECT 7 AS a) SELECT a, 'g' FROM x",
        "CREATE OR REPLACE VIEW looked AS SELECT a, b FROM by_a WHERE (a > 1)",
        "CREATE TABLE of_select ENGINE = MergeTree ORDER BY tuple() AS (SELECT a, count() AS n FROM looked GROUP BY a)",
        "CREATE TABLE like_it AS by_a",
        "ALTER TABLE like_it ADD COLUMN c Int32 AFTER a, DROP COLUMN b",
        "ALTER TABLE by_a UPDATE b = 'z' WHERE a = 7 SETTINGS mutations_sync = 2",
        "DELETE FROM by_a WHERE a IN (SELECT a + 2 FROM tidemark.seen)",
        "RENAME TABLE like_it TO liked",
        "EXCHANGE TABLES analytics.liked AND analytics.of_select",
        "OPTIMIZE TABLE by_a FINAL",
        "TRUNCATE TABLE of_select",
        "DROP TABLE IF EXISTS of_select SYNC",
        "CREATE DATABASE IF NOT EXISTS analytics_more",
        "CREATE TABLE analytics_more.t ENGINE = MergeTree ORDER BY a AS SELECT a FROM tidemark.seen",
        "SET allow_nondeterministic_mutations = 1",
    ):
        built(server, sql)
    # TabSeparated writes a quote with a backslash.
    wanted = "1\tx\n2\tit\\'s; 2\n4\td\n5\te\n6\tf\n7\tz\n"
    assert built(server, "SELECT a, b FROM by_a FINAL ORDER BY a") == wanted
    for sql, answer in (
        ("SELECT a, b FROM analytics.by_a FINAL ORDER BY a", wanted),
        ("SELECT count() FROM analytics.looked", "5\n"),
        ("SELECT sum(n) FROM analytics.liked", "6\n"),
        ("SELECT a FROM analytics_more.t", "1\n"),
    ):
        assert server.post(sql, user="analyst").text == answer
    assert server.post("DROP TABLE analytics.by_a", user="analyst").headers["X-ClickHouse-Exception-Code"] == "164"
    assert "it\\'s" in server.post("SELECT b FROM analytics.by_a").text
    built(server, "DROP DATABASE analytics_more")


def test_a_user_has_its_own_name(server: Process) -> None:
    for user in PASSWORDS:
        for name in ("currentUser()", "user()", "current_user()", "USER()", "authenticatedUser()"):
            assert server.post(f"SELECT {name}", user=user).text == f"{user}\n", name
        sql = "SELECT concat(currentUser(), '!') AS u, currentUser() = 'x' WHERE user() = {u:String} FORMAT TSV"
        assert server.post(sql, user=user, param_u=user).text == f"{user}!\t0\n"
    text = server.post("SELECT currentUser() FORMAT TSVWithNames", user="analyst").text
    assert text == "currentUser()\nanalyst\n"
    shown = server.post("DESCRIBE (SELECT user() AS u, upper(user()))", user="analyst").text
    assert shown.startswith("u\tString")


# {t} is a table.
WRITES = (
    "INSERT INTO {t} SELECT 1",
    "INSERT INTO {t} (a) VALUES (1)",
    "INSERT INTO {t} FORMAT CSV\n1\n",
    "DROP TABLE {t}",
    "DROP TABLE IF EXISTS {t} SYNC",
    "DROP VIEW {t}",
    "TRUNCATE TABLE {t}",
    "ALTER TABLE {t} ADD COLUMN b UInt8",
    "ALTER TABLE {t} DELETE WHERE 1",
    "ALTER TABLE {t} UPDATE a = 2 WHERE 1",
    "ALTER TABLE {t} DROP PARTITION tuple()",
    "ALTER TABLE {t} REPLACE PARTITION tuple() FROM analytics.mine",
    "ALTER TABLE analytics.mine REPLACE PARTITION tuple() FROM {t}",
    "ALTER TABLE analytics.mine MOVE PARTITION tuple() TO TABLE {t}",
    "DELETE FROM {t} WHERE 1",
    "OPTIMIZE TABLE {t} FINAL",
    "RENAME TABLE {t} TO analytics.taken",
    "RENAME TABLE analytics.mine TO {t}",
    "EXCHANGE TABLES {t} AND analytics.mine",
    "EXCHANGE TABLES analytics.mine AND {t}",
    "CREATE TABLE analytics.copied AS {t}",
    "CREATE TABLE analytics.copied CLONE AS {t}",
    "CREATE OR REPLACE TABLE {t} ENGINE = Null AS SELECT 1",
    "CREATE OR REPLACE VIEW {t} AS SELECT 1",
    "CREATE MATERIALIZED VIEW analytics.fed TO {t} AS SELECT a FROM analytics.mine",
    "CREATE MATERIALIZED VIEW analytics.fed ENGINE = MergeTree ORDER BY a AS SELECT a FROM {t}",
    "DETACH TABLE {t}",
    "ATTACH TABLE {t}",
    "UNDROP TABLE {t}",
    "UPDATE {t} SET a = 2 WHERE 1",
)
NOT_ITS_OWN = (
    "tidemark.seen", "`tidemark`.seen", "tidemark._internal", "default.hidden_here", "system.one", "system.settings",
    "information_schema.tables", "analyticsx.t", "{d:Identifier}.seen", "{d:Identifier}.{t:Identifier}", "seen",
)  # fmt: skip


def test_nothing_outside_its_databases_is_changed(server: Process) -> None:
    built(server, "CREATE TABLE IF NOT EXISTS mine (a UInt8) ENGINE = MergeTree ORDER BY a")
    before = everything(server)
    for target in NOT_ITS_OWN:
        for made in WRITES:
            sql = made.replace("{t}", target)
            # Bare names are of the current database.
            reply = server.post(sql, user="builder", database="tidemark", param_d="tidemark", param_t="seen")
            assert reply.headers.get("X-ClickHouse-Exception-Code") in ("164", "497", "62"), (sql, reply.text)
    for sql in (
        "CREATE DATABASE other", "DROP DATABASE tidemark", "DROP DATABASE analytics", "TRUNCATE DATABASE analytics",
        "TRUNCATE ALL TABLES FROM tidemark", "RENAME DATABASE analytics TO tidemark2", "SET max_threads = 1",
        "CREATE DATABASE analytics_x ENGINE = Filesystem('/')", "CREATE TEMPORARY TABLE x (a UInt8)", "USE tidemark",
        "CREATE TABLE analytics.x UUID '00000000-0000-0000-0000-000000000001' (a Int8) ENGINE = Null",
        "CREATE VIEW analytics.x SQL SECURITY NONE AS SELECT 1", "ALTER TABLE analytics.mine FREEZE",
        "ALTER TABLE analytics.mine MOVE PARTITION tuple() TO DISK 'x'", "ALTER TABLE analytics.mine MODIFY SETTING"
        " storage_policy = 'x'", "ALTER TABLE analytics.mine DETACH PARTITION tuple()",
        "ALTER TABLE analytics.mine MODIFY TTL now() TO DISK 'x'", "DROP TABLE analytics.mine, tidemark.seen",
    ):  # fmt: skip
        reply = server.post(sql, user="builder", database="analytics")
        assert reply.headers.get("X-ClickHouse-Exception-Code") in REFUSALS, (sql, reply.text)
    assert everything(server) == before


# {e} is an expression that must not be kept or run.
KEPT = (
    "CREATE VIEW analytics.bad AS SELECT {e} AS x",
    "CREATE TABLE analytics.bad ENGINE = MergeTree ORDER BY tuple() AS SELECT {e} AS x",
    "CREATE TABLE analytics.bad (a String, b String DEFAULT {e}) ENGINE = MergeTree ORDER BY tuple()",
    "CREATE TABLE analytics.bad (a String, b String MATERIALIZED {e}) ENGINE = MergeTree ORDER BY tuple()",
    "CREATE TABLE analytics.bad (a String, b String ALIAS {e}) ENGINE = MergeTree ORDER BY tuple()",
    "CREATE TABLE analytics.bad (a String, b String EPHEMERAL {e}) ENGINE = MergeTree ORDER BY tuple()",
    "CREATE TABLE analytics.bad (a String, CONSTRAINT c CHECK a != {e}) ENGINE = MergeTree ORDER BY tuple()",
    "CREATE TABLE analytics.bad (a String, INDEX i ({e}) TYPE minmax) ENGINE = MergeTree ORDER BY tuple()",
    "CREATE TABLE analytics.bad (a String, PROJECTION p (SELECT {e})) ENGINE = MergeTree ORDER BY tuple()",
    "CREATE TABLE analytics.bad (a String) ENGINE = MergeTree ORDER BY ({e})",
    "CREATE TABLE analytics.bad (a String) ENGINE = MergeTree ORDER BY tuple() PARTITION BY {e}",
    "CREATE TABLE analytics.bad (a Date) ENGINE = MergeTree ORDER BY tuple() TTL a DELETE WHERE {e} = ''",
    "CREATE TABLE analytics.bad (a Date) ENGINE = ReplacingMergeTree({e}) ORDER BY tuple()",
    "INSERT INTO analytics.texts SELECT {e}",
    "INSERT INTO analytics.texts VALUES ({e})",
    "INSERT INTO analytics.texts SELECT * FROM input('a String') WHERE a = {e} FORMAT CSV x",
    "ALTER TABLE analytics.texts UPDATE a = {e} WHERE 1",
    "ALTER TABLE analytics.texts DELETE WHERE a = {e}",
    "ALTER TABLE analytics.texts ADD COLUMN b String DEFAULT {e}",
    "ALTER TABLE analytics.texts DROP PARTITION {e}",
    "DELETE FROM analytics.texts WHERE a = {e}",
)
BAD = (
    "file('{canary}')",
    "(SELECT a FROM tidemark._internal)",
    "(SELECT any(a) FROM default.hidden_here)",
    "(SELECT a FROM file('{canary}', 'LineAsString', 'a String'))",
    "(SELECT a FROM url('{url}', 'LineAsString', 'a String'))",
    "(SELECT name FROM system.users LIMIT 1)",
    "dictGet('x', 'a', 1)",
    "arrayStringConcat(arrayMap(file, ['{canary}']))",
)


def test_rows_after_values_are_values(server: Process) -> None:
    built(server, "CREATE TABLE plain (a String, b Array(UInt8)) ENGINE = MergeTree ORDER BY a")
    built(server, "INSERT INTO plain VALUES ('it''s; 1', [1, 2]), ('b', [])")
    for expression in ("upper('x')", "'a' || 'b'", "toString(1 + 1)", "(SELECT 'x')", "file('/etc/hostname')"):
        for setting in ("interpret_expressions", "deduce_templates_of_expressions"):
            reply = server.post(
                f"INSERT INTO plain SETTINGS input_format_values_{setting} = 1 VALUES ({expression}, [])",
                user="builder", database="analytics",
            )  # fmt: skip
            # The second setting is no guest's to change.
            assert reply.headers["X-ClickHouse-Exception-Code"] in ("344", "164"), (expression, reply.text)
    assert built(server, "SELECT count() FROM plain") == "2\n"


def test_what_it_keeps_is_judged_like_what_it_reads(server: Process, outside: Outside) -> None:
    built(server, "CREATE TABLE IF NOT EXISTS texts (a String) ENGINE = MergeTree ORDER BY a")
    before = everything(server)
    for made in KEPT:
        for bad in BAD:
            sql = outside.fill(made.replace("{e}", bad))
            reply = server.post(sql, user="builder", database="analytics")
            assert reply.status_code != 200, sql
            assert CANARY not in reply.text, sql
            assert "X-ClickHouse-Exception-Code" in reply.headers, sql
    assert built(server, "SELECT * FROM texts") == ""
    assert built(server, "EXISTS TABLE bad") == "0\n"
    assert outside.untouched()
    assert everything(server) == before


def test_only_some_engines_and_settings_of_tables(server: Process, outside: Outside) -> None:
    engines = server.post("SELECT name FROM system.table_engines ORDER BY name").text.split()
    assert len(engines) > 40
    for name in [name for name in engines if name not in TABLE_ENGINES]:
        for arguments in ("", "('{canary}')", "(CSV, '{canary}')", "('{url}', CSV)", "(tidemark, seen, rand())"):
            for columns in ("(a String)", ""):
                sql = outside.fill(f"CREATE TABLE analytics.x {columns} ENGINE = {name}{arguments}")
                reply = server.post(sql, user="builder")
                assert reply.headers.get("X-ClickHouse-Exception-Code") in REFUSALS, (sql, reply.text)
    for name in sorted(TABLE_ENGINES):
        arguments = {"CollapsingMergeTree": "(s)", "VersionedCollapsingMergeTree": "(s, a)"}.get(name, "")
        order = "" if name == "Null" else "ORDER BY a"
        built(server, f"CREATE TABLE made_{name} (a UInt8, s Int8, n UInt64) ENGINE = {name}{arguments} {order}")
    settings = server.post("SELECT name FROM system.merge_tree_settings").text.split()
    reaching = [name for name in settings if "disk" in name or "storage" in name or "path" in name or "table" in name]
    assert "storage_policy" in reaching
    for name in reaching:
        sql = f"CREATE TABLE analytics.x (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS {name} = 'x'"
        assert server.post(sql, user="builder").headers.get("X-ClickHouse-Exception-Code") in REFUSALS, sql
    own_disk = "SETTINGS disk = disk(type = local, path = '/')"
    sql = f"CREATE TABLE analytics.x (a UInt8) ENGINE = MergeTree ORDER BY a {own_disk}"
    assert server.post(sql, user="builder").status_code != 200
    assert outside.untouched()


@pytest.mark.parametrize("share", [pytest.param(1, marks=pytest.mark.long), 10])
def test_generated_attacks_read_write_and_reach_nothing(server: Process, outside: Outside, share: int) -> None:
    functions = server.post("SELECT name FROM system.table_functions ORDER BY name").text.split()
    before = everything(server)
    found = []
    tried = 0
    closed = [name for name in functions if name.lower() not in TABLE_FUNCTIONS]
    for made in some_of(hostile_statements(closed, seed=12), share):
        sql = outside.fill(made)
        reply = server.post(sql.encode(), user="builder")
        tried += 1
        if reply.status_code == 200:
            if not is_right(sql, reply.text):
                found.append((sql, reply.text[:200]))
        elif "X-ClickHouse-Exception-Code" not in reply.headers or CANARY in reply.text:
            found.append((sql, f"{reply.status_code} {reply.text[:300]}"))
    assert not found, found[:10]
    assert tried > 4_000 / share
    assert outside.untouched()
    assert everything(server) == before
    assert server.popen.poll() is None
