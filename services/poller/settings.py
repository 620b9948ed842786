"""Settings of the poller: how to reach Kafka, the registry and the platforms, and how hard to ask."""

from __future__ import annotations

import re
from functools import cache, cached_property
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, create_model, field_validator

from services.platforms import all_platforms, checked_path, configured_platforms, declared_settings
from services.platforms.abilities import AcrossAccounts, Configurable
from services.platforms.base import Limit, Platform
from services.runtime.settings import (
    ENV_PREFIX,
    KafkaSettings,
    OperationsSettings,
    RegistrySettings,
    SecretKeysSettings,
    Settings,
    SettingsError,
    describe,
)

_LIMIT = re.compile(r"([\w-]+)=(\d{1,9})/(\d{1,8})")


def parsed_limits(listed: str) -> list[Limit]:
    """Limits of our app, from `group=calls/seconds`, comma-separated.

    Raises:
        ValueError: says what is expected.
    """
    found = []
    for part in listed.replace(" ", "").split(",") if listed.strip() else ():
        match = _LIMIT.fullmatch(part)
        if match is None or not int(match[2]) or not int(match[3]):
            raise ValueError(f"{part[:40]!r} is no limit; expected group=calls/seconds, such as data=1000000/86400")
        found.append(Limit(match[1], int(match[2]), int(match[3])))
    return found


class PlatformSettings(Settings):
    """One platform's address and app, from `TIDEMARK_<PLATFORM>_*`.

    Attributes:
        base_url: stands for every origin of the platform; None for the platform's own.
        app_token: an app-only token or API key; posts of all channels are asked for with it, in shared batches.
        limits: `group=calls/seconds`, comma-separated: limits of our app in place of the documented ones.
    """

    base_url: str | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    app_token: SecretStr | None = None
    limits: str = ""

    @field_validator("limits")
    @classmethod
    def _limits(cls, value: str) -> str:
        parsed_limits(value)
        return value

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be an http(s) origin, such as https://api.example.com")
        return value.rstrip("/")

    def secrets(self) -> tuple[str, ...]:
        """What has to be blanked wherever it occurs in an answer."""
        held = (self.client_secret, self.app_token)
        return tuple([secret.get_secret_value() for secret in held if secret is not None])

    @classmethod
    def of(cls, platform: str) -> PlatformSettings:
        """One platform's settings.

        Raises:
            SettingsError: naming the bad variable.
        """
        prefix = f"{ENV_PREFIX}{platform.upper()}_"
        try:
            found = cls(_env_prefix=prefix)
        except ValidationError as error:
            raise SettingsError(describe(error).replace(ENV_PREFIX, prefix, 1)) from None
        if found.app_token is not None and not isinstance(all_platforms()[platform], AcrossAccounts):
            able = [name for name, known in all_platforms().items() if isinstance(known, AcrossAccounts)]
            raise SettingsError(
                f"{prefix}APP_TOKEN is set, but {platform} can't be asked across accounts; leave it out (it is for "
                f"{', '.join(able)})"
            )
        return found


def _said(variable: str) -> str:
    """What a value of a platform's own setting looks like."""
    return declared_settings()[variable.removeprefix(ENV_PREFIX)].expected


@cache
def own_settings() -> type[Settings]:
    """The class that reads the settings which platforms have of their own; one field a setting, with its default."""
    fields: dict[str, Any] = {name.lower(): (str | None, known.default) for name, known in declared_settings().items()}
    return create_model("OwnSettings", __base__=Settings, **fields)


def own_values() -> dict[str, str]:
    """The values of platforms' own settings that are set or have a default, by the settings' names.

    Raises:
        SettingsError: naming the variable whose value has another form than its platform takes.
    """
    read = own_settings().load()
    found = {name: getattr(read, name.lower()) for name in declared_settings()}
    values = {name: value for name, value in found.items() if value is not None}
    for name, value in values.items():
        setting = declared_settings()[name]
        if not re.fullmatch(setting.pattern, value):
            raise SettingsError(f"{ENV_PREFIX}{name}: {value[:60]!r} has another form; expected {setting.expected}")
    return values


