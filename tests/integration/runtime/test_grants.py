"""The grants that `tidemark migrate --grants` prints: the engine accepts them, and they allow what they say alone.

The embedded engine has one user. Here this user's rights are a service's grants, by the engine's own configuration.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.clickhouse_rights import ROLES, access, created, grants, privileges
from services.runtime.migrations import migrate, migrations
from services.runtime.settings import ClickHouseSettings
from tests.support.engine_process import run_statements

_USERS = """<clickhouse>
<profiles><default></default></profiles>
<users><default><password></password><networks><ip>::1</ip><ip>127.0.0.1</ip></networks><profile>default</profile>
<quota>default</quota>{rights}</default></users>
<quotas><default></default></quotas>
</clickhouse>"""
_CONFIG = "<clickhouse><users_config>{users}</users_config><logger><level>none</level></logger></clickhouse>"
_DATABASE = "tidemark"


class Engine:
    """A folder of tables, opened by one user after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"

    def run(self, statements: list[str], rights: list[str] | None = None) -> list[str]:
        """Run statements with these rights (GRANT without TO), or with all; returns "" or the error, for each."""
        return [error for error, _ in self._run(statements, rights)]

    def told(self, statements: list[str], asked: list[str], rights: list[str]) -> tuple[list[str], list[str]]:
        """Run statements with these rights, and ask; returns "" or the error of each statement, and each answer."""
        said = self._run([*statements, *asked], rights)
        answered = said[len(statements) :]
        assert not any(error for error, _ in answered), answered
        return [error for error, _ in said[: len(statements)]], [answer for _, answer in answered]

    def _run(self, statements: list[str], rights: list[str] | None) -> list[tuple[str, str]]:
        users, config = self._folder / "users.xml", self._folder / "config.xml"
        shown = "".join(f"<query>{right}</query>" for right in rights or [])
        everything = "<access_management>1</access_management>"
        users.write_text(_USERS.format(rights=f"<grants>{shown}</grants>" if rights else everything))
        config.write_text(_CONFIG.format(users=users))
        said = run_statements(self._data, config, statements, 120)
        return [(error.partition("\n")[0], answer) for error, answer in said]


def needed_by(role: str) -> list[str]:
    """The privileges that a role has to have."""
    return [f"{what} ON {where}" for what, where in privileges(role, _DATABASE)]


def asked_of(role: str) -> list[str]:
    """How a service asks whether it has all of them at once, and each."""
    needed = needed_by(role)
    return [f"CHECK GRANT {right}" for right in (", ".join(needed), *needed)]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = Engine(tmp_path_factory.mktemp("grants"))
    statements = [f"CREATE DATABASE {_DATABASE}", f"USE {_DATABASE}"]
    for migration in migrations():
        statements += migration.statements(None)
    said = engine.run(statements)
    assert not any(said), said
    return engine


def rights_of(role: str) -> list[str]:
    """As the engine's configuration takes them: without the user that they are for."""
    return [statement.partition(" TO ")[0] for statement in grants(role, _DATABASE, "u", None)]


def test_the_engines_own_parser_takes_every_statement(migrated: Engine) -> None:
    statements = [
        f"EXPLAIN AST {statement}"
        for cluster in (None, "main")
        for role in ROLES
        for statement in grants(role, _DATABASE, f"tidemark_{role.replace('-', '_')}", cluster)
    ]
    assert not any(migrated.run(statements))


