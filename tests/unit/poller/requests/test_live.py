"""Live requests with a hand-moved clock: what is asked, what is shared, what is replied, and what a probe changes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry

from schemas.codec import codec, schema_text
from schemas.events import (
    CatalogChannel,
    ChannelTokens,
    Origin,
    PlatformRaw,
    PollerReply,
    PollerRequest,
    PullKind,
    PullTarget,
    RawKind,
)
from services.platforms import all_platforms
from services.poller.asking.budget import Budget
from services.poller.asking.circuit import CIRCUIT_FAILURES, TOKEN_FAILURES, Circuit
from services.poller.asking.fetch import Fetcher
from services.poller.asking.refresh import TOKENS_LATE, Refresher
from services.poller.asking.upkeep import Upkeep
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.sandbox import SandboxGuard
from services.poller.connections.tokens import TokenStore
from services.poller.loop import Loop
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import alone
from services.poller.requests.backfill import Backfill
from services.poller.requests.intake import Intake
from services.poller.requests.live import Live
from services.poller.schedule.schedule import Schedule
from services.runtime.secrets import TokenCipher, TokenPair
from tests.support.manual_clock import START, ManualTime
from tests.support.memory_publisher import MemoryPublisher
from tests.support.platform_transport import PlatformTransport, json_answer
from tests.unit.poller.builders import channel, channel_rounds

SECOND = 1000
CIPHER = TokenCipher(["0123456789abcdef"])
RAW = codec("platform.raw", schema_id=1, fetch_schema=lambda _: schema_text("platform.raw"))
REQUESTS = codec("poller.requests", schema_id=2, fetch_schema=lambda _: schema_text("poller.requests"))


def videos(request: httpx.Request) -> httpx.Response:
    """What YouTube answers to anything."""
    ids = request.url.params.get("id", "").split(",")
    return json_answer(200, orjson.dumps({"items": [{"id": name, "statistics": {"likeCount": "7"}} for name in ids]}))


def failing(status: int, reason: str) -> Callable[[httpx.Request], httpx.Response]:
    body = orjson.dumps({"error": {"code": status, "errors": [{"reason": reason}], "message": reason}})
    return lambda _: json_answer(status, body)


class World:
    """A poller that serves live requests, with fakes at its edges."""

    def __init__(self, sandboxed: tuple[str, ...] = ()) -> None:
        self.time = ManualTime()
        self.wire = PlatformTransport(videos)
        platforms = all_platforms()
        self.schedule = Schedule({name: known.facts.post_batch_size for name, known in platforms.items()})
        accounts, self.publisher = Accounts(), MemoryPublisher()
        tokens = TokenStore(CIPHER, {})
        self.catalog = Catalog({}, self.schedule, tokens, accounts)
        fetcher = Fetcher({}, transports=lambda *_: self.wire)
        circuits = {name: Circuit(lambda _, upper: upper) for name in platforms}
        self.circuit = circuits["youtube"]
        sandbox = SandboxGuard(tokens, sandboxed)
        metrics = PollerMetrics(CollectorRegistry())
        refresher = Refresher(
            time=self.time, platforms=platforms, fetcher=fetcher, publisher=self.publisher, tokens=tokens,
            catalog=self.catalog, accounts=accounts, metrics=metrics, sandbox=sandbox,
        )  # fmt: skip
        self.budget = Budget(lambda _, upper: upper)
        rounds = channel_rounds(
            time=self.time, platforms=platforms, schedule=self.schedule, fetcher=fetcher, publisher=self.publisher,
            tokens=tokens, accounts=accounts, budget=self.budget, circuits=circuits,
            metrics=metrics, refresher=refresher, uniform=lambda _, upper: upper, sandbox=sandbox,
        )  # fmt: skip
        upkeep = Upkeep(
            time=self.time, schedule=self.schedule, publisher=self.publisher, tokens=tokens, accounts=accounts,
            refresher=refresher, sandbox=sandbox,
        )  # fmt: skip
        self.loop = Loop(self.time, self.schedule, rounds, circuits, 8)
        self.rounds = rounds
        self.refresher = refresher
        self.replies: dict[str, list[PollerReply]] = {}
        self.live = Live(
            time=self.time, platforms=platforms, schedule=self.schedule, catalog=self.catalog, rounds=rounds,
            upkeep=upkeep, replies=self, codec=RAW,
        )  # fmt: skip
        backfill = Backfill(
            time=self.time, platforms=platforms, schedule=self.schedule, catalog=self.catalog, rounds=rounds,
            replies=self, codec=RAW, ownership=alone(),
        )  # fmt: skip
        self.intake = Intake(
            time=self.time, codec=REQUESTS, metrics=metrics, ownership=alone(), live=self.live, backfill=backfill
        )
        self.connect()

    def connect(
        self, channel_id: str = "c1", status: str = "active", updated_at: int = START, token: str = "access-token-1"
    ) -> None:
        pair = CIPHER.encrypt(TokenPair(token, None), ("w1", channel_id))
        tokens = ChannelTokens("w1", channel_id, pair, "f", None, "put", START)
        self.catalog.put_tokens(("w1", channel_id), tokens, START)
        event = channel(channel_id, "youtube", status=status, updated_at=updated_at)
        self.catalog.take_channel(("w1", channel_id), event, START)

    async def reply(self, reply_to: str, reply: PollerReply) -> None:
        assert reply_to == "api"
        self.replies.setdefault(reply.request_id, []).append(reply)

    def request(self, name: str, *targets: str, kind: PullKind = PullKind.TARGETS, **changes: object) -> PollerRequest:
        pulled = tuple(PullTarget(t, "c1", "p1", f"e-{t}", "", START - 400 * 86_400_000, False) for t in targets)
        fields = {
            "request_id": name, "reply_to": "api", "workspace_id": "w1", "kind": kind.value,
            "channel_id": "" if kind is PullKind.TARGETS else "c1", "targets": pulled, "requested_at": self.time.at,
            "deadline_at": self.time.at + 4 * SECOND,
        }  # fmt: skip
        return PollerRequest(**{**fields, **changes})  # type: ignore[arg-type]  # as the fields above

    async def ask(self, name: str, *targets: str, kind: PullKind = PullKind.TARGETS) -> list[PollerReply]:
        await self.live.serve(self.request(name, *targets, kind=kind))
        return self.replies[name]

    async def close(self) -> None:
        await self.intake.close()
        await self.live.close()

    def events(self, replies: list[PollerReply]) -> list[PlatformRaw]:
        return [RAW.decode(reply.event) for reply in replies if reply.event is not None]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.close()


async def test_a_request_is_acknowledged_answered_and_done(world: World) -> None:
    replies = await world.ask("r1", "t1", "t2")
    assert [reply.kind for reply in replies] == ["ACK", "ANSWER", "DONE"]
    (event,) = world.events(replies)
    assert world.publisher.events == [event]
    assert (event.origin, event.kind) == (Origin.LIVE, RawKind.POST_METRICS)
    assert [target.target_id for target in event.targets] == ["t1", "t2"]
    assert len(world.wire.requests) == 1
    assert world.publisher.reserved == 0


async def test_whoever_asks_while_it_is_under_way_shares_the_flight(world: World) -> None:
    await asyncio.gather(*(world.live.serve(world.request(f"r{number}", "t1")) for number in range(50)))
    assert len(world.wire.requests) == 1
    assert all(len(world.events(replies)) == 1 for replies in world.replies.values())


async def test_a_flight_covers_only_what_is_not_under_way(world: World) -> None:
    await asyncio.gather(
        world.live.serve(world.request("r1", "t1", "t2")), world.live.serve(world.request("r2", "t2", "t3"))
    )
    asked = [request.url.params["id"] for request in world.wire.requests]
    assert sorted(asked) == ["e-t1,e-t2", "e-t3"]
    assert len(world.events(world.replies["r2"])) == 2


async def test_a_target_that_is_named_twice_is_asked_for_once(world: World) -> None:
    replies = await world.ask("r1", "t1", "t2", "t1")
    (event,) = world.events(replies)
    assert [target.target_id for target in event.targets] == ["t1", "t2"]


async def test_an_answer_serves_who_had_asked_before_it_was_captured_and_nobody_later(world: World) -> None:
    late = world.request("late", "t1")
    await world.time.advance(SECOND)
    await world.ask("r1", "t1")
    await world.live.serve(late)
    assert len(world.wire.requests) == 1
    assert len(world.events(world.replies["late"])) == 1
    await world.time.advance(SECOND)
    await world.ask("r2", "t1")
    assert len(world.wire.requests) == 2


async def test_a_request_past_its_deadline_or_unreadable_gets_no_reply(world: World) -> None:
    world.intake.take(REQUESTS.encode(world.request("late", "t1", deadline_at=world.time.at)))
    world.intake.take(b"no event")
    world.intake.take(None)
    world.intake.take(REQUESTS.encode(world.request("good", "t1")))
    for _ in range(200):
        await asyncio.sleep(0)
    assert list(world.replies) == ["good"]


@pytest.mark.parametrize(
    "answer", [failing(500, "backendError"), failing(403, "quotaExceeded"), failing(403, "forbidden")]
)
async def test_a_failed_pull_is_done_without_answers(world: World, answer: Callable[..., httpx.Response]) -> None:
    world.wire.answer = answer
    assert [reply.kind for reply in await world.ask("r1", "t1")] == ["ACK", "DONE"]
    assert world.publisher.events  # what the platform said is published all the same


async def test_a_token_that_always_fails_is_left_alone_and_says_nothing_of_its_platform(world: World) -> None:
    world.wire.answer = failing(503, "backendError")
    for number in range(CIRCUIT_FAILURES + 3):
        await world.ask(f"r{number}", "t1")
        await world.time.advance(1)
    assert len(world.wire.requests) == TOKEN_FAILURES
    assert not world.circuit.is_open


@pytest.mark.parametrize("status", ["token_expired", "revoked", "disabled"])
async def test_only_active_channels_are_pulled(world: World, status: str) -> None:
    world.connect(status=status)
    assert [reply.kind for reply in await world.ask("r1", "t1")] == ["ACK", "DONE"]
    assert [reply.kind for reply in await world.ask("r2", kind=PullKind.ACCOUNT)] == ["ACK", "DONE"]
    assert not world.wire.requests


async def test_an_unknown_channel_is_done_at_once(world: World) -> None:
    await world.live.serve(world.request("r1", kind=PullKind.ACCOUNT, channel_id="unknown"))
    assert [reply.kind for reply in world.replies["r1"]] == ["ACK", "DONE"]


async def test_an_account_is_pulled(world: World) -> None:
    replies = await world.ask("r1", kind=PullKind.ACCOUNT)
    assert {event.kind for event in world.events(replies)} == {RawKind.CHANNEL_METRICS}


async def test_a_probe_that_works(world: World) -> None:
    *_, done = await world.ask("r1", kind=PullKind.HEALTH)
    assert (done.kind, done.is_live, done.status, done.error_code) == ("DONE", True, "active", None)
    assert [event.kind for event in world.publisher.events] == [RawKind.IDENTITY]


@pytest.mark.parametrize(
    ("answer", "is_live", "error_code"),
    [
        (failing(403, "quotaExceeded"), True, "quota_exhausted"),
        (failing(403, "insufficientPermissions"), True, "permission_missing"),
        (failing(500, "backendError"), True, "platform_unavailable"),
    ],
)
async def test_a_probe_says_why(
    world: World, answer: Callable[..., httpx.Response], is_live: bool, error_code: str
) -> None:
    world.wire.answer = answer
    *_, done = await world.ask("r1", kind=PullKind.HEALTH)
    assert (done.is_live, done.status, done.error_code) == (is_live, "active", error_code)


async def test_a_platform_that_does_not_answer_is_no_live_probe(world: World) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    world.wire.answer = refuse
    *_, done = await world.ask("r1", kind=PullKind.HEALTH)
    assert (done.is_live, done.status, done.error_code) == (False, "active", None)


async def test_a_dead_token_flips_the_channel_and_is_announced_once(world: World) -> None:
    world.wire.answer = failing(401, "authError")
    *_, done = await world.ask("r1", kind=PullKind.HEALTH)
    assert (done.is_live, done.status, done.error_code) == (True, "token_expired", "token_expired")
    assert [event.type for event in world.publisher.announced] == ["account.token_expired"]
    written = [event for topic, event in world.publisher.written if topic == "catalog.channels"]
    assert [event.status for event in written if isinstance(event, CatalogChannel)] == ["token_expired"]
    await world.time.advance(SECOND)
    await world.ask("r2", kind=PullKind.HEALTH)
    assert len(world.publisher.announced) == 1


def statuses(world: World) -> list[str]:
    """What this process wrote of the channel, in order."""
    return [event.status for _, event in world.publisher.written if isinstance(event, CatalogChannel)]


def is_polled(world: World) -> bool:
    plan = world.schedule.plans["w1", "c1"]
    return plan.active and not plan.paused


async def test_an_expired_token_that_works_again_is_active_polled_and_announced(world: World) -> None:
    world.wire.answer = failing(401, "authError")
    await world.ask("r1", kind=PullKind.HEALTH)
    assert not is_polled(world)
    world.wire.answer = videos
    *_, done = await world.ask("r2", kind=PullKind.HEALTH)
    assert (done.is_live, done.status, done.error_code) == (True, "active", None)
    assert statuses(world) == ["token_expired", "active"]
    assert [event.type for event in world.publisher.announced] == ["account.token_expired", "account.recovered"]
    assert is_polled(world)
    assert len(world.events(await world.ask("r3", "t1"))) == 1, "live pulls are made again, too"


@pytest.mark.parametrize("status", ["disabled", "revoked"])
async def test_a_put_during_a_probe_wins(world: World, status: str) -> None:
    world.connect(status="token_expired")
    write = world.publisher.write

    async def overtaken(topic: str, event: CatalogChannel | ChannelTokens) -> None:
        if not world.publisher.written:
            world.connect(status=status)
        await write(topic, event)

    world.publisher.write = overtaken  # type: ignore[method-assign]
    *_, done = await world.ask("r1", kind=PullKind.HEALTH)
    assert done.status == status
    assert done.error_code == {"disabled": "account_disabled", "revoked": "token_revoked"}[status]
    assert statuses(world) == ["active", status], "the topic ends with what was put"
    assert world.publisher.announced == []
    assert not is_polled(world)


async def test_a_deletion_during_a_probe_wins(world: World) -> None:
    world.connect(status="token_expired")
    write = world.publisher.write

    async def overtaken(topic: str, event: CatalogChannel | ChannelTokens) -> None:
        world.catalog.take_channel(("w1", "c1"), None, world.time.at)
        await write(topic, event)

    world.publisher.write = overtaken  # type: ignore[method-assign]
    await world.ask("r1", kind=PullKind.HEALTH)
    assert world.publisher.erased == [("catalog.channels", ("w1", "c1"))]
    assert world.publisher.announced == []


async def test_an_account_that_the_platform_closed_reads_disabled(world: World) -> None:
    world.wire.answer = failing(403, "accountClosed")
    *_, done = await world.ask("r1", kind=PullKind.HEALTH)
    assert (done.status, done.error_code) == ("disabled", "account_disabled")
    assert [event.type for event in world.publisher.announced] == ["account.disabled"]
    assert not is_polled(world)
    world.time.at += SECOND
    world.wire.answer = videos
    world.connect(updated_at=world.time.at)
    await world.ask("r2", kind=PullKind.HEALTH)
    assert [event.type for event in world.publisher.announced] == ["account.disabled", "account.recovered"]


async def test_a_channel_without_a_token_is_not_healthy(world: World) -> None:
    world.catalog.put_tokens(("w1", "c1"), None, world.time.at)
    world.time.at += TOKENS_LATE
    *_, done = await world.ask("r1", kind=PullKind.HEALTH)
    assert (done.is_live, done.status, done.error_code) == (False, "token_expired", "token_expired")
    assert not world.wire.requests


_ANSWERS = {
    "works": videos,
    "expired": failing(401, "authError"),
    "closed": failing(403, "accountClosed"),
    "forbidden": failing(403, "insufficientPermissions"),
    "limited": failing(403, "quotaExceeded"),
    "down": failing(500, "backendError"),
}


@pytest.mark.parametrize("status", ["active", "token_expired", "revoked", "disabled"])
@pytest.mark.parametrize("history", list(itertools.permutations(_ANSWERS, 2)))
async def test_health_status_events_and_polling_agree(world: World, status: str, history: tuple[str, ...]) -> None:
    """Whatever the platform answered before, whatever the status was."""
    world.connect(status=status)
    for number, answer in enumerate(history):
        await world.time.advance(600 * SECOND)
        world.wire.answer = _ANSWERS[answer]
        said = len(world.publisher.announced)
        *_, done = await world.ask(f"r{number}", kind=PullKind.HEALTH)
        assert done.status == world.catalog.channels["w1", "c1"].status
        assert is_polled(world) == (done.status == "active")
        if done.error_code is None:
            assert done.status == "active"
        for event in world.publisher.announced[said:]:
            expected = {"account.recovered": "active", "account.token_expired": "token_expired"}
            assert done.status == expected.get(event.type, "disabled")


async def test_a_disabled_channel_is_not_probed(world: World) -> None:
    world.connect(status="disabled")
    *_, done = await world.ask("r1", kind=PullKind.HEALTH)
    assert (done.is_live, done.status) == (False, "disabled")
    assert not world.wire.requests


async def test_the_sandbox_is_asked_for_no_channel_of_a_real_account(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither by schedule nor live nor for its health, and its token is shown to nobody."""
    world = World(sandboxed=("youtube",))
    polling = [asyncio.create_task(world.loop.run()), asyncio.create_task(world.refresher.run())]
    try:
        await world.time.advance(3600 * SECOND)
        assert [reply.kind for reply in await world.ask("r1", "t1")] == ["ACK", "DONE"]
        assert [reply.kind for reply in await world.ask("r2", kind=PullKind.ACCOUNT)] == ["ACK", "DONE"]
        *_, done = await world.ask("r3", kind=PullKind.HEALTH)
        assert (done.is_live, done.status, done.error_code) == (False, "active", "platform_unavailable")
        assert not world.wire.requests
        assert not world.publisher.events
        assert not world.publisher.written
        assert capsys.readouterr().out.count("--no-sandbox") == 1, "said once, with what to do"
        world.connect(token="sandbox-token")
        await world.time.advance(SECOND)
        assert world.wire.requests, "a token of the sandbox is asked with at once"
        *_, done = await world.ask("r4", kind=PullKind.HEALTH)
        assert (done.is_live, done.error_code) == (True, None)
    finally:
        for task in polling:
            task.cancel()
        await asyncio.gather(*polling, return_exceptions=True)
        await world.close()


async def test_a_token_that_ends_is_not_renewed_at_the_sandbox() -> None:
    world = World(sandboxed=("youtube",))
    pair = CIPHER.encrypt(TokenPair("access-token-1", "refresh-token-1"), ("w1", "c1"))
    world.catalog.put_tokens(("w1", "c1"), ChannelTokens("w1", "c1", pair, "g", START + SECOND, "put", START), START)
    for status in ("active", "token_expired"):
        world.catalog.take_channel(("w1", "c1"), channel("c1", "youtube", status=status), START)
        assert not (await world.refresher.renew("youtube", ("w1", "c1"))).done
        assert await world.refresher.ahead("youtube", ("w1", "c1")) is None
    assert not world.wire.requests
    await world.close()


async def test_where_the_user_named_an_address_every_token_is_sent(world: World) -> None:
    assert world.events(await world.ask("r1", "t1"))
    assert world.wire.requests[0].headers["authorization"] == "Bearer access-token-1"
