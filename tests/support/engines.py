"""Kafka, the schema registry and ClickHouse for tests: embedded, in containers, or already running elsewhere.

`Engines` is what a test sees; which kind it gets is chosen by `--engines`. Each engine starts when its address is
first asked for, so a test of Kafka alone never waits for the others, and all tests of one run share it.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from os import environ
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from infra.embedded.kafka import Broker, cluster, single_broker
from infra.embedded.ports import free_ports
from infra.embedded.processes import Child, Watchdog
from infra.embedded.registry import Registry
from tests.support.loopback import LOOPBACK

HOST = "127.0.0.1"
START_TIMEOUT_SECONDS = 90.0
# The data is thrown away; brokers of a cluster that stop together wait for a quorum that is gone.
STOP_TIMEOUT_SECONDS = 4.0
POLL_SECONDS = 0.05
DATABASE = "tidemark"


class Engines(Protocol):
    """Addresses of the engines, each started when first asked for."""

    @property
    def kafka_bootstrap(self) -> str:
        """`host:port`."""

    @property
    def schema_registry_url(self) -> str:
        """The Confluent-compatible API."""

    @property
    def clickhouse_url(self) -> str:
        """With the read-write user, its password and the database `tidemark`."""

    @property
    def clickhouse_analyst_url(self) -> str:
        """The same for the user `analyst`, who may only read."""

    def close(self) -> None:
        """Stop everything that was started."""


def in_database(url: str, database: str) -> str:
    """The same ClickHouse address for another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def query_clickhouse(url: str, sql: str) -> str:
    """Run one statement over HTTP and return the reply's text; the database of the address is not selected."""
    parts = urlsplit(url)
    bare = urlunsplit((parts.scheme, f"{parts.hostname}:{parts.port}", "/", "", ""))
    auth = (parts.username or "default", parts.password or "")
    # Without `verify` each call would read the authorities' certificates, for an address that has none.
    reply = httpx.post(bare, content=sql, auth=auth, timeout=30, trust_env=False, verify=False)
    if reply.is_error:
        raise AssertionError(f"ClickHouse refused {sql!r}: {reply.status_code} {reply.text.strip()}")
    return reply.text


