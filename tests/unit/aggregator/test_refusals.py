"""What ClickHouse or Kafka will never take is set aside alone; what passes is tried again by others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aggregator.clickhouse import ClickHouse
from services.aggregator.errors import RowsRefused
from services.aggregator.rows import Table
from services.aggregator.settings import AggregatorSettings
from tests.support import properties

TABLE: Table = ("a_table", ("workspace_id", "event_id"))


def _settings() -> AggregatorSettings:
    return AggregatorSettings.model_validate(
        {
            "kafka_bootstrap": "127.0.0.1:1",
            "schema_registry_url": "http://127.0.0.1:1",
            "clickhouse_url": "http://u:p@127.0.0.1:1/x",
        }
    )


def _error(code: int) -> Exception:
    error = DatabaseError(f"Code: {code}. the answer")
    error.code = code
    return error


class Store(ClickHouse):
    """Refuses blocks that hold a bad row."""

    def __init__(self, error: Exception, bad: set[int]) -> None:
        super().__init__(_settings())
        self.stored: list[Any] = []
        self.calls = 0
        self._error = error
        self._bad = bad

    async def _insert_block(self, table: Table, rows: Sequence[Any]) -> None:
        self.calls += 1
        if any(row[0] in self._bad for row in rows):
            raise self._error
        self.stored += rows


@settings(deadline=None, max_examples=properties.of(40))
@given(st.sets(st.integers(0, 99), max_size=5), st.integers(1, 100))
async def test_only_the_culprits_are_set_aside(bad: set[int], count: int) -> None:
    store = Store(_error(53), bad)
    rows = [(number, "e") for number in range(count)]
    refused: list[Any] = []
    try:
        await store.insert(TABLE, rows)
    except RowsRefused as error:
        refused = error.rows
    assert {row[0] for row in refused} == bad & set(range(count))
    assert sorted(store.stored + refused) == rows
    assert store.calls <= 1 + 2 * len(refused) * 9


@pytest.mark.parametrize(
    "error", [OverflowError("int too large"), ValueError("x"), TypeError("y"), _error(321), _error(407)]
)
async def test_errors_of_rows_are_told(error: Exception) -> None:
    store = Store(error, {1})
    with pytest.raises(RowsRefused):
        await store.insert(TABLE, [(0, "e"), (1, "e")])
    assert store.stored == [(0, "e")]


@pytest.mark.parametrize("code", [16, 60, 81, 497, 516])
async def test_errors_of_the_deploy_are_not_taken_for_rows(code: int) -> None:
    store = Store(_error(code), {1})
    with pytest.raises(DatabaseError):
        await store.insert(TABLE, [(0, "e"), (1, "e")])
    assert store.calls == 1


async def test_a_block_of_which_nothing_is_taken_is_our_mistake() -> None:
    store = Store(_error(53), set(range(200)))
    with pytest.raises(DatabaseError):
        await store.insert(TABLE, [(number, "e") for number in range(200)])
    assert not store.stored


async def test_each_partition_hears_of_its_own_rows_only() -> None:
    store = Store(_error(53), {7})
    outcomes = await asyncio.gather(
        store.insert(TABLE, [(1, "a"), (2, "a")]), store.insert(TABLE, [(7, "b"), (8, "b")]), return_exceptions=True
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], RowsRefused)
    assert outcomes[1].rows == [(7, "b")]
