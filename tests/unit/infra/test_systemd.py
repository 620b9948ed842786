"""The systemd units: the product's commands and settings, secrets as credentials, confined."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from schemas import clickhouse_rights, kafka_rights
from services.status.addresses import parse_targets
from tests.support.deployments import INFRA, commands, settings_in, unknown_settings

UNITS = sorted((INFRA / "systemd").glob("*.service"))
TIMERS = sorted((INFRA / "systemd").glob("*.timer"))
CREDENTIALS = {
    "kafka-password": "TIDEMARK_KAFKA_SASL_PASSWORD_FILE",
    "clickhouse-url": "TIDEMARK_CLICKHOUSE_URL_FILE",
    "secret-keys": "TIDEMARK_SECRET_KEYS_FILE",
    "admin-key": "TIDEMARK_ADMIN_KEY_FILE",
}

_PORT = "TIDEMARK_METRICS_PORT="
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


def metrics_port(unit: str) -> int:
    """The port of a unit's metrics, such as of `tidemark-poller@0`."""
    name, _, instance = unit.partition("@")
    told = entries(INFRA / "systemd" / f"{name}{'@' if instance else ''}.service")
    (port,) = [value.partition("=")[2] for key, value in told if key == "Environment" and value.startswith(_PORT)]
    return int(port.replace("%i", instance))


def test_every_unit_of_a_machine_has_a_port_for_its_metrics_and_prometheus_asks_there() -> None:
    services = [path.stem for path in UNITS if ("Restart", "always") in entries(path)]
    units = [f"{name}{digit}" for name in services if "@" in name for digit in range(10)]
    ports = {unit: metrics_port(unit) for unit in (*units, *(name for name in services if "@" not in name))}
    assert len(set(ports.values())) == len(ports)
    jobs = yaml.safe_load((INFRA / "prometheus" / "machines.yml").read_text(encoding="utf-8"))["scrape_configs"]
    asked = {
        job["job_name"]: {
            int(target.rpartition(":")[2]) for group in job["static_configs"] for target in group["targets"]
        }
        for job in jobs
    }
    assert set(asked) == {name.removesuffix("@") for name in services}
    for job, numbers in asked.items():
        own = {port for unit, port in ports.items() if unit.partition("@")[0] == job}
        assert numbers <= own, job
        assert ports.get(f"{job}@0", ports.get(job)) in numbers, "the unit that docs/deployment.md enables"


def test_no_setting_of_every_unit_replaces_a_units_own() -> None:
    """EnvironmentFile= wins over Environment=, whichever comes first."""
    page = (INFRA.parent / "docs" / "deployment.md").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"env \| grep -E '(\S+)' .*secrets/tidemark\.env", page)
    for path in UNITS:
        for name, value in entries(path):
            if name == "Environment" and "KAFKA_SASL" not in value and "CLICKHOUSE_URL" not in value:
                assert not re.search(pattern, value), f"{path.name}: {value}"


def test_the_operators_page_of_a_machine_asks_its_units() -> None:
    told = entries(INFRA / "systemd" / "tidemark-query-api.service")
    (targets,) = [value for name, value in told if name == "Environment" and "STATUS_TARGETS" in value]
    page = (INFRA.parent / "docs" / "deployment.md").read_text(encoding="utf-8")
    (enabled,) = re.findall(r"^systemctl enable --now (.*)$", page, re.MULTILINE)
    services = [unit for unit in enabled.split() if unit not in ("tidemark-deploy", "tidemark-audit.timer")]
    assert parse_targets(targets.partition("=")[2]) == {
        unit.removeprefix("tidemark-").replace("@", "-"): f"http://127.0.0.1:{metrics_port(unit)}" for unit in services
    }


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
