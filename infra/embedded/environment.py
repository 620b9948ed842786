"""The part of the environment that each service of `tidemark up` gets: its settings and its own secrets, and no others.

Pure. A service's settings class tells which secrets the service needs: the class's secret fields. Of the caller's other
variables a service gets only those that programs need to run, since any other variable may hold somebody's secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from services.aggregator.settings import AggregatorSettings
from services.configuration import TRACED
from services.notifier.settings import NotifierSettings
from services.platforms import all_platforms
from services.poller.settings import PlatformSettings, PollerSettings
from services.query_api.settings import QueryApiSettings
from services.runtime.acls import AclsSettings
from services.runtime.settings import (
    ENV_PREFIX,
    FILE_SUFFIX,
    ClickHouseSettings,
    KafkaSettings,
    RegistrySettings,
    Settings,
    SettingsError,
    read_secret,
    secret_names,
)
from services.runtime.traces import ENV_PREFIX as TRACES_PREFIX

SETTINGS: Mapping[str, tuple[type[Settings], ...]] = {
    "topics": (KafkaSettings, RegistrySettings),
    "migrate": (ClickHouseSettings,),
    "rights": (AclsSettings, ClickHouseSettings),
    "aggregator": (AggregatorSettings,),
    "query_api": (QueryApiSettings,),
    "poller": (PollerSettings,),
    "notifier": (NotifierSettings,),
}
# These read no settings of Tidemark: they are configured by arguments, or by the composition.
ENGINES = frozenset({"kafka", "registry"})

# Variables that programs need to run: paths, user, language, time zone, certificate authorities, and options of
# interpreters, allocators and coverage.
_RUNNING = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TERM|COLUMNS|NO_COLOR|TMPDIR|TEMP|TMP|XDG_\w+|LD_LIBRARY_PATH"
    r"|DYLD_\w+|VIRTUAL_ENV|PYTHON\w+|MALLOC_\w+|OMP_\w+|OPENBLAS_\w+|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE"
    r"|CURL_CA_BUNDLE|no_proxy|NO_PROXY|JAVA_TOOL_OPTIONS|COVERAGE_\w+|COV_CORE_\w+"
)
# Names that look like secrets, for variables that no settings class knows.
_SECRET_LOOKING = re.compile(r".*(KEY|KEYS|SECRET|PASSWORD|TOKEN|CREDENTIALS?)")


def environment_of(service: str, everything: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that one service gets.

    Args:
        everything: the whole environment, the secrets of all services included.
    """
    own, all_secrets = secrets_of(service), _every_secret()
    told = {}
    for name, value in everything.items():
        # A collector's variables may hold its key.
        if _RUNNING.fullmatch(name) or (name.startswith(TRACES_PREFIX) and service in TRACED):
            told[name] = value
        elif name.startswith(ENV_PREFIX) and service not in ENGINES:
            setting = name.removesuffix(FILE_SUFFIX)
            if setting in own or not (setting in all_secrets or _SECRET_LOOKING.fullmatch(setting)):
                told[name] = value
    return told


def with_secrets_read(everything: Mapping[str, str]) -> dict[str, str]:
    """An environment in which each `NAME_FILE` of a secret is replaced by NAME with the file's content.

    Raises:
        SettingsError: a file can't be read, or both NAME and `NAME_FILE` are set.
    """
    told = dict(everything)
    for name in sorted(_every_secret()):
        path = told.pop(name + FILE_SUFFIX, "")
        if path and told.get(name):
            raise SettingsError(f"{name} and {name}{FILE_SUFFIX} are both set; leave one of them out")
        if path:
            told[name] = read_secret(name, path)
    return told


@cache
def secrets_of(service: str) -> frozenset[str]:
    """The names of one service's settings that hold a secret."""
    own = {name for settings in SETTINGS.get(service, ()) for name in secret_names(settings)}
    if service == "poller":
        for platform in all_platforms():
            prefix = f"{ENV_PREFIX}{platform.upper()}_"
            own |= {*secret_names(PlatformSettings, prefix), f"{prefix}CLIENT_ID"}
    return frozenset(own)


@cache
def _every_secret() -> frozenset[str]:
    return frozenset[str]().union(*(secrets_of(service) for service in SETTINGS))
