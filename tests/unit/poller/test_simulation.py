"""The benchmark's simulation in small: a hundredth of all posts are refused or gone, and no other post notices."""

from __future__ import annotations

from array import array
from functools import cache
from itertools import count
from typing import Any

import pytest

from benchmarks import poller_culprits, poller_lanes, poller_simulation
from benchmarks.poller_world import START, Fault, World, fault_in, is_culprit, world
from services.platforms import all_platforms
from services.platforms.abilities import AcrossAccounts
from services.platforms.base import Channel, Limit, Outcome, Target
from services.poller.errors import PollerError, TimedOut, Unreachable
from services.runtime.clock import MILLIS_PER_DAY

SIZE = {"posts": 10_000, "channels": 200, "days": 2}


def test_no_healthy_post_is_later_than_its_promise_and_culprits_cost_few_calls() -> None:
    parts = poller_simulation.measured(*(poller_simulation.started("steady", SIZE, number) for number in range(2)))
    found = poller_simulation.whole(parts, SIZE, 0.0)
    assert found["polls"] > 20_000
    assert found["late_polls"] == found["overdue_at_the_end"] == found["healthy_silenced"] == 0
    assert found["over_a_limit"] == 0
    rounds, calls = found["culprits_rounds"], found["culprits_calls"]
    assert rounds > 150
    # A round is one call where nobody is a culprit.
    assert calls - rounds <= 0.012 * found["calls_for_posts"]


def test_one_post_in_a_hundred_is_a_culprit_of_each_kind() -> None:
    of = world(5_000, 100, START - 10 * MILLIS_PER_DAY, START, has_culprits=True)
    faults = [fault_in(of.post(number).targets[0].external_id or "") for number in range(5_000)]
    assert 25 <= sum(fault is not None for fault in faults) <= 75
    assert {Fault.REFUSED, Fault.GONE} <= set(faults)
    assert [fault is not None for fault in faults] == [is_culprit(at) for at in of.posts_at]
    of = world(5_000, 100, START - 10 * MILLIS_PER_DAY, START)
    assert not any(fault_in(of.post(number).targets[0].external_id or "") for number in range(5_000))


MEANT = {
    ("x", Fault.REFUSED): Outcome.TARGET_REFUSED,
    ("linkedin", Fault.REFUSED): Outcome.TARGET_GONE,
    ("bluesky", Fault.REFUSED): Outcome.TARGET_REFUSED,
    ("facebook", Fault.REFUSED): Outcome.REQUEST_WRONG,
    ("instagram", Fault.REFUSED): Outcome.REQUEST_WRONG,
    ("threads", Fault.REFUSED): Outcome.REQUEST_WRONG,
    ("facebook", Fault.GONE): Outcome.TARGET_GONE,
    ("instagram", Fault.GONE): Outcome.TARGET_GONE,
    ("threads", Fault.GONE): Outcome.TARGET_GONE,
    ("pinterest", Fault.GONE): Outcome.TARGET_GONE,
}


