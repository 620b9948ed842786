"""Two notifiers share the webhooks on a real broker: one is killed, and neither an event nor a webhook is forgotten."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from pydantic import SecretStr

from schemas.events import AccountEvent
from schemas.topic_names import ACCOUNT_EVENTS, WEBHOOKS
from services.runtime.clock import SystemClock
from services.runtime.kafka import confluent_options, key, partition_of
from services.runtime.migrations import migrate
from services.runtime.registry import Registry
from services.runtime.settings import ClickHouseSettings, KafkaSettings, RegistrySettings
from services.runtime.topics import ensure_topics
from tests.support.engines import Engines, in_database, query_clickhouse
from tests.support.receiver import Receiver, receiving_in_a_thread
from tests.support.waiting import wait_until
from tests.support.webhooks import SECRET_KEY, webhook

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

PARTITIONS = 4
WORKSPACES = [f"shared-{number}" for number in range(12)]
SECONDS = 90
CLOCK = SystemClock()


class Site:
    """Topics and tables of this test's own, receivers, and notifiers that come and go."""

    def __init__(self, engines: Engines, database: str, receiver: Receiver, folder: Path) -> None:
        self._settings = KafkaSettings(
            kafka_bootstrap=engines.kafka_bootstrap, topic_prefix=f"t{secrets.token_hex(4)}.",
            topic_partitions=PARTITIONS,
        )  # fmt: skip
        registry = RegistrySettings(schema_registry_url=engines.schema_registry_url)
        list(ensure_topics(self._settings, registry))
        self._codecs = {topic: Registry(registry, self._settings).codec(topic) for topic in (WEBHOOKS, ACCOUNT_EVENTS)}
        self._producer = Producer(confluent_options(self._settings))
        self._environment = {
            "TIDEMARK_KAFKA_BOOTSTRAP": engines.kafka_bootstrap,
            "TIDEMARK_TOPIC_PREFIX": self._settings.topic_prefix,
            "TIDEMARK_TOPIC_PARTITIONS": str(PARTITIONS),
            "TIDEMARK_SCHEMA_REGISTRY_URL": engines.schema_registry_url,
            "TIDEMARK_CLICKHOUSE_URL": database,
            "TIDEMARK_SECRET_KEYS": SECRET_KEY,
            "TIDEMARK_WEBHOOKS_ALLOW_PRIVATE": "1",
            "TIDEMARK_METRICS_PORT": "0",
        }
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._told = 0
        self.receiver = receiver

    def hook(self, workspace: str) -> None:
        """Make a workspace's webhook."""
        held = webhook("h1", workspace, url=self.receiver.url(f"ok/{workspace}"), at=CLOCK.now() - 1)
        self._put(WEBHOOKS, workspace, ["h1"], self._codecs[WEBHOOKS].encode(held))

    def tell(self) -> None:
        """One more event of each workspace."""
        self._told += 1
        for workspace in WORKSPACES:
            event = AccountEvent(workspace, "c1", "x", "account.token_expired", CLOCK.now(), f"event {self._told}")
            self._put(ACCOUNT_EVENTS, workspace, ["c1"], self._codecs[ACCOUNT_EVENTS].encode(event))
        assert self._producer.flush(30) == 0

    def _put(self, topic: str, workspace: str, ids: list[str], value: bytes) -> None:
        self._producer.produce(
            self._settings.topic(topic), value, key(workspace, *ids), partition_of(workspace, PARTITIONS)
        )

    def start(self, name: str) -> None:
        """Start a notifier."""
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "services.notifier"],
                env={**os.environ, **self._environment}, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self._processes.pop(name)
        process.kill()
        process.wait(20)

    def partitions(self, name: str) -> set[int]:
        """The partitions whose webhooks a notifier tells, by its log."""
        told = re.findall(r'event="telling webhooks" partitions="\(([0-9, ]*)\)"', self._log(name).read_text())
        return {int(number) for number in told[-1].split(",") if number.strip()} if told else set()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def missing(self) -> dict[str, set[str]]:
        """By workspace, the events that no delivery with success was about."""
        expected = {f"event {number}" for number in range(1, self._told + 1)}
        lacks = {workspace: expected - self._reasons(workspace) for workspace in WORKSPACES}
        return {workspace: events for workspace, events in lacks.items() if events}

    def _reasons(self, workspace: str) -> set[str]:
        return {orjson.loads(request.body)["data"]["reason"] for request in self.receiver.taken(f"ok/{workspace}")}

    def ids(self, workspace: str) -> set[str]:
        """The ids of a workspace's deliveries."""
        return {request.headers["webhook-id"] for request in self.receiver.of(f"ok/{workspace}")}

    def logs(self) -> str:
        return "\n".join(path.read_text()[-2_000:] for path in self._folder.glob("*.log"))

    def close(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            process.wait(30)


@pytest.fixture
def site(engines: Engines, tmp_path: Path) -> Iterator[Site]:
    """A site without notifiers."""
    name = f"t{secrets.token_hex(4)}"
    database = in_database(engines.clickhouse_url, name)
    list(migrate(ClickHouseSettings(clickhouse_url=SecretStr(database))))
    with receiving_in_a_thread() as receiver:
        made = Site(engines, database, receiver, tmp_path)
        yield made
        made.close()
    query_clickhouse(engines.clickhouse_url, f"DROP DATABASE {name}")


def test_one_of_two_is_killed_and_nothing_is_lost(site: Site, engines: Engines) -> None:
    for workspace in WORKSPACES:
        site.hook(workspace)
    assert {partition_of(workspace, PARTITIONS) for workspace in WORKSPACES} == set(range(PARTITIONS))
    site.start("first")
    site.start("second")

    def are_shared(*names: str) -> bool:
        of_each = [site.partitions(name) for name in names]
        return all(of_each) and sum(map(len, of_each)) == PARTITIONS and set().union(*of_each) == set(range(PARTITIONS))

    wait_until(lambda: are_shared("first", "second"), SECONDS, site.logs)
    for _ in range(5):
        site.tell()
    wait_until(lambda: not site.missing(), SECONDS, lambda: f"{site.missing()} {site.logs()}")

    # One dies with work under way; what comes meanwhile is for the one that is left.
    site.tell()
    site.kill("first")
    for _ in range(5):
        site.tell()
    wait_until(lambda: not site.missing(), SECONDS, lambda: f"{site.missing()} {site.logs()}")
    assert site.partitions("second") == set(range(PARTITIONS))

    # Another one joins: webhooks move, and none falls silent.
    site.start("third")
    site.tell()
    wait_until(lambda: are_shared("second", "third"), SECONDS, site.logs)
    for _ in range(5):
        site.tell()
    wait_until(lambda: not site.missing(), SECONDS, lambda: f"{site.missing()} {site.logs()}")
    for workspace in WORKSPACES:
        assert len(site.ids(workspace)) == 17, "an event that is told again has the id of before"
