"""A running `tidemark up`, driven through its public surfaces alone."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.embedded.processes import tied
from schemas.codec import schema_text
from tests.support.loopback import LOOPBACK
from tests.support.waiting import wait_until


class Tidemark:
    """One data folder and the process tree on it.

    Args:
        folder: takes the data, the logs and the ready-file.
        environment: settings on top of this process's.
        data: the data folder's name in it.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None, data: str = "data") -> None:
        self.folder = folder
        self.data = folder / data
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_file = folder / "ready.json"
        self._keys: dict[str, str] = {}

    def start(self, *options: str, seconds: float = 150) -> None:
        """Start and wait until all is ready."""
        argv = [sys.executable, "-m", "services.cli", "up", "--data-dir", str(self.data), "--ports", "auto"]
        self.start_by([*argv, "--sandbox", "--ready-file", str(self._ready_file), *options], seconds=seconds)

    def start_by(self, argv: Sequence[str], seconds: float = 150, folder: Path | None = None) -> None:
        """Start by a command of the caller's, which names the data folder and the ready-file `ready.json`.

        Args:
            folder: where the command runs, if not where the tests do.
        """
        with (self.folder / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                # Dies with the test run, even when that is interrupted or killed.
                tied(argv), cwd=folder, env=self._environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        process = self._process
        wait_until(
            lambda: self._ready_file.exists() or process.poll() is not None,
            seconds,
            lambda: f"up is ready: {self.log()}",
        )
        assert process.poll() is None, f"up ended with {process.returncode}: {self.log()}"

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        process = self._process
        assert process is not None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return process.returncode

    def log(self, name: str | None = None) -> str:
        """The end of the supervisor's own output, or of a service's log."""
        path = self.folder / "up.log" if name is None else self.data / "logs" / f"{name}.log"
        return path.read_text(errors="replace")[-2500:] if path.exists() else "(nothing)"

    @property
    def ready(self) -> dict[str, Any]:
        """The ready-file, as it is now."""
        found: dict[str, Any] = json.loads(self._ready_file.read_text())
        return found

    def kill(self, service: str) -> float:
        """SIGKILL to a service by the pid in the ready-file; returns when, once another pid stands there."""
        pid = self.ready["pids"][service]
        os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        wait_until(
            lambda: self.ready["pids"].get(service, pid) != pid, 60, lambda: f"{service} is started anew: {self.log()}"
        )
        return killed_at

    # Admin API and products

    def admin(
        self, method: str, path: str, body: Any = None, content: bytes | None = None, seconds: float = 30
    ) -> httpx.Response:
        """One admin request."""
        return LOOPBACK.request(
            method,
            self.ready["query_api"] + path,
            json=body,
            content=content,
            headers={"Authorization": f"Bearer {self.ready['admin_key']}"},
            timeout=seconds,
        )

    def put_channel(self, workspace: str, channel: str, **fields: Any) -> None:
        """Register a channel."""
        body = {"platform": "bluesky", "external_id": f"did:plc:{channel}", "username": channel, **fields}
        self.admin("PUT", f"/admin/v1/workspaces/{workspace}/channels/{channel}", body).raise_for_status()

    def put_post(self, workspace: str, post: str, targets: list[dict[str, Any]], **fields: Any) -> None:
        """Register a post."""
        body = {"status": "published", "targets": targets, **fields}
        self.admin("PUT", f"/admin/v1/workspaces/{workspace}/posts/{post}", body).raise_for_status()

    def get(self, workspace: str, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """One request of a product, with a key of the workspace."""
        if workspace not in self._keys:
            body = {"scopes": ["analytics:read"], "style": "tidemark"}
            made = self.admin("POST", f"/admin/v1/workspaces/{workspace}/keys", body).raise_for_status()
            self._keys[workspace] = made.json()["key"]
        return LOOPBACK.get(
            self.ready["query_api"] + path,
            headers={"Authorization": f"Bearer {self._keys[workspace]}", **(headers or {})},
            timeout=30,
        )

    def trusted(self) -> ssl.SSLContext | bool:
        """What a client of the engines trusts: the folder's own authority under `--secure`."""
        ca_file = self.ready.get("ca_file")
        return ssl.create_default_context(cafile=ca_file) if ca_file else True

    def command(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command of an operator on the data folder."""
        return subprocess.run(
            [sys.executable, "-m", "services.cli", "--data-dir", str(self.data), *arguments],
            env=self._environment, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a ClickHouse query, as the analyst."""
        url = httpx.URL(self.ready["clickhouse_analyst"])
        reply = httpx.post(
            url.copy_with(path="/", userinfo=b""),
            params={
                "database": url.path.strip("/"),
                "default_format": "JSONEachRow",
                "output_format_json_quote_64bit_integers": "0",
            },
            content=sql,
            auth=(url.username, url.password),
            timeout=30,
            trust_env=False,
            verify=self.trusted(),
        )
        assert reply.is_success, reply.text
        return [orjson.loads(line) for line in reply.text.splitlines()]

    def sandbox(self, path: str, **query: Any) -> Any:
        """One answer of the sandbox's control API."""
        reply = LOOPBACK.get(f"{self.ready['sandbox']}/_sandbox/{path}", params=query, timeout=30)
        return reply.raise_for_status().json()


def kafka_options(ready: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a client of Kafka, by the ready-file."""
    return {"bootstrap.servers": ready["kafka"], **ready.get("kafka_client", {})}


def registry_options(ready: Mapping[str, Any]) -> dict[str, Any]:
    """Options of Confluent's client of the registry, by the ready-file."""
    trusted = {"ssl.ca.location": ready["ca_file"]} if "ca_file" in ready else {}
    return {"url": ready["schema_registry"], "timeout": 10, **trusted}


class RawPublisher:
    """Publishes raw events as any Confluent user would: their producer, their serializer, the registry's schema."""

    TOPIC = "platform.raw"

    def __init__(self, ready: Mapping[str, Any], message_timeout_seconds: int = 60) -> None:
        registry = SchemaRegistryClient(registry_options(ready))
        self._serializer = AvroSerializer(registry, schema_text(self.TOPIC), conf={"auto.register.schemas": False})
        self._producer = Producer(
            {
                **kafka_options(ready),
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "message.timeout.ms": message_timeout_seconds * 1000,
                "log_level": 0,
            }
        )

    def publish(self, event: Mapping[str, Any]) -> None:
        """Send one event; its fields are those of the record."""
        value = self._serializer(dict(event), SerializationContext(self.TOPIC, MessageField.VALUE))
        self._producer.produce(self.TOPIC, key=event["workspace_id"].encode(), value=value)
        self._producer.poll(0)

    def flush(self, seconds: float = 60) -> None:
        """Wait until all is acknowledged."""
        assert self._producer.flush(seconds) == 0
