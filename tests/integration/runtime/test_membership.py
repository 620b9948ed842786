"""The pollers' consumer group on a real Kafka: who gains what, what is given back, and who is told that it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from confluent_kafka import Consumer, TopicPartition

from services.runtime.clock import ticks
from services.runtime.membership import Membership
from services.runtime.settings import KafkaSettings, RegistrySettings
from services.runtime.topics import ensure_topics
from tests.support.engines import Engines
from tests.support.waiting import wait_until_async

PARTITIONS = 4
SESSION_SECONDS = 6.0
TOPIC = "catalog.channels"


class Member:
    """Notes what it is told; gives partitions back at once unless it is held up."""

    def __init__(self, kafka: KafkaSettings, name: str = "") -> None:
        self.owned: set[int] = set()
        self.not_before: dict[int, int] = {}
        self.joined = 0
        self.proofs: list[int] = []
        self.revoked_in_all: list[int] = []
        self.lost_in_all: list[int] = []
        self.may_give_back = asyncio.Event()
        self.may_give_back.set()
        self.membership = Membership(
            kafka, kafka.topic_prefix + "pollers", kafka.topic(TOPIC), self, instance_id=name,
            session_seconds=SESSION_SECONDS, drain_seconds=30.0, position=lambda number: 100 + number,
        )  # fmt: skip

    async def gained(self, partitions: Sequence[int], not_before: int) -> None:
        assert not self.owned & set(partitions)
        self.joined += 1
        self.owned.update(partitions)
        self.not_before.update(dict.fromkeys(partitions, not_before))

    async def revoked(self, partitions: Sequence[int]) -> None:
        assert self.owned >= set(partitions)
        await self.may_give_back.wait()
        self.owned.difference_update(partitions)
        self.revoked_in_all += partitions

    async def lost(self, partitions: Sequence[int]) -> None:
        self.owned.difference_update(partitions)
        self.lost_in_all += partitions

    def proven(self, sent_at: int) -> None:
        self.proofs.append(sent_at)


@asynccontextmanager
async def taking_part(member: Member) -> AsyncIterator[Member]:
    running = asyncio.create_task(member.membership.run())
    try:
        yield member
    finally:
        await member.membership.stop()
        await asyncio.wait_for(running, 10)


@pytest.fixture
def kafka(engines: Engines, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(
        kafka_bootstrap=engines.kafka_bootstrap, topic_prefix=topic_prefix, topic_partitions=PARTITIONS
    )
    list(ensure_topics(settings, RegistrySettings(schema_registry_url=engines.schema_registry_url)))
    return settings


async def until(condition: Callable[[], bool], message: str | Callable[[], str], seconds: float = 20) -> None:
    async def holds() -> bool:
        return condition()

    await wait_until_async(holds, seconds, message)


def committed(kafka: KafkaSettings) -> list[TopicPartition]:
    consumer = Consumer({"bootstrap.servers": kafka.kafka_bootstrap, "group.id": kafka.topic_prefix + "pollers"})
    try:
        return consumer.committed([TopicPartition(kafka.topic(TOPIC), number) for number in range(PARTITIONS)])
    finally:
        consumer.close()


async def test_partitions_are_shared_and_only_those_that_move_are_given_back(kafka: KafkaSettings) -> None:
    everything = set(range(PARTITIONS))
    async with taking_part(Member(kafka)) as first:
        await until(lambda: first.owned == everything, "the first owns everything")
        await until(lambda: len(first.proofs) > 1, "its place is proven")
        first.may_give_back.clear()
        async with taking_part(Member(kafka)) as second:
            proofs = len(first.proofs)
            await until(lambda: second.joined > 0, "the second is in the group, idle for the time being")
            # What is being given back is nobody else's yet, and the rest keeps its lease meanwhile.
            await until(lambda: len(first.proofs) > proofs + 2, "proofs go on while calls are finished")
            assert second.owned == set()
            first.may_give_back.set()
            await until(lambda: len(second.owned) == 2, "the second has its share")
            assert first.owned == everything - second.owned
            assert sorted(first.revoked_in_all) == sorted(second.owned)
        await until(lambda: first.owned == everything, "who leaves gives its share back at once")
        assert not first.lost_in_all
        assert set(first.not_before.values()) == {0}
        await until(
            lambda: (
                {found.partition: (found.offset, bool(found.metadata)) for found in committed(kafka)}
                == {number: (100 + number, True) for number in everything}
            ),
            "its place is proven for all of them",
        )
    assert not any(found.metadata for found in committed(kafka))


@pytest.mark.long
async def test_more_members_than_partitions_are_idle_and_know_it(kafka: KafkaSettings) -> None:
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(taking_part(Member(kafka))) for _ in range(PARTITIONS + 1)]
        await until(
            lambda: sorted(len(one.owned) for one in members) == [0, 1, 1, 1, 1] and all(one.joined for one in members),
            lambda: f"shares of one each: {[one.owned for one in members]}",
        )
        assert set().union(*(one.owned for one in members)) == set(range(PARTITIONS))


async def test_a_static_name_keeps_its_partitions_over_a_restart(kafka: KafkaSettings) -> None:
    async with taking_part(Member(kafka, "a")) as first, taking_part(Member(kafka, "b")) as other:
        await until(lambda: len(first.owned) == len(other.owned) == 2, "two each")
        mine, theirs = set(first.owned), set(other.owned)
        # Whoever came first had everything, and gave half of it back.
        given_back = list(other.revoked_in_all)
        await first.membership.stop()
        async with taking_part(Member(kafka, "a")) as again:
            await until(lambda: again.owned == mine, "the old place")
            # It had given everything back, so there is nobody to wait for.
            assert set(again.not_before.values()) == {0}
            assert other.owned == theirs
            assert other.revoked_in_all == given_back


@pytest.mark.long
async def test_a_name_taken_twice_costs_the_older_its_name_and_not_its_work(kafka: KafkaSettings) -> None:
    everything = set(range(PARTITIONS))
    async with taking_part(Member(kafka, "same")) as first:
        await until(lambda: first.owned == everything and bool(first.proofs), "the first owns everything")
        before = ticks()
        async with taking_part(Member(kafka, "same")) as second:
            await until(lambda: second.owned == everything, "the second takes the place over")
            # The first is still there: until its lease has ended nothing may be asked.
            assert all(at > before + SESSION_SECONDS * 400 for at in second.not_before.values())
            await until(lambda: sorted(first.lost_in_all) == sorted(everything), "the first is told")
            await until(
                lambda: len(first.owned) == len(second.owned) == 2 and first.owned | second.owned == everything,
                lambda: f"both share: {first.owned} {second.owned}",
            )
