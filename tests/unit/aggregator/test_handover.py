"""How soon a rebuild and its owners notice each other, and what is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from services.aggregator import rebuild as rebuild_module
from services.aggregator.batch import Batch
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.handover import HandoverWatch
from services.aggregator.pipeline import Pipeline
from services.aggregator.rebuild import wait_for_readers
from services.aggregator.settings import AggregatorSettings
from services.aggregator.takeover import Takeover
from services.aggregator.writing import BatchWriter
from tests.support.manual_clock import ManualClock


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
    waiting = Answers([(7, "handover", b'{"0": 5, "mirror": [1], "rollups": []}', 1)], [])
    watch = HandoverWatch(waiting.store)
    found = await asyncio.gather(*(watch.pending(6) for _ in range(20)), return_exceptions=True)
    assert waiting.asked == 2
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
    watch = HandoverWatch(Answers([(7, state, b"{}", 1)], []).store)
    assert (await watch.pending(0) is not None) is is_for_owners


class Told:
    """What a partition's owner told again, and a store that notes it."""

    def __init__(self, generation: int, shown: int) -> None:
        self.generation = generation
        self.shown = shown
        self.expired: list[tuple[str, str]] = []
        self.noted: list[tuple[Any, ...]] = []

    async def query(self, sql: str, *_: Any) -> Sequence[Sequence[Any]]:
        if "active_generations" in sql:
            return [(self.shown,)]
        if "/run/" in sql:
            return []
        if "rebuild_progress" in sql:
            return [(len(self.noted),)]
        if "channel_totals_store" in sql:
            return [("w", "c1"), ("w", "c2")]
        assert "FROM rebuilds" in sql
        return []

    async def insert(self, table: tuple[str, tuple[str, ...]], rows: Sequence[tuple[Any, ...]]) -> None:
        assert table[0] == "rebuild_progress"
        self.noted += rows

    async def apply(self, batch: Batch) -> None:
        self.expired += batch.expired

    async def settle(self) -> None:
        pass

    def owner(self) -> Takeover:
        """A new owner of partition 3."""
        store = cast("ClickHouse", self)
        settings = cast("AggregatorSettings", None)
        return Takeover(
            3,
            settings,
            store,
            {},
            ManualClock(),
            HandoverWatch(store),
            cast("Pipeline", self),
            cast("BatchWriter", None),
        )


async def looked(owner: Takeover) -> None:
    owner.due_at = 0.0
    await owner.look()


async def test_channels_are_told_again_once_readers_see_a_rebuilt_generation() -> None:
    told = Told(generation=7, shown=6)
    owner = told.owner()
    await looked(owner)
    assert told.expired == [], "readers see the generation before"
    told.shown = 7
    await looked(owner)
    await looked(owner)
    assert told.expired == [("w", "c1"), ("w", "c2")]
    assert [row[:2] for row in told.noted] == [(7, "/announced/3")]
    # Another owner of the partition finds it noted.
    await looked(told.owner())
    assert len(told.expired) == 2


async def test_an_owner_that_died_before_it_noted_leaves_it_to_the_next() -> None:
    told = Told(generation=7, shown=7)
    await looked(told.owner())
    told.noted.clear()
    await looked(told.owner())
    assert len(told.expired) == 4


async def test_before_any_rebuild_nothing_is_told_again() -> None:
    told = Told(generation=0, shown=0)
    await looked(told.owner())
    assert (told.expired, told.noted) == ([], [])
