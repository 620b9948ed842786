"""The least rights in ClickHouse of each service and command, over the tables that `clickhouse/*.sql` makes. Pure.

Services read and write the stores by their own names; public names are views, which read with the rights of their
reader. Services and the topics-only commands that are missing here use no ClickHouse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

MIGRATIONS_DIR: Final = Path(__file__).parent / "clickhouse"
# Names with `${run}` in them exist during one migration only.
_CREATED = re.compile(r"CREATE (TABLE|VIEW) IF NOT EXISTS (\w+) ")
# The record of the migrations, which `tidemark migrate` makes itself.
_MIGRATIONS_TABLE = "schema_migrations"

_RAW = "raw_events_store"
_CATALOG = ("channels_store", "posts_store")
_SNAPSHOTS = ("post_snapshots_store", "channel_snapshots_store")
_REGISTERS = ("latest_post_metrics_store", "latest_channel_metrics_store")
_TOTALS = ("post_totals_store", "channel_totals_store")
_FIGURES = (*_SNAPSHOTS, *_REGISTERS, *_TOTALS)
_ACTIVE = "active_generations"
_DELIVERIES = "webhook_deliveries"
# Every table with rows of workspaces.
_OF_WORKSPACES = (_RAW, *_CATALOG, *_FIGURES, _DELIVERIES, "rebuild_progress")
_VIEWS = ("raw_events", "post_snapshots", "channel_snapshots", "latest_post_metrics", "post_totals", "channel_totals")


@dataclass(frozen=True, slots=True)
class Access:
    """What one role does with tables.

    Attributes:
        selects, inserts: tables of the database.
        deletes: tables that lose rows by mutations, or whole partitions: the privilege ALTER DELETE.
        updates: tables with columns that mutations change: the privilege ALTER UPDATE.
        system: tables of the database `system` that the role reads.
        sees_tables: whether it needs the names and sizes of tables that it doesn't read.
    """

    selects: tuple[str, ...]
    inserts: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    sees_tables: bool = False


_AUDITED = (_ACTIVE, "rebuilds", _RAW, *_CATALOG, *_FIGURES)
_STATUS_TABLES = ("parts", "metrics", "disks")
_ACCESS: Final[dict[str, Access]] = {
    "aggregator": Access(
        selects=(
            _ACTIVE,
            "partition_claims",
            "rebuilds",
            "rebuild_progress",
            "rebuild_handovers",
            _RAW,
            *_CATALOG,
            *_REGISTERS,
            *_TOTALS,
        ),
        inserts=("partition_claims", "rebuild_handovers", "rebuild_progress", _RAW, *_CATALOG, *_FIGURES),
        deletes=_CATALOG,
    ),
    # Its admin API and its page for operators show what the command `status` prints.
    "query-api": Access(
        selects=(_ACTIVE, _RAW, *_CATALOG, *_FIGURES, _DELIVERIES), system=_STATUS_TABLES, sees_tables=True
    ),
    "notifier": Access(selects=(), inserts=(_DELIVERIES,)),
    "audit": Access(selects=(*_AUDITED, "rebuild_progress"), system=("tables",)),
    "rebuild": Access(
        selects=(*_AUDITED, "rebuild_progress", "rebuild_handovers"),
        inserts=(_ACTIVE, "rebuilds", "rebuild_progress", _RAW, *_FIGURES),
        deletes=_FIGURES,
        system=("tables", "parts", "processes", "clusters"),
    ),
    "status": Access(selects=(), system=_STATUS_TABLES, sees_tables=True),
    "backup": Access(selects=(_RAW, _MIGRATIONS_TABLE)),
    "workspace-delete": Access(
        selects=("rebuilds", *_OF_WORKSPACES), inserts=("rebuild_progress",), deletes=_OF_WORKSPACES
    ),
    # The views that it reads, and what these read.
    "workspace-export": Access(selects=(*_VIEWS, _MIGRATIONS_TABLE, _ACTIVE, _RAW, *_CATALOG, *_FIGURES)),
    # After Kafka was lost: what ClickHouse knows newer than the backup, and raw events that are of no topic any more.
    "restore": Access(
        selects=(_RAW, _MIGRATIONS_TABLE, *_CATALOG, _DELIVERIES),
        inserts=(_RAW,),
        deletes=(_DELIVERIES,),
        updates=(_RAW,),
        system=("tables",),
    ),
}
ROLES: Final = ("migrate", *_ACCESS)


@cache
def created() -> dict[str, str]:
    """Every table and view that the migrations make, as TABLE or VIEW by name."""
    found = {_MIGRATIONS_TABLE: "TABLE"}
    for path in sorted(MIGRATIONS_DIR.glob("*.sql")):
        found |= {name: kind for kind, name in _CREATED.findall(path.read_text(encoding="utf-8"))}
    return found


def access(role: str) -> Access:
    """What a role does with the tables.

    Raises:
        KeyError: no such role, or the role `migrate`, whose rights are those to the whole database.
    """
    return _ACCESS[role]


def privileges(role: str, database: str) -> Iterator[tuple[str, str]]:
    """Yield what a role needs as (privileges, on what), in the words of GRANT.

    Raises:
        KeyError: there is no such role.
    """
    if role == "migrate":
        # CREATE OR REPLACE VIEW and EXCHANGE TABLES take the right to drop as well.
        rights = "SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, SHOW"
        yield rights, f"{database}.*"
        yield "CREATE ROLE", "*.*"
        yield "SELECT", "system.tables"
        return
    needs = access(role)
    for table in sorted({*needs.selects, *needs.inserts, *needs.deletes, *needs.updates}):
        by_privilege = (
            ("SELECT", needs.selects),
            ("INSERT", needs.inserts),
            ("ALTER DELETE", needs.deletes),
            ("ALTER UPDATE", needs.updates),
        )
        yield ", ".join(name for name, tables in by_privilege if table in tables), f"{database}.{table}"
    if needs.sees_tables:
        yield "SHOW TABLES", f"{database}.*"
    for table in needs.system:
        yield "SELECT", f"system.{table}"


def grants(role: str, database: str, user: str, cluster: str | None) -> list[str]:
    """The GRANT statements of one user.

    Args:
        cluster: the cluster on which all statements run; None on a single server.

    Raises:
        KeyError: there is no such role.
    """
    on_cluster = f" ON CLUSTER `{cluster}`" if cluster else ""
    # `migrate` passes SELECT on to the role of analysts.
    statements = [f"GRANT{on_cluster} {what} ON {where} TO {user}" for what, where in privileges(role, database)]
    if role == "migrate":
        statements.append(f"GRANT{on_cluster} SELECT ON {database}.* TO {user} WITH GRANT OPTION")
        if cluster:
            statements.append(f"GRANT{on_cluster} CLUSTER ON *.* TO {user}")
    return statements
