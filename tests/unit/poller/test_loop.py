"""The loop with a hand-moved clock: what is asked when, what is published, and what a bad answer changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from schemas.events import ChannelTokens, PlatformRaw, RawKind
from schemas.metrics import CLICKS, POST_NAMES
from services.platforms import all_platforms
from services.poller.asking.budget import Budget
from services.poller.asking.circuit import CIRCUIT_FAILURES, Circuit
from services.poller.asking.fetch import Fetcher
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.loop import Loop
from services.poller.metrics import PollerMetrics, StateCollector
from services.poller.publisher import Room
from services.poller.schedule.schedule import Schedule
from services.runtime.clock import MILLIS_PER_HOUR
from services.runtime.secrets import TokenCipher, TokenPair
from tests.support.manual_clock import START, ManualTime
from tests.support.memory_publisher import MemoryPublisher
from tests.support.platform_transport import PlatformTransport, json_answer
from tests.unit.poller.builders import channel, channel_rounds, post, target

SECOND = 1000
CIPHER = TokenCipher(["0123456789abcdef"])
POSTS_PATH = "/youtube/v3/videos"


def videos(request: httpx.Request) -> httpx.Response:
    """What YouTube answers to anything."""
    ids = request.url.params.get("id", "").split(",")
    items = [{"id": name, "statistics": {"viewCount": "1"}} for name in ids if "dead" not in name]
    return json_answer(200, orjson.dumps({"items": items}))


def failing(status: int, reason: str, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    body = orjson.dumps({"error": {"code": status, "errors": [{"reason": reason}], "message": reason}})
    return lambda _: json_answer(status, body, **headers)


class World:
    """A poller with fakes at its edges."""

    def __init__(self, body_max_bytes: int = 100_000) -> None:
        self.time = ManualTime()
        self.platforms = all_platforms()
        self.schedule = Schedule({name: known.facts.post_batch_size for name, known in self.platforms.items()})
        self.accounts = Accounts()
        self.tokens = TokenStore(CIPHER, {"youtube": ("client-secret",)})
        self.catalog = Catalog({}, self.schedule, self.tokens, self.accounts)
        self.publisher = MemoryPublisher()
        self.wires = {name: PlatformTransport(videos) for name in self.platforms}
        self.fetcher = Fetcher({}, transports=lambda name, _: self.wires[name], body_max_bytes=body_max_bytes)
        self.circuits = {name: Circuit(lambda _, upper: upper) for name in self.platforms}
        self.registry = CollectorRegistry()
        rounds = channel_rounds(
            time=self.time, platforms=self.platforms, schedule=self.schedule, fetcher=self.fetcher,
            publisher=self.publisher, tokens=self.tokens, accounts=self.accounts, budget=Budget(lambda _, upper: upper),
            circuits=self.circuits, metrics=PollerMetrics(self.registry), uniform=lambda _, upper: upper,
        )  # fmt: skip
        self.loop = Loop(self.time, self.schedule, rounds, self.circuits, 8)
        self.task = asyncio.create_task(self.loop.run())

    @property
    def youtube(self) -> PlatformTransport:
        return self.wires["youtube"]

    def connect(self, channel_id: str = "c1", platform: str = "youtube", token: str | None = "tok-1234567") -> None:
        if token is not None:
            self.token(token, channel_id)
        event = channel(channel_id, platform, updated_at=self.time.at)
        self.catalog.put_channel(("w1", channel_id), event, self.time.at)

    def token(self, token: str, channel_id: str = "c1") -> None:
        event = ChannelTokens(
            "w1", channel_id, CIPHER.encrypt(TokenPair(token), ("w1", channel_id)), "f", None, "put", self.time.at
        )
        self.catalog.put_tokens(("w1", channel_id), event, self.time.at)

    def publish(self, *names: str, channel_id: str = "c1") -> None:
        for name in names:
            event = post(target(name, channel_id), post_id=f"p-{name}", published_at=self.time.at)
            self.catalog.put_post("w1", event.post_id, event, self.time.at)

    def asked(self) -> list[PlatformRaw]:
        """Post answers published so far."""
        return [event for event in self.publisher.events if event.kind == RawKind.POST_METRICS]

    def polls(self) -> list[PlatformRaw]:
        """Those of a video's figures as they are now; from its third day on, YouTube's daily reports come besides."""
        return [event for event in self.asked() if event.endpoint == POSTS_PATH]

    def outcomes(self, platform: str, kind: str) -> dict[str, int]:
        """How often each outcome was counted."""
        return {
            sample.labels["outcome"]: int(sample.value)
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "tidemark_poller_calls_total"
            and (sample.labels["platform"], sample.labels["kind"]) == (platform, kind)
        }

    def calls(self, path: str = POSTS_PATH) -> int:
        return sum(request.url.path == path for wire in self.wires.values() for request in wire.requests)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)
    assert made.publisher.reserved == 0
    assert all(plan.in_flight == 0 for plan in made.schedule.plans.values())


async def test_a_new_post_is_published_within_a_second(world: World) -> None:
    world.connect()
    world.publish("a", "b")
    await world.time.advance(SECOND)
    (event,) = world.asked()
    assert event.endpoint == POSTS_PATH
    assert event.request == {"part": "statistics", "id": "e-a,e-b"}
    assert [(t.target_id, t.post_id, t.external_id) for t in event.targets] == [
        ("a", "p-a", "e-a"),
        ("b", "p-b", "e-b"),
    ]
    assert (event.workspace_id, event.channel_id, event.platform, event.http_status) == ("w1", "c1", "youtube", 200)
    assert event.origin == "SCHEDULE"
    assert START < event.captured_at <= START + SECOND
    assert world.youtube.requests[0].headers["authorization"] == "Bearer tok-1234567"
    channel_events = [event for event in world.publisher.events if event.kind == RawKind.CHANNEL_METRICS]
    assert [event.endpoint for event in channel_events] == ["/youtube/v3/channels", "/v2/reports"]
    assert not any(event.targets for event in channel_events)


async def test_a_target_is_polled_every_half_hour_then_less(world: World) -> None:
    world.connect()
    world.publish("a")
    await world.time.advance(24 * MILLIS_PER_HOUR)
    assert 48 <= len(world.polls()) <= 55
    await world.time.advance(6 * 24 * MILLIS_PER_HOUR)
    assert 48 + 24 <= len(world.polls()) <= 55 + 29
    captured = [event.captured_at for event in world.polls()]
    assert captured == sorted(captured)


async def test_secrets_are_blanked(world: World) -> None:
    world.youtube.answer = lambda _: json_answer(200, b'{"items":[],"echo":"tok-1234567 client-secret"}')
    world.connect()
    world.publish("a")
    await world.time.advance(SECOND)
    assert world.asked()[0].body == b'{"items":[],"echo":"*** ***"}'


async def test_failed_answers_are_published_and_network_failures_are_not(world: World) -> None:
    world.youtube.answer = failing(503, "backendError")
    world.connect()
    world.publish("a")
    await world.time.advance(SECOND)
    assert [event.http_status for event in world.publisher.events] == [503]

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    world.youtube.answer = refuse
    await world.time.advance(60 * SECOND)
    assert len(world.publisher.events) == 1
    assert b'outcome="unreachable"' in generate_latest(world.registry)
    world.youtube.answer = videos
    await world.time.advance(300 * SECOND)
    assert world.asked()[-1].http_status == 200


async def test_retry_after_is_obeyed_to_the_second_and_by_its_channel_only(world: World) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        limited = request.headers["authorization"].endswith("limited")
        return failing(429, "rateLimitExceeded", retry_after="100")(request) if limited else videos(request)

    world.youtube.answer = answer
    world.connect("c1", token="token-limited")
    world.connect("c2", token="token-good")
    world.publish("a", channel_id="c1")
    await world.time.advance(SECOND)
    limited = world.calls()
    asked_at = world.asked()[0].captured_at
    world.publish("b", channel_id="c2")
    await world.time.advance(asked_at + 99_999 - world.time.at)
    assert world.calls() == limited + 1
    world.youtube.answer = videos
    await world.time.advance(2 * SECOND)
    assert world.calls() == limited + 2


async def test_headers_of_an_empty_budget_are_obeyed(world: World) -> None:
    reset = START // 1000 + 900
    headers = {"x_rate_limit_limit": "900", "x_rate_limit_remaining": "0", "x_rate_limit_reset": str(reset)}
    world.wires["x"].answer = lambda _: json_answer(200, b'{"data":[]}', **headers)
    world.connect(platform="x")
    world.publish("a")
    await world.time.advance(SECOND)
    before = world.calls("/2/tweets")
    world.publish("b")
    await world.time.advance(800 * SECOND)
    assert world.calls("/2/tweets") == before == 1
    await world.time.advance(101 * SECOND)
    assert world.calls("/2/tweets") == 2


async def test_an_expired_token_pauses_the_channel_and_is_announced_once(world: World) -> None:
    world.youtube.answer = failing(401, "authError")
    world.connect()
    world.publish("a", "b")
    await world.time.advance(MILLIS_PER_HOUR)
    assert len(world.publisher.events) == 1
    assert [(event.type, event.reason) for event in world.publisher.announced] == [
        ("account.token_expired", "token_expired")
    ]
    world.connect(token=None)
    await world.time.advance(SECOND)
    assert len(world.publisher.events) == 2
    assert len(world.publisher.announced) == 1
    world.youtube.answer = videos
    world.token("a-new-token")
    await world.time.advance(SECOND)
    assert world.asked()[-1].http_status == 200
    assert [event.type for event in world.publisher.announced][1:] == ["account.recovered"]


async def test_a_token_that_comes_late_is_used(world: World) -> None:
    world.youtube.answer = failing(401, "authError")
    world.connect(token=None)
    world.publish("a")
    await world.time.advance(5 * SECOND)
    world.youtube.answer = videos
    world.token("a-token")
    await world.time.advance(SECOND)
    assert world.asked()[-1].http_status == 200
    assert world.publisher.announced == []


async def test_a_status_flip_acts_at_once(world: World) -> None:
    world.connect()
    world.publish("a")
    world.catalog.put_channel(("w1", "c1"), channel(status="disabled"), START)
    await world.time.advance(MILLIS_PER_HOUR)
    assert world.publisher.events == []
    world.connect()
    await world.time.advance(SECOND)
    assert len(world.asked()) == 1


async def test_gone_targets_rest_after_a_day_and_come_back_with_an_unchanged_write(world: World) -> None:
    world.connect()
    world.publish("a", "dead")
    published = [post(target(name), post_id=f"p-{name}", published_at=world.time.at) for name in ("a", "dead")]

    def asked_for_dead() -> int:
        return sum(any(t.target_id == "dead" for t in event.targets) for event in world.asked())

    await world.time.advance(30 * MILLIS_PER_HOUR)
    rested = asked_for_dead()
    assert 48 <= rested <= 56
    await world.time.advance(5 * 24 * MILLIS_PER_HOUR)
    assert asked_for_dead() == rested
    assert len(world.asked()) >= rested + 20
    for event in published:
        world.catalog.put_post("w1", event.post_id, event, world.time.at)
    await world.time.advance(SECOND)
    assert asked_for_dead() == rested + 1


async def test_an_answer_that_leaves_all_of_several_out_says_nothing_of_any(world: World) -> None:
    world.youtube.answer = lambda _: json_answer(200, b'{"items":[]}')
    world.connect()
    world.publish("a", "b")
    await world.time.advance(30 * MILLIS_PER_HOUR)
    world.youtube.answer = videos
    before = len(world.asked())
    await world.time.advance(12 * MILLIS_PER_HOUR)
    assert len(world.asked()) > before


async def test_a_batch_that_fails_for_one_target_is_asked_in_halves(world: World) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "dead" in request.url.params.get("id", ""):
            return failing(404, "videoNotFound")(request)
        return videos(request)

    world.youtube.answer = answer
    world.connect()
    world.publish("a", "b", "c", "dead")
    await world.time.advance(SECOND)
    answered = {t.target_id for event in world.asked() if event.http_status == 200 for t in event.targets}
    assert answered == {"a", "b", "c"}


async def test_a_too_large_answer_is_asked_in_halves_and_not_published(world: World) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        count = len(request.url.params.get("id", "").split(","))
        reply = orjson.loads(videos(request).stream._body)  # type: ignore[union-attr]
        return json_answer(200, orjson.dumps({**reply, "pad": "x" * 30_000 * count}))

    world.youtube.answer = answer
    world.connect()
    world.publish(*"abcdefgh")
    await world.time.advance(SECOND)
    assert sorted(t.target_id for event in world.asked() for t in event.targets) == list("abcdefgh")
    assert all(len(event.body) <= 100_000 for event in world.publisher.events)


async def test_a_refused_metric_is_left_out_at_once_and_later(world: World) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "non_public_metrics" in request.url.params.get("tweet.fields", ""):
            kind = "https://api.x.com/2/problems/not-authorized-for-field"
            errors = [{"type": kind, "field": "non_public_metrics", "title": "Field Authorization Error"}]
            return json_answer(200, orjson.dumps({"errors": errors}))
        data = [{"id": name, "public_metrics": {"like_count": 1}} for name in request.url.params["ids"].split(",")]
        return json_answer(200, orjson.dumps({"data": data}))

    world.wires["x"].answer = answer
    world.connect(platform="x")
    world.publish("a")
    await world.time.advance(SECOND)
    assert world.calls("/2/tweets") == 2
    assert "non_public_metrics" not in world.asked()[-1].request["tweet.fields"]
    await world.time.advance(MILLIS_PER_HOUR // 2)
    assert world.calls("/2/tweets") == 3
    assert world.outcomes("x", "POST_METRICS") == {"metric_forbidden": 1, "ok": 2}


async def test_a_channel_without_a_token_is_no_wrong_request(world: World) -> None:
    for name in world.platforms:
        world.connect(f"c-{name}", name, token=None)
        world.publish(f"t-{name}", channel_id=f"c-{name}")
    await world.time.advance(MILLIS_PER_HOUR)
    for name, wire in world.wires.items():
        assert not wire.requests
        assert not world.outcomes(name, "POST_METRICS")
        assert not world.outcomes(name, "CHANNEL_METRICS")


async def test_a_refused_id_of_a_post_costs_the_others_nothing_and_is_no_wrong_request(world: World) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        names = request.url.params["ids"].split(",")
        if "e-bad" in names:
            message = "The `ids` query parameter value [e-bad] does not match ^[0-9]{1,19}$"
            return json_answer(400, orjson.dumps({"errors": [{"message": message}], "type": "x/invalid-request"}))
        return json_answer(200, orjson.dumps({"data": [{"id": name, "public_metrics": {}} for name in names]}))

    world.wires["x"].answer = answer
    world.connect(platform="x")
    world.publish("a", "bad", "b")
    await world.time.advance(SECOND)
    assert {t.target_id for event in world.asked() if event.http_status == 200 for t in event.targets} == {"a", "b"}
    assert world.outcomes("x", "POST_METRICS") == {"target_refused": 1, "ok": 1}


async def test_a_failing_platform_opens_its_circuit_and_costs_the_others_nothing(world: World) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("slow")

    world.wires["x"].answer = refuse
    for number in range(100):
        world.connect(f"x{number}", platform="x")
    await world.time.advance(SECOND)
    assert len(world.wires["x"].requests) <= CIRCUIT_FAILURES + 8
    world.connect()
    world.publish("a")
    await world.time.advance(SECOND)
    assert len(world.asked()) == 1
    await world.time.advance(600 * SECOND)
    assert len(world.wires["x"].requests) < 40
    world.wires["x"].answer = lambda _: json_answer(200, b'{"data":[]}')
    await world.time.advance(600 * SECOND)
    assert {event.channel_id for event in world.publisher.events if event.platform == "x"} == {
        f"x{number}" for number in range(100)
    }


async def test_nothing_is_asked_while_kafka_is_away(world: World) -> None:
    world.publisher.room.clear()
    world.connect()
    world.publish("a")
    await world.time.advance(MILLIS_PER_HOUR)
    assert world.youtube.requests == []
    world.publisher.room.set()
    await world.time.advance(SECOND)
    assert len(world.asked()) == 1


async def test_a_mistake_in_a_platform_does_not_spin_or_spread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(type(world.platforms["x"]), "classify", broken)
    world.connect("cx", platform="x")
    world.publish("ax", channel_id="cx")
    world.connect()
    world.publish("a")
    await world.time.advance(10 * SECOND)
    assert len(world.wires["x"].requests) == 1
    assert len([event for event in world.asked() if event.platform == "youtube"]) == 1


async def test_tokens_that_cant_be_opened_pause_the_channel(world: World) -> None:
    other = TokenCipher(["another-key-of-some-length"])
    event = ChannelTokens("w1", "c1", other.encrypt(TokenPair("t"), ("w1", "c1")), "f", None, "put", START)
    world.catalog.put_tokens(("w1", "c1"), event, START)
    world.connect(token=None)
    world.publish("a")
    await world.time.advance(MILLIS_PER_HOUR)
    assert world.youtube.requests == []
    world.token("readable")
    await world.time.advance(SECOND)
    assert len(world.asked()) == 1


async def test_what_operators_see(world: World) -> None:
    world.registry.register(StateCollector(world.schedule, Room(1, 1), world.loop.in_flight, world.time.now))
    world.connect()
    world.publish(*(f"t{number}" for number in range(60)))
    await world.time.advance(SECOND)
    assert 'tidemark_poller_targets_due{platform="youtube"} 0.0' in generate_latest(world.registry).decode()
    world.time.at += MILLIS_PER_HOUR
    shown = generate_latest(world.registry).decode()
    assert 'tidemark_poller_targets_due{platform="youtube"} 60.0' in shown
    assert 'tidemark_poller_targets_overdue{platform="youtube"} 60.0' in shown
    assert 'tidemark_poller_rounds_in_flight{platform="youtube"} 0.0' in shown
    assert 'tidemark_poller_targets{platform="youtube"} 60.0' in shown
    assert 'tidemark_poller_targets_stale{platform="youtube"} 60.0' in shown


async def test_a_target_that_waits_for_another_try_grows_stale_all_the_same(world: World) -> None:
    lane = world.schedule.lanes["youtube"]
    world.connect()
    world.publish("a")
    await world.time.advance(SECOND)
    assert lane.due(world.time.at).stale == 0
    world.youtube.answer = lambda _: json_answer(503, b"{}")
    await world.time.advance(2 * MILLIS_PER_HOUR)
    found = lane.due(world.time.at)
    assert found.stale == 1
    # Two hours of half-hour intervals, less what jitter may have shortened the first.
    assert 3.8 < found.freshness <= 4.1
    world.youtube.answer = videos
    await world.time.advance(10 * 60 * SECOND)
    assert lane.due(world.time.at)[3:] == (0, 0.0)


async def test_a_page_s_token_without_user_content_gets_the_insights_in_one_call_more(world: World) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        fields = request.url.params.get("fields", "")
        if "reactions." in fields or "comments." in fields:
            error = {"code": 10, "message": "(#10) This endpoint requires the 'pages_read_user_content' permission"}
            return json_answer(400, orjson.dumps({"error": error}))
        actions = {"like": 3, "comment": 2, "share": 1}
        insights = [
            {"name": "post_media_view", "period": "lifetime", "values": [{"value": 70}]},
            {"name": "post_activity_by_action_type", "period": "lifetime", "values": [{"value": actions}]},
        ]
        return json_answer(200, orjson.dumps({"insights": {"data": insights}}))

    world.wires["facebook"].answer = answer
    world.connect(platform="facebook")
    world.publish("a")
    await world.time.advance(SECOND)
    assert world.calls("/v25.0/e-a") == 2
    (post,) = (
        world.platforms["facebook"]
        .read(next(event for event in world.asked() if event.targets and event.http_status == 200))
        .posts
    )
    shown = {name: post.values[at] for at, name in enumerate(POST_NAMES) if post.values[at] is not None}
    assert shown == {"views": 70, "likes": 3, "comments": 2, "shares": 1}
    await world.time.advance(MILLIS_PER_HOUR // 2)
    assert world.calls("/v25.0/e-a") == 3


async def test_a_metric_refused_without_its_name_is_searched_for_once(world: World) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        fields = request.url.params.get("fields", "")
        names = fields.partition("metric(")[2].partition(")")[0].split(",")
        if "post_clicks" in names:
            error = {"code": 100, "message": "(#100) The value must be a valid insights metric"}
            return json_answer(400, orjson.dumps({"error": error}))
        insights = [{"name": name, "period": "lifetime", "values": [{"value": 1}]} for name in names]
        return json_answer(200, orjson.dumps({"insights": {"data": insights}}))

    wire = world.wires["facebook"]
    wire.answer = answer
    world.connect(platform="facebook")
    names = [f"n{number}" for number in range(40)]
    world.publish(*names)
    await world.time.advance(5 * SECOND)
    read = {request.url.path for request in wire.requests if answer(request).status_code == 200}
    assert read >= {f"/v25.0/e-{name}" for name in names}
    refused = [request for request in wire.requests if answer(request).status_code == 400]
    # Those that were under way at once, the way to the one metric, and two more until it is known of the kind.
    assert len(refused) <= 8 + 4 + 2


async def test_a_metric_refused_without_its_name_costs_the_others_nothing(world: World) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        fields = request.url.params.get("fields", "")
        names = fields.partition("metric(")[2].partition(")")[0].split(",")
        if "post_clicks" in names:
            error = {"code": 100, "message": "(#100) The value must be a valid insights metric"}
            return json_answer(400, orjson.dumps({"error": error}))
        insights = [{"name": name, "period": "lifetime", "values": [{"value": 1}]} for name in names]
        return json_answer(200, orjson.dumps({"insights": {"data": insights}}))

    world.wires["facebook"].answer = answer
    world.connect(platform="facebook")
    world.publish("a")
    await world.time.advance(SECOND)
    read = [world.platforms["facebook"].read(event) for event in world.asked()]
    spoken = 0
    for reading in read:
        for one in reading.posts:
            spoken |= one.spoken
    assert {name for at, name in enumerate(POST_NAMES) if spoken >> at & 1} >= {"views", "reach", "video_views"}
    assert not spoken >> CLICKS & 1
    before = world.calls("/v25.0/e-a")
    await world.time.advance(MILLIS_PER_HOUR // 2)
    assert world.calls("/v25.0/e-a") == before + 1
    assert "post_clicks" not in world.asked()[-1].request["fields"]
