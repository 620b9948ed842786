"""Posts that were published elsewhere, found in the sandbox's lists over real HTTP, on each platform that has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from infra.sandbox.ids import published_at
from infra.sandbox.state import State
from schemas.events import CatalogPost, RawKind
from schemas.tiers import rule_of
from services.platforms import all_platforms
from services.platforms.abilities import Discovers
from services.poller.discoveries import oldest_discovered, spelling
from services.poller.discovering import Discovery
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import alone
from tests.support.memory_publisher import MemoryPublisher
from tests.support.refused_polls import CULPRIT, MINUTE, WORKSPACE, PolledPlatform
from tests.support.served_sandbox import serving

START = 1_790_798_400_000
KEY = (WORKSPACE, CULPRIT)
PLATFORMS = [name for name, platform in all_platforms().items() if isinstance(platform, Discovers)]


class Server(NamedTuple):
    """The sandbox of this module."""

    url: str
    state: State


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    state = State(7)
    with serving(state) as url:
        yield Server(url, state)


class Topic(MemoryPublisher):
    """Brings what is written back to the poller's catalog."""

    def __init__(self, world: PolledPlatform) -> None:
        super().__init__()
        self.world = world

    async def put(self, topic: str, workspace_id: str, message_key: bytes, event: CatalogPost | None) -> None:
        await super().put(topic, workspace_id, message_key, event)
        assert event is not None
        self.world.catalog.put_post(workspace_id, event.post_id, event, self.world.time.at)

    async def erase(self, topic: str, key: tuple[str, str]) -> None:
        await super().erase(topic, key)
        self.world.catalog.put_post(*key, None, self.world.time.at)


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_an_accounts_newest_posts_are_found_once_and_polled(server: Server, platform: str) -> None:
    world = PolledPlatform(server.url, server.state, platform, START)
    topic = Topic(world)
    discovery = Discovery(
        time=world.time, platforms={platform: all_platforms()[platform]}, schedule=world.schedule,
        catalog=world.catalog, rounds=world.rounds, publisher=topic, ownership=alone(),
        metrics=PollerMetrics(CollectorRegistry()),
    )  # fmt: skip
    looking = asyncio.create_task(discovery.run())
    try:
        await world.time.advance(MINUTE)
        world.catalog.put_channel(
            KEY, replace(world.catalog.channels[KEY], discover=True, updated_at=world.time.at), world.time.at
        )
        await world.time.advance(5 * MINUTE)
        found = {post.targets[0].external_id: post for post in topic.posts}
        assert found
        assert len(found) == len(topic.posts)
        registered = {spelling(name) for name in world.posts[CULPRIT]}
        assert not registered & {spelling(name) for name in found}
        youngest = world.time.at - oldest_discovered(rule_of(platform))
        for name, post in found.items():
            (target,) = post.targets
            assert target.origin == "discovered"
            assert post.published_at is not None
            assert youngest < post.published_at <= world.time.at
            assert abs(post.published_at - published_at(platform, name)) < 1000
        await world.time.advance(15 * MINUTE)
        # Each one is polled as it was found.
        asked = {
            target.external_id
            for event in world.publisher.events
            if event.kind == RawKind.POST_METRICS and event.http_status == 200
            for target in event.targets
        }
        assert set(found) <= asked
        lists = len([heard for heard in world.fetcher.heard if heard.call.shape == "discovery"])
        assert lists == 1
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await world.close()
