"""A running aggregator on the test engines, with short ways to write the catalog and raw events and to read tables.

The aggregator is a process of its own, started as the supervisor starts it, so that a test may kill it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from infra.embedded.ports import free_ports
from infra.embedded.processes import tied
from schemas.codec import Codec, MalformedEvent, RecordCodec
from schemas.events import CatalogChannel, CatalogPost, CatalogTarget, PlatformRaw, RawTarget
from services.aggregator.settings import AggregatorSettings
from services.runtime.kafka import key, partition_of
from services.runtime.migrations import migrate
from services.runtime.registry import Registry
from services.runtime.topics import ensure_topics
from tests.support.engines import Engines
from tests.support.loopback import LOOPBACK
from tests.support.waiting import PATIENCE, wait_until

PARTITIONS = 4


def now_ms() -> int:
    """The machine's clock, whole milliseconds."""
    return time.time_ns() // 1_000_000


class _Settings(AggregatorSettings):
    pass


class Backend:
    """Topics, tables and an aggregator of one test's own.

    Args:
        logs: folder for what the aggregator prints.
    """

    def __init__(self, engines: Engines, topic_prefix: str, clickhouse_url: str, logs: Path) -> None:
        self.environment = {
            "TIDEMARK_KAFKA_BOOTSTRAP": engines.kafka_bootstrap,
            "TIDEMARK_SCHEMA_REGISTRY_URL": engines.schema_registry_url,
            "TIDEMARK_CLICKHOUSE_URL": clickhouse_url,
            "TIDEMARK_TOPIC_PREFIX": topic_prefix,
            "TIDEMARK_TOPIC_PARTITIONS": str(PARTITIONS),
            "TIDEMARK_AGGREGATOR_WINDOW_CHECK_SECONDS": "1",
        }
        named = {name.removeprefix("TIDEMARK_").lower(): value for name, value in self.environment.items()}
        self.settings = AggregatorSettings.model_validate(named)
        self.logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}
        list(ensure_topics(self.settings, self.settings))
        list(migrate(self.settings))
        self.registry = Registry(self.settings, self.settings)
        self._codecs: dict[str, Codec[Any]] = {}
        # Next offset after the last message written here, by topic and partition.
        self._written: dict[tuple[str, int], int] = {}
        # Consumers that ask for the offsets of a group, by group.
        self._groups: dict[str, Consumer] = {}
        self.producer = Producer(
            {"bootstrap.servers": engines.kafka_bootstrap, "enable.idempotence": True, "linger.ms": 2, "log_level": 0}
        )
        self.clickhouse: Client = clickhouse_connect.get_client(
            **self.settings.clickhouse_connection(),
            database=self.settings.clickhouse_database,
            autogenerate_session_id=False,
        )

    # The aggregator

    def start_aggregator(self, name: str = "aggregator", environment: Mapping[str, str] | None = None) -> int:
        """Start a worker and wait until it is ready; returns its pid."""
        port = free_ports(1)[0]
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                # Dies with the test run, even when that is killed.
                tied([sys.executable, "-m", "services.aggregator"]),
                env={
                    **os.environ,
                    **self.environment,
                    "TIDEMARK_METRICS_PORT": str(port),
                    "TIDEMARK_INSTANCE_ID": name,
                    **(environment or {}),
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes[name] = process
        self._ports[name] = port
        wait_until(
            lambda: self._answers_ready(name),
            60,
            lambda: f"the aggregator is ready; its log ends: {self.log_tail(name)}",
        )
        return process.pid

    def _answers_ready(self, name: str) -> bool:
        if self._processes[name].poll() is not None:
            raise AssertionError(f"the aggregator ended: {self.log_tail(name)}")
        try:
            return LOOPBACK.get(f"http://127.0.0.1:{self._ports[name]}/readyz").is_success
        except httpx.HTTPError:
            return False

    def log_tail(self, name: str = "aggregator", characters: int = 3000) -> str:
        """The end of what a worker printed."""
        path = self.logs / f"{name}.log"
        return path.read_text(errors="replace")[-characters:] if path.exists() else "(nothing)"

    def kill_aggregator(self, name: str = "aggregator", number: int = signal.SIGKILL) -> None:
        """Send a signal to a worker and wait for its end."""
        process = self._processes.pop(name)
        process.send_signal(number)
        process.wait(20)

    def freeze_aggregator(self, name: str, seconds: float) -> None:
        """SIGSTOP a worker for a while, then let it go on."""
        process = self._processes[name]
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    def pid(self, name: str = "aggregator") -> int:
        """Of a worker that runs.

        Raises:
            AssertionError: it has ended.
        """
        process = self._processes[name]
        assert process.poll() is None, f"the aggregator ended: {self.log_tail(name)}"
        return process.pid

    def operations_url(self, name: str = "aggregator") -> str:
        """Origin of a worker's metrics and readiness."""
        return f"http://127.0.0.1:{self._ports[name]}"

    def wait_for_end(self, name: str = "aggregator", seconds: float = 60) -> int:
        """Wait until a worker ends by itself; returns its exit code."""
        return self._processes.pop(name).wait(seconds)

    def command(self, *arguments: str) -> None:
        """Run a command of an operator, which has to end with 0."""
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments], env={**os.environ, **self.environment},
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"

    def close(self) -> None:
        """Stop every worker that was started here."""
        for name in list(self._processes):
            self.kill_aggregator(name)
        for consumer in self._groups.values():
            consumer.close()
        self.clickhouse.close()

    # Writing

    def codec(self, topic: str) -> Codec[Any]:
        """The codec of a topic."""
        if topic not in self._codecs:
            self._codecs[topic] = self.registry.codec(topic)
        return self._codecs[topic]

    def publish(self, topic: str, message_key: bytes, workspace_id: str, value: bytes | None) -> None:
        """Put one message where the tenant's partition is."""
        self.producer.produce(
            self.settings.topic(topic),
            value=value,
            key=message_key,
            partition=partition_of(workspace_id, PARTITIONS),
            on_delivery=self._note_written,
        )
        self.producer.poll(0)

    def _note_written(self, error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        place, offset = (message.topic() or "", message.partition() or 0), message.offset()
        assert offset is not None
        self._written[place] = max(self._written.get(place, 0), offset + 1)

    def flush(self) -> None:
        """Wait until everything published is acknowledged."""
        assert self.producer.flush(30) == 0

    def settle(self, seconds: float = 30) -> None:
        """Wait until the aggregator has confirmed everything that was published here: in every table and topic.

        A number that shows in one table says nothing of the next; the committed offsets speak of all.
        """
        self.flush()
        wait_until(
            lambda: not self._unconfirmed(), seconds, lambda: f"{self._unconfirmed()} confirmed; {self.log_tail()}"
        )

    def _unconfirmed(self) -> dict[tuple[str, int], int]:
        group = f"{self.settings.topic_prefix}{self.settings.aggregator_group}"
        raw = self.settings.topic("platform.raw")
        missing: dict[tuple[str, int], int] = {}
        catalog = {self.settings.topic(name) for name in ("catalog.channels", "catalog.posts")}
        for name, read in ((group, {raw}), (f"{group}-catalog", catalog)):
            places = [TopicPartition(*place) for place in self._written if place[0] in read]
            if not places:
                continue
            if name not in self._groups:
                self._groups[name] = Consumer(
                    {
                        "bootstrap.servers": self.settings.kafka_bootstrap,
                        "group.id": name,
                        "enable.auto.commit": False,
                    }
                )
            for held in self._groups[name].committed(places, timeout=10):
                wanted = self._written[(held.topic, held.partition)]
                if held.offset < wanted:
                    missing[(held.topic, held.partition)] = wanted
        return missing

    def put_channel(self, workspace_id: str, channel_id: str, platform: str = "x", status: str = "active") -> None:
        """Write a channel to the catalog."""
        event = CatalogChannel(
            workspace_id, channel_id, platform, f"ext-{channel_id}", channel_id, status, None, now_ms()
        )
        self.publish(
            "catalog.channels",
            key(workspace_id, channel_id),
            workspace_id,
            self.codec("catalog.channels").encode(event),
        )
        self.flush()

    def put_post(
        self,
        workspace_id: str,
        post_id: str,
        targets: Sequence[CatalogTarget],
        *,
        published_at: int | None = None,
        status: str = "published",
    ) -> None:
        """Write a post to the catalog."""
        event = CatalogPost(workspace_id, post_id, status, published_at, published_at, tuple(targets), now_ms())
        self.publish(
            "catalog.posts", key(workspace_id, post_id), workspace_id, self.codec("catalog.posts").encode(event)
        )
        self.flush()

    def delete(self, topic: str, workspace_id: str, thing_id: str) -> None:
        """Write a tombstone to a catalog topic."""
        self.publish(topic, key(workspace_id, thing_id), workspace_id, None)
        self.flush()

    def publish_raw(self, event: PlatformRaw) -> None:
        """Publish one raw event; `flush` to be sure of it."""
        self.publish(
            "platform.raw", event.workspace_id.encode(), event.workspace_id, self.codec("platform.raw").encode(event)
        )

    # Reading

    def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of a query, as dicts."""
        return list(self.clickhouse.query(query, parameters=dict(parameters or {})).named_results())

    def records(self, topic: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """Every committed message of a topic from its beginning to its end: key and record, None for a tombstone.

        The record of a value that can't be read is empty.
        """
        codec = self.registry.record_codec(topic)
        full = self.settings.topic(topic)
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.kafka_bootstrap,
                "group.id": f"reader-{time.time_ns()}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                # One partition's end does not hold back the others' messages.
                "fetch.wait.max.ms": 20,
            }
        )
        try:
            ends = {p: consumer.get_watermark_offsets(TopicPartition(full, p))[1] for p in range(PARTITIONS)}
            consumer.assign([TopicPartition(full, p, 0) for p in range(PARTITIONS)])
            # From the last message on: a topic of a million takes its time.
            deadline = time.monotonic() + 30 * PATIENCE
            open_partitions = {p for p, end in ends.items() if end > 0}
            while open_partitions:
                assert time.monotonic() < deadline, f"{full} could not be read to its end"
                first = consumer.poll(0.1)
                for message in [] if first is None else [first, *consumer.consume(1_000, 0.0)]:
                    deadline = time.monotonic() + 30 * PATIENCE
                    if message.error() is None:
                        value, message_key = message.value(), message.key() or b""
                        yield message_key.decode(errors="backslashreplace"), _record(codec, value)
                for place in consumer.position([TopicPartition(full, p) for p in open_partitions]):
                    if place.offset >= ends[place.partition]:
                        open_partitions.discard(place.partition)
        finally:
            consumer.close()

    def latest(self, topic: str) -> dict[str, dict[str, Any]]:
        """A compacted topic as a reader sees it: the last value of each key, without tombstones."""
        held: dict[str, dict[str, Any]] = {}
        for message_key, record in self.records(topic):
            if record is None:
                held.pop(message_key, None)
            else:
                held[message_key] = record
        return held


def _record(codec: RecordCodec, value: bytes | None) -> dict[str, Any] | None:
    try:
        return None if value is None else codec.decode(value)
    except MalformedEvent:
        return {}


def bluesky_event(
    workspace_id: str,
    channel_id: str,
    event_id: str,
    figures: Mapping[str, Mapping[str, Any]],
    *,
    captured_at: int | None = None,
    http_status: int = 200,
    body: bytes | None = None,
) -> PlatformRaw:
    """A raw event as Bluesky's `getPosts` answers.

    Args:
        figures: by target id, the answer's own fields (`likeCount`, ...); the uri is `at://<target id>`.
        body: instead of the answer made of `figures`.
    """
    import orjson

    targets = tuple(RawTarget(target_id, f"post-of-{target_id}", f"at://{target_id}") for target_id in figures)
    answer = {"posts": [{"uri": f"at://{target_id}", **said} for target_id, said in figures.items()]}
    return PlatformRaw(
        event_id=event_id,
        workspace_id=workspace_id,
        channel_id=channel_id,
        platform="bluesky",
        kind="POST_METRICS",
        endpoint="/xrpc/app.bsky.feed.getPosts",
        request={"uris": ",".join(target.external_id for target in targets)},
        targets=targets,
        http_status=http_status,
        body=orjson.dumps(answer) if body is None else body,
        captured_at=now_ms() if captured_at is None else captured_at,
        origin="SCHEDULE",
    )
