"""Keys, partitions and connection options."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.partitioner import murmur2
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime.kafka import (
    aiokafka_options,
    aiokafka_producer_options,
    confluent_options,
    key,
    partition_of,
    read_batches,
    split_key,
    stop_clients,
)
from services.runtime.settings import KafkaSettings

# From `UtilsTest.testMurmur2` of Apache Kafka's Java client: bytes and the signed hash.
JAVA_VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}
ids = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-", min_size=1, max_size=128)


@pytest.mark.parametrize(("text", "signed"), JAVA_VECTORS.items())
@pytest.mark.parametrize("partitions", [1, 4, 7, 64, 4096])
def test_partitions_are_the_java_clients(text: str, signed: int, partitions: int) -> None:
    assert murmur2(text.encode()) & 0xFFFFFFFF == signed & 0xFFFFFFFF
    # `Utils.toPositive(murmur2(keyBytes)) % numPartitions`, with Java's arithmetic.
    assert partition_of(text, partitions) == (signed & 0x7FFFFFFF) % partitions


@settings(deadline=None)
@given(ids, st.integers(1, 4096))
def test_a_partition_is_one_of_them(workspace_id: str, partitions: int) -> None:
    assert 0 <= partition_of(workspace_id, partitions) < partitions


def test_tenants_spread_over_the_partitions() -> None:
    counts = [0] * 8
    for number in range(8_000):
        counts[partition_of(f"workspace-{number}", 8)] += 1
    assert min(counts) > 850
    assert max(counts) < 1_150


@settings(deadline=None)
@given(ids, ids)
def test_keys_split_where_they_were_joined(workspace_id: str, thing_id: str) -> None:
    assert split_key(key(workspace_id, thing_id)) == (workspace_id, thing_id)


def test_a_key_without_an_id_splits_to_an_empty_one() -> None:
    assert split_key(b"acme") == ("acme", "")
    assert split_key(b"acme/ch-1/24h") == ("acme", "ch-1/24h")


def test_plain_connections_name_no_credentials() -> None:
    settings = KafkaSettings(kafka_bootstrap="a:1,b:2")
    assert aiokafka_options(settings) == {"bootstrap_servers": ["a:1", "b:2"], "security_protocol": "PLAINTEXT"}
    assert confluent_options(settings) == {"bootstrap.servers": "a:1,b:2", "security.protocol": "PLAINTEXT"}


def test_sasl_reaches_both_clients() -> None:
    settings = KafkaSettings(
        kafka_bootstrap="a:1",
        kafka_security_protocol="sasl_ssl",
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_username="tidemark",
        kafka_sasl_password="hunter2hunter2",
    )
    ours = aiokafka_options(settings)
    assert ours["security_protocol"] == "SASL_SSL"
    assert (ours["sasl_plain_username"], ours["sasl_plain_password"]) == ("tidemark", "hunter2hunter2")
    assert ours["ssl_context"] is not None
    theirs = confluent_options(settings)
    assert (theirs["sasl.username"], theirs["sasl.password"]) == ("tidemark", "hunter2hunter2")
    assert theirs["sasl.mechanism"] == "SCRAM-SHA-512"


def test_producers_are_idempotent() -> None:
    options = aiokafka_producer_options(KafkaSettings(kafka_bootstrap="a:1"))
    assert options["enable_idempotence"] is True
    assert options["acks"] == "all"
    assert options["max_request_size"] == 8 * 1024 * 1024


class _Client:
    def __init__(self, error: BaseException | None) -> None:
        self._error = error
        self.is_stopped = False

    async def stop(self) -> None:
        await asyncio.sleep(0)
        if self._error is not None:
            raise self._error
        self.is_stopped = True


@pytest.mark.parametrize("error", [asyncio.CancelledError(), OSError("gone"), AssertionError()])
async def test_a_client_that_fails_to_stop_ends_nobody_else(error: BaseException) -> None:
    other = _Client(None)
    await stop_clients(_Client(error), other)
    assert other.is_stopped


async def test_a_cancelled_stop_is_still_cancelled() -> None:
    class Endless:
        async def stop(self) -> None:
            await asyncio.Event().wait()

    task = asyncio.create_task(stop_clients(Endless()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Poisoned:
    """A consumer as aiokafka's is: it decodes while it hands out, and forgets what it took when that fails."""

    def __init__(self, topics: dict[TopicPartition, list[str]]) -> None:
        self.topics = topics
        self.positions = dict.fromkeys(topics, 0)

    def assignment(self) -> set[TopicPartition]:
        return set(self.topics)

    async def position(self, place: TopicPartition) -> int:
        return self.positions[place]

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.positions[place] = offset

    async def getmany(
        self, *places: TopicPartition, timeout_ms: int, max_records: int | None = None
    ) -> dict[TopicPartition, list[str]]:
        found: dict[TopicPartition, list[str]] = {}
        for place in places or tuple(self.topics):
            start = self.positions[place]
            left = None if max_records is None else start + max_records - sum(map(len, found.values()))
            taken = self.topics[place][start:left]
            if "poison" in taken:
                b"\xff".decode()
            if taken:
                self.positions[place] = start + len(taken)
                found[place] = taken
        return found


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "poison"]), max_size=8), min_size=1, max_size=3),
    st.none() | st.integers(1, 5),
)
async def test_every_message_but_the_unreadable_ones_is_read(topics: list[list[str]], most: int | None) -> None:
    numbered = {
        TopicPartition("t", number): [f"{text}{at}" if text != "poison" else text for at, text in enumerate(held)]
        for number, held in enumerate(topics)
    }
    consumer = Poisoned(numbered)
    read: dict[TopicPartition, list[str]] = {place: [] for place in numbered}
    for _ in range(40):
        for place, records in (await read_batches(consumer, timeout_ms=1, max_records=most)).items():
            read[place] += records
    assert read == {place: [text for text in held if text != "poison"] for place, held in numbered.items()}


def test_the_client_does_raise_on_such_a_header() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 16)
    builder.append(0, 0, b"w1/c1", b"", [("name", b"")])
    raw = bytes(builder.build()).replace(b"name", b"n\xffme")
    (batch,) = [MemoryRecords(raw).next_batch()]
    with pytest.raises(UnicodeDecodeError):
        list(batch)
