"""Applies the numbered ClickHouse migrations of `schemas/clickhouse`.

Every file may run twice, break off in between, or run in two processes at once: its statements say IF NOT EXISTS, or
fill a table with a name of this run's own (`${run}`) and put it into place by one EXCHANGE. The table
`schema_migrations` records each migration that ran, with a checksum that shows a later edit of its file.

A file's first line says whether services of the version before may go on meanwhile: `-- old code: runs`, or
`-- old code: stops`. Of the second kind none is applied while aggregators live, unless the tables were never used.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

import schemas
from services.runtime.settings import ClickHouseSettings

MIGRATIONS_DIR = Path(schemas.__file__).parent / "clickhouse"
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_OLD_CODE = re.compile(r"-- old code: (runs|stops)\n")
# Files from before there was a first line, which are published. Number 10 copies tables that aggregators write.
_WITHOUT_HEADER, _STOPPING = 15, frozenset({10})
_TABLE_IS_READ_ONLY = 242
_READ_ONLY_SECONDS = 60.0
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class MigrationError(RuntimeError):
    """A migration can't be applied; the message names the migration and says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file of `schemas/clickhouse`."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Hex SHA-256 of the file, which shows an edit after publishing."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def stops_old_code(self) -> bool:
        """Whether no aggregator may run while it is applied.

        Raises:
            MigrationError: the file does not say it.
        """
        if self.number <= _WITHOUT_HEADER:
            return self.number in _STOPPING
        said = _OLD_CODE.match(self.text)
        if said is None:
            raise MigrationError(f"{self.name} must begin with the line `-- old code: runs` or `-- old code: stops`")
        return said[1] == "stops"

    def statements(self, cluster: str | None) -> list[str]:
        """The statements to run, without comments.

        Args:
            cluster: name of the cluster, for ON CLUSTER and Replicated engines; None on a single server.
        """
        code = "\n".join(line for line in self.text.splitlines() if not line.startswith("--"))
        filled = Template(code).substitute(
            on_cluster=f"ON CLUSTER `{cluster}`" if cluster else "",
            replicated="Replicated" if cluster else "",
            run=secrets.token_hex(4),
        )
        return [part.strip() for part in filled.split(";\n") if part.strip()]


