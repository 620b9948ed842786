"""Engines that are away for a while: when they are back, every number is there, none of them twice."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient

from schemas.events import CatalogTarget
from tests.integration.aggregator.conftest import make_backend
from tests.support.backend import Backend, bluesky_event, now_ms
from tests.support.engines import EmbeddedEngines
from tests.support.waiting import wait_until

HOUR = 3_600_000
TARGETS = 20
AWAY_SECONDS = float(os.environ.get("TIDEMARK_TEST_AWAY_SECONDS", "60"))

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


class Cluster:
    """Three brokers, with the registry and ClickHouse of the test run."""

    def __init__(self, engines: EmbeddedEngines) -> None:
        self._engines = engines
        self.brokers = engines.start_cluster(3)

    @property
    def kafka_bootstrap(self) -> str:
        return ",".join(broker.bootstrap for broker in self.brokers)

    @property
    def schema_registry_url(self) -> str:
        return self._engines.schema_registry_url

    @property
    def clickhouse_url(self) -> str:
        return self._engines.clickhouse_url

    @property
    def clickhouse_analyst_url(self) -> str:
        return self._engines.clickhouse_analyst_url

    def close(self) -> None:
        """The test run's engines stop them."""

    def kill(self, node_id: int) -> None:
        """SIGKILL to one broker."""
        broker = next(broker for broker in self.brokers if broker.node_id == node_id)
        os.kill(self._engines.child(f"{broker.folder.parent.name}-{node_id}").pid, signal.SIGKILL)


class Feeder:
    """Publishes a growing count of every target until stopped; only acknowledged rounds are expected."""

    def __init__(self, backend: Backend, workspace: str) -> None:
        self._backend = backend
        self._workspace = workspace
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0

    def __enter__(self) -> Feeder:
        self._backend.put_channel(self._workspace, "c1", "bluesky")
        targets = [CatalogTarget(f"t{number}", "c1") for number in range(TARGETS)]
        self._backend.put_post(self._workspace, "p1", targets, published_at=now_ms() - HOUR)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._backend.flush()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.rounds += 1
            figures = {f"t{number}": {"likeCount": self.rounds + number} for number in range(TARGETS)}
            event = bluesky_event(self._workspace, "c1", f"{self.rounds:06d}", figures)
            self._backend.publish_raw(event)
            if self.rounds % 3 == 0:
                self._backend.publish_raw(event)

    def wait_for_more(self, rounds: int) -> None:
        """Wait until this many more rounds went out."""
        wanted = self.rounds + rounds
        wait_until(lambda: self.rounds > wanted, 60, "data flows on")

    def is_right(self) -> bool:
        """Whether totals, snapshots and rollups are those of every round."""
        where = {"w": self._workspace}
        total = self._backend.rows("SELECT likes FROM post_totals WHERE workspace_id = {w:String}", where)
        likes = sum(self.rounds + number for number in range(TARGETS))
        snapshots = self._backend.rows("SELECT count() AS n FROM post_snapshots WHERE workspace_id = {w:String}", where)
        if total != [{"likes": likes}] or snapshots != [{"n": self.rounds * TARGETS}]:
            return False
        told = self._backend.latest("rollups.posts")[f"{self._workspace}/p1"]
        return bool(told["likes"] == likes)


@pytest.fixture
def cluster_backend(
    embedded_engines: EmbeddedEngines, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, Backend]]:
    cluster = Cluster(embedded_engines)
    for backend in make_backend(cluster, tmp_path_factory):
        yield cluster, backend


def _wait_until_right(feeder: Feeder, backend: Backend) -> None:
    wait_until(feeder.is_right, 90, lambda: f"numbers of {feeder.rounds} rounds; {backend.log_tail()}")


def test_clickhouse_away_for_a_minute(
    embedded_engines: EmbeddedEngines, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for backend in make_backend(embedded_engines, tmp_path_factory):
        backend.start_aggregator()
        with Feeder(backend, f"away-{secrets.token_hex(3)}") as feeder:
            wait_until(lambda: feeder.rounds > 20, 20, "data flows")
            pid = embedded_engines.child("clickhouse").pid
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(AWAY_SECONDS)
            finally:
                os.kill(pid, signal.SIGCONT)
            feeder.wait_for_more(20)
        _wait_until_right(feeder, backend)


def test_a_leader_of_three_brokers_is_killed(cluster_backend: tuple[Cluster, Backend]) -> None:
    cluster, backend = cluster_backend
    backend.start_aggregator()
    with Feeder(backend, f"leader-{secrets.token_hex(3)}") as feeder:
        wait_until(lambda: feeder.rounds > 20, 20, "data flows")
        topic = backend.settings.topic("platform.raw")
        metadata = AdminClient({"bootstrap.servers": cluster.kafka_bootstrap}).list_topics(topic, timeout=20)
        leaders = {number: part.leader for number, part in metadata.topics[topic].partitions.items()}
        cluster.kill(leaders[0])
        feeder.wait_for_more(100)
    _wait_until_right(feeder, backend)
