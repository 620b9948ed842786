"""Sends record batches that no client library would make: header names that are no text, and any compression."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import TopicPartition

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4


class Sent(NamedTuple):
    """One record; header names may be bytes."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[Any, bytes | None]] = ()


class _Name(bytes):
    def encode(self, _: str) -> bytes:
        return bytes(self)


def batch(records: Sequence[Sent], compression: int = 0) -> bytes:
    """The bytes of one batch."""
    builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, -1, 2**31)
    for offset, record in enumerate(records):
        headers: list[Any] = [
            (_Name(name) if isinstance(name, bytes) else name, value) for name, value in record.headers
        ]
        builder.append(offset, int(time.time() * 1000), record.key, record.value, headers)
    return bytes(builder.build())


def send_batches(bootstrap: str, topic: str, partition: int, batches: Sequence[bytes]) -> list[int]:
    """Put batches at the end of a partition; returns the offset of each one's first record.

    Raises:
        KafkaError: the broker refused one.
    """
    return asyncio.run(_send(bootstrap, topic, partition, batches))


async def _send(bootstrap: str, topic: str, partition: int, batches: Sequence[bytes]) -> list[int]:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    offsets = []
    try:
        await client.set_topics([topic])
        node = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        for data in batches:
            request = ProduceRequest(
                required_acks=-1, timeout=30_000, topics=[(topic, [(partition, data)])], transactional_id=None
            )
            answer = await client.send(node, request)
            (_, ((_, code, offset, *_),)) = answer.topics[0]
            if code:
                raise for_code(code)(f"the broker refused a batch of {len(data)} bytes")
            offsets.append(offset)
    finally:
        await client.close()
    return offsets