def migrations(directory: Path = MIGRATIONS_DIR) -> list[Migration]:
    """All migrations in order.

    Raises:
        MigrationError: a file is not named like a migration, or the numbers have a gap or a double.
    """
    found = []
    for path in sorted(directory.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not named NNNN_verb_table.sql")
        found.append(Migration(int(match[1]), path.stem, path.read_text(encoding="utf-8")))
    numbers = [migration.number for migration in found]
    if numbers != list(range(1, len(found) + 1)):
        raise MigrationError(f"migrations must be numbered from 0001 without gaps, found {numbers}")
    return found


def connect(settings: ClickHouseSettings, database: str | None, answer_seconds: float = 300) -> Client:
    """A client for deploy steps.

    Args:
        answer_seconds: how long one statement may take; migrations copy whole tables.

    Raises:
        MigrationError: ClickHouse can't be reached or refuses the user.
    """
    try:
        return clickhouse_connect.get_client(
            **settings.clickhouse_connection(),
            database=database,
            autogenerate_session_id=False,
            connect_timeout=10,
            send_receive_timeout=int(answer_seconds),
        )
    except (ClickHouseError, OperationalError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MigrationError(f"ClickHouse can't be used ({line}); check TIDEMARK_CLICKHOUSE_URL") from None


Living = Callable[[], Sequence[str] | None]
"""The members of the aggregators' group that live; None where that can't be known."""


def migrate(settings: ClickHouseSettings, living: Living = tuple) -> Iterator[str]:
    """Create the database, and apply the migrations that are not applied yet.

    Args:
        living: asked before a migration that needs a stop, where tables have been used.

    Yields:
        One line for each migration, which says whether it was applied now or before, and lines about retention and
        the role for analysts.

    Raises:
        MigrationError: a migration failed, or a published one was edited.
    """
    database = settings.clickhouse_database
    if not _DATABASE.fullmatch(database):
        raise MigrationError(f"the database of TIDEMARK_CLICKHOUSE_URL must be a plain name, not {database!r}")
    cluster = settings.clickhouse_cluster
    on_cluster = f" ON CLUSTER `{cluster}`" if cluster else ""
    default = connect(settings, None)
    default.command(f"CREATE DATABASE IF NOT EXISTS {database}{on_cluster}")
    default.close()
    client = connect(settings, database)
    replicated = "Replicated" if cluster else ""
    client.command(
        f"CREATE TABLE IF NOT EXISTS schema_migrations{on_cluster} (number UInt32 COMMENT 'Number of the file.', "
        "name String COMMENT 'Name of the file.', checksum String COMMENT 'SHA-256 of the file.', "
        "applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When.') "
        f"ENGINE = {replicated}ReplacingMergeTree(applied_at) ORDER BY number COMMENT 'Migrations applied.'"
    )
    rows = client.query("SELECT number, checksum FROM schema_migrations FINAL").result_rows
    applied: dict[int, str] = {int(row[0]): str(row[1]) for row in rows}
    for migration in migrations():
        held = applied.get(migration.number)
        if held is not None and held != migration.checksum:
            raise MigrationError(
                f"migration {migration.name} was applied in another wording; a published one is never edited: "
                "restore the file and put the change into a new one"
            )
        if held is None:
            if migration.stops_old_code:
                _require_stop(client, migration, living)
            _apply(client, migration, cluster)
        yield f"{migration.name}: {'applied' if held is None else 'there already'}"
    yield from _set_retention(client, settings, on_cluster)
    yield _create_analyst(client, database, on_cluster)
    client.close()


def grant_rights(settings: ClickHouseSettings, statements: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Run the GRANT statements of users; rights that are held already stay, and none is taken away.

    Args:
        statements: by user. The users have to exist.

    Yields:
        one line for each user.

    Raises:
        MigrationError: a user does not exist, or the own user may not grant.
    """
    client = connect(settings, None)
    for user, grants in statements.items():
        for statement in grants:
            try:
                client.command(statement)
            except ClickHouseError as error:
                raise MigrationError(
                    f"{user} can't be given its rights: {str(error).splitlines()[0]}; make the user by CREATE USER "
                    f"{user} IDENTIFIED BY '...', and run this as a user with all rights WITH GRANT OPTION"
                ) from None
        yield f"{user}: {len(grants)} grants"
    client.close()


def _set_retention(client: Client, settings: ClickHouseSettings, on_cluster: str) -> Iterator[str]:
    """Set the tables' TTLs by the settings. The change itself rewrites no row; later merges drop old rows."""
    for table, days in (
        ("raw_events_store", settings.raw_events_retention_days),
        ("post_snapshots_store", settings.snapshots_retention_days),
        ("channel_snapshots_store", settings.snapshots_retention_days),
    ):
        engine = client.query(
            "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {t:String}",
            parameters={"t": table},
        ).result_rows[0][0]
        held = re.search(r"TTL .*?toIntervalDay\((\d+)\)", engine)
        if (int(held[1]) if held else 0) == days:
            continue
        change = f"MODIFY TTL toDateTime(captured_at) + toIntervalDay({days})" if days else "REMOVE TTL"
        try:
            client.command(f"ALTER TABLE {table}{on_cluster} {change}", settings={"materialize_ttl_after_modify": 0})
        except ClickHouseError as error:
            raise MigrationError(f"the retention of {table} can't be set: {str(error).splitlines()[0]}") from None
        yield f"{table}: kept {f'{days} days' if days else 'for ever'}"


def _create_analyst(client: Client, database: str, on_cluster: str) -> str:
    """Create the role for analysts, which may read this database alone; operators grant the role to users."""
    try:
        client.command(f"CREATE ROLE IF NOT EXISTS analyst{on_cluster}")
        client.command(f"GRANT{on_cluster} SELECT ON {database}.* TO analyst")
    except ClickHouseError as error:
        # The embedded engine has no users of its own, and a managed server may keep its users elsewhere.
        code = getattr(error, "code", None)
        reason = f"code {code}" if code else "refused"
        return f"role analyst: not made here ({reason}); this server keeps its users elsewhere"
    return f"role analyst: reads {database}"


def _require_stop(client: Client, migration: Migration, living: Living) -> None:
    """Refuse a migration that needs a stop while a writer lives; tables that nobody claimed were never written."""
    if not client.query("SELECT count() FROM partition_claims").result_rows[0][0]:
        return
    found = living()
    if found is None:
        raise MigrationError(
            f"{migration.name} needs that no aggregator runs, which only Kafka knows: set TIDEMARK_KAFKA_BOOTSTRAP as "
            "for the aggregators, or stop them and add --stopped"
        )
    if found:
        raise MigrationError(
            f"{migration.name} needs that no aggregator runs, and {', '.join(found)} do; stop them, run `tidemark "
            "migrate`, then start the new version: events wait in Kafka meanwhile"
        )


def _is_read_only(error: BaseException) -> bool:
    """Whether a replica takes nothing in yet: for a moment after it is made, and while ZooKeeper is away."""
    return getattr(error, "code", None) == _TABLE_IS_READ_ONLY


def _apply(client: Client, migration: Migration, cluster: str | None) -> None:
    patiently = Retrying(
        retry=retry_if_exception(_is_read_only), stop=stop_after_delay(_READ_ONLY_SECONDS),
        wait=wait_random_exponential(0.1, max=2), reraise=True,
    )  # fmt: skip
    for statement in migration.statements(cluster):
        try:
            patiently(client.command, statement)
        except ClickHouseError as error:
            line = str(error).splitlines()[0]
            raise MigrationError(f"migration {migration.name} failed: {line}") from None
    client.insert(
        "schema_migrations",
        [[migration.number, migration.name, migration.checksum]],
        column_names=["number", "name", "checksum"],
    )
