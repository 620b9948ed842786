"""A batch is flushed, then published, then acknowledged; refused rows of one table never hide those of another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from services.aggregator.batch import Batch, Effects
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.errors import OwnershipLost, RowsRefused
from services.aggregator.rows import CHANNELS, LATEST_POST_METRICS, POST_TOTALS, RAW_EVENTS, Table
from services.aggregator.set_aside import BatchReader
from services.aggregator.topic_writer import TopicWriter
from services.aggregator.writing import BatchWriter, insert_all
from services.runtime.clock import SystemClock

ROLLUP = ("rollups.posts", b"w/p", (1,))


class Store:
    """Notes inserts in `steps`, refuses those of some tables."""

    def __init__(self, steps: list[str], outcomes: dict[str, Exception] | None = None) -> None:
        self._steps = steps
        self._outcomes = outcomes or {}

    async def insert(self, table: Table, rows: Sequence[Any]) -> None:
        await asyncio.sleep(0)
        self._steps.append(table[0])
        if table[0] in self._outcomes:
            raise self._outcomes[table[0]]


class Topics:
    """Notes what is published in `steps`."""

    def __init__(self, steps: list[str], failure: Exception | None = None) -> None:
        self._steps = steps
        self._failure = failure

    def encode(self, batch: Batch, effects: Effects) -> list[Any]:
        return [f"published {name}" for name, _, _ in (*effects.metrics, *effects.rollups)]

    async def publish(self, messages: list[Any], batch: Batch | None = None) -> None:
        if self._failure is not None:
            raise self._failure
        self._steps += messages


class Letters:
    """Makes one dead letter of each refused row."""

    def not_stored(self, batch: Batch, refused: Sequence[tuple[Any, str]]) -> list[Any]:
        return [f"letter of {row[1]}: {why}" for row, why in refused]


def _writer(steps: list[str], store: Store, topics: Topics | None = None) -> BatchWriter:
    return BatchWriter(
        cast("ClickHouse", store),
        cast("TopicWriter", topics or Topics(steps)),
        cast("BatchReader", Letters()),
        SystemClock(),
    )


async def _write(steps: list[str], writer: BatchWriter, effects: Effects) -> None:
    async def acknowledge() -> None:
        steps.append("acknowledged")

    await writer.write(Batch(), effects, 0.0, acknowledge)


async def test_answers_are_flushed_published_and_acknowledged() -> None:
    steps: list[str] = []
    effects = Effects({RAW_EVENTS: [("w", "e")], LATEST_POST_METRICS: [()]}, [("metrics.x", b"k", ())], [ROLLUP])
    await _write(steps, _writer(steps, Store(steps)), effects)
    assert sorted(steps[:2]) == sorted([RAW_EVENTS[0], LATEST_POST_METRICS[0]])
    assert steps[2:] == ["published metrics.x", "published rollups.posts", "acknowledged"]


async def test_consequences_of_a_catalog_write_are_published_before_its_states_and_mirror_are_stored() -> None:
    steps: list[str] = []
    effects = Effects({CHANNELS: [()], LATEST_POST_METRICS: [()], POST_TOTALS: [()]}, [], [ROLLUP])
    await _write(steps, _writer(steps, Store(steps)), effects)
    assert steps == [
        POST_TOTALS[0],
        "published rollups.posts",
        LATEST_POST_METRICS[0],
        CHANNELS[0],
        "published rollups.posts",
        "acknowledged",
    ]


async def test_a_raw_event_that_is_refused_is_published_as_a_dead_letter() -> None:
    steps: list[str] = []
    row = ("w", "e1")
    store = Store(steps, {RAW_EVENTS[0]: RowsRefused([row], "too long")})
    await _write(steps, _writer(steps, store), Effects({RAW_EVENTS: [row]}, [], [ROLLUP]))
    assert steps == [RAW_EVENTS[0], "published rollups.posts", "letter of e1: too long", "acknowledged"]


async def test_a_fenced_owner_acknowledges_nothing() -> None:
    steps: list[str] = []
    writer = _writer(steps, Store(steps), Topics(steps, OwnershipLost("fenced")))
    with pytest.raises(OwnershipLost):
        await _write(steps, writer, Effects({RAW_EVENTS: [("w", "e")]}, [], [ROLLUP]))
    assert steps == [RAW_EVENTS[0]]


async def test_a_failed_insert_publishes_and_acknowledges_nothing() -> None:
    steps: list[str] = []
    store = Store(steps, {RAW_EVENTS[0]: RuntimeError("no such table")})
    with pytest.raises(RuntimeError):
        await _write(steps, _writer(steps, store), Effects({RAW_EVENTS: [("w", "e")]}, [], [ROLLUP]))
    assert steps == [RAW_EVENTS[0]]


async def test_refused_rows_of_raw_events_are_returned_and_others_counted() -> None:
    raw, totals = ("w", "e1"), ("1", "w")
    outcomes: dict[str, Exception] = {
        RAW_EVENTS[0]: RowsRefused([raw], "too long"),
        POST_TOTALS[0]: RowsRefused([totals], "?"),
    }
    store = cast("ClickHouse", Store([], outcomes))
    assert await insert_all(store, {RAW_EVENTS: [raw], POST_TOTALS: [totals]}) == [(raw, "too long")]
    broken = cast("ClickHouse", Store([], {**outcomes, POST_TOTALS[0]: RuntimeError("no such table")}))
    with pytest.raises(RuntimeError):
        await insert_all(broken, {RAW_EVENTS: [raw], POST_TOTALS: [totals]})
