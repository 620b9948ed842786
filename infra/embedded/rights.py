"""`python -m infra.embedded.rights PASSWORDS`: makes the users of `tidemark up --secure` and gives each its rights.

In: the file of passwords; addresses and the setup's own users in the environment. Out: users in Kafka and ClickHouse,
with the rights that `tidemark topics --acls --apply` and `tidemark migrate --grants --apply` give. Safe to run again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.embedded.secured import CLICKHOUSE_PREFIX, CLIENT, KAFKA_PREFIX, SETUP, clickhouse_user, kafka_user
from schemas.kafka_rights import Right
from schemas.topic_names import RAW
from services.commands import rights
from services.runtime.acls import AclsError, AclsSettings, grant, make_users
from services.runtime.migrations import MigrationError, connect
from services.runtime.settings import ClickHouseSettings, exit_with, load_or_exit


def main(passwords: Path) -> None:
    """Make users and rights; ends the process with one line where an engine refuses."""
    held = json.loads(passwords.read_text(encoding="utf-8"))
    kafka, clickhouse = load_or_exit(AclsSettings), load_or_exit(ClickHouseSettings)
    try:
        make_users(kafka, {kafka_user(role): one for role, one in held["kafka"].items() if role != SETUP})
        rights.acls((), KAFKA_PREFIX, is_applied=True)
        list(grant(kafka, {f"User:{kafka_user(CLIENT)}": _of_clients(kafka)}))
        _make_clickhouse_users(clickhouse, held["clickhouse"])
        rights.grants((), CLICKHOUSE_PREFIX, is_applied=True)
    except (AclsError, MigrationError) as error:
        exit_with(str(error), 1)


def _of_clients(kafka: AclsSettings) -> tuple[Right, ...]:
    return (
        Right("topic", "*", ("Read", "DescribeConfigs")),
        Right("topic", kafka.topic(RAW), ("Write",)),
        Right("group", "*", ("Read",)),
    )


def _make_clickhouse_users(clickhouse: ClickHouseSettings, passwords: Mapping[str, str]) -> None:
    client = connect(clickhouse, None)
    for role, password in passwords.items():
        client.command(f"CREATE USER IF NOT EXISTS {clickhouse_user(role)} IDENTIFIED BY '{password}'")
    client.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
