"""One exchange: room, lease and budget before the call, nothing published with a secret, and room given back."""

from __future__ import annotations

import asyncio

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry

from schemas.events import Origin
from services.platforms import all_platforms
from services.platforms.abilities import AcrossAccounts
from services.platforms.base import Channel, LimitState, Outcome, Target
from services.platforms.x import PLATFORM as X
from services.poller.asking.access import Access
from services.poller.asking.budget import Budget
from services.poller.asking.exchange import Answer, Closed, Exchange, Lost
from services.poller.asking.fetch import Fetcher
from services.poller.asking.following import read_answer
from services.poller.asking.money import Ledger
from services.poller.asking.questions import ChannelQuestion, SharedQuestion
from services.poller.connections.redact import Redactor
from services.poller.errors import AnswerTooLarge, TimedOut
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import Ownership
from services.poller.schedule.plan import Plan
from tests.support.manual_clock import ManualTime
from tests.support.memory_publisher import MemoryPublisher
from tests.support.parsing import counted
from tests.support.platform_transport import PlatformTransport, json_answer
from tests.unit.poller.asking.test_questions import of_channel

SECRET = "tok-1234567"
PARTITIONS = {"w1": 0, "w2": 1}


def videos(request: httpx.Request) -> httpx.Response:
    ids = request.url.params["id"].split(",")
    return json_answer(200, orjson.dumps({"items": [{"id": name, "statistics": {}} for name in ids], "echo": SECRET}))


class World:
    """An exchange with fakes at its edges; both workspaces are this process's."""

    def __init__(self, body_max_bytes: int = 10_000) -> None:
        self.time = ManualTime()
        self.wire = PlatformTransport(videos)
        self.publisher = MemoryPublisher()
        self.budget = Budget(lambda _, upper: upper)
        self.registry = CollectorRegistry()
        self.ownership = Ownership(2, 1000, lambda: 0, PARTITIONS.__getitem__)
        for number in PARTITIONS.values():
            self.ownership.gain(number)
            self.ownership.activate(number)
        self.ownership.prove(0)
        self.exchange = Exchange(
            time=self.time, platforms=all_platforms(),
            fetcher=Fetcher({}, transports=lambda *_: self.wire, body_max_bytes=body_max_bytes),
            publisher=self.publisher, budget=self.budget, metrics=PollerMetrics(self.registry),
            ownership=self.ownership, ledgers={"x": Ledger("x", X, None, set)},
        )  # fmt: skip
        self.access = Access({"authorization": f"Bearer {SECRET}"}, Redactor([SECRET]), ("w1", "c1"))
        self.app = Access({"x-goog-api-key": SECRET}, Redactor([SECRET]), None)

    async def ask(
        self, question: ChannelQuestion | SharedQuestion, *, is_probe: bool = False
    ) -> Answer | Lost | Closed:
        access = self.access if isinstance(question, ChannelQuestion) else self.app
        return await self.exchange.make("youtube", question, access, Origin.SCHEDULE, is_probe=is_probe)

    def outcomes(self) -> dict[str, float]:
        return {
            sample.labels["outcome"]: sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "tidemark_poller_calls_total"
        }


def polled(question: ChannelQuestion) -> ChannelQuestion:
    question.plan.active = True
    return question


def of_two_channels() -> SharedQuestion:
    platform = all_platforms()["youtube"]
    assert isinstance(platform, AcrossAccounts)
    asked = []
    for name in PARTITIONS:
        plan = Plan((name, "c1"))
        plan.active = True
        asked.append((plan, Target("a", "p-a", f"{name}-a")))
    return SharedQuestion(platform, asked)


@pytest.fixture
def world() -> World:
    return World()


async def test_an_answer_is_published_without_secrets_and_classified(world: World) -> None:
    found = await world.ask(polled(of_channel("a", "b")))
    assert isinstance(found, Answer)
    assert (found.verdict.outcome, found.at) == (Outcome.OK, world.time.at)
    assert list(found.events) == world.publisher.events
    (event,) = found.events
    assert SECRET.encode() not in event.body
    assert b'"echo":"***"' in event.body
    assert event.request["id"] == "e-a,e-b"
    assert world.wire.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert world.outcomes() == {"ok": 1}
    assert world.publisher.reserved == 0


async def test_the_lease_is_checked_after_room_was_waited_for(world: World) -> None:
    world.publisher.room.clear()
    asking = asyncio.create_task(world.ask(polled(of_channel("a"))))
    await world.time.settle()
    world.ownership.drain([PARTITIONS["w1"]])
    world.publisher.room.set()
    assert await asking == Lost(frozenset({("w1", "c1")}))
    assert not world.wire.requests
    assert world.publisher.reserved == 0


async def test_a_channel_that_was_paused_meanwhile_is_not_asked_but_for_a_probe(world: World) -> None:
    question = polled(of_channel("a"))
    question.plan.paused = True
    assert isinstance(await world.ask(question), Lost)
    assert not world.wire.requests
    assert isinstance(await world.ask(question, is_probe=True), Answer)


