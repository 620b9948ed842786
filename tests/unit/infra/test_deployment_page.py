"""docs/deployment.md names commands, settings, users and secrets that there are."""

from __future__ import annotations

import re

import yaml

from schemas import clickhouse_rights, kafka_rights
from tests.support.deployments import INFRA, commands, settings_in, unknown_settings

PAGE = (INFRA.parent / "docs" / "deployment.md").read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


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


def test_every_file_that_it_names_is_there() -> None:
    for path in set(re.findall(r"\binfra/[\w./-]+[\w]", CODE)):
        assert (INFRA.parent / path).exists(), path
