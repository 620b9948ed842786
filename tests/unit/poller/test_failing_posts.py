"""Posts whose calls fail without a reason, on each platform and in each way, in virtual time.

Their neighbours have their figures all the same, for a bounded number of calls, and they are asked for apart from then
on; where their neighbours stand, how many there are, and who is the oldest, is of no matter.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection
from math import ceil, log2

import httpx
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.platforms import all_platforms, pinterest
from services.platforms.base import Outcome, Verdict
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR
from tests.support import properties
from tests.support.platform_transport import Chunks, json_answer
from tests.unit.poller.answering import Failing, World
from tests.unit.poller.plain_platform import Asked, Plain, Server

MINUTE = MILLIS_PER_HOUR // 60
POLLED = [name for name in all_platforms() if name != "google_business"]
META = ("facebook", "instagram", "threads")
HTML = b"<!doctype html><html><body>Something went wrong</body></html>"
Answer = Callable[[httpx.Request], httpx.Response]


def html(status: int) -> Answer:
    return lambda _: httpx.Response(status, headers={"content-type": "text/html"}, stream=Chunks(HTML))


def body(status: int, value: object, **headers: str) -> Answer:
    return lambda _: json_answer(status, orjson.dumps(value), **headers)


def raising(error: Exception) -> Answer:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answer


WAYS: dict[str, Answer] = {
    "500 in JSON": body(500, {"message": "oops"}),
    "500 in HTML": html(500),
    "404 in HTML": html(404),
    "404 in JSON": body(404, {"message": "Not Found", "status": 404}),
    "200 in HTML": html(200),
    "503 with a wait": body(503, {"message": "busy"}, retry_after="20"),
    "a time-out": raising(httpx.ReadTimeout("slow")),
    "a closed connection": raising(httpx.RemoteProtocolError("closed")),
    "an unknown code": body(500, {"error": {"code": 99_999, "message": "?"}, "code": "NEW", "serviceErrorCode": 1}),
    "a limit without a time": body(429, {"message": "slow down"}),
    "a limit with a time": body(429, {"message": "slow down"}, retry_after="20"),
    "Meta's code 613": body(
        400, {"error": {"code": 613, "message": "Calls to this api have exceeded the rate limit."}}
    ),
}
Made = Callable[..., tuple[World, Failing]]


@pytest.fixture(autouse=True)
def same_waits() -> None:
    """Waits after failures are drawn at random: here they are the same in each run."""
    random.seed(1)


@pytest.fixture
async def made(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Made]:
    # A list names no pin that could make it fail: here each pin is asked for by itself.
    monkeypatch.setattr(pinterest, "LISTED_FROM", 1_000)
    worlds: list[World] = []

    def make(name: str, way: str) -> tuple[World, Failing]:
        failing = Failing(name, WAYS[way])
        world = World(name, failing, failing.wire)
        worlds.append(world)
        return world, failing

    yield make
    for world in worlds:
        await closed(world)


async def closed(world: World) -> None:
    world.task.cancel()
    await asyncio.gather(world.task, return_exceptions=True)
    assert world.publisher.reserved == 0


def to_find(culprits: int, among: int) -> int:
    """The most calls that finding culprits may cost: first failures, witnesses, and halves down to each."""
    return 6 + culprits * (4 + 2 * ceil(log2(among + 1)))


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", POLLED)
async def test_neighbours_have_their_figures_and_culprits_are_asked_apart(made: Made, name: str) -> None:
    _, failing = await begun(made, name, next(iter(WAYS)), ())
    calls_in_calm = len(failing.requests)
    for way in properties.part_of(way for way in WAYS if name in META or "Meta" not in way):
        random.seed(1)
        try:
            await check_culprits(made, name, way, calls_in_calm)
        except Exception as error:
            error.add_note(f"{name}, {way}")
            raise


async def begun(made: Made, name: str, way: str, culprits: Collection[int]) -> tuple[World, Failing]:
    """A platform and the first five minutes of a channel of ten posts, some of which fail."""
    world, failing = made(name, way)
    world.connect("c1")
    world.publish("c1", 10)
    failing.culprits = {failing.external_id(number) for number in culprits}
    await world.time.advance(5 * MINUTE)
    assert world.captured_since("c1", 0) == 10 - len(culprits)
    return world, failing


async def check_culprits(made: Made, name: str, way: str, calls_in_calm: int) -> None:
    """Three culprits among ten posts are found for a bounded number of calls, asked apart, and polled again later.

    Args:
        calls_in_calm: of the first five minutes without culprits.
    """
    world, failing = await begun(made, name, way, (0, 5, 6))
    assert len(failing.requests) - calls_in_calm <= to_find(3, 10)
    await world.time.advance(35 * MINUTE)
    since, polled_at = len(failing.requests), world.time.at
    await world.time.advance(2 * MILLIS_PER_HOUR)
    assert world.captured_since("c1", world.time.at - 30 * MINUTE) == 7
    later = [failing.ids_in(request) for request in failing.requests[since:]]
    assert all(len(ids) == 1 for ids in later if ids & failing.culprits)
    # At intervals that widen; a try of a limit takes a witness, and the culprit once more.
    assert 3 <= sum(bool(ids & failing.culprits) for ids in later) <= 30
    # Once it is answered, it is polled like any other.
    failing.culprits.clear()
    await world.time.advance(3 * MILLIS_PER_HOUR)
    assert world.captured_since("c1", polled_at + 2 * MILLIS_PER_HOUR) == 10


FAILURES = [Verdict(Outcome.PLATFORM_DOWN), Verdict(Outcome.PLATFORM_DOWN, 15.0), Verdict(Outcome.RETRY_LATER), None]


def failing_for(culprits: Collection[str], failure: Verdict | None) -> Callable[[Asked], Verdict | None]:
    """Calls about these fail so; None: they time out."""

    def say(asked: Asked) -> Verdict | None:
        if not set(culprits) & set(asked.ids):
            return None
        if failure is None:
            raise httpx.ReadTimeout("slow")
        return failure

    return say


@settings(deadline=None, max_examples=properties.of(25), derandomize=True)
@given(
    count=st.integers(2, 60),
    places=st.lists(st.floats(0, 0.999), min_size=1, max_size=2),
    batch_size=st.sampled_from((1, 7, 50)),
    failure=st.sampled_from(FAILURES),
    seed=st.integers(0, 1_000),
    waits=st.integers(0, 1_000),
)
# A culprit that is alone at first, so that its failures widen the waits before the others go out.
@example(20, [0.0, 0.42], 50, None, 51, 117)
# Several go out one after the other, while a limit is met.
@example(35, [0.501, 0.662], 50, Verdict(Outcome.RETRY_LATER), 363, 81)
def test_wherever_culprits_stand_and_whoever_is_the_oldest(
    count: int, places: list[float], batch_size: int, failure: Verdict | None, seed: int, waits: int
) -> None:
    async def run() -> None:
        random.seed(waits)
        server = Server()
        world = World("youtube", Plain(batch_size), server.wire)
        numbers = list(range(count))
        culprits = {f"id{int(place * count):05}" for place in places}
        server.say = failing_for(culprits, failure)
        world.connect("c1")
        # In any order, and not all at once.
        random.Random(seed).shuffle(numbers)
        for number in numbers:
            world.publish("c1", 1, first=number)
            if number % 7 == 0:
                await world.time.advance(20_000)
        healthy = count - len(culprits)
        # By then waits have reached their longest, and it has shown who is to blame.
        await world.time.advance(15 * MINUTE)
        assert world.captured_since("c1", 0) == healthy
        polls = ceil(count / batch_size) + count // 7 + 2
        assert len(server.asked) <= polls + to_find(len(culprits), min(count, batch_size)) * (2 if failure else 3)
        await world.time.advance(30 * MINUTE)
        found = len(server.asked)
        for _ in range(3):
            polled_at = world.time.at
            await world.time.advance(30 * MINUTE)
            assert world.captured_since("c1", polled_at) == healthy
        assert all(len(asked.ids) == 1 for asked in server.asked[found:] if culprits & set(asked.ids))
        assert all(world.known.culprits.again_at(("w1", "c1"), "posts/feed", one) for one in culprits)
        await closed(world)

    asyncio.run(run())


async def test_a_post_that_meets_limits_keeps_no_new_post_waiting() -> None:
    server = Server(failing_for({"id00003"}, Verdict(Outcome.RETRY_LATER)))
    world = World("youtube", Plain(), server.wire)
    world.connect("c1")
    world.publish("c1", 4)
    await world.time.advance(1_000)
    assert world.captured_since("c1", 0) == 0
    world.publish("c1", 10, first=100)
    await world.time.advance(5_000)
    assert [len(asked.ids) for asked in server.asked][1] == 10, "those that met no limit are asked for by themselves"
    assert world.captured_since("c1", 0) >= 10
    await closed(world)


async def test_a_lone_post_of_its_channel_fails_while_others_are_answered() -> None:
    server = Server(failing_for({"id00000"}, Verdict(Outcome.PLATFORM_DOWN)))
    world = World("youtube", Plain(), server.wire)
    world.connect("c1", "c2")
    world.publish("c1", 1)
    world.publish("c2", 5, first=100)
    await world.time.advance(MILLIS_PER_DAY)
    asked = [asked for asked in server.asked if "id00000" in asked.ids]
    assert len(asked) <= 20, "at each poll for six hours, then at intervals that widen up to a day"
    assert world.captured_since("c2", world.time.at - 6 * MILLIS_PER_HOUR) == 5
    await closed(world)


async def test_what_fails_of_one_kind_keeps_no_other_kind_waiting() -> None:
    server = Server(lambda asked: Verdict(Outcome.PLATFORM_DOWN) if asked.path.endswith("reel") else None)
    for batch_size in (1, 50):
        server.asked.clear()
        world = World("youtube", Plain(batch_size), server.wire)
        world.connect("c1")
        world.publish("c1", 20, post_type="reel")
        world.publish("c1", 20, first=100)
        await world.time.advance(MILLIS_PER_HOUR)
        assert world.captured_since("c1", world.time.at - 30 * MINUTE) == 20
        assert sum(asked.path.endswith("reel") for asked in server.asked) <= 20
        await closed(world)


@pytest.mark.parametrize("batch_size", [1, 50])
async def test_an_hour_in_which_all_of_one_channel_fails(batch_size: int) -> None:
    server = Server()
    world = World("youtube", Plain(batch_size), server.wire)
    world.connect("c1", "c2")
    world.publish("c1", 20)
    world.publish("c2", 20, first=100)
    await world.time.advance(40 * MINUTE)
    server.say = lambda asked: Verdict(Outcome.PLATFORM_DOWN) if asked.token.endswith("c1") else None
    before = len(server.asked)
    await world.time.advance(MILLIS_PER_HOUR)
    assert world.captured_since("c2", world.time.at - 30 * MINUTE) == 20
    assert sum(asked.token.endswith("c1") for asked in server.asked[before:]) <= 20
    server.say = lambda _: None
    healed_at = world.time.at
    await world.time.advance(30 * MINUTE)
    assert world.captured_since("c1", healed_at) == 20
    await closed(world)


@pytest.mark.parametrize("batch_size", [1, 50])
@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.long) for seed in (3, 5))])
async def test_an_outage_that_comes_and_goes_by_degrees(batch_size: int, seed: int) -> None:
    chance = random.Random(seed)
    share = 0.0
    server = Server(lambda _: Verdict(Outcome.PLATFORM_DOWN) if chance.random() < share else None)
    world = World("youtube", Plain(batch_size), server.wire)
    names = [f"c{number}" for number in range(6)]
    world.connect(*names)
    for number, name in enumerate(names):
        world.publish(name, 10, first=100 * number)
    await world.time.advance(40 * MINUTE)
    for step in (0.1, 0.5, 0.9, 1.0, 1.0, 1.0, 1.0, 0.9, 0.5, 0.1):
        share, before = step, len(server.asked)
        await world.time.advance(20 * MINUTE)
        if share == 1.0:
            assert len(server.asked) - before <= 7 * len(names)
    share, healed_at = 0.0, world.time.at
    await world.time.advance(30 * MINUTE)
    assert all(world.captured_since(name, healed_at) == 10 for name in names)
    await closed(world)


async def test_many_posts_of_a_channel_that_fail_take_turns() -> None:
    culprits = {f"id{number:05}" for number in range(40) if number % 4}
    server = Server(failing_for(culprits, Verdict(Outcome.PLATFORM_DOWN)))
    world = World("youtube", Plain(), server.wire)
    world.connect("c1")
    world.publish("c1", 40)
    await world.time.advance(MILLIS_PER_HOUR)
    before = len(server.asked)
    for _ in range(6):
        polled_at = world.time.at
        await world.time.advance(30 * MINUTE)
        assert world.captured_since("c1", polled_at) == 10
    tried = [asked.ids for asked in server.asked[before:] if culprits & set(asked.ids)]
    assert all(len(ids) == 1 for ids in tried)
    assert len(tried) <= 3 * 6 * 3, "three in ten minutes"
    assert {one for ids in tried for one in ids} == culprits, "each has its turn"
    # The first that is answered brings all others back.
    server.say, healed_at = (lambda _: None), world.time.at
    await world.time.advance(30 * MINUTE)
    assert world.captured_since("c1", healed_at) == 40
    await closed(world)
