"""Backfill requests at their owner, with a hand-moved clock: what comes before them, what they leave, what they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from schemas.events import Origin, PollerReply, PullKind
from services.platforms.base import LimitState
from services.poller.asking.budget import WindowKey
from services.poller.requests.backfill import INACTIVE, LATER, LOOK
from services.poller.requests.intake import LONGEST
from tests.unit.poller.builders import post, target
from tests.unit.poller.requests.test_live import REQUESTS, SECOND, World, failing


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    # The channel's own figures have just been asked for, so nothing is due.
    plan = made.schedule.plans["w1", "c1"]
    plan.channel_due_at = made.time.at + 3_600 * SECOND
    made.schedule.lanes["youtube"].pop(made.time.at + SECOND)
    yield made
    await made.close()


async def send(world: World, name: str, *targets: str, kind: PullKind = PullKind.TARGETS, **changes: object) -> None:
    fields = {"origin": Origin.BACKFILL.value, "deadline_at": world.time.at + 60 * SECOND, **changes}
    world.intake.take(REQUESTS.encode(world.request(name, *targets, kind=kind, **fields)))
    await world.time.settle()


def kinds(replies: list[PollerReply]) -> list[str]:
    return [reply.kind for reply in replies]


async def test_a_part_is_acknowledged_answered_without_bodies_and_done(world: World) -> None:
    await world.time.advance(SECOND)
    await send(world, "r1", "t1", "t2")
    await world.time.advance(SECOND)
    replies = world.replies["r1"]
    assert kinds(replies) == ["ACK", "ANSWER", "DONE"]
    (told,), (published,) = world.events(replies), world.publisher.events
    assert (told.body, published.body != b"") == (b"", True)
    assert published.origin == told.origin == Origin.BACKFILL
    assert replies[-1].error_code is None


async def test_a_deadline_that_never_comes_keeps_no_place_for_ever(world: World) -> None:
    world.catalog.put_post(
        "w1", "p9", post(target("due", "c1"), post_id="p9", published_at=world.time.at), world.time.at
    )
    await world.time.advance(SECOND)
    await send(world, "r1", "t1", deadline_at=4_000_000_000_000)
    await world.time.advance(LONGEST + 60 * SECOND)
    assert kinds(world.replies["r1"])[-1] == "DONE"
    assert not world.wire.requests


async def test_nothing_is_asked_while_anything_scheduled_is_due(world: World) -> None:
    world.catalog.put_post(
        "w1", "p9", post(target("due", "c1"), post_id="p9", published_at=world.time.at), world.time.at
    )
    await world.time.advance(SECOND)
    await send(world, "r1", "t1")
    await world.time.advance(20 * SECOND)
    assert not world.wire.requests
    work = world.schedule.take("youtube", world.time.at)
    assert work is not None
    await world.time.advance(2 * LOOK)
    assert len(world.wire.requests) == 1


async def test_half_of_a_window_is_left_to_scheduled_polls(world: World) -> None:
    budget, key = world.budget, WindowKey("youtube", "w1/c1", "stats")
    budget.observe(key, LimitState(100, 50, world.time.at + 30 * SECOND), world.time.at)
    await send(world, "r1", "t1")
    await world.time.advance(20 * SECOND)
    assert not world.wire.requests
    await world.time.advance(12 * SECOND)
    assert len(world.wire.requests) == 1


async def test_what_could_not_be_asked_in_time_is_left(world: World) -> None:
    world.wire.answer = failing(503, "backendError")
    await send(world, "r1", "t1")
    await world.time.advance(61 * SECOND)
    assert world.replies["r1"][-1].error_code == LATER
    assert world.wire.requests


async def test_only_what_is_left_of_a_part_is_asked_again(world: World) -> None:
    await send(world, "days", kind=PullKind.ACCOUNT, channel_id="c1", as_of=world.time.at - 50 * 86_400 * SECOND)
    await world.time.advance(SECOND)
    (asked,) = world.wire.requests
    assert asked.url.path == "/v2/reports"
    assert kinds(world.replies["days"]) == ["ACK", "ANSWER", "DONE"]
    await send(world, "now", kind=PullKind.ACCOUNT, channel_id="c1", as_of=world.time.at)
    await world.time.advance(SECOND)
    assert [request.url.path for request in world.wire.requests[1:]] == ["/youtube/v3/channels", "/v2/reports"]


async def test_a_channel_that_is_not_asked_is_said(world: World) -> None:
    world.connect(status="revoked")
    await send(world, "r1", "t1")
    assert world.replies["r1"][-1].error_code == INACTIVE
    await send(world, "r2", kind=PullKind.ACCOUNT, channel_id="unknown")
    assert world.replies["r2"][-1].error_code == INACTIVE
    assert not world.wire.requests


async def test_the_schedule_stays_as_it_was(world: World) -> None:
    before = world.schedule.plans["w1", "c1"].channel_due_at
    await send(world, "r1", kind=PullKind.ACCOUNT, channel_id="c1")
    await world.time.advance(SECOND)
    assert world.wire.requests
    assert world.schedule.plans["w1", "c1"].channel_due_at == before


async def test_late_requests_get_no_reply_and_a_stop_ends_what_waits(world: World) -> None:
    await send(world, "late", "t1", deadline_at=world.time.at)
    world.wire.answer = failing(503, "backendError")
    await send(world, "waits", "t1")
    await asyncio.wait_for(world.live.close(), 1)
    assert "late" not in world.replies
    assert kinds(world.replies["waits"]) == ["ACK"]
