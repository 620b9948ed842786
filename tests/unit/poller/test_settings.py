"""Settings: one clear line names a bad variable, and secrets are not shown."""

from __future__ import annotations

import pytest

from services import platforms
from services.platforms import PlatformFileError, all_platforms, declared_settings
from services.platforms.abilities import PlatformSetting
from services.platforms.base import Channel, Limit
from services.platforms.facebook import Facebook
from services.poller.settings import PollerSettings
from services.runtime.settings import SettingsError

GOOD = {
    "TIDEMARK_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "TIDEMARK_SCHEMA_REGISTRY_URL": "http://127.0.0.1:8081",
    "TIDEMARK_SECRET_KEYS": "newest-key-0123456789,older-key-0123456789",
}
CHANNEL = Channel("w", "c", "104583221947103")


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


def test_only_platforms_at_the_sandboxs_own_address_are_sandboxed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    at = {"TIDEMARK_X_BASE_URL": "http://127.0.0.1:9", "TIDEMARK_REDDIT_BASE_URL": "http://127.0.0.1:8"}
    assert load(monkeypatch, tmp_path, **at).sandboxed == frozenset()
    found = load(monkeypatch, tmp_path, **at, TIDEMARK_SANDBOX_URL="http://127.0.0.1:9/")
    assert found.sandboxed == {"x"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIDEMARK_X_BASE_URL", "api.x.com"),
        ("TIDEMARK_YOUTUBE_BASE_URL", "ftp://host"),
        ("TIDEMARK_POLL_SPEED", "0"),
        ("TIDEMARK_POLL_SPEED", "fast"),
        ("TIDEMARK_SECRET_KEYS", ""),
        ("TIDEMARK_KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("TIDEMARK_REDDIT_APP_TOKEN", "token-of-an-app"),
        ("TIDEMARK_YOUTUBE_LIMITS", "data=many/day"),
        ("TIDEMARK_YOUTUBE_LIMITS", "data=0/60"),
        ("TIDEMARK_META_VERSION", "25"),
        ("TIDEMARK_META_VERSION", "v25.0/../me"),
        ("TIDEMARK_LINKEDIN_VERSION", "202613"),
        ("TIDEMARK_LINKEDIN_TIER", "premium"),
        ("TIDEMARK_REDDIT_USER_AGENT", "bot"),
        ("TIDEMARK_REDDIT_USER_AGENT", "an app\r\nx-evil: 1"),
    ],
)
def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: object, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as raised:
        load(monkeypatch, tmp_path, **{name: value})
    assert "\n" not in str(raised.value)


def test_an_apps_token_and_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    settings = load(
        monkeypatch,
        tmp_path,
        TIDEMARK_YOUTUBE_APP_TOKEN="an-api-key",
        TIDEMARK_YOUTUBE_CLIENT_SECRET="hush-hush",
        TIDEMARK_YOUTUBE_LIMITS="data=1000000/86400, analytics=100/60",
    )
    youtube = settings.platforms["youtube"]
    assert set(youtube.secrets()) == {"hush-hush", "an-api-key"}
    assert "an-api-key" not in repr(youtube)
    assert settings.limits["youtube"] == [
        Limit("stats", 10_000, 86_400), Limit("data", 1_000_000, 86_400), Limit("analytics", 100, 60)
    ]  # fmt: skip
    assert settings.limits["tiktok"] == list(all_platforms()["tiktok"].facts.limits)
    assert settings.limits["bluesky"] == list(all_platforms()["bluesky"].facts.limits)


def test_a_configured_limit_leaves_those_of_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    settings = load(monkeypatch, tmp_path, TIDEMARK_X_LIMITS="tweets=100/900")
    assert Limit("tweets", 5000, 900, is_app_wide=False) in settings.limits["x"]
    assert Limit("tweets", 100, 900) in settings.limits["x"]


def test_a_platform_s_own_setting_changes_its_calls(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    def paths(settings: PollerSettings) -> set[str]:
        asked = [settings.configured_platforms[name].identity_call(CHANNEL).path for name in ("instagram", "facebook")]
        return {path.split("/")[1] for path in asked}

    assert paths(load(monkeypatch, tmp_path)) == {"v25.0"}
    assert paths(load(monkeypatch, tmp_path, TIDEMARK_META_VERSION="v27.0")) == {"v27.0"}
    assert all_platforms()["facebook"].identity_call(CHANNEL).path.startswith("/v25.0/")


def test_linkedin_s_version_and_tier(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    settings = load(monkeypatch, tmp_path)
    assert Limit("memberCreatorPostAnalytics", 100, 86_400, is_app_wide=False) in settings.limits["linkedin"]
    assert Limit("memberCreatorPostAnalytics", 500, 86_400) in settings.limits["linkedin"]
    settings = load(monkeypatch, tmp_path, TIDEMARK_LINKEDIN_VERSION="202611", TIDEMARK_LINKEDIN_TIER="standard")
    assert settings.configured_platforms["linkedin"].authorize("t")["linkedin-version"] == "202611"
    assert settings.limits["linkedin"] == []


NAMED = "linux:com.example.stats:v1.0 (by /u/example)"


def test_reddit_s_own_setting_is_required_of_a_real_app(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    # Without an app of ours it is told where a channel is asked for.
    assert load(monkeypatch, tmp_path).unnamed == {"reddit": "TIDEMARK_REDDIT_USER_AGENT"}
    with pytest.raises(SettingsError, match="TIDEMARK_REDDIT_USER_AGENT is not set, and reddit refuses"):
        load(monkeypatch, tmp_path, TIDEMARK_REDDIT_CLIENT_ID="app")
    settings = load(monkeypatch, tmp_path, TIDEMARK_REDDIT_USER_AGENT=NAMED)
    assert settings.unnamed == {}
    assert settings.configured_platforms["reddit"].authorize("t") == {"authorization": "Bearer t", "user-agent": NAMED}


def test_another_server_than_reddit_needs_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    asked = {"TIDEMARK_REDDIT_CLIENT_ID": "app", "TIDEMARK_REDDIT_BASE_URL": "http://127.0.0.1:9"}
    assert load(monkeypatch, tmp_path, **asked).unnamed == {}


def test_platforms_that_share_a_setting_declare_it_alike() -> None:
    assert declared_settings()["META_VERSION"].default == "v25.0"


def test_a_setting_that_two_platforms_declare_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Facebook(), Facebook()
    monkeypatch.setattr(other, "settings", (PlatformSetting("META_VERSION", ".*", "anything"),), raising=False)
    monkeypatch.setattr(platforms, "all_platforms", lambda: {"one": one, "other": other})
    with pytest.raises(PlatformFileError, match="META_VERSION"):
        declared_settings()
