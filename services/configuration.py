"""Every setting of every service, so that a wrong one is named before anything starts.

Comes in: an environment. Goes out: nothing when all is well, else one error that names the setting. Each value is
judged by the settings class that reads it; this module only brings the classes together.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.aggregator.settings import AggregatorSettings
from services.mcp.settings import McpSettings
from services.notifier.settings import NotifierSettings
from services.platforms import all_platforms
from services.poller.settings import PlatformSettings, PollerSettings, own_settings
from services.query_api.settings import QueryApiSettings
from services.runtime.environment import UnknownName, read_dotenv, unknown_names
from services.runtime.secrets import SecretsError, TokenCipher
from services.runtime.settings import ENV_PREFIX, FILE_SUFFIX, SecretKeysSettings, Settings, SettingsError, secret_names
from services.runtime.traces import traces_are_on

SERVICES: dict[str, type[Settings]] = {
    "poller": PollerSettings,
    "aggregator": AggregatorSettings,
    "query_api": QueryApiSettings,
    "notifier": NotifierSettings,
    "mcp": McpSettings,
}
TRACED = frozenset({"poller", "aggregator"})
"""The services that export traces where a collector is set."""
# Read by commands and engines, not through a settings class.
OTHER_NAMES = frozenset(
    f"{ENV_PREFIX}{name}"
    for name in (
        "CACHE_DIR",
        "CHECK_TOKEN",
        "EMBEDDED_CLICKHOUSE_ALLOW_ROOT",
        "EMBEDDED_CLICKHOUSE_ANALYST_PASSWORD",
        "EMBEDDED_CLICKHOUSE_BUILDER_PASSWORD",
        "EMBEDDED_CLICKHOUSE_PASSWORD",
        "QUERY_API_URL",
        "STATUS_TARGETS",
    )
)


def known_names() -> frozenset[str]:
    """The names of all settings, `NAME_FILE` of each secret included."""
    found = set(OTHER_NAMES)
    for settings in SERVICES.values():
        found |= _names(settings, ENV_PREFIX)
    found |= _names(own_settings(), ENV_PREFIX)
    for platform in all_platforms():
        found |= _names(PlatformSettings, f"{ENV_PREFIX}{platform.upper()}_")
    return frozenset(found)


def check_environment(dotenv: Path = Path(".env")) -> list[UnknownName]:
    """Look at the names in the environment and in `.env`.

    Returns:
        the names that no setting has and that resemble none, to warn of.

    Raises:
        SettingsError: a line of `.env` can't be read, or a name is probably a slip of the pen.
    """
    unknown = unknown_names({**read_dotenv(dotenv), **os.environ}, known_names())
    for name in unknown:
        if name.nearest is not None:
            raise SettingsError(f"{name} Nothing was started")
    return unknown


def check_services(environment: Mapping[str, str], names: Collection[str]) -> None:
    """Read the settings of services as they will read them themselves.

    Args:
        environment: the whole environment that each of them gets.
        names: of the services to look at; other names are passed over.

    Raises:
        SettingsError: naming the first bad setting.
    """
    with _environment(environment):
        if not TRACED.isdisjoint(names):
            traces_are_on()
        for name, settings in SERVICES.items():
            if name not in names:
                continue
            loaded = settings.load()
            if isinstance(loaded, SecretKeysSettings) and loaded.secret_keys:
                _check_keys(loaded)


def _check_keys(settings: SecretKeysSettings) -> None:
    try:
        TokenCipher(settings.secret_keys)
    except SecretsError as error:
        raise SettingsError(str(error)) from None


def _names(settings: type[Settings], prefix: str) -> set[str]:
    names = {f"{prefix}{field.upper()}" for field in settings.model_fields}
    return names | {name + FILE_SUFFIX for name in secret_names(settings, prefix)}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """This process's environment is `values` for a while; for the start of a command, which has one thread."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