class _Recorder:
    """In place of a connection: takes down what `tidemark migrate` would run on a cluster."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def command(self, statement: str, **_: object) -> None:
        self.statements.append(statement)

    def query(self, statement: str, **_: object) -> SimpleNamespace:
        if "engine_full" in statement:
            return SimpleNamespace(result_rows=[["ReplicatedMergeTree"]])
        return SimpleNamespace(result_rows=[[0]] if "partition_claims" in statement else [])

    def insert(self, *_: object, **__: object) -> None:
        """Notes which migration ran."""

    def close(self) -> None:
        """Nothing is open."""


def test_the_engines_own_parser_takes_the_tables_of_a_cluster(
    migrated: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = _Recorder()
    monkeypatch.setattr("services.runtime.migrations.connect", lambda *_, **__: recorder)
    settings = ClickHouseSettings(
        clickhouse_url="http://u:p@localhost:8123/tidemark", clickhouse_cluster="main",
        raw_events_retention_days=400, snapshots_retention_days=400,
    )  # fmt: skip
    list(migrate(settings))
    made = [statement for statement in recorder.statements if "CREATE TABLE" in statement]
    assert all("ON CLUSTER `main`" in statement and "ENGINE = Replicated" in statement for statement in made)
    changed = [s for s in recorder.statements if s.startswith(("CREATE", "ALTER", "DROP", "EXCHANGE", "RENAME"))]
    assert all("ON CLUSTER `main`" in statement for statement in changed), changed
    said = migrated.run([f"EXPLAIN AST {statement}" for statement in recorder.statements])
    refused = [(error, at) for error, at in zip(said, recorder.statements, strict=True) if error]
    assert not refused


@pytest.mark.parametrize("role", [role for role in ROLES if role != "migrate"])
def test_a_role_may_do_what_it_needs_and_nothing_else(migrated: Engine, role: str) -> None:
    needs = access(role)
    tables = [name for name, kind in created().items() if kind == "TABLE" and name != "schema_migrations"]
    statements: list[tuple[str, bool]] = []
    for table in tables:
        full = f"{_DATABASE}.{table}"
        statements += [
            (f"SELECT * FROM {full} LIMIT 0", table in needs.selects),
            (f"INSERT INTO {full} SELECT * FROM {full} LIMIT 0", table in needs.selects and table in needs.inserts),
            (f"ALTER TABLE {full} DELETE WHERE 0", table in needs.deletes and table in needs.selects),
            (f"ALTER TABLE {full} UPDATE mine = 1 WHERE 0", False)
            if table not in needs.updates
            else (f"ALTER TABLE {full} UPDATE topic = topic WHERE 0", True),
            (f"ALTER TABLE {full} ADD COLUMN IF NOT EXISTS mine UInt8", False),
            (f"TRUNCATE TABLE {full}", False),
        ]
    statements += [
        (f"DROP TABLE {_DATABASE}.posts_store", False),
        (f"CREATE TABLE {_DATABASE}.mine (a UInt8) ENGINE = Memory", False),
        ("SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')", False),
        ("SELECT * FROM file('/etc/passwd', 'CSV', 'a String')", False),
    ]
    # A service asks at its start for what it needs. Both in one run: an engine's start takes longer than its answers.
    asked = asked_of(role)
    errors, answers = migrated.told([statement for statement, _ in statements], asked, rights_of(role))
    assert answers == ["1"] * len(asked)
    for (statement, is_allowed), error in zip(statements, errors, strict=True):
        if is_allowed:
            assert not error, f"{role}: {statement}: {error}"
        else:
            assert "ACCESS_DENIED" in error, f"{role} may {statement}: {error or 'it was done'}"


def test_a_right_that_is_missing_is_named(migrated: Engine) -> None:
    less = [right for right in rights_of("query-api") if "post_totals_store" not in right]
    (error,) = migrated.run([f"SELECT likes FROM {_DATABASE}.post_totals_store"], less)
    assert f"grant SELECT ON {_DATABASE}.post_totals_store" in error


@pytest.mark.parametrize("lacked", [1, pytest.param(3, marks=pytest.mark.long)])
@pytest.mark.parametrize("role", ["aggregator", "query-api", "notifier"])
def test_the_engine_tells_a_service_what_it_lacks(migrated: Engine, role: str, lacked: int) -> None:
    """By the statement that a service sends at its start."""
    needed = needed_by(role)
    for lacking in needed[:lacked]:
        kept = [right for right in rights_of(role) if lacking not in right]
        _, told = migrated.told([], asked_of(role), kept or ["GRANT SELECT ON system.one"])
        assert told[0] == "0"
        assert [right for right, answer in zip(needed, told[1:], strict=True) if answer == "0"] == [lacking]


def test_migrations_run_with_the_rights_of_their_user(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    statements = [f"CREATE DATABASE {_DATABASE}", f"USE {_DATABASE}"]
    for migration in migrations():
        statements += migration.statements(None)
    statements.append("ALTER TABLE raw_events_store MODIFY TTL toDateTime(captured_at) + toIntervalDay(30)")
    said = engine.run(statements, rights_of("migrate"))
    assert not any(said), said
