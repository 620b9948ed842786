"""Engines, a catalog and prefilled raw events: what the contestants start from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from benchmarks.progress import Progress
from benchmarks.workload import Workload
from infra.embedded.ports import free_ports
from infra.embedded.processes import tied
from schemas.events import CatalogChannel, CatalogPost
from services.runtime.kafka import key
from tests.support.backend import Backend, now_ms
from tests.support.engines import START_TIMEOUT_SECONDS, EmbeddedEngines, in_database
from tests.support.loopback import LOOPBACK

FLUSH_SECONDS = 120
_FLUSH_EVERY = 2_000
PAST_MILLIS = 3_600_000
"""How long ago the first event was captured: an event takes a millisecond, and none may lie in the future."""


@contextmanager
def engines() -> Iterator[EmbeddedEngines]:
    """Embedded engines in a folder that goes with them."""
    with tempfile.TemporaryDirectory(prefix="tidemark-bench-", ignore_cleanup_errors=True) as folder:
        running = EmbeddedEngines(Path(folder))
        try:
            with Progress("starting Kafka, the registry and ClickHouse"):
                for address in (running.kafka_bootstrap, running.schema_registry_url, running.clickhouse_url):
                    assert address
            yield running
        finally:
            running.close()


def _readiness(origin: str) -> httpx.Response:
    return LOOPBACK.get(f"{origin}/readyz", timeout=2)


class Stage(Backend):
    """Topics and tables of one run, with the catalog and the events on them before anything reads.

    Args:
        name: of the database, and the prefix of the topics.
    """

    def __init__(self, on: EmbeddedEngines, name: str, workload: Workload) -> None:
        super().__init__(on, f"{name}.", in_database(on.clickhouse_url, name), on.folder / "logs")
        self.name = name
        self.workload = workload
        self.start = now_ms() - PAST_MILLIS
        self._engines = on

    def prefill_catalog(self) -> None:
        """Publish the catalog."""
        workload = self.workload
        with Progress(f"{self.name}: the catalog of {workload.channels} channels"):
            for channel in range(workload.channels):
                workspace, channel_id = workload.workspace(channel), f"c{channel}"
                event = CatalogChannel(workspace, channel_id, "x", f"ext-{channel_id}", channel_id, "active", None, 1)
                value = self.codec("catalog.channels").encode(event)
                self.publish("catalog.channels", key(workspace, channel_id), workspace, value)
            now = now_ms()
            for workspace, post_id, published_at, targets in workload.posts(now):
                post = CatalogPost(workspace, post_id, "published", published_at, published_at, tuple(targets), now)
                value = self.codec("catalog.posts").encode(post)
                self.publish("catalog.posts", key(workspace, post_id), workspace, value)
            self._flush_all()

    def prefill_events(self) -> None:
        """Publish every raw event."""
        workload = self.workload
        with Progress(f"{self.name}: {workload.events:,} raw events onto the broker") as progress:
            for number, raw in enumerate(workload.raw(self.start), 1):
                self.publish_raw(raw)
                if number % _FLUSH_EVERY == 0:
                    self._flush_all()
                    progress.show(f"{number:,} of {workload.events:,}")
            self._flush_all()

    def _flush_all(self) -> None:
        assert self.producer.flush(FLUSH_SECONDS) == 0, "the broker does not take the events"

    @contextmanager
    def aggregator(self) -> Iterator[int]:
        """One worker from its readiness on; gives its pid."""
        name = f"aggregator-{self.name}"
        own = {"TIDEMARK_INSTANCE_ID": name, "TIDEMARK_AGGREGATOR_WINDOW_CHECK_SECONDS": "10"}
        with self.serving(name, ["services.aggregator"], own, port_setting="TIDEMARK_METRICS_PORT") as (_, pid):
            yield pid

    @contextmanager
    def serving(
        self,
        name: str,
        module: Sequence[str],
        environment: Mapping[str, str],
        *,
        port_setting: str = "TIDEMARK_QUERY_API_PORT",
        ask: Callable[[str], httpx.Response] = _readiness,
        patience: float = START_TIMEOUT_SECONDS,
    ) -> Iterator[tuple[str, int]]:
        """One process that serves, from its readiness on; gives its origin and pid.

        Args:
            module: with the arguments before its port, if it has any.
            environment: beside the stage's own.
            port_setting: tells a service its port.
            ask: whether it is ready, by a request to its origin.
            patience: seconds until it has to be.
        """
        port = free_ports(1)[0]
        origin = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            with suppress(httpx.HTTPError):
                return ask(origin).is_success
            return False

        argv = [sys.executable, "-m", *module, *([str(port)] if len(module) > 1 else [])]
        told = {**os.environ, **self.environment, port_setting: str(port), **environment}
        child = self._engines.start(name, argv, answers, told, patience)
        try:
            yield origin, child.pid
        finally:
            child.stop(10)

    def pids(self, aggregator: int) -> dict[str, int]:
        """Every process of the pipeline."""
        return {
            "aggregator": aggregator,
            "clickhouse": self._engines.child("clickhouse").pid,
            "kafka": self._engines.child("kafka").pid,
        }

    def close(self) -> None:
        """Stop using the engines; a producer that is left open would complain of every one that ends."""
        super().close()
        self.producer.close()

    def is_alive(self) -> bool:
        """Whether the worker still runs."""
        return self._engines.child(f"aggregator-{self.name}").poll() is None


def contestant(
    module: str, arguments: Sequence[str], timeout: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run one contestant in a process of its own and return the JSON of its last line.

    Args:
        timeout: seconds.
        environment: the whole of it; None passes this process's own down.

    Raises:
        AssertionError: it failed, or took longer than `timeout` seconds.
    """
    try:
        done = subprocess.run(
            tied([sys.executable, "-m", module, *arguments]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=None if environment is None else dict(environment),
        )
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{module} did not end within {timeout:g} s") from None
    if done.returncode:
        raise AssertionError(f"{module} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
