"""What a platform refuses for days is asked for ever more seldom, and soon again once anything changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from services.platforms.base import Outcome, Verdict
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR
from tests.unit.poller.answering import World
from tests.unit.poller.plain_platform import Asked, Plain, Server

MINUTE = MILLIS_PER_HOUR // 60
Made = Callable[..., tuple[World, Server]]


def refused(_: Asked) -> Verdict | None:
    return Verdict(Outcome.REQUEST_WRONG, detail="no such edge")


@pytest.fixture
async def made() -> AsyncIterator[Made]:
    worlds: list[World] = []

    def make(channels: int, posts: int, batch_size: int = 50) -> tuple[World, Server]:
        server = Server(refused)
        world = World("youtube", Plain(batch_size), server.wire)
        worlds.append(world)
        for number in range(channels):
            world.connect(f"c{number}")
            world.publish(f"c{number}", posts, first=100 * number)
        return world, server

    yield make
    for world in worlds:
        world.task.cancel()
        await asyncio.gather(world.task, return_exceptions=True)


@pytest.mark.parametrize(
    ("channels", "posts", "batch_size"),
    [
        *((channels, posts, 50) for channels, posts in ((1, 1), (1, 2), (1, 8), (2, 1), (6, 1), (6, 8))),
        *((channels, posts, 1) for channels, posts in ((1, 1), (1, 2), (1, 8), (2, 1), (6, 1))),
        pytest.param(6, 8, 1, marks=pytest.mark.long),
    ],
)
async def test_the_calls_of_a_channel_become_few(made: Made, channels: int, posts: int, batch_size: int) -> None:
    world, server = made(channels, posts, batch_size)
    spans = []
    for span in (MILLIS_PER_HOUR, 23 * MILLIS_PER_HOUR, MILLIS_PER_DAY, MILLIS_PER_DAY):
        before = len(server.asked)
        await world.time.advance(span)
        of_channels = [asked.token for asked in server.asked[before:]]
        spans.append(max([of_channels.count(token) for token in set(of_channels)], default=0))
    first_hour, first_day, second_day, third_day = spans
    assert first_hour <= 20
    assert first_hour + first_day <= 60
    assert second_day <= 12
    assert third_day <= 12
    server.say = lambda _: None
    await world.time.advance(MILLIS_PER_DAY)
    assert all(
        world.captured_since(f"c{number}", world.time.at - MILLIS_PER_DAY) == posts for number in range(channels)
    )


async def test_a_new_token_and_a_new_post_are_tried_at_once(made: Made) -> None:
    world, server = made(1, 8)
    await world.time.advance(3 * MILLIS_PER_DAY)
    before = len(server.asked)
    world.token("c0", "another-token")
    world.publish("c0", 1, first=50)
    await world.time.advance(MINUTE)
    assert len(server.asked) > before
    await world.time.advance(40 * MINUTE)
    assert 4 <= len(server.asked) - before <= 10, "as quickly as in the beginning"
    await world.time.advance(2 * MILLIS_PER_DAY)
    before = len(server.asked)
    world.publish("c0", 1, first=60)
    await world.time.advance(MINUTE)
    assert len(server.asked) == before + 1
    server.say = lambda _: None
    healed_at = world.time.at
    world.publish("c0", 1, first=70)
    await world.time.advance(6 * MINUTE)
    assert world.captured_since("c0", healed_at) >= 1


async def test_one_post_that_is_refused_is_no_incident(made: Made) -> None:
    world, server = made(1, 0, 1)
    server.say = lambda asked: refused(asked) if "id00000" in asked.ids else None
    world.publish("c0", 1)
    await world.time.advance(1_000)
    world.publish("c0", 4, first=1)
    await world.time.advance(MINUTE)
    assert world.known.incidents.current() == []
    assert world.captured_since("c0", 0) == 4
    # Nor is it later on, whenever it alone is due.
    await world.time.advance(2 * MILLIS_PER_DAY)
    assert world.known.incidents.current() == []
