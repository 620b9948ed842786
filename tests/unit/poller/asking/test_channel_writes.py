"""Channels that poller and customers write: the topic ends with what the customer wrote."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from schemas.codec import codec, schema_text
from schemas.events import CatalogChannel
from schemas.topic_names import CHANNELS
from services.platforms import all_platforms
from services.poller.asking.channel_writes import ChannelWrites
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.partitions.ownership import alone
from services.poller.schedule.schedule import Schedule
from services.runtime.secrets import TokenCipher
from tests.support.manual_clock import ManualTime
from tests.unit.poller.builders import channel

KEY = ("w1", "c1")
CODEC = codec(CHANNELS, schema_id=1, fetch_schema=lambda _: schema_text(CHANNELS))
STATUSES = ("active", "token_expired", "revoked", "disabled")


class Topic:
    """`catalog.channels`, read by the poller some events behind its end.

    Attributes:
        log: every event of the channel in order; None for a tombstone.
        gate: while closed, what the poller writes is on its way.
    """

    def __init__(self) -> None:
        platforms = all_platforms()
        schedule = Schedule({name: known.facts.post_batch_size for name, known in platforms.items()})
        self.catalog = Catalog(
            {CHANNELS: CODEC}, schedule, TokenStore(TokenCipher(["0123456789abcdef"]), {}), Accounts()
        )
        self.time = ManualTime()
        self.writes = ChannelWrites(self, self.catalog, self.time, alone())
        self.log: list[CatalogChannel | None] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._read = 0
        self._sent: list[CatalogChannel | None] = []

    async def write(self, topic: str, event: CatalogChannel) -> None:
        await self._send(event)

    async def erase(self, topic: str, key: tuple[str, str]) -> None:
        await self._send(None)

    async def _send(self, event: CatalogChannel | None) -> None:
        """As a producer does: in the order of the calls."""
        self._sent.append(event)
        await self.gate.wait()
        self.log += self._sent
        self._sent.clear()

    def put(self, name: str, status: str) -> None:
        """The customer's write; `name` tells it from others."""
        self.log.append(replace(channel(status=status, updated_at=self.time.at), username=name))

    def read(self) -> bool:
        """Let the poller read one event; False at the end."""
        if self._read == len(self.log):
            return False
        event = self.log[self._read]
        self._read += 1
        self.catalog.fold(CHANNELS, b"w1/c1", None if event is None else CODEC.encode(event), self.time.at)
        return True

    async def read_to_end(self) -> None:
        self.gate.set()
        await self.time.settle()
        while self.read():
            await self.time.settle()

    async def change(self, status: str) -> bool:
        """The poller changes the status, by what it knows."""
        held = self.catalog.channels[KEY]
        return await self.writes.put(KEY, replace(held, status=status, updated_at=self.time.at + 1))


@pytest.fixture
async def topic() -> Topic:
    return Topic()


@pytest.mark.parametrize("status", ["disabled", "revoked"])
async def test_a_put_that_the_poller_had_not_read_yet_wins(topic: Topic, status: str) -> None:
    topic.put("first", "token_expired")
    topic.read()
    topic.put("second", status)
    await topic.change("active")
    assert topic.catalog.channels[KEY].status == "active", "as far as this process knows"
    await topic.read_to_end()
    assert topic.log[-1] == topic.log[1]
    assert topic.catalog.channels[KEY] == topic.log[1]


async def test_a_deletion_that_the_poller_had_not_read_yet_wins(topic: Topic) -> None:
    topic.put("first", "active")
    topic.read()
    topic.log.append(None)
    await topic.change("token_expired")
    await topic.read_to_end()
    assert topic.log[-1] is None
    assert KEY not in topic.catalog.channels


async def test_a_put_that_follows_stands(topic: Topic) -> None:
    topic.put("first", "active")
    topic.read()
    assert await topic.change("token_expired")
    topic.put("second", "active")
    await topic.read_to_end()
    assert len(topic.log) == 3
    assert topic.catalog.channels[KEY] == topic.log[2]


@pytest.mark.parametrize("seed", range(300))
async def test_however_writes_and_reads_interleave_the_customer_wins(topic: Topic, seed: int) -> None:
    choose = random.Random(seed)
    topic.put("put-0", "active")
    topic.read()
    latest: str | None = "put-0"
    changes: list[asyncio.Task[bool]] = []
    is_deleted = False
    for step in range(1, 25):
        topic.time.at += 10
        match choose.choice(("put", "delete", "change", "change", "read", "read", "gate")):
            case "put":
                latest = f"put-{step}"
                topic.put(latest, choose.choice(STATUSES))
            case "delete" if not is_deleted:
                # Once: two deletions look the same, also one of the poller's between them.
                is_deleted, latest = True, None
                topic.log.append(None)
            case "change" if KEY in topic.catalog.channels:
                changes.append(asyncio.create_task(topic.change(choose.choice(STATUSES))))
            case "read":
                topic.read()
            case "gate":
                topic.gate.clear() if topic.gate.is_set() else topic.gate.set()
        await topic.time.settle()
    await topic.read_to_end()
    await asyncio.gather(*changes)
    await topic.read_to_end()
    last = topic.log[-1]
    # What the poller writes keeps the name of the PUT that it was made from.
    assert (None if last is None else last.username) == latest
    assert topic.catalog.channels.get(KEY) == last
