"""What can go wrong between a poller, its platforms and Kafka, one after the other, each followed by its recovery."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from schemas.tiers import MILLIS_PER_HOUR
from tests.integration.poller.faults import FAULTY, UNKNOWN, UNTRUSTED, WORKSPACES, Theatre
from tests.support import shifted_poller
from tests.support.engines import EmbeddedEngines, Engines
from tests.support.faulty_platform import WELL, Behaviour, Way
from tests.support.pollers import PARTITIONS, now_ms
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

CALL_TIMEOUT_SECONDS = 30
# A circuit is open for a minute at most; a token that failed for 40 s waits no longer than twice that.
RECOVERY_SECONDS = 150.0
RETRY_AFTER_SECONDS = 12
KAFKA_AWAY_SECONDS = 120.0
LEASE_SECONDS = 3.0
# The platform's circuit opens at five failures; calls under way then come back. After that one at a time looks.
FIRST_CALLS = 3 * WORKSPACES
MEMORY_GROWTH = 1.25
JUMP_MS = 2 * MILLIS_PER_HOUR
JUMP_RECOVERY_SECONDS = 15.0


class Case(NamedTuple):
    """A fault, how the poller counts it, and how many calls may be spent on it."""

    behaviour: Behaviour
    seconds: float
    outcome: str
    most_calls: float


CASES = {
    "resets": Case(Behaviour(Way.RESET), 30, "unreachable", FIRST_CALLS + 30),
    "half bodies": Case(Behaviour(Way.HALF_BODY), 30, "broken_answer", FIRST_CALLS + 30),
    "bytes that are no HTTP": Case(Behaviour(Way.NOT_HTTP), 30, "broken_answer", FIRST_CALLS + 30),
    "answers of 40 s": Case(Behaviour(delay_seconds=40), 45, "timed_out", FIRST_CALLS + 10),
    "answers of 25 s": Case(Behaviour(delay_seconds=25), 60, "ok", FIRST_CALLS + 120),
    "5xx": Case(Behaviour(status=503), 30, "platform_unavailable", FIRST_CALLS + 30),
    "429": Case(Behaviour(status=429), 30, "rate_limited", FIRST_CALLS + 30),
    "429 until then": Case(
        Behaviour(status=429, headers={"retry-after": str(RETRY_AFTER_SECONDS)}), 30, "rate_limited", 3 * FIRST_CALLS
    ),
}


@pytest.fixture(scope="module")
def theatre(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    made = Theatre(
        engines,
        tmp_path_factory.mktemp("faults"),
        settings={"TIDEMARK_CALL_TIMEOUT_SECONDS": str(CALL_TIMEOUT_SECONDS)},
    )
    yield made
    made.close()


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_named_borne_and_over_when_it_is_over(theatre: Theatre, name: str) -> None:
    case = CASES[name]
    theatre.wait_for_polls(time.monotonic(), RECOVERY_SECONDS)
    with theatre.failing(case.behaviour, case.seconds) as failing:
        failing.check(case.outcome, case.most_calls)
    took = theatre.wait_for_polls(time.monotonic(), RECOVERY_SECONDS)
    print(
        f"{name}: {len(failing.asked)} calls in {case.seconds:g} s, {dict(failing.outcomes)}, CPU "
        f"{failing.cpu_seconds:.1f} s, memory {failing.grown_bytes / 2**20:+.1f} MiB, recovered after {took:.1f} s"
    )
    if "retry-after" in case.behaviour.headers:
        check_waited(failing.asked[0].at, [asked.at for asked in failing.asked])


def check_waited(first: float, times: list[float]) -> None:
    """After calls that were under way together nothing was asked until the platform had said."""
    pauses = [later - earlier for earlier, later in pairwise(sorted(times)) if later - earlier > 1]
    assert sorted(times)[-1] - first >= RETRY_AFTER_SECONDS, times
    assert all(pause >= RETRY_AFTER_SECONDS - 0.5 for pause in pauses), pauses


def test_a_burst_of_errors_among_answers_loses_no_target(theatre: Theatre) -> None:
    theatre.wait_for_polls(time.monotonic(), RECOVERY_SECONDS)
    began_at, before = time.monotonic(), theatre.calls(FAULTY)
    for number in range(20):
        theatre.platform.behave(Behaviour(status=500) if number % 2 else WELL)
        wait_until(partial(is_past, began_at + (number + 1) * 1.0), 20, "the next burst")
    theatre.platform.behave(WELL)
    theatre.wait_for_polls(time.monotonic(), RECOVERY_SECONDS)
    counted = theatre.calls(FAULTY) - before
    assert counted["platform_unavailable"] > 0
    assert counted["ok"] > 0


def test_afterwards_nothing_is_lost_and_nothing_has_piled_up(theatre: Theatre) -> None:
    """Runs last of those that share the poller: names that don't resolve and certificates are refused all along."""
    process = psutil.Process(theatre.pollers.pid("one"))
    alive_seconds = time.time() - process.create_time()
    for platform in (UNTRUSTED, UNKNOWN):
        calls = theatre.calls(platform)
        assert set(calls) == {"unreachable"}
        # One look a circuit's wait: 30 s on average once it has failed for long.
        assert calls["unreachable"] <= FIRST_CALLS + alive_seconds / 4, (calls, alive_seconds)
    assert theatre.untrusted.asked == []
    print(f"{theatre.calls(UNTRUSTED)} untrusted, {theatre.calls(UNKNOWN)} unknown in {alive_seconds:.0f} s")
    theatre.check_events()


