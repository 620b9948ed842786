"""Asks services, Kafka, ClickHouse and the machine; in place of a missing answer the report has the reason."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import httpx
import psutil
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from services.runtime import neighbours
from services.runtime.kafka import confluent_options
from services.runtime.migrations import MigrationError, connect
from services.runtime.settings import ClickHouseSettings, KafkaSettings
from services.status.samples import Samples, parse

_TIMEOUT_SECONDS = 5.0
# The name of a child of `tidemark up`, by a word of its command line.
_MARKS = {
    "kafka.Kafka": "kafka",
    "quarkus-run.jar": "registry",
    "infra.embedded.clickhouse": "clickhouse",
    "infra.sandbox": "sandbox",
    "services.poller": "poller",
    "services.aggregator": "aggregator",
    "services.query_api": "query_api",
    "services.notifier": "notifier",
}


@dataclass(frozen=True, slots=True)
class ServiceState:
    """The state of one service.

    Attributes:
        readiness: `ready`, or the reason why the service is not ready.
        samples: the service's metrics; None when there is no answer.
        is_silent: whether the service gave no answer at all.
    """

    readiness: str
    samples: Samples | None = None
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far a consumer group is behind in one partition.

    Attributes:
        committed: the group's committed offset; None before its first commit.
        is_drained: whether only markers of transactions are left, which have offsets but are no messages.
        waits_seconds: how long the first message that is not acknowledged has been in the topic; None without such a
            message, or where it could not be read.
    """

    topic: str
    partition: int
    committed: int | None
    end: int
    is_drained: bool = False
    waits_seconds: float | None = None

    @property
    def lag(self) -> int:
        """Offsets not committed yet; markers of transactions count too."""
        return 0 if self.is_drained else max(0, self.end - (self.committed or 0))


@dataclass(frozen=True, slots=True)
class TableSize:
    """One table of ClickHouse; its rows include all generations and replaced rows that are not merged away yet."""

    name: str
    rows: int
    parts: int
    disk_bytes: int


@dataclass(slots=True)
class Answer:
    """The answer of one engine; or, in `problem`, one line that says why there is no answer.

    Attributes:
        owners: for each consumer group, the partitions of each member.
    """

    problem: str | None = None
    owners: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    lags: list[PartitionLag] = field(default_factory=list)
    tables: list[TableSize] = field(default_factory=list)
    memory_bytes: int | None = None
    free_bytes: int | None = None


