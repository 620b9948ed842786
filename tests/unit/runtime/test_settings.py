"""A bad setting is named, its allowed values are said, and a secret is never echoed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.aggregator.settings import AggregatorSettings
from services.poller.settings import PollerSettings
from services.query_api.settings import QueryApiSettings
from services.runtime.settings import (
    ClickHouseSettings,
    KafkaSettings,
    RegistrySettings,
    SecretKeysSettings,
    Settings,
    SettingsError,
    load_or_exit,
)

GOOD = {
    "TIDEMARK_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "TIDEMARK_SCHEMA_REGISTRY_URL": "http://127.0.0.1:8081/",
    "TIDEMARK_CLICKHOUSE_URL": "http://default:s3cr3t-pass@127.0.0.1:8123/tidemark",
    "TIDEMARK_SECRET_KEYS": "a-key-of-at-least-sixteen, an-older-key-of-sixteen ,",
}


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
    assert AggregatorSettings.load().schema_registry_url == "http://127.0.0.1:8081"


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
    assert RegistrySettings.load().schema_registry_url == "http://127.0.0.1:8081"


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
