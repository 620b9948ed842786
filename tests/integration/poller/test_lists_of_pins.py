"""Young pins are asked for by the account's own list, over HTTP, and what the list leaves out by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from infra.sandbox.state import State
from schemas.events import RawKind
from services.platforms.base import Outcome
from tests.support.refused_polls import CULPRIT, MINUTE, NEIGHBOUR, PolledPlatform
from tests.support.served_sandbox import serving

START = 1_790_798_400_000
PINS = 12


@pytest.fixture
async def world() -> AsyncIterator[PolledPlatform]:
    state = State(7)
    with serving(state) as url:
        made = PolledPlatform(url, state, "pinterest", START)
        for number in range(4, PINS):
            made.publish(CULPRIT, number)
        try:
            yield made
        finally:
            await made.close()


def asked(world: PolledPlatform, channel: str, since: int = 0) -> list[str]:
    """The paths of a channel's calls for posts since an instant (ms)."""
    return [
        event.endpoint
        for event in world.publisher.events
        if (event.channel_id, event.kind) == (channel, RawKind.POST_METRICS) and event.captured_at >= since
    ]


async def test_one_call_brings_what_took_one_a_pin(world: PolledPlatform) -> None:
    await world.time.advance(10 * MINUTE)
    # The sandbox lists a pin once it was asked for; until then each is asked for by itself.
    first = asked(world, CULPRIT)
    assert sorted(first) == sorted(["/v5/pins", *(f"/v5/pins/{pin}" for pin in world.posts[CULPRIT])])
    # Two are not worth a list.
    assert sorted(asked(world, NEIGHBOUR)) == sorted(f"/v5/pins/{pin}" for pin in world.posts[NEIGHBOUR])
    since = world.time.at
    await world.time.advance(60 * MINUTE)
    assert set(asked(world, CULPRIT, since)) == {"/v5/pins"}
    assert 2 <= len(asked(world, CULPRIT, since)) <= 4
    figures = [one for one in world.figures(since) if one.metric == "impressions"]
    assert {one.external_id for one in figures} >= set(world.posts[CULPRIT])
    for one in figures:
        assert one.value == world.right(one.external_id, one.at, "impression"), one


async def test_a_pin_that_leaves_the_list_is_asked_for_by_itself_and_gone(world: PolledPlatform) -> None:
    await world.time.advance(40 * MINUTE)
    gone = world.posts[CULPRIT][3]
    world.switch_on("pin_gone", target=gone)
    since = world.time.at
    await world.time.advance(60 * MINUTE)
    alone = [path for path in asked(world, CULPRIT, since) if path != "/v5/pins"]
    assert set(alone) == {f"/v5/pins/{gone}"}
    assert Outcome.TARGET_GONE in world.outcomes(gone, since)
    others = set(world.posts[CULPRIT]) - {gone}
    assert {one.external_id for one in world.figures(since)} >= others
