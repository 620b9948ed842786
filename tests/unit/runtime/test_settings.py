"""A bad setting is named, its allowed values are said, and a secret is never echoed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from services.aggregator.settings import AggregatorSettings
from services.configuration import SERVICES
from services.poller.settings import PlatformSettings, PollerSettings
from services.query_api.settings import QueryApiSettings
from services.runtime.kafka import confluent_options
from services.runtime.settings import (
    ClickHouseSettings,
    KafkaSettings,
    RegistrySettings,
    SecretKeysSettings,
    Settings,
    SettingsError,
    load_or_exit,
    secret_names,
)
from tests.support.certificates import Certificates, make_certificates

GOOD = {
    "TIDEMARK_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "TIDEMARK_SCHEMA_REGISTRY_URL": "http://127.0.0.1:8081/",
    "TIDEMARK_CLICKHOUSE_URL": "http://default:s3cr3t-pass@127.0.0.1:8123/tidemark",
    "TIDEMARK_SECRET_KEYS": "a-key-of-at-least-sixteen, an-older-key-of-sixteen ,",
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("TIDEMARK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("settings", [AggregatorSettings, PollerSettings, QueryApiSettings])
def test_each_service_runs_from_the_environment_alone(settings: type[Settings]) -> None:
    assert settings.load()


def test_the_aggregator_needs_kafka_registry_and_clickhouse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEMARK_SECRET_KEYS")
    assert AggregatorSettings.load().schema_registry_address == "http://127.0.0.1:8081"


@pytest.mark.parametrize("name", ["KAFKA_BOOTSTRAP", "SCHEMA_REGISTRY_URL", "CLICKHOUSE_URL"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv(f"TIDEMARK_{name}")
    else:
        monkeypatch.setenv(f"TIDEMARK_{name}", value)
    with pytest.raises(SettingsError, match=f"^TIDEMARK_{name} is not set$"):
        AggregatorSettings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIDEMARK_KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("TIDEMARK_TOPIC_PARTITIONS", "0"),
        ("TIDEMARK_TOPIC_PARTITIONS", "many"),
        ("TIDEMARK_SCHEMA_REGISTRY_URL", "127.0.0.1:8081"),
        ("TIDEMARK_CLICKHOUSE_URL", "clickhouse:9000"),
        ("TIDEMARK_METRICS_PORT", "70000"),
        ("TIDEMARK_AGGREGATOR_BATCH_EVENTS", "0"),
    ],
)
def test_a_bad_setting_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        AggregatorSettings.load()
    assert str(raised.value).startswith(f"{name}: ")
    assert "\n" not in str(raised.value)


def test_a_bad_platform_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_GOOGLE_BUSINESS_BASE_URL", "ftp://example.com")
    with pytest.raises(SettingsError, match=r"^TIDEMARK_GOOGLE_BUSINESS_BASE_URL: "):
        PollerSettings.load()


def test_a_bad_secret_is_not_echoed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_CLICKHOUSE_URL", "tcp://default:s3cr3t-pass@host:9000/db")
    with pytest.raises(SettingsError) as raised:
        ClickHouseSettings.load()
    assert "s3cr3t" not in str(raised.value)


def test_secrets_are_not_printed() -> None:
    assert "s3cr3t" not in repr(AggregatorSettings.load())
    assert "sixteen" not in repr(PollerSettings.load())


def test_a_bad_start_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TIDEMARK_KAFKA_BOOTSTRAP")
    with pytest.raises(SystemExit) as raised:
        load_or_exit(KafkaSettings)
    assert raised.value.code == 2
    assert capsys.readouterr().err == "tidemark: TIDEMARK_KAFKA_BOOTSTRAP is not set\n"


def test_the_env_file_counts_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TIDEMARK_TOPIC_PREFIX=file.\nTIDEMARK_SCHEMA_REGISTRY_URL=http://file:1\n")
    assert KafkaSettings.load().topic("platform.raw") == "file.platform.raw"
    assert RegistrySettings.load().schema_registry_address == "http://127.0.0.1:8081"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(KafkaSettings.load(), "topic_prefix", "other.")  # noqa: B010 - a plain assignment is a type error


def test_secret_keys_are_split_newest_first() -> None:
    keys = [key.get_secret_value() for key in SecretKeysSettings.load().secret_keys]
    assert keys == ["a-key-of-at-least-sixteen", "an-older-key-of-sixteen"]


@pytest.mark.parametrize(
    ("url", "connection", "database"),
    [
        ("http://u:p@h:1/db", {"host": "h", "port": 1, "username": "u", "password": "p", "secure": False}, "db"),
        ("https://h", {"host": "h", "port": 8443, "username": "default", "password": "", "secure": True}, "tidemark"),
        (
            "http://u%40x:p%2Fq@h/d",
            {"host": "h", "port": 8123, "username": "u@x", "password": "p/q", "secure": False},
            "d",
        ),
    ],
)
def test_the_clickhouse_address_is_taken_apart(
    monkeypatch: pytest.MonkeyPatch, url: str, connection: dict[str, object], database: str
) -> None:
    monkeypatch.setenv("TIDEMARK_CLICKHOUSE_URL", url)
    settings = ClickHouseSettings.load()
    assert settings.clickhouse_connection() == connection
    assert settings.clickhouse_database == database


SECRETS = [(settings, name) for settings in SERVICES.values() for name in sorted(secret_names(settings))]


def value_of(settings: Settings, name: str) -> str:
    found = getattr(settings, name.removeprefix("TIDEMARK_").lower())
    (secret,) = found if isinstance(found, tuple) else (found,)
    value: str = secret.get_secret_value()
    return value


@pytest.mark.parametrize(("settings", "name"), SECRETS)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_each_secret_may_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: type[Settings], name: str, place: str
) -> None:
    path, secret = tmp_path / "secret", "http://default:from-a-file@127.0.0.1:8123/tidemark"
    path.write_text(secret + "\n")
    path.chmod(0o600)
    monkeypatch.delenv(name, raising=False)
    if place == "environment":
        monkeypatch.setenv(f"{name}_FILE", str(path))
    else:
        (tmp_path / ".env").write_text(f"{name}_FILE={path}\n")
    assert value_of(settings.load(), name) == secret


def test_a_platforms_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from-a-file")
    path.chmod(0o600)
    monkeypatch.setenv("TIDEMARK_X_CLIENT_SECRET_FILE", str(path))
    assert PlatformSettings.of("x").secrets() == ("from-a-file",)
    assert PlatformSettings.of("reddit").client_secret is None
    monkeypatch.setenv("TIDEMARK_X_CLIENT_SECRET", "x")
    with pytest.raises(SettingsError, match=r"^TIDEMARK_X_CLIENT_SECRET and .*_FILE are both set"):
        PlatformSettings.of("x")


def test_the_environment_wins_over_a_file_that_dotenv_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TIDEMARK_ADMIN_KEY_FILE=/nowhere\n")
    monkeypatch.setenv("TIDEMARK_ADMIN_KEY", "mine")
    assert value_of(QueryApiSettings.load(), "TIDEMARK_ADMIN_KEY") == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "can't be read"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "not UTF-8")],
)
def test_a_file_that_holds_no_secret_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    monkeypatch.setenv("TIDEMARK_ADMIN_KEY_FILE", str(tmp_path / "secret"))
    with pytest.raises(SettingsError, match=f"^TIDEMARK_ADMIN_KEY_FILE: .*{message}"):
        QueryApiSettings.load()


CLICKHOUSE = "https://tidemark:secret@ch:8443/tidemark"


def test_certificates_reach_every_client(certificates: Certificates) -> None:
    files = {"cafile": certificates.authority, "certfile": certificates.client, "keyfile": certificates.client_key}
    told = {f"kafka_ssl_{name}": str(path) for name, path in files.items()}
    kafka = KafkaSettings.model_validate({"kafka_bootstrap": "k:9093", "kafka_security_protocol": "SSL", **told})
    assert confluent_options(kafka) == {
        "bootstrap.servers": "k:9093",
        "security.protocol": "SSL",
        "ssl.ca.location": str(certificates.authority),
        "ssl.certificate.location": str(certificates.client),
        "ssl.key.location": str(certificates.client_key),
    }
    told = {f"clickhouse_ssl_{name}": str(path) for name, path in files.items()}
    connection = ClickHouseSettings.model_validate({"clickhouse_url": CLICKHOUSE, **told}).clickhouse_connection()
    assert connection["client_cert"] == str(certificates.client)
    assert connection["client_cert_key"] == str(certificates.client_key)
    assert connection["ca_cert"] == str(certificates.authority)
    # With a password the certificate only opens the connection; without one it is the user's own.
    assert connection["tls_mode"] == "strict"
    without = ClickHouseSettings.model_validate({"clickhouse_url": "https://tidemark@ch:8443/tidemark", **told})
    assert "tls_mode" not in without.clickhouse_connection()
    registry = RegistrySettings(
        schema_registry_url="https://r:8081", schema_registry_ssl_cafile=str(certificates.authority)
    )
    assert registry.schema_registry_options(5)["ssl.ca.location"] == str(certificates.authority)


@pytest.mark.parametrize("prefix", ["kafka", "clickhouse"])
def test_a_certificate_that_cant_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, certificates: Certificates, prefix: str
) -> None:
    monkeypatch.setenv("TIDEMARK_KAFKA_BOOTSTRAP", "k:9093")
    monkeypatch.setenv("TIDEMARK_CLICKHOUSE_URL", CLICKHOUSE)
    kind = KafkaSettings if prefix == "kafka" else ClickHouseSettings
    name = f"TIDEMARK_{prefix.upper()}_SSL"
    monkeypatch.setenv(f"{name}_KEYFILE", str(certificates.client_key))
    with pytest.raises(SettingsError, match=f"{name}_KEYFILE is set, but {name}_CERTFILE is not"):
        kind.load()
    monkeypatch.setenv(f"{name}_CERTFILE", "/nowhere")
    with pytest.raises(SettingsError, match=f"{name}_CERTFILE: '/nowhere' can't be read"):
        kind.load()
    monkeypatch.setenv(f"{name}_CERTFILE", str(certificates.server))
    with pytest.raises(SettingsError, match=f"{name}_CERTFILE and {name}_KEYFILE can't be used together"):
        kind.load()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_listens_on_this_machine_alone_unless_told_otherwise(service: str) -> None:
    fields = SERVICES[service].model_fields
    hosts = {name: fields[name].get_default() for name in fields if name.endswith("_host")}
    assert set(hosts.values()) <= {"127.0.0.1"}
    # `tidemark mcp` speaks on its standard streams.
    assert bool(hosts) is (service != "mcp")


@pytest.mark.parametrize(("settings", "name"), SECRETS)
def test_no_secret_has_a_default_and_none_is_taken_that_everybody_knows(
    monkeypatch: pytest.MonkeyPatch, settings: type[Settings], name: str
) -> None:
    default = settings.model_fields[name.removeprefix("TIDEMARK_").lower()].get_default()
    assert not default or default is PydanticUndefined
    value = "http://default:ChangeMe@127.0.0.1:8123/tidemark" if name.endswith("_URL") else "changeme"
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"{name} holds '.*', which everybody knows"):
        settings.load()


def test_the_registrys_address_is_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Since a user and password stand in it."""
    held = tmp_path / "registry"
    held.write_text("https://someone:s3cr3t@registry:8081/\n")
    held.chmod(0o600)
    monkeypatch.delenv("TIDEMARK_SCHEMA_REGISTRY_URL", raising=False)
    monkeypatch.setenv("TIDEMARK_SCHEMA_REGISTRY_URL_FILE", str(held))
    read = RegistrySettings.load()
    assert read.schema_registry_address == "https://someone:s3cr3t@registry:8081"
    assert "s3cr3t" not in repr(read)
    monkeypatch.delenv("TIDEMARK_SCHEMA_REGISTRY_URL_FILE")
    monkeypatch.setenv("TIDEMARK_SCHEMA_REGISTRY_URL", "https://admin:changeme@registry:8081")
    with pytest.raises(SettingsError, match="everybody knows"):
        RegistrySettings.load()
