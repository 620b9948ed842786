"""Keys, partitions and connection options."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from aiokafka.partitioner import murmur2
from aiokafka.record.default_records import DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.kafka import (
    aiokafka_options,
    aiokafka_producer_options,
    confluent_options,
    key,
    partition_of,
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


@given(ids, st.integers(1, 4096))
def test_a_partition_is_one_of_them(workspace_id: str, partitions: int) -> None:
    assert 0 <= partition_of(workspace_id, partitions) < partitions


def test_tenants_spread_over_the_partitions() -> None:
    counts = [0] * 8
    for number in range(8_000):
        counts[partition_of(f"workspace-{number}", 8)] += 1
    assert min(counts) > 850
    assert max(counts) < 1_150


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


def test_producers_compress_by_the_quickest_gzip() -> None:
    assert aiokafka_producer_options(KafkaSettings(kafka_bootstrap="k:9092"))["compression_type"] == "gzip"
    for builder in (DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy):
        batch = builder(2, _DefaultRecordBatchBuilderPy.CODEC_GZIP, 0, -1, -1, -1, 2**20)
        batch.append(0, 0, b"key", b"value " * 1_000, [])
        compressed = bytes(batch.build())[61:]
        assert b"value value" in gzip.decompress(compressed)
        # XFL of the gzip header: 4 is the fastest algorithm (RFC 1952).
        assert compressed[8] == 4
