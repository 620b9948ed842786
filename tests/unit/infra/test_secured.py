"""`up --secure` before anything runs: who is told which password, what listens, and what stays across starts."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509

from infra.embedded.authority import Authority
from infra.embedded.composition import NAMES, RIGHTS, Plan, ports_needed
from infra.embedded.datadir import Secrets
from infra.embedded.errors import DataDirError, UsageError
from infra.embedded.secure_kafka import secure_broker
from infra.embedded.secured import SETUP, Secured, refuse_unsecured
from infra.embedded.up import _secured
from schemas import clickhouse_rights, kafka_rights
from services.status.addresses import adopted, find

SECRETS = Secrets("rw", "ro", "admin-key-of-a-test", "a-key-of-sixteen-characters", clickhouse_builder_password="bp")
SERVICES = ("poller", "aggregator", "query_api", "notifier", "topics", "migrate")


def plan(folder: Path) -> Plan:
    names = frozenset(NAMES)
    ports = {name: 20000 + number for number, name in enumerate(ports_needed(names))}
    return Plan(folder, names, ports, SECRETS, {}, secured=Secured(folder))


def test_passwords_and_certificates_stay_and_are_their_owners_alone(tmp_path: Path) -> None:
    first = Secured(tmp_path)
    first.write_secrets("127.0.0.1:1", "tidemark")
    made = first.broker.certificate.read_bytes(), first.server.certificate.read_bytes()
    again = Secured(tmp_path)
    assert again.passwords == first.passwords
    assert (again.broker.certificate.read_bytes(), again.server.certificate.read_bytes()) == made
    held = [*first.passwords.kafka.values(), *first.passwords.clickhouse.values(), first.passwords.registry]
    assert len(set(held)) == len(held)
    assert min(map(len, held)) >= 32
    for path in (tmp_path / "secure").rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077 or path.is_dir(), path


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_its_own_users_and_knows_nobody_elses_password(tmp_path: Path, name: str) -> None:
    made = plan(tmp_path)
    assert made.secured is not None
    service = {service.name: service for service in made.services()}[name]
    role = name.replace("_", "-")
    passwords = made.secured.passwords
    shown = "\n".join([*service.environment.values(), *service.argv])
    for secrets in (passwords.kafka, passwords.clickhouse):
        assert not [other for other, secret in secrets.items() if secret in shown], "secrets are files"
    assert SECRETS.clickhouse_password not in service.environment.values()
    if role in passwords.kafka:
        assert service.environment["TIDEMARK_KAFKA_SASL_USERNAME"] == f"tidemark-{role}"
        path = Path(service.environment["TIDEMARK_KAFKA_SASL_PASSWORD_FILE"])
        assert path.read_text().strip() == passwords.kafka[role]
    if role in passwords.clickhouse:
        address = Path(service.environment["TIDEMARK_CLICKHOUSE_URL_FILE"]).read_text()
        assert address.startswith(f"https://tidemark_{name}:{passwords.clickhouse[role]}@127.0.0.1:")
    if name in ("topics", "migrate"):
        assert RIGHTS in service.depends_on


def test_nothing_listens_without_tls_and_nobody_has_rights_by_default(tmp_path: Path) -> None:
    broker = secure_broker(tmp_path / "kafka", 20001, 20002, Secured(tmp_path))
    told = broker.properties()
    protocols = {part.partition(":")[2] for part in told["listener.security.protocol.map"].split(",")}
    assert protocols == {"SSL", "SASL_SSL"}
    assert all("://127.0.0.1:" in listener for listener in told["listeners"].split(","))
    assert told["allow.everyone.if.no.acl.found"] == "false"
    assert told["listener.name.controller.ssl.client.auth"] == "required"
    assert told["super.users"] == "User:tidemark-broker;User:tidemark-setup"
    made = plan(tmp_path)
    arguments = {service.name: " ".join(service.argv) for service in made.services()}
    assert "--certificate" in arguments["clickhouse"]
    assert made.schema_registry_url is not None
    assert made.schema_registry_url.startswith("https://tidemark:")
    registry = made._registry.security
    assert registry is not None
    assert registry.settings(1)["quarkus.http.insecure-requests"] == "disabled"
    assert registry.password not in arguments["registry"]
    assert made.schema_registry_shown is not None
    assert registry.password not in made.schema_registry_shown


def test_commands_find_the_users_of_their_own_role(tmp_path: Path) -> None:
    import json
    import os

    made = plan(tmp_path)
    assert made.secured is not None
    (tmp_path / "running.json").write_text(json.dumps(made.running_document()))
    (tmp_path / "up.pid").write_text(str(os.getpid()))
    found = adopted(tmp_path, {})
    assert found.environment["TIDEMARK_KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    assert not [name for name in found.environment if "SASL_PASSWORD" in name or "CLICKHOUSE_URL" in name]
    assert set(found.roles) == {*kafka_rights.ROLES, *clickhouse_rights.ROLES, SETUP}
    assert found.roles["audit"]["TIDEMARK_KAFKA_SASL_USERNAME"] == "tidemark-audit"
    assert found.roles["audit"]["TIDEMARK_CLICKHOUSE_URL"].startswith("https://tidemark_audit:")
    assert find(tmp_path, {}).environment["TIDEMARK_KAFKA_SASL_USERNAME"] == "tidemark-status"
    # Whoever names an installation of its own takes nobody's users.
    elsewhere = find(tmp_path, {"TIDEMARK_KAFKA_BOOTSTRAP": "kafka:9092"})
    assert "TIDEMARK_KAFKA_SASL_USERNAME" not in elsewhere.environment


def test_a_folder_stays_what_it_was_begun_as(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "formatted").touch()
    with pytest.raises(DataDirError, match="begun without --secure"):
        Secured(tmp_path)
    (tmp_path / "kafka" / "formatted").unlink()
    Secured(tmp_path)
    with pytest.raises(DataDirError, match="begun with --secure"):
        refuse_unsecured(tmp_path)
    with pytest.raises(UsageError, match="--without kafka"):
        _secured(tmp_path, frozenset(NAMES) - {"kafka"})


def test_a_certificate_that_soon_ends_is_made_anew(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    short = authority.issue("server", days=30).certificate.read_bytes()
    renewed = Authority(tmp_path).issue("server").certificate.read_bytes()
    assert renewed != short
    assert authority.issue("server").certificate.read_bytes() == renewed
    names = x509.load_pem_x509_certificate(renewed).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.value.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
