"""Followers and producers on topics in memory: the contract of all brokers, and what only a fake can be made to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.runtime.brokers import BrokersUnavailable, Place
from services.runtime.ends import Ends
from services.runtime.following import Follower, at_committed
from services.runtime.keeping import KEEP_SECONDS
from services.runtime.producing import Producer
from tests.support.broker_contract import OTHER, TOPIC, BrokersContract, Taken
from tests.support.manual_clock import START, ManualClock
from tests.support.memory_brokers import MemoryBrokers, MemoryReader, MemoryTransaction


class MemoryWorld:
    """See `broker_contract.World`."""

    def __init__(self) -> None:
        self.brokers = MemoryBrokers({TOPIC: 2, OTHER: 2})

    async def put(self, topic: str, partition: int, *values: str | None) -> None:
        for value in values:
            self.brokers.put(topic, partition, None, None if value is None else value.encode())

    async def open(self, topic: str, partition: int, *values: str) -> MemoryOpen:
        transaction = self.brokers.transaction()
        for value in values:
            self.brokers.put(topic, partition, None, value.encode(), transaction=transaction)
        return MemoryOpen(transaction)

    async def delete_before(self, topic: str, partition: int, offset: int) -> None:
        self.brokers.delete_before(topic, partition, offset)

    async def make_anew(self, topic: str) -> None:
        self.brokers.make(topic, 2)

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self.brokers.go_away()
        yield
        self.brokers.come_back()


class MemoryOpen:
    """See `broker_contract.Transaction`."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction

    async def end(self, *, is_committed: bool) -> None:
        (self._transaction.commit if is_committed else self._transaction.abort)()


class TestInMemory(BrokersContract):
    @pytest.fixture
    def world(self) -> MemoryWorld:
        return MemoryWorld()


async def test_waits_between_attempts_grow_to_a_second() -> None:
    brokers = MemoryBrokers({TOPIC: 1})
    brokers.go_away()
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 5:
            brokers.come_back()

    reading = Follower(brokers, [TOPIC], [0], Taken(), pause=pause)
    await reading.run(until_caught_up=True)
    assert waits == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert all(reader.is_stopped for reader in brokers.readers)


async def test_what_compaction_took_is_passed_over() -> None:
    brokers = MemoryBrokers({TOPIC: 1})
    for value in (b"a", b"b", b"c"):
        brokers.put(TOPIC, 0, b"k", value)
    for offset in (0, 2):
        brokers.compact(TOPIC, 0, offset)
    taken = Taken()
    reading = Follower(brokers, [TOPIC], [0], taken)
    await reading.run(until_caught_up=True)
    assert taken.all() == ["b"]
    assert reading.positions == {Place(TOPIC, 0): 3}


async def test_a_group_position_of_another_topic_is_lost() -> None:
    brokers = MemoryBrokers({TOPIC: 1})
    brokers.groups["g", Place(TOPIC, 0)] = 7
    brokers.put(TOPIC, 0, None, b"a")
    taken = Taken()
    await Follower(brokers, [TOPIC], [0], taken, begin=at_committed, group="g").run(until_caught_up=True)
    assert taken.lost == [frozenset({Place(TOPIC, 0)})]
    assert taken.all() == ["a"]


async def test_a_first_read_is_as_far_behind_as_what_it_reads() -> None:
    brokers = MemoryBrokers({TOPIC: 1})
    for number in range(4):
        brokers.put(TOPIC, 0, None, b"x", timestamp=START - 60_000 + number)
    clock = ManualClock()
    reading = Follower(brokers, [TOPIC], [0], most=2, clock=clock, wait_seconds=0.01)
    await reading.next()
    reading.took()
    await reading.next()
    reading.took()
    assert reading.lag().messages == 2
    assert reading.lag().seconds == pytest.approx(60, abs=1)
    await reading.next()
    reading.took()
    assert reading.lag() == (0, 0.0)
    # What comes after a quiet hour has not been waiting for an hour.
    clock.at += 3_600_000
    brokers.put(TOPIC, 0, None, b"y", timestamp=clock.at)
    await reading.next()
    assert reading.lag().messages == 1
    assert reading.lag().seconds < 30
    await reading.close()


