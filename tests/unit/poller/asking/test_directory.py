"""Accounts of many servers: the server is found by the did, kept, and found again; tokens go nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry

from schemas.events import CatalogChannel, ChannelTokens, RawKind
from services.platforms import all_platforms
from services.platforms.base import Call, Channel, Target
from services.platforms.bluesky import PLATFORM as BLUESKY
from services.poller.asking.budget import Budget
from services.poller.asking.channel_rounds import ChannelRounds
from services.poller.asking.circuit import Circuit
from services.poller.asking.directory import AGAIN_AFTER, KEPT_FOR, Directory
from services.poller.asking.exchange import Exchange
from services.poller.asking.fetch import Fetcher
from services.poller.asking.refresh import Refresher
from services.poller.asking.upkeep import Upkeep
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.errors import NotSent
from services.poller.loop import Loop
from services.poller.metrics import PollerMetrics
from services.poller.schedule.schedule import Schedule
from services.runtime.secrets import TokenCipher, TokenPair
from tests.support.manual_clock import ManualTime
from tests.support.memory_publisher import MemoryPublisher
from tests.support.platform_transport import PlatformTransport, json_answer
from tests.unit.poller.builders import post, target

DID, WEB = "did:plc:k7aaaabbbbccccddddeeeeff", "did:web:alice.example"
HANDLE = "alice.example"
HOME, OTHER = "https://pds.one.example", "https://pds.two.example"
APP_VIEW = "https://public.api.bsky.app"
KEY = ("w1", "c1")
CIPHER = TokenCipher(["0123456789abcdef"])
RKEY = "app.bsky.feed.post/3kaaaaaaaaa2a"


def document(did: str, home: str) -> httpx.Response:
    service = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": home}
    return json_answer(200, orjson.dumps({"id": did, "service": [service]}))


class World:
    """Directories, servers and the app view behind one wire, and a poller of one Bluesky channel before them."""

    def __init__(self, configured: str | None = None) -> None:
        self.time = ManualTime()
        self.homes = {DID: HOME, WEB: HOME}
        self.down: set[str] = set()
        self.session: Callable[[httpx.Request], httpx.Response] = self._session
        self.wire = PlatformTransport(self._answer)
        platforms = all_platforms()
        self.fetcher = Fetcher({"bluesky": configured} if configured else {}, transports=lambda *_: self.wire)
        self.directory = Directory(
            time=self.time, platforms=platforms, fetcher=self.fetcher, configured=["bluesky"] if configured else ()
        )
        self.schedule, accounts, tokens = Schedule({"bluesky": 25}), Accounts(), TokenStore(CIPHER, {})
        self.catalog, self.publisher = Catalog({}, self.schedule, tokens, accounts), MemoryPublisher()
        metrics, budget, circuits = (
            PollerMetrics(CollectorRegistry()),
            Budget(lambda _, upper: upper),
            {"bluesky": Circuit()},
        )
        self.refresher = Refresher(
            time=self.time, platforms=platforms, fetcher=self.fetcher, publisher=self.publisher, tokens=tokens,
            catalog=self.catalog, accounts=accounts, metrics=metrics, directory=self.directory,
        )  # fmt: skip
        exchange = Exchange(
            time=self.time, platforms=platforms, fetcher=self.fetcher, publisher=self.publisher, budget=budget,
            metrics=metrics,
        )  # fmt: skip
        upkeep = Upkeep(
            time=self.time, schedule=self.schedule, publisher=self.publisher, tokens=tokens, accounts=accounts,
            refresher=self.refresher,
        )  # fmt: skip
        rounds = ChannelRounds(
            time=self.time, platforms=platforms, schedule=self.schedule, exchange=exchange, upkeep=upkeep,
            budget=budget, circuits=circuits, metrics=metrics, directory=self.directory,
        )  # fmt: skip
        self.loop = asyncio.create_task(Loop(self.time, self.schedule, rounds, circuits, 8).run())

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path, host = request.url.path, request.url.host
        if f"https://{host}" in self.down:
            raise httpx.ConnectError("down")
        if host == "plc.directory":
            return document(path[1:], self.homes[path[1:]])
        if path == "/.well-known/did.json":
            return document(WEB, self.homes[WEB])
        if path.endswith("resolveHandle"):
            return json_answer(200, orjson.dumps({"did": DID}))
        if path.endswith("getPosts"):
            views = [{"uri": uri, "likeCount": 1} for uri in request.url.params.get_list("uris")]
            return json_answer(200, orjson.dumps({"posts": views}))
        if path.endswith("getProfiles"):
            return json_answer(200, orjson.dumps({"profiles": [{"did": DID, "followersCount": 7}]}))
        return self.session(request)

    def _session(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("refreshSession"):
            return json_answer(200, orjson.dumps({"accessJwt": "fresh", "refreshJwt": "newer", "did": DID}))
        return json_answer(200, orjson.dumps({"did": DID, "handle": HANDLE}))

    def connect(self, external_id: str = DID, *uris: str) -> None:
        """A channel with posts."""
        now = self.time.at
        sealed = CIPHER.encrypt(TokenPair("a-token", "a-refresh"), KEY)
        self.catalog.put_tokens(KEY, ChannelTokens(*KEY, sealed, "f", None, "put", now), now)
        self.catalog.put_channel(KEY, CatalogChannel(*KEY, "bluesky", external_id, "", "active", None, now), now)
        for number, uri in enumerate(uris):
            event = post(target(f"t{number}", external_id=uri), post_id=f"p{number}", published_at=now)
            self.catalog.put_post("w1", event.post_id, event, now)

    def asked(self, ending: str) -> list[tuple[str, str | None]]:
        """Origin and authorization of each call of a method."""
        return [
            (f"https://{request.url.host}", request.headers.get("authorization"))
            for request in self.wire.requests
            if request.url.path.endswith(ending)
        ]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    made.loop.cancel()
    await asyncio.gather(made.loop, return_exceptions=True)
    assert made.publisher.reserved == 0


def identity(external_id: str = DID) -> tuple[Channel, Call]:
    channel = Channel(*KEY, external_id)
    return channel, BLUESKY.identity_call(channel)


async def test_figures_come_from_the_app_view_without_a_token_and_the_session_from_home(world: World) -> None:
    world.connect(DID, f"at://{DID}/{RKEY}")
    await world.time.advance(2_000)
    assert set(world.asked("getPosts")) == {(APP_VIEW, None)}
    assert set(world.asked("getProfiles")) == {(APP_VIEW, None)}
    assert set(world.asked("getSession")) == {(HOME, "Bearer a-token")}
    assert world.asked(DID) == [("https://plc.directory", None)]
    kinds = {event.kind for event in world.publisher.events}
    assert kinds == {RawKind.POST_METRICS, RawKind.CHANNEL_METRICS, RawKind.IDENTITY}
    assert not any("did:plc" in event.endpoint for event in world.publisher.events), "a lookup is no answer"


@pytest.mark.parametrize("external_id", [DID, WEB, HANDLE])
async def test_the_server_is_found_by_plc_web_and_handle(world: World, external_id: str) -> None:
    placed = await world.directory.placed("bluesky", *identity(external_id))
    assert placed is not None
    assert placed.base_url == HOME
    assert all("authorization" not in request.headers for request in world.wire.requests)


async def test_a_server_is_looked_up_once_by_all_who_need_it_and_again_after_a_day(world: World) -> None:
    await asyncio.gather(*(world.directory.placed("bluesky", *identity()) for _ in range(5)))
    await world.directory.placed("bluesky", *identity())
    assert len(world.wire.requests) == 1
    world.time.at += KEPT_FOR
    await world.directory.placed("bluesky", *identity())
    assert len(world.wire.requests) == 2


async def test_an_address_by_handle_is_asked_for_by_its_did(world: World) -> None:
    world.connect(DID, f"at://bob.example/{RKEY}")
    await world.time.advance(2_000)
    (request,) = [one for one in world.wire.requests if one.url.path.endswith("getPosts")]
    assert request.url.params.get_list("uris") == [f"at://{DID}/{RKEY}"]
    (event,) = [one for one in world.publisher.events if one.kind == RawKind.POST_METRICS]
    assert [one.external_id for one in event.targets] == [f"at://{DID}/{RKEY}"]
    assert [reading.position for reading in BLUESKY.read(event).posts] == [0]


async def test_a_server_that_is_down_keeps_no_figure_away_and_is_looked_for_again(world: World) -> None:
    world.down.add(HOME)
    world.connect(DID, f"at://{DID}/{RKEY}")
    await world.time.advance(2_000)
    assert {event.kind for event in world.publisher.events} == {RawKind.POST_METRICS, RawKind.CHANNEL_METRICS}
    world.homes[DID] = OTHER
    placed = await world.directory.placed("bluesky", *identity())
    assert placed is not None
    assert placed.base_url == OTHER


async def test_an_account_that_moved_is_asked_for_at_its_new_server(world: World) -> None:
    def session(request: httpx.Request) -> httpx.Response:
        if f"https://{request.url.host}" == HOME:
            world.homes[DID] = OTHER
            return json_answer(400, b'{"error": "AccountDeactivated", "message": "Account is deactivated"}')
        return json_answer(200, orjson.dumps({"did": DID}))

    world.session = session
    world.connect()
    await world.time.advance(2_000)
    assert [origin for origin, _ in world.asked("getSession")] == [HOME, OTHER]
    assert world.catalog.channels[KEY].status == "active"


async def test_an_account_that_is_closed_at_the_only_server_is_disabled(world: World) -> None:
    world.session = lambda _: json_answer(400, b'{"error": "AccountDeactivated", "message": ""}')
    world.connect()
    await world.time.advance(2_000)
    assert world.catalog.channels[KEY].status == "disabled"
    assert len(world.asked("getSession")) == 1


async def test_a_refresh_goes_home_and_nowhere_while_home_is_unknown(world: World) -> None:
    world.connect()
    renewed = await world.refresher.renew("bluesky", KEY)
    assert renewed.done
    assert world.asked("refreshSession") == [(HOME, "Bearer a-refresh")]
    other = World()
    other.down.add("https://plc.directory")
    other.connect()
    renewed = await other.refresher.renew("bluesky", KEY)
    assert not renewed.done
    assert renewed.retry_at is not None
    assert other.asked("refreshSession") == []
    other.loop.cancel()
    await asyncio.gather(other.loop, return_exceptions=True)


async def test_what_no_directory_knows_is_not_looked_up_at_each_poll(world: World) -> None:
    world.down.add("https://plc.directory")
    for _ in range(3):
        assert await world.directory.placed("bluesky", *identity()) is None
    assert len(world.wire.requests) == 1
    world.down.clear()
    world.time.at += AGAIN_AFTER
    assert await world.directory.placed("bluesky", *identity()) is not None


@pytest.mark.parametrize(
    "home",
    ["http://pds.example", "https://user@pds.example", "https://pds.example/xrpc", "ftp://pds.example", "", "https://"],
)
async def test_a_server_is_an_https_origin_or_none(world: World, home: str) -> None:
    world.homes[DID] = home
    assert await world.directory.placed("bluesky", *identity()) is None


@pytest.mark.parametrize(
    "external_id", ["did:web:127.0.0.1%3A80", "did:web:localhost", "did:key:z6Mk", "no handle", ""]
)
async def test_no_lookup_follows_from_what_is_no_public_name(world: World, external_id: str) -> None:
    await world.directory.placed("bluesky", *identity(external_id))
    assert world.wire.requests == []


async def test_a_server_in_a_private_network_is_never_reached(world: World) -> None:
    world.homes[DID] = "https://127.0.0.1:1"
    placed = await world.directory.placed("bluesky", *identity())
    assert placed is not None
    fetcher = Fetcher({})
    with pytest.raises(NotSent, match="no public address"):
        await fetcher.fetch("bluesky", placed, APP_VIEW, {})
    await fetcher.close()


async def test_a_configured_address_stands_for_all_servers() -> None:
    world = World("https://proxy.example")
    world.connect(DID, f"at://{DID}/{RKEY}", f"at://bob.example/{RKEY}")
    await world.time.advance(2_000)
    assert {request.url.host for request in world.wire.requests} == {"proxy.example"}
    assert world.asked("did.json") == world.asked(DID) == []
    assert len(world.asked("getSession")) == len(world.asked("resolveHandle")) == 1
    world.loop.cancel()
    await asyncio.gather(world.loop, return_exceptions=True)


def test_a_channel_s_own_handle_needs_no_directory() -> None:
    channel = Channel(*KEY, DID, HANDLE)
    (call,) = BLUESKY.post_calls(channel, [Target("t", "p", f"at://{HANDLE.upper()}/{RKEY}")])
    assert BLUESKY.names_of(channel, call, {}) == []
    assert BLUESKY.placed(channel, call, {}).query == (("uris", f"at://{DID}/{RKEY}"),)
