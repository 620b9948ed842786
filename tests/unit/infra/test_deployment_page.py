"""docs/deployment.md names commands, settings, users and secrets that there are."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import yaml

from schemas import clickhouse_rights, kafka_rights
from tests.support.deployments import INFRA, commands, settings_in, unknown_settings

PAGE = (INFRA.parent / "docs" / "deployment.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
CODE = "\n".join(BLOCKS)


def test_its_commands_and_settings_exist() -> None:
    called = set(re.findall(r"(?:^|[ (|])tidemark ([a-z][a-z-]+)", CODE, re.MULTILINE)) - {"infra", "python3"}
    assert {"topics", "migrate", "keys"} <= called
    # `helm install tidemark infra/...` and `useradd ... tidemark` are names, not calls.
    assert called - commands() == set()
    assert not unknown_settings(settings_in(PAGE) - {"TIDEMARK_KAFKA", "TIDEMARK"})


def test_its_users_are_those_that_have_rights() -> None:
    (kafka,) = re.findall(r'^ROLES="(.*)"$', CODE, re.MULTILINE)
    (clickhouse,) = re.findall(r"^for role in (migrate .*); do$", CODE, re.MULTILINE)
    assert set(kafka.split()) <= set(kafka_rights.ROLES)
    assert {role.replace("_", "-") for role in clickhouse.split()} <= set(clickhouse_rights.ROLES)
    # The chart's services and jobs.
    assert {"poller", "aggregator", "query-api", "topics", "audit"} <= set(kafka.split())
    assert {"aggregator", "query_api", "migrate", "audit"} <= set(clickhouse.split())


def test_its_values_are_values_of_the_chart() -> None:
    (written,) = re.findall(r"cat > values.yaml <<END\n(.*?)^END$", CODE, re.MULTILINE | re.DOTALL)
    values = yaml.safe_load(re.sub(r"\$\w+", "1", written))
    known = yaml.safe_load((INFRA / "helm" / "tidemark" / "values.yaml").read_text(encoding="utf-8"))

    def check(part: dict[str, object], of: dict[str, object]) -> None:
        for name, value in part.items():
            assert name in of, name
            held = of[name]
            if isinstance(value, dict) and isinstance(held, dict):
                check(value, held)

    check(values, known)


def test_its_users_and_secrets_are_made_by_its_commands(tmp_path: Path) -> None:
    """Step 3 and the secrets of step 4, with stand-ins for the tools of Kafka, ClickHouse and Kubernetes."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("kafka-configs", "kafka-acls", "clickhouse-client", "kubectl"):
        (tools / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >> "$CALLS"\n[ {name} != clickhouse-client ] || cat >> "$CALLS"\n'
        )
        (tools / name).chmod(0o755)
    (tools / "tidemark").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m services.cli "$@"\n')
    (tools / "tidemark").chmod(0o755)
    steps = [block for block in BLOCKS if block.startswith(("export TIDEMARK", 'ROLES="', "for role", "openssl rand"))]
    assert len(steps) == 4
    calls = tmp_path / "calls"
    done = subprocess.run(
        ["sh", "-eu", "-c", "\n".join(steps)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(INFRA.parent), "CALLS": str(calls)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = calls.read_text()
    assert "--entity-name tidemark-notifier --add-config SCRAM-SHA-512=[password=" in said
    assert "kafka-acls --bootstrap-server kafka-1:9093,kafka-2:9093 --command-config admin.properties --add " in said
    assert "CREATE USER IF NOT EXISTS tidemark_query_api IDENTIFIED BY '" in said
    assert "GRANT SELECT ON tidemark.post_totals_store TO tidemark_query_api;" in said
    made = {str(path.relative_to(tmp_path)) for path in (tmp_path / "secrets").rglob("*") if path.is_file()}
    assert {"secrets/admin-key", "secrets/kafka/query-api", "secrets/clickhouse/query-api"} <= made
    assert not (tmp_path / "users.sql").exists(), "it holds passwords"
    for path in (tmp_path / "secrets").rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    url = (tmp_path / "secrets/clickhouse/query-api").read_text()
    assert re.fullmatch(r"https://tidemark_query_api:[0-9a-f]{48}@clickhouse:8443/tidemark", url)


def test_every_file_that_it_names_is_there() -> None:
    for path in set(re.findall(r"\binfra/[\w./-]+[\w]", CODE)):
        assert (INFRA.parent / path).exists(), path
