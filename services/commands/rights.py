"""`tidemark topics --acls` and `tidemark migrate --grants`: the least rights of each service, printed or applied."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from schemas import clickhouse_rights, kafka_rights
from services.commands.usable import usable
from services.runtime.acls import AclsError, AclsSettings, grant, installation
from services.runtime.migrations import MigrationError, grant_rights
from services.runtime.settings import ClickHouseSettings, exit_with, load_or_exit

# The users of a running `tidemark up --secure` that may do everything.
SETUP = "setup"


def acls(services: Sequence[str], principal_prefix: str, *, is_applied: bool, users: Path | None = None) -> None:
    """Print the ACLs as lines of `kafka-acls`, or create them; with a folder for passwords, make the users as well."""
    roles = _chosen(services, kafka_rights.ROLES)
    settings = usable(AclsSettings, user=SETUP) if is_applied else load_or_exit(AclsSettings)
    names = installation(settings)
    rights = {f"User:{principal_prefix}{role}": kafka_rights.kafka_rights(role, names) for role in roles}
    if is_applied:
        from services.commands.users import UsersError, make_kafka_users

        try:
            if users is not None:
                for line in make_kafka_users(settings, users, {role: f"{principal_prefix}{role}" for role in roles}):
                    print(line, flush=True)
            for line in grant(settings, rights):
                print(line, flush=True)
        except (AclsError, UsersError) as error:
            exit_with(str(error), 1)
        return
    tool = f"kafka-acls --bootstrap-server {settings.kafka_bootstrap} --command-config admin.properties"
    for principal, held in rights.items():
        print(f"# {principal}")
        for right in held:
            print(f"{tool} {kafka_rights.kafka_acls_line(right, principal)}")


def grants(services: Sequence[str], user_prefix: str, *, is_applied: bool, users: Path | None = None) -> None:
    """Print the GRANT statements of each service's user, or run them; with a folder for addresses, make the users as
    well."""
    roles = _chosen(services, clickhouse_rights.ROLES)
    settings = usable(ClickHouseSettings, user=SETUP) if is_applied else load_or_exit(ClickHouseSettings)
    database, cluster = settings.clickhouse_database, settings.clickhouse_cluster
    named = {role: f"{user_prefix}{role.replace('-', '_')}" for role in roles}
    by_user = {user: clickhouse_rights.grants(role, database, user, cluster) for role, user in named.items()}
    if is_applied:
        from services.commands.users import UsersError, make_clickhouse_users

        try:
            if users is not None:
                for line in make_clickhouse_users(settings, users, named):
                    print(line, flush=True)
            for line in grant_rights(settings, by_user):
                print(line, flush=True)
        except (MigrationError, UsersError) as error:
            exit_with(str(error), 1)
        return
    for user, statements in by_user.items():
        print(f"-- {user}")
        for statement in statements:
            print(f"{statement};")


def _chosen(services: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    unknown = sorted(set(services) - set(known))
    if unknown:
        exit_with(f"--service {unknown[0]}: no such service; there are {', '.join(known)}")
    return [name for name in known if name in services] if services else known
