"""An owner forgets a workspace that was deleted for good, says so once, and forgets nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from services.aggregator import erased
from services.aggregator.forgetting import Forgetter, ForgetWatch
from services.aggregator.rows import REBUILD_PROGRESS, Row, Table
from services.aggregator.state import ChannelState, PartitionState, PostState, TargetState
from services.runtime.kafka import partition_of

PARTITIONS = 4
TENANTS = ("w1", "w2", "w3", "w4", "w5")


class Notes:
    """Holds requests and answers as the table does: of one name the newest row counts."""

    def __init__(self, *requests: Row) -> None:
        self.rows: dict[str, Row] = {row[1]: row for row in requests}
        self.asked = 0
        self.epoch = 7

    async def query(self, query: str, parameters: dict[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        if "FROM partition_claims" in query:
            return [(self.epoch,)]
        assert (query, parameters) == (erased.REQUESTS, None)
        self.asked += 1
        return [(name, row[5]) for name, row in self.rows.items() if not row[3]]

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        assert table == REBUILD_PROGRESS
        for row in rows:
            if row[5] > self.rows[row[1]][5]:
                self.rows[row[1]] = row

    def is_answered(self, workspace_id: str) -> bool:
        return bool(self.rows[erased.request(workspace_id, 0)[1]][3])


class Held:
    """States of all tenants, in the memory of one owner."""

    def __init__(self) -> None:
        self.state = PartitionState.empty(10)
        self.is_settled = False
        self.epoch = 7
        for tenant in TENANTS:
            self.state.targets.put((tenant, "t1"), TargetState("t1"))
            self.state.posts.put((tenant, "p1"), PostState("p1"))
            self.state.channels.put((tenant, "c1"), ChannelState("c1"))

    async def settle(self) -> None:
        self.is_settled = True

    def forget(self, workspace_id: str) -> None:
        assert self.is_settled, "a batch under way would bring the states back"
        self.state.forget(workspace_id)

    @property
    def tenants(self) -> list[set[str]]:
        return [{key[0] for key in cache} for cache in (self.state.targets, self.state.posts, self.state.channels)]


@pytest.mark.parametrize("gone", TENANTS)
async def test_the_owner_of_the_partition_answers_and_nobody_else(gone: str) -> None:
    notes = Notes(erased.request(gone, 5_000))
    watch = ForgetWatch(notes)
    owner = partition_of(gone, PARTITIONS)
    for partition in sorted(range(PARTITIONS), key=lambda number: number == owner):
        held = Held()
        assert not notes.is_answered(gone)
        await Forgetter(partition, PARTITIONS, notes, watch, held).look()
        assert held.tenants == [set(TENANTS) - ({gone} if partition == owner else set())] * 3
    assert notes.is_answered(gone)
    assert notes.asked == 1, "one query for all partitions"


async def test_a_request_is_answered_once_by_a_process() -> None:
    notes = Notes(erased.request("w1", 5_000))
    watch = ForgetWatch(notes)
    forgetter = Forgetter(partition_of("w1", PARTITIONS), PARTITIONS, notes, watch, Held())
    await forgetter.look()
    notes.rows.clear()  # a second answer would look for the row
    await forgetter.look()


async def test_an_owner_that_was_replaced_leaves_the_answer_to_the_new_one() -> None:
    notes = Notes(erased.request("w1", 5_000))
    partition = partition_of("w1", PARTITIONS)
    replaced, newest = Held(), Held()
    newest.epoch = notes.epoch = 8
    await Forgetter(partition, PARTITIONS, notes, ForgetWatch(notes), replaced).look()
    assert not notes.is_answered("w1")
    await Forgetter(partition, PARTITIONS, notes, ForgetWatch(notes), newest).look()
    assert notes.is_answered("w1")
    assert newest.tenants == [set(TENANTS) - {"w1"}] * 3
