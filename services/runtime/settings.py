"""Settings from the environment and `.env`: what every service shares, and how a bad one is reported.

A service's own class inherits from the parts it needs; it is read once, in `__main__`.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated, Any, NoReturn, Self, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ENV_PREFIX = "TIDEMARK_"
_BROKER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/@,]+):(\d{1,5})")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER")
# Leaves room for the names of topics, which have at most 249 characters.
_TOPIC_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,200}")
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
    """A settings error as one line: everything that is missing, else the first bad value."""
    found = error.errors(include_input=False, include_url=False)
    missing = [_variable(problem["loc"]) for problem in found if problem["type"] == "missing"]
    if missing:
        *others, last = missing
        return f"{', '.join(others)} and {last} are not set" if others else f"{last} is not set"
    message = str(found[0]["msg"]).removeprefix("Value error, ")
    # Without a place, two settings contradict each other, and the message names both.
    return f"{_variable(found[0]['loc'])}: {message}" if found[0]["loc"] else message


def _variable(place: tuple[int | str, ...]) -> str:
    return ENV_PREFIX + "_".join(str(part) for part in place).upper()


def _is_broker(text: str) -> bool:
    match = _BROKER.fullmatch(text)
    return match is not None and 0 < int(match[1]) < 65536


def _is_http_url(text: str) -> bool:
    """Whether a text is an http(s) address whose host and port can be read."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def exit_with(message: str, code: int = 2) -> NoReturn:
    """End the process with one line on standard error."""
    print(f"tidemark: {message}", file=sys.stderr)  # noqa: T201 - the one line a bad start prints
    raise SystemExit(code)


def secret_fields(settings: type[Settings]) -> list[str]:
    """The names of the fields that hold secrets, such as `kafka_sasl_password`."""
    return [name for name, entry in settings.model_fields.items() if "SecretStr" in str(entry.annotation)]


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

    @field_validator("kafka_bootstrap")
    @classmethod
    def _bootstrap(cls, value: str) -> str:
        brokers = [part.strip() for part in value.split(",")]
        for broker in brokers:
            if not _is_broker(broker):
                raise ValueError(f"{broker!r} is not host:port; several brokers are separated by commas")
        return ",".join(brokers)

    @field_validator("kafka_sasl_mechanism")
    @classmethod
    def _mechanism(cls, value: str | None) -> str | None:
        if value is not None and value.upper() not in SASL_MECHANISMS:
            raise ValueError(f"{value!r} is not one of {', '.join(SASL_MECHANISMS)}")
        return value.upper() if value is not None else None

    @field_validator("kafka_ssl_cafile")
    @classmethod
    def _cafile(cls, value: str | None) -> str | None:
        if value is not None and not os.access(value, os.R_OK):
            raise ValueError(f"{value!r} can't be read; it is a PEM file of certificate authorities")
        return value

    @field_validator("topic_prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        if not _TOPIC_PREFIX.fullmatch(value):
            raise ValueError(f"{value!r} has characters that topics can't have; allowed are A-Z a-z 0-9 . _ -")
        return value

    @field_validator("kafka_security_protocol")
    @classmethod
    def _protocol(cls, value: str) -> str:
        allowed = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
        if value.upper() not in allowed:
            raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
        return value.upper()

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> Self:
        if self.kafka_security_protocol.startswith("SASL") and self.kafka_sasl_mechanism is None:
            raise ValueError(
                f"TIDEMARK_KAFKA_SASL_MECHANISM is not set, but TIDEMARK_KAFKA_SECURITY_PROTOCOL is "
                f"{self.kafka_security_protocol}; set it to {', '.join(SASL_MECHANISMS)}"
            )
        return self

    def topic(self, name: str) -> str:
        """A topic's full name."""
        return self.topic_prefix + name


class RegistrySettings(Settings):
    """Where the Confluent-compatible schema registry is."""

    schema_registry_url: str

    @field_validator("schema_registry_url")
    @classmethod
    def _registry_url(cls, value: str) -> str:
        if not _is_http_url(value):
            raise ValueError("must be an http(s) URL, such as http://registry:8081")
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
        if not _is_http_url(value.get_secret_value()):
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


LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class LogSettings(Settings):
    """How much a service logs."""

    log_level: str = "INFO"

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.upper() not in LOG_LEVELS:
            raise ValueError(f"{value!r} is not one of {', '.join(LOG_LEVELS)}")
        return value.upper()


class OperationsSettings(LogSettings):
    """Where a service answers its operators; port 0 takes a free port."""

    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65535)
    instance_id: str = ""


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class SecretKeysSettings(Settings):
    """Keys that encrypt tokens at rest, newest first."""

    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()

    _split_keys = field_validator("secret_keys", mode="before")(_split)
