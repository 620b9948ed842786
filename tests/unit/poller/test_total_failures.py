"""An hour in which a platform fails whole, each platform and each way of failing, in virtual time.

It costs no more than twenty calls a channel, and afterwards every post is polled again within its interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from services.platforms import all_platforms
from services.platforms.base import Outcome, Verdict
from services.runtime.clock import MILLIS_PER_HOUR
from tests.support.platform_transport import Chunks, json_answer
from tests.unit.poller.answering import Answered, Answering, World

MINUTE = MILLIS_PER_HOUR // 60
POSTS = 8
# Of a channel, in the hour.
MOST_CALLS = 20

HTML = b"<!doctype html><html><body>Not here</body></html>"


def html(status: int) -> Callable[[httpx.Request], httpx.Response]:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"content-type": "text/html"}, stream=Chunks(HTML))

    return answer


def bare(_: httpx.Request) -> httpx.Response:
    return json_answer(404, b"{}")


FAILURES: dict[str, Callable[[httpx.Request], httpx.Response]] = {
    "bare 404": bare,
    "HTML with 200": html(200),
    "HTML with 404": html(404),
    "HTML with 502": html(502),
}
MEANT = {
    "a refused shape": Verdict(Outcome.REQUEST_WRONG, detail="no such edge"),
    "a missing permission": Verdict(Outcome.PERMISSION_MISSING),
    "an expired token": Verdict(Outcome.TOKEN_EXPIRED),
    "a spent quota": Verdict(Outcome.QUOTA_EXHAUSTED),
    "a limit without a time": Verdict(Outcome.RETRY_LATER),
    "a limit whose time is over": Verdict(Outcome.RETRY_LATER, 0.0),
    "a limit of a minute": Verdict(Outcome.RETRY_LATER, 60.0),
    "a quota whose time is over": Verdict(Outcome.QUOTA_EXHAUSTED, 0.0),
    "a platform that is down and to be asked at once": Verdict(Outcome.PLATFORM_DOWN, 0.0),
    "a platform that is down for a minute": Verdict(Outcome.PLATFORM_DOWN, 60.0),
    "a platform that is down": Verdict(Outcome.PLATFORM_DOWN),
}


POLLED = [name for name in all_platforms() if name != "google_business"]


@pytest.mark.parametrize("failure", [*FAILURES, *MEANT])
@pytest.mark.parametrize("name", POLLED)
async def test_an_hour_of_a_total_failure(name: str, failure: str) -> None:
    answering = Answering(name)
    world = World(name, Answered(answering), answering.wire)
    try:
        world.connect("c1")
        world.publish("c1", POSTS)
        await world.time.advance(40 * MINUTE)
        assert world.captured_since("c1", 0) == POSTS, "a healthy platform is polled"
        answering.fail(FAILURES.get(failure), MEANT.get(failure))
        before = len(answering.requests)
        await world.time.advance(60 * MINUTE)
        assert len(answering.requests) - before <= MOST_CALLS
        answering.fail(None, None)
        if failure == "an expired token":
            world.token("c1", "another-token")
        healed_at = world.time.at
        await world.time.advance(30 * MINUTE)
        assert world.captured_since("c1", healed_at) == POSTS
    finally:
        world.task.cancel()
        await asyncio.gather(world.task, return_exceptions=True)
