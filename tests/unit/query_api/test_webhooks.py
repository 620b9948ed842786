"""Webhooks that several processes change: none undoes another's change, and without Kafka callers are told in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from schemas.codec import Codec, codec, schema_text
from schemas.notices import Webhook
from schemas.topic_names import WEBHOOK_REQUESTS, WEBHOOK_STATES, WEBHOOKS
from services.query_api import webhook_changes as module
from services.query_api import webhooks
from services.query_api.errors import Invalid, NotFound, WritesUnavailable
from services.query_api.feed import CatalogFeed
from services.query_api.publisher import KafkaPublisher, Write
from services.query_api.views import Place
from services.query_api.webhooks import Webhooks, no_webhooks
from services.runtime.clock import SystemClock
from services.runtime.sealing import SigningSecrets
from services.runtime.settings import KafkaSettings
from tests.support.memory_brokers import MemoryBrokers
from tests.support.waiting import wait_until_async
from tests.support.webhooks import CIPHER

PARTITIONS = 2
SETTINGS = KafkaSettings(kafka_bootstrap="127.0.0.1:1", topic_partitions=PARTITIONS)
TOPICS = (WEBHOOKS, WEBHOOK_STATES, WEBHOOK_REQUESTS)
URL = "https://hooks.example.com/"


def made(topic: str) -> Codec[Any]:
    return codec(topic, schema_id=7, fetch_schema=lambda _: schema_text(topic))


CODECS = {topic: made(topic) for topic in TOPICS}


class Schemas:
    """See `publisher.Codecs`."""

    async def get(self, topic: str) -> Codec[Any]:
        return CODECS[topic]


class Process:
    """A worker of the query API, as far as webhooks go."""

    def __init__(self, brokers: MemoryBrokers) -> None:
        self.publisher = KafkaPublisher(SETTINGS, Schemas(), brokers)  # type: ignore[arg-type]
        self.webhooks = Webhooks(self.publisher, CIPHER, SystemClock(), allows_private=True)
        self.feed = CatalogFeed(SETTINGS, Schemas(), (self.webhooks.book, self.webhooks.states), brokers)  # type: ignore[arg-type]
        self.webhooks.changes.reads = self.feed

    async def start(self) -> None:
        self.publisher.start()
        self.feed.start()
        await self.publisher._producer.connected()
        await self.feed.caught_up()

    async def stop(self) -> None:
        await self.feed.stop()
        await self.publisher.stop()

    async def make(self) -> tuple[str, str]:
        """A webhook's id and its secret."""
        held, secret = await self.webhooks.make("w1", URL, ("metrics.changed",), (), "")
        return held.webhook_id, secret

    async def change(self, id_: str, **changes: Any) -> Webhook:
        nothing = dict.fromkeys(("url", "types", "rules", "description", "is_enabled"))
        return await self.webhooks.change("w1", id_, **{**nothing, **changes})

    async def rotate(self, id_: str) -> str:
        return (await self.webhooks.rotate("w1", id_))[1]

    async def delete(self, id_: str) -> None:
        await self.webhooks.delete("w1", id_)

    def held(self, id_: str) -> Webhook | None:
        return self.webhooks.book.find("w1", id_)


class World:
    """Processes on the same topics."""

    def __init__(self) -> None:
        self.brokers = MemoryBrokers(dict.fromkeys(TOPICS, PARTITIONS))
        self.all: list[Process] = []

    async def process(self) -> Process:
        process = Process(self.brokers)
        self.all.append(process)
        await process.start()
        return process

    async def shown(self, id_: str) -> Webhook | None:
        """What every process shows once it has read everything, and one that begins now as well."""
        await self.process()
        for process in self.all:
            await process.feed.read_present("w1", TOPICS[:2])
        shown = [process.held(id_) for process in self.all]
        assert all(one == shown[0] for one in shown)
        values = self.brokers.values(WEBHOOKS)
        newest = None if values[-1] is None else CODECS[WEBHOOKS].decode(values[-1])
        assert newest == shown[0], "what compaction leaves, where one webhook is changed"
        return shown[0]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made_ = World()
    yield made_
    for process in made_.all:
        await process.stop()


def secrets_of(held: Webhook | None) -> SigningSecrets:
    assert held is not None
    return CIPHER.open(held.sealed_secrets, held.workspace_id, held.webhook_id)


async def test_a_change_is_made_of_what_another_process_wrote_before(world: World) -> None:
    first, second = await world.process(), await world.process()
    id_, old = await first.make()
    await second.feed.read_present("w1", [WEBHOOKS])
    await second.feed.stop()  # it is behind
    secret = await first.rotate(id_)
    changing = asyncio.create_task(second.change(id_, description="new"))
    await asyncio.sleep(0.02)
    second.feed.start()
    await changing
    shown = await world.shown(id_)
    assert (secrets_of(shown), shown and shown.description) == (SigningSecrets(secret, old), "new")