async def test_nothing_read_is_lost_when_the_wait_for_it_is_cancelled() -> None:
    brokers = MemoryBrokers({TOPIC: 1})
    taken: list[bytes | None] = []
    reading = Follower(brokers, [TOPIC], [0], wait_seconds=60)
    await reading.next()
    reading.took()
    waiting = asyncio.create_task(reading.next())
    await asyncio.sleep(0)
    brokers.put(TOPIC, 0, None, b"a")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    while not taken:
        taken += [record.value for record in (await reading.next()).records]
        reading.took()
    assert taken == [b"a"]
    await reading.close()


async def test_the_wait_for_what_is_written_outlives_an_outage_and_a_topic_made_anew() -> None:
    brokers = MemoryBrokers({TOPIC: 1})
    taken = Taken()
    reading = Follower(brokers, [TOPIC], [0], taken, wait_seconds=0.1, pause=_at_once)
    ends = Ends(brokers, pause=_at_once)
    reading.start()
    await reading.caught_up()
    brokers.slow.add(TOPIC)
    for _ in range(3):
        brokers.put(TOPIC, 0, None, b"a")
    waiting = asyncio.create_task(reading.read_written(ends))
    brokers.go_away()
    await asyncio.sleep(0)
    brokers.make(TOPIC, 1)
    brokers.put(TOPIC, 0, None, b"b")
    brokers.slow.clear()
    brokers.come_back()
    async with asyncio.timeout(20):
        await waiting
    assert taken.all() == ["b"]
    await ends.close()
    await reading.stop()


async def _at_once(_: float) -> None:
    await asyncio.sleep(0)


async def test_a_producer_connects_when_there_is_somebody() -> None:
    brokers = MemoryBrokers({TOPIC: 1})
    brokers.go_away()
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)
        brokers.come_back()

    producer = Producer(brokers, pause=pause)
    producer.start()
    assert await producer.connected() == 1
    assert waits == [1.0]
    await producer.close(1)


async def test_a_message_that_was_lost_is_told() -> None:
    brokers = MemoryBrokers({TOPIC: 1})
    brokers.sends_to_fail = 1
    producer = Producer(brokers)
    producer.start()
    await producer.connected()
    with pytest.raises(BrokersUnavailable):
        await (await producer.send(TOPIC, 0, None, b"a"))
    await producer.close(1)
    assert brokers.values(TOPIC) == []


async def test_a_close_gives_up_what_nobody_takes() -> None:
    brokers = MemoryBrokers({TOPIC: 1})
    producer = Producer(brokers)
    producer.start()
    await producer.connected()
    brokers.go_away()
    sent = await producer.send(TOPIC, 0, None, b"a")
    await producer.close(0.01)
    assert not sent.done()
    assert brokers.values(TOPIC) == []


async def test_positions_that_stand_still_are_committed_again_before_kafka_forgets_them() -> None:
    brokers, clock = MemoryBrokers({TOPIC: 2}), [0.0]
    for partition in range(2):
        brokers.put(TOPIC, partition, None, b"a")
    reading = Follower(
        brokers, [TOPIC], range(2), Taken(), begin=at_committed, group="g", wait_seconds=0.01, now=lambda: clock[0]
    )
    await reading.next()
    reading.took()
    await reading.commit({Place(TOPIC, 0): 1})
    held = dict(brokers.groups)
    brokers.groups.clear()

    async def idle() -> dict[tuple[str, Place], int]:
        await reading.next()
        reading.took()
        return dict(brokers.groups)

    await reading.close()  # also after another connection
    assert await idle() == {}
    assert await idle() == {}
    clock[0] = KEEP_SECONDS
    assert await idle() == held
    brokers.groups.clear()
    clock[0] = 2 * KEEP_SECONDS - 1
    assert await idle() == {}
    clock[0] += 1
    assert await idle() == held
    await reading.close()


async def test_positions_that_can_not_be_committed_again_are_tried_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers, clock = MemoryBrokers({TOPIC: 1}), [0.0]
    taken = Taken()
    reading = Follower(brokers, [TOPIC], [0], taken, group="g", wait_seconds=0.01, now=lambda: clock[0])
    await reading.next()
    reading.took()
    await reading.commit({Place(TOPIC, 0): 0})
    brokers.groups.clear()
    clock[0] = KEEP_SECONDS
    with monkeypatch.context() as patched:

        async def refused(*_: object) -> None:
            raise BrokersUnavailable("no coordinator")

        patched.setattr(MemoryReader, "commit", refused)
        await reading.next()
        reading.took()
    assert reading.is_connected
    clock[0] += 60
    await reading.next()
    assert brokers.groups == {("g", Place(TOPIC, 0)): 0}
    await reading.close()
