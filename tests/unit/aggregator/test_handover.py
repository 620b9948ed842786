"""How soon a rebuild and its owners notice each other, and what is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from services.aggregator import rebuild as rebuild_module
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.handover import HandoverWatch
from services.aggregator.rebuild import wait_for_readers


class Answers:
    """Answers queries one after the other, the last one again and again."""

    def __init__(self, *answers: Sequence[Sequence[Any]]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def query(self, *_: Any) -> Sequence[Sequence[Any]]:
        self.asked += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    @property
    def store(self) -> ClickHouse:
        return cast("ClickHouse", self)


async def test_an_old_generation_goes_as_soon_as_no_query_reads_it() -> None:
    running = Answers([(2, 0)], [(1, 0)], [(0, 0)])
    started = time.monotonic()
    await wait_for_readers(running.store)
    assert running.asked == 3
    assert time.monotonic() - started < rebuild_module._DROP_AFTER_SECONDS


@pytest.mark.parametrize("answer", [[(3, 0)], [(0, 2)]], ids=["a query that never ends", "several servers"])
async def test_a_query_is_waited_for_only_so_long(
    monkeypatch: pytest.MonkeyPatch, answer: list[tuple[int, int]]
) -> None:
    monkeypatch.setattr(rebuild_module, "_DROP_AFTER_SECONDS", 0.7)
    started = time.monotonic()
    await wait_for_readers(Answers(answer).store)
    assert time.monotonic() - started >= 0.7


async def test_all_partitions_of_a_process_ask_once_a_second() -> None:
    waiting = Answers([(7, "handover", b'{"0": 5, "mirror": [1], "rollups": []}', 1)])
    watch = HandoverWatch(waiting.store)
    found = await asyncio.gather(*(watch.pending(6) for _ in range(20)), return_exceptions=True)
    assert waiting.asked == 1
    assert found[0] is not None
    rebuild = await watch.pending(6)
    assert rebuild is not None
    assert (rebuild.generation, rebuild.cuts, rebuild.mirror, rebuild.rollups) == (
        7,
        {0: 5},
        frozenset({1}),
        frozenset[int](),
    )
    assert await watch.pending(7) is None, "taken over already"


@pytest.mark.parametrize(("state", "is_for_owners"), [("mending", True), ("filling", False), ("handover", True)])
async def test_owners_are_called_to_mend_and_to_take_over(state: str, is_for_owners: bool) -> None:
    watch = HandoverWatch(Answers([(7, state, b"{}", 1)]).store)
    assert (await watch.pending(0) is not None) is is_for_owners
