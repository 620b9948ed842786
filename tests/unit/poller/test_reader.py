"""What the poller reads, from topics in memory."""

from __future__ import annotations

import asyncio

import pytest

from schemas.topic_names import CHANNELS, POSTS, RAW
from services.poller.errors import Stop
from services.poller.reader import TopicReader
from services.runtime.brokers import Record
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import KafkaSettings
from tests.support.manual_clock import START
from tests.support.memory_brokers import MemoryBrokers
from tests.support.waiting import wait_until_async

SETTINGS = KafkaSettings(kafka_bootstrap="127.0.0.1:1", topic_prefix="p.")


class Folded:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.values: list[tuple[str, int, bytes | None]] = []

    def __call__(self, topic: str, record: Record) -> None:
        self.values.append((topic, record.partition, record.value))


async def read(brokers: MemoryBrokers, topics: list[str]) -> TopicReader:
    reader = TopicReader(SETTINGS, brokers)
    await reader.partition_count(topics)
    return reader


async def until_waiting_for(reader: TopicReader, what: str) -> None:
    async def does() -> bool:
        return reader.waiting_for == what

    await wait_until_async(does, 10, lambda: f"{what!r}; it is {reader.waiting_for!r}")


async def test_a_replay_is_of_some_partitions_and_from_a_time_of_each() -> None:
    brokers = MemoryBrokers({RAW: 3})
    for number in range(3):
        for step in range(3):
            brokers.put(RAW, number, b"w", f"{number}{step}".encode(), timestamp=START + step)
    reader = await read(brokers, [RAW])
    everything, some, none = Folded(), Folded(), Folded()
    assert await reader.replay(RAW, everything) == 9
    assert await reader.replay(RAW, some, {0: START + 1, 2: START + 9}, [0, 2]) == 2
    assert [value for _, _, value in some.values] == [b"01", b"02"]
    assert await reader.replay(RAW, none, START + 9) == 0
    assert reader.waiting_for is None


async def test_following_is_reading_to_the_end_and_on() -> None:
    brokers = MemoryBrokers({CHANNELS: 2, POSTS: 2})
    brokers.put(CHANNELS, 1, b"w/c", b"a")
    reader, folded, caught_up = await read(brokers, [CHANNELS, POSTS]), Folded(), asyncio.Event()
    following = asyncio.create_task(reader.follow([CHANNELS, POSTS], folded, caught_up))
    await caught_up.wait()
    assert folded.values == [(CHANNELS, 1, b"a")]
    assert reader.waiting_for is None
    brokers.put(POSTS, 0, b"w/p", None)

    async def is_folded() -> bool:
        return folded.values[1:] == [(POSTS, 0, None)]

    await wait_until_async(is_folded, 10, "the second message")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert all(reader.is_stopped for reader in brokers.readers)


async def test_a_tail_misses_nothing_once_it_stands() -> None:
    brokers = MemoryBrokers({RAW: 1})
    brokers.put(RAW, 0, b"w", b"before")
    reader, folded, standing = await read(brokers, [RAW]), Folded(), asyncio.Event()
    tail = asyncio.create_task(reader.tail([RAW], folded, None, standing))
    await standing.wait()
    brokers.put(RAW, 0, b"w", b"after")

    async def is_folded() -> bool:
        return bool(folded.values)

    await wait_until_async(is_folded, 10, "the message")
    assert folded.values == [(RAW, 0, b"after")]
    tail.cancel()
    await asyncio.gather(tail, return_exceptions=True)


async def test_a_message_waits_for_its_schema_and_none_is_folded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.runtime.following.RETRY_SECONDS", 0.0)
    brokers = MemoryBrokers({RAW: 1})
    for value in (b"a", b"b", b"c"):
        brokers.put(RAW, 0, b"w", value)
    reader, folded = await read(brokers, [RAW]), Folded()
    tries = 0

    def fold(topic: str, record: Record) -> None:
        nonlocal tries
        if record.value == b"b" and tries < 3:
            tries += 1
            raise RegistryUnavailable("away")
        folded(topic, record)

    assert await reader.replay(RAW, fold) == 3
    assert [value for _, _, value in folded.values] == [b"a", b"b", b"c"]


async def test_a_mistake_of_a_fold_is_told() -> None:
    brokers = MemoryBrokers({RAW: 1})
    brokers.put(RAW, 0, b"w", b"a")
    reader = await read(brokers, [RAW])

    def fold(topic: str, record: Record) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await reader.replay(RAW, fold)
    assert reader.waiting_for is None


async def test_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.poller.reader.RETRY_SECONDS", 0.01)
    brokers = MemoryBrokers({RAW: 2})
    brokers.go_away()
    reader = TopicReader(SETTINGS, brokers)
    assert reader.waiting_for == "Kafka"
    counting = asyncio.create_task(reader.partition_count([RAW, CHANNELS]))
    await until_waiting_for(reader, "Kafka at 127.0.0.1:1")
    brokers.come_back()
    await until_waiting_for(reader, "topics that don't exist yet: p.catalog.channels")
    brokers.make(CHANNELS, 2)
    assert await counting == 2
    assert reader.waiting_for is None
    brokers.put(RAW, 1, b"w", b"a")
    seen: list[str | None] = []
    await reader.replay(RAW, lambda *_: seen.append(reader.waiting_for))
    assert seen == ["the end of 1 partition, 1 message read"]


async def test_topics_that_differ_in_their_partitions_stop_the_poller() -> None:
    reader = TopicReader(SETTINGS, MemoryBrokers({RAW: 2, CHANNELS: 3}))
    with pytest.raises(Stop, match=r"p\.catalog\.channels: 3, p\.platform\.raw: 2"):
        await reader.partition_count([RAW, CHANNELS])