async def test_nothing_is_asked_beyond_the_budget(world: World) -> None:
    question, now = polled(of_channel("a")), world.time.at
    key = world.access.window("youtube", question.call.limit_group)
    world.budget.observe(key, LimitState(100, 0, now + 5000), now)
    assert await world.ask(question) == Closed(now + 5000)
    assert not world.wire.requests
    assert world.publisher.reserved == 0


async def test_a_shared_answer_is_one_event_a_channel_each_with_room_of_its_own(world: World) -> None:
    found = await world.ask(of_two_channels())
    assert isinstance(found, Answer)
    assert [event.workspace_id for event in found.events] == ["w1", "w2"]
    assert b"w2-a" not in found.events[0].body
    assert all(SECRET.encode() not in event.body for event in found.events)
    assert world.publisher.reserved == 0
    assert world.outcomes() == {"ok": 1}


async def test_a_shared_question_is_not_asked_while_one_channel_is_lost(world: World) -> None:
    world.ownership.drain([PARTITIONS["w2"]])
    question = of_two_channels()
    found = await world.ask(question)
    assert found == Lost(frozenset({("w2", "c1")}))
    (left,) = question.without({("w2", "c1")})
    assert isinstance(await world.ask(left), Answer)
    assert [request.url.params["id"] for request in world.wire.requests] == ["w1-a"]


@pytest.mark.parametrize(
    ("error", "expected"), [(httpx.ReadTimeout("slow"), TimedOut), (None, AnswerTooLarge)], ids=["slow", "too large"]
)
async def test_without_an_answer_room_is_given_back_and_the_reason_is_counted(
    world: World, error: Exception | None, expected: type[TimedOut | AnswerTooLarge]
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        if error is not None:
            raise error
        return json_answer(200, b'"' + b"x" * 20_000 + b'"')

    world.wire.answer = answer
    with pytest.raises(expected):
        await world.ask(polled(of_channel("a")))
    assert world.publisher.events == []
    assert world.publisher.reserved == 0
    assert world.outcomes() == {expected.code: 1}


async def test_a_proof_is_sent_and_recorded_nowhere() -> None:
    world = World()
    access = world.access._replace(proof=(("appsecret_proof", "c0ffee-c0ffee"),))
    question = polled(of_channel("c1", "a"))
    found = await world.exchange.make("youtube", question, access, Origin.SCHEDULE)
    assert isinstance(found, Answer)
    (sent,) = world.wire.requests
    assert sent.url.params["appsecret_proof"] == "c0ffee-c0ffee"
    assert found.events[0].request == question.call.request_map()
    assert "appsecret_proof" not in found.events[0].request


async def test_a_token_s_own_origin_is_asked() -> None:
    world = World()
    access = world.access._replace(origin="https://graph.instagram.example")
    await world.exchange.make("youtube", polled(of_channel("c1", "a")), access, Origin.SCHEDULE)
    (sent,) = world.wire.requests
    assert sent.url.host == "graph.instagram.example"


async def test_an_answer_is_parsed_once_by_all_who_read_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel("w1", "c1", "44")
    (call,) = X.post_calls(channel, [Target(name, f"p{name}", f"10{name}", "text") for name in "12"])
    world.wire.answer = lambda _: json_answer(200, b'{"data":[{"id":"101","public_metrics":{"like_count":1}}]}')
    parsed = counted(monkeypatch)
    question = polled(ChannelQuestion(X, Plan(("w1", "c1")), channel, call))
    found = await world.exchange.make("x", question, world.access, Origin.SCHEDULE)
    assert isinstance(found, Answer)
    meaning = read_answer(X, question, found)
    assert meaning.verdict.outcome is Outcome.OK
    assert parsed == [found.events[0].body]


async def test_what_a_large_answer_parses_to_is_not_held_while_it_is_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(body_max_bytes=200_000)
    items = [{"id": f"n{number:04}", "etag": "x" * 80} for number in range(1_500)]
    world.wire.answer = lambda _: json_answer(200, orjson.dumps({"items": items}))
    parsed = counted(monkeypatch)
    question = polled(of_channel("a"))
    found = await world.ask(question)
    assert isinstance(found, Answer)
    read_answer(all_platforms()["youtube"], question, found)
    assert len(parsed) > 1
    assert not found.parsed.bodies
    assert not found.parsed.made


async def test_a_shared_answer_is_parsed_once_and_each_part_of_it_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed, question = counted(monkeypatch), of_two_channels()
    found = await world.ask(question)
    assert isinstance(found, Answer)
    read_answer(all_platforms()["youtube"], question, found)
    whole, redacted, *parts = parsed
    # The answer echoes a secret, which is blanked before it is read any further.
    assert SECRET.encode() in whole
    assert redacted == whole.replace(SECRET.encode(), b"***")
    assert parts == [event.body for event in found.events]
