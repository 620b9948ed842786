"""compose.yaml: the product's commands and settings, secrets as files, nothing open but the query API on this machine.

The client `docker compose` checks it as well, where there is one.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.status.addresses import parse_targets
from tests.support import containers
from tests.support.deployments import INFRA, commands, settings_in, unknown_settings

FOLDER = INFRA / "compose"
TEXT = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
ENGINES = {"kafka", "registry", "clickhouse"}
OURS = {name: service for name, service in SERVICES.items() if name not in ENGINES}
ONE_SHOT = {"topics", "migrate"}


def test_it_has_the_engines_all_services_and_the_deploy_steps() -> None:
    assert set(SERVICES) >= ENGINES | ONE_SHOT | {"aggregator", "poller", "notifier", "query-api"}


def test_the_engines_are_those_that_the_tests_run_on() -> None:
    assert SERVICES["kafka"]["image"] == containers.KAFKA_IMAGE
    assert SERVICES["registry"]["image"] == containers.REGISTRY_IMAGE
    assert SERVICES["clickhouse"]["image"] == containers.CLICKHOUSE_IMAGE


def test_every_command_and_every_setting_exists() -> None:
    for name, service in OURS.items():
        assert service["command"][0] in commands(), name
    assert not unknown_settings(settings_in(TEXT) - {"TIDEMARK"})


def test_secrets_come_from_files_alone() -> None:
    declared = set(COMPOSE["secrets"])
    assert all(list(secret) == ["file"] for secret in COMPOSE["secrets"].values())
    for name, service in SERVICES.items():
        given = set(service.get("secrets", ()))
        assert given <= declared
        used = set()
        for setting, value in service.get("environment", {}).items():
            is_secret = any(word in setting for word in ("PASSWORD", "KEY", "SECRET", "CLICKHOUSE_URL"))
            if is_secret:
                assert setting.endswith("_FILE"), f"{name}: {setting} is in the file"
                used.add(value.removeprefix("/run/secrets/"))
        assert used == given, name


def test_our_containers_can_write_nothing_but_their_tmp_and_are_nobody_in_particular() -> None:
    for name, service in OURS.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["tmpfs"] == ["/tmp"], name
        assert service["user"].startswith("${CONTAINER_UID"), name


def test_only_the_query_api_is_open_and_only_on_this_machine() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "query-api": ["127.0.0.1:8080:8080"]
    }


def test_services_wait_for_the_deploy_steps_and_these_for_healthy_engines() -> None:
    for name, service in OURS.items():
        conditions = {other: told["condition"] for other, told in service["depends_on"].items()}
        if name in ONE_SHOT:
            assert set(conditions.values()) == {"service_healthy"}
            assert set(conditions) <= ENGINES
        else:
            assert conditions == dict.fromkeys(ONE_SHOT, "service_completed_successfully")
    for name in ENGINES:
        assert SERVICES[name]["healthcheck"]["test"], name
        assert SERVICES[name]["volumes"], f"{name} keeps its data"


def test_the_migration_can_ask_kafka_for_the_living_aggregators() -> None:
    migrate = SERVICES["migrate"]
    assert (
        migrate["environment"]["TIDEMARK_KAFKA_BOOTSTRAP"]
        == OURS["aggregator"]["environment"]["TIDEMARK_KAFKA_BOOTSTRAP"]
    )
    assert "kafka" in migrate["depends_on"]


def test_our_image_is_built_and_run_for_the_architecture_that_its_packages_have() -> None:
    for name, service in OURS.items():
        assert service["platform"] == "linux/amd64", name


def test_the_operators_page_asks_every_service() -> None:
    told = SERVICES["query-api"]["environment"]
    targets = parse_targets(told["TIDEMARK_STATUS_TARGETS"])
    running = set(OURS) - ONE_SHOT - {"query-api"}
    hosts = {f"{name}-0": f"http://{name}:9100" for name in running}
    assert targets == {**hosts, "query-api": "http://127.0.0.1:9100"}
    for name in running:
        assert OURS[name]["environment"]["TIDEMARK_METRICS_HOST"] == "0.0.0.0", "another container asks"
    assert re.search(r"TIDEMARK_METRICS_PORT=9100\b", (INFRA / "docker" / "Dockerfile").read_text(encoding="utf-8"))


def test_the_secrets_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "compose"
    folder.mkdir()
    shutil.copy(FOLDER / "up.sh", folder)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "docker").write_text('#!/bin/sh\necho "docker $*"\n')
    (bin_ / "docker").chmod(0o755)
    seen = []
    for _ in range(2):
        done = subprocess.run(
            ["sh", str(folder / "up.sh")], env={**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}"},
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        assert "docker compose up --build --detach --wait" in done.stdout
        seen.append({path.name: path.read_text() for path in (folder / "secrets").iterdir()})
    assert seen[0] == seen[1]
    assert set(seen[0]) == set(COMPOSE["secrets"])
    assert len(set(seen[0].values())) == len(seen[0])
    assert all(len(value) >= 64 for value in seen[0].values())
    assert seen[0]["clickhouse_password"] in seen[0]["clickhouse_url"]
    for path in (folder / "secrets", *(folder / "secrets").iterdir(), folder / ".env"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    ignored = (FOLDER / ".gitignore").read_text().split()
    assert {"secrets/", ".env", "platforms.env"} <= set(ignored)


def test_dockers_own_client_takes_it() -> None:
    if shutil.which("docker") is None:
        pytest.skip("there is no docker client here")
    told = {**os.environ, "CONTAINER_UID": "1000", "CONTAINER_GID": "1000"}
    has_compose = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    if not has_compose:
        pytest.skip("this docker client has no compose plugin; `make compose-check` builds it and runs this")
    done = subprocess.run(
        ["docker", "compose", "--file", str(FOLDER / "compose.yaml"), "config", "--quiet"],
        env=told, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
