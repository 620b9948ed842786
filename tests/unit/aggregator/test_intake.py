"""What waits for a partition's next batch: how much a batch takes, and who is woken."""

from __future__ import annotations

import asyncio
from typing import cast

from services.aggregator.batch import CatalogWrite
from services.aggregator.intake import Intake, Received
from services.aggregator.pipeline import Pipeline
from services.aggregator.reading import Message
from services.aggregator.settings import AggregatorSettings


class Idle:
    """A pipeline that writes nothing, or something until told otherwise."""

    def __init__(self, is_writing: bool = False) -> None:
        self.is_writing = is_writing
        self.is_unsettled = False
        self.settled = 0

    async def settle(self) -> None:
        self.settled += 1
        self.is_unsettled = False


def _intake(events: int, size: int = 2**20) -> Intake:
    return Intake(
        AggregatorSettings.model_validate(
            {
                "kafka_bootstrap": "127.0.0.1:1",
                "schema_registry_url": "http://127.0.0.1:1",
                "clickhouse_url": "http://u:p@127.0.0.1:1/x",
                "aggregator_batch_events": events,
                "aggregator_batch_bytes": size,
                "aggregator_linger_seconds": 0,
            }
        )
    )


def _received(size: int = 10) -> Received:
    async def acknowledge() -> None:
        pass

    return Received(Message("t", 0, 0, b"", b"x" * size, 1), acknowledge)


def _write(name: str) -> CatalogWrite:
    return CatalogWrite("w", name, None, False, 1)


def test_a_batch_takes_as_many_events_as_it_may_hold() -> None:
    intake = _intake(events=2)
    given = [_received() for _ in range(3)]
    for received in given:
        intake.give(received)
    assert intake.take() == given[:2]
    assert (intake.waiting, intake.waiting_bytes) == (1, given[2].size)
    assert intake.take() == given[2:]
    assert (intake.waiting, intake.waiting_bytes) == (0, 0)


def test_a_batch_takes_no_more_bytes_than_it_may_hold_but_for_one_large_event() -> None:
    intake = _intake(events=10, size=2**20)
    large, small = _received(1_500_000), _received(10)
    intake.give(large)
    intake.give(small)
    assert intake.take() == [large]
    assert intake.take() == [small]


async def test_catalog_writes_are_taken_in_parts_and_whoever_reads_on_waits_for_the_last() -> None:
    intake = _intake(events=2)
    writes = [_write(name) for name in "abc"]
    await asyncio.wait_for(intake.writes_taken(), 5)
    intake.give_writes(writes)
    waiting = asyncio.create_task(intake.writes_taken())
    assert intake.take_writes(2) == (writes[:2], False)
    await asyncio.sleep(0)
    assert not waiting.done()
    assert intake.take_writes(2) == (writes[2:], True)
    await asyncio.wait_for(waiting, 5)
    assert intake.take_writes(2) == ([], True)


async def test_waiting_for_work_ends_with_its_time_or_with_work() -> None:
    intake, pipeline = _intake(events=2), Idle()
    await intake.gather(0.01, cast("Pipeline", pipeline))
    assert intake.take() == []
    gathering = asyncio.create_task(intake.gather(60, cast("Pipeline", pipeline)))
    await asyncio.sleep(0)
    intake.give(_received())
    await asyncio.wait_for(gathering, 5)
    assert intake.waiting == 1


async def test_an_idle_partition_notices_what_became_of_its_last_batch() -> None:
    intake, pipeline = _intake(events=2), Idle()
    gathering = asyncio.create_task(intake.gather(60, cast("Pipeline", pipeline)))
    await asyncio.sleep(0)
    pipeline.is_unsettled = True
    intake.wake()
    await asyncio.sleep(0)
    intake.give(_received())
    await asyncio.wait_for(gathering, 5)
    assert pipeline.settled == 1


async def test_a_batch_gathers_while_the_one_before_is_written_until_it_is_full() -> None:
    intake, pipeline = _intake(events=2), Idle(is_writing=True)
    intake.give(_received())
    gathering = asyncio.create_task(intake.gather(60, cast("Pipeline", pipeline)))
    await asyncio.sleep(0)
    assert not gathering.done()
    intake.give(_received())
    await asyncio.wait_for(gathering, 5)
    assert len(intake.take()) == 2
