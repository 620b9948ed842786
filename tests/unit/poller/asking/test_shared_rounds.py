"""Rounds across channels: full batches, each workspace told of its own alone; a mistake of one harms no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry

from schemas.events import ChannelTokens, PlatformRaw, RawKind
from services.platforms import all_platforms
from services.platforms.abilities import AcrossAccounts
from services.platforms.base import Limit
from services.poller.asking.budget import Budget
from services.poller.asking.circuit import Circuit
from services.poller.asking.exchange import Exchange
from services.poller.asking.fetch import Fetcher
from services.poller.asking.shared_rounds import ALONE, ASIDE, App, SharedRounds
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.loop import Loop
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import Ownership
from services.poller.schedule.schedule import Schedule
from services.runtime.clock import MILLIS_PER_HOUR
from services.runtime.kafka import partition_of
from services.runtime.secrets import TokenCipher, TokenPair
from tests.support.manual_clock import ManualTime
from tests.support.memory_publisher import MemoryPublisher
from tests.support.platform_transport import Chunks, PlatformTransport, json_answer
from tests.unit.poller.builders import channel, channel_rounds, post, target

SECOND = 1000
CIPHER = TokenCipher(["0123456789abcdef"])
KEY = "an-api-key-1234"
VIDEOS = "/youtube/v3/videos"


def videos(request: httpx.Request) -> httpx.Response:
    """What YouTube answers to anything."""
    ids = request.url.params.get("id", "").split(",")
    items = [{"id": name, "statistics": {"viewCount": "1"}} for name in ids if "dead" not in name]
    return json_answer(200, orjson.dumps({"items": items, "echo": KEY}))


def failing(status: int, reason: str) -> httpx.Response:
    error = {"code": status, "errors": [{"reason": reason}], "message": f"{reason} of e-w1-a"}
    return json_answer(status, orjson.dumps({"error": error}))


class World:
    """A poller of YouTube with an API key."""

    def __init__(self, limits: tuple[Limit, ...] | None = None, ownership: Ownership | None = None) -> None:
        self.time = ManualTime()
        platforms = all_platforms()
        self.schedule = Schedule({"youtube": platforms["youtube"].facts.post_batch_size})
        accounts = Accounts()
        tokens = TokenStore(CIPHER, {})
        self.catalog = Catalog({}, self.schedule, tokens, accounts)
        self.publisher = MemoryPublisher()
        self.wire = PlatformTransport(videos)
        fetcher = Fetcher({}, transports=lambda *_: self.wire)
        circuits = {"youtube": Circuit(lambda _, upper: upper)}
        self.budget = Budget(
            lambda _, upper: upper, {"youtube": platforms["youtube"].facts.limits if limits is None else limits}
        )
        metrics = PollerMetrics(CollectorRegistry())
        rounds = channel_rounds(
            time=self.time, platforms=platforms, schedule=self.schedule, fetcher=fetcher, publisher=self.publisher,
            tokens=tokens, accounts=accounts, budget=self.budget, circuits=circuits, metrics=metrics,
        )  # fmt: skip
        youtube = platforms["youtube"]
        assert isinstance(youtube, AcrossAccounts)
        exchange = Exchange(
            time=self.time, platforms=platforms, fetcher=fetcher, publisher=self.publisher, budget=self.budget,
            metrics=metrics, ownership=ownership,
        )  # fmt: skip
        self.shared = SharedRounds(
            time=self.time, platforms=platforms, schedule=self.schedule, exchange=exchange,
            apps={"youtube": App(youtube, KEY)}, budget=self.budget, circuits=circuits, metrics=metrics,
            uniform=lambda _, upper: upper,
        )  # fmt: skip
        self.tokens = tokens
        loop = Loop(self.time, self.schedule, rounds, circuits, 8, shared=self.shared)
        self.task = asyncio.create_task(loop.run())

    def connect(self, workspace_id: str, *names: str, channel_id: str = "c1") -> None:
        """A channel with posts."""
        key, now = (workspace_id, channel_id), self.time.at
        token = CIPHER.encrypt(TokenPair(f"token-of-{workspace_id}"), key)
        self.catalog.put_tokens(key, ChannelTokens(*key, token, "f", None, "put", now), now)
        self.catalog.put_channel(key, channel(channel_id, workspace_id=workspace_id, updated_at=now), now)
        for name in names:
            of = target(name, channel_id, external_id=f"e-{workspace_id}-{name}")
            event = post(of, post_id=f"p-{name}", published_at=now, workspace_id=workspace_id)
            self.catalog.put_post(workspace_id, event.post_id, event, now)

    def asked(self) -> list[list[str]]:
        """Ids of each call for posts."""
        return [
            request.url.params["id"].split(",")
            for request in self.wire.requests
            if request.url.path == VIDEOS and request.headers.get("x-goog-api-key")
        ]

    def asked_alone(self) -> list[str]:
        """The same for calls with a channel's own token."""
        return [
            request.url.params["id"]
            for request in self.wire.requests
            if request.url.path == VIDEOS and "authorization" in request.headers
        ]

    def events(self) -> list[PlatformRaw]:
        return [event for event in self.publisher.events if event.kind == RawKind.POST_METRICS]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)
    assert made.publisher.reserved == 0
    assert all(plan.in_flight == 0 for plan in made.schedule.plans.values())