async def test_a_webhook_that_another_process_deleted_does_not_come_back(world: World) -> None:
    first, second = await world.process(), await world.process()
    id_, _ = await first.make()
    await second.feed.read_present("w1", [WEBHOOKS])
    await second.feed.stop()
    await first.delete(id_)
    changing = asyncio.create_task(second.change(id_, description="new"))
    await asyncio.sleep(0.02)
    second.feed.start()
    with pytest.raises(NotFound):
        await changing
    assert await world.shown(id_) is None


async def test_a_webhook_of_another_process_is_tested_at_once(world: World) -> None:
    first, second = await world.process(), await world.process()
    id_, _ = await first.make()
    assert (await second.webhooks.test("w1", id_)).startswith("msg_")
    with pytest.raises(NotFound):
        await second.webhooks.test("w1", "wh_unknown")


@pytest.mark.parametrize("round_", range(5))
async def test_changes_that_are_made_at_once_all_stay(world: World, round_: int) -> None:
    processes = [await world.process() for _ in range(4)]
    id_, old = await processes[0].make()
    rules = [
        processes[round_ % 4].change(id_, description="new"),
        processes[1].change(id_, url="https://new.example.com/"),
        processes[2].rotate(id_),
        processes[3].change(id_, types=("account.recovered",)),
        processes[0].change(id_, is_enabled=False),
    ]
    done = await asyncio.gather(*rules)
    shown = await world.shown(id_)
    assert shown is not None
    assert (shown.description, shown.url, shown.types, shown.is_enabled) == (
        "new", "https://new.example.com/", ("account.recovered",), False,
    )  # fmt: skip
    assert secrets_of(shown) == SigningSecrets(str(done[2]), old)


async def test_of_rotations_at_once_the_last_two_sign(world: World) -> None:
    processes = [await world.process() for _ in range(3)]
    id_, _ = await processes[0].make()
    secrets = await asyncio.gather(*(process.rotate(id_) for process in processes))
    held = secrets_of(await world.shown(id_))
    assert {held.current, held.previous} < set(secrets)


@pytest.mark.parametrize("round_", range(5))
async def test_what_is_deleted_while_others_change_it_stays_deleted(world: World, round_: int) -> None:
    processes = [await world.process() for _ in range(3)]
    id_, _ = await processes[0].make()
    works: list[Any] = [processes[0].change(id_, description="new"), processes[2].rotate(id_)]
    works.insert(round_ % 3, processes[1].delete(id_))
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        assert not isinstance(outcome, BaseException) or isinstance(outcome, NotFound)
    assert await world.shown(id_) is None


async def test_what_was_written_is_put_right_though_its_caller_is_gone(world: World) -> None:
    first, second = await world.process(), await world.process()
    id_, old = await first.make()
    publish, may, waits = second.publisher.publish, asyncio.Event(), asyncio.Event()

    async def late(writes: Sequence[Write]) -> list[Place]:
        waits.set()
        await may.wait()
        return await publish(writes)

    second.webhooks.changes._publisher.publish = late  # type: ignore[method-assign]
    changing = asyncio.create_task(second.change(id_, description="new"))
    await waits.wait()
    secret = await first.rotate(id_)
    changing.cancel()
    may.set()

    async def is_made() -> bool:
        held = first.held(id_)
        return held is not None and held.description == "new"

    await wait_until_async(is_made, 5, "the change is made again")
    assert secrets_of(await world.shown(id_)) == SigningSecrets(secret, old)


async def test_a_workspace_has_no_more_webhooks_where_processes_make_them_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WEBHOOKS", 3)
    monkeypatch.setattr(webhooks, "MOST_WEBHOOKS", 3)
    processes = [await world.process() for _ in range(3)]
    made_ = await asyncio.gather(*(process.make() for process in processes * 3), return_exceptions=True)
    refused = [one for one in made_ if isinstance(one, Invalid)]
    newcomer = await world.process()
    assert len(newcomer.webhooks.book.of("w1")) == 3 == len(made_) - len(refused)


async def test_without_kafka_callers_are_told_in_time_and_nothing_is_written_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await world.process()
    id_, secret = await process.make()
    monkeypatch.setattr(module, "_SECONDS", 0.1)
    world.brokers.go_away()
    for work in (process.make(), process.change(id_, description="new"), process.rotate(id_), process.delete(id_)):
        with pytest.raises(WritesUnavailable):
            await work
    with pytest.raises(WritesUnavailable):
        await process.webhooks.test("w1", "wh_unknown")
    world.brokers.come_back()
    monkeypatch.undo()
    await process.publisher._producer.connected()
    shown = await world.shown(id_)
    assert (shown and shown.description, secrets_of(shown)) == ("", SigningSecrets(secret))
    assert len(process.webhooks.book.of("w1")) == 1
    assert not process.webhooks.changes._changing


async def test_a_process_without_topics_changes_nothing() -> None:
    with pytest.raises(WritesUnavailable):
        await no_webhooks().delete("w1", "wh_1")
