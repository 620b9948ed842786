"""Polls of X through the whole loop: what they cost is booked, told, kept to, and known again after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry

from schemas.codec import Codec, codec, schema_text
from schemas.events import CatalogChannel, ChannelTokens, PlatformRaw, PollerSpending, RawKind
from schemas.topic_names import SPENDING
from services.platforms import all_platforms
from services.platforms.abilities import AcrossAccounts
from services.platforms.base import Target
from services.platforms.x import PLATFORM as X
from services.poller.asking.budget import Budget
from services.poller.asking.channel_rounds import ChannelRounds
from services.poller.asking.circuit import Circuit
from services.poller.asking.exchange import Exchange
from services.poller.asking.fetch import Fetcher
from services.poller.asking.shared_rounds import App, SharedRounds
from services.poller.asking.upkeep import Upkeep
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.loop import Loop
from services.poller.metrics import PollerMetrics, StateCollector
from services.poller.publisher import Room
from services.poller.schedule.schedule import Schedule
from services.poller.spending import FLUSH, Spending, ledgers
from services.runtime.brokers import Record
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR
from services.runtime.kafka import key as message_key
from services.runtime.secrets import TokenCipher, TokenPair
from tests.support.manual_clock import ManualTime
from tests.support.memory_publisher import MemoryPublisher
from tests.support.platform_transport import PlatformTransport, json_answer
from tests.unit.poller.builders import post, target

CIPHER = TokenCipher(["0123456789abcdef"])
CODEC: Codec[PollerSpending] = codec(SPENDING, schema_id=1, fetch_schema=lambda _: schema_text(SPENDING))
APP_TOKEN = "an-app-token-1234"


class Told(MemoryPublisher):
    """Also takes records of spending."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[bytes, PollerSpending]] = []

    async def put(self, topic: str, workspace_id: str, message_key: bytes, event: object | None) -> None:
        assert topic == SPENDING
        assert isinstance(event, PollerSpending)
        self.records.append((message_key, event))


def x(request: httpx.Request) -> httpx.Response:
    """X, for any post and account."""
    ids = request.url.params["ids"].split(",")
    if request.url.path == "/2/users":
        return json_answer(
            200, orjson.dumps({"data": [{"id": one, "public_metrics": {"followers_count": 1}} for one in ids]})
        )
    fields = request.url.params["tweet.fields"].split(",")
    return json_answer(200, orjson.dumps({"data": [{"id": one, **{name: {} for name in fields}} for one in ids]}))


class World:
    """A poller of X with a budget."""

    def __init__(self, dollars: str | None = None, *, with_app: bool = False) -> None:
        self.time, self.wire, self.publisher = ManualTime(), PlatformTransport(x), Told()
        platforms = all_platforms()
        self.schedule = Schedule({"x": 100})
        accounts, self.tokens = Accounts(), TokenStore(CIPHER, {})
        self.catalog = Catalog({}, self.schedule, self.tokens, accounts)
        fetcher = Fetcher({}, transports=lambda *_: self.wire)
        self.registry = CollectorRegistry()
        metrics, budget = PollerMetrics(CollectorRegistry()), Budget(lambda _, upper: upper)
        circuits = {"x": Circuit(lambda _, upper: upper)}
        self.books = ledgers(platforms, {"x": None if dollars is None else Decimal(dollars)}, self.schedule)
        self.spending = Spending(
            time=self.time, platforms=platforms, schedule=self.schedule, ledgers=self.books, publisher=self.publisher,
            codec=CODEC,
        )  # fmt: skip
        exchange = Exchange(
            time=self.time, platforms=platforms, fetcher=fetcher, publisher=self.publisher, budget=budget,
            metrics=metrics, ledgers=self.books,
        )  # fmt: skip
        upkeep = Upkeep(
            time=self.time, schedule=self.schedule, publisher=self.publisher, tokens=self.tokens, accounts=accounts
        )
        self.rounds = ChannelRounds(
            time=self.time, platforms=platforms, schedule=self.schedule, exchange=exchange, upkeep=upkeep,
            budget=budget, circuits=circuits, metrics=metrics, ledgers=self.books,
        )  # fmt: skip
        platform = platforms["x"]
        assert isinstance(platform, AcrossAccounts)
        shared = SharedRounds(
            time=self.time, platforms=platforms, schedule=self.schedule, exchange=exchange,
            apps={"x": App(platform, APP_TOKEN)}, budget=budget, circuits=circuits, metrics=metrics,
            ledgers=self.books,
        )  # fmt: skip
        loop = Loop(self.time, self.schedule, self.rounds, circuits, 8, shared=shared if with_app else None)
        self.registry.register(StateCollector(self.schedule, Room(1, 1), dict, self.time.now, ledgers=self.books))
        self.tasks = [asyncio.create_task(loop.run()), asyncio.create_task(self.spending.run())]

    def connect(self, workspace_id: str, *ids: int | str, age: int = 0) -> None:
        """A channel with text posts."""
        key, now = (workspace_id, "c1"), self.time.at
        sealed = CIPHER.encrypt(TokenPair("a-token"), key)
        self.catalog.put_tokens(key, ChannelTokens(*key, sealed, "f", None, "put", now), now)
        event = CatalogChannel(*key, "x", str(900 + len(workspace_id)), "name", "active", None, now)
        self.catalog.put_channel(key, event, now)
        for number in ids:
            of = replace(target(f"t{number}", external_id=str(number), published_at=now - age), post_type="text")
            made = post(of, post_id=f"p{number}", published_at=now - age, workspace_id=workspace_id)
            self.catalog.put_post(workspace_id, made.post_id, made, now)

    def asked(self, *, owner: bool | None = None) -> list[list[str]]:
        """Ids of each call for posts: all, those with an owner's token, or those with the app's."""
        return [
            request.url.params["ids"].split(",")
            for request in self.wire.requests
            if request.url.path == "/2/tweets"
            and owner in (None, request.headers["authorization"] != f"Bearer {APP_TOKEN}")
        ]

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def worlds() -> AsyncIterator[list[World]]:
    made: list[World] = []
    yield made
    for world in made:
        await world.close()


