"""A poller's refresher against the sandbox over real HTTP: every platform's own endpoint, path, form and failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from infra.sandbox.state import State
from schemas.events import CatalogChannel, ChannelTokens
from schemas.topic_names import TOKENS
from services.platforms import all_platforms
from services.platforms.abilities import AppClient, Refreshable, RefreshFailure, TokenGrant
from services.platforms.base import Outcome
from services.poller.asking.budget import Budget
from services.poller.asking.circuit import Circuit
from services.poller.asking.fetch import Fetcher
from services.poller.asking.refresh import Refresher
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.loop import Loop
from services.poller.metrics import PollerMetrics
from services.poller.schedule.schedule import Schedule
from services.poller.timing import SystemTime
from services.runtime.secrets import TokenCipher, TokenPair
from tests.support.memory_publisher import MemoryPublisher
from tests.support.served_sandbox import serving
from tests.support.waiting import wait_until_async
from tests.unit.poller.builders import channel_rounds, post, target

CIPHER = TokenCipher(["0123456789abcdef"])
CLIENT = AppClient("app-id", "app-secret")
KEY = ("w1", "c1")
NAMES = sorted(name for name, found in all_platforms().items() if isinstance(found, Refreshable))
# Their long-lived token is its own refresh token.
IN_PLACE = {"instagram", "threads"}
ONCE = {"x", "tiktok", "pinterest", "bluesky"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    with serving(State()) as url:
        yield url


@pytest.fixture
async def fetcher(sandbox: str) -> AsyncIterator[Fetcher]:
    made = Fetcher(dict.fromkeys(all_platforms(), sandbox), timeout_seconds=10)
    yield made
    await made.close()


async def until(condition: Callable[[], bool], message: str) -> None:
    async def holds() -> bool:
        return condition()

    await wait_until_async(holds, 20, message)


async def refreshed(fetcher: Fetcher, name: str, pair: TokenPair) -> TokenGrant | RefreshFailure:
    subject: Any = all_platforms()[name]
    call = subject.refresh_call(pair, CLIENT)
    reply = await fetcher.fetch_grant(name, call, "https://never.asked.example")
    answer: TokenGrant | RefreshFailure = subject.read_refresh(reply.status, reply.headers, reply.body)
    return answer


@pytest.mark.parametrize("name", NAMES)
async def test_each_platform_grants_once_or_for_ever(fetcher: Fetcher, name: str) -> None:
    pair = TokenPair("sandbox-old~4711", f"sandbox-refresh-{name}~4711")
    first = await refreshed(fetcher, name, pair)
    assert isinstance(first, TokenGrant), first
    assert first.access_token.startswith("sandbox-fresh")
    assert first.access_token.endswith("~4711")
    assert name == "bluesky" or (first.expires_in_seconds or 0) > 3000
    again = await refreshed(fetcher, name, pair)
    if name in ONCE:
        assert isinstance(again, RefreshFailure)
        assert again.is_final
        newest = await refreshed(fetcher, name, TokenPair(first.access_token, first.refresh_token))
        assert isinstance(newest, TokenGrant)
    else:
        assert isinstance(again, TokenGrant)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("word", ["revoked", "expired"])
async def test_ended_tokens_are_refused_for_good(fetcher: Fetcher, name: str, word: str) -> None:
    pair = TokenPair(f"{word}-1" if name in IN_PLACE else "sandbox-1", f"{word}-1")
    found = await refreshed(fetcher, name, pair)
    assert isinstance(found, RefreshFailure)
    assert found.is_final, found


@pytest.mark.parametrize("name", NAMES)
async def test_a_token_endpoint_that_is_down_is_asked_again_later(sandbox: str, fetcher: Fetcher, name: str) -> None:
    faults = f"{sandbox}/_sandbox/faults"
    # Google's products share one token endpoint.
    owner = "youtube" if name == "google_business" else name
    async with httpx.AsyncClient() as client:
        await client.post(faults, json={"platform": owner, "kind": "server_error", "count": 1})
        found = await refreshed(fetcher, name, TokenPair("sandbox-1", "sandbox-down"))
        await client.delete(faults)
    assert isinstance(found, RefreshFailure)
    assert found.outcome is Outcome.PLATFORM_DOWN
    assert isinstance(await refreshed(fetcher, name, TokenPair("sandbox-1", "sandbox-down")), TokenGrant)


async def test_a_channel_goes_on_over_an_expired_token_and_stops_at_a_revoked_one(
    sandbox: str, fetcher: Fetcher
) -> None:
    """X from an ended access token to figures, and through the end of its refresh token to a new PUT."""
    time, accounts, platforms = SystemTime(), Accounts(), all_platforms()
    schedule = Schedule({name: known.facts.post_batch_size for name, known in platforms.items()})
    tokens = TokenStore(CIPHER, {})
    catalog, publisher = Catalog({}, schedule, tokens, accounts), MemoryPublisher()
    metrics = PollerMetrics(CollectorRegistry())
    refresher = Refresher(
        time=time, platforms=platforms, fetcher=fetcher, publisher=publisher, tokens=tokens, catalog=catalog,
        accounts=accounts, metrics=metrics, clients={"x": CLIENT},
    )  # fmt: skip
    circuits = {name: Circuit() for name in platforms}
    rounds = channel_rounds(
        time=time, platforms=platforms, schedule=schedule, fetcher=fetcher, publisher=publisher, tokens=tokens,
        accounts=accounts, budget=Budget(), circuits=circuits, metrics=metrics, refresher=refresher,
    )  # fmt: skip
    loop = Loop(time, schedule, rounds, circuits, 8)

    def put(access: str, refresh: str, fingerprint: str) -> None:
        now = time.now()
        ciphertext = CIPHER.encrypt(TokenPair(access, refresh), KEY)
        catalog.put_tokens(KEY, ChannelTokens("w1", "c1", ciphertext, fingerprint, None, "put", now), now)
        catalog.put_channel(KEY, CatalogChannel("w1", "c1", "x", "2244994945", "name", "active", None, now), now)

    def publish(number: int) -> None:
        at = time.now()
        found = post(target(f"t{number}", external_id=f"15{number}"), post_id=f"p{number}", published_at=at)
        catalog.put_post("w1", found.post_id, found, at)

    def statuses() -> set[int]:
        return {event.http_status for event in publisher.events}

    tasks = [asyncio.create_task(loop.run()), asyncio.create_task(refresher.run())]
    try:
        put("expired-1", "sandbox-refresh-whole", "first")
        publish(1)
        await until(lambda: 200 in statuses(), "figures after a refresh")
        assert not publisher.announced
        (written,) = [event for topic, event in publisher.written if topic == TOKENS]
        assert isinstance(written, ChannelTokens)
        assert CIPHER.decrypt(written.ciphertext, KEY) == tokens.credentials(KEY, "x").pair

        put("expired-2", "revoked-2", "second")
        publish(2)
        await until(lambda: bool(publisher.announced), "the end is announced")
        await until(lambda: catalog.channels[KEY].status == "token_expired", "the status says so")
        assert [event.type for event in publisher.announced] == ["account.token_expired"]

        put("sandbox-3", "sandbox-refresh-3", "third")
        await until(lambda: len(publisher.announced) == 2, "the recovery is announced")
        assert publisher.announced[1].type == "account.recovered"
        assert catalog.channels[KEY].status == "active"
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
    seen = b"".join(event.body + event.endpoint.encode() for event in publisher.events)
    assert b"oauth2/token" not in seen
    assert b"refresh" not in seen
