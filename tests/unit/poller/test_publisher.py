"""Answers on their way to topics in memory: held while nobody takes them, sent again when they were lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from schemas.codec import Codec, codec, schema_text
from schemas.events import CatalogChannel, PlatformRaw, PollerReply, RawTarget, ReplyKind
from schemas.topic_names import ACCOUNT_EVENTS, CHANNELS, RAW, REPLIES
from services.poller.publisher import KafkaPublisher, Room
from services.runtime.settings import KafkaSettings
from tests.support.manual_clock import START
from tests.support.memory_brokers import MemoryBrokers
from tests.support.waiting import wait_until_async

SETTINGS = KafkaSettings(kafka_bootstrap="127.0.0.1:1")
TOPICS = (RAW, ACCOUNT_EVENTS, CHANNELS, REPLIES)


def _schema(topic: str, _: int) -> str:
    return schema_text(topic)


CODECS: dict[str, Codec[Any]] = {name: codec(name, schema_id=1, fetch_schema=partial(_schema, name)) for name in TOPICS}


def raw(number: int) -> PlatformRaw:
    targets = (RawTarget("t1", "p1", "e1"),)
    return PlatformRaw(
        f"e{number}", "w1", "c1", "x", "POST_METRICS", "/2/tweets", {"ids": "e1"}, targets, 200, b"{}", START,
        "SCHEDULE",
    )  # fmt: skip


class Publishing:
    """A publisher, with the topics that it writes to."""

    def __init__(self) -> None:
        self.brokers = MemoryBrokers(dict.fromkeys(TOPICS, 2))
        self.room = Room(4, 1 << 20)
        self.publisher = KafkaPublisher(SETTINGS, CODECS, 2, self.room, self.brokers)

    async def publish(self, number: int) -> None:
        await self.publisher.reserve()
        await self.publisher.publish(raw(number))

    def published(self) -> list[str]:
        return sorted(CODECS[RAW].decode(value or b"").event_id for value in self.brokers.values(RAW))


@pytest.fixture
async def publishing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Publishing]:
    monkeypatch.setattr("services.poller.publisher._RETRY_SECONDS", 0.0)
    made = Publishing()
    await made.publisher.start()
    yield made
    await made.publisher.close(1)


async def test_an_answer_that_was_lost_is_sent_again_by_a_new_producer(publishing: Publishing) -> None:
    publishing.brokers.sends_to_fail = 2
    for number in range(3):
        await publishing.publish(number)
    await publishing.room.emptied()
    assert publishing.published() == ["e0", "e1", "e2"]
    assert (publishing.room.held_events, publishing.room.held_bytes) == (0, 0)
    assert len(publishing.brokers.writers) > 1


async def test_answers_wait_for_kafka_and_room_for_them(publishing: Publishing) -> None:
    publishing.brokers.go_away()
    for number in range(4):
        await publishing.publish(number)
    fifth = asyncio.create_task(publishing.publish(4))
    await asyncio.sleep(0)
    assert not fifth.done()
    assert publishing.published() == []
    publishing.brokers.come_back()
    await fifth
    await publishing.room.emptied()
    assert publishing.published() == ["e0", "e1", "e2", "e3", "e4"]


async def test_a_write_returns_when_it_is_durable(publishing: Publishing) -> None:
    publishing.brokers.sends_to_fail = 1
    event = CatalogChannel("w1", "c1", "x", "1", "name", "active", None, 1)
    await publishing.publisher.write(CHANNELS, event)
    await publishing.publisher.erase(CHANNELS, ("w1", "c1"))
    put, gone = publishing.brokers.values(CHANNELS)
    assert CODECS[CHANNELS].decode(put or b"") == event
    assert gone is None


async def test_how_long_kafka_has_been_silent_is_known() -> None:
    now = [100.0]
    room = Room(4, 1 << 20, now=lambda: now[0])
    await room.reserve()
    now[0] += 50
    assert room.silent_seconds == 0.0, "a platform that is asked is not Kafka's silence"
    room.fill(10)
    await room.reserve()
    now[0] += 5
    room.fill(10)
    assert room.silent_seconds == 5.0
    room.release(10)
    now[0] += 2
    assert room.silent_seconds == 2.0, "since the last confirmation"
    room.release(10)
    now[0] += 60
    assert room.silent_seconds == 0.0
    await room.reserve()
    room.release()
    assert room.silent_seconds == 0.0


async def test_a_reply_is_sent_once_or_not_at_all(publishing: Publishing) -> None:
    publishing.brokers.sends_to_fail = 1
    for _ in range(2):
        await publishing.publisher.reply("q1", PollerReply("r1", "w1", ReplyKind.DONE))
    assert len(publishing.brokers.values(REPLIES)) == 1


async def test_a_stop_waits_for_what_is_held_and_no_longer(publishing: Publishing) -> None:
    publishing.brokers.go_away()
    await publishing.publish(0)
    closing = asyncio.create_task(publishing.publisher.close(30))
    await asyncio.sleep(0)
    assert not closing.done()
    publishing.brokers.come_back()
    await closing
    assert publishing.published() == ["e0"]


async def test_a_stop_gives_up_what_nobody_takes(publishing: Publishing) -> None:
    publishing.brokers.go_away()
    await publishing.publish(0)
    await publishing.publisher.close(0.01)
    assert publishing.room.held_events == 1

    async def is_stopped() -> bool:
        return not publishing.publisher._producer.is_connected

    await wait_until_async(is_stopped, 10, "the producer to be gone")