async def test_posts_of_many_channels_go_in_one_call_and_come_apart_as_events(world: World) -> None:
    world.connect("w1", "a", "b")
    world.connect("w2", "a", "dead")
    await world.time.advance(SECOND)
    assert [sorted(ids) for ids in world.asked()] == [["e-w1-a", "e-w1-b", "e-w2-a", "e-w2-dead"]]
    assert world.asked_alone() == []
    first, second = sorted(world.events(), key=lambda event: event.workspace_id)
    assert (first.workspace_id, first.channel_id) == ("w1", "c1")
    assert [(one.target_id, one.post_id, one.external_id) for one in first.targets] == [
        ("a", "p-a", "e-w1-a"), ("b", "p-b", "e-w1-b"),
    ]  # fmt: skip
    assert first.request == {"part": "statistics", "id": "e-w1-a,e-w1-b"}
    assert [item["id"] for item in orjson.loads(first.body)["items"]] == ["e-w1-a", "e-w1-b"]
    assert [item["id"] for item in orjson.loads(second.body)["items"]] == ["e-w2-a"]
    assert second.request["id"] == "e-w2-a,e-w2-dead"
    assert first.event_id != second.event_id
    for event in (first, second):
        assert KEY.encode() not in event.body
        assert KEY not in str(event)


async def test_figures_of_channels_are_asked_for_with_their_own_tokens(world: World) -> None:
    world.connect("w1", "a")
    world.connect("w2")
    await world.time.advance(SECOND)
    own = [request for request in world.wire.requests if request.url.path == "/youtube/v3/channels"]
    assert {request.headers["authorization"] for request in own} == {"Bearer token-of-w1", "Bearer token-of-w2"}
    assert not any("x-goog-api-key" in request.headers for request in own)


