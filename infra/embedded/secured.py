"""What makes `tidemark up --secure` secure: certificates, users and passwords, kept in the data folder across starts.

In: the data folder. Out: the settings of each service's own user, and those of the engines. Nothing here connects.

    secure/ca.crt ...                the authority, and the certificates of the servers
    secure/passwords.json            the password of each user
    secure/kafka/<role>, secure/clickhouse/<role>    each service's secrets, which it reads by NAME_FILE
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.embedded.authority import Authority, Certificate
from infra.embedded.datadir import SECURE, write_atomically
from infra.embedded.errors import DataDirError
from schemas import clickhouse_rights, kafka_rights

KAFKA_PREFIX = "tidemark-"
CLICKHOUSE_PREFIX = "tidemark_"
# May do everything: it makes the other users. No service has its password.
SETUP = "setup"
# For clients of the operator's own: reads every topic, and publishes raw events.
CLIENT = "client"
MECHANISM = "SCRAM-SHA-512"
REGISTRY_USER = "tidemark"
# The name in the broker's certificate, by which it is known to its controller.
BROKER = "tidemark-broker"
_SERVER = "server"


@dataclass(frozen=True, slots=True)
class Passwords:
    """Passwords by role."""

    kafka: Mapping[str, str]
    clickhouse: Mapping[str, str]
    registry: str


class Secured:
    """The certificates and passwords of one data folder; made where they are missing.

    Raises:
        DataDirError: the folder cannot be written, its files are damaged, or Kafka's data in it was begun without
            `--secure`.
    """

    def __init__(self, data: Path) -> None:
        self.folder = data / SECURE
        self._passwords_path = self.folder / "passwords.json"
        if not self._passwords_path.exists() and (data / "kafka" / "formatted").exists():
            raise DataDirError(f"{data} was begun without --secure: leave --secure out, or choose another --data-dir")
        self.authority = Authority(self.folder)
        self.passwords = self._passwords()

    @property
    def broker(self) -> Certificate:
        """The broker's certificate."""
        return self.authority.issue(BROKER)

    @property
    def server(self) -> Certificate:
        """The certificate of registry and ClickHouse."""
        return self.authority.issue(_SERVER)

    def write_secrets(self, clickhouse_origin: str, database: str) -> None:
        """Write each service's secrets into files of their own.

        Args:
            clickhouse_origin: `host:port`.
        """
        for role, password in self.passwords.kafka.items():
            self._write(Path("kafka") / role, password)
        for role in self.passwords.clickhouse:
            self._write(Path("clickhouse") / role, self._clickhouse_url(role, clickhouse_origin, database))

    def kafka(self) -> dict[str, str]:
        """The settings of Kafka that all services share."""
        return {
            "TIDEMARK_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "TIDEMARK_KAFKA_SASL_MECHANISM": MECHANISM,
            "TIDEMARK_KAFKA_SSL_CAFILE": str(self.authority.certificate),
            "TIDEMARK_SCHEMA_REGISTRY_SSL_CAFILE": str(self.authority.certificate),
            "TIDEMARK_CLICKHOUSE_SSL_CAFILE": str(self.authority.certificate),
        }

    def files_of(self, role: str) -> dict[str, str]:
        """The settings of a role's own users, with its secrets as files."""
        told = {}
        if role in self.passwords.kafka:
            told["TIDEMARK_KAFKA_SASL_USERNAME"] = kafka_user(role)
            told["TIDEMARK_KAFKA_SASL_PASSWORD_FILE"] = str(self.folder / "kafka" / role)
        if role in self.passwords.clickhouse:
            told["TIDEMARK_CLICKHOUSE_URL_FILE"] = str(self.folder / "clickhouse" / role)
        return told

    def settings_of(self, role: str, clickhouse_origin: str, database: str) -> dict[str, str]:
        """The settings of a role's own users, with its secrets in them."""
        told = {}
        if role in self.passwords.kafka:
            told["TIDEMARK_KAFKA_SASL_USERNAME"] = kafka_user(role)
            told["TIDEMARK_KAFKA_SASL_PASSWORD"] = self.passwords.kafka[role]
        if role in self.passwords.clickhouse:
            told["TIDEMARK_CLICKHOUSE_URL"] = self._clickhouse_url(role, clickhouse_origin, database)
        return told

    def kafka_client(self) -> dict[str, str]:
        """What a client of the operator's own adds to its bootstrap address, in librdkafka's words."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": kafka_user(CLIENT),
            "sasl.password": self.passwords.kafka[CLIENT],
            "ssl.ca.location": str(self.authority.certificate),
        }

    def _clickhouse_url(self, role: str, origin: str, database: str) -> str:
        return f"https://{clickhouse_user(role)}:{self.passwords.clickhouse[role]}@{origin}/{database}"

    def _passwords(self) -> Passwords:
        path = self._passwords_path
        kept: dict[str, object] = {}
        if path.exists():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataDirError(f"{path} is damaged: restore it, or choose another --data-dir") from error
        roles = {
            "kafka": (*kafka_rights.ROLES, CLIENT, SETUP),
            "clickhouse": clickhouse_rights.ROLES,
        }
        held: dict[str, dict[str, str]] = {}
        for engine, names in roles.items():
            before = kept.get(engine)
            known = before if isinstance(before, dict) else {}
            held[engine] = {name: str(known.get(name) or secrets.token_urlsafe(24)) for name in names}
        registry = str(kept.get("registry") or secrets.token_urlsafe(24))
        write_atomically(path, json.dumps({**held, "registry": registry}, indent=2) + "\n")
        return Passwords(held["kafka"], held["clickhouse"], registry)

    def _write(self, place: Path, secret: str) -> None:
        path = self.folder / place
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, secret + "\n")


def refuse_unsecured(data: Path) -> None:
    """Refuse to start a folder without `--secure` that was begun with it.

    Raises:
        DataDirError: it was.
    """
    if (data / SECURE / "passwords.json").exists():
        raise DataDirError(f"{data} was begun with --secure: add --secure, or choose another --data-dir")


def kafka_user(role: str) -> str:
    """The name of a role's user in Kafka."""
    return f"{KAFKA_PREFIX}{role}"


def clickhouse_user(role: str) -> str:
    """The name of a role's user in ClickHouse."""
    return f"{CLICKHOUSE_PREFIX}{role.replace('-', '_')}"
