"""Whatever stands on `platform.raw`, its reading ends in an event or a dead letter, and a healthy tenant is served."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
from confluent_kafka import KafkaError, Producer, TopicPartition
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from schemas.events import CatalogTarget
from services.aggregator.letters import IDENTITY_HEADER, SHORTENED_HEADER
from services.runtime.kafka import partition_of
from tests.support import raw_batches
from tests.support.backend import PARTITIONS, Backend, bluesky_event, now_ms
from tests.support.poison import Maker, Poison
from tests.support.raw_batches import Sent
from tests.support.waiting import wait_until

RAW = "platform.raw"
LETTERS = "platform.raw.dead-letters"
MEGABYTE = 1024 * 1024
SEED = int(os.environ.get("TIDEMARK_TEST_SEED", "0")) or random.randrange(1, 10**6)


class Healthy:
    """A tenant whose numbers stay exact; one for each partition."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.likes = 0
        names = (f"healthy-{secrets.token_hex(4)}" for _ in range(10_000))
        by_partition: dict[int, str] = {}
        for name in names:
            by_partition.setdefault(partition_of(name, PARTITIONS), name)
            if len(by_partition) == PARTITIONS:
                break
        self.names = list(by_partition.values())
        for name in self.names:
            backend.put_channel(name, "c1", "bluesky")
            backend.put_post(name, "p1", [CatalogTarget("t1", "c1")], published_at=now_ms() - 3_600_000)

    def speak(self) -> None:
        """Publish one more answer of each."""
        self.likes += 1
        for name in self.names:
            event = bluesky_event(name, "c1", f"e{self.likes}", {"t1": {"likeCount": self.likes}})
            self.backend.publish_raw(event)
        self.backend.flush()

    def wait(self, seconds: float = 60) -> None:
        """Until each reads its last number."""
        wanted = dict.fromkeys(self.names, self.likes)
        query = "SELECT workspace_id, likes FROM post_totals WHERE workspace_id IN {names:Array(String)}"

        def said() -> dict[str, int]:
            return {row["workspace_id"]: row["likes"] for row in self.backend.rows(query, {"names": self.names})}

        wait_until(lambda: said() == wanted, seconds, lambda: f"{said()}, wanted {wanted}; {self.backend.log_tail()}")


@pytest.fixture(scope="module")
def healthy(backend: Backend) -> Iterator[Healthy]:
    tenant = Healthy(backend)
    tenant.speak()
    tenant.wait()
    pid = backend.pid()
    yield tenant
    assert psutil.pid_exists(pid)
    assert backend.pid() == pid, "the aggregator is the process that it was"


def _publish(backend: Backend, poison: Poison, partition: int) -> None:
    producer = Producer(
        {"bootstrap.servers": backend.settings.kafka_bootstrap, "message.max.bytes": 20 * MEGABYTE, "log_level": 0}
    )
    failures: list[KafkaError] = []
    headers: list[tuple[str, str | bytes | None]] = [(str(name), value) for name, value in poison.headers]
    producer.produce(
        backend.settings.topic(RAW), poison.value, poison.key, partition, headers=headers or None,
        on_delivery=lambda error, _: failures.append(error) if error is not None else None,
    )  # fmt: skip
    assert producer.flush(60) == 0
    assert not failures, (poison.name, failures)


def _all_stored(backend: Backend, prefix: str, count: int) -> None:
    """Of events in front of the last one published, none is missing once that one is confirmed.

    Totals show it earlier: raw events are a table of their own, whose block may still be on its way.
    """
    backend.settle(60)
    query = "SELECT uniqExact(event_id) AS n FROM raw_events WHERE startsWith(event_id, {prefix:String})"
    stored = backend.rows(query, {"prefix": prefix})[0]["n"]
    letters = [
        (record["reason"], record["detail"]) for _, record in backend.records(LETTERS) if record and stored != count
    ]
    assert stored == count, f"{letters[-count:]}; {backend.log_tail()}"


