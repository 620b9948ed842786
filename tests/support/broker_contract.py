"""What followers and producers do on any brokers: one suite, run on topics in memory and on real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import pytest

from services.runtime.brokers import Brokers, BrokersUnavailable, MessageTooLarge, Place, Record, Sent
from services.runtime.ends import Ends
from services.runtime.fetching import unpacked
from services.runtime.following import (
    Batch,
    Follower,
    Take,
    at_committed,
    at_end,
    at_instants,
    at_positions,
)
from services.runtime.producing import Producer
from tests.support.waiting import PATIENCE, wait_until_async

TOPIC = "catalog.posts"
OTHER = "rollups.posts"
SECONDS = 30.0


class Transaction(Protocol):
    """One that is open."""

    async def end(self, *, is_committed: bool) -> None:
        """Commit or abort it."""


class World(Protocol):
    """Brokers with `TOPIC` and `OTHER`, of two partitions each, and whoever else writes there."""

    brokers: Brokers

    async def put(self, topic: str, partition: int, *values: str | None) -> None:
        """Write messages without a key."""

    async def open(self, topic: str, partition: int, *values: str) -> Transaction:
        """Write messages of a transaction that stays open."""

    async def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Let retention take what lies before an offset."""

    async def make_anew(self, topic: str) -> None:
        """Delete a topic and make one of the same name."""

    def outage(self) -> AbstractAsyncContextManager[None]:
        """While the block runs no broker answers."""


class Taken:
    """What a follower gave, by partition."""

    def __init__(self) -> None:
        self.values: dict[Place, list[str | None]] = {}
        self.lost: list[frozenset[Place]] = []

    async def __call__(self, batch: Batch) -> None:
        if batch.lost:
            self.lost.append(batch.lost)
        for record in batch.records:
            value = None if record.value is None else record.value.decode()
            self.values.setdefault(record.place, []).append(value)

    def all(self) -> list[str | None]:
        return [value for _, values in sorted(self.values.items()) for value in values]


def follower(world: World, take: Take, *, topics: Iterable[str] = (TOPIC,), **options: Any) -> Follower:
    return Follower(world.brokers, topics, range(2), take, wait_seconds=0.1, **options)


async def within(seconds: float, waiting: Awaitable[Any]) -> None:
    await asyncio.wait_for(waiting, seconds * PATIENCE)


async def until(condition: Callable[[], bool], what: str) -> None:
    async def holds() -> bool:
        return condition()

    await wait_until_async(holds, SECONDS, what)