def usd(world: World, name: str) -> dict[str, float]:
    """A gauge of money by its last label."""
    return {
        list(sample.labels.values())[-1]: round(sample.value, 4)
        for metric in world.registry.collect()
        for sample in metric.samples
        if sample.name == name
    }


async def test_a_post_and_the_account_cost_once_a_day_however_often_they_are_polled(worlds: list[World]) -> None:
    worlds.append(world := World())
    world.connect("w1", 1, 2)
    await world.time.advance(2 * MILLIS_PER_HOUR)
    assert len(world.asked()) > 3
    assert usd(world, "tidemark_poller_spent_usd") == {"x": 0.02}
    assert usd(world, "tidemark_poller_workspace_spent_usd") == {"w1": 0.02}
    assert usd(world, "tidemark_poller_money_left_usd") == {}
    await world.time.advance(FLUSH)
    key, record = world.publisher.records[-1]
    assert (key, sum(record.days), record.share) == (b"w1/x/2026-" + record.month[-2:].encode(), 20_000, None)


async def test_the_account_s_own_figures_are_read_once_a_day(worlds: list[World]) -> None:
    worlds.append(world := World())
    world.connect("w1")
    await world.time.advance(MILLIS_PER_DAY)
    calls = [request for request in world.wire.requests if request.url.path == "/2/users"]
    assert 1 <= len(calls) <= 2


async def test_a_spent_budget_stops_scheduled_polls_and_then_live_pulls(worlds: list[World]) -> None:
    # 30 posts are $0.15; a day's part of a cent is soon spent.
    worlds.append(world := World("0.01"))
    world.connect("w1", *range(1, 31))
    await world.time.advance(MILLIS_PER_HOUR)
    assert world.books["x"].state(world.time.at).spent <= 10_000
    assert usd(world, "tidemark_poller_money_left_usd")["x"] >= 0
    scheduled, plan = world.asked(), world.schedule.plans["w1", "c1"]
    assert plan.channel is not None
    heard: list[PlatformRaw] = []
    for number in range(1_000, 1_010):
        (call,) = X.post_calls(plan.channel, [Target("t", "p", str(number), "text")], world.time.at)
        await world.rounds.pull("x", plan, [call], heard.append)
    # A cent buys two posts at most; who waits gets what scheduled polls left.
    assert 0 < len(heard) <= 2
    assert world.books["x"].state(world.time.at).left == 0
    (again,) = X.post_calls(plan.channel, [Target("t", "p", "1000", "text")], world.time.at)
    await world.rounds.pull("x", plan, [again], heard.append)
    assert heard[-1].captured_at == world.time.at, "what was read today is asked for whatever is spent"
    await world.time.advance(MILLIS_PER_HOUR)
    assert len(world.asked()) - len(scheduled) <= len(heard)