class Writer:
    """Puts poison on the topic, batched by partition, whatever its headers are."""

    def __init__(self, backend: Backend, chance: random.Random) -> None:
        self._backend = backend
        self._chance = chance
        self._waiting: dict[int, list[Sent]] = {}
        self.sent = 0

    def put(self, poison: Poison) -> None:
        """Most of it in its workspace's partition, some of it elsewhere."""
        partition = partition_of(poison.workspace, PARTITIONS)
        if self._chance.random() < 0.2:
            partition = self._chance.randrange(PARTITIONS)
        key = poison.key if poison.key is not None else poison.workspace.encode()
        held = self._waiting.setdefault(partition, [])
        held.append(Sent(key, poison.value, poison.headers))
        self.sent += 1
        if sum(len(sent.value or b"") + len(sent.key or b"") for sent in held) > MEGABYTE or len(held) > 200:
            self.flush(partition)

    def flush(self, partition: int | None = None) -> None:
        """Send what waits."""
        for number in [partition] if partition is not None else list(self._waiting):
            held = self._waiting.pop(number, [])
            if held:
                codec = self._chance.choice(
                    (0, raw_batches.GZIP, raw_batches.SNAPPY, raw_batches.LZ4, raw_batches.ZSTD)
                )
                raw_batches.send_batches(
                    self._backend.settings.kafka_bootstrap, self._backend.settings.topic(RAW), number,
                    [raw_batches.batch(held, codec)],
                )  # fmt: skip


def _register(backend: Backend) -> list[int]:
    """Schemas of every type and of odd shapes, under subjects of their own; and ids that are none."""
    client = SchemaRegistryClient({"url": backend.settings.schema_registry_address, "timeout": 10})
    texts = [
        ("PROTOBUF", 'syntax = "proto3"; message Event { string event_id = 1; bytes body = 2; }'),
        ("JSON", '{"type": "object", "properties": {"event_id": {"type": "string"}}}'),
        ("AVRO", '"string"'),
        ("AVRO", '{"type": "record", "name": "Other", "fields": [{"name": "event_id", "type": "string"}]}'),
        (
            "AVRO",
            '{"type": "record", "name": "PlatformRaw", "namespace": "tidemark", "fields": [{"name": "event_id", '
            '"type": {"type": "array", "items": "null"}}]}',
        ),
    ]
    ids = [int(client.register_schema(f"poison-{secrets.token_hex(4)}", Schema(text, kind))) for kind, text in texts]
    return [*ids, 0, 1, 2**31, 2**32 - 1]


