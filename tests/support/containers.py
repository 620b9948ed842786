"""The engines in Docker containers, through testcontainers; skips with the reason where there is no Docker."""

from __future__ import annotations

import secrets
import uuid
from functools import cached_property

import docker  # type: ignore[import-untyped]
import httpx
import pytest
from docker.errors import DockerException  # type: ignore[import-untyped]
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy, LogMessageWaitStrategy

from infra.embedded.kafka import MAX_BATCH_BYTES
from infra.embedded.ports import free_ports

KAFKA_IMAGE = "apache/kafka:4.2.0"
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:26.3"
REGISTRY_IMAGE = "apicurio/apicurio-registry:3.3.3"
HOST = "127.0.0.1"
DATABASE = "tidemark"
START_TIMEOUT_SECONDS = 120


class ContainerEngines:
    """One container per engine, started when its address is first asked for.

    Fails by skipping the test: no Docker is a fact of the machine, not of the code under test.
    """

    def __init__(self) -> None:
        self._containers: list[DockerContainer] = []
        try:
            docker.from_env().ping()
        except DockerException as error:
            pytest.skip(f"--engines=containers: no Docker here ({error})")

    @cached_property
    def kafka_bootstrap(self) -> str:
        """The host's port is chosen beforehand, since the broker must advertise it."""
        port = free_ports(1)[0]
        container = DockerContainer(KAFKA_IMAGE).with_bind_ports(9092, port)
        settings = {
            "NODE_ID": "1",
            "PROCESS_ROLES": "broker,controller",
            "LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "ADVERTISED_LISTENERS": f"PLAINTEXT://{HOST}:{port}",
            "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
            "AUTO_CREATE_TOPICS_ENABLE": "false",
            "MESSAGE_MAX_BYTES": str(MAX_BATCH_BYTES),
            "REPLICA_FETCH_MAX_BYTES": str(MAX_BATCH_BYTES),
        }
        for name, value in settings.items():
            container.with_env(f"KAFKA_{name}", value)
        self._start(container.waiting_for(_log_line("Kafka Server started")))
        return f"{HOST}:{port}"

    @cached_property
    def schema_registry_url(self) -> str:
        container = DockerContainer(REGISTRY_IMAGE).with_exposed_ports(8080)
        path = "/apis/ccompat/v7"
        self._start(container.waiting_for(_http(8080, f"{path}/subjects")))
        return f"http://{HOST}:{container.get_exposed_port(8080)}{path}"

    @cached_property
    def _clickhouse(self) -> tuple[int, str, str]:
        password, analyst_password = secrets.token_hex(8), secrets.token_hex(8)
        container = DockerContainer(CLICKHOUSE_IMAGE).with_exposed_ports(8123)
        container.with_env("CLICKHOUSE_USER", "default").with_env("CLICKHOUSE_PASSWORD", password)
        container.with_env("CLICKHOUSE_DB", DATABASE).with_env("CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT", "1")
        self._start(container.waiting_for(_http(8123, "/ping")))
        port = int(container.get_exposed_port(8123))
        statements = [
            f"CREATE USER analyst IDENTIFIED WITH sha256_password BY '{analyst_password}' SETTINGS readonly = 1",
            "GRANT SELECT ON *.* TO analyst",
        ]
        for statement in statements:
            reply = httpx.post(f"http://{HOST}:{port}/", content=statement, auth=("default", password), timeout=30)
            reply.raise_for_status()
        return port, password, analyst_password

    @property
    def clickhouse_url(self) -> str:
        port, password, _ = self._clickhouse
        return f"http://default:{password}@{HOST}:{port}/{DATABASE}"

    @property
    def clickhouse_analyst_url(self) -> str:
        port, _, analyst_password = self._clickhouse
        return f"http://analyst:{analyst_password}@{HOST}:{port}/{DATABASE}"

    def close(self) -> None:
        """Stop and remove the containers; testcontainers' reaper does it where this run is killed."""
        for container in reversed(self._containers):
            container.stop()

    def _start(self, container: DockerContainer) -> None:
        container.with_name(f"tidemark-test-{uuid.uuid4().hex[:12]}")
        container.start()
        self._containers.append(container)


def _http(port: int, path: str) -> HttpWaitStrategy:
    return HttpWaitStrategy(port, path).for_status_code(200).with_startup_timeout(START_TIMEOUT_SECONDS)


def _log_line(text: str) -> LogMessageWaitStrategy:
    return LogMessageWaitStrategy(text).with_startup_timeout(START_TIMEOUT_SECONDS)
