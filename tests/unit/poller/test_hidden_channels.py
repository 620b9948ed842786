"""Posts that are said to be gone: they come back with a new connection, and all of them at once are the channel's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import orjson
import pytest

from schemas.events import AccountEvent
from services.platforms.base import Outcome, Verdict
from services.poller.connections.accounts import HIDDEN, RECOVERED, Accounts
from services.poller.schedule.entry import Entry
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR
from tests.support.platform_transport import json_answer
from tests.unit.poller.answering import World
from tests.unit.poller.plain_platform import Plain, Server

MINUTE = MILLIS_PER_HOUR // 60
KEY = ("w1", "c1")


class Leaving(Server):
    """Leaves posts out of its answers, and says of each that is asked for alone that it is gone.

    Attributes:
        away: whether a post is gone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.away: Callable[[str], bool] = lambda _: False

    def wire(self, request: httpx.Request) -> httpx.Response:
        """See `Server`."""
        left = [one for one in request.url.params["ids"].split(",") if self.away(one)]
        self.say = lambda asked: Verdict(Outcome.TARGET_GONE) if len(asked.ids) == 1 and left else None
        answer = super().wire(request)
        return json_answer(200, orjson.dumps({"left_out": left})) if left and answer.status_code == 200 else answer


Made = Callable[[int], tuple[World, Leaving]]


@pytest.fixture
async def made() -> AsyncIterator[Made]:
    worlds: list[World] = []

    def make(batch_size: int) -> tuple[World, Leaving]:
        server = Leaving()
        world = World("youtube", Plain(batch_size), server.wire)
        worlds.append(world)
        world.connect("c1")
        return world, server

    yield make
    for world in worlds:
        world.task.cancel()
        await asyncio.gather(world.task, return_exceptions=True)


def entries(world: World) -> list[Entry]:
    return [entry for entry in world.schedule.plans[KEY].entries if entry is not None]


@pytest.mark.parametrize("batch_size", [1, 50])
async def test_a_new_token_brings_back_what_was_said_to_be_gone_at_once(made: Made, batch_size: int) -> None:
    world, server = made(batch_size)
    server.away = lambda one: one in ("id00001", "id00002")
    world.publish("c1", 5)
    await world.time.advance(3 * MILLIS_PER_DAY)
    assert sum(entry.is_resting for entry in entries(world)) == 2
    server.away = lambda _: False
    since, healed_at = len(server.asked), world.time.at
    await world.time.advance(2 * MILLIS_PER_DAY)
    assert not any("id00001" in asked.ids for asked in server.asked[since:]), "looked at weekly"
    world.token("c1", "another-token")
    asked_at = world.time.at
    await world.time.advance(MINUTE)
    assert world.captured_since("c1", asked_at) >= 2
    assert not any(entry.is_missing for entry in entries(world))
    assert healed_at < asked_at


async def test_what_is_gone_for_good_rests_again_after_a_new_token(made: Made) -> None:
    world, server = made(50)
    server.away = lambda one: one == "id00001"
    world.publish("c1", 5)
    await world.time.advance(3 * MILLIS_PER_DAY)
    world.token("c1", "another-token")
    since = len(server.asked)
    await world.time.advance(4 * MILLIS_PER_DAY)
    assert [entry.is_resting for entry in entries(world)].count(True) == 1
    assert sum("id00001" in asked.ids for asked in server.asked[since:]) <= 12


@pytest.mark.parametrize("batch_size", [1, 50])
@pytest.mark.parametrize("count", [2, 8])
async def test_all_posts_of_a_channel_gone_at_once_retire_none_of_them(made: Made, batch_size: int, count: int) -> None:
    world, server = made(batch_size)
    world.publish("c1", count)
    await world.time.advance(2 * MILLIS_PER_HOUR)
    server.away = lambda _: True
    await world.time.advance(MILLIS_PER_DAY)
    assert world.publisher.announced == [], "an hour or a day of it may pass by itself"
    await world.time.advance(3 * MILLIS_PER_DAY)
    assert not any(entry.is_resting for entry in entries(world))
    (event,) = world.publisher.announced
    assert (event.type, event.reason, event.channel_id) == (HIDDEN, "posts_hidden", "c1")
    assert world.schedule.plans[KEY].is_polled
    server.away = lambda _: False
    healed_at = world.time.at
    world.token("c1", "another-token")
    await world.time.advance(MINUTE)
    assert world.captured_since("c1", healed_at) == count
    assert [event.type for event in world.publisher.announced] == [HIDDEN, RECOVERED]


async def test_posts_that_go_one_after_the_other_are_gone(made: Made) -> None:
    world, server = made(50)
    world.publish("c1", 3)
    away: set[str] = set()
    server.away = away.__contains__
    for number in range(3):
        await world.time.advance(2 * MILLIS_PER_DAY)
        away.add(f"id{number:05}")
    await world.time.advance(4 * MILLIS_PER_DAY)
    assert all(entry.is_resting for entry in entries(world))
    assert world.publisher.announced == []


def test_a_hidden_channel_is_announced_once_also_across_a_restart() -> None:
    accounts = Accounts()
    event = accounts.hidden(KEY, "x", 1)
    assert event == AccountEvent(*KEY, "x", HIDDEN, 1, "posts_hidden")
    assert accounts.hidden(KEY, "x", 2) is None
    restarted = Accounts()
    restarted.replay(event)
    assert restarted.is_hidden(KEY)
    assert restarted.hidden(KEY, "x", 3) is None
    assert restarted.paused() == []
    assert restarted.shown(KEY, "x", 4) == AccountEvent(*KEY, "x", RECOVERED, 4)
    assert restarted.shown(KEY, "x", 5) is None
    restarted.replay(event)
    restarted.discard(lambda workspace_id: workspace_id == "w1")
    assert not restarted.is_hidden(KEY)