def is_past(at: float) -> bool:
    """Whether an instant of the monotonic clock has come."""
    return time.monotonic() >= at


@pytest.fixture
def shifted(engines: Engines, tmp_path: Path) -> Iterator[Theatre]:
    made = Theatre(engines, tmp_path, shifted_poller.__name__, {shifted_poller.VARIABLE: str(tmp_path / "shift")})
    yield made
    made.close()


def test_a_clock_that_jumps_forward_and_back_leaves_no_target_waiting(shifted: Theatre, tmp_path: Path) -> None:
    posts = len(shifted.posts[FAULTY])
    for by_ms in (JUMP_MS, 0, -JUMP_MS, 0):
        shifted_poller.shift(tmp_path / "shift", by_ms)
        jumped_at = time.monotonic()
        took = shifted.wait_for_polls(jumped_at + shifted_poller.NOTICED_SECONDS, JUMP_RECOVERY_SECONDS)
        asked = sum(len(asked.posts) for asked in shifted.platform.since(jumped_at))
        # Everything once at once, then each in its turn; what is due soon may ride along.
        assert asked <= posts * (2 + 1.5 * (time.monotonic() - jumped_at) * 1000 / shifted.interval_ms)
        print(f"a clock that is {by_ms / 1000:+g} s wrong: all asked again after {took:.1f} s, {asked} posts")
    shifted.check_events()


@pytest.fixture
def alone(embedded_engines: EmbeddedEngines, tmp_path: Path) -> Iterator[Theatre]:
    made = Theatre(embedded_engines, tmp_path)
    yield made
    made.close()


def test_kafka_dies_for_two_minutes_and_no_answer_is_lost(alone: Theatre, embedded_engines: EmbeddedEngines) -> None:
    process = psutil.Process(alone.pollers.pid("one"))
    memory = process.memory_info().rss
    broker = embedded_engines.kafka
    embedded_engines.child("kafka").stop(0)
    died_at = time.monotonic()
    try:
        wait_until(partial(is_past, died_at + LEASE_SECONDS + 1), 60, "the lease has ended")
        silent_at, cpu = time.monotonic(), sum(process.cpu_times()[:2])
        wait_until(partial(is_past, died_at + KAFKA_AWAY_SECONDS), 10 * KAFKA_AWAY_SECONDS, "Kafka was away for long")
        assert alone.platform.since(silent_at) == [], "what can't be written is not asked for"
        assert process.is_running()
        assert sum(process.cpu_times()[:2]) - cpu <= 0.2 * KAFKA_AWAY_SECONDS
        assert process.memory_info().rss <= MEMORY_GROWTH * memory
    finally:
        embedded_engines.start("kafka", broker.command(), broker.answers)
    back_at, back_ms = time.monotonic(), now_ms()
    alone.pollers.wait_until_ready("one", PARTITIONS, 60)
    took = alone.wait_for_polls(back_at, 60)
    print(f"asking again {took:.1f} s after Kafka was back; {len(alone.platform.serials())} answers, from {back_ms}")
    alone.check_events()
