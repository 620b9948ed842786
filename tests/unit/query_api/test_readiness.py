"""When a process of the query API is ready, and what it says beside it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from services.query_api import readiness
from services.query_api.readiness import Readiness

AWAY = "ClickHouse does not answer, or lacks the tables"


@dataclass
class Feed:
    missing: str | None = None


@dataclass
class Store:
    awaited: str | None = None
    missing: str | None = None
    is_readable: bool = True


@dataclass
class Analytics:
    is_there: bool = True
    is_frozen: bool = False

    async def answers(self) -> bool:
        if self.is_frozen:
            await asyncio.Event().wait()
        return self.is_there


async def told(store: Store | None, clickhouse: Analytics, feed: Feed | None = None) -> tuple[str | None, str | None]:
    found = Readiness(feed or Feed(), store, clickhouse)
    return await found.missing(), found.note()


async def test_it_is_ready_with_all_its_parts() -> None:
    assert await told(Store(), Analytics()) == (None, None)
    assert await told(None, Analytics()) == (None, None)


async def test_it_waits_for_the_catalog_and_the_first_filling() -> None:
    assert (await told(Store(), Analytics(), Feed("the keys")))[0] == "the keys"
    assert (await told(Store(awaited="the store is being checked"), Analytics()))[0] == "the store is being checked"


async def test_clickhouse_that_is_away_takes_no_process_with_a_store_out_of_service() -> None:
    assert (await told(None, Analytics(is_there=False)))[0] == AWAY
    assert await told(Store(), Analytics(is_there=False)) == (None, f"only what the store holds can be read: {AWAY}")
    both = Store(missing="the store waits for Kafka")
    wanted = f"only what the store held can be read: {AWAY}; the store waits for Kafka"
    assert await told(both, Analytics(is_there=False)) == (None, wanted)


async def test_a_store_that_is_lost_leaves_clickhouse_alone() -> None:
    lost = Store(missing="the store can't be written: see the log", is_readable=False)
    assert await told(lost, Analytics()) == (None, "reads go to ClickHouse: the store can't be written: see the log")
    assert (await told(lost, Analytics(is_there=False)))[0] == AWAY


async def test_clickhouse_that_is_frozen_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_ANSWER_SECONDS", 0.01)
    assert (await told(Store(), Analytics(is_frozen=True)))[0] is None
    assert (await told(None, Analytics(is_frozen=True)))[0] == AWAY


async def test_the_note_goes_when_clickhouse_is_back() -> None:
    clickhouse = Analytics(is_there=False)
    found = Readiness(Feed(), Store(), clickhouse)
    await found.missing()
    assert found.note() is not None
    clickhouse.is_there = True
    await found.missing()
    assert found.note() is None