class EmbeddedEngines:
    """Engines as child processes of the test run; they die with it, even when it is killed.

    Args:
        folder: takes the data and, under `logs`, what each engine prints; None makes one and keeps it on failure.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="tidemark-engines-"))
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self._watchdog: Watchdog | None = None
        self._children: dict[str, Child] = {}

    @cached_property
    def kafka(self) -> Broker:
        """The one broker, running."""
        port, controller_port = free_ports(2)
        broker = single_broker(self.folder / "kafka", port, controller_port)
        broker.prepare()
        self.start("kafka", broker.command(), broker.answers)
        return broker

    @cached_property
    def registry(self) -> Registry:
        """The schema registry, running."""
        registry = Registry(self.folder / "registry", free_ports(1)[0])
        registry.prepare()
        self.start("registry", registry.command(), registry.answers)
        return registry

    @property
    def kafka_bootstrap(self) -> str:
        return self.kafka.bootstrap

    @property
    def schema_registry_url(self) -> str:
        return self.registry.url

    @cached_property
    def _clickhouse(self) -> tuple[int, str, str]:
        port = free_ports(1)[0]
        password, analyst_password = secrets.token_hex(8), secrets.token_hex(8)
        passwords = {
            "TIDEMARK_EMBEDDED_CLICKHOUSE_PASSWORD": password,
            "TIDEMARK_EMBEDDED_CLICKHOUSE_ANALYST_PASSWORD": analyst_password,
        }
        argv = [sys.executable, "-m", "infra.embedded.clickhouse", "--path", str(self.folder / "clickhouse")]
        # The analyst also reads databases of tests, which begin with t.
        argv += ["--port", str(port), "--database", DATABASE, "--analyst-database", "t*"]

        def answers() -> bool:
            try:
                return LOOPBACK.get(f"http://{HOST}:{port}/ping", timeout=2).is_success
            except httpx.HTTPError:
                return False

        self.start("clickhouse", argv, answers, {**environ, **passwords})
        return port, password, analyst_password

    @property
    def clickhouse_url(self) -> str:
        port, password, _ = self._clickhouse
        return f"http://default:{password}@{HOST}:{port}/{DATABASE}"

    @property
    def clickhouse_analyst_url(self) -> str:
        port, _, analyst_password = self._clickhouse
        return f"http://analyst:{analyst_password}@{HOST}:{port}/{DATABASE}"

    def start_cluster(self, size: int = 3) -> list[Broker]:
        """Start a cluster of its own, apart from `kafka`; its brokers' children are `<folder>-<node id>`."""
        folder = Path(tempfile.mkdtemp(prefix="cluster-", dir=self.folder))
        ports = free_ports(2 * size)
        brokers = cluster(folder, list(zip(ports[:size], ports[size:], strict=True)))
        for broker in brokers:
            broker.prepare()
            self.spawn(f"{folder.name}-{broker.node_id}", broker.command())
        for broker in brokers:
            self._wait(f"{folder.name}-{broker.node_id}", broker.answers)
        return brokers

    def stop_cluster(self, brokers: Sequence[Broker]) -> None:
        """End the brokers of a cluster of several that still run."""
        children = [self._children.pop(f"{broker.folder.parent.name}-{broker.node_id}") for broker in brokers]
        for child in children:
            child.terminate()
        for child in children:
            child.stop(STOP_TIMEOUT_SECONDS)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        answers: Callable[[], bool],
        environment: dict[str, str] | None = None,
        patience_seconds: float = START_TIMEOUT_SECONDS,
    ) -> Child:
        """Start a program and wait until it answers; the log is `logs/<name>.log`."""
        child = self.spawn(name, argv, environment)
        self._wait(name, answers, patience_seconds)
        return child

    def spawn(self, name: str, argv: Sequence[str], environment: dict[str, str] | None = None) -> Child:
        """Start a program under the run's watchdog without waiting; a name may be started again once it ended."""
        if self._watchdog is None:
            self._watchdog = Watchdog().__enter__()
        log = self.folder / "logs" / f"{name}.log"
        self._children[name] = Child.spawn(argv, watchdog=self._watchdog, log=log, environment=environment)
        return self._children[name]

    def child(self, name: str) -> Child:
        """The running process of an engine that was started, for tests that kill it."""
        return self._children[name]

    def close(self) -> None:
        for child in self._children.values():
            child.terminate()
        for child in reversed(self._children.values()):
            child.stop(STOP_TIMEOUT_SECONDS)
        if self._watchdog is not None:
            self._watchdog.__exit__(None, None, None)

    def _wait(self, name: str, answers: Callable[[], bool], seconds: float = START_TIMEOUT_SECONDS) -> None:
        child, log = self._children[name], self.folder / "logs" / f"{name}.log"
        deadline = time.monotonic() + seconds
        while not answers():
            if (code := child.poll()) is not None or time.monotonic() > deadline:
                end = f"ended with {code}" if code is not None else f"gave no answer in {seconds:g} s"
                last = log.read_text(errors="replace").strip().splitlines()[-15:]
                raise AssertionError("\n".join([f"{name} {end}; the end of {log}:", *last]))
            time.sleep(POLL_SECONDS)


class ExternalEngines:
    """Engines that run already, at the addresses of the `TIDEMARK_*` environment variables."""

    @property
    def kafka_bootstrap(self) -> str:
        return self._address("TIDEMARK_KAFKA_BOOTSTRAP")

    @property
    def schema_registry_url(self) -> str:
        return self._address("TIDEMARK_SCHEMA_REGISTRY_URL")

    @property
    def clickhouse_url(self) -> str:
        return self._address("TIDEMARK_CLICKHOUSE_URL")

    @property
    def clickhouse_analyst_url(self) -> str:
        return self._address("TIDEMARK_CLICKHOUSE_ANALYST_URL")

    def close(self) -> None:
        """Leaves them as they are."""

    def _address(self, variable: str) -> str:
        value = environ.get(variable)
        if not value:
            pytest.skip(f"--engines=external: {variable} is not set")
        return value