def test_the_corpus_stops_nobody(backend: Backend, healthy: Healthy) -> None:
    print(f"TIDEMARK_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    schema_id = backend.registry.schema_id(RAW)
    maker = Maker(SEED, schema_id, _register(backend), ["ghost", "stranger", *healthy.names[:2]], now_ms())
    writer = Writer(backend, chance)
    corpus = [
        *maker.fields(), *maker.mutated(400), *maker.schemas(), *maker.unknown_ids(300), *maker.headed(),
        *maker.ghosts(300),
    ]  # fmt: skip
    chance.shuffle(corpus)
    for number, poison in enumerate(corpus):
        writer.put(poison)
        if number % 500 == 0:
            healthy.speak()
    writer.flush()
    healthy.speak()
    # Events of the corpus that are well formed may speak of the healthy ones' target too: theirs is the last word.
    healthy.wait(120)


def test_sizes_around_every_limit(backend: Backend, healthy: Healthy) -> None:
    maker = Maker(SEED, backend.registry.schema_id(RAW), [], ["ghost"], now_ms())
    for poison in maker.sized():
        home = partition_of(poison.workspace, PARTITIONS)
        for partition in (home, (home + 1) % PARTITIONS):
            _publish(backend, poison, partition)
    healthy.speak()
    healthy.wait(120)
    shortened = [
        record for _, record in backend.records(LETTERS) if record is not None and SHORTENED_HEADER in record["headers"]
    ]
    assert shortened
    for letter in shortened:
        assert int(letter["headers"][SHORTENED_HEADER]) > len(letter["payload"])
        assert letter["headers"][IDENTITY_HEADER]
        assert b"access_token=ab" not in letter["payload"]
        assert "the letter holds the first" in letter["detail"]


def test_a_header_without_a_value_loses_nothing(backend: Backend, healthy: Healthy) -> None:
    """Thirty of them stalled two tenants, and each lost its event."""
    workspace = healthy.names[0]
    at = now_ms()
    for number in range(40):
        event = bluesky_event(
            workspace, "c1", f"null-header-{number}", {"t1": {"likeCount": 0}}, captured_at=at - 10**6
        )
        poison = Poison("", backend.codec(RAW).encode(event), workspace.encode(), [("trace", None)])
        _publish(backend, poison, partition_of(workspace, PARTITIONS))
    healthy.speak()
    healthy.wait()
    _all_stored(backend, "null-header-", 40)


def test_a_header_name_that_is_no_text_loses_nothing(backend: Backend, healthy: Healthy) -> None:
    workspace = healthy.names[1]
    partition = partition_of(workspace, PARTITIONS)
    records = []
    for number in range(6):
        event = bluesky_event(
            workspace, "c1", f"odd-header-{number}", {"t1": {"likeCount": 0}}, captured_at=now_ms() - 10**6
        )
        headers = [(b"\xff\xfe\xfd", b"x")] if number % 2 else []
        records.append(Sent(workspace.encode(), backend.codec(RAW).encode(event), headers))
    for codec in (0, raw_batches.ZSTD):
        sent = [raw_batches.batch(records[3 * bool(codec) :][:3], codec)]
        raw_batches.send_batches(backend.settings.kafka_bootstrap, backend.settings.topic(RAW), partition, sent)
    healthy.speak()
    healthy.wait()
    _all_stored(backend, "odd-header-", 6)


@pytest.mark.long
def test_what_decompresses_to_hundreds_of_megabytes_takes_no_memory(backend: Backend, healthy: Healthy) -> None:
    process = psutil.Process(backend.pid())
    before = process.memory_info().rss
    workspace = healthy.names[2]
    partition = partition_of(workspace, PARTITIONS)
    event = bluesky_event(workspace, "c1", "behind-the-bomb", {"t1": {"likeCount": 0}}, captured_at=now_ms() - 10**6)
    good = Sent(workspace.encode(), backend.codec(RAW).encode(event))
    bombs = [
        raw_batches.batch([Sent(b"k", bytes(400 * MEGABYTE))], raw_batches.ZSTD),
        raw_batches.batch([Sent(b"k", bytes(20 * MEGABYTE)), good], raw_batches.GZIP),
        raw_batches.batch([Sent(b"k", bytes(7 * MEGABYTE)) for _ in range(60)], raw_batches.ZSTD),
    ]
    raw_batches.send_batches(backend.settings.kafka_bootstrap, backend.settings.topic(RAW), partition, bombs)
    highest = before
    deadline = time.monotonic() + 120
    healthy.speak()
    while time.monotonic() < deadline:
        highest = max(highest, process.memory_info().rss)
        if backend.rows("SELECT count() AS n FROM raw_events WHERE event_id = 'behind-the-bomb'") == [{"n": 1}]:
            break
        time.sleep(0.05)
    healthy.wait()
    print(f"{before // MEGABYTE} MiB before, {highest // MEGABYTE} MiB at most")
    assert highest < 1200 * MEGABYTE
    letters = [record for _, record in backend.records(LETTERS) if record and record["reason"] == "too_large"]
    assert len(letters) >= 2


def test_millions_of_headers_are_dead_letters_and_take_no_memory(backend: Backend, healthy: Healthy) -> None:
    """A batch of 830 bytes held one record with 4 million headers, which took 315 MB; six took 1.7 GB."""
    process = psutil.Process(backend.pid())
    before = highest = process.memory_info().rss
    workspace = healthy.names[1]
    partition = partition_of(workspace, PARTITIONS)
    key = workspace.encode()
    at = now_ms() - 10**6
    event = bluesky_event(workspace, "c1", "behind-headers", {"t1": {"likeCount": 0}}, captured_at=at)
    value = backend.codec(RAW).encode(event)
    many = [raw_batches.empty_headers(4_000_000, raw_batches.ZSTD, key, b"many headers") for _ in range(6)]
    # As many as are allowed, in a few hundred records: the bound of bytes has to count them.
    allowed = raw_batches.empty_headers(1_000, raw_batches.ZSTD, key, b"allowed headers")
    batches = [*many, *[allowed] * 300, raw_batches.batch([Sent(key, value)])]
    raw_batches.send_batches(backend.settings.kafka_bootstrap, backend.settings.topic(RAW), partition, batches)
    deadline = time.monotonic() + 60
    healthy.speak()
    while time.monotonic() < deadline:
        highest = max(highest, process.memory_info().rss)
        if backend.rows("SELECT count() AS n FROM raw_events WHERE event_id = 'behind-headers'") == [{"n": 1}]:
            break
        time.sleep(0.02)
    healthy.wait()
    _all_stored(backend, "behind-headers", 1)
    print(f"{before // MEGABYTE} MiB before, {highest // MEGABYTE} MiB at most")
    assert highest - before < 250 * MEGABYTE
    letters = [record for _, record in backend.records(LETTERS) if record and record["payload"] == b"many headers"]
    assert [letter["reason"] for letter in letters] == ["too_many_headers"] * 6
    assert all("4000000 headers" in letter["detail"] for letter in letters)
    assert all(letter["origin_key"] == key for letter in letters)
    assert not any(SHORTENED_HEADER in letter["headers"] for letter in letters), "they hold the whole value"


def test_months_of_any_number_come_together(backend: Backend, healthy: Healthy) -> None:
    """ClickHouse takes blocks of 100 months unless told; a block of more was tried again for ever."""
    workspace = healthy.names[3]
    for month in range(250):
        at = 946_684_800_000 + month * 30 * 86_400_000
        backend.publish_raw(bluesky_event(workspace, "c1", f"month-{month}", {"t1": {"likeCount": 0}}, captured_at=at))
    healthy.speak()
    healthy.wait()
    _all_stored(backend, "month-", 250)


def test_open_and_aborted_transactions_hold_nobody_back(backend: Backend, healthy: Healthy) -> None:
    topic = backend.settings.topic(RAW)
    producers = []
    for ends in ("abort", "open"):
        producer = Producer(
            {
                "bootstrap.servers": backend.settings.kafka_bootstrap,
                "transactional.id": f"stranger-{secrets.token_hex(4)}",
                "transaction.timeout.ms": 60_000,
                "log_level": 0,
            }
        )
        producer.init_transactions(30)
        producer.begin_transaction()
        for partition in range(PARTITIONS):
            producer.produce(topic, b"rubbish", b"ghost", partition)
        producer.flush(30)
        if ends == "abort":
            producer.abort_transaction(30)
        producers.append(producer)
    healthy.speak()
    healthy.wait(30)
    producers[1].abort_transaction(30)


def test_a_restart_reads_on_behind_all_of_it(backend: Backend, healthy: Healthy) -> None:
    """Every member of the kind stopped the process again at each start."""
    ready = httpx.get(f"{backend.operations_url()}/readyz", trust_env=False)
    assert ready.is_success, ready.text
    group = backend.settings.topic_prefix + backend.settings.aggregator_group
    assert group
    backend.settle(60)
    assert "Traceback" not in backend.log_tail(characters=10**7)
    assert "aggregator_failed" not in backend.log_tail(characters=10**7)
    places = [TopicPartition(backend.settings.topic(RAW), number, 0) for number in range(PARTITIONS)]
    assert places
