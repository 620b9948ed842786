"""The systemd units: the product's commands and settings, secrets as credentials, confined."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from schemas import clickhouse_rights, kafka_rights
from tests.support.deployments import INFRA, commands, settings_in, unknown_settings

UNITS = sorted((INFRA / "systemd").glob("*.service"))
TIMERS = sorted((INFRA / "systemd").glob("*.timer"))
CREDENTIALS = {
    "kafka-password": "TIDEMARK_KAFKA_SASL_PASSWORD_FILE",
    "clickhouse-url": "TIDEMARK_CLICKHOUSE_URL_FILE",
    "secret-keys": "TIDEMARK_SECRET_KEYS_FILE",
    "admin-key": "TIDEMARK_ADMIN_KEY_FILE",
}

# The deploy steps, each with the one that comes before.
_STEP_BEFORE = {"tidemark-topics.service": (), "tidemark-deploy.service": ("tidemark-topics.service",)}


def entries(path: Path) -> list[tuple[str, str]]:
    return re.findall(r"^(\w+)=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_a_command_with_settings_that_exist(path: Path) -> None:
    told = entries(path)
    starts = [value for name, value in told if name == "ExecStart"]
    assert starts
    for start in starts:
        assert re.fullmatch(r"/usr/local/tidemark/bin/tidemark [a-z-]+", start)
        assert start.split()[-1] in commands()
    assert not unknown_settings(settings_in(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_has_its_secrets_as_files_and_can_do_little_else(path: Path) -> None:
    told = entries(path)
    given = {value.partition(":")[0] for name, value in told if name == "LoadCredential"}
    assert given
    for credential in given:
        assert ("Environment", f"{CREDENTIALS[credential]}=%d/{credential}") in told
    for wanted in (("User", "tidemark"), ("NoNewPrivileges", "yes"), ("ProtectSystem", "strict"), ("PrivateTmp", "yes"),
                   ("CapabilityBoundingSet", "")):  # fmt: skip
        assert wanted in told


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_has_the_users_of_its_command(path: Path) -> None:
    """As `tidemark topics --acls --users` and `migrate --grants --users` name their files."""
    told = entries(path)
    (role,) = [value.split()[-1] for name, value in told if name == "ExecStart"]
    places = dict(value.split(":") for name, value in told if name == "LoadCredential")
    assert places.pop("kafka-password") == f"/etc/tidemark/kafka/{role}"
    assert ("Environment", f"TIDEMARK_KAFKA_SASL_USERNAME=tidemark-{role}") in told
    assert role in kafka_rights.ROLES
    assert ("clickhouse-url" in places) is (role in clickhouse_rights.ROLES)
    assert places.pop("clickhouse-url", f"/etc/tidemark/clickhouse/{role}") == f"/etc/tidemark/clickhouse/{role}"
    assert places == {name: f"/etc/tidemark/{name}" for name in places}


def test_a_service_reads_its_secrets_again_at_a_reload() -> None:
    for path in UNITS:
        is_service = any(name in path.name for name in ("poller", "aggregator", "notifier", "query-api"))
        assert (("ExecReload", "/bin/kill -HUP $MAINPID") in entries(path)) is is_service, path.name


def test_an_engine_that_does_not_answer_at_boot_leaves_nothing_down() -> None:
    for path in UNITS:
        told = entries(path)
        assert not {"Requires", "Requisite", "BindsTo", "PartOf"} & {name for name, _ in told}, path.name
        if "audit" in path.name:
            continue
        assert ("StartLimitIntervalSec", "0") in told, f"{path.name} would be given up"
        is_step = ("Type", "oneshot") in told
        assert ("Restart", "on-failure" if is_step else "always") in told, path.name
        if is_step:
            assert ("RestartSec", "10") in told
        (wanted,) = [value.split() for name, value in told if name == "Wants"]
        (after,) = [value.split() for name, value in told if name == "After"]
        assert wanted == after
        assert set(wanted) == {"network-online.target", *_STEP_BEFORE.get(path.name, ("tidemark-deploy.service",))}


def test_a_timer_starts_a_unit_that_is_there() -> None:
    assert TIMERS
    for timer in TIMERS:
        assert timer.with_suffix(".service") in UNITS


def test_systemds_own_check_takes_them(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    for path in (*UNITS, *TIMERS):
        # It looks for the program of a unit.
        text = path.read_text(encoding="utf-8").replace("/usr/local/tidemark/bin/tidemark", "/bin/true")
        (tmp_path / path.name).write_text(text)
    names = [path.name.replace("@.", "@0.") for path in (*UNITS, *TIMERS)]
    for path in UNITS:
        if "@" in path.name:
            (tmp_path / path.name.replace("@.", "@0.")).write_text((tmp_path / path.name).read_text())
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in names)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
