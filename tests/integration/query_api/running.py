"""The query API as a process of its own, with one worker or several."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from services.runtime.settings import KafkaSettings
from tests.integration.query_api.rows import Store
from tests.support.engines import Engines
from tests.support.loopback import LOOPBACK
from tests.support.query_api import ADMIN_KEY, SECRET_KEY
from tests.support.waiting import wait_until

ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}
CHANNEL = {"platform": "x", "external_id": "42", "username": "tide", "status": "active"}
READY_SECONDS = 30


def environment_of(engines: Engines, kafka_settings: KafkaSettings, store: Store) -> dict[str, str]:
    """What a service of one test's own topics and tables is told; its port is a free one."""
    return {
        "TIDEMARK_KAFKA_BOOTSTRAP": kafka_settings.kafka_bootstrap,
        "TIDEMARK_TOPIC_PREFIX": kafka_settings.topic_prefix,
        "TIDEMARK_TOPIC_PARTITIONS": str(kafka_settings.topic_partitions),
        "TIDEMARK_SCHEMA_REGISTRY_URL": engines.schema_registry_url,
        "TIDEMARK_CLICKHOUSE_URL": store.url,
        "TIDEMARK_ADMIN_KEY": ADMIN_KEY,
        "TIDEMARK_SECRET_KEYS": SECRET_KEY,
        "TIDEMARK_QUERY_API_PORT": "0",
    }


class Service:
    """The running query API and a client of it."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment = environment
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(timeout=20)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.query_api"],
                env={**os.environ, **self.environment},
                stderr=output,
                stdout=output,
            )
        address = wait_until(self._address, READY_SECONDS, lambda: self.log.read_text())
        assert address is not None
        self.client.base_url = httpx.URL(address)

    def wait_until_ready(self) -> None:
        wait_until(lambda: self._readyz() == "ready\n", READY_SECONDS, lambda: self._readyz() + self.log.read_text())

    def _readyz(self) -> str:
        try:
            return self.client.get("/readyz").text
        except httpx.TransportError as error:
            return repr(error)

    def _address(self) -> str | None:
        match = re.findall(r"address=(http://127\.0\.0\.1:\d+)", self.log.read_text())
        return match[-1] if match else None

    def stop(self) -> int:
        """Stop it as the supervisor does; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def restart(self) -> None:
        self.stop()
        self.log.write_text("")
        self.start()
        self.wait_until_ready()

    def make_key(self, workspace_id: str, scopes: tuple[str, ...] = ("analytics:read",)) -> tuple[str, dict[str, str]]:
        reply = self.client.post(
            f"/admin/v1/workspaces/{workspace_id}/keys",
            json={"scopes": list(scopes), "style": "postme"},
            headers=ADMIN,
        )
        assert reply.status_code == 201, reply.text
        return reply.json()["id"], {"x-api-key": reply.json()["key"]}


class Workers(Service):
    """A query API with two workers."""

    def pids(self) -> list[int]:
        """Workers that answer now, the oldest first."""
        told = [int(pid) for pid in re.findall(r"worker answers.*\bpid=(\d+)", self.log.read_text())]
        return [pid for pid in told if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]

    def wait_for_two(self) -> tuple[int, int]:
        wait_until(lambda: len(self.pids()) == 2, 30, lambda: self.log.read_text()[-3000:])
        first, second = self.pids()
        return first, second

    @contextmanager
    def without(self, pid: int) -> Iterator[None]:
        """The other worker answers; this one may be killed meanwhile."""
        process = psutil.Process(pid)
        process.suspend()
        try:
            yield
        finally:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def ask(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """A request on a connection of its own."""
        return LOOPBACK.get(self.client.base_url.join(path), headers=headers, timeout=20)

    def counted(self, status: int) -> float:
        """Requests for insights of posts with this status, as /metrics says."""
        row = re.compile(
            r'tidemark_query_api_requests_total\{endpoint="/api/v1/posts/\{id\}/insights",product="postme",'
            rf'status="{status}"\}} (\S+)'
        )
        found = row.search(self.ask("/metrics", ADMIN).text)
        return float(found[1]) if found else 0.0


def running_workers(environment: dict[str, str], log: Path) -> Iterator[Workers]:
    """Workers that are ready, for a fixture; they are stopped afterwards."""
    running = Workers(environment, log)
    running.start()
    running.wait_until_ready()
    yield running
    assert running.process is not None
    if running.process.poll() is None:
        running.stop()


def workers_with_a_store(
    engines: Engines, kafka_settings: KafkaSettings, tables: Store, folder: Path
) -> Iterator[Workers]:
    """Two workers that share a store, as `running_workers`."""
    environment = environment_of(engines, kafka_settings, tables)
    own = {"TIDEMARK_QUERY_API_WORKERS": "2", "TIDEMARK_STORE_DIR": str(folder / "store")}
    yield from running_workers({**environment, **own}, folder / "workers.log")
