"""Sends record batches that no client library would make: header names that are no text, and any compression."""

from __future__ import annotations

import asyncio
import gzip
import struct
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import cramjam
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
_LENGTH_AT, _CRC_AT, _ATTRIBUTES_AT, _HEADER_BYTES = 8, 17, 21, 61


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


def empty_headers(count: int, compression: int = 0, key: bytes = b"k", value: bytes = b"v", length: int = 0) -> bytes:
    """A batch of one record with so many headers of 2 bytes, which no builder would make in seconds.

    Args:
        length: what the record says about its length; by default the truth.
    """
    body = b"".join([b"\0\0\0", _varint(len(key)), key, _varint(len(value)), value, _varint(count), b"\0\x01" * count])
    records = _varint(length or len(body)) + body
    if compression == GZIP:
        records = gzip.compress(records, 1)
    elif compression == ZSTD:
        records = bytes(cramjam.zstd.compress(records))
    data = bytearray(batch([Sent(b"k", b"v")]))[:_HEADER_BYTES] + records
    struct.pack_into(">i", data, _LENGTH_AT, len(data) - _LENGTH_AT - 4)
    struct.pack_into(">h", data, _ATTRIBUTES_AT, compression)
    struct.pack_into(">I", data, _CRC_AT, calc_crc32c(bytes(data[_ATTRIBUTES_AT:])))
    return bytes(data)


def _varint(number: int) -> bytes:
    number *= 2
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


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
