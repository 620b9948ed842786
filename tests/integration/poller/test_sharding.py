"""Two pollers share the channels: over a join, a freeze and a kill, no target is asked twice or forgotten.

What counts is what the sandbox saw: intervals between two answers about one target.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from schemas.events import PullKind
from schemas.tiers import COMMON
from services.poller.settings import PollerSettings
from services.query_api.poller_link import PollerLink
from services.query_api.publisher import Codecs
from services.runtime.clock import MILLIS_PER_HOUR, SystemClock
from services.runtime.secrets import TokenPair
from tests.support.engines import EmbeddedEngines
from tests.support.pollers import Pollers, Scene, now_ms
from tests.support.waiting import wait_until

INTERVAL_MS = 7_000
WORKSPACES = [f"w{number}" for number in range(12)]
POSTS = 4
SESSION_SECONDS = 3.0
SETTINGS = {
    "TIDEMARK_POLL_SPEED": str(COMMON.tiers[0][1] / INTERVAL_MS),
    "TIDEMARK_POLLER_SESSION_SECONDS": str(SESSION_SECONDS),
}
# A live request that falls into a move is not acknowledged; the asker shows the last snapshot.
MOVE_SECONDS = SESSION_SECONDS + 8


class Asked(NamedTuple):
    """One live request: when, how long it took, and whether the platform's answer came."""

    at: float
    seconds: float
    is_live: bool


@pytest.fixture
def pollers(embedded_engines: EmbeddedEngines, topic_prefix: str, tmp_path: Path) -> Iterator[Pollers]:
    made = Pollers(embedded_engines, topic_prefix, tmp_path, SETTINGS)
    yield made
    made.close()


@asynccontextmanager
async def asking(settings: PollerSettings, scene: Scene) -> AsyncIterator[list[Asked]]:
    """Ask for live figures of one workspace after the other, as the query API does; yields what came of it."""
    link = PollerLink(settings, Codecs(scene.pollers.registry), SystemClock(), deadline_seconds=4)
    link.start()
    asked: list[Asked] = []

    async def ask() -> None:
        while True:
            for workspace, target in scene.live.items():
                at = time.monotonic()
                pulled = await link.ask(PullKind.TARGETS, workspace, targets=[target])
                is_live = pulled is not None and pulled.done is not None and len(pulled.events) == 1
                asked.append(Asked(at, time.monotonic() - at, is_live))
                await asyncio.sleep(0.05)

    task = asyncio.create_task(ask())
    try:
        yield asked
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await link.stop()


def settled(pollers: Pollers, owned: dict[str, int], seconds: float = 30) -> None:
    """Wait until each poller is ready with its number of partitions."""
    for name, count in owned.items():
        pollers.wait_until_ready(name, count, seconds)


@pytest.mark.long
async def test_a_join_a_freeze_and_a_kill_leave_every_target_to_one(pollers: Pollers) -> None:
    scene = Scene(pollers, WORKSPACES, POSTS, INTERVAL_MS)
    pollers.start("first")
    await asyncio.to_thread(settled, pollers, {"first": 4})
    moves: list[float] = []
    async with asking(pollers.settings, scene) as asked:
        await asyncio.to_thread(scene.wait_for_polls, 0, 20)

        moves.append(time.monotonic())
        pollers.start("second")
        await asyncio.to_thread(settled, pollers, {"first": 2, "second": 2})
        # Their tokens have ended: each is renewed once, by whoever owns it.
        for workspace in WORKSPACES:
            pollers.put_channel(workspace, "x", "x", TokenPair("expired-1", f"sandbox-{workspace}~{workspace}"))
            pollers.put_post(workspace, "px", "x", "x", 1, MILLIS_PER_HOUR)
        pollers.flush()
        await asyncio.to_thread(
            wait_until, lambda: refreshes(pollers) == {200: len(WORKSPACES)}, 20, "each token is renewed once"
        )

        moves.append(time.monotonic())
        frozen_at = now_ms()
        pollers.signal("second", signal.SIGSTOP)
        await asyncio.to_thread(settled, pollers, {"first": 4})
        # Until all of what the frozen one holds is due in its eyes, and was asked by the other.
        await asyncio.to_thread(scene.wait_for_polls, now_ms(), 2 * INTERVAL_MS / 1000)
        moves.append(time.monotonic())
        pollers.signal("second", signal.SIGCONT)
        await asyncio.to_thread(settled, pollers, {"first": 2, "second": 2})

        moves.append(time.monotonic())
        killed_at = now_ms()
        pollers.signal("first", signal.SIGKILL)
        await asyncio.to_thread(settled, pollers, {"second": 4})
        taken_over_at = now_ms()
        await asyncio.to_thread(scene.wait_for_polls, taken_over_at, 2 * INTERVAL_MS / 1000)
        over = time.monotonic()

    # What the frozen one had asked for and not published yet is asked again, as after a kill.
    scene.check(now_ms(), [frozen_at, killed_at])
    assert refreshes(pollers) == {200: len(WORKSPACES)}
    assert max(one.seconds for one in asked) < 4.5
    missed = [one for one in asked if not one.is_live]
    unexplained = [one for one in missed if not any(at - 1 <= one.at <= at + MOVE_SECONDS for at in moves)]
    assert not unexplained, (moves, over, unexplained)
    assert len(asked) - len(missed) > len(asked) / 2


def refreshes(pollers: Pollers) -> dict[int, int]:
    """Calls to X's token endpoint by status; a refresh token that is used twice is refused with 400."""
    counts = pollers.call_counts("x")
    return {status: count for (endpoint, status), count in counts.items() if "token" in endpoint}
