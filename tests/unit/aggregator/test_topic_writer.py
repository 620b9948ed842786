"""What Kafka will never take is set aside, the others are sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from schemas.codec import codec, schema_text
from schemas.topic_names import DEAD_LETTERS, RAW
from services.aggregator.batch import Batch, Effects
from services.aggregator.errors import MessagesRefused, SinkUnavailable
from services.aggregator.publisher import Encoded, PartitionPublisher
from services.aggregator.reading import Message
from services.aggregator.set_aside import BatchReader
from services.aggregator.settings import AggregatorSettings
from services.aggregator.topic_writer import TopicWriter
from services.runtime.clock import SystemClock

SETTINGS = AggregatorSettings.model_validate(
    {
        "kafka_bootstrap": "127.0.0.1:1",
        "schema_registry_url": "http://127.0.0.1:1",
        "clickhouse_url": "http://u:p@127.0.0.1:1/x",
        "topic_prefix": "",
    }
)
LETTERS = codec(DEAD_LETTERS, schema_id=1, fetch_schema=lambda _: schema_text(DEAD_LETTERS))
READER = BatchReader(
    0, SETTINGS, codec(RAW, schema_id=2, fetch_schema=lambda _: schema_text(RAW)), LETTERS, SystemClock()
)


class Broker:
    """Refuses messages that hold a word, and is away for the first calls."""

    def __init__(self, word: bytes, away: int = 0) -> None:
        self._word = word
        self._away = away
        self.sent: list[Encoded] = []

    def publish(self, messages: Sequence[Encoded]) -> None:
        if self._away:
            self._away -= 1
            raise SinkUnavailable("away")
        refused = {
            number: "too large"
            for number, sent in enumerate(messages)
            if sent.topic == RAW and self._word in (sent.value or b"")
        }
        if refused:
            raise MessagesRefused(refused)
        self.sent += messages


def _writer(broker: Broker, encoders: dict[str, Any] | None = None) -> TopicWriter:
    return TopicWriter(0, SETTINGS.topic, encoders or {}, cast("PartitionPublisher", broker), READER)


async def test_a_misplaced_event_that_is_refused_becomes_a_dead_letter() -> None:
    broker = Broker(b"poison", away=1)
    moved = [Message(RAW, 0, number, b"k", value, 1) for number, value in enumerate([b"good", b"a poison"])]
    batch = Batch(misplaced=[(message, 3) for message in moved])
    writer = _writer(broker)
    await writer.publish(writer.encode(batch, Effects()), batch)
    (sent, letter) = broker.sent
    assert (sent.topic, sent.partition, sent.value) == (RAW, 3, b"good")
    assert letter.topic == DEAD_LETTERS
    held = LETTERS.decode(letter.value or b"")
    assert (held.reason, held.origin_offset) == ("misplaced", 1)


async def test_a_message_that_can_not_be_encoded_is_left_out() -> None:
    def encode(fields: Any) -> bytes:
        return bytes([fields[0]])

    effects = Effects()
    effects.rollups += [
        ("rollups.posts", b"w/a", (1,)),
        ("rollups.posts", b"w/b", (999,)),
        ("rollups.posts", b"w/c", None),
    ]
    sent = _writer(Broker(b"-"), {"rollups.posts": encode}).encode(Batch(), effects)
    assert [(message.key, message.value) for message in sent] == [(b"w/a", b"\1"), (b"w/c", None)]
