"""Settings from the environment and `.env`: the parts that services share, and the report of a bad setting.

A service's own settings class inherits from the parts that the service needs, and is read once, in `__main__`.
"""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any, Literal, NoReturn, Self, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from services.runtime.secret_files import FILE_SUFFIX as FILE_SUFFIX
from services.runtime.secret_files import SettingsError as SettingsError
from services.runtime.secret_files import read_secret as read_secret
from services.runtime.secret_files import refuse_open
from services.runtime.sendable import is_http_url
from services.runtime.tls import TlsFiles, why_unreadable

ENV_PREFIX = "TIDEMARK_"
_BROKER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/@,]+):(\d{1,5})")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER")
# A topic's full name may have 249 characters; this leaves enough for the name itself.
_TOPIC_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,200}")
_PEM_FILES = {
    "cafile": "a PEM file of certificate authorities",
    "certfile": "a PEM file of this client's certificate, with the chain to its authority",
    "keyfile": "a PEM file of the certificate's private key",
}
# Passwords of examples and of fresh installations.
_PLACEHOLDERS = frozenset({"admin", "changeit", "changeme", "change-me", "default", "password", "..."})
MESSAGE_MAX_BYTES = 8 * 1024 * 1024


class MissingSettingsError(SettingsError):
    """Settings without a default are not set; the message names all of them."""


class _SecretFiles(PydanticBaseSettingsSource):
    """Reads `NAME_FILE` for each NAME that holds a secret."""

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
    ) -> None:
        super().__init__(settings_cls)
        self._held = (env_settings, dotenv_settings)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value, its key, and whether the value is JSON, which is always False here."""
        if not holds_secret(field):
            return None, field_name, False
        prefix = self.config.get("env_prefix") or ""
        if isinstance(self._held[0], EnvSettingsSource):
            prefix = self._held[0].env_prefix
        name = f"{prefix}{field_name}".upper()
        for source in self._held:
            if isinstance(source, EnvSettingsSource):
                told = {key.upper(): value for key, value in source.env_vars.items() if value}
                if name + FILE_SUFFIX in told:
                    if name in told:
                        raise SettingsError(f"{name} and {name}{FILE_SUFFIX} are both set; leave one of them out")
                    return read_secret(name, str(told[name + FILE_SUFFIX])), field_name, False
                if name in told:
                    if source is self._held[1]:
                        refuse_open(str(self.config.get("env_file") or ".env"), name)
                    break
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The values read from files, by field."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def holds_secret(field: FieldInfo) -> bool:
    """Whether a setting's type marks it as a secret."""
    return "SecretStr" in str(field.annotation)


def secret_names(settings: type[BaseSettings], prefix: str = ENV_PREFIX) -> set[str]:
    """The names of a settings class's secrets."""
    return {f"{prefix}{name}".upper() for name, field in settings.model_fields.items() if holds_secret(field)}