class BrokersContract:
    """Subclasses bring a fixture `world`."""

    async def test_topics_are_read_to_their_end_and_then_for_good(self, world: World) -> None:
        await world.put(TOPIC, 0, "a", "b")
        await world.put(OTHER, 1, "c", None)
        taken = Taken()
        reading = follower(world, taken, topics=(TOPIC, OTHER))
        assert not reading.is_connected
        reading.start()
        await within(SECONDS, reading.caught_up())
        assert taken.values == {Place(TOPIC, 0): ["a", "b"], Place(OTHER, 1): ["c", None]}
        assert reading.is_current
        assert reading.is_connected
        assert reading.lag() == (0, 0.0)
        assert reading.read_count == 4
        await world.put(TOPIC, 1, "d")
        await within(SECONDS, reading.reached({Place(TOPIC, 1): 1}))
        assert taken.values[Place(TOPIC, 1)] == ["d"]
        assert reading.positions == {
            Place(TOPIC, 0): 2,
            Place(TOPIC, 1): 1,
            Place(OTHER, 0): 0,
            Place(OTHER, 1): 2,
        }
        await reading.stop()
        assert not reading.is_current
        assert reading.is_caught_up

    async def test_a_read_may_stop_at_the_end(self, world: World) -> None:
        await world.put(TOPIC, 0, *map(str, range(100)))
        taken = Taken()
        await within(SECONDS, follower(world, taken, most=7).run(until_caught_up=True))
        assert taken.all() == [str(number) for number in range(100)]
        empty = Taken()
        await within(SECONDS, follower(world, empty, topics=(OTHER,)).run(until_caught_up=True))
        assert empty.values == {}

    async def test_where_a_read_begins(self, world: World) -> None:
        await world.put(TOPIC, 0, "a", "b", "c")
        await world.put(TOPIC, 1, "d")
        at_two = Taken()
        await within(
            SECONDS, follower(world, at_two, begin=at_positions({Place(TOPIC, 0): 2})).run(until_caught_up=True)
        )
        assert at_two.all() == ["c", "d"]
        assert at_two.lost == []
        later = Taken()
        reading = follower(world, later, begin=at_end)
        reading.start()
        await within(SECONDS, reading.caught_up())
        await world.put(TOPIC, 0, "e")
        await within(SECONDS, reading.reached({Place(TOPIC, 0): 4}))
        assert later.all() == ["e"]
        await reading.stop()

    async def test_a_read_begins_at_an_instant(self, world: World) -> None:
        await world.put(TOPIC, 0, "a")
        await world.put(TOPIC, 0, "b")
        reading = follower(world, Taken())
        (batch,) = [batch for batch in [await reading.next(), await _second(reading)] if batch.records]
        first, second = batch.records
        await reading.close()
        from_first, after = Taken(), Taken()
        await within(
            SECONDS, follower(world, from_first, begin=at_instants(lambda _: first.timestamp)).run(until_caught_up=True)
        )
        assert from_first.all() == ["a", "b"]
        await within(
            SECONDS,
            follower(world, after, begin=at_instants(lambda _: second.timestamp + 1)).run(until_caught_up=True),
        )
        assert after.all() == []

    async def test_a_group_names_a_position_without_any_member(self, world: World) -> None:
        await world.put(TOPIC, 0, "a", "b", "c")

        def reading(take: Take) -> Follower:
            return follower(world, take, begin=at_committed, group="readers")

        first, second = Taken(), Taken()
        with pytest.raises(BrokersUnavailable):
            await reading(first).commit({Place(TOPIC, 0): 1})
        before = reading(first)
        before.start()
        await within(SECONDS, before.caught_up())
        await before.commit({Place(TOPIC, 0): 2})
        await before.stop()
        assert first.all() == ["a", "b", "c"]
        await within(SECONDS, reading(second).run(until_caught_up=True))
        assert second.all() == ["c"]

    async def test_transactions(self, world: World) -> None:
        await world.put(TOPIC, 0, "before")
        counted = await world.open(TOPIC, 0, "x", "y")
        await counted.end(is_committed=True)
        dropped = await world.open(TOPIC, 0, "z")
        await dropped.end(is_committed=False)
        committed, everything = Taken(), Taken()
        # The last offset is the end of a transaction: there is no message behind which the topic ends.
        reading = follower(world, committed)
        await within(SECONDS, reading.run(until_caught_up=True))
        assert committed.all() == ["before", "x", "y"]
        assert reading.position(TOPIC, 0) == 6
        await within(SECONDS, follower(world, everything, is_committed=False).run(until_caught_up=True))
        assert everything.all() == ["before", "x", "y", "z"]

    async def test_an_open_transaction_holds_only_readers_of_what_is_committed(self, world: World) -> None:
        await world.put(TOPIC, 0, "before")
        open_one = await world.open(TOPIC, 0, "x")
        await world.put(TOPIC, 0, "behind")
        committed, everything = Taken(), Taken()
        reading = follower(world, committed)
        reading.start()
        await within(SECONDS, reading.caught_up())
        assert committed.all() == ["before"]
        await within(SECONDS, follower(world, everything, is_committed=False).run(until_caught_up=True))
        assert everything.all() == ["before", "x", "behind"]
        await until(lambda: reading.lag().messages == 2, "the lag to show what can't be read yet")
        await open_one.end(is_committed=True)
        await within(SECONDS, reading.reached({Place(TOPIC, 0): 4}))
        assert committed.all() == ["before", "x", "behind"]
        await until(lambda: reading.lag().messages == 0, "the lag to be gone")
        await reading.stop()

    async def test_the_lag_is_what_is_written_and_not_taken(self, world: World) -> None:
        await world.put(TOPIC, 0, "a", "b")
        await world.put(TOPIC, 1, "c")
        may_take = asyncio.Event()

        async def take(batch: Batch) -> None:
            if batch.records:
                await may_take.wait()

        reading = follower(world, take, is_committed=False)
        reading.start()
        await until(lambda: reading.lag().messages == 3, "a lag of three messages")
        assert reading.left == {Place(TOPIC, 0): 2, Place(TOPIC, 1): 1}
        assert reading.lag().seconds > 0
        assert reading.silent_seconds > 0
        may_take.set()
        await within(SECONDS, reading.caught_up())
        assert reading.lag() == (0, 0.0)
        assert reading.left == {}
        await reading.stop()

    async def test_what_is_written_is_waited_for(self, world: World) -> None:
        taken = Taken()
        reading = follower(world, taken)
        ends = Ends(world.brokers)
        reading.start()
        for number in range(5):
            await world.put(TOPIC, number % 2, str(number))
            await within(SECONDS, reading.read_written(ends))
            assert sorted(map(str, taken.all())) == [str(told) for told in range(number + 1)]
        await ends.close()
        await reading.stop()

    async def test_a_batch_that_can_not_be_taken_is_given_again(self, world: World) -> None:
        await world.put(TOPIC, 0, "a", "b", "c")
        tries: list[list[str]] = []

        async def take(batch: Batch) -> None:
            if batch.records:
                tries.append([(record.value or b"").decode() for record in batch.records])
            if len(tries) == 1:
                raise LookupError("away")
            while batch.records:
                if len(tries) == 2 and len(batch.records) == 1:
                    raise LookupError("away again")
                batch.records.popleft()

        reading = follower(world, take, retry_on=(LookupError,), pause=_at_once)
        await within(SECONDS, reading.run(until_caught_up=True))
        # What was taken out by itself is not given again.
        assert tries == [["a", "b", "c"], ["a", "b", "c"], ["c"]]

    async def test_a_mistake_ends_a_run_and_nothing_in_the_background(self, world: World) -> None:
        await world.put(TOPIC, 0, "a")
        taken = Taken()
        failures = 0

        async def take(batch: Batch) -> None:
            nonlocal failures
            if batch.records and failures < 2:
                failures += 1
                raise ZeroDivisionError
            await taken(batch)

        with pytest.raises(ZeroDivisionError):
            await within(SECONDS, follower(world, take).run())
        reading = follower(world, take, pause=_at_once)
        reading.start()
        await within(SECONDS, reading.caught_up())
        assert taken.all() == ["a"]
        await reading.stop()

    async def test_what_was_not_taken_is_given_again_after_a_restart(self, world: World) -> None:
        await world.put(TOPIC, 0, "a", "b")
        reading = follower(world, Taken())
        batch = await reading.next()
        while not batch.records:
            reading.took()
            batch = await reading.next()
        assert await reading.next() is batch
        await reading.close()
        again = await reading.next()
        while not again.records:
            reading.took()
            again = await reading.next()
        assert [record.value for record in again.records] == [b"a", b"b"]
        await reading.close()

    async def test_a_position_that_retention_took(self, world: World) -> None:
        await world.put(TOPIC, 0, "a", "b", "c", "d")
        await world.delete_before(TOPIC, 0, 2)
        taken = Taken()
        held = {Place(TOPIC, 0): 1, Place(TOPIC, 1): 0}
        await within(SECONDS, follower(world, taken, begin=at_positions(held)).run(until_caught_up=True))
        assert taken.lost == [frozenset({Place(TOPIC, 0)})]
        assert taken.all() == ["c", "d"]

    async def test_a_topic_that_is_made_anew_is_read_from_its_beginning(self, world: World) -> None:
        await world.put(TOPIC, 0, "a", "b", "c")
        taken = Taken()
        reading = follower(world, taken, pause=_soon)
        reading.start()
        await within(SECONDS, reading.caught_up())
        await world.make_anew(TOPIC)
        await world.put(TOPIC, 0, "x")
        await until(lambda: taken.values[Place(TOPIC, 0)][3:] == ["x"], "the message of the new topic")
        assert taken.lost == [frozenset({Place(TOPIC, 0)})]
        assert reading.position(TOPIC, 0) == 1
        await reading.stop()

    async def test_an_outage_is_noticed_and_outlived(self, world: World) -> None:
        await world.put(TOPIC, 0, "a")
        taken = Taken()
        told: list[bool] = []
        reading = follower(world, taken, probe_seconds=0.5, on_current=told.append, pause=_soon)
        reading.start()
        await within(SECONDS, reading.caught_up())
        async with world.outage():
            await until(lambda: not reading.is_current, "the outage to be noticed")
            assert reading.silent_seconds > 0
            assert reading.lag().seconds >= reading.silent_seconds / 2
        await world.put(TOPIC, 0, "b")
        await until(lambda: taken.all() == ["a", "b"], "the message after the outage")
        await until(lambda: reading.is_current, "the follower to be sure again")
        assert told[:2] == [True, False]
        assert told[-1]
        assert taken.lost == []
        await reading.stop()
        assert not told[-1]

    async def test_topics_are_counted(self, world: World) -> None:
        assert await world.brokers.partition_counts([TOPIC, "accounts.events"]) == {TOPIC: 2, "accounts.events": 0}

    async def test_a_producer_says_where_its_messages_lie(self, world: World) -> None:
        producer = Producer(world.brokers)
        with pytest.raises(BrokersUnavailable):
            await producer.send(TOPIC, 0, b"k", b"a")
        producer.start()
        await within(SECONDS, producer.connected())
        sent = [await producer.send(TOPIC, 1, b"k", value) for value in (b"a", None)]
        assert await asyncio.gather(*sent) == [Sent(1, 0), Sent(1, 1)]
        with pytest.raises(MessageTooLarge):
            await producer.send(TOPIC, 0, None, bytes(9 * 1024 * 1024))
        taken = Taken()
        await within(SECONDS, follower(world, taken).run(until_caught_up=True))
        assert taken.all() == ["a", None]
        await producer.close(SECONDS)
        assert not producer.is_connected

    async def test_headers_of_a_message_are_kept(self, world: World) -> None:
        producer = Producer(world.brokers)
        producer.start()
        await within(SECONDS, producer.connected())
        headers = (("traceparent", b"00-ab"), ("other", b""))
        await (await producer.send(TOPIC, 0, b"k", b"a", headers))
        await (await producer.send(TOPIC, 0, b"k", b"b"))
        await producer.close(SECONDS)
        reader = world.brokers.reader(is_committed=False)
        await reader.start()
        reader.stand({Place(TOPIC, 0): 0})
        records: list[Record] = []
        async with asyncio.timeout(SECONDS):
            while len(records) < 2:
                records += await reader.read(0.1, 10)
        await reader.stop()
        assert [tuple(record.headers) for record in records] == [headers, ()]

    async def test_whole_batches_hold_what_a_reader_of_messages_reads(self, world: World) -> None:
        await world.put(TOPIC, 0, "a", None, "b")
        counted = await world.open(TOPIC, 0, "c", "d")
        await counted.end(is_committed=True)
        dropped = await world.open(TOPIC, 0, "e")
        await dropped.end(is_committed=False)
        await world.put(TOPIC, 1, "f")
        found: dict[bool, list[Record]] = {}
        for in_batches in (False, True):
            records: list[Record] = []
            found[in_batches] = records

            async def take(batch: Batch, into: list[Record] = records) -> None:
                into.extend(batch.records)

            reading = follower(world, take, in_batches=in_batches)
            await within(SECONDS, reading.run(until_caught_up=True))
            # Past the end of the transaction that does not count.
            assert reading.positions == {Place(TOPIC, 0): 8, Place(TOPIC, 1): 1}
        taken_apart = [(batch, record) for batch in found[True] for record in unpacked(batch.value or b"")]
        assert all(batch.key is None and batch.offset >= record.offset for batch, record in taken_apart)
        assert sorted(
            (batch.partition, record.offset, record.timestamp, record.key, record.value)
            for batch, record in taken_apart
        ) == sorted(record[1:6] for record in found[False])

    async def test_a_producer_is_replaced_once_and_goes_on(self, world: World) -> None:
        producer = Producer(world.brokers, handover_seconds=5)
        producer.start()
        generation = await producer.connected()
        first = await producer.send(TOPIC, 0, None, b"a")
        producer.replace(generation)
        producer.replace(generation)
        assert not producer.is_connected
        await within(SECONDS, producer.connected())
        assert await producer.connected() == generation + 1
        producer.replace(generation)
        assert producer.is_connected
        second = await producer.send(TOPIC, 0, None, b"b")
        assert await asyncio.gather(first, second) == [Sent(0, 0), Sent(0, 1)]
        await producer.close(SECONDS)


async def _second(reading: Follower) -> Batch:
    reading.took()
    batch = await reading.next()
    while not batch.records:
        reading.took()
        batch = await reading.next()
    return batch


async def _at_once(_: float) -> None:
    await asyncio.sleep(0)


async def _soon(seconds: float) -> None:
    await asyncio.sleep(seconds / 10)
