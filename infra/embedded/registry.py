"""Apicurio Registry, the schema registry of the embedded engines, with its Confluent-compatible API.

Comes in: a folder and a port. Goes out: the command to run and the address for clients.
Schemas live in an H2 file in that folder, not in Kafka. So the registry starts at the same time as the broker (5 s)
instead of after it, and answers while the broker is away. H2 writes each commit through, so ids survive SIGKILL.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from infra.embedded import artifacts
from infra.embedded.errors import DataDirError
from infra.embedded.jvm import archive_options, java_command, make_empty

HOST = "127.0.0.1"
COMPATIBLE_API = "/apis/ccompat/v7"
NATIVE_API = "/apis/registry/v3"
# For subjects without a level of their own. The registry's own default is NONE, which accepts any change.
_COMPATIBILITY = "BACKWARD"
MAX_HEAP_MEBIBYTES = 256
ANSWER_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class RegistrySecurity:
    """What makes a registry speak https alone, and to one user alone.

    Attributes:
        certificate, key: PEM files of the server.
        authorities: PEM file of the authority that signed the certificate.
    """

    certificate: Path
    key: Path
    authorities: Path
    user: str
    password: str = field(repr=False)

    def settings(self, port: int) -> dict[str, str]:
        """Quarkus' settings, the password among them."""
        return {
            "quarkus.http.port": "0",
            "quarkus.http.insecure-requests": "disabled",
            "quarkus.http.ssl-port": str(port),
            "quarkus.http.ssl.certificate.files": str(self.certificate),
            "quarkus.http.ssl.certificate.key-files": str(self.key),
            "quarkus.http.auth.basic": "true",
            "quarkus.http.auth.permission.all.paths": "/*",
            "quarkus.http.auth.permission.all.policy": "authenticated",
            "quarkus.security.users.embedded.plain-text": "true",
            f"quarkus.security.users.embedded.users.{self.user}": self.password,
        }


@dataclass(frozen=True)
class Registry:
    """One embedded registry; `folder` holds everything that survives a restart."""

    folder: Path
    port: int
    security: RegistrySecurity | None = None

    @property
    def url(self) -> str:
        """Base address for any Confluent client."""
        if self.security is not None:
            return f"https://{self.security.user}:{self.security.password}@{HOST}:{self.port}{COMPATIBLE_API}"
        return f"http://{HOST}:{self.port}{COMPATIBLE_API}"

    @property
    def native_url(self) -> str:
        """Base address of Apicurio's own API and of its page for people."""
        scheme = "http" if self.security is None else "https"
        return f"{scheme}://{HOST}:{self.port}{NATIVE_API}"

    def prepare(self) -> None:
        """Make the folder, and fetch the registry when it is not cached.

        Raises:
            ArtifactError: the registry cannot be fetched.
            DataDirError: the folder cannot be written.
        """
        artifacts.ensure(artifacts.REGISTRY)
        try:
            (self.folder / "import").mkdir(parents=True, exist_ok=True)
            make_empty(self.folder / "tmp")
            if self.security is not None:
                self._secrets_path.touch(mode=0o600)
                lines = [f"{name}={value}" for name, value in self.security.settings(self.port).items()]
                self._secrets_path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        except OSError as error:
            raise DataDirError(f"cannot write {self.folder} ({error.strerror}): choose another --data-dir") from error

    def command(self) -> list[str]:
        """The command that runs the registry in the foreground, logging to stdout."""
        home = artifacts.ensure(artifacts.REGISTRY)[artifacts.REGISTRY]
        # WRITE_DELAY=0: a schema id is on disk before any client receives it.
        database = f"jdbc:h2:file:{(self.folder / 'registry').absolute()};WRITE_DELAY=0"
        settings = {
            "quarkus.http.host": HOST,
            "quarkus.http.port": str(self.port),
            # Quarkus' own health and metrics are not used here; they listen on any free port of this host.
            "quarkus.management.host": HOST,
            "quarkus.management.port": "0",
            "quarkus.http.access-log.enabled": "false",
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2",
            "apicurio.datasource.url": database,
            # The default of 20-100 connections is meant for a shared PostgreSQL.
            "apicurio.datasource.jdbc.initial-size": "1",
            "apicurio.datasource.jdbc.min-size": "1",
            "apicurio.datasource.jdbc.max-size": "8",
            # Without this setting Quarkus makes a folder that everybody may write to.
            "vertx.cacheDirBase": str((self.folder / "tmp" / "vertx").absolute()),
            "apicurio.import.work-dir": str((self.folder / "import").absolute()),
            "apicurio.storage.snapshot.location": str((self.folder / "import").absolute()),
        }
        if self.security is not None:
            # A file, since everybody on this machine may read a command line.
            del settings["quarkus.http.port"]
            settings["quarkus.config.locations"] = f"file:{self._secrets_path.absolute()}"
        options = [*archive_options(home), *(f"-D{key}={value}" for key, value in settings.items())]
        return java_command(MAX_HEAP_MEBIBYTES, self.folder / "tmp", *options, "-jar", str(home / "quarkus-run.jar"))

    @property
    def _secrets_path(self) -> Path:
        return self.folder / "secure.properties"

    def answers(self) -> bool:
        """Whether the Confluent-compatible API lists its subjects and refuses incompatible schemas.

        Blocks for some seconds at most. Sets the default level to BACKWARD where the registry still has NONE.
        """
        try:
            # Over HTTP `verify` would only load all authorities' certificates.
            trusted: ssl.SSLContext | bool = False
            if self.security is not None:
                trusted = ssl.create_default_context(cafile=str(self.security.authorities))
            with httpx.Client(
                base_url=self.url, timeout=ANSWER_TIMEOUT_SECONDS, trust_env=False, verify=trusted
            ) as client:
                if client.get("/subjects").status_code != httpx.codes.OK:
                    return False
                held = client.get("/config").json().get("compatibilityLevel")
                # Another level was chosen by an operator and stays.
                if held in (None, "NONE"):
                    return client.put("/config", json={"compatibility": _COMPATIBILITY}).is_success
        except (httpx.HTTPError, ValueError):
            return False
        return True

    async def is_ready(self) -> bool:
        """As `answers`, without blocking the event loop."""
        return await asyncio.to_thread(self.answers)
