"""What is kept of payloads: an answer is the same whether its payloads were kept or fetched, and memory is bounded."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import CatalogChannel
from services.query_api.directory import Directory
from services.query_api.fairness import Desk
from services.query_api.reads import snapshots, sql
from services.query_api.reads.parts import Answer, KeptParts
from services.query_api.reads.snapshots import SnapshotReads, _Stood
from tests.support import properties
from tests.support.query_api import values

CHANNEL = CatalogChannel("w1", "c1", "x", "1", "name", "active", None, 0)
READ_BYTES, ANSWER_BYTES = 4_000, 2_500


class FakeClickHouse:
    """Answers of events whose targets have posts of given lengths; counts what is fetched."""

    def __init__(self, events: dict[str, dict[str, int]]) -> None:
        self.events = events
        self.fetched: list[str] = []

    async def rows(self, name: str, text: str, parameters: dict[str, Any], seconds: float = 5.0) -> list[list[Any]]:
        ids = [event_id for event_id in parameters["events"] if event_id in self.events]
        if text == sql.RAW_SIZES:
            return [[event_id, len(self._body(event_id))] for event_id in ids]
        assert text == sql.RAW_EVENTS
        self.fetched += ids
        return [self._row(event_id) for event_id in ids]

    def _body(self, event_id: str) -> bytes:
        items = [{"id": name, "text": "x" * size} for name, size in self.events[event_id].items()]
        return orjson.dumps({"data": items})

    def _row(self, event_id: str) -> list[Any]:
        names = list(self.events[event_id])
        encoded = base64.b64encode(self._body(event_id)).decode()
        return [event_id, "c1", "x", "POST_METRICS", "/2/tweets", {}, names, names, names, 200, encoded, 0, "SCHEDULE"]


def reads(clickhouse: FakeClickHouse, kept: KeptParts) -> SnapshotReads:
    async def post(_: object) -> None:
        return None

    return SnapshotReads(clickhouse, Directory(), Desk(), post, kept)  # type: ignore[arg-type]  # a fake


async def shown(clickhouse: FakeClickHouse, kept: KeptParts, rows: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    stood = [_Stood(event_id, target_id, 0, values(likes=1)) for event_id, target_id in rows]
    channels = {target_id: CHANNEL for _, target_id in rows}
    found = (await reads(clickhouse, kept)._with_parts("w1", stood, channels)).snapshots
    return [(each.event_id, each.target_id, orjson.dumps(each.part).decode()) for each in found]


EVENTS = st.dictionaries(
    st.sampled_from([f"e{number}" for number in range(8)]),
    st.dictionaries(st.sampled_from(["t1", "t2", "t3"]), st.integers(0, 2_000), min_size=1),
    min_size=1,
)


@settings(max_examples=properties.of(60), deadline=None)
@given(EVENTS, st.data())
async def test_an_answer_is_the_same_whatever_was_kept(events: dict[str, dict[str, int]], data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "_READ_BYTES", READ_BYTES)
        patch.setattr(snapshots, "ANSWER_BYTES", ANSWER_BYTES)
        rows = [(event_id, target_id) for event_id, targets in events.items() for target_id in targets]
        rows += [("deleted", "t1")]
        cold = await shown(FakeClickHouse(events), KeptParts(0), rows)
        kept = KeptParts(10**6)
        asked_before = data.draw(st.lists(st.lists(st.sampled_from(rows), unique=True), max_size=3))
        for before in asked_before:
            await shown(FakeClickHouse(events), kept, before)
        assert await shown(FakeClickHouse(events), kept, rows) == cold
        # And once more, with all of it kept.
        assert await shown(FakeClickHouse(events), kept, rows) == cold


async def test_only_new_answers_are_fetched() -> None:
    events = {f"e{number}": {"t1": 10} for number in range(5)}
    clickhouse, kept = FakeClickHouse(events), KeptParts(10**6)
    await shown(clickhouse, kept, [("e1", "t1"), ("e2", "t1")])
    await shown(clickhouse, kept, [(event_id, "t1") for event_id in events])
    assert clickhouse.fetched == ["e1", "e2", "e0", "e3", "e4"]
    await shown(clickhouse, kept, [("e1", "t1")])
    assert len(clickhouse.fetched) == 5


def test_memory_is_bounded_and_workspaces_are_apart() -> None:
    kept = KeptParts(100_000)
    for number in range(1_000):
        kept.put("w1", f"e{number}", Answer(1_000, {"t1": b"x" * 1_000}))
    held = [number for number in range(1_000) if kept.get("w1", f"e{number}", ["t1"]) is not None]
    assert 0 < len(held) < 100
    assert kept.get("w2", f"e{held[-1]}", ["t1"]) is None
    kept.put("w1", "large", Answer(90_000, {"t1": b"x" * 90_000}))
    assert kept.get("w1", "large", ["t1"]) is None
    kept.put("w1", "cut", Answer(10, {"t1": b"{}", "t2": None}))
    assert kept.get("w1", "cut", ["t1"]) is None
