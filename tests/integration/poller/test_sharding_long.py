"""A poller killed every 20 s for 5 minutes, and Kafka away: no target is asked twice or forgotten."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path

import pytest

from schemas.tiers import COMMON
from tests.support.engines import EmbeddedEngines, Engines
from tests.support.pollers import Pollers, Scene, now_ms
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

# No divisor of the time between kills, so that each falls at another moment of the interval.
INTERVAL_MS = 13_000
KILL_EVERY_SECONDS = 20.0
SECONDS = 300.0
SHORT_SESSION_SECONDS = 3.0
SETTINGS = {"TIDEMARK_POLL_SPEED": str(COMMON.tiers[0][1] / INTERVAL_MS)}
# One slot keeps its name over a restart, as a supervised process does; the other comes back as somebody new.
SLOTS = {"named": {"TIDEMARK_INSTANCE_ID": "named"}, "unnamed": {"TIDEMARK_INSTANCE_ID": ""}}


@pytest.fixture
def pollers(engines: Engines, topic_prefix: str, tmp_path: Path) -> Iterator[Pollers]:
    made = Pollers(engines, topic_prefix, tmp_path, SETTINGS)
    yield made
    made.close()


def is_past(at: float) -> bool:
    """Whether an instant of the monotonic clock has come."""
    return time.monotonic() >= at


def test_a_kill_every_20_seconds_costs_no_target_its_turn(pollers: Pollers) -> None:
    scene = Scene(pollers, [f"w{number}" for number in range(40)], 5, INTERVAL_MS)
    for slot, settings in SLOTS.items():
        pollers.start(slot, **settings)
    for slot in SLOTS:
        pollers.wait_until_ready(slot, 2, 60)
    scene.wait_for_polls(0, 30)

    began_at, kills = time.monotonic(), []
    for number, slot in enumerate(cycle(SLOTS), 1):
        if time.monotonic() - began_at >= SECONDS:
            break
        kills.append(now_ms())
        pollers.signal(slot, signal.SIGKILL)
        pollers.start(slot, **SLOTS[slot])
        wait_until(partial(is_past, began_at + number * KILL_EVERY_SECONDS), 2 * KILL_EVERY_SECONDS, "the next kill")

    assert len(kills) >= SECONDS / KILL_EVERY_SECONDS
    shortest, longest = scene.check(now_ms(), kills)
    print(f"spans between polls: {shortest:.2f} to {longest:.2f} intervals over {len(kills)} kills")
    for slot in SLOTS:
        pollers.wait_until_ready(slot, 2, 60)
    polls = sum(len(times) for times in scene.times().values())
    assert polls >= len(scene.polled) * (SECONDS * 1000 / INTERVAL_MS) * 0.8


@pytest.fixture
def alone(embedded_engines: EmbeddedEngines, topic_prefix: str, tmp_path: Path) -> Iterator[Pollers]:
    settings = {**SETTINGS, "TIDEMARK_POLLER_SESSION_SECONDS": str(SHORT_SESSION_SECONDS)}
    made = Pollers(embedded_engines, topic_prefix, tmp_path, settings)
    yield made
    made.close()


def test_without_kafka_nothing_is_asked_and_afterwards_nothing_twice(
    alone: Pollers, embedded_engines: EmbeddedEngines
) -> None:
    scene = Scene(alone, [f"w{number}" for number in range(40)], 5, INTERVAL_MS)
    alone.start("alone")
    alone.wait_until_ready("alone", 4)
    scene.wait_for_polls(0, 30)
    kafka = embedded_engines.child("kafka")

    # Some targets were asked a moment ago, and their answers are not in Kafka yet.
    newest = max(times[-1] for times in scene.times().values())
    wait_until(lambda: max(times[-1] for times in scene.times().values()) > newest, 30, "the next round begins")
    kafka.signal_group(signal.SIGSTOP)
    silent_at = time.monotonic() + SHORT_SESSION_SECONDS
    try:
        wait_until(partial(is_past, silent_at), 2 * SHORT_SESSION_SECONDS, "its lease has ended")
        before = scene.times()
        wait_until(partial(is_past, silent_at + INTERVAL_MS / 1000), INTERVAL_MS / 500, "everything is due")
        assert scene.times() == before, "nothing is asked"
    finally:
        kafka.signal_group(signal.SIGCONT)
    back_at = now_ms()
    alone.wait_until_ready("alone", 4, 60)
    scene.wait_for_polls(back_at, 2 * INTERVAL_MS / 1000)
    for times in scene.times().values():
        assert all(later - earlier >= 0.6 * INTERVAL_MS for earlier, later in pairwise(times)), times