def ask_service(origin: str) -> ServiceState:
    """Ask a service for its readiness and metrics."""
    try:
        with httpx.Client(base_url=origin, timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            ready = client.get("/readyz")
            page = client.get("/metrics")
    except httpx.HTTPError as error:
        return ServiceState(f"no answer at {origin} ({type(error).__name__})", is_silent=True)
    try:
        samples = parse(page.text) if page.is_success else None
    except ValueError:
        samples = None
    return ServiceState("ready" if ready.is_success else ready.text.strip() or f"status {ready.status_code}", samples)


def ask_kafka(settings: KafkaSettings, groups: dict[str, tuple[str, ...]], owned: dict[str, str]) -> Answer:
    """Ask Kafka for consumer groups' lag, and for the owner of each partition.

    Args:
        groups: topics (full names) by group.
        owned: by group, the topic (full name) whose partitions the members divide among them.
    """
    if problem := neighbours.ask_kafka(settings):
        return Answer(problem=problem.text)
    answer = Answer()
    for group, topics in groups.items():
        consumer = Consumer(
            {
                **confluent_options(settings),
                "group.id": group,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "log_level": 0,
            }
        )
        try:
            held = consumer.list_topics(timeout=_TIMEOUT_SECONDS).topics
            for topic in topics:
                if topic not in held:
                    answer.problem = f"there is no topic {topic}; run `tidemark topics`"
                    continue
                places = [TopicPartition(topic, number) for number in sorted(held[topic].partitions)]
                for place in consumer.committed(places, timeout=_TIMEOUT_SECONDS):
                    end = consumer.get_watermark_offsets(place, timeout=_TIMEOUT_SECONDS)[1]
                    committed = place.offset if place.offset >= 0 else None
                    is_drained, waits = False, None
                    if (committed or 0) < end:
                        is_drained, waits = _first_after(consumer, place)
                    answer.lags.append(PartitionLag(topic, place.partition, committed, end, is_drained, waits))
        except KafkaException as error:
            answer.problem = f"can't be read at {settings.kafka_bootstrap} ({error.args[0].str()})"
            return answer
        finally:
            consumer.close()
    try:
        answer.owners = _owners(settings, owned)
    except KafkaException as error:
        answer.problem = f"does not tell who owns partitions ({error.args[0].str()})"
    return answer


def _owners(settings: KafkaSettings, owned: dict[str, str]) -> dict[str, dict[str, list[int]]]:
    admin = AdminClient({**confluent_options(settings), "log_level": 0})
    asked = admin.describe_consumer_groups(list(owned), request_timeout=_TIMEOUT_SECONDS)
    found: dict[str, dict[str, list[int]]] = {}
    for group, topic in owned.items():
        members: dict[str, list[int]] = {}
        for member in asked[group].result(_TIMEOUT_SECONDS).members:
            places = member.assignment.topic_partitions if member.assignment is not None else []
            name = member.group_instance_id or f"{member.client_id} at {member.host.lstrip('/')}"
            members.setdefault(name, []).extend(place.partition for place in places if place.topic == topic)
        found[group] = {name: sorted(set(numbers)) for name, numbers in sorted(members.items())}
    return found


def _first_after(consumer: Consumer, place: TopicPartition) -> tuple[bool, float | None]:
    """Whether offsets are left from a place on, but no messages; and how long the first message has waited, seconds.

    Without a committed offset, the group begins at the oldest message.
    """
    offset = place.offset if place.offset >= 0 else OFFSET_BEGINNING
    consumer.assign([TopicPartition(place.topic, place.partition, offset)])
    try:
        message = consumer.poll(_TIMEOUT_SECONDS)
        if message is None:
            return False, None
        error = message.error()
        if error is not None:
            return error.code() == KafkaError._PARTITION_EOF and place.offset >= 0, None
        kind, at = message.timestamp()
        return False, None if kind == TIMESTAMP_NOT_AVAILABLE else max(0.0, time.time() - at / 1000)
    finally:
        consumer.unassign()


def ask_clickhouse(settings: ClickHouseSettings) -> Answer:
    """Ask ClickHouse for its tables by size, its memory and its free disk space."""
    if problem := neighbours.ask_clickhouse(settings):
        return Answer(problem=problem.text)
    try:
        client = connect(settings, settings.clickhouse_database, answer_seconds=_TIMEOUT_SECONDS)
    except MigrationError as error:
        return Answer(problem=str(error))
    try:
        rows = client.query(
            "SELECT table, sum(rows), count(), sum(bytes_on_disk) FROM system.parts "
            "WHERE active AND database = currentDatabase() GROUP BY table ORDER BY sum(bytes_on_disk) DESC"
        ).result_rows
        memory = client.query("SELECT value FROM system.metrics WHERE metric = 'MemoryTracking'").result_rows
        disks = client.query("SELECT min(free_space) FROM system.disks WHERE NOT is_remote").result_rows
    except Exception as error:  # the client lets its HTTP library's errors through
        return Answer(problem=str(error).splitlines()[0] if str(error) else type(error).__name__)
    finally:
        client.close()
    tables = [TableSize(str(name), int(count), int(parts), int(size)) for name, count, parts, size in rows]
    return Answer(
        tables=tables,
        memory_bytes=int(memory[0][0]) if memory else None,
        free_bytes=int(disks[0][0]) if disks and disks[0][0] is not None else None,
    )


def memory_of_children(supervisor_pid: int) -> dict[str, int]:
    """Resident bytes of each child process of `tidemark up`, by name."""
    found: dict[str, int] = {}
    try:
        children = psutil.Process(supervisor_pid).children(recursive=True)
    except psutil.Error:
        return found
    for child in children:
        try:
            words = child.cmdline()
            name = next((name for mark, name in _MARKS.items() if mark in words or any(mark in w for w in words)), None)
            if name is not None:
                found[name] = found.get(name, 0) + int(child.memory_info().rss)
        except psutil.Error:
            continue  # the process ended meanwhile
    return found
