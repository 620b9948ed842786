"""The services of `tidemark up`: their commands, environments, order and readiness.

Comes in: the ports, secrets and environment of one data folder. Goes out: `Service` descriptions for the supervisor,
and the addresses of the ready-file. It starts nothing.
"""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from infra.embedded import kafka
from infra.embedded.datadir import STORE, TEMPORARY, Secrets
from infra.embedded.environment import environment_of
from infra.embedded.registry import Registry, RegistrySecurity
from infra.embedded.secure_kafka import secure_broker
from infra.embedded.secured import CLIENT, REGISTRY_USER, SETUP, Secured
from infra.embedded.service import Readiness, Service
from services.platforms import all_platforms

HOST = "127.0.0.1"
DATABASE = "tidemark"
# The database that the user `builder` may change, besides databases named `analytics_*`.
BUILDER_DATABASE = "analytics"
LASTING = ("kafka", "registry", "clickhouse", "sandbox", "aggregator", "query_api", "poller", "notifier")
ONE_SHOT = ("topics", "migrate")
# Makes the users of `--secure` before anybody else connects.
RIGHTS = "rights"
NAMES = (*LASTING, RIGHTS, *ONE_SHOT)
ENGINES = ("kafka", "registry", "clickhouse")
DEPENDS_ON = {
    "topics": ("kafka", "registry"),
    "migrate": ("clickhouse",),
    "aggregator": ("kafka", "registry", "clickhouse", "topics", "migrate"),
    "query_api": ("kafka", "registry", "clickhouse", "topics", "migrate"),
    "poller": ("kafka", "registry", "topics", "sandbox"),
    "notifier": ("kafka", "registry", "clickhouse", "topics", "migrate"),
}
# Only their operators ask them anything.
_WITHOUT_CALLERS = ("aggregator", "poller", "notifier")
_USERS = frozenset({"TIDEMARK_KAFKA_SASL_USERNAME", "TIDEMARK_KAFKA_SASL_PASSWORD", "TIDEMARK_CLICKHOUSE_URL"})
STOP_TIMEOUT_SECONDS = 6.0
PROBE_TIMEOUT_SECONDS = 2.0


def ports_needed(names: frozenset[str]) -> list[str]:
    """The names of the ports that these services listen on."""
    ports = [name for name in LASTING if name in names and name not in _WITHOUT_CALLERS]
    if "kafka" in names:
        ports.append("kafka_controller")
    return ports + [f"{name}_metrics" for name in (*_WITHOUT_CALLERS, "query_api") if name in names]


