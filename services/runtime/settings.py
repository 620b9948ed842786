"""Settings from the environment and `.env`: what every service shares, and how a bad one is reported.

A service's own class inherits from the parts it needs; it is read once, in `__main__`.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn, Self, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ENV_PREFIX = "TIDEMARK_"
MESSAGE_MAX_BYTES = 8 * 1024 * 1024


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names it and says what is allowed."""


class Settings(BaseSettings):
    """Base of all settings: `TIDEMARK_` variables, frozen once read."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            SettingsError: naming the first bad setting, without echoing a secret's value.
        """
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError(describe(error)) from None


def describe(error: ValidationError) -> str:
    """The first problem of a settings error as one line."""
    first = error.errors(include_input=False, include_url=False)[0]
    name = ENV_PREFIX + "_".join(str(part) for part in first["loc"]).upper()
    if first["type"] == "missing":
        return f"{name} is not set"
    return f"{name}: {first['msg'].removeprefix('Value error, ')}"


def exit_with(message: str, code: int = 2) -> NoReturn:
    """End the process with one line on standard error."""
    print(f"tidemark: {message}", file=sys.stderr)  # noqa: T201 - the one line a bad start prints
    raise SystemExit(code)


Loaded = TypeVar("Loaded", bound=Settings)


def load_or_exit(settings: type[Loaded]) -> Loaded:
    """Read settings, or end the process with one line that names the bad one."""
    try:
        return settings.load()
    except SettingsError as error:
        exit_with(str(error))


class KafkaSettings(Settings):
    """How to reach Kafka, and what the topics are called."""

    kafka_bootstrap: str = Field(description="host:port, comma-separated")
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_sasl_mechanism: str | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: str | None = None
    topic_prefix: str = ""
    # Fixed when the topics are made. 4 keeps a 2-core machine busy; a cluster wants some for each worker it may get.
    topic_partitions: int = Field(default=4, ge=1, le=4096)

    @field_validator("kafka_security_protocol")
    @classmethod
    def _protocol(cls, value: str) -> str:
        allowed = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
        if value.upper() not in allowed:
            raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
        return value.upper()

    def topic(self, name: str) -> str:
        """A topic's full name."""
        return self.topic_prefix + name


class RegistrySettings(Settings):
    """Where the Confluent-compatible schema registry is."""

    schema_registry_url: str

    @field_validator("schema_registry_url")
    @classmethod
    def _registry_url(cls, value: str) -> str:
        if urlsplit(value).scheme not in ("http", "https"):
            raise ValueError("must be an http(s) URL")
        return value.rstrip("/")


class ClickHouseSettings(Settings):
    """Where ClickHouse is; user, password and database are in the URL."""

    clickhouse_url: SecretStr
    clickhouse_cluster: str | None = None
    # Applied by `tidemark migrate`; 0 keeps for ever. A rebuild reaches as far back as raw events are kept.
    raw_events_retention_days: int = Field(default=0, ge=0, le=36_500)
    snapshots_retention_days: int = Field(default=0, ge=0, le=36_500)

    @field_validator("clickhouse_url")
    @classmethod
    def _clickhouse_url(cls, value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be http(s)://user:password@host:port/database")
        return value

    @property
    def clickhouse_database(self) -> str:
        """Database named in the URL, `tidemark` when none is."""
        return urlsplit(self.clickhouse_url.get_secret_value()).path.strip("/") or "tidemark"

    def clickhouse_connection(self) -> dict[str, Any]:
        """Keyword arguments for `clickhouse_connect.get_client`, without the database."""
        parts = urlsplit(self.clickhouse_url.get_secret_value())
        secure = parts.scheme == "https"
        return {
            "host": parts.hostname or "",
            "port": parts.port or (8443 if secure else 8123),
            "username": unquote(parts.username or "default"),
            "password": unquote(parts.password or ""),
            "secure": secure,
        }


class OperationsSettings(Settings):
    """Where a service answers its operators; 0 takes a free port."""

    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65535)
    instance_id: str = ""
    log_level: str = "INFO"


class HttpSettings(Settings):
    """What one server process takes of its callers; see `http_limits.HttpLimits`."""

    http_connections: int = Field(default=2_000, ge=10, description="open at once")
    http_connections_by_address: int = Field(
        default=1_000, ge=1, description="open at once from one address; behind a proxy all callers have the proxy's"
    )
    http_head_bytes: int = Field(default=64 * 1024, ge=8 * 1024, le=1024 * 1024, description="of a request's head")
    http_address_bytes: int = Field(default=32 * 1024, ge=1024, le=60_000, description="of a request's address")
    http_headers: int = Field(default=100, ge=20, le=10_000, description="of one request")
    http_head_seconds: float = Field(default=10.0, ge=1, description="for a request's head to arrive")
    http_body_seconds: float = Field(default=20.0, ge=1, description="for its body, and a second more for each KiB")
    http_body_bytes: int = Field(default=512 * 1024 * 1024, ge=8 * 1024 * 1024, description="of the longest body")
    http_unread_seconds: float = Field(default=20.0, ge=1, description="that a reply waits for a reader")
    http_keep_alive_seconds: int = Field(default=5, ge=1, le=3600, description="that a connection waits for a request")


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class SecretKeysSettings(Settings):
    """Keys that encrypt tokens at rest, newest first."""

    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()

    _split_keys = field_validator("secret_keys", mode="before")(_split)
