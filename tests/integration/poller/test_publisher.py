"""The publisher and the reader on a real Kafka and registry."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from schemas.events import AccountEvent, PlatformRaw, RawTarget
from schemas.topic_names import ACCOUNT_EVENTS, RAW
from services.poller.errors import AnswerTooLarge, Stop
from services.poller.publisher import TOPICS, KafkaPublisher, Room
from services.poller.reader import TopicReader
from services.runtime.brokers import Record
from services.runtime.clock import SystemClock
from services.runtime.kafka import partition_of
from services.runtime.registry import Registry
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings, RegistrySettings
from services.runtime.topics import ensure_topics
from tests.support.engines import EmbeddedEngines, Engines
from tests.support.waiting import wait_until_async

NOW = 1_790_000_000_000


async def wait_for(condition: Callable[[], bool], seconds: float, message: str | Callable[[], str]) -> None:
    """`wait_until_async` for a plain condition."""

    async def asked() -> bool:
        return condition()

    await wait_until_async(asked, seconds, message)


class Streams:
    """Topics of one test, with what reads and writes them."""

    def __init__(self, engines: Engines, prefix: str) -> None:
        self.kafka = KafkaSettings(kafka_bootstrap=engines.kafka_bootstrap, topic_prefix=prefix, topic_partitions=4)
        self.registry_settings = RegistrySettings(schema_registry_url=engines.schema_registry_url)
        self.registry = Registry(self.registry_settings, self.kafka)
        list(ensure_topics(self.kafka, self.registry_settings))
        self.codecs = {name: self.registry.codec(name) for name in TOPICS}
        self.room = Room(100, 64 * 1024 * 1024)
        self.publisher = KafkaPublisher(self.kafka, self.codecs, 4, self.room)

    async def confirmed(self, seconds: float) -> None:
        """Wait until Kafka has confirmed everything."""
        await wait_for(
            lambda: self.room.held_events == 0, seconds, lambda: f"{self.room.held_events} events unconfirmed"
        )

    async def read(self, topic: str, since: int | None = None) -> list[Record]:
        """All of a topic, decoded nowhere."""
        reader = TopicReader(self.kafka)
        found: list[Record] = []
        await reader.partition_count([topic])
        await reader.replay(topic, lambda _, record: found.append(record), since)
        return found


@pytest.fixture
async def streams(engines: Engines, topic_prefix: str) -> AsyncIterator[Streams]:
    made = await asyncio.to_thread(Streams, engines, topic_prefix)
    await made.publisher.start()
    yield made
    await made.publisher.close(3)


def raw(number: int, body: bytes = b"{}", workspace_id: str = "w1") -> PlatformRaw:
    targets = (RawTarget("t1", "p1", "e1"),)
    return PlatformRaw(
        f"event-{number:05}", workspace_id, "c1", "x", "POST_METRICS", "/2/tweets", {"ids": "e1"}, targets, 200, body,
        NOW, "SCHEDULE",
    )  # fmt: skip


async def test_events_lie_where_everybody_looks_for_them(streams: Streams) -> None:
    events = [raw(number, workspace_id=f"w{number % 7}") for number in range(200)]

    async def put(event: PlatformRaw) -> None:
        await streams.publisher.reserve()
        await streams.publisher.publish(event)

    await asyncio.gather(*(put(event) for event in events))
    await streams.publisher.announce(AccountEvent("w1", "c1", "x", "account.token_expired", NOW, "token_expired"))
    await streams.confirmed(10)
    assert streams.room.held_bytes == 0
    records = await streams.read(RAW)
    decoded = [streams.codecs[RAW].decode(record.value or b"") for record in records]
    assert sorted(decoded, key=lambda event: event.event_id) == events
    for record, event in zip(records, decoded, strict=True):
        assert record.key == event.workspace_id.encode()
        assert record.partition == partition_of(event.workspace_id, 4)
        # By the broker's clock, in ms: the event says another.
        assert record.timestamp != NOW
        assert abs(record.timestamp - SystemClock().now()) < 3_600_000
    (announced,) = await streams.read(ACCOUNT_EVENTS)
    assert announced.key == b"w1/c1"
    assert announced.partition == partition_of("w1", 4)


async def test_the_largest_event_fits_and_a_larger_one_is_told(streams: Streams) -> None:
    await streams.publisher.reserve()
    await streams.publisher.publish(raw(1, b"x" * (MESSAGE_MAX_BYTES - 64 * 1024)))
    await streams.confirmed(20)
    await streams.publisher.reserve()
    with pytest.raises(AnswerTooLarge):
        await streams.publisher.publish(raw(2, b"x" * MESSAGE_MAX_BYTES))
    streams.publisher.release()
    (record,) = await streams.read(RAW)
    assert len(streams.codecs[RAW].decode(record.value or b"").body) == MESSAGE_MAX_BYTES - 64 * 1024


async def test_reading_from_a_time(streams: Streams) -> None:
    await streams.publisher.reserve()
    await streams.publisher.publish(raw(1))
    await streams.confirmed(10)
    (record,) = await streams.read(RAW)
    assert len(await streams.read(RAW, record.timestamp)) == 1
    assert await streams.read(RAW, record.timestamp + 1) == []


async def test_following_sees_what_comes_later(streams: Streams) -> None:
    reader, caught_up = TopicReader(streams.kafka), asyncio.Event()
    seen: list[tuple[str, bytes | None]] = []

    def fold(topic: str, record: Record) -> None:
        seen.append((topic, record.key))

    await reader.partition_count([ACCOUNT_EVENTS])
    await streams.publisher.announce(AccountEvent("w1", "before", "x", "account.recovered", NOW))
    await streams.confirmed(10)
    task = asyncio.create_task(reader.follow([ACCOUNT_EVENTS], fold, caught_up))
    await asyncio.wait_for(caught_up.wait(), 10)
    assert seen == [(ACCOUNT_EVENTS, b"w1/before")]
    await streams.publisher.announce(AccountEvent("w2", "after", "x", "account.recovered", NOW))
    await wait_for(lambda: len(seen) == 2, 10, "the second message")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_topics_with_different_partitions_stop_the_poller(streams: Streams, topic_prefix: str) -> None:
    other = streams.kafka.model_copy(update={"topic_prefix": f"{topic_prefix}other.", "topic_partitions": 2})
    await asyncio.to_thread(lambda: list(ensure_topics(other, streams.registry_settings)))
    reader = TopicReader(streams.kafka)
    with pytest.raises(Stop, match="number of partitions"):
        await reader.partition_count([RAW, f"other.{RAW}"])


async def test_topics_may_come_after_the_poller(engines: Engines, topic_prefix: str) -> None:
    kafka = KafkaSettings(kafka_bootstrap=engines.kafka_bootstrap, topic_prefix=topic_prefix, topic_partitions=3)
    reader = TopicReader(kafka)
    counting = asyncio.create_task(reader.partition_count([RAW]))
    await wait_for(lambda: "don't exist" in (reader.waiting_for or ""), 10, "the reader to miss the topic")
    settings = RegistrySettings(schema_registry_url=engines.schema_registry_url)
    await asyncio.to_thread(lambda: list(ensure_topics(kafka, settings)))
    assert await asyncio.wait_for(counting, 10) == 3


async def test_nothing_is_lost_while_kafka_is_away(embedded_engines: EmbeddedEngines, topic_prefix: str) -> None:
    streams = await asyncio.to_thread(Streams, embedded_engines, topic_prefix)
    await streams.publisher.start()
    child = embedded_engines.child("kafka")
    await streams.publisher.reserve()
    await streams.publisher.publish(raw(0))
    await streams.confirmed(10)
    child.signal_group(signal.SIGSTOP)
    try:
        for number in range(1, 100):
            await streams.publisher.reserve()
            await asyncio.wait_for(streams.publisher.publish(raw(number)), 5)
        await streams.publisher.reserve()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(streams.publisher.reserve(), 0.2)
        streams.publisher.release()
    finally:
        child.signal_group(signal.SIGCONT)
    await streams.confirmed(60)
    records = await streams.read(RAW)
    assert {streams.codecs[RAW].decode(record.value or b"").event_id for record in records} == {
        f"event-{number:05}" for number in range(100)
    }
    await streams.publisher.close(3)