@dataclass(frozen=True)
class Plan:
    """One run of `tidemark up`.

    Attributes:
        names: the services to run.
        inherited: the caller's environment, completed from `.env`. Addresses and keys in it are kept for services
            that do not run here.
        secured: certificates and passwords of `--secure`; None without it.
    """

    folder: Path
    names: frozenset[str]
    ports: Mapping[str, int]
    secrets: Secrets
    inherited: Mapping[str, str]
    python: str = field(default=sys.executable)
    secured: Secured | None = None

    @property
    def kafka_bootstrap(self) -> str | None:
        """`host:port` of the broker; the inherited one where Kafka does not run here."""
        if "kafka" in self.names:
            return f"{HOST}:{self.ports['kafka']}"
        return self.inherited.get("TIDEMARK_KAFKA_BOOTSTRAP")

    @property
    def schema_registry_url(self) -> str | None:
        """Address of the schema registry, which has Confluent's API."""
        if "registry" in self.names:
            return self._registry.url
        return self.inherited.get("TIDEMARK_SCHEMA_REGISTRY_URL")

    @property
    def clickhouse_url(self) -> str | None:
        """ClickHouse's address with the read-write user in it."""
        if "clickhouse" in self.names:
            return self._clickhouse_url("default", self.secrets.clickhouse_password)
        return self.inherited.get("TIDEMARK_CLICKHOUSE_URL")

    @property
    def clickhouse_origin(self) -> str | None:
        """ClickHouse's address without a user."""
        if "clickhouse" not in self.names:
            return None
        return f"{'http' if self.secured is None else 'https'}://{HOST}:{self.ports['clickhouse']}"

    @property
    def schema_registry_shown(self) -> str | None:
        """The registry's address without a password."""
        url = self.schema_registry_url
        return None if url is None else re.sub(r"//[^/@]*@", "//", url)

    @property
    def clickhouse_analyst_url(self) -> str | None:
        """ClickHouse's address with the user `analyst` in it."""
        if "clickhouse" in self.names:
            return self._clickhouse_url("analyst", self.secrets.clickhouse_analyst_password)
        return None

    @property
    def clickhouse_builder_url(self) -> str | None:
        """ClickHouse's address with the user `builder` in it, and the database that this user may change."""
        if "clickhouse" in self.names:
            return self._clickhouse_url("builder", self.secrets.clickhouse_builder_password, BUILDER_DATABASE)
        return None

    @property
    def query_api_url(self) -> str | None:
        """Origin of the five APIs and the admin API."""
        return f"http://{HOST}:{self.ports['query_api']}" if "query_api" in self.names else None

    @property
    def sandbox_url(self) -> str | None:
        """Origin of the platforms' stand-in."""
        return f"http://{HOST}:{self.ports['sandbox']}" if "sandbox" in self.names else None

    @property
    def admin_key(self) -> str:
        """The admin key: the caller's own, or the one made for this folder."""
        return self.inherited.get("TIDEMARK_ADMIN_KEY") or self.secrets.admin_key

    def ready_document(self, pids: Mapping[str, int]) -> dict[str, object]:
        """The content of the ready-file."""
        return {
            "query_api": self.query_api_url,
            "kafka": self.kafka_bootstrap,
            "schema_registry": self.schema_registry_url,
            "schema_registry_native": self._registry.native_url if "registry" in self.names else None,
            "clickhouse": self.clickhouse_url,
            "clickhouse_analyst": self.clickhouse_analyst_url,
            "clickhouse_builder": self.clickhouse_builder_url,
            "sandbox": self.sandbox_url,
            "admin_key": self.admin_key,
            "pids": dict(pids),
            **self._secured_document(),
        }

    def _secured_document(self) -> dict[str, object]:
        if self.secured is None:
            return {}
        return {"kafka_client": self.secured.kafka_client(), "ca_file": str(self.secured.authority.certificate)}

    def running_document(self) -> dict[str, object]:
        """What commands need to work with this run: the services' addresses and settings."""
        told = {name: value for name, value in self.environment().items() if name.startswith("TIDEMARK_") and value}
        if self.query_api_url is not None:
            told["TIDEMARK_QUERY_API_URL"] = self.query_api_url
        return {
            "services": {name: f"http://{place}" for name, place in self._operators().items()},
            "environment": told,
            "roles": self._roles(),
        }

    def _roles(self) -> dict[str, dict[str, str]]:
        """The settings of each command's own users; {} without `--secure`, where all commands share one."""
        if self.secured is None:
            return {}
        held = self.secured.passwords
        roles = {role: self._role(role) for role in sorted({*held.kafka, *held.clickhouse} - {SETUP, CLIENT})}
        return {**roles, SETUP: self._setup()}

    def _role(self, role: str) -> dict[str, str]:
        assert self.secured is not None
        return self.secured.settings_of(role, f"{HOST}:{self.ports['clickhouse']}", DATABASE)

    def _setup(self) -> dict[str, str]:
        """The settings of the users that may do everything."""
        assert self.clickhouse_url is not None
        return {**self._role(SETUP), "TIDEMARK_CLICKHOUSE_URL": self.clickhouse_url}

    def scrape_targets(self) -> list[dict[str, object]]:
        """Where Prometheus finds the services' metrics, in the form of its files of targets."""
        return [
            {"targets": [place], "labels": {"job": f"tidemark-{name.replace('_', '-')}"}}
            for name, place in self._operators().items()
        ]

    def _status_targets(self) -> str:
        """The services' operators' ports, in the form of the setting."""
        return ",".join(f"{name}=http://{place}" for name, place in self._operators().items())

    def _operators(self) -> dict[str, str]:
        """`host:port` of each service's operators' port."""
        ports = {name: self.ports.get(f"{name}_metrics") for name in ("poller", "aggregator", "query_api", "notifier")}
        return {name: f"{HOST}:{port}" for name, port in ports.items() if name in self.names and port is not None}

    def environment(self) -> dict[str, str]:
        """The settings of all services together, on top of the inherited environment."""
        told = {
            "TIDEMARK_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "TIDEMARK_SCHEMA_REGISTRY_URL": self.schema_registry_url,
            # With --secure each service has an address with a user of its own.
            "TIDEMARK_CLICKHOUSE_URL": self.clickhouse_url if self.secured is None else None,
            "TIDEMARK_ADMIN_KEY": self.admin_key,
            "TIDEMARK_SECRET_KEYS": self.inherited.get("TIDEMARK_SECRET_KEYS") or self.secrets.secret_keys,
            # A folder made by this version never held a token that is not bound to its channel.
            "TIDEMARK_UNBOUND_TOKENS": self.inherited.get("TIDEMARK_UNBOUND_TOKENS")
            or ("refuse" if self.secrets.tokens_bound else None),
            "TIDEMARK_QUERY_API_HOST": self.inherited.get("TIDEMARK_QUERY_API_HOST") or HOST,
            "PYTHONUNBUFFERED": "1",
            # Emptied at each start, so files of a killed process do not stay.
            "TMPDIR": str(self.folder / TEMPORARY),
            **_no_proxy(self.inherited),
        }
        if self.secured is not None:
            told |= self.secured.kafka()
        elif "kafka" in self.names:
            told["TIDEMARK_KAFKA_SECURITY_PROTOCOL"] = "PLAINTEXT"
        if "query_api" in self.names:
            told["TIDEMARK_QUERY_API_PORT"] = str(self.ports["query_api"])
            # Set and empty is the caller's word for no store.
            told["TIDEMARK_STORE_DIR"] = self.inherited.get("TIDEMARK_STORE_DIR", str(self.folder / STORE))
        if self.sandbox_url is not None:
            told["TIDEMARK_SANDBOX_URL"] = self.sandbox_url
            for platform in all_platforms():
                prefix = f"TIDEMARK_{platform.upper()}"
                own = self.inherited.get(f"{prefix}_BASE_URL")
                told[f"{prefix}_BASE_URL"] = own or self.sandbox_url
                for part in ("CLIENT_ID", "CLIENT_SECRET"):
                    # Long and unusual: a secret that Tidemark holds is blanked wherever its text occurs in an answer.
                    made_up = f"tidemark-sandbox-{platform}-{part.lower().replace('_', '-')}"
                    # The sandbox never receives the credentials of the caller's own app at the platform.
                    told[f"{prefix}_{part}"] = (own and self.inherited.get(f"{prefix}_{part}")) or made_up
        # The caller's users belong to other engines than those that run here.
        foreign = _USERS if self.secured is not None else frozenset[str]()
        kept = {name: value for name, value in self.inherited.items() if name not in foreign}
        return {**kept, **{name: value for name, value in told.items() if value is not None}}

    def checked_environment(self) -> dict[str, str]:
        """The settings with those of one service's users, so that they can be checked before anything starts."""
        return self.environment() | ({} if self.secured is None else self._setup())

    def services(self) -> list[Service]:
        """The services to run, without those left out; each gets its own part of `environment`."""
        everything = self.environment()
        names = [name for name in NAMES if name in self.names]
        if self.secured is None:
            return [self._service(name, everything) for name in names if name != RIGHTS]
        self.secured.write_secrets(f"{HOST}:{self.ports['clickhouse']}", DATABASE)
        return [self._service(name, everything) for name in names]

    @property
    def _registry(self) -> Registry:
        folder, port = self.folder / "registry", self.ports["registry"]
        if self.secured is None:
            return Registry(folder, port)
        server, password = self.secured.server, self.secured.passwords.registry
        security = RegistrySecurity(
            server.certificate, server.key, self.secured.authority.certificate, REGISTRY_USER, password
        )
        return Registry(folder, port, security)

    @property
    def _broker(self) -> kafka.Broker:
        folder, ports = self.folder / "kafka", (self.ports["kafka"], self.ports["kafka_controller"])
        if self.secured is None:
            return kafka.single_broker(folder, *ports)
        return secure_broker(folder, *ports, self.secured)

    def _clickhouse_url(self, user: str, password: str, database: str = DATABASE) -> str:
        scheme = "http" if self.secured is None else "https"
        return f"{scheme}://{user}:{password}@{HOST}:{self.ports['clickhouse']}/{database}"

    def _service(self, name: str, everything: Mapping[str, str]) -> Service:
        environment = environment_of(name, everything)
        depends_on = frozenset(DEPENDS_ON.get(name, ())) & self.names
        if self.secured is not None:
            if name in ONE_SHOT:
                depends_on |= {RIGHTS} & self.names
            environment |= self.secured.files_of(name.replace("_", "-"))
        if name == RIGHTS and self.secured is not None:
            argv = [self.python, "-m", "infra.embedded.rights", str(self.secured.folder / "passwords.json")]
            environment |= self._setup()
            return Service(name, argv, environment, depends_on=frozenset({"kafka", "clickhouse"}), once=True)
        if name == "kafka":
            broker = self._broker
            return Service(
                name,
                broker.command(),
                environment,
                ready=broker.is_ready,
                alive=broker.is_ready,
                prepare=broker.prepare,
                stop_timeout_seconds=STOP_TIMEOUT_SECONDS,
            )
        if name == "registry":
            registry = self._registry
            return Service(
                name,
                registry.command(),
                environment,
                ready=registry.is_ready,
                alive=registry.is_ready,
                prepare=registry.prepare,
                stop_timeout_seconds=STOP_TIMEOUT_SECONDS,
            )
        if name in ONE_SHOT:
            argv = [self.python, "-m", "services.cli", name]
            if name == "migrate":
                argv.append("--stopped")  # the folder's aggregator is a process of this run
            return Service(name, argv, environment, depends_on=depends_on, once=True)
        argv = [self.python, "-m", f"services.{name}"]
        if name == "clickhouse":
            argv = [self.python, "-m", "infra.embedded.clickhouse", "--path", str(self.folder / "clickhouse")]
            argv += ["--port", str(self.ports[name]), "--database", DATABASE]
            argv += ["--builder-database", BUILDER_DATABASE]
            for built in (BUILDER_DATABASE, f"{BUILDER_DATABASE}_*"):
                argv += ["--analyst-database", built]
            environment["TIDEMARK_EMBEDDED_CLICKHOUSE_PASSWORD"] = self.secrets.clickhouse_password
            environment["TIDEMARK_EMBEDDED_CLICKHOUSE_ANALYST_PASSWORD"] = self.secrets.clickhouse_analyst_password
            environment["TIDEMARK_EMBEDDED_CLICKHOUSE_BUILDER_PASSWORD"] = self.secrets.clickhouse_builder_password
            if self.secured is None:
                probe = alive = answers(f"http://{HOST}:{self.ports[name]}/ping")
            else:
                server, trusted = self.secured.server, self.secured.authority.certificate
                argv += ["--named-users", "--certificate", str(server.certificate), "--key", str(server.key)]
                probe = alive = answers(f"https://{HOST}:{self.ports[name]}/ping", authorities=trusted)
        elif name == "sandbox":
            argv = [self.python, "-m", "infra.sandbox", "--port", str(self.ports[name]), "--own-tokens"]
            probe = alive = answers(f"{self.sandbox_url}/", any_status=True)
        else:
            # The same name after each restart, so that the consumer group returns the same partitions to this service.
            environment["TIDEMARK_INSTANCE_ID"] = f"{name.replace('_', '-')}-0"
            port = self.ports["query_api"] if name == "query_api" else self.ports[f"{name}_metrics"]
            environment["TIDEMARK_METRICS_PORT"] = str(self.ports[f"{name}_metrics"])
            if name == "query_api" and not environment.get("TIDEMARK_STATUS_TARGETS"):
                environment["TIDEMARK_STATUS_TARGETS"] = self._status_targets()
            probe = answers(f"http://{HOST}:{port}/readyz")
            alive = answers(f"http://{HOST}:{port}/healthz")
        return Service(
            name, argv, environment, probe, depends_on, stop_timeout_seconds=STOP_TIMEOUT_SECONDS, alive=alive
        )


def answers(url: str, *, any_status: bool = False, authorities: Path | None = None) -> Readiness:
    """A probe: whether GET of an address on this host answers with success, or with any status under `any_status`.

    Args:
        authorities: PEM file of those that an https address needs.
    """
    # Over HTTP `verify` would only load all authorities' certificates at each probe.
    trusted: ssl.SSLContext | bool = False
    if authorities is not None:
        trusted = ssl.create_default_context(cafile=str(authorities))

    async def probe() -> bool:
        async with httpx.AsyncClient(trust_env=False, timeout=PROBE_TIMEOUT_SECONDS, verify=trusted) as client:
            try:
                reply = await client.get(url)
            except httpx.HTTPError:
                return False
            return any_status or reply.is_success

    return probe


def _no_proxy(inherited: Mapping[str, str]) -> dict[str, str]:
    """Settings that keep the services' requests to each other away from a proxy named in the caller's environment."""
    current = inherited.get("no_proxy") or inherited.get("NO_PROXY") or ""
    hosts = [host for host in current.split(",") if host]
    value = ",".join([*hosts, *(host for host in (HOST, "localhost") if host not in hosts)])
    return {"no_proxy": value, "NO_PROXY": value}
