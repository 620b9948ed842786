"""The pause: it holds all partitions, and goes on when told or when the batches held back are good."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from services.aggregator.limits import STRANGERS, DeadLetterLimit
from services.aggregator.pause import DeadLetterPause, Judged
from services.aggregator.tenants import Tenants
from services.runtime.clock import SystemClock

BAD = Judged(90, [(f"w{number % 5}", "body_not_json") for number in range(90)])
GOOD = Judged(90, ())


def made(window_seconds: float) -> DeadLetterPause:
    return DeadLetterPause(DeadLetterLimit(0.5, int(window_seconds * 1000), 50, 0.2), 0.5, SystemClock())


async def _always(judged: Judged) -> Judged:
    return judged


async def _paused(pause: DeadLetterPause) -> None:
    async with asyncio.timeout(20):
        while pause.why is None:  # noqa: ASYNC110 - nothing tells of it but what is looked at
            await asyncio.sleep(0.005)


async def test_good_batches_pass() -> None:
    pause = made(60)
    await pause.pass_through(GOOD, lambda: _always(GOOD))
    assert pause.why is None


async def test_it_holds_until_told() -> None:
    pause = made(600)
    held = [asyncio.create_task(pause.pass_through(BAD, lambda: _always(BAD))) for _ in range(3)]
    await _paused(pause)
    good = asyncio.create_task(pause.pass_through(GOOD, lambda: _always(GOOD)))
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in (*held, good))
    assert "90 of 90 events" in (pause.why or "")
    assert "tidemark dead-letters list" in (pause.why or "")
    pause.resume()
    async with asyncio.timeout(20):
        await asyncio.gather(*held, good)
    assert pause.why is None
    await pause.pass_through(BAD, lambda: _always(BAD))  # no limit for one window


async def test_it_turns_good_by_itself() -> None:
    pause = made(0.2)
    answers: list[Judged] = [BAD, BAD, GOOD]
    asked: list[Judged] = []

    async def again() -> Judged:
        asked.append(answers.pop(0))
        return asked[-1]

    async with asyncio.timeout(20):
        await pause.pass_through(BAD, again)
    assert asked == [BAD, BAD, GOOD]
    assert pause.why is None


@pytest.mark.parametrize("count", [1, 5000])
async def test_invented_workspaces_never_hold_anybody(count: int) -> None:
    pause = made(600)
    tenants = Tenants(Catalog({"real"}), SystemClock())
    names = [f"ghost-{number}" for number in range(count)]
    known = await tenants.known(set(names))
    judged = Judged(100, [(name if name in known else STRANGERS, "bad_id") for name in names][:100])
    async with asyncio.timeout(20):
        await pause.pass_through(judged, lambda: _always(judged))
    assert pause.why is None


class Catalog:
    """Answers as ClickHouse does."""

    def __init__(self, held: set[str]) -> None:
        self._held = held
        self.asked: list[Sequence[str]] = []

    async def query(self, query: str, parameters: dict[str, Any] | None = None) -> Any:
        names: list[str] = (parameters or {})["names"]
        self.asked.append(names)
        return [(name,) for name in names if name in self._held]


async def test_workspaces_are_asked_for_once_in_a_while() -> None:
    catalog = Catalog({"real"})
    tenants = Tenants(catalog, SystemClock())
    for _ in range(5):
        assert await tenants.known({"real", "ghost"}) == {"real"}
    assert len(catalog.asked) == 1
    for start in range(0, 60_000, 1000):
        await tenants.known([f"ghost-{number}" for number in range(start, start + 1000)])
    assert len(tenants._held) <= 20_000