class PollerSettings(KafkaSettings, RegistrySettings, SecretKeysSettings, OperationsSettings):
    """Everything the poller reads from the environment, once.

    Attributes:
        poll_speed: divides every poll interval; above 1 for demonstrations and tests.
        platform_concurrency: calls to one platform at a time.
        channel_concurrency: batches of one channel at a time.
        unconfirmed_events: answers held for Kafka at most; at this many, no platform is asked any more.
        unconfirmed_bytes: the same for their size.
        call_timeout_seconds: for one call as a whole, the body included.
        poller_group: consumer group, under the topic prefix; its processes share the channels.
        poller_session_seconds: how long the group waits for a silent process before others take its channels over.
        sandbox_url: origin of the built-in sandbox; platforms whose base URL it is are asked only for channels of it.
        platforms_path: folders of further platforms' files; read by `services.platforms`.
    """

    platforms_path: str = ""
    sandbox_url: str | None = None
    poll_speed: float = Field(default=1.0, gt=0, le=1_000_000)
    platform_concurrency: int = Field(default=32, ge=1, le=1000)
    channel_concurrency: int = Field(default=4, ge=1, le=100)
    unconfirmed_events: int = Field(default=512, ge=1)
    unconfirmed_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    call_timeout_seconds: float = Field(default=30.0, gt=0)
    poller_group: str = "tidemark-poller"
    # Kafka's own least is 6 s by default; a process that is silent for half of it stops asking.
    poller_session_seconds: float = Field(default=6.0, ge=1, le=300)

    _found_platforms = field_validator("platforms_path")(checked_path)

    @classmethod
    def load(cls) -> Self:
        """Read the environment, the platforms' parts too; see `Settings.load`."""
        settings = super().load()
        if not settings.secret_keys:
            raise SettingsError("TIDEMARK_SECRET_KEYS is not set; it opens the tokens in catalog.tokens")
        _ = settings.platforms, settings.configured_platforms
        for name, variable in settings.unnamed.items():
            if settings.platforms[name].client_id is not None:
                raise SettingsError(
                    f"{variable} is not set, and {name} refuses calls without it; expected {_said(variable)}"
                )
        return settings

    @cached_property
    def limits(self) -> dict[str, list[Limit]]:
        """Each platform's limits: the documented ones, and in their place the configured ones of our app."""
        limits = {}
        for name, platform in self.configured_platforms.items():
            configured = parsed_limits(self.platforms[name].limits)
            replaced = {limit.group for limit in configured}
            documented = [
                limit for limit in platform.facts.limits if not limit.is_app_wide or limit.group not in replaced
            ]
            limits[name] = [*documented, *configured]
        return limits

    @property
    def sandboxed(self) -> frozenset[str]:
        """The platforms that the built-in sandbox stands in for."""
        if self.sandbox_url is None:
            return frozenset()
        return frozenset(n for n, access in self.platforms.items() if access.base_url == self.sandbox_url.rstrip("/"))

    @cached_property
    def platforms(self) -> dict[str, PlatformSettings]:
        """Each platform's settings by its name."""
        return {name: PlatformSettings.of(name) for name in all_platforms()}

    @property
    def unnamed(self) -> dict[str, str]:
        """By platform, the variable that is not set and without which the platform itself takes no calls.

        Another server that stands for the platform needs none.
        """
        values = own_values()
        return {
            name: f"{ENV_PREFIX}{setting.name}"
            for name, known in all_platforms().items()
            if isinstance(known, Configurable) and self.platforms[name].base_url is None
            for setting in known.settings
            if setting.is_required and setting.name not in values
        }

    @cached_property
    def configured_platforms(self) -> dict[str, Platform]:
        """Every platform by its name, with the settings that it has of its own."""
        return configured_platforms(own_values())
