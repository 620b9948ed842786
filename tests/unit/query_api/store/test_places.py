"""The table of where answers come from names every question, and is what happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from services.query_api.directory import Directory
from services.query_api.errors import ReadsUnavailable
from services.query_api.reads import query
from services.query_api.reads.at_once import AtOnce
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.own import OwnReads
from services.query_api.reads.places import PLACES, Place
from services.query_api.reads.query import Question
from services.query_api.reads.read_model import ClickHouseReadModel
from tests.support.query_api import NOW, FakeStore, channel
from tests.support.stores import store_of
from tests.unit.query_api.store.test_reads import filled

ASKED: dict[type[Question[Any]], Question[Any]] = {
    query.PostQuestion: query.PostQuestion("w1", "p1"),
    query.LivePostQuestion: query.LivePostQuestion("w1", "p1"),
    query.TargetQuestion: query.TargetQuestion("w1", "t1"),
    query.ChannelWindowQuestion: query.ChannelWindowQuestion("w1", "c1", "7d", NOW),
    query.WindowTotalsQuestion: query.WindowTotalsQuestion("w1", "c1", "7d", NOW),
    query.PostHistoryQuestion: query.PostHistoryQuestion("w1", "p1", 0, 10),
    query.PostScoresQuestion: query.PostScoresQuestion("w1", "p1", NOW),
    query.SnapshotsQuestion: query.SnapshotsQuestion("w1", None, 0, 10),
    query.AccountQuestion: query.AccountQuestion("w1", "c1"),
    query.AccountHistoryQuestion: query.AccountHistoryQuestion("w1", "c1", 0, NOW),
    query.HealthQuestion: query.HealthQuestion("w1", "c1", NOW),
}


def test_every_question_has_its_place() -> None:
    questions = {kind for kind in vars(query).values() if isinstance(kind, type) and issubclass(kind, Question)} - {
        Question
    }
    assert set(PLACES) == set(ASKED) == questions


@pytest.mark.parametrize("kind", sorted(PLACES, key=str), ids=lambda kind: str(kind.__name__))
async def test_answers_come_from_their_place(tmp_path: Path, kind: type[Question[Any]]) -> None:
    directory, clickhouse = Directory(), FakeStore()
    directory.apply(("w1", "c1"), channel("w1", "c1"))
    clickhouse.error = ReadsUnavailable()
    async with store_of(tmp_path, filled()) as (store, _):
        reads = ClickHouseReadModel(cast("ClickHouse", clickhouse), directory, own_reads=OwnReads(store))
        place = PLACES[kind]
        if place in (Place.STORE, Place.MEMORY):
            assert await reads.answer(ASKED[kind]) is not None
            assert clickhouse.asked == []
        else:
            with pytest.raises(ReadsUnavailable):
                await reads.answer(ASKED[kind])
            names = {name for name, _ in clickhouse.asked}
            assert names
            assert not names & {"posts", "target_posts", "channel_windows"}
        if place is Place.STORE and kind is not query.LivePostQuestion:
            assert AtOnce(store, directory).answer(ASKED[kind]) is not None
