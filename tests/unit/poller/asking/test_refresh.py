"""Refreshing tokens with a hand-moved clock: when, how often, what is written in which order, what is never shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qs

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from schemas.events import CatalogChannel, ChannelTokens
from schemas.topic_names import CHANNELS, TOKENS
from services.platforms import all_platforms
from services.poller.asking.budget import Budget
from services.poller.asking.circuit import Circuit
from services.poller.asking.fetch import Fetcher
from services.poller.asking.refresh import FINAL_BASE, TOKENS_LATE, Refresher
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.loop import Loop
from services.poller.metrics import PollerMetrics
from services.poller.schedule.schedule import Schedule
from services.runtime.clock import MILLIS_PER_HOUR
from services.runtime.secrets import SecretsError, TokenCipher, TokenPair, is_bound
from tests.support.manual_clock import START, ManualTime
from tests.support.memory_publisher import MemoryPublisher
from tests.support.platform_transport import PlatformTransport, json_answer
from tests.support.unbound_tokens import unbound_ciphertext
from tests.unit.poller.builders import channel, channel_rounds, post, target

SECOND = 1000
KEY = ("w1", "c1")
SECRET = "0123456789abcdef"
CIPHER = TokenCipher([SECRET])
TOKEN_PATH = "/2/oauth2/token"


class X:
    """The X of these tests: one access and one refresh token work at a time, each refresh token once."""

    def __init__(self) -> None:
        self.access, self.refresh, self.count = "access-0", "refresh-0", 0
        self.refused: Callable[[], httpx.Response] | None = None
        self.stands_in: Callable[[httpx.Request], httpx.Response] | None = None
        self.life_seconds = 7200
        self.spent_twice = False
        self.used: set[str] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.stands_in is not None:
            return self.stands_in(request)
        if request.url.path == TOKEN_PATH:
            return self._token(request)
        if request.headers.get("authorization") != f"Bearer {self.access}":
            return json_answer(401, orjson.dumps({"title": "Unauthorized", "type": "about:blank", "status": 401}))
        ids = (request.url.params.get("ids") or "").split(",")
        return json_answer(200, orjson.dumps({"data": [{"id": name, "public_metrics": {}} for name in ids]}))

    def _token(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "POST"
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        token = parse_qs(request.content.decode())["refresh_token"][0]
        if self.refused is not None:
            return self.refused()
        self.spent_twice = self.spent_twice or token in self.used
        self.used.add(token)
        if token != self.refresh:
            return token_refused()
        self.count += 1
        self.access, self.refresh = f"access-{self.count}", f"refresh-{self.count}"
        pair = {"access_token": self.access, "refresh_token": self.refresh}
        return json_answer(200, orjson.dumps({**pair, "token_type": "bearer", "expires_in": self.life_seconds}))


def status_answer(status: int) -> Callable[[], httpx.Response]:
    return lambda: json_answer(status, b"{}")


def token_refused() -> httpx.Response:
    body = {"error": "invalid_request", "error_description": "Value passed for the token was invalid."}
    return json_answer(400, orjson.dumps(body))


class World:
    """A poller that refreshes, with fakes at its edges."""

    def __init__(self) -> None:
        self.time = ManualTime()
        self.x = X()
        platforms = all_platforms()
        self.schedule = Schedule({name: known.facts.post_batch_size for name, known in platforms.items()})
        self.accounts = Accounts()
        self.tokens = TokenStore(CIPHER, {"x": ("client-secret",)})
        self.catalog = Catalog({}, self.schedule, self.tokens, self.accounts)
        self.publisher = MemoryPublisher()
        self.wire = PlatformTransport(self.x)
        fetcher = Fetcher({}, transports=lambda *_: self.wire)
        self.registry = CollectorRegistry()
        metrics = PollerMetrics(self.registry)
        self.refresher = Refresher(
            time=self.time, platforms=platforms, fetcher=fetcher, publisher=self.publisher, tokens=self.tokens,
            catalog=self.catalog, accounts=self.accounts, metrics=metrics, uniform=lambda _, upper: upper,
        )  # fmt: skip
        circuits = {name: Circuit(lambda _, upper: upper) for name in platforms}
        rounds = channel_rounds(
            time=self.time, platforms=platforms, schedule=self.schedule, fetcher=fetcher, publisher=self.publisher,
            tokens=self.tokens, accounts=self.accounts, budget=Budget(lambda _, upper: upper), circuits=circuits,
            metrics=metrics, refresher=self.refresher, uniform=lambda _, upper: upper,
        )  # fmt: skip
        loop = Loop(self.time, self.schedule, rounds, circuits, 8)
        self.tasks = [asyncio.create_task(loop.run()), asyncio.create_task(self.refresher.run())]

    def connect(self, status: str = "active", platform: str = "x") -> None:
        self.catalog.put_channel(KEY, channel(platform=platform, status=status, updated_at=self.time.at), self.time.at)

    def put(
        self, access: str | None, refresh: str | None, expires_at: int | None = None, fingerprint: str = "f"
    ) -> None:
        """What a PUT with tokens does."""
        ciphertext = CIPHER.encrypt(TokenPair(access, refresh), KEY)
        event = ChannelTokens("w1", "c1", ciphertext, fingerprint, expires_at, "put", self.time.at)
        self.catalog.put_tokens(KEY, event, self.time.at)

    def publish(self, *names: str) -> None:
        for name in names:
            event = post(target(name), post_id=f"p-{name}", published_at=self.time.at)
            self.catalog.put_post("w1", event.post_id, event, self.time.at)

    def refreshes(self) -> int:
        return sum(request.url.path == TOKEN_PATH for request in self.wire.requests)

    def held(self) -> TokenPair:
        return self.tokens.credentials(KEY, "x").pair

    def written(self, topic: str) -> list[CatalogChannel | ChannelTokens]:
        return [event for name, event in self.publisher.written if name == topic]

    def said(self) -> list[str]:
        return [event.type for event in self.publisher.announced]

    def status(self) -> str:
        return self.catalog.channels[KEY].status


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    assert made.publisher.reserved == 0
    assert not made.x.spent_twice, "a refresh token that works once was sent twice"
    published = b"".join(event.body + str(event.request).encode() for event in made.publisher.events)
    assert b"refresh-" not in published
    assert not any(event.endpoint == TOKEN_PATH for event in made.publisher.events)


async def test_a_token_is_refreshed_shortly_before_its_end(world: World) -> None:
    world.put("access-0", "refresh-0", START + MILLIS_PER_HOUR)
    world.connect()
    world.publish("a")
    await world.time.advance(MILLIS_PER_HOUR - 600 * SECOND)
    assert world.refreshes() == 0
    await world.time.advance(MILLIS_PER_HOUR)
    assert world.refreshes() == 1
    assert world.held() == TokenPair("access-1", "refresh-1")
    assert {event.http_status for event in world.publisher.events} == {200}
    assert world.said() == []


async def test_the_new_pair_is_durable_and_keeps_what_was_put(world: World) -> None:
    world.x.access = "access-other"
    world.put("access-0", "refresh-0", fingerprint="the-put")
    world.connect()
    await world.time.advance(SECOND)
    (event,) = world.written(TOKENS)
    assert isinstance(event, ChannelTokens)
    assert CIPHER.decrypt(event.ciphertext, KEY) == TokenPair("access-1", "refresh-1") == world.held()
    assert (event.put_fingerprint, event.origin) == ("the-put", "refresh")
    assert event.token_expires_at is not None
    assert START + 7200 * SECOND <= event.token_expires_at <= START + 7201 * SECOND
    (shown,) = world.written(CHANNELS)
    assert isinstance(shown, CatalogChannel)
    assert (shown.status, shown.token_expires_at) == ("active", event.token_expires_at)
    assert world.said() == []
    assert world.publisher.events[-1].http_status == 200


async def test_the_old_pair_stays_until_the_new_one_is_durable(world: World) -> None:
    world.x.access = "access-other"
    world.put("access-0", "refresh-0")
    allowed = asyncio.Event()
    write = world.publisher.write

    async def slow(topic: str, event: CatalogChannel | ChannelTokens) -> None:
        await allowed.wait()
        await write(topic, event)

    world.publisher.write = slow  # type: ignore[method-assign]
    world.connect()
    await world.time.advance(SECOND)
    assert world.refreshes() == 1
    assert world.held() == TokenPair("access-0", "refresh-0")
    allowed.set()
    await world.time.advance(SECOND)
    assert world.held() == TokenPair("access-1", "refresh-1")


async def test_no_platform_is_asked_for_tokens_while_kafka_is_away(world: World) -> None:
    world.put("access-0", "refresh-0", START)
    world.connect("token_expired")
    world.publisher.room.clear()
    await world.time.advance(MILLIS_PER_HOUR)
    assert world.refreshes() == 0
    world.publisher.room.set()
    await world.time.advance(SECOND)
    assert world.refreshes() == 1


async def test_one_refresh_at_a_time_however_many_ask(world: World) -> None:
    world.x.access = "access-other"
    world.put("access-0", "refresh-0")
    world.connect()
    renewals = await asyncio.gather(*(world.refresher.renew("x", KEY) for _ in range(20)))
    assert all(renewal.done for renewal in renewals)
    assert world.refreshes() == 1


async def test_whoever_waits_may_leave_and_the_refresh_goes_on(world: World) -> None:
    world.put("access-0", "refresh-0")
    waiting = asyncio.create_task(world.refresher.renew("x", KEY))
    await asyncio.sleep(0)
    waiting.cancel()
    await world.refresher.close(5)
    assert world.held() == TokenPair("access-1", "refresh-1")


async def test_a_refresh_that_fails_for_good_expires_the_channel_and_says_so_once(world: World) -> None:
    world.put("access-old", "refresh-old")
    world.connect()
    world.publish("a")
    await world.time.advance(10 * SECOND)
    assert world.status() == "token_expired"
    assert world.said() == ["account.token_expired"]
    assert [event.status for event in world.written(CHANNELS) if isinstance(event, CatalogChannel)] == ["token_expired"]
    asked = len(world.publisher.events)
    await world.time.advance(24 * MILLIS_PER_HOUR)
    assert len(world.publisher.events) == asked, "a token_expired channel is not polled"
    assert world.said() == ["account.token_expired"]
    assert world.written(TOKENS) == []
    world.x.used.clear()  # it is tried again with the same refresh token, on purpose
    world.x.spent_twice = False


async def test_the_refresh_of_an_expired_channel_is_tried_ever_more_seldom(world: World) -> None:
    world.x.refused = token_refused
    world.put("access-old", "refresh-old")
    world.connect("token_expired")
    counts = []
    for _ in range(4):
        before = world.refreshes()
        await world.time.advance(6 * MILLIS_PER_HOUR)
        counts.append(world.refreshes() - before)
    assert counts[0] > counts[-1] >= 0
    assert 3 <= sum(counts) <= 14
    assert world.said() == []
    assert world.publisher.events == []


async def test_it_recovers_when_a_later_try_works(world: World) -> None:
    world.x.refused = token_refused
    world.put("access-old", "refresh-0")
    world.connect()
    world.publish("a")
    await world.time.advance(SECOND)
    assert world.status() == "token_expired"
    world.x.refused = None
    await world.time.advance(3 * FINAL_BASE)
    assert world.status() == "active"
    assert world.said() == ["account.token_expired", "account.recovered"]
    assert world.publisher.events[-1].http_status == 200
    world.put("access-1", "refresh-1")
    await world.time.advance(MILLIS_PER_HOUR)
    assert world.said() == ["account.token_expired", "account.recovered"]


async def test_a_put_of_new_tokens_recovers_at_once(world: World) -> None:
    world.put("access-old", "refresh-old")
    world.connect()
    world.publish("a")
    await world.time.advance(10 * SECOND)
    assert world.status() == "token_expired"
    tries = world.refreshes()
    world.put("access-0", "refresh-0", fingerprint="another")
    world.connect()
    await world.time.advance(SECOND)
    assert world.status() == "active"
    assert world.publisher.events[-1].http_status == 200
    assert world.said() == ["account.token_expired", "account.recovered"]
    assert world.refreshes() == tries


async def test_a_restart_finds_expired_channels_and_tries_them(world: World) -> None:
    world.put("access-old", "refresh-0")
    world.connect("token_expired")
    await world.time.advance(SECOND)
    assert world.status() == "active"
    assert world.said() == ["account.recovered"]


async def test_a_token_endpoint_that_is_down_costs_no_status(world: World) -> None:
    world.x.refused = status_answer(503)
    world.put("access-old", "refresh-0")
    world.connect()
    world.publish("a")
    await world.time.advance(30 * SECOND)
    assert world.status() == "active"
    assert world.said() == []
    assert 2 <= world.refreshes() <= 8
    world.x.refused = None
    await world.time.advance(MILLIS_PER_HOUR)
    assert world.held() == TokenPair("access-1", "refresh-1")
    assert world.publisher.events[-1].http_status == 200
    assert b'outcome="platform_unavailable",platform="x"' in generate_latest(world.registry)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 407])
async def test_a_page_of_a_proxy_ends_no_connection(world: World, status: int) -> None:
    """Neither in place of the platform's answers nor in place of the token endpoint's."""

    def page(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"content-type": "text/html"}, content=b"<html>Sign in</html>")

    world.x.stands_in = page
    world.put("access-0", "refresh-0", START + 400 * SECOND)
    world.connect()
    world.publish("a")
    await world.time.advance(MILLIS_PER_HOUR)
    assert world.status() == "active"
    assert world.said() == []
    world.x.stands_in = None
    await world.time.advance(MILLIS_PER_HOUR)
    assert world.status() == "active"
    assert world.publisher.events[-1].http_status == 200


async def test_a_token_that_still_works_is_used_while_its_refresh_has_to_wait(world: World) -> None:
    world.x.refused = status_answer(503)
    world.put("access-0", "refresh-0", START + 200 * SECOND)
    world.connect()
    await world.time.advance(SECOND)
    assert [event.http_status for event in world.publisher.events] == [200]
    assert world.refreshes() == 1


async def test_an_absurd_wait_of_a_token_endpoint_is_obeyed_for_a_day(world: World) -> None:
    world.x.refused = lambda: json_answer(429, b"{}", retry_after="999999999999")
    world.put("access-old", "refresh-0")
    world.connect()
    world.publish("a")
    await world.time.advance(MILLIS_PER_HOUR)
    refreshes = world.refreshes()
    world.x.refused = None
    await world.time.advance(22 * MILLIS_PER_HOUR)
    assert world.refreshes() == refreshes
    await world.time.advance(3 * MILLIS_PER_HOUR)
    assert world.held() == TokenPair("access-1", "refresh-1")
    assert world.publisher.events[-1].http_status == 200


async def test_without_a_refresh_token_the_channel_expires_at_once(world: World) -> None:
    world.put("access-old", None)
    world.connect()
    await world.time.advance(SECOND)
    assert world.status() == "token_expired"
    assert world.said() == ["account.token_expired"]
    await world.time.advance(24 * MILLIS_PER_HOUR)
    assert world.refreshes() == 0


async def test_a_channel_without_any_token_is_token_expired_and_not_asked(world: World) -> None:
    world.connect()
    await world.time.advance(TOKENS_LATE - SECOND)
    assert world.status() == "active", "its token may be on its way"
    await world.time.advance(2 * SECOND)
    assert world.status() == "token_expired"
    assert world.said() == []
    assert world.wire.requests == []


async def test_a_token_that_comes_after_its_channel_costs_no_status(world: World) -> None:
    world.connect()
    await world.time.advance(2 * SECOND)
    world.put("access-0", None)
    await world.time.advance(TOKENS_LATE)
    assert world.status() == "active"
    assert [event.http_status for event in world.publisher.events] == [200]


async def test_a_new_token_that_fails_too_is_not_refreshed_again_and_again(world: World) -> None:
    world.put("access-0", "refresh-0")
    world.x.access = "access-other"
    answer = world.x._token

    def useless(request: httpx.Request) -> httpx.Response:
        found = answer(request)
        world.x.access = "access-other"
        return found

    world.x._token = useless  # type: ignore[method-assign]
    world.connect()
    await world.time.advance(SECOND)
    assert world.refreshes() == 1
    assert world.said() == ["account.token_expired"]
    await world.time.advance(24 * MILLIS_PER_HOUR)
    assert 5 <= world.refreshes() <= 14


async def test_a_put_during_a_refresh_wins(world: World) -> None:
    world.x.access = "access-other"
    world.put("access-0", "refresh-0", fingerprint="first")
    write = world.publisher.write

    async def overtaken(topic: str, event: CatalogChannel | ChannelTokens) -> None:
        if topic == TOKENS and event.updated_at and len(world.written(TOKENS)) == 0:
            world.put("access-put", "refresh-put", fingerprint="second")
        await write(topic, event)

    world.publisher.write = overtaken  # type: ignore[method-assign]
    await world.refresher.renew("x", KEY)
    await world.time.settle()
    assert world.held() == TokenPair("access-put", "refresh-put")
    last = world.written(TOKENS)[-1]
    assert isinstance(last, ChannelTokens)
    assert last.put_fingerprint == "second", "the topic ends with what was put"


async def test_what_comes_back_from_the_topic_changes_nothing(world: World) -> None:
    world.put("access-0", "refresh-0")
    for _ in range(2):
        await world.refresher.renew("x", KEY)
        world.time.at += FINAL_BASE
    first, second = world.written(TOKENS)
    assert isinstance(first, ChannelTokens)
    assert isinstance(second, ChannelTokens)
    world.time.at += 1
    for event in (first, second):
        world.catalog.put_tokens(KEY, event, world.time.at)
        assert world.held() == TokenPair("access-2", "refresh-2")
    assert world.written(TOKENS) == [first, second]


async def test_a_deleted_channel_is_left_alone(world: World) -> None:
    world.x.refused = token_refused
    world.put("access-old", "refresh-old")
    world.connect("token_expired")
    await world.time.advance(SECOND)
    tries = world.refreshes()
    world.catalog.put_channel(KEY, None, world.time.at)
    world.catalog.put_tokens(KEY, None, world.time.at)
    await world.time.advance(24 * MILLIS_PER_HOUR)
    assert world.refreshes() == tries


async def test_errors_and_logs_hold_no_token(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def echo() -> httpx.Response:
        return json_answer(400, b'{"error": "refresh-old", "error_description": "refresh-old access-old"}')

    world.x.refused = echo
    world.put("access-old", "refresh-old")
    world.connect()
    await world.time.advance(SECOND)

    def broken() -> httpx.Response:
        raise httpx.ConnectError("refresh-old")

    world.x.refused = broken
    await world.time.advance(10 * MILLIS_PER_HOUR)
    shown = "".join(capsys.readouterr())
    assert "a refresh failed" in shown
    for secret in ("refresh-old", "access-old"):
        assert secret not in shown


async def test_a_mistake_in_a_platform_is_no_end_of_the_token(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("refresh-0")

    monkeypatch.setattr(type(all_platforms()["x"]), "read_refresh", broken)
    world.put("access-old", "refresh-0")
    world.connect()
    await world.time.advance(SECOND)
    assert world.status() == "active"
    assert world.said() == []


async def test_tokens_of_the_earlier_version_are_written_again_bound(world: World) -> None:
    pair = TokenPair("access-0", "refresh-0")
    world.connect()
    unbound = ChannelTokens(*KEY, unbound_ciphertext(pair, SECRET), "f", None, "put", world.time.at)
    world.catalog.put_tokens(KEY, unbound, world.time.at)
    await world.time.advance(SECOND)
    (event,) = world.written(TOKENS)
    assert isinstance(event, ChannelTokens)
    assert CIPHER.decrypt(event.ciphertext, KEY) == pair
    with pytest.raises(SecretsError):
        CIPHER.decrypt(event.ciphertext, ("w1", "c2"))
    # Its way back from the topic, and somebody's replay of the old one.
    world.catalog.put_tokens(KEY, event, world.time.at)
    await world.time.advance(SECOND)
    assert len(world.written(TOKENS)) == 1
    world.catalog.put_tokens(KEY, unbound, world.time.at)
    await world.time.advance(SECOND)
    assert world.written(TOKENS) == [event, event]
    assert world.held() == pair


async def test_a_refresh_binds_the_tokens_that_it_brings(world: World) -> None:
    world.x.refresh = "refresh-0"
    pair = TokenPair("access-0", "refresh-0")
    unbound = ChannelTokens(*KEY, unbound_ciphertext(pair, SECRET), "f", world.time.at - 1, "put", world.time.at)
    world.publisher.room.clear()
    world.catalog.put_tokens(KEY, unbound, world.time.at)
    world.connect()
    world.publish("a")
    await world.time.advance(SECOND)
    world.publisher.room.set()
    await world.time.advance(5 * SECOND)
    tokens = [event for event in world.written(TOKENS) if isinstance(event, ChannelTokens)]
    assert all(is_bound(event.ciphertext) for event in tokens)
    assert CIPHER.decrypt(tokens[-1].ciphertext, KEY) == TokenPair("access-1", "refresh-1") == world.held()
    assert "f" not in tokens[-1].put_fingerprint.split(".")


class Page:
    """A page that takes its own token only, and gives it to a user who manages it."""

    def __init__(self) -> None:
        self.exchanges = 0
        self.manages = True

    def __call__(self, request: httpx.Request) -> httpx.Response:
        is_users = request.headers["authorization"] == "Bearer user-token"
        if request.url.params.get("fields") == "access_token":
            self.exchanges += 1
            body = {"access_token": "page-token", "id": "ext-c1"} if self.manages else {"id": "ext-c1"}
            return json_answer(200, orjson.dumps(body))
        if is_users:
            error = {"message": "Invalid OAuth 2.0 Access Token", "code": 190, "error_subcode": 2069032}
            return json_answer(400, orjson.dumps({"error": error}))
        return json_answer(200, orjson.dumps({"id": request.url.path.rpartition("/")[2], "shares": {"count": 1}}))


async def test_a_user_token_is_exchanged_once_it_was_refused(world: World) -> None:
    world.wire.answer = page = Page()
    world.put("user-token", None, START + 60 * 24 * MILLIS_PER_HOUR)
    world.connect(platform="facebook")
    await world.time.advance(SECOND)
    (asked, *_) = [request.url for request in world.wire.requests if request.url.params.get("fields") == "access_token"]
    assert asked.path == "/v25.0/ext-c1"
    assert page.exchanges == 1
    assert world.tokens.credentials(KEY, "facebook").access_token == "page-token"
    (event,) = world.written(TOKENS)
    assert isinstance(event, ChannelTokens)
    # A page token has no end.
    assert (event.origin, event.token_expires_at) == ("refresh", None)
    assert world.publisher.events[-1].http_status == 200
    assert (world.said(), world.status()) == ([], "active")
    assert not any(b"page-token" in event.body for event in world.publisher.events)


async def test_a_user_token_that_can_t_be_exchanged_says_so(world: World) -> None:
    world.wire.answer = page = Page()
    page.manages = False
    world.put("user-token", None)
    world.connect(platform="facebook")
    await world.time.advance(SECOND)
    assert page.exchanges >= 1
    assert [(event.type, event.reason) for event in world.publisher.announced] == [
        ("account.token_expired", "user_token")
    ]
    assert world.status() == "token_expired"
