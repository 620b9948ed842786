"""docs/deployment.md names commands, settings, users and secrets that there are."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import yaml

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
    (policy,) = re.findall(r"^# (networkPolicy: .*)$", written, re.MULTILINE)
    assert yaml.safe_load(policy)["networkPolicy"]["dependencyPeers"] == [], "for engines on public addresses"
    check(yaml.safe_load(policy), known)


def test_its_commands_for_kubernetes_name_the_secrets_of_the_values(tmp_path: Path) -> None:
    """The block for Kubernetes, with stand-ins for its tools; tests/e2e/test_deployment_page.py runs the others."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("kubectl", "helm"):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "$CALLS"\n')
        (tools / name).chmod(0o755)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "ca.crt").touch()
    (block,) = (block for block in BLOCKS if block.startswith("export NAMESPACE="))
    told = {
        "TIDEMARK_KAFKA_BOOTSTRAP": "kafka:9093",
        "TIDEMARK_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "TIDEMARK_SCHEMA_REGISTRY_URL": "https://user:password@registry:8081",
        "TIDEMARK_TOPIC_PARTITIONS": "16",
    }
    done = subprocess.run(
        ["sh", "-eu", "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), **told},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "calls").read_text()
    assert "password" not in said
    values = yaml.safe_load((tmp_path / "values.yaml").read_text())
    made = set(re.findall(r"create secret generic (\S+)", said))
    assert made == {values[part]["existingSecret"] for part in ("authority", "registry", "clickhouse", "secrets")} | {
        values["kafka"]["sasl"]["existingSecret"]
    }
    assert "helm install tidemark infra/helm/tidemark --namespace tidemark --values values.yaml" in said
    assert values["kafka"]["bootstrap"] == "kafka:9093"


def test_the_image_is_built_for_the_architecture_that_its_packages_have() -> None:
    for command in re.findall(r"^docker build .*$", CODE, re.MULTILINE):
        assert "--platform linux/amd64" in command
    needs = PAGE[: PAGE.index("## 1.")]
    assert "amd64" in needs


def test_a_machine_gets_every_file_that_its_units_name() -> None:
    (block,) = (block for block in BLOCKS if block.startswith("umask 022"))
    for path in (INFRA / "systemd").glob("*.service"):
        for place in re.findall(r"(?<=[:=])/etc/tidemark/[\w./-]+", path.read_text(encoding="utf-8")):
            folder, _, name = place.rpartition("/")
            taken = rf"secrets/{name}\b|secrets/{Path(folder).name}/\*"
            assert re.search(rf"^install -m 0600 .*(?:{taken}).* {folder}$", block, re.MULTILINE), place
    (enabled,) = re.findall(r"^systemctl enable --now (.*)$", block, re.MULTILINE)
    for unit in enabled.split():
        name = re.sub(r"@\d", "@", unit)
        assert (INFRA / "systemd" / (name if "." in name else f"{name}.service")).exists(), unit


def test_every_file_that_it_names_is_there() -> None:
    for path in set(re.findall(r"\binfra/[\w./-]+[\w]", CODE)):
        assert (INFRA.parent / path).exists(), path
