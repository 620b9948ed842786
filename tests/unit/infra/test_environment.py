"""What each service of `tidemark up` is told: its own secrets, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.embedded.composition import NAMES, RIGHTS, Plan, ports_needed
from infra.embedded.datadir import Secrets
from infra.embedded.environment import environment_of, secrets_of, with_secrets_read
from services.platforms import all_platforms
from services.runtime.settings import SettingsError

SECRETS = Secrets(
    "rw-password", "ro-password", "own-admin-key", "own-secret-key", clickhouse_builder_password="builder-password"
)
# What the caller has, by what may be told of it.
OF_THE_CALLER = {
    "TIDEMARK_KAFKA_SASL_PASSWORD": "sasl-password",
    "TIDEMARK_X_CLIENT_SECRET": "x-client-secret",
    "TIDEMARK_YOUTUBE_APP_TOKEN": "youtube-app-token",
    "TIDEMARK_SOMETHING_NEW_SECRET": "new-secret",
    "AWS_SECRET_ACCESS_KEY": "aws-secret",
    "GITHUB_TOKEN": "github-token",
    "HTTPS_PROXY": "http://user:proxy-password@proxy:3128",
    "DATABASE_URL": "postgres://user:database-password@db/x",
}
KNOWS = {
    "kafka": set[str](),
    "registry": set(),
    "sandbox": set(),
    "clickhouse": {"rw-password", "ro-password", "builder-password"},
    "topics": {"sasl-password"},
    "migrate": {"rw-password"},
    "aggregator": {"rw-password", "sasl-password"},
    "query_api": {"rw-password", "sasl-password", "own-admin-key", "own-secret-key"},
    "notifier": {"rw-password", "sasl-password", "own-secret-key"},
    "poller": {"sasl-password", "own-secret-key", "x-client-secret", "youtube-app-token"},
}
ALL = {
    *SECRETS.__dict__.values(), "sasl-password", "x-client-secret", "youtube-app-token", "new-secret", "aws-secret",
    "github-token", "proxy-password", "database-password",
} - {False}  # fmt: skip


def told(folder: Path, **inherited: str) -> dict[str, dict[str, str]]:
    names = frozenset(NAMES)
    ports = {name: 20000 + number for number, name in enumerate(ports_needed(names))}
    plan = Plan(folder, names, ports, SECRETS, inherited)
    return {service.name: dict(service.environment) for service in plan.services()}


@pytest.mark.parametrize("name", sorted({*NAMES} - {RIGHTS}))
def test_a_service_knows_its_own_secrets_only(tmp_path: Path, name: str) -> None:
    environment = told(tmp_path, **OF_THE_CALLER)[name]
    text = "\n".join(environment.values())
    assert {secret for secret in ALL if str(secret) in text} == KNOWS[name]
    if name != "poller":
        platforms = {f"TIDEMARK_{platform.upper()}_CLIENT_SECRET" for platform in all_platforms()}
        assert platforms.isdisjoint(environment)


def test_what_programs_need_to_run_and_plain_settings_go_down(tmp_path: Path) -> None:
    running = {"PATH": "/bin", "HOME": "/nowhere/x", "LC_ALL": "C.UTF-8", "PYTHONPATH": "/x", "TZ": "UTC"}
    settings = {"TIDEMARK_POLL_SPEED": "5", "TIDEMARK_PLATFORMS_PATH": "/p", "TIDEMARK_TOPIC_PREFIX": "a."}
    for name, environment in told(tmp_path, **running, **settings).items():
        assert running.items() <= environment.items()
        assert (settings.items() <= environment.items()) == (name not in ("kafka", "registry"))


@settings(deadline=None)
@given(
    st.sampled_from(NAMES),
    st.from_regex(r"TIDEMARK_[A-Z]{1,8}_(API_KEY|SECRET|PASSWORD|TOKEN|KEYS)(_FILE)?", fullmatch=True),
)
def test_a_setting_that_looks_secret_goes_to_nobody_who_does_not_read_it(service: str, name: str) -> None:
    goes = name in environment_of(service, {name: "x"})
    assert goes == (name.removesuffix("_FILE") in secrets_of(service))


def test_a_folder_made_by_this_version_refuses_unbound_tokens(tmp_path: Path) -> None:
    names = frozenset({"poller", "query_api"})
    ports = dict.fromkeys(ports_needed(names), 1)
    for bound, inherited, expected in (
        (True, {}, "refuse"), (False, {}, None), (True, {"TIDEMARK_UNBOUND_TOKENS": "accept"}, "accept"),
    ):  # fmt: skip
        made = Secrets("a", "b", "c", "d", tokens_bound=bound)
        for service in Plan(tmp_path, names, ports, made, inherited).services():
            assert service.environment.get("TIDEMARK_UNBOUND_TOKENS") == expected


def test_files_of_secrets_are_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("from-a-file\n")
    path.chmod(0o600)
    found = with_secrets_read({"TIDEMARK_ADMIN_KEY_FILE": str(path), "SSL_CERT_FILE": "/x", "HOME": "/h"})
    assert found == {"TIDEMARK_ADMIN_KEY": "from-a-file", "SSL_CERT_FILE": "/x", "HOME": "/h"}
    with pytest.raises(SettingsError, match="both set"):
        with_secrets_read({"TIDEMARK_ADMIN_KEY_FILE": str(path), "TIDEMARK_ADMIN_KEY": "x"})
    with pytest.raises(SettingsError, match="TIDEMARK_ADMIN_KEY_FILE"):
        with_secrets_read({"TIDEMARK_ADMIN_KEY_FILE": str(tmp_path / "missing")})


def test_a_collectors_variables_go_to_the_traced_services_alone(tmp_path: Path) -> None:
    of_a_collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret"}
    for name, environment in told(tmp_path, **of_a_collector).items():
        assert (of_a_collector.items() <= environment.items()) == (name in ("poller", "aggregator")), name
        if name not in ("poller", "aggregator"):
            assert not any(variable.startswith("OTEL_") for variable in environment)
