"""Partitions that come and go, with topics in memory: read before anything is asked, drained before they are given
back, dropped when they are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import Any, cast

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry

from schemas.codec import Codec, RecordCodec, codec, schema_text
from schemas.events import AccountEvent, CatalogChannel, ChannelTokens, Origin, PlatformRaw, RawKind, RawTarget
from schemas.topic_names import ACCOUNT_EVENTS, CHANNEL_SNAPSHOTS, CHANNELS, POST_ROLLUPS, POSTS, RAW, REQUESTS, TOKENS
from services.platforms import all_platforms
from services.poller.asking.budget import Budget
from services.poller.asking.circuit import Circuit
from services.poller.asking.fetch import Fetcher
from services.poller.asking.refresh import Refresher
from services.poller.catalog import Catalog
from services.poller.connections.accounts import RECOVERED, TOKEN_EXPIRED, Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.loop import Loop
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import Ownership, Stage
from services.poller.partitions.shards import Shards
from services.poller.reader import Fold, TopicReader
from services.poller.schedule.schedule import Schedule
from services.runtime.brokers import Record
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR
from services.runtime.kafka import key, partition_of
from services.runtime.secrets import TokenCipher, TokenPair
from tests.support.manual_clock import START, ManualTime
from tests.support.memory_publisher import MemoryPublisher
from tests.support.platform_transport import PlatformTransport, json_answer
from tests.unit.poller.builders import channel, channel_rounds, post, target

SECOND = 1_000
MINUTE = 60 * SECOND
LEASE = 3 * SECOND
PARTITIONS = 4
CIPHER = TokenCipher(["0123456789abcdef"])
MINE = partition_of("w1", PARTITIONS)
# In another partition than w1.
OTHER = next(name for name in map("w{}".format, range(2, 99)) if partition_of(name, PARTITIONS) != MINE)
TOKEN_PATH = "/2/oauth2/token"


def _schema(topic: str, _: int) -> str:
    return schema_text(topic)


CODECS: dict[str, Codec[Any]] = {
    name: codec(name, schema_id=1, fetch_schema=partial(_schema, name))
    for name in (CHANNELS, POSTS, TOKENS, ACCOUNT_EVENTS, RAW)
}
ROLLUP_CODEC = RecordCodec(POST_ROLLUPS, schema_id=1, fetch_schema=partial(_schema, POST_ROLLUPS))


class MemoryReader:
    """Topics in memory, read as `TopicReader` reads Kafka's; goes on only when it is let."""

    waiting_for = None

    def __init__(self) -> None:
        self.topics: dict[str, list[Record]] = {}
        self.followers: list[tuple[set[str], set[int], Fold]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    def put(self, topic: str, workspace: str, subject: str, value: bytes | None, at: int) -> None:
        held = self.topics.setdefault(topic, [])
        message = Record(topic, partition_of(workspace, PARTITIONS), len(held), at, key(workspace, subject), value)
        held.append(message)
        for topics, partitions, fold in self.followers:
            if topic in topics and message.partition in partitions:
                fold(topic, message)

    async def replay(
        self, topic: str, fold: Fold, since: int | Mapping[int, int] | None = None, partitions: Iterable[int] = ()
    ) -> int:
        await self.go_on.wait()
        for message in self.topics.get(topic, ()):
            from_at = since[message.partition] if isinstance(since, Mapping) and message.partition in since else since
            if message.partition in partitions and (not isinstance(from_at, int) or message.timestamp >= from_at):
                fold(topic, message)
        return 0

    async def follow(
        self, topics: Iterable[str], fold: Fold, caught_up: asyncio.Event, partitions: Iterable[int] = ()
    ) -> None:
        for topic in topics:
            await self.replay(topic, fold, None, partitions)
        caught_up.set()
        await self.tail(topics, fold, partitions)

    async def tail(self, topics: Iterable[str], fold: Fold, partitions: Iterable[int] = ()) -> None:
        follower = (set(topics), set(partitions), fold)
        self.followers.append(follower)
        try:
            await asyncio.Event().wait()
        finally:
            self.followers.remove(follower)


def answer(request: httpx.Request) -> httpx.Response:
    """X, for any token and any post; each refresh brings a new pair."""
    if request.url.path == TOKEN_PATH:
        body = {"access_token": "fresh", "refresh_token": "next", "expires_in": 7200, "token_type": "bearer"}
        return json_answer(200, orjson.dumps(body))
    if request.headers.get("authorization") == "Bearer expired":
        return json_answer(401, b'{"title": "Unauthorized", "type": "about:blank", "status": 401}')
    names = (request.url.params.get("ids") or "").split(",")
    return json_answer(200, orjson.dumps({"data": [{"id": name, "public_metrics": {}} for name in names]}))


class World:
    """One poller whose partitions a test gives and takes."""

    def __init__(self) -> None:
        self.time = ManualTime()
        self.reader = MemoryReader()
        self.wire = PlatformTransport(answer)
        self.publisher = MemoryPublisher()
        platforms = all_platforms()
        circuits = {name: Circuit(lambda _, upper: upper) for name in platforms}
        self.schedule = Schedule({name: known.facts.post_batch_size for name, known in platforms.items()})
        self.accounts, self.tokens = Accounts(), TokenStore(CIPHER, {})
        self.ownership = Ownership(
            PARTITIONS, LEASE, self.time.now, lambda workspace_id: partition_of(workspace_id, PARTITIONS)
        )
        self.catalog = Catalog(CODECS, self.schedule, self.tokens, self.accounts, self.ownership.is_active)
        fetcher = Fetcher({}, transports=lambda *_: self.wire)
        metrics = PollerMetrics(CollectorRegistry())
        refresher = Refresher(
            time=self.time, platforms=platforms, fetcher=fetcher, publisher=self.publisher, tokens=self.tokens,
            catalog=self.catalog, accounts=self.accounts, metrics=metrics, ownership=self.ownership,
            uniform=lambda _, upper: upper,
        )  # fmt: skip
        rounds = channel_rounds(
            time=self.time, platforms=platforms, schedule=self.schedule, fetcher=fetcher, publisher=self.publisher,
            tokens=self.tokens, accounts=self.accounts, budget=Budget(lambda _, upper: upper), circuits=circuits,
            metrics=metrics, refresher=refresher, uniform=lambda _, upper: upper, ownership=self.ownership,
        )  # fmt: skip
        loop = Loop(self.time, self.schedule, rounds, circuits, 8, self.ownership)
        self.requests: list[bytes | None] = []
        self.loaded = 0
        self.shares: list[float] = []
        self.shards = Shards(
            time=self.time, ownership=self.ownership, reader=cast("TopicReader", self.reader), catalog=self.catalog,
            schedule=self.schedule, accounts=self.accounts, codecs=CODECS, rollup_codec=ROLLUP_CODEC, metrics=metrics,
            is_published=lambda: self.publisher.reserved == 0, take=self.requests.append, on_loaded=self._loaded,
            on_share=self.shares.append, drain_seconds=20.0,
        )  # fmt: skip
        self.tasks = [asyncio.create_task(work) for work in (self.shards.run(), loop.run(), refresher.run())]

    def _loaded(self) -> None:
        self.loaded += 1

    def put_channel(self, workspace: str, access: str = "token", status: str = "active", at: int = START) -> None:
        pair = CIPHER.encrypt(TokenPair(access, "refresh"), (workspace, "c1"))
        tokens = ChannelTokens(workspace, "c1", pair, "f", None, "put", at)
        event = channel(platform="x", workspace_id=workspace, status=status, updated_at=at)
        self.reader.put(TOKENS, workspace, "c1", CODECS[TOKENS].encode(tokens), at)
        self.reader.put(CHANNELS, workspace, "c1", CODECS[CHANNELS].encode(event), at)

    def put_post(self, workspace: str, name: str, published_at: int = START) -> None:
        event = post(target(name), post_id=f"p-{name}", published_at=published_at, workspace_id=workspace)
        self.reader.put(POSTS, workspace, event.post_id, CODECS[POSTS].encode(event), START)

    def put_raw(self, workspace: str, name: str, at: int, **changed: Any) -> None:
        """An answer of another process about one post."""
        fields: dict[str, Any] = {
            "event_id": f"{name}-{at}", "workspace_id": workspace, "channel_id": "c1", "platform": "x",
            "kind": RawKind.POST_METRICS.value, "endpoint": "/2/tweets", "request": {}, "http_status": 200,
            "targets": (RawTarget(name, f"p-{name}", f"e-{name}"),), "body": b"{}", "captured_at": at,
            "origin": Origin.SCHEDULE.value,
        }  # fmt: skip
        event = PlatformRaw(**{**fields, **changed})
        self.reader.put(RAW, workspace, "", CODECS[RAW].encode(event), at)

    def put_rollup(self, workspace: str, name: str, captured_at: int) -> None:
        """What the aggregator says of one post, once it has folded an answer."""
        part = {"channel_id": "c1", "platform": "x", "target_id": name, "captured_at": captured_at}
        record = {"workspace_id": workspace, "post_id": f"p-{name}", "version": 1, "channels": [part]}
        self.reader.put(POST_ROLLUPS, workspace, f"p-{name}", ROLLUP_CODEC.encode(record), START)

    async def gain(self, *partitions: int, not_before: int = 0) -> None:
        await self.shards.gained(partitions, not_before)
        self.shards.proven(self.time.now())
        await self.time.settle()

    async def advance(self, millis: int) -> None:
        """Let time pass with Kafka well."""
        while millis > 0:
            step = min(millis, LEASE // 2)
            await self.time.advance(step)
            self.shards.proven(self.time.now())
            millis -= step
        await self.time.settle()

    def asked(self, workspace: str = "w1") -> list[tuple[str, int]]:
        """Targets asked for, with the time since START, in order."""
        return [
            (found.target_id, event.captured_at - START)
            for event in self.publisher.events
            if event.workspace_id == workspace
            for found in event.targets
        ]

    def refreshes(self) -> int:
        return sum(request.url.path == TOKEN_PATH for request in self.wire.requests)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.time.settle()
    yield made
    for task in made.tasks:
        assert not task.done() or task.exception() is None
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_only_what_was_gained_is_asked_and_only_once_it_is_read(world: World) -> None:
    for workspace in ("w1", OTHER):
        world.put_channel(workspace)
        world.put_post(workspace, "a")
    assert world.shards.missing() == "joining the group of the pollers"
    world.reader.go_on.clear()
    await world.gain(MINE)
    await world.advance(10 * SECOND)
    assert world.shards.missing() == f"reading partitions {MINE}: almost done"
    assert world.wire.requests == []
    world.reader.go_on.set()
    await world.advance(SECOND)
    assert world.shards.missing() is None
    assert [name for name, _ in world.asked()] == ["a"]
    assert world.asked(OTHER) == []
    assert world.loaded == 1
    assert world.shards.position(MINE) > 0
    # What comes later, and only of its own partition.
    world.put_post("w1", "b")
    world.put_post(OTHER, "b")
    await world.advance(SECOND)
    assert [name for name, _ in world.asked()] == ["a", "b"]
    assert world.asked(OTHER) == []


async def test_due_times_come_from_what_was_captured_by_whomever(world: World) -> None:
    world.put_channel("w1")
    for name in ("rolled", "raw", "failed", "refused", "backfilled", "new"):
        world.put_post("w1", name, START - MILLIS_PER_HOUR)
    world.put_rollup("w1", "rolled", START - 10 * MINUTE)
    world.put_raw("w1", "raw", START - 2 * MINUTE)
    world.put_raw("w1", "failed", START - 2 * MINUTE, http_status=503)
    world.put_raw("w1", "refused", START - 2 * MINUTE, http_status=403)
    world.put_raw("w1", "backfilled", START - 2 * MINUTE, origin=Origin.BACKFILL.value)
    world.reader.put(CHANNEL_SNAPSHOTS, "w1", "c1", b"", START - MILLIS_PER_HOUR)
    await world.gain(MINE)
    await world.advance(MINUTE)
    assert sorted(name for name, _ in world.asked()) == ["backfilled", "failed", "new"]
    assert not [event for event in world.publisher.events if event.kind == RawKind.CHANNEL_METRICS]
    await world.advance(30 * MINUTE)
    first = dict(reversed(world.asked()))
    assert 16 * MINUTE < first["rolled"] <= 20 * MINUTE
    # The others, due a little later, go with it.
    assert first["raw"] == first["refused"] == first["rolled"]


async def test_what_was_captured_in_the_future_counts_as_captured_now(world: World) -> None:
    world.put_channel("w1")
    for name in ("rolled", "raw"):
        world.put_post("w1", name, START - MILLIS_PER_HOUR)
    world.put_rollup("w1", "rolled", START + 2 * MILLIS_PER_HOUR)
    world.put_raw("w1", "raw", START + 2 * MILLIS_PER_HOUR)
    await world.gain(MINE)
    await world.advance(31 * MINUTE)
    assert sorted(name for name, _ in world.asked()) == ["raw", "rolled"]


async def test_raw_events_are_read_from_before_what_the_aggregator_has_folded(world: World) -> None:
    world.put_channel("w1")
    world.put_post("w1", "a", START - MILLIS_PER_HOUR)
    world.put_post("w1", "b", START - 2 * MILLIS_PER_DAY)
    # The aggregator stopped an hour ago; what was captured since is in the raw events alone.
    world.put_rollup("w1", "a", START - 60 * MINUTE)
    world.put_raw("w1", "b", START - 58 * MINUTE)
    world.put_raw("w1", "a", START - 10 * MINUTE)
    await world.gain(MINE)
    await world.advance(10 * MINUTE)
    assert world.asked() == []


async def test_a_partition_is_given_back_when_its_calls_are_over(world: World) -> None:
    world.put_channel("w1")
    world.put_post("w1", "a")
    await world.gain(MINE, *({0, 1, 2, 3} - {MINE}))
    answered = asyncio.Event()
    world.wire.answer = until(answered)
    await world.advance(SECOND)
    assert len(world.wire.requests) > 0
    begun = len(world.wire.requests)
    giving_back = asyncio.create_task(world.shards.revoked([MINE]))
    world.put_post("w1", "late")
    await world.advance(5 * SECOND)
    assert not giving_back.done()
    assert world.ownership.held(Stage.DRAINING) == [MINE]
    assert len(world.wire.requests) == begun, "no call is begun"
    answered.set()
    await giving_back
    assert [name for name, _ in world.asked()] == ["a"], "what was under way is published"
    assert world.ownership.held() == sorted({0, 1, 2, 3} - {MINE})
    assert not [name for name in world.schedule.plans if name[0] == "w1"]
    assert world.catalog.channels == {}
    assert world.tokens.sealed(("w1", "c1")) is None
    world.put_post("w1", "later")
    await world.advance(MINUTE)
    assert len(world.asked()) == 1


def until(event: asyncio.Event) -> Callable[[httpx.Request], Any]:
    """X, answering as soon as the event is set."""

    async def slow(request: httpx.Request) -> httpx.Response:
        await event.wait()
        return answer(request)

    return slow


async def test_a_refresh_that_was_begun_is_written_before_the_partition_goes(world: World) -> None:
    world.put_channel("w1", "expired")
    world.put_post("w1", "a")
    await world.gain(MINE)
    granted = asyncio.Event()

    async def slow_token(request: httpx.Request) -> httpx.Response:
        if request.url.path == TOKEN_PATH:
            await granted.wait()
        return answer(request)

    world.wire.answer = slow_token
    await world.advance(SECOND)
    assert world.refreshes() == 1
    giving_back = asyncio.create_task(world.shards.revoked([MINE]))
    await world.time.settle()
    assert not giving_back.done()
    granted.set()
    await giving_back
    (written,) = [event for topic, event in world.publisher.written if topic == TOKENS]
    assert isinstance(written, ChannelTokens)
    assert CIPHER.decrypt(written.ciphertext, (written.workspace_id, written.channel_id)) == TokenPair("fresh", "next")
    assert world.publisher.announced == []


async def test_a_refresh_of_a_lost_partition_is_written_all_the_same(world: World) -> None:
    world.put_channel("w1", "expired")
    world.put_post("w1", "a")
    await world.gain(MINE)
    granted = asyncio.Event()

    async def slow_token(request: httpx.Request) -> httpx.Response:
        if request.url.path == TOKEN_PATH:
            await granted.wait()
        return answer(request)

    world.wire.answer = slow_token
    await world.advance(SECOND)
    await world.shards.lost([MINE])
    assert "joining" in str(world.shards.missing())
    granted.set()
    await world.advance(SECOND)
    assert [topic for topic, _ in world.publisher.written] == [TOKENS]
    assert world.tokens.sealed(("w1", "c1")) is None
    assert world.asked() == [("a", world.asked()[0][1])], "the 401; nothing is asked with the new token"


async def test_a_lost_partition_comes_back_once_its_calls_are_over(world: World) -> None:
    world.put_channel("w1")
    world.put_post("w1", "a")
    await world.gain(MINE)
    answered = asyncio.Event()
    world.wire.answer = until(answered)
    await world.advance(SECOND)
    begun = len(world.wire.requests)
    await world.shards.lost([MINE])
    await world.gain(MINE)
    await world.advance(5 * SECOND)
    assert len(world.wire.requests) == begun, "asked once, not again beside it"
    answered.set()
    await world.advance(SECOND)
    assert world.ownership.held(Stage.ACTIVE) == [MINE]


async def test_without_word_of_kafka_nothing_is_asked(world: World) -> None:
    world.put_channel("w1")
    await world.gain(MINE)
    await world.advance(SECOND)
    begun = len(world.wire.requests)
    await world.time.advance(LEASE)
    world.put_post("w1", "a")
    await world.time.advance(MINUTE)
    assert len(world.wire.requests) == begun
    assert "Kafka has not confirmed" in str(world.shards.missing())
    world.shards.proven(world.time.now())
    await world.advance(SECOND)
    assert [name for name, _ in world.asked()] == ["a"]
    assert world.shards.missing() is None


async def test_a_process_that_waited_for_room_looks_again_before_it_asks(world: World) -> None:
    world.put_channel("w1")
    world.put_post("w1", "a")
    await world.gain(MINE)
    room = asyncio.Event()
    world.publisher.room = room
    await world.advance(SECOND)
    await world.time.advance(LEASE)
    room.set()
    await world.time.settle()
    assert world.wire.requests == []
    world.shards.proven(world.time.now())
    await world.advance(SECOND)
    assert [name for name, _ in world.asked()] == ["a"]


async def test_expired_channels_are_renewed_by_their_owner_alone(world: World) -> None:
    world.put_channel("w1", "expired", status="token_expired")
    world.put_channel(OTHER, "expired", status="token_expired")
    await world.advance(SECOND)
    assert world.refreshes() == 0
    await world.gain(MINE)
    await world.advance(SECOND)
    assert world.refreshes() == 1
    channels = [event for topic, event in world.publisher.written if topic == CHANNELS]
    assert [(event.workspace_id, event.status) for event in channels if isinstance(event, CatalogChannel)] == [
        ("w1", "active")
    ]


async def test_a_pair_that_the_former_owner_wrote_late_brings_a_channel_back(world: World) -> None:
    def spent(request: httpx.Request) -> httpx.Response:
        if request.url.path == TOKEN_PATH and b"refresh_token=refresh&" in request.content + b"&":
            detail = "Value passed for the token was invalid."
            return json_answer(400, orjson.dumps({"error": "invalid_request", "error_description": detail}))
        return answer(request)

    world.wire.answer = spent
    world.put_channel("w1", "expired")
    world.put_post("w1", "a")
    await world.gain(MINE)
    await world.advance(SECOND)
    assert world.catalog.channels["w1", "c1"].status == "token_expired"
    pair = CIPHER.encrypt(TokenPair("token", "newer"), ("w1", "c1"))
    late = ChannelTokens("w1", "c1", pair, "f", None, "refresh", world.time.now() - SECOND)
    world.reader.put(TOKENS, "w1", "c1", CODECS[TOKENS].encode(late), world.time.now())
    await world.advance(2 * MINUTE)
    assert world.catalog.channels["w1", "c1"].status == "active"
    assert [event.type for event in world.publisher.announced] == [TOKEN_EXPIRED, RECOVERED]
    assert world.publisher.events[-1].http_status == 200


async def test_a_channel_that_was_announced_as_broken_stays_paused(world: World) -> None:
    world.put_channel("w1", at=START - MILLIS_PER_HOUR)
    world.put_post("w1", "a")
    broken = AccountEvent("w1", "c1", "x", TOKEN_EXPIRED, START - MINUTE, "token_expired")
    world.reader.put(ACCOUNT_EVENTS, "w1", "c1", CODECS[ACCOUNT_EVENTS].encode(broken), START - MINUTE)
    await world.gain(MINE)
    await world.advance(MINUTE)
    assert world.wire.requests == []
    world.put_channel("w1", at=world.time.now())
    await world.advance(SECOND)
    assert [name for name, _ in world.asked()] == ["a"]


async def test_live_requests_are_taken_of_owned_partitions(world: World) -> None:
    world.reader.put(REQUESTS, "w1", "", b"before", START)
    await world.gain(MINE)
    world.reader.put(REQUESTS, "w1", "", b"mine", START)
    world.reader.put(REQUESTS, OTHER, "", b"another's", START)
    await world.shards.revoked([MINE])
    world.reader.put(REQUESTS, "w1", "", b"after", START)
    assert world.requests == [b"mine"]


async def test_the_apps_budget_follows_the_share_of_partitions(world: World) -> None:
    await world.gain(MINE)
    await world.gain(*({0, 1, 2, 3} - {MINE}))
    await world.shards.revoked([MINE])
    await world.shards.lost(sorted({0, 1, 2, 3} - {MINE}))
    assert world.shares == [0.25, 1.0, 0.75, 0.0]


async def test_no_partition_is_no_trouble(world: World) -> None:
    await world.gain()
    assert world.shards.missing() is None
    assert await world.shards.drain(None, 1.0)