class Settings(BaseSettings):
    """Base of all settings: `TIDEMARK_` variables, frozen once read."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="after")
    def _secrets_are_chosen(self) -> Self:
        """Refuse what stands in examples in place of a secret; no secret has a default."""
        for name, field in type(self).model_fields.items():
            held = getattr(self, name) if holds_secret(field) else None
            for secret in held if isinstance(held, tuple) else (held,):
                text = secret.get_secret_value() if isinstance(secret, SecretStr) else ""
                password = urlsplit(text).password if is_http_url(text) else text
                if password is not None and password.lower() in _PLACEHOLDERS:
                    raise ValueError(f"{ENV_PREFIX}{name.upper()} holds {password!r}, which everybody knows; make one")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources in order: the environment, `.env`, and the files named by either for secrets."""
        files = _SecretFiles(settings_cls, env_settings, dotenv_settings)
        return init_settings, env_settings, files, dotenv_settings

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            MissingSettingsError: settings without a default are not set; the message names all of them.
            SettingsError: a setting is wrong; the message names the first one, and shows no secret's value.
        """
        try:
            return cls()
        except ValidationError as error:
            is_missing = any(problem["type"] == "missing" for problem in error.errors(include_input=False))
            raise (MissingSettingsError if is_missing else SettingsError)(describe(error)) from None


def describe(error: ValidationError) -> str:
    """A validation error as one line: all settings that are missing, else the first bad value."""
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


def _http_url(value: SecretStr, expected: str) -> str:
    address = value.get_secret_value().strip()
    if not is_http_url(address):
        raise ValueError(f"must be {expected}")
    return address


def exit_with(message: str, code: int = 2) -> NoReturn:
    """End the process with one line on standard error."""
    print(f"tidemark: {message}", file=sys.stderr)  # noqa: T201 - the one line a bad start prints
    raise SystemExit(code)


Loaded = TypeVar("Loaded", bound=Settings)


def load_or_exit(settings: type[Loaded]) -> Loaded:
    """Read settings, or end the process with one line that names the bad setting."""
    try:
        return settings.load()
    except SettingsError as error:
        exit_with(str(error))


def _readable_pem(value: str | None, info: ValidationInfo) -> str | None:
    """Check a setting that names a PEM file."""
    if value is None:
        return None
    kind = str(info.field_name).rpartition("_")[2]
    problem = why_unreadable(value, _PEM_FILES[kind])
    if problem:
        raise ValueError(problem)
    return value


def _check_certificate(files: TlsFiles, server: str) -> None:
    prefix = f"{ENV_PREFIX}{server.upper()}_SSL"
    if files.keyfile and not files.certfile:
        raise ValueError(f"{prefix}_KEYFILE is set, but {prefix}_CERTFILE is not; set both, or none of them")
    try:
        files.check_certificate()
    except OSError as error:
        raise ValueError(f"{prefix}_CERTFILE and {prefix}_KEYFILE can't be used together: {error}") from None


class KafkaSettings(Settings):
    """Addresses and credentials of Kafka, and the prefix and partitions of topics."""

    kafka_bootstrap: str = Field(description="host:port, comma-separated")
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_sasl_mechanism: str | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: str | None = None
    kafka_ssl_certfile: str | None = None
    kafka_ssl_keyfile: str | None = None
    topic_prefix: str = ""
    # Fixed when the topics are made. 4 keep a 2-core machine busy; a cluster needs several for each worker it may get.
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

    _pem_files = field_validator("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")(_readable_pem)

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

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        _check_certificate(self.kafka_tls, "kafka")
        return self

    @property
    def kafka_tls(self) -> TlsFiles:
        """The PEM files of connections to Kafka."""
        return TlsFiles(self.kafka_ssl_cafile, self.kafka_ssl_certfile, self.kafka_ssl_keyfile)

    def topic(self, name: str) -> str:
        """A topic's full name, with the prefix."""
        return self.topic_prefix + name


class RegistrySettings(Settings):
    """Address of the Confluent-compatible schema registry; a user and password stand in the address."""

    schema_registry_url: SecretStr
    schema_registry_ssl_cafile: str | None = None

    _pem_files = field_validator("schema_registry_ssl_cafile")(_readable_pem)

    @field_validator("schema_registry_url")
    @classmethod
    def _registry_url(cls, value: SecretStr) -> SecretStr:
        return SecretStr(_http_url(value, "an http(s) URL, such as http://registry:8081").rstrip("/"))

    @property
    def schema_registry_address(self) -> str:
        """The address with user and password, as clients take it."""
        return self.schema_registry_url.get_secret_value()

    def schema_registry_options(self, timeout_seconds: float) -> dict[str, Any]:
        """Options of confluent-kafka's `SchemaRegistryClient`."""
        options: dict[str, Any] = {"url": self.schema_registry_address, "timeout": timeout_seconds}
        if self.schema_registry_ssl_cafile:
            options["ssl.ca.location"] = self.schema_registry_ssl_cafile
        return options


