"""Settings of the poller: how to reach Kafka, the registry and the platforms, and how hard to ask."""

from __future__ import annotations

from functools import cached_property
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator

from services.platforms import all_platforms, checked_path
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


class PlatformSettings(Settings):
    """One platform's address and app, from `TIDEMARK_<PLATFORM>_*`.

    Attributes:
        base_url: stands for every origin of the platform; None for the platform's own.
    """

    base_url: str | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be an http(s) origin, such as https://api.example.com")
        return value.rstrip("/")

    @classmethod
    def of(cls, platform: str) -> PlatformSettings:
        """One platform's settings.

        Raises:
            SettingsError: naming the bad variable.
        """
        prefix = f"{ENV_PREFIX}{platform.upper()}_"
        try:
            return cls(_env_prefix=prefix)
        except ValidationError as error:
            raise SettingsError(describe(error).replace(ENV_PREFIX, prefix, 1)) from None


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
        platforms_path: folders of further platforms' files; read by `services.platforms`.
    """

    platforms_path: str = ""
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
        _ = settings.platforms
        return settings

    @cached_property
    def platforms(self) -> dict[str, PlatformSettings]:
        """Each platform's settings by its name."""
        return {name: PlatformSettings.of(name) for name in all_platforms()}
