"""Writes what no well-meaning client writes: a header whose name is not UTF-8."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from services.runtime.kafka import aiokafka_options
from services.runtime.settings import KafkaSettings


class _NotText(str):
    """A name that the client's builder in Python takes for text."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Bytes that are not UTF-8."""
        return b"n\xffme"


async def send_unreadable(settings: KafkaSettings, topic: str, partition: int, key: bytes) -> None:
    """One message with such a header, durable when this returns; the topic's name is without prefix."""
    producer = AIOKafkaProducer(**aiokafka_options(settings))
    await producer.start()
    try:
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 1 << 16)
        assert batch.append(timestamp=None, key=key, value=b"x", headers=[(_NotText("name"), b"")]) is not None
        batch.close()
        sent = await producer.send_batch(batch, settings.topic(topic), partition=partition)
        await sent
    finally:
        await producer.stop()
