"""Settings: one clear line names a bad variable, and secrets are not shown."""

from __future__ import annotations

import pytest

from services.poller.settings import PollerSettings
from services.runtime.settings import SettingsError

GOOD = {
    "TIDEMARK_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "TIDEMARK_SCHEMA_REGISTRY_URL": "http://127.0.0.1:8081",
    "TIDEMARK_SECRET_KEYS": "newest-key-0123456789,older-key-0123456789",
}


def load(monkeypatch: pytest.MonkeyPatch, tmp_path: object, **changed: str) -> PollerSettings:
    monkeypatch.chdir(str(tmp_path))
    for name, value in {**GOOD, **changed}.items():
        monkeypatch.setenv(name, value)
    return PollerSettings.load()


def test_platforms_have_settings_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    settings = load(
        monkeypatch,
        tmp_path,
        TIDEMARK_X_BASE_URL="http://127.0.0.1:9/",
        TIDEMARK_GOOGLE_BUSINESS_CLIENT_SECRET="hush-hush",
        TIDEMARK_POLL_SPEED="60",
    )
    assert settings.platforms["x"].base_url == "http://127.0.0.1:9"
    assert settings.platforms["youtube"].base_url is None
    secret = settings.platforms["google_business"].client_secret
    assert secret is not None
    assert secret.get_secret_value() == "hush-hush"
    assert "hush-hush" not in repr(settings.platforms)
    assert settings.poll_speed == 60
    assert len(settings.secret_keys) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIDEMARK_X_BASE_URL", "api.x.com"),
        ("TIDEMARK_YOUTUBE_BASE_URL", "ftp://host"),
        ("TIDEMARK_POLL_SPEED", "0"),
        ("TIDEMARK_POLL_SPEED", "fast"),
        ("TIDEMARK_SECRET_KEYS", ""),
        ("TIDEMARK_KAFKA_SECURITY_PROTOCOL", "TLS"),
    ],
)
def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: object, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as raised:
        load(monkeypatch, tmp_path, **{name: value})
    assert "\n" not in str(raised.value)
