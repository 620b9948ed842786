"""A thousand webhooks, a hundred of them dead in every way: the others are told in time.

The topics are in memory and the receivers in a thread of this process, so that what is measured is the notifier.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from time import monotonic

import orjson
import pytest

from schemas.topic_names import POST_ROLLUPS, TOPICS_OF_CHANGES
from tests.support.receiver import Receiver, receiving_in_a_thread
from tests.support.waiting import busy
from tests.unit.notifier.test_work import CLOCK, CURSORS, World

WEBHOOKS, DEAD, ROUNDS = 1_000, 100, 10
OF_A_WORKSPACE = 20
# Between two changes of a workspace.
SECONDS = 3.0
WAYS = ("hang", "500", "close", "reset", "redirect", "rubbish")


@pytest.mark.long
async def test_the_others_hear_within_two_seconds() -> None:
    with receiving_in_a_thread() as receiver:
        world = World(receiver)
        for number in range(WEBHOOKS):
            way = f"{WAYS[number % len(WAYS)]}/{number}" if number % (WEBHOOKS // DEAD) == 0 else f"ok/{number}"
            world.hook(way, f"h{number}", f"w{number // OF_A_WORKSPACE}", types=["metrics.changed"])
        async with world.running() as work:
            # By workspace, the offset of each change and when it was made.
            changes: dict[str, list[tuple[int, float]]] = defaultdict(list)
            for round_ in range(ROUNDS):
                for workspace in range(WEBHOOKS // OF_A_WORKSPACE):
                    offset = world.rollup(f"p{round_}", f"w{workspace}")
                    changes[f"w{workspace}"].append((offset, monotonic()))
                    await asyncio.sleep(SECONDS / (WEBHOOKS // OF_A_WORKSPACE))
            good = [number for number in range(WEBHOOKS) if number % (WEBHOOKS // DEAD)]
            waits: list[float] = []
            for number in good:
                workspace_id = f"w{number // OF_A_WORKSPACE}"
                last = changes[workspace_id][-1][0]
                await world.until(lambda: covers(receiver, number, workspace_id)[-1:] > [(last, 0.0)], "told")  # noqa: B023
                told = covers(receiver, number, workspace_id)
                waits += [next(at for seen, at in told if seen > offset) - at for offset, at in changes[workspace_id]]
            failing = work.gauges().failing
    waits.sort()
    p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    print(
        f"{len(waits)} changes told, {failing} webhooks fail: p50 {p50:.3f} s, p99 {p99:.3f} s, most {waits[-1]:.3f} s"
    )
    assert len(waits) == ROUNDS * (WEBHOOKS - DEAD)
    assert p99 < 2 * busy()


def covers(receiver: Receiver, number: int, workspace_id: str) -> list[tuple[int, float]]:
    """Of each delivery to a webhook: the offset up to which posts' figures are told, and when it came; in order."""
    found = []
    for request in receiver.taken(f"ok/{number}"):
        cursor = orjson.loads(request.body)["data"]["cursor"]
        place = CURSORS.read(workspace_id, cursor, CLOCK.now(), "one")
        found.append((place.seen[TOPICS_OF_CHANGES.index(POST_ROLLUPS)], request.at))
    return sorted(found)
