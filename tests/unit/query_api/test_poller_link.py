"""Requests to a poller and its replies, over topics in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from schemas.codec import Codec, codec, schema_text
from schemas.events import PlatformRaw, PollerReply, PollerRequest, PullKind, RawTarget, ReplyKind
from schemas.topic_names import RAW, REPLIES, REQUESTS
from services.query_api.poller_link import PollerLink
from services.runtime.clock import SystemClock
from services.runtime.kafka import partition_of
from services.runtime.settings import KafkaSettings
from tests.support.manual_clock import START
from tests.support.memory_brokers import MemoryBrokers
from tests.support.waiting import wait_until_async

PARTITIONS = 2
SETTINGS = KafkaSettings(kafka_bootstrap="127.0.0.1:1", topic_partitions=PARTITIONS)


def _schema(topic: str, _: int) -> str:
    return schema_text(topic)


CODECS: dict[str, Codec[Any]] = {
    name: codec(name, schema_id=1, fetch_schema=partial(_schema, name)) for name in (REQUESTS, REPLIES, RAW)
}
ANSWER = PlatformRaw(
    "e1", "w1", "c1", "x", "POST_METRICS", "/2/tweets", {"ids": "e1"}, (RawTarget("t1", "p1", "e1"),), 200, b"{}",
    START, "LIVE",
)  # fmt: skip


class Schemas:
    """See `publisher.Codecs`."""

    async def get(self, topic: str) -> Codec[Any]:
        return CODECS[topic]


class Asked:
    """A link, and the poller at its other end."""

    def __init__(self) -> None:
        self.brokers = MemoryBrokers({REQUESTS: PARTITIONS, REPLIES: PARTITIONS})
        self.link = PollerLink(SETTINGS, Schemas(), SystemClock(), deadline_seconds=60, brokers=self.brokers)  # type: ignore[arg-type]

    async def request(self) -> PollerRequest:
        """The first request that was sent."""

        async def sent() -> bool:
            return bool(self.brokers.values(REQUESTS))

        await wait_until_async(sent, 10, "a request")
        (value,) = self.brokers.values(REQUESTS)
        request: PollerRequest = CODECS[REQUESTS].decode(value or b"")
        return request

    def reply(self, request: PollerRequest, kind: ReplyKind, event: PlatformRaw | None = None) -> None:
        value = None if event is None else CODECS[RAW].encode(event)
        reply = PollerReply(request.request_id, request.workspace_id, kind, event=value)
        partition = partition_of(request.reply_to, PARTITIONS)
        self.brokers.put(REPLIES, partition, request.reply_to.encode(), CODECS[REPLIES].encode(reply))


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    made = Asked()
    yield made
    await made.link.stop()


async def test_nobody_is_asked_before_replies_can_be_heard(asked: Asked) -> None:
    assert await asked.link.ask(PullKind.ACCOUNT, "w1", channel_id="c1") is None
    asked.brokers.go_away()
    asked.link.start()
    await asyncio.sleep(0)
    assert await asked.link.ask(PullKind.ACCOUNT, "w1", channel_id="c1") is None
    assert asked.brokers.values(REQUESTS) == []


async def test_answers_come_back_to_who_asked(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine is no poller that does not answer.
    monkeypatch.setattr("services.query_api.poller_link.ACK_SECONDS", 30.0)
    asked.link.start()

    async def is_ready() -> bool:
        return asked.link._requests is not None and asked.link._producer.is_connected

    await wait_until_async(is_ready, 10, "the link")
    asking = asyncio.create_task(asked.link.ask(PullKind.ACCOUNT, "w1", channel_id="c1"))
    request = await asked.request()
    assert request.workspace_id == "w1"
    asked.reply(request, ReplyKind.ACK)
    asked.reply(request, ReplyKind.ANSWER, ANSWER)
    asked.reply(request, ReplyKind.DONE)
    pulled = await asking
    assert pulled is not None
    assert list(pulled.events) == [ANSWER]
    assert pulled.done is not None
