"""Kept answers and the changes that drop them, read from topics in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from schemas.topic_names import CHANNEL_ROLLUPS, POST_ROLLUPS, POSTS
from services.query_api.cache import AnswerCache, post_tag
from services.query_api.drops import DropFeed
from services.runtime.settings import KafkaSettings
from tests.support.memory_brokers import MemoryBrokers
from tests.support.waiting import wait_until_async

SETTINGS = KafkaSettings(kafka_bootstrap="127.0.0.1:1", topic_partitions=1)


class Kept:
    """A cache with the feed that keeps it honest."""

    def __init__(self) -> None:
        self.brokers = MemoryBrokers({CHANNEL_ROLLUPS: 1, POST_ROLLUPS: 1, POSTS: 1})
        self.cache: AnswerCache[str] = AnswerCache(1_000_000)
        self.drops = DropFeed(SETTINGS, (self.cache,), self.brokers)

    def keep(self, post_id: str) -> None:
        began_at = self.cache.now() + 5  # nothing has changed since
        self.cache.put(post_id, "answer", tags=(post_tag("w1", post_id),), size_bytes=1, began_at=began_at, seconds=60)

    async def wait(self, *, is_fed: bool) -> None:
        async def holds() -> bool:
            return self.cache.is_fed == is_fed

        await wait_until_async(holds, 10, f"the cache to be {'fed' if is_fed else 'cut off'}")


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    made = Kept()
    made.brokers.put(POST_ROLLUPS, 0, b"w1/p0", b"")
    yield made
    await made.drops.stop()
    assert not made.cache.is_fed


async def test_only_what_changes_from_now_on_is_dropped(kept: Kept) -> None:
    kept.keep("before")
    assert kept.drops.silent_seconds > 0
    kept.drops.start()
    await kept.wait(is_fed=True)
    assert kept.drops.silent_seconds == 0
    assert kept.cache.get("before") is None, "what changed before it was followed is not known"
    kept.keep("p1")
    kept.keep("p2")
    kept.brokers.put(POST_ROLLUPS, 0, b"w1/p1", b"")

    async def is_dropped() -> bool:
        return kept.cache.get("p1") is None

    await wait_until_async(is_dropped, 10, "the answer to be dropped")
    assert kept.cache.get("p2") is not None


async def test_nothing_kept_is_current_while_nobody_answers(kept: Kept) -> None:
    kept.drops.start()
    await kept.wait(is_fed=True)
    for name in ("p1", "p2"):
        kept.keep(name)
    kept.brokers.go_away()
    await kept.wait(is_fed=False)
    assert kept.cache.get("p1") is None
    await asyncio.sleep(0)
    assert kept.drops.silent_seconds > 0
    kept.brokers.put(POSTS, 0, b"w1/p1", None)
    kept.brokers.come_back()
    await kept.wait(is_fed=True)
    assert kept.cache.get("p1") is None, "it changed meanwhile"
    assert kept.cache.get("p2") is not None


async def test_after_a_topic_was_made_anew_nothing_is_known(kept: Kept) -> None:
    kept.drops.start()
    await kept.wait(is_fed=True)
    kept.keep("p2")
    kept.brokers.make(POST_ROLLUPS, 1)

    async def is_cleared() -> bool:
        return len(kept.cache) == 0

    await wait_until_async(is_cleared, 10, "the cache to be cleared")
    await kept.wait(is_fed=True)