def one_post(name: str, fault: Fault) -> Target:
    """A culprit on a platform."""
    at = next(at for at in range(START, START + 10_000) if is_culprit(at) and at // 100 % 2 == (fault is Fault.REFUSED))
    of = world(1, 5, START, START + MILLIS_PER_DAY)
    of = World([name], [("w", "c")], type(of.posts_at)("q", [at]), type(of.posts_of)("i", [0]), has_culprits=True)
    (told,) = of.post(0).targets
    assert fault_in(told.external_id or "") is fault
    return Target(told.target_id, "p", told.external_id or "", told.post_type, at)


@pytest.mark.parametrize(("name", "fault"), MEANT, ids=str)
async def test_refusals_are_read_by_the_platforms_own_files(name: str, fault: Fault) -> None:
    platform, target = all_platforms()[name], one_post(name, fault)
    channel = Channel("w", "c", "urn:li:organization:1" if name == "linkedin" else "1", "name")
    (call,) = platform.post_calls(channel, [target], START)
    reply = await poller_culprits.Server().fetch(name, call, "", {})
    verdict = platform.classify(reply.status, reply.headers, reply.body, START)
    assert verdict.outcome is MEANT[name, fault]
    if name in ("facebook", "instagram", "threads") and fault is Fault.REFUSED:
        assert verdict.refused_position is not None


def test_plain_rounds_are_what_the_pollers_own_rounds_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller_lanes, "is_culprit", lambda _: False)
    found = []
    for is_real in (False, True):
        if is_real:
            monkeypatch.setattr(poller_lanes.LaneRun, "_is_special", lambda *_: True)
        simulation = polled()
        found.append((simulation.referee.calls, {name: lane.polls for name, lane in simulation.lanes.items()}))
        assert simulation.total("late") == simulation.total("silenced") == 0
        assert bool(simulation.total("culprits_rounds")) is is_real
    assert found[0] == found[1]


def polled() -> poller_lanes.Simulation:
    """All platforms for a day; rounds are there for culprits, of which there are none."""
    of = world(600, 60, START - 20 * MILLIS_PER_DAY, START + MILLIS_PER_DAY)
    simulation = poller_lanes.Simulation(poller_simulation.documented(), {"x", "youtube"}, has_culprits=True)
    poller_simulation.loaded(simulation, of, START)
    for hour in poller_simulation.hours(START, START + MILLIS_PER_DAY):
        for birth in of.births(hour, hour + 3_600_000):
            poller_simulation.born(simulation, of, birth.number, birth.at)
        simulation.run(hour, hour + 3_600_000)
    return simulation


BATCHES = [
    (name, is_shared, fault)
    for name, platform in all_platforms().items()
    if platform.facts.post_batch_size > 1
    for is_shared in ([False, True] if isinstance(platform, AcrossAccounts) else [False])
    # Elsewhere a post that is refused is only left out.
    for fault in ([Fault.FAILING, Fault.REFUSED] if name in ("x", "linkedin", "bluesky") else [Fault.FAILING])
]


# Room for one call at a time: of a limit a twentieth may be used at once.
ROOMS = {"one call at a time": (19, 1), "a call each half hour": (48, 24 * 3600)}


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize(("name", "is_shared", "fault"), BATCHES)
def test_a_batch_that_fails_is_taken_apart_over_several_rounds(
    name: str, is_shared: bool, fault: Fault, room: str
) -> None:
    """Each round began with the same batch again, for ever, and nobody else of the platform was asked for."""
    check_apart(polled_one_by_one(name, is_shared, fault, ROOMS[room]), polled_well(name, is_shared, room))


@pytest.mark.parametrize("error", [Unreachable, TimedOut])
@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize(
    ("name", "is_shared"), [(name, is_shared) for name, is_shared, fault in BATCHES if fault is Fault.FAILING]
)
def test_so_is_a_batch_that_is_never_answered(
    name: str, is_shared: bool, room: str, error: type[PollerError], monkeypatch: pytest.MonkeyPatch
) -> None:
    well = polled_well(name, is_shared, room)
    answered = poller_culprits.Server.fetch

    async def fetch(self: poller_culprits.Server, *asked: Any) -> Any:
        reply = await answered(self, *asked)
        if reply is poller_culprits._FAILED:
            raise error("no answer")
        return reply

    monkeypatch.setattr(poller_culprits.Server, "fetch", fetch)
    check_apart(polled_one_by_one(name, is_shared, Fault.FAILING, ROOMS[room]), well)


