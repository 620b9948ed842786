"""X refuses private figures of single posts within an answer about several; with a hand-moved clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest

from tests.support.platform_transport import json_answer
from tests.unit.poller.asking.test_refresh import World
from tests.unit.poller.builders import post, target

MINUTE = 60_000
OWN = [str(1_990_000_000_000_000_001 + number) for number in range(6)]
FOREIGN = [str(1_990_000_000_000_000_101 + number) for number in range(4)]
FIELDS = ("non_public_metrics.url_link_clicks", "organic_metrics.like_count")


class Refusing:
    """X, which tells private figures of `OWN` alone.

    Attributes:
        asked: of each call for posts, the ids and the fields.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/tweets"):
            return json_answer(200, b'{"data": []}')
        ids, fields = request.url.params["ids"].split(","), request.url.params["tweet.fields"]
        self.asked.append((sorted(ids), fields))
        is_private = "non_public_metrics" in fields
        refused = [name for name in ids if is_private and name in FOREIGN]
        data = [
            {"id": name, "public_metrics": {"like_count": 3}} | ({"non_public_metrics": {}} if is_private else {})
            for name in ids
            if name not in refused
        ]
        errors = [
            {
                "resource_id": name, "field": field, "section": "data", "title": "Field Authorization Error",
                "type": "https://api.x.com/2/problems/not-authorized-for-field",
            }
            for name in refused
            for field in FIELDS
        ]  # fmt: skip
        body = {"data": data, "errors": errors} if data and errors else {"data": data} if data else {"errors": errors}
        return json_answer(200, orjson.dumps(body))


@pytest.fixture
async def polled() -> AsyncIterator[tuple[World, Refusing]]:
    world, refusing = World(), Refusing()
    world.x.stands_in = refusing
    world.put("access-0", None)
    world.connect()
    for number, external_id in enumerate((*OWN, *FOREIGN)):
        event = post(target(f"t{number}", external_id=external_id), post_id=f"p{number}")
        world.catalog.put_post("w1", event.post_id, event, world.time.at)
    yield world, refusing
    for task in world.tasks:
        task.cancel()
    await asyncio.gather(*world.tasks, return_exceptions=True)


async def test_a_refused_post_is_asked_for_its_public_figures_and_its_neighbours_are_left_alone(
    polled: tuple[World, Refusing],
) -> None:
    world, refusing = polled
    await world.time.advance(10_000)
    private = "public_metrics,non_public_metrics,organic_metrics"
    assert refusing.asked == [(sorted((*OWN, *FOREIGN)), private), (FOREIGN, "public_metrics")]
    # From then on each is asked for what it has, all of one kind together.
    for _ in range(3):
        refusing.asked.clear()
        await world.time.advance(30 * MINUTE)
        assert sorted(refusing.asked) == sorted([(OWN, private), (FOREIGN, "public_metrics")])