async def test_batches_are_as_large_as_the_platform_takes(world: World) -> None:
    for number in range(30):
        world.connect(f"w{number}", *(f"t{post}" for post in range(4)))
    await world.time.advance(SECOND)
    assert sorted(len(ids) for ids in world.asked()) == [20, 50, 50]
    assert len({name for ids in world.asked() for name in ids}) == 120
    before = len(world.asked())
    await world.time.advance(MILLIS_PER_HOUR // 2)
    assert sum(len(ids) for ids in world.asked()[before:]) >= 120
    assert len(world.asked()) - before <= 6


async def test_gone_targets_rest_after_a_day(world: World) -> None:
    world.connect("w1", "a", "dead")
    await world.time.advance(30 * MILLIS_PER_HOUR)
    rested = sum("e-w1-dead" in ids for ids in world.asked())
    assert 48 <= rested <= 56
    await world.time.advance(48 * MILLIS_PER_HOUR)
    assert sum("e-w1-dead" in ids for ids in world.asked()) == rested
    assert sum("e-w1-a" in ids for ids in world.asked()) >= rested + 8


async def test_whose_target_spoils_the_batch_goes_alone(world: World) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        is_spoilt = "e-w3-bad" in request.url.params.get("id", "") and "x-goog-api-key" in request.headers
        return failing(400, "invalidFilters") if is_spoilt else videos(request)

    world.wire.answer = answer
    for number in range(8):
        world.connect(f"w{number}", "bad" if number == 3 else "a")
    await world.time.advance(10 * SECOND)
    answered = {event.workspace_id for event in world.events() if event.http_status == 200}
    assert answered == {f"w{number}" for number in range(8)}
    assert world.asked_alone() == ["e-w3-bad"]
    spoilt = sum("e-w3-bad" in ids for ids in world.asked())
    assert spoilt == 4  # 8, 4, 2, 1
    await world.time.advance(ALONE // 2)
    assert sum("e-w3-bad" in ids for ids in world.asked()) == spoilt
    assert len(world.asked_alone()) > 20


def html(_: httpx.Request) -> httpx.Response:
    return httpx.Response(502, headers={"content-type": "text/html"}, stream=Chunks(b"<html>Bad Gateway</html>"))


def silent(_: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("slow")


@pytest.mark.parametrize(
    "fail", [lambda _: failing(500, "backendError"), html, silent, lambda _: failing(403, "rateLimitExceeded")]
)
@pytest.mark.parametrize("bad", [{0}, {9}, {3, 4}])
async def test_a_post_whose_calls_fail_silences_no_other_of_any_channel(
    world: World, fail: Callable[[httpx.Request], httpx.Response], bad: set[int]
) -> None:
    culprits = {f"e-w{number}-b" for number in bad}

    def answer(request: httpx.Request) -> httpx.Response:
        is_bad = culprits & set(request.url.params.get("id", "").split(","))
        return fail(request) if is_bad else videos(request)

    world.wire.answer = answer
    for number in range(10):
        world.connect(f"w{number}", "a", "b", "c")
    await world.time.advance(120 * SECOND)
    given = {target.external_id for event in world.events() if event.http_status == 200 for target in event.targets}
    assert given == {f"e-w{number}-{name}" for number in range(10) for name in "abc"} - culprits
    assert world.asked_alone() == [], "no channel goes alone for it"
    assert len(world.asked()) <= 8 + len(bad) * 14
    await world.time.advance(MILLIS_PER_HOUR // 2)
    since = len(world.asked())
    await world.time.advance(4 * MILLIS_PER_HOUR)
    later = world.asked()[since:]
    assert all(len(ids) == 1 for ids in later if culprits & set(ids))
    assert sum(len(ids) > 1 for ids in later) >= 7


async def test_failures_name_nobody(world: World) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return failing(403, "quotaExceeded") if "x-goog-api-key" in request.headers else videos(request)

    world.wire.answer = answer
    world.connect("w1", "a")
    world.connect("w2", "a")
    await world.time.advance(SECOND)
    assert [event.http_status for event in world.events()] == [403, 403]
    assert all(b"e-w1-a" not in event.body for event in world.events())
    assert all(b"quotaExceeded" in event.body for event in world.events())


async def test_an_exhausted_quota_stops_the_app_not_channel_by_channel(world: World) -> None:
    world.wire.answer = lambda _: failing(403, "quotaExceeded")
    for number in range(200):
        world.connect(f"w{number}", "a")
    await world.time.advance(MILLIS_PER_HOUR)
    data = [request for request in world.wire.requests if request.url.path.startswith("/youtube/")]
    assert len(data) <= 8  # those in flight when the first was answered


async def test_a_refused_key_is_set_aside_and_channels_are_asked_one_by_one(world: World) -> None:
    def refused(request: httpx.Request) -> httpx.Response:
        return failing(401, "authError") if "x-goog-api-key" in request.headers else videos(request)

    world.wire.answer = refused
    world.connect("w1", "a")
    world.connect("w2", "a")
    await world.time.advance(10 * SECOND)
    assert len(world.asked()) == 1
    assert sorted(world.asked_alone()) == ["e-w1-a", "e-w2-a"]
    world.wire.answer = videos
    world.shared.clock_set_back(10 * SECOND)
    await world.time.advance(ASIDE - 60 * SECOND)
    assert len(world.asked()) == 1
    await world.time.advance(60 * SECOND + MILLIS_PER_HOUR)
    assert len(world.asked()) >= 3


async def test_no_answer_is_tried_again_with_patience(world: World) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    world.wire.answer = refuse
    world.connect("w1", "a")
    await world.time.advance(60 * SECOND)
    tried = len(world.asked())
    assert 2 <= tried <= 12
    world.wire.answer = videos
    await world.time.advance(300 * SECOND)
    assert world.events()[-1].http_status == 200


async def test_an_answer_too_large_is_asked_in_halves() -> None:
    world = World()
    try:

        def answer(request: httpx.Request) -> httpx.Response:
            count = len(request.url.params.get("id", "").split(","))
            reply = orjson.loads(videos(request).stream._body)  # type: ignore[union-attr]
            return json_answer(200, orjson.dumps({**reply, "pad": "x" * 3_000_000 * count}))

        world.wire.answer = answer
        for number in range(8):
            world.connect(f"w{number}", "a")
        await world.time.advance(SECOND)
        assert {event.workspace_id for event in world.events()} == {f"w{number}" for number in range(8)}
        assert max(len(ids) for ids in world.asked()[1:]) == 4
    finally:
        world.task.cancel()
        await asyncio.gather(world.task, return_exceptions=True)


@pytest.mark.parametrize("kept", [(), ("w1",), ("w1", "w3"), ("w1", "w2", "w3")])
@pytest.mark.parametrize("how", ["drained", "lost", "lease over"])
async def test_what_another_poller_took_over_while_room_was_awaited_is_not_asked_for(
    kept: tuple[str, ...], how: str
) -> None:
    partitions, ticks, names = 64, [0], ("w1", "w2", "w3")
    places = {name: partition_of(name, partitions) for name in names}
    assert len(set(places.values())) == len(names)
    ownership = Ownership(partitions, 1000, lambda: ticks[0], lambda name: partition_of(name, partitions))
    for place in places.values():
        ownership.gain(place)
        ownership.activate(place)
    ownership.prove(0)
    world = World(ownership=ownership)
    world.publisher.room.clear()
    try:
        for name in names:
            world.connect(name, "a")
        await world.time.advance(SECOND)
        assert world.wire.requests == []
        gone = [places[name] for name in names if name not in kept]
        if how == "lease over" and gone:
            ticks[0], kept = 5000, ()
        elif how == "drained":
            ownership.drain(gone)
        else:
            ownership.drain(gone)
            for place in gone:
                ownership.give_up(place)
        world.publisher.room.set()
        await world.time.advance(0)
        asked = sorted(one for ids in world.asked() for one in ids)
        assert asked == [f"e-{name}-a" for name in kept]
        assert {event.workspace_id for event in world.events()} == set(kept)
        if kept:
            assert len(world.asked()) == 1
    finally:
        world.task.cancel()
        await asyncio.gather(world.task, return_exceptions=True)
    assert world.publisher.reserved == 0