@pytest.mark.parametrize("name", ["facebook", "instagram", "threads"])
def test_a_metric_that_is_refused_without_its_name_is_found_over_several_rounds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = poller_culprits._meta
    unnamed = "(#100) The value must be a valid insights metric"
    monkeypatch.setattr(poller_culprits, "_meta", lambda code, _, subcode=None: refuse(code, unnamed, subcode))
    room = ROOMS["one call at a time"]
    # It is tried again after a day.
    found = polled_one_by_one(name, False, Fault.REFUSED, room, hours=24)
    check_apart(found, polled_one_by_one(name, False, None, room, hours=24))
    assert found.rounds is not None
    assert found.rounds.known.refusals


def check_apart(found: poller_lanes.Simulation, well: poller_lanes.Simulation) -> None:
    """All but the culprit have their figures, where there is room as often as without a culprit; no part is left."""
    (lane,), (calm,) = found.lanes.values(), well.lanes.values()
    assert found.rounds is not None
    known = found.rounds.known
    assert lane.silenced == 0
    assert not known.parts
    assert not known.sizes
    assert found.referee.violations == 0
    if calm.late == 0:
        assert lane.late == 0
        # The culprit is one of thirteen.
        assert lane.polls > 0.9 * calm.polls
        assert lane.calls < calm.calls + 60
    else:
        # Of some fifty calls about twenty go into finding the culprit.
        assert lane.polls > 0.2 * calm.polls


@cache
def polled_well(name: str, is_shared: bool, room: str) -> poller_lanes.Simulation:
    """Without a culprit; looked at alone, and the same for each way to fail."""
    return polled_one_by_one(name, is_shared, None, ROOMS[room])


def polled_one_by_one(
    name: str, is_shared: bool, fault: Fault | None, room: tuple[int, int], hours: int = 36
) -> poller_lanes.Simulation:
    """A channel of twelve posts, one of which may be a culprit, and another channel, for some hours.

    Args:
        room: calls, and in how many seconds.
    """
    interval = 10 * 60_000
    times = [START - 20 * interval + number * interval for number in range(12)]
    if fault is not None:
        culprits = range(times[5] // 1000 * 1000 + 37, times[6], 100)
        times[5] = next(at for at in culprits if fault_of(name, at) is fault)
    other = times[3] + 1
    of = World(
        [name] * 2,
        [("w", "c"), ("w", "other")],
        array("q", sorted([*times, other])),
        array("i", [0] * 4 + [1] + [0] * 8),
        has_culprits=True,
    )
    platform = all_platforms()[name]
    target = Target("t", "p", of.post(0).targets[0].external_id or "", "post", START)
    calls = [*platform.post_calls(Channel("w", "c", "urn:li:organization:1", "name"), [target], START)]
    if isinstance(platform, AcrossAccounts):
        calls += platform.app_post_calls([target])
    count_, seconds = room
    documented = {limit.group: limit for limit in platform.facts.limits}
    groups = {call.limit_group for call in calls}
    limits = tuple(
        documented.get(group, Limit(group, 0, 0))._replace(calls=count_, window_seconds=seconds) for group in groups
    )
    simulation = poller_lanes.Simulation({name: limits}, {name} if is_shared else set(), {name}, has_culprits=True)
    # In this simulation a channel's own calls are all made at one instant, for which there is no room.
    simulation.lanes[name]._channel_groups = []
    poller_simulation.loaded(simulation, of, START)
    taken = count()
    schedule = simulation.schedule
    for method in ("take", "take_shared"):
        take = getattr(schedule, method)

        def bounded(name: str, now: int, take: Any = take) -> Any:
            assert next(taken) < 5_000, "rounds go on without end"
            return take(name, now)

        setattr(schedule, method, bounded)
    for hour in poller_simulation.hours(START, START + hours * 3_600_000):
        simulation.run(hour, hour + 3_600_000)
    return simulation


def fault_of(name: str, at: int) -> Fault | None:
    """What is wrong with a post that goes out then."""
    of = World([name], [("w", "c")], array("q", [at]), array("i", [0]), has_culprits=True)
    return fault_in(of.post(0).targets[0].external_id or "")
