"""Numbered migrations: names, order, checksums, and the statements for one server and for a cluster."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from services.runtime.migrations import Migration, MigrationError, migrate, migrations
from services.runtime.settings import ClickHouseSettings

VERB = re.compile(r"\d{4}_(create|add|drop|alter|rename|fill)_[a-z0-9_]+")


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text("SELECT 1;\n", encoding="utf-8")
    return folder


def test_the_files_are_numbered_without_a_gap() -> None:
    found = migrations()
    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
    assert all(VERB.fullmatch(migration.name) for migration in found)


@pytest.mark.parametrize("names", [("0002_create_a.sql",), ("0001_create_a.sql", "0003_create_b.sql")])
def test_a_gap_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(MigrationError, match="without gaps"):
        migrations(written(tmp_path, *names))


def test_a_double_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="without gaps"):
        migrations(written(tmp_path, "0001_create_a.sql", "0001_create_b.sql"))


@pytest.mark.parametrize("name", ["1_create_a.sql", "0001-create-a.sql", "0001_Create_a.sql", "create_a.sql"])
def test_a_file_of_another_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MigrationError, match=re.escape(name)):
        migrations(written(tmp_path, name))


def test_a_checksum_shows_an_edit() -> None:
    one = Migration(1, "0001_create_a", "SELECT 1;\n")
    assert one.checksum == Migration(2, "0002_create_b", "SELECT 1;\n").checksum
    assert one.checksum != Migration(1, "0001_create_a", "SELECT 2;\n").checksum
    assert re.fullmatch("[0-9a-f]{64}", one.checksum)


def test_statements_are_split_and_filled() -> None:
    text = (
        "-- About a; and b;\nCREATE TABLE a ${on_cluster} (\n    x String COMMENT 'A; or b.'\n)"
        " ENGINE = ${replicated}MergeTree ORDER BY x;\n\n-- Second.\nCREATE VIEW b AS SELECT 1;\n"
    )
    single = Migration(1, "0001_create_a", text).statements(None)
    assert len(single) == 2
    assert single[0].startswith("CREATE TABLE a  (\n    x String COMMENT 'A; or b.'")
    assert "ENGINE = MergeTree" in single[0]
    cluster = Migration(1, "0001_create_a", text).statements("main")
    assert "a ON CLUSTER `main` (" in cluster[0]
    assert "ENGINE = ReplicatedMergeTree" in cluster[0]


@pytest.mark.parametrize("migration", migrations(), ids=lambda migration: migration.name)
def test_each_statement_may_run_twice_and_on_a_cluster(migration: Migration) -> None:
    for statement in migration.statements("main"):
        is_of_this_run = re.match(r"(CREATE|DROP) TABLE \w+_store_[0-9a-f]{8} ", statement)
        assert (
            "IF NOT EXISTS" in statement
            or "IF EXISTS" in statement
            or is_of_this_run
            or statement.startswith(("INSERT", "GRANT", "EXCHANGE TABLES", "CREATE OR REPLACE VIEW"))
            or re.match(r"ALTER TABLE \w+ ON CLUSTER `main` MODIFY SETTING ", statement)
        )
        assert "ON CLUSTER `main`" in statement or statement.startswith("INSERT")
        assert "$" not in statement
        assert not re.search(r"ENGINE = (?!Replicated)\w*MergeTree", statement), "every engine takes ${replicated}"
    for statement in migration.statements(None):
        assert "ON CLUSTER" not in statement
        assert "Replicated" not in statement


def test_a_database_must_be_a_plain_name() -> None:
    settings = ClickHouseSettings(clickhouse_url="http://u:p@127.0.0.1:1/a-b;c")
    with pytest.raises(MigrationError, match="plain name"):
        list(migrate(settings))


def test_a_new_file_says_whether_old_code_runs_on_its_tables() -> None:
    assert [migration.number for migration in migrations() if migration.stops_old_code] == [10]
    with pytest.raises(MigrationError, match="must begin with the line"):
        _ = Migration(16, "0016_create_a", "SELECT 1;\n").stops_old_code
    assert Migration(16, "0016_alter_a", "-- old code: stops\nSELECT 1;\n").stops_old_code
    assert not Migration(16, "0016_create_a", "-- old code: runs\nSELECT 1;\n").stops_old_code


class _Tables:
    """A server that has used tables; takes down what is run."""

    def __init__(self, claims: int) -> None:
        self._claims = claims
        self.applied: list[str] = []

    def query(self, statement: str, **_: object) -> SimpleNamespace:
        if "partition_claims" in statement:
            return SimpleNamespace(result_rows=[[self._claims]])
        if "schema_migrations" in statement:
            old = [item for item in migrations() if item.number < 10]
            return SimpleNamespace(result_rows=[[item.number, item.checksum] for item in old])
        return SimpleNamespace(result_rows=[["MergeTree"]])

    def command(self, statement: str, **_: object) -> None:
        """Runs nothing."""

    def insert(self, _: str, rows: list[list[object]], **__: object) -> None:
        self.applied.append(str(rows[0][1]))

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("claims", "living", "refusal"),
    [
        (3, ["aggregator-0"], "needs that no aggregator runs, and aggregator-0 do; stop them"),
        (3, None, "which only Kafka knows"),
        (3, [], None),
        (0, ["aggregator-0"], None),
    ],
)
def test_a_migration_that_needs_a_stop_is_refused_while_writers_live(
    monkeypatch: pytest.MonkeyPatch, claims: int, living: list[str] | None, refusal: str | None
) -> None:
    tables = _Tables(claims)
    monkeypatch.setattr("services.runtime.migrations.connect", lambda *_, **__: tables)
    settings = ClickHouseSettings(clickhouse_url="http://u:p@localhost:8123/tidemark")
    if refusal is None:
        list(migrate(settings, lambda: living))
        assert tables.applied[0].startswith("0010_")
        return
    with pytest.raises(MigrationError, match=refusal):
        list(migrate(settings, lambda: living))
    assert not tables.applied


@pytest.mark.parametrize(("code", "refused", "error"), [(242, 3, None), (242, 10**6, "READ_ONLY"), (60, 1, "failed")])
def test_a_replica_that_takes_nothing_in_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, code: int, refused: int, error: str | None
) -> None:
    class Refusing(_Tables):
        left = refused

        def command(self, statement: str, **_: object) -> None:
            if "EXISTS" in statement and "schema_migrations" not in statement and self.applied and self.left:
                self.left -= 1
                raise DatabaseError(f"Code: {code}. TABLE_IS_READ_ONLY failed", code=code)

    tables = Refusing(0)
    monkeypatch.setattr("services.runtime.migrations.connect", lambda *_, **__: tables)
    monkeypatch.setattr("services.runtime.migrations._READ_ONLY_SECONDS", 0.5)
    settings = ClickHouseSettings(clickhouse_url="http://u:p@localhost:8123/tidemark")
    if error is None:
        list(migrate(settings, list))
        assert tables.left == 0
        return
    with pytest.raises(MigrationError, match=error):
        list(migrate(settings, list))
    assert (tables.left == 0) == (code == 60), "another error is told at once"