class ClickHouseSettings(Settings):
    """Address of ClickHouse, with user, password and database, and the retention of its tables."""

    clickhouse_url: SecretStr
    clickhouse_ssl_cafile: str | None = None
    clickhouse_ssl_certfile: str | None = None
    clickhouse_ssl_keyfile: str | None = None
    clickhouse_cluster: str | None = None
    # Applied by `tidemark migrate`; 0 keeps for ever. A rebuild reaches as far back as raw events are kept.
    raw_events_retention_days: int = Field(default=0, ge=0, le=36_500)
    snapshots_retention_days: int = Field(default=0, ge=0, le=36_500)

    @field_validator("clickhouse_url")
    @classmethod
    def _clickhouse_url(cls, value: SecretStr) -> SecretStr:
        return SecretStr(_http_url(value, "http(s)://user:password@host:port/database"))

    _pem_files = field_validator("clickhouse_ssl_cafile", "clickhouse_ssl_certfile", "clickhouse_ssl_keyfile")(
        _readable_pem
    )

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        _check_certificate(self.clickhouse_tls, "clickhouse")
        return self

    @property
    def clickhouse_tls(self) -> TlsFiles:
        """The PEM files of connections to ClickHouse."""
        return TlsFiles(self.clickhouse_ssl_cafile, self.clickhouse_ssl_certfile, self.clickhouse_ssl_keyfile)

    @property
    def clickhouse_database(self) -> str:
        """The database in the URL; `tidemark` where the URL names none."""
        return urlsplit(self.clickhouse_url.get_secret_value()).path.strip("/") or "tidemark"

    def clickhouse_connection(self) -> dict[str, Any]:
        """Keyword arguments for `clickhouse_connect.get_client`, without the database."""
        parts = urlsplit(self.clickhouse_url.get_secret_value())
        secure = parts.scheme == "https"
        tls = self.clickhouse_tls
        files = {"ca_cert": tls.cafile, "client_cert": tls.certfile, "client_cert_key": tls.keyfile}
        if tls.certfile and parts.password:
            # The certificate opens the connection, and the password says who asks. Without a password the certificate
            # says both.
            files["tls_mode"] = "strict"
        return {
            "host": parts.hostname or "",
            "port": parts.port or (8443 if secure else 8123),
            "username": unquote(parts.username or "default"),
            "password": unquote(parts.password or ""),
            "secure": secure,
            **{name: value for name, value in files.items() if value and secure},
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
    """Host and port on which a service answers its operators; port 0 takes a free port."""

    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65535)
    instance_id: str = ""


class HttpSettings(Settings):
    """Bounds of one HTTP server process; see `http_limits.HttpLimits`."""

    http_connections: int = Field(default=4_000, ge=10, description="connections open at once")
    http_connections_by_address: int = Field(
        default=2_000,
        ge=1,
        description="connections open at once from one address; behind a proxy all callers share it",
    )
    http_head_bytes: int = Field(
        default=64 * 1024, ge=8 * 1024, le=1024 * 1024, description="longest head of a request"
    )
    http_address_bytes: int = Field(default=32 * 1024, ge=1024, le=60_000, description="longest address of a request")
    http_headers: int = Field(default=100, ge=20, le=10_000, description="most headers of one request")
    http_head_seconds: float = Field(default=30.0, ge=1, description="time for a request's head")
    http_body_seconds: float = Field(default=20.0, ge=1, description="time for a body, plus a second for each KiB")
    http_body_bytes: int = Field(default=512 * 1024 * 1024, ge=8 * 1024 * 1024, description="longest body")
    http_unread_seconds: float = Field(default=20.0, ge=1, description="how long a reply may stay unread")
    # Longer than common proxies keep a connection (60 s), so that no proxy sends a request on a closing connection.
    http_keep_alive_seconds: int = Field(default=75, ge=1, le=3600, description="how long an idle connection is kept")


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class SecretKeysSettings(Settings):
    """The keys that encrypt tokens at rest.

    Attributes:
        unbound_tokens: whether ciphertexts of earlier versions, which are not bound to their channel, are opened; and
            written, for as long as an earlier version runs beside this one.
    """

    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    unbound_tokens: Literal["accept", "refuse", "keep"] = "accept"

    _split_keys = field_validator("secret_keys", mode="before")(_split)


class WebhookSettings(Settings):
    """Where deliveries of webhooks may go.

    Attributes:
        webhooks_allow_private: 1 allows http and private addresses; for tests and local use only, since tenants choose
            these addresses.
    """

    webhooks_allow_private: int = Field(default=0, ge=0, le=1)