async def test_what_others_spent_counts_and_a_restart_goes_on(worlds: list[World]) -> None:
    worlds.append(first := World("100"))
    first.connect("w1", 1, 2)
    await first.time.advance(FLUSH + 1_000)
    worlds.append(second := World("100"))
    for offset, (key, record) in enumerate(first.publisher.records):
        second.spending.fold()(SPENDING, Record(SPENDING, 0, offset, 0, key, CODEC.encode(record)))
    assert second.books["x"].state(second.time.at).spent == first.books["x"].state(first.time.at).spent > 0
    for event in first.publisher.events:
        second.spending.replay(event)
    assert second.books["x"].state(second.time.at).spent == first.books["x"].state(first.time.at).spent


async def test_a_record_of_a_time_to_come_keeps_nothing_out_of_the_books(worlds: list[World]) -> None:
    worlds.append(first := World("100"))
    first.connect("w1", 1, 2)
    await first.time.advance(FLUSH + 1_000)
    worlds.append(second := World("100"))
    await second.time.advance(2 * FLUSH)
    (key, record), *_ = first.publisher.records
    empty = replace(record, days=(0,) * 31, reads={})
    absurd = [replace(empty, as_of=2**50), *(replace(empty, month=month) for month in ("9998-01", "9999-12"))]
    fold = second.spending.fold()
    fold(SPENDING, Record(SPENDING, 0, 0, 0, key, CODEC.encode(absurd[0])))
    await second.time.advance(MILLIS_PER_HOUR)
    event = first.publisher.events[0]
    second.spending.replay(replace(event, captured_at=second.time.at))
    spent = second.books["x"].state(second.time.at).spent
    assert spent > 0
    for offset, one in enumerate(absurd[1:], 1):
        of_month = message_key("w1", "x", one.month)
        fold(SPENDING, Record(SPENDING, 0, offset, 0, of_month, CODEC.encode(one)))
    assert second.books["x"].state(second.time.at).spent == spent


async def test_an_entry_that_was_captured_today_costs_nothing_more(worlds: list[World]) -> None:
    worlds.append(world := World())
    world.connect("w1", 1)
    plan = world.schedule.plans["w1", "c1"]
    (entry,) = plan.live()
    world.spending.target_was_read(entry, world.time.at)
    world.spending.channel_was_read(("w1", "c1"), world.time.at)
    await world.time.advance(2_000)
    assert world.asked() == [["1"]]
    assert world.books["x"].state(world.time.at).spent == 0


async def test_with_an_app_s_token_the_owner_is_asked_for_the_private_figures(worlds: list[World]) -> None:
    worlds.append(world := World(with_app=True))
    world.connect("w1", 1, 2)
    world.connect("w22", 3)
    await world.time.advance(2_000)
    assert [sorted(ids) for ids in world.asked(owner=False)] == [["1", "2", "3"]]
    assert sorted(world.asked(owner=True)) == [["1", "2"], ["3"]]
    spoken = [event for event in world.publisher.events if event.kind == RawKind.POST_METRICS]
    assert {event.request["tweet.fields"] for event in spoken if event.workspace_id == "w1"} == {
        "public_metrics",
        "public_metrics,non_public_metrics,organic_metrics",
    }
    # Both read the same posts on one day: three posts and two accounts are paid for.
    assert world.books["x"].state(world.time.at).spent == 3 * 5_000 + 2 * 10_000
    await world.time.advance(MILLIS_PER_HOUR // 2)
    assert (len(world.asked(owner=False)), len(world.asked(owner=True))) == (2, 4)


async def test_one_id_that_is_none_silences_no_other_post_and_is_hardly_asked_for(worlds: list[World]) -> None:
    """Source: abraham/twitteroauth issue 1028."""

    def answer(request: httpx.Request) -> httpx.Response:
        bad = [one for one in request.url.params["ids"].split(",") if not one.isdigit()]
        if not bad:
            return x(request)
        message = f"The `ids` query parameter value [{bad[0]}] is not valid"
        errors = [{"parameters": {"ids": [request.url.params["ids"]]}, "message": message}]
        problem = {"errors": errors, "title": "Invalid Request", "type": "x/problems/invalid-request"}
        return json_answer(400, orjson.dumps(problem))

    worlds.append(world := World())
    world.wire.answer = answer
    world.connect("w1", 1, "status/3", 2)
    await world.time.advance(MILLIS_PER_DAY)
    polls = [event for event in world.publisher.events if event.kind == RawKind.POST_METRICS]
    good = [event for event in polls if event.http_status == 200]
    assert len(good) >= 45
    assert {frozenset(one.external_id for one in event.targets) for event in good} == {frozenset({"1", "2"})}
    assert 1 <= len(polls) - len(good) <= 8
