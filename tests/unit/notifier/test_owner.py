"""The work begins anew with each change of the partitions, and never goes on for partitions that are another's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from services.notifier import owner
from services.notifier.metrics import Gauges
from services.notifier.owner import Owner
from services.runtime.clock import ticks
from tests.support.waiting import wait_until_async


class FakeWork:
    """Notes for which partitions work runs."""

    running: set[int]

    def __init__(self, partitions: Sequence[int], running: set[int], failures: list[Exception]) -> None:
        self.partitions = partitions
        self.running = running
        self.failures = failures
        self.is_ready = False

    async def run(self) -> None:
        assert not self.running & set(self.partitions), "two at once"
        self.running.update(self.partitions)
        self.is_ready = True
        try:
            if self.failures:
                raise self.failures.pop()
            await asyncio.Event().wait()
        finally:
            self.is_ready = False
            self.running.difference_update(self.partitions)

    def gauges(self) -> Gauges:
        return Gauges(partitions=len(self.partitions))

    def position(self, partition: int) -> int:
        return 40 + partition


def owner_of(running: set[int], failures: list[Exception] | None = None) -> Owner:
    def make(partitions: Sequence[int]) -> Any:
        return FakeWork(partitions, running, failures if failures is not None else [])

    return Owner(make, session_seconds=6.0)


async def runs(running: set[int], wanted: set[int]) -> None:
    async def holds() -> bool:
        return running == wanted

    await wait_until_async(holds, 5, lambda: f"{running} instead of {wanted}")


async def test_work_follows_the_partitions() -> None:
    running: set[int] = set()
    held = owner_of(running)
    assert held.missing() == "joining the group of the notifiers"
    await held.gained([], 0)
    assert held.missing() is None
    await held.gained([0, 1], 0)
    await runs(running, {0, 1})
    assert (held.missing(), held.gauges().partitions, held.position(1)) == (None, 2, 41)
    await held.gained([2], 0)
    await runs(running, {0, 1, 2})
    await held.revoked([0, 1])
    assert not running & {0, 1}, "what was given back has ended when it goes to another"
    await runs(running, {2})
    await held.lost([2])
    assert (running, held.missing()) == (set(), "joining the group of the notifiers")
    await held.stop()


async def test_work_that_breaks_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_RETRY_SECONDS", 0.01)
    running: set[int] = set()
    failures: list[Exception] = [ValueError("a mistake"), OSError("another")]
    held = owner_of(running, failures)
    await held.gained([3], 0)
    await runs(running, {3})
    assert failures == []
    await held.stop()
    assert running == set()


async def test_without_a_confirmation_within_half_a_session_nothing_is_sent() -> None:
    held = owner_of(set())
    assert not held.may_try()
    await held.gained([0], 0)
    assert held.may_try()
    held.proven(ticks() - 3_001)
    assert not held.may_try()
    held.proven(ticks() - 1_000)
    assert held.may_try()
    await held.stop()
