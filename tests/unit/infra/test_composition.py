"""What `tidemark up` tells its services, and what it puts into the ready-file."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.embedded.composition import NAMES, Plan, ports_needed
from infra.embedded.datadir import Secrets
from infra.embedded.up import dashboard_opened, platforms_asked
from services.platforms import all_platforms

SECRETS = Secrets("rw", "ro", "admin", "fernet")
ENGINES = frozenset({"kafka", "registry", "clickhouse"})


def plan(folder: Path, names: frozenset[str] = frozenset(NAMES), **inherited: str) -> Plan:
    ports = {name: 20000 + number for number, name in enumerate(ports_needed(names))}
    return Plan(folder, names, ports, SECRETS, inherited)


def test_every_service_is_told_the_same_addresses(tmp_path: Path) -> None:
    made = plan(tmp_path)
    told = made.environment()
    assert told["TIDEMARK_KAFKA_BOOTSTRAP"] == f"127.0.0.1:{made.ports['kafka']}"
    assert told["TIDEMARK_SCHEMA_REGISTRY_URL"] == f"http://127.0.0.1:{made.ports['registry']}/apis/ccompat/v7"
    assert told["TIDEMARK_CLICKHOUSE_URL"] == f"http://default:rw@127.0.0.1:{made.ports['clickhouse']}/tidemark"
    assert (told["TIDEMARK_ADMIN_KEY"], told["TIDEMARK_SECRET_KEYS"]) == ("admin", "fernet")


def test_what_the_user_set_stays(tmp_path: Path) -> None:
    told = plan(
        tmp_path,
        TIDEMARK_ADMIN_KEY="mine",
        TIDEMARK_SECRET_KEYS="new,old",
        TIDEMARK_X_BASE_URL="http://127.0.0.1:1",
        TIDEMARK_X_CLIENT_ID="id",
        TIDEMARK_RATE_LIMIT="7",
        HOME="/somewhere",
    ).environment()
    assert told["TIDEMARK_ADMIN_KEY"] == "mine"
    assert told["TIDEMARK_SECRET_KEYS"] == "new,old"
    assert told["TIDEMARK_X_BASE_URL"] == "http://127.0.0.1:1"
    assert told["TIDEMARK_X_CLIENT_ID"] == "id"
    assert told["TIDEMARK_SANDBOX_URL"] != told["TIDEMARK_X_BASE_URL"]
    assert (told["TIDEMARK_RATE_LIMIT"], told["HOME"]) == ("7", "/somewhere")


def test_the_sandbox_stands_in_for_every_platform(tmp_path: Path) -> None:
    made = plan(tmp_path)
    told = made.environment()
    addresses = {name: value for name, value in told.items() if name.endswith("_BASE_URL")}
    assert set(addresses) == {f"TIDEMARK_{name.upper()}_BASE_URL" for name in all_platforms()}
    assert set(addresses.values()) == {made.sandbox_url}
    assert addresses["TIDEMARK_GOOGLE_BUSINESS_BASE_URL"] == made.sandbox_url
    assert told["TIDEMARK_SANDBOX_URL"] == made.sandbox_url
    assert "--own-tokens" in next(service for service in made.services() if service.name == "sandbox").argv
    without = plan(tmp_path, frozenset(NAMES) - {"sandbox"})
    assert "TIDEMARK_SANDBOX_URL" not in without.environment()
    assert not [name for name in without.environment() if name.endswith("_BASE_URL")]


def test_the_sandbox_hears_nothing_of_a_real_app(tmp_path: Path) -> None:
    told = plan(tmp_path, TIDEMARK_X_CLIENT_ID="real-id", TIDEMARK_X_CLIENT_SECRET="real-secret").environment()
    assert told["TIDEMARK_X_CLIENT_SECRET"] == "tidemark-sandbox-x-client-secret"


def test_the_first_screen_says_whom_is_asked(tmp_path: Path) -> None:
    sandboxed = " ".join(platforms_asked(plan(tmp_path, TIDEMARK_X_BASE_URL="http://127.0.0.1:1")))
    assert "built-in sandbox" in sandboxed
    assert "sandbox-" in sandboxed
    assert "--no-sandbox" in sandboxed
    assert "Asked for every channel, at their TIDEMARK_<PLATFORM>_BASE_URL: x." in sandboxed
    real = " ".join(platforms_asked(plan(tmp_path, frozenset(NAMES) - {"sandbox"})))
    assert "the real ones" in real
    assert "sandbox" not in real


def test_requests_between_services_never_take_a_proxy(tmp_path: Path) -> None:
    assert plan(tmp_path, NO_PROXY="example.test").environment()["no_proxy"] == "example.test,127.0.0.1,localhost"


def test_an_engine_left_out_leaves_the_users_address(tmp_path: Path) -> None:
    made = plan(tmp_path, frozenset(NAMES) - ENGINES, TIDEMARK_KAFKA_BOOTSTRAP="far:9092")
    assert made.kafka_bootstrap == "far:9092"
    assert made.clickhouse_url is None
    assert "TIDEMARK_CLICKHOUSE_URL" not in made.environment()
    assert all(not (service.depends_on & ENGINES) for service in made.services())


def test_the_ready_file_has_the_contracts_fields(tmp_path: Path) -> None:
    made = plan(tmp_path)
    document = made.ready_document({"kafka": 7})
    assert list(document) == [
        "query_api",
        "kafka",
        "schema_registry",
        "schema_registry_native",
        "clickhouse",
        "clickhouse_analyst",
        "clickhouse_builder",
        "sandbox",
        "admin_key",
        "pids",
    ]
    assert document["clickhouse_analyst"] == f"http://analyst:ro@127.0.0.1:{made.ports['clickhouse']}/tidemark"
    builder = f"http://builder:{made.secrets.clickhouse_builder_password}@127.0.0.1:{made.ports['clickhouse']}"
    assert document["clickhouse_builder"] == f"{builder}/analytics"
    assert document["pids"] == {"kafka": 7}


@pytest.mark.parametrize("name", ["aggregator", "poller", "notifier"])
def test_a_service_keeps_its_slot_and_its_own_port(tmp_path: Path, name: str) -> None:
    made = plan(tmp_path, frozenset({name, "query_api"}))
    told = {service.name: service.environment for service in made.services()}
    assert told[name]["TIDEMARK_INSTANCE_ID"] == f"{name}-0"
    assert told[name]["TIDEMARK_METRICS_PORT"] not in {"", str(made.ports["query_api"])}
    # What the query API's origin is asked by anybody, operators ask where nobody else can.
    ports = {told[each]["TIDEMARK_METRICS_PORT"] for each in (name, "query_api")}
    assert len(ports) == 2
    assert str(made.ports["query_api"]) not in ports


def test_who_started_everything_reads_how_to_open_the_dashboard(tmp_path: Path) -> None:
    sandboxed = "\n".join(dashboard_opened(plan(tmp_path / "my data")))
    assert f"tidemark --data-dir '{tmp_path / 'my data'}' keys create demo" in sandboxed
    assert "sandbox channel instagram --workspace demo" in sandboxed
    real = "\n".join(dashboard_opened(plan(tmp_path / ".tidemark", frozenset(NAMES) - {"sandbox"})))
    assert "    tidemark keys create WORKSPACE" in real
    assert "sandbox" not in real
    assert not dashboard_opened(plan(tmp_path, frozenset(NAMES) - {"query_api"}))
