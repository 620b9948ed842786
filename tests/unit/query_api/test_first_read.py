"""A process that has just begun knows no key: requests wait until it does, and are told if it takes too long."""

from __future__ import annotations

import asyncio

import pytest

from services.query_api.errors import KeysUnread, Unauthorized
from services.query_api.first_read import FirstRead
from services.query_api.serving.auth import key_hash
from tests.support.query_api import FakeApi, fake_api


class Feed:
    """Topics that are read once the event is set."""

    def __init__(self) -> None:
        self.is_read = asyncio.Event()

    @property
    def missing(self) -> str | None:
        return None if self.is_read.is_set() else "keys are not read yet"

    async def caught_up(self) -> None:
        await self.is_read.wait()


async def ask(api: FakeApi, key: str) -> int:
    reply = await api.client.get("/tidemark/v1/usage", headers={"x-api-key": key} if key else {})
    return reply.status_code


async def test_a_key_that_is_not_read_yet_is_waited_for() -> None:
    api, feed = fake_api(), Feed()
    api.keys.catch_up = FirstRead(feed, seconds=30)
    waiting = asyncio.create_task(ask(api, "good"))
    unknown = asyncio.create_task(ask(api, "unknown"))
    assert await ask(api, "") == 401, "whoever has no key waits for nothing"
    api.add_key("w1", "good")
    feed.is_read.set()
    assert (await waiting, await unknown) == (200, 401)
    assert await ask(api, "unknown") == 401


async def test_whoever_waits_too_long_is_told_to_come_again() -> None:
    api = fake_api()
    api.keys.catch_up = FirstRead(Feed(), seconds=0.01)
    reply = await api.client.get("/tidemark/v1/usage", headers={"x-api-key": "good"})
    assert (reply.status_code, reply.json()["code"], reply.headers["retry-after"]) == (503, "keys_unavailable", "2")
    with pytest.raises(KeysUnread):
        await api.keys.find(((b"x-api-key", b"good"),))
    with pytest.raises(Unauthorized):
        await api.keys.find(())
    assert key_hash("good") not in repr(reply.json())
