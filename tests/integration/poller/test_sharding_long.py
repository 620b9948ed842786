"""Two pollers, one of them killed every 20 s for 5 minutes and started anew: no target is asked twice or forgotten."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest

from schemas.tiers import COMMON
from tests.support.engines import Engines
from tests.support.pollers import Pollers, Scene, now_ms
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

INTERVAL_MS = 20_000
KILL_EVERY_SECONDS = 20.0
SECONDS = 300.0
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
    scene.check(now_ms(), kills)
    for slot in SLOTS:
        pollers.wait_until_ready(slot, 2, 60)
    polls = sum(len(times) for times in scene.times().values())
    assert polls >= len(scene.polled) * (SECONDS * 1000 / INTERVAL_MS) * 0.8
