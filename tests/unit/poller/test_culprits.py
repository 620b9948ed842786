"""One target never silences another: what single targets are refused for is found, remembered and asked apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from math import ceil, log2

import pytest

from schemas.events import CatalogTarget
from services.platforms.base import Outcome, Platform, Verdict
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR
from tests.unit.poller.answering import World
from tests.unit.poller.builders import post
from tests.unit.poller.plain_platform import METRICS, Asked, Plain, PlainApart, Server

MINUTE = MILLIS_PER_HOUR // 60
Made = Callable[..., tuple[World, Server]]


@pytest.fixture
async def made() -> AsyncIterator[Made]:
    worlds: list[World] = []

    def make(platform: Platform | None = None) -> tuple[World, Server]:
        server = Server()
        world = World("youtube", platform or Plain(), server.wire)
        worlds.append(world)
        return world, server

    yield make
    for world in worlds:
        world.task.cancel()
        await asyncio.gather(world.task, return_exceptions=True)
        assert world.publisher.reserved == 0


def ids(*numbers: int) -> set[str]:
    return {f"id{number:05}" for number in numbers}


def refusing(culprits: set[str], verdict: Verdict) -> Callable[[Asked], Verdict | None]:
    return lambda asked: verdict if culprits & set(asked.ids) else None


REFUSALS = [
    Outcome.PERMISSION_MISSING, Outcome.REQUEST_WRONG, Outcome.TARGET_REFUSED, Outcome.TARGET_GONE,
    Outcome.NO_DATA_EVER, Outcome.TOO_EARLY, Outcome.METRIC_FORBIDDEN, Outcome.METRIC_NOT_OFFERED,
]  # fmt: skip


@pytest.mark.parametrize("outcome", REFUSALS)
@pytest.mark.parametrize("culprits", [ids(7), ids(0, 1, 2, 3), ids(3, 19, 44), ids(46, 47, 48, 49)])
async def test_the_others_of_a_batch_have_their_figures_at_a_bounded_price(
    made: Made, outcome: Outcome, culprits: set[str]
) -> None:
    world, server = made()
    server.say = refusing(culprits, Verdict(outcome))
    world.connect("c1")
    world.publish("c1", 50)
    await world.time.advance(10_000)
    assert world.captured_since("c1", 0) == 50 - len(culprits)
    # A batch, a sample, halves on the way to each culprit, and for a metric that is not named halves of the metrics.
    of_metrics = 2 * len(METRICS) if outcome in (Outcome.METRIC_FORBIDDEN, Outcome.METRIC_NOT_OFFERED) else 0
    assert len(server.asked) <= 2 + len(culprits) * (2 * ceil(log2(50)) + of_metrics)


async def test_culprits_are_asked_apart_from_then_on_at_widening_intervals(made: Made) -> None:
    world, server = made()
    culprits = ids(3, 19)
    server.say = refusing(culprits, Verdict(Outcome.REQUEST_WRONG))
    world.connect("c1")
    world.publish("c1", 30)
    await world.time.advance(10_000)
    found = len(server.asked)
    await world.time.advance(12 * MILLIS_PER_HOUR)
    later = server.asked[found:]
    assert not [asked for asked in later if culprits & set(asked.ids) and len(asked.ids) > 1]
    tries = sum(bool(culprits & set(asked.ids)) for asked in later)
    assert 8 <= tries <= 12
    assert len(later) - tries <= 28, "the others cost one call a poll"
    # Answered at last, they are among the others again.
    server.say = lambda _: None
    await world.time.advance(24 * MILLIS_PER_HOUR)
    assert culprits <= set(server.asked[-1].ids)


@pytest.mark.parametrize("outcome", [Outcome.TOKEN_EXPIRED, Outcome.TOKEN_REVOKED, Outcome.ACCOUNT_DISABLED])
async def test_one_post_that_is_refused_in_words_about_the_token_pauses_no_channel(
    made: Made, outcome: Outcome
) -> None:
    world, server = made(Plain(1))
    server.say = refusing(ids(0, 5), Verdict(outcome))
    world.connect("c1")
    world.publish("c1", 8)
    await world.time.advance(MINUTE)
    assert world.captured_since("c1", 0) == 6
    found = len(server.asked)
    assert found <= 8 + 2 * 2, "a witness for each, and each once more"
    for _ in range(6):
        polled_at = world.time.at
        await world.time.advance(30 * MINUTE)
        assert world.captured_since("c1", polled_at) == 6
    assert len(server.asked) - found <= 6 * 6 + 2 * 3 * 3
    assert not world.publisher.announced
    # The token itself is another matter.
    server.say = lambda _: Verdict(outcome)
    before = len(server.asked)
    await world.time.advance(30 * MINUTE)
    assert len(world.publisher.announced) == 1
    assert len(server.asked) - before <= 3


async def test_the_named_target_is_left_out_at_once(made: Made) -> None:
    world, server = made()
    server.say = refusing(ids(7), Verdict(Outcome.TARGET_REFUSED, refused_target="id00007"))
    world.connect("c1")
    world.publish("c1", 50)
    await world.time.advance(10_000)
    assert [len(asked.ids) for asked in server.asked] == [50, 49]
    await world.time.advance(30 * MINUTE)
    assert all(ids(7) != set(asked.ids) or len(asked.ids) == 1 for asked in server.asked[2:])


async def test_a_culprit_that_is_written_again_is_asked_for_at_once(made: Made) -> None:
    world, server = made()
    server.say = refusing(ids(7), Verdict(Outcome.REQUEST_WRONG))
    world.connect("c1")
    world.publish("c1", 10)
    published_at = world.time.at
    await world.time.advance(40 * MINUTE)
    server.say = lambda _: None
    before = len(server.asked)
    held = world.catalog.entries("w1", "p-c1-7")[0]
    of = CatalogTarget(held.target_id, "c1", "", "published", "id00007")
    event = post(of, post_id="p-c1-7", published_at=published_at)
    world.catalog.put_post("w1", event.post_id, event, world.time.at)
    await world.time.advance(1_000)
    assert any("id00007" in asked.ids for asked in server.asked[before:])


async def test_what_a_connection_was_refused_is_asked_for_again_with_a_new_one(made: Made) -> None:
    world, server = made()
    # One post for want of a right, one kind of post, a metric, and a number; and one that is said to be gone.
    away = ids(5)

    def say(asked: Asked) -> Verdict | None:
        if away & set(asked.ids):
            return Verdict(Outcome.TARGET_GONE)
        if asked.path.endswith("reel") or ids(7) & set(asked.ids):
            return Verdict(Outcome.PERMISSION_MISSING)
        if "d" in asked.metrics:
            return Verdict(Outcome.METRIC_FORBIDDEN, refused_metric="d")
        return Verdict(Outcome.TOO_MUCH) if len(asked.ids) > 4 else None

    server.say = say
    world.connect("c1", "c2")
    world.publish("c1", 10)
    world.publish("c1", 5, first=100, post_type="reel")
    await world.time.advance(2 * MILLIS_PER_HOUR)
    assert len(world.known.culprits) > 1
    assert len(world.known.shapes) == 1
    assert world.known.refusals
    assert world.known.sizes
    server.say = lambda _: None
    # Another channel's connection changes nothing.
    world.connect("c2")
    assert len(world.known.shapes) == 1
    before, again_at = len(server.asked), world.time.at
    world.connect("c1")
    assert not world.known.shapes
    assert not world.known.sizes
    assert not world.known.culprits
    await world.time.advance(1_000)
    assert away <= {one for asked in server.asked[before:] for one in asked.ids}, "at once"
    await world.time.advance(MILLIS_PER_HOUR // 2 + 1_000)
    assert world.captured_since("c1", again_at) == 15
    feed = next(asked for asked in server.asked[before:] if asked.path.endswith("feed") and len(asked.ids) > 1)
    assert "d" in feed.metrics


async def test_a_shape_that_is_refused_of_a_channel_leaves_its_other_shapes_alone(made: Made) -> None:
    world, server = made()
    server.say = lambda asked: Verdict(Outcome.PERMISSION_MISSING) if asked.path.endswith("reel") else None
    world.connect("c1")
    world.publish("c1", 20)
    world.publish("c1", 20, first=100, post_type="reel")
    await world.time.advance(2 * MILLIS_PER_HOUR)
    reels = [asked for asked in server.asked if asked.path.endswith("reel")]
    assert len(reels) <= 14
    assert all(len(asked.ids) == 1 for asked in reels[5:])
    feeds = [asked for asked in server.asked if asked.path.endswith("feed")]
    assert 4 <= len(feeds) <= 8
    server.say = lambda _: None
    healed_at = world.time.at
    await world.time.advance(25 * MINUTE)
    assert world.captured_since("c1", healed_at) == 40


async def test_a_metric_that_one_target_lacks_costs_the_others_nothing(made: Made) -> None:
    world, server = made()
    lacking = ids(11)

    def say(asked: Asked) -> Verdict | None:
        is_refused = "c" in asked.metrics and lacking & set(asked.ids)
        return Verdict(Outcome.REQUEST_WRONG, refused_position=asked.metrics.index("c")) if is_refused else None

    server.say = say
    world.connect("c1")
    world.publish("c1", 40)
    await world.time.advance(10_000)
    assert world.captured_since("c1", 0) == 40
    found = len(server.asked)
    assert found <= 2 + 2 * ceil(log2(40))
    await world.time.advance(5 * MILLIS_PER_HOUR)
    later = server.asked[found:]
    assert all(asked.metrics == METRICS for asked in later if not lacking & set(asked.ids))
    assert all(asked.metrics == ("a", "b", "d") for asked in later if lacking & set(asked.ids))
    assert len(later) <= 2 * 12


async def test_a_metric_that_a_whole_kind_lacks_is_known_of_the_kind_and_on_all_channels(made: Made) -> None:
    world, server = made()

    def say(asked: Asked) -> Verdict | None:
        is_refused = "c" in asked.metrics and asked.path.endswith("reel")
        return Verdict(Outcome.METRIC_NOT_OFFERED, refused_metric="c") if is_refused else None

    server.say = say
    for number in range(4):
        world.connect(f"c{number}")
        world.publish(f"c{number}", 20, first=100 * number, post_type="reel")
        world.publish(f"c{number}", 5, first=100 * number + 50)
        await world.time.advance(5_000)
    assert all(world.captured_since(f"c{number}", 0) == 25 for number in range(4))
    refused = [asked for asked in server.asked if asked.path.endswith("reel") and "c" in asked.metrics]
    assert len({asked.token for asked in refused}) == 2, "the other channels were not refused it themselves"
    assert len(refused) <= 16
    assert all(asked.metrics == METRICS for asked in server.asked if asked.path.endswith("feed"))
    before = len(server.asked)
    await world.time.advance(MILLIS_PER_DAY + 2 * MILLIS_PER_HOUR)
    again = [asked for asked in server.asked[before:] if asked.path.endswith("reel") and "c" in asked.metrics]
    assert len(again) >= 1
    assert all(len(asked.ids) == 1 for asked in again)
    server.say = lambda _: None
    healed = len(server.asked)
    await world.time.advance(MILLIS_PER_DAY + 9 * MILLIS_PER_HOUR)
    reels = [asked for asked in server.asked[healed:] if asked.path.endswith("reel")]
    assert any(asked.metrics == METRICS and len(asked.ids) > 1 for asked in reels)


async def test_what_a_connection_may_not_read_is_asked_of_others(made: Made) -> None:
    world, server = made()

    def say(asked: Asked) -> Verdict | None:
        is_refused = "c" in asked.metrics and not asked.token.endswith("c9")
        return Verdict(Outcome.METRIC_FORBIDDEN, refused_metric="c") if is_refused else None

    server.say = say
    for name in ("c1", "c2", "c9"):
        world.connect(name)
        world.publish(name, 8, first=int(name[1:]) * 100)
        await world.time.advance(5_000)
    assert [asked.metrics for asked in server.asked if asked.token.endswith("c9")] == [METRICS]


async def test_too_much_is_asked_in_parts_from_then_on_and_grows_again(made: Made) -> None:
    world, server = made()
    server.say = lambda asked: Verdict(Outcome.TOO_MUCH) if len(asked.ids) > 10 else None
    world.connect("c1")
    world.publish("c1", 40)
    await world.time.advance(10_000)
    assert world.captured_since("c1", 0) == 40
    found = len(server.asked)
    assert found <= 8
    await world.time.advance(30 * MINUTE)
    assert [len(asked.ids) for asked in server.asked[found:]] == [10, 10, 10, 10]
    server.say = lambda _: None
    await world.time.advance(3 * MILLIS_PER_DAY)
    assert len(server.asked[-1].ids) == 40


async def test_an_answer_that_tells_of_each_apart(made: Made) -> None:
    world, server = made(PlainApart())
    refused, lacking = ids(2), ids(5, 6)

    def say(asked: Asked) -> dict[str, Verdict]:
        said = dict.fromkeys(asked.ids, Verdict(Outcome.OK))
        said |= dict.fromkeys(refused & said.keys(), Verdict(Outcome.PERMISSION_MISSING))
        if "c" in asked.metrics:
            said |= dict.fromkeys(lacking & said.keys(), Verdict(Outcome.METRIC_NOT_OFFERED, refused_metric="c"))
        return said

    server.say = say
    world.connect("c1")
    world.publish("c1", 20)
    await world.time.advance(10_000)
    assert [len(asked.ids) for asked in server.asked] == [20, 2]
    assert server.asked[1].metrics == ("a", "b", "d")
    await world.time.advance(30 * MINUTE)
    assert sorted((len(asked.ids), asked.metrics) for asked in server.asked[2:]) == [
        (1, METRICS), (2, ("a", "b", "d")), (17, METRICS),
    ]  # fmt: skip


async def test_several_that_lack_a_metric_take_it_from_none_that_the_same_answer_gives_it(made: Made) -> None:
    world, server = made(PlainApart())
    lacking = ids(2, 5, 6, 11, 12)

    def say(asked: Asked) -> dict[str, Verdict]:
        said = dict.fromkeys(asked.ids, Verdict(Outcome.OK))
        if "c" in asked.metrics:
            said |= dict.fromkeys(lacking & said.keys(), Verdict(Outcome.METRIC_FORBIDDEN, refused_metric="c"))
        return said

    server.say = say
    world.connect("c1")
    world.publish("c1", 20)
    await world.time.advance(10_000)
    assert [(len(asked.ids), asked.metrics) for asked in server.asked] == [(20, METRICS), (5, ("a", "b", "d"))]
    for _ in range(3):
        known = len(server.asked)
        await world.time.advance(30 * MINUTE)
        assert sorted((len(asked.ids), asked.metrics) for asked in server.asked[known:]) == [
            (5, ("a", "b", "d")), (15, METRICS),
        ]  # fmt: skip


@pytest.mark.parametrize("outcome", [Outcome.RETRY_LATER, Outcome.TOKEN_EXPIRED, Outcome.PLATFORM_DOWN])
async def test_what_is_said_of_every_part_is_said_of_the_whole(made: Made, outcome: Outcome) -> None:
    world, server = made(PlainApart())
    server.say = lambda asked: dict.fromkeys(asked.ids, Verdict(outcome, 100.0))
    world.connect("c1")
    world.publish("c1", 20)
    await world.time.advance(90_000)
    assert len(server.asked) == 1
    assert bool(world.publisher.announced) is (outcome is Outcome.TOKEN_EXPIRED)


async def test_a_shape_refused_of_all_channels_is_an_incident(made: Made) -> None:
    world, server = made()
    server.say = lambda _: Verdict(Outcome.REQUEST_WRONG, detail="no such edge")
    names = [f"c{number}" for number in range(30)]
    world.connect(*names)
    for number, name in enumerate(names):
        world.publish(name, 6, first=100 * number)
    begun = world.time.at
    await world.time.advance(MINUTE)
    (incident,) = world.known.incidents.current()
    assert (incident.platform, incident.shape, incident.outcome) == ("youtube", "posts/feed", Outcome.REQUEST_WRONG)
    assert incident.detail == "no such edge"
    assert begun <= incident.since <= begun + MINUTE
    before = len(server.asked)
    await world.time.advance(2 * MILLIS_PER_HOUR)
    assert len(server.asked) - before <= 26, "one call in five minutes, whatever the number of channels"
    server.say = lambda _: None
    healed_at = world.time.at
    await world.time.advance(6 * MINUTE)
    assert world.known.incidents.current() == []
    assert all(world.captured_since(name, healed_at) == 6 for name in names)


async def test_half_of_the_channels_refused_hold_nobody_back(made: Made) -> None:
    world, server = made()
    server.say = lambda asked: Verdict(Outcome.PERMISSION_MISSING) if int(asked.token[-1]) % 2 else None
    names = [f"c{number}" for number in range(10)]
    world.connect(*names)
    for number, name in enumerate(names):
        world.publish(name, 6, first=100 * number)
    await world.time.advance(2 * MILLIS_PER_HOUR)
    for name in names[::2]:
        assert world.captured_since(name, world.time.at - 30 * MINUTE) == 6
