"""Records of one delivery keep their order, whatever has to be sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from schemas.codec import Codec, codec, schema_text
from schemas.notices import DeliveryStatus, WebhookDelivery, WebhookState
from schemas.topic_names import WEBHOOK_DELIVERIES, WEBHOOK_STATES
from services.notifier import records
from services.notifier.records import Records
from services.notifier.turns import Turns
from tests.support.manual_clock import START
from tests.support.memory_brokers import MemoryBrokers
from tests.support.waiting import wait_until_async


def made(topic: str) -> Codec[Any]:
    return codec(topic, schema_id=7, fetch_schema=lambda _: schema_text(topic))


CODECS = {topic: made(topic) for topic in (WEBHOOK_DELIVERIES, WEBHOOK_STATES)}
FIRST = WebhookDelivery("w1", "h1", "m1", "account.recovered", START, "{}", DeliveryStatus.PENDING, 1, START, START)
THEN = replace(FIRST, status=DeliveryStatus.DELIVERED, tries=2, next_try_at=None)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_RETRY_SECONDS", 0.02)


@pytest.fixture
def brokers() -> MemoryBrokers:
    return MemoryBrokers({WEBHOOK_DELIVERIES: 1, WEBHOOK_STATES: 1})


@pytest.fixture
async def written(brokers: MemoryBrokers) -> AsyncIterator[Records]:
    held = Records(brokers, CODECS, 1)
    held.start()
    yield held
    await held.close()


def statuses(brokers: MemoryBrokers, id_: str = "m1") -> list[str | None]:
    """What the topic holds of a delivery, in order; None is a tombstone."""
    values = brokers.values(WEBHOOK_DELIVERIES)
    held = [None if value is None else CODECS[WEBHOOK_DELIVERIES].decode(value) for value in values]
    return [None if one is None else one.status for one in held if one is None or one.delivery_id == id_]


async def until(condition: object, what: str) -> None:
    async def holds() -> bool:
        assert callable(condition)
        return bool(condition())

    await wait_until_async(holds, 5, what)


async def test_a_record_that_is_sent_again_comes_before_a_newer_one(brokers: MemoryBrokers, written: Records) -> None:
    await until(lambda: brokers.writers, "connected")
    brokers.sends_to_fail = 1
    await asyncio.gather(written.write([FIRST]), written.write([THEN]))
    assert statuses(brokers) == ["pending", "delivered"]


async def test_records_that_wait_for_the_connection_keep_their_order(brokers: MemoryBrokers) -> None:
    held_back = Records(brokers, CODECS, 1)
    waiting = [
        asyncio.create_task(held_back.write([replace(FIRST, delivery_id=id_), replace(FIRST, tries=number)]))
        for number, id_ in enumerate("abcdef")
    ]
    await asyncio.sleep(0)
    held_back.start()
    await asyncio.gather(*waiting)
    values = [CODECS[WEBHOOK_DELIVERIES].decode(value) for value in brokers.values(WEBHOOK_DELIVERIES) if value]
    assert [one.tries for one in values if one.delivery_id == "m1"] == list(range(6))
    await held_back.close()


async def test_others_are_not_held_up(brokers: MemoryBrokers, written: Records) -> None:
    await until(lambda: brokers.writers, "connected")
    brokers.sends_to_fail = 1
    first = asyncio.create_task(written.write([FIRST]))
    await asyncio.sleep(0)
    states = WebhookState("w1", "h1", START)
    await asyncio.gather(written.write([replace(FIRST, delivery_id="m2"), states]), written.write([THEN]))
    assert first.done()
    assert statuses(brokers) == ["pending", "delivered"]
    assert len(brokers.values(WEBHOOK_STATES)) == 1


async def test_what_is_asked_for_again_is_not_erased_by_a_settlement_that_is_sent_again(
    brokers: MemoryBrokers, written: Records
) -> None:
    await until(lambda: brokers.writers, "connected")
    await written.write([FIRST])
    pending: set[str] = set()
    brokers.sends_to_fail = 1
    settled = asyncio.create_task(written.settle([THEN], lambda held: held.delivery_id in pending))
    await until(lambda: not brokers.sends_to_fail, "failed")
    pending.add("m1")
    again = asyncio.create_task(written.write([replace(FIRST, tries=0)]))
    await asyncio.gather(settled, again)
    assert statuses(brokers) == ["pending", "pending"]
    pending.clear()
    await asyncio.gather(written.write([THEN]), written.settle([THEN], lambda held: held.delivery_id in pending))
    assert statuses(brokers) == ["pending", "pending", "delivered", None]


async def test_turns_are_given_in_the_order_of_asking() -> None:
    turns, had = Turns(), list[str]()
    free = asyncio.Event()

    async def take(name: str, *wanted: str) -> None:
        async with turns.of(wanted):
            had.append(name)
            if name == "first":
                await free.wait()
            await asyncio.sleep(0)
            had.append(f"end of {name}")

    tasks = [
        asyncio.create_task(take(*wanted))
        for wanted in (("first", "a"), ("second", "a", "b"), ("third", "b", "c"), ("other", "d"), ("fourth", "c", "a"))
    ]
    await asyncio.sleep(0.01)
    assert had == ["first", "other", "end of other"]
    tasks[1].cancel()
    await asyncio.sleep(0.01)
    assert had == ["first", "other", "end of other"], "whoever gives up lets nobody past those before it"
    free.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert had[3:] == ["end of first", "third", "end of third", "fourth", "end of fourth"]
    assert not turns._last
