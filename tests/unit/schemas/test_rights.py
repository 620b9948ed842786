"""The rights follow from what the code does: every topic and table that it names is in them, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import clickhouse_rights, topic_names
from schemas.kafka_rights import COMMANDS, ROLES, SERVICES, Names, kafka_acls_line, kafka_rights, topics_of
from schemas.topic_specs import topic_specs
from services.aggregator.erase.tables import TABLES

ROOT = Path(__file__).parents[3]
# A name may stand for several topics.
NAMES = {
    name: {value} if isinstance(value, str) else set(value)
    for name, value in vars(topic_names).items()
    if name.isupper()
}
FOLDERS = {"poller": "poller", "aggregator": "aggregator", "query-api": "query_api", "notifier": "notifier"}
# Modules of commands, which have users of their own.
COMMANDS_OF = {
    "poller": ("requests/backfill", "requests/check"),
    "aggregator": ("audit/", "backup/", "dead_letter_commands", "dead_letters", "redrive", "catalog_export", "erase/",
                   "erased", "rebuild", "survey", "replay"),
    "query-api": (),
    "notifier": (),
}  # fmt: skip


def modules(service: str) -> Iterator[Path]:
    folder = ROOT / "services" / FOLDERS[service]
    for path in sorted(folder.rglob("*.py")):
        if not str(path.relative_to(folder)).startswith(COMMANDS_OF[service]):
            yield path


def topics_named(service: str) -> set[str]:
    """The topics whose constants a service imports."""
    found = set()
    for path in modules(service):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "schemas.topic_names":
                found |= {topic for alias in node.names for topic in NAMES[alias.name]}
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "topic_names":
                found |= NAMES[node.attr]
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_rights_on_the_topics_that_its_code_names_and_no_others(service: str) -> None:
    reads, writes = topics_of(service)
    assert topics_named(service) == {*reads, *writes}, (
        f"correct producers and consumers in schemas/topics for {service}"
    )


def test_every_topic_has_somebody_who_writes_it_and_the_files_name_nobody_else() -> None:
    known = {role.replace("-", "_") for role in ROLES} | {"any", "operators", "subscribers"}
    for spec in topic_specs():
        assert {*spec.producers, *spec.consumers} <= known, spec.name


@pytest.mark.parametrize("role", ROLES)
def test_rights_have_the_prefix_of_the_installation(role: str) -> None:
    rights = kafka_rights(role, Names(prefix="team."))
    assert rights
    assert all(right.name.startswith("team.") for right in rights)


def test_only_the_deploy_step_may_create_and_alter() -> None:
    for role in ROLES:
        verbs = {verb for right in kafka_rights(role, Names()) for verb in right.operations}
        if role == "workspace-delete":
            verbs -= {"DescribeConfigs"}  # it tells for how long topics keep what they hold
        allowed = {"Create", "Describe", "DescribeConfigs", "AlterConfigs"} if role == "topics" else {
            "Read", "Write", "Describe",
        }  # fmt: skip
        assert verbs <= allowed, role


def test_tokens_are_for_those_who_seal_and_open_them() -> None:
    may = {role for role in ROLES for right in kafka_rights(role, Names()) if right.name == topic_names.TOKENS}
    assert may == {
        *("poller", "query-api", "platforms-check", "backup", "restore", "topics", "secrets-reencrypt"),
        "workspace-delete",
    }


def test_a_right_is_a_line_of_the_brokers_own_tool() -> None:
    lines = [kafka_acls_line(right, "User:u") for right in kafka_rights("aggregator", Names())]
    assert "--add --allow-principal User:u --operation Read --group tidemark-aggregator" in lines
    assert (
        "--add --allow-principal User:u --operation Describe --operation Write --transactional-id tidemark-aggregator- "
        "--resource-pattern-type prefixed" in lines
    )


def tables_named(paths: Iterator[Path] | list[Path]) -> set[str]:
    """The tables that modules name in text; views have names that texts may hold by chance."""
    tables = {name for name, kind in clickhouse_rights.created().items() if kind == "TABLE"}
    found: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= tables & set(re.findall(r"\w+", node.value))
    return found


def test_the_query_api_reads_the_tables_that_its_code_names_and_writes_none() -> None:
    needs = clickhouse_rights.access("query-api")
    assert set(needs.selects) == tables_named(modules("query-api"))
    assert not needs.inserts
    assert not needs.deletes


def test_the_commands_and_the_aggregator_have_rights_on_every_table_that_their_code_names() -> None:
    folder = ROOT / "services" / "aggregator"
    held = {
        role: {*(needs := clickhouse_rights.access(role)).selects, *needs.inserts} for role in ("aggregator", "audit")
    }
    audit = sorted((folder / "audit").rglob("*.py"))
    assert tables_named(audit) <= held["audit"]
    service = [path for path in folder.glob("*.py") if not path.name.startswith(("rebuild", "survey", "redrive"))]
    assert tables_named(service) <= held["aggregator"]
    assert set(TABLES) == set(clickhouse_rights.access("workspace-delete").deletes)
    rebuild = clickhouse_rights.access("rebuild")
    assert tables_named([folder / "rebuild.py"]) <= {*rebuild.selects, *rebuild.inserts}


def test_every_right_is_on_a_table_that_the_migrations_make() -> None:
    for role in clickhouse_rights.ROLES:
        if role == "migrate":
            continue
        needs = clickhouse_rights.access(role)
        assert {*needs.selects, *needs.inserts, *needs.deletes} <= set(clickhouse_rights.created())


def test_grants_of_a_cluster_run_on_it() -> None:
    for role in clickhouse_rights.ROLES:
        for statement in clickhouse_rights.grants(role, "tidemark", "u", "main"):
            assert statement.startswith("GRANT ON CLUSTER `main` "), statement


def test_commands_are_commands() -> None:
    from services.cli import app

    groups = {group.name for group in app.registered_groups}
    commands = {(command.name or command.callback.__name__) for command in app.registered_commands if command.callback}
    subcommands = {
        "dead-letters",
        "redrive",
        "catalog-export",
        "workspace-export",
        "workspace-delete",
        "platforms-check",
        "backfill",
        "backup",
        "restore",
        "secrets-reencrypt",
    }
    assert set(COMMANDS) - subcommands <= commands
    assert {"dead-letters", "catalog", "platforms", "poller", "backup"} <= groups


def test_a_deleted_workspace_is_removed_from_every_table_that_has_a_column_of_it() -> None:
    found = set()
    for path in sorted(clickhouse_rights.MIGRATIONS_DIR.glob("*.sql")):
        for statement in path.read_text(encoding="utf-8").split(";\n"):
            created = re.search(r"CREATE TABLE IF NOT EXISTS (\w+) ", statement)
            if created and "workspace_id String" in statement:
                found.add(created[1])
    assert found == set(TABLES)
