"""What the sink does while ClickHouse refuses: it waits, says so at a bounded rate, and tells who asks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from services.aggregator import clickhouse as clickhouse_module
from services.aggregator.clickhouse import ClickHouse
from services.runtime.settings import ClickHouseSettings
from tests.support.waiting import wait_until_async

TABLE = ("t", ("a",))
REFUSALS = (
    (243, "Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)"),
    (75, "Code: 75. DB::Exception: Cannot write to file: , errno: 28, strerror: No space left on device."),
    (1001, "Code: 1001. DB::Exception: std::filesystem: filesystem error: No space left on device (STD_EXCEPTION)"),
)


class FullClient:
    """A server whose disk is full: it answers queries and refuses inserts."""

    def __init__(self, code: int, text: str) -> None:
        self.error = DatabaseError(text)
        self.error.code = code
        self.is_full = True
        self.stored: list[Any] = []

    def create_insert_context(self, *_: Any) -> Any:
        return type("Context", (), {"column_types": [None]})()

    def insert(self, _: str, rows: list[Any], **__: Any) -> None:
        if self.is_full:
            raise self.error
        self.stored += rows

    def query(self, *_: Any, **__: Any) -> Any:
        return type("Answer", (), {"result_rows": [(1,)]})()


@pytest.mark.parametrize(("code", "text"), REFUSALS)
async def test_inserts_wait_for_space_while_queries_answer(
    monkeypatch: pytest.MonkeyPatch, code: int, text: str
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(clickhouse_module, "_PROBLEM_SECONDS", 0.0)
    monkeypatch.setattr(clickhouse_module, "_RETRY_SECONDS_MAX", 0.05)
    monkeypatch.setattr(clickhouse_module.log, "warning", lambda event, **_: lines.append(event))
    retries: list[str] = []
    settings = ClickHouseSettings.model_validate({"clickhouse_url": "http://127.0.0.1:1/t"})
    store = ClickHouse(settings, on_retry=retries.append)
    client = FullClient(code, text)
    monkeypatch.setattr(store, "_connected", lambda: client)
    inserting = asyncio.create_task(store.insert(TABLE, [(7,)]))

    async def retried() -> bool:
        # What answers must not hide what is refused.
        await store.query("SELECT 1")
        return len(retries) >= 10

    await wait_until_async(retried, 20, lambda: f"{retries}")
    assert lines == ["clickhouse_unavailable"]
    assert store.failing_since is not None
    assert store.problem is not None
    assert store.problem.startswith("the disk of ClickHouse has been full for ")
    assert not inserting.done()
    client.is_full = False
    await asyncio.wait_for(inserting, 10)
    assert client.stored == [(7,)]
    assert store._failing == {}
    store.close()


class TellingClient(FullClient):
    """A server that takes all, and notes the settings that it is given."""

    def __init__(self) -> None:
        super().__init__(0, "")
        self.told: dict[str, dict[str, Any]] = {}

    def insert(self, _: str, rows: list[Any], **told: Any) -> None:
        self.told["insert"] = told["settings"]

    def query(self, *_: Any, **told: Any) -> Any:
        self.told["query"] = told["settings"]
        return super().query()


@pytest.mark.parametrize("cluster", [None, "main"])
async def test_on_a_cluster_a_quorum_confirms_inserts_and_reads_follow_it(
    monkeypatch: pytest.MonkeyPatch, cluster: str | None
) -> None:
    told = {"clickhouse_url": "http://127.0.0.1:1/t", "clickhouse_cluster": cluster}
    store = ClickHouse(ClickHouseSettings.model_validate(told))
    client = TellingClient()
    monkeypatch.setattr(store, "_connected", lambda: client)
    await store.insert(TABLE, [(7,)])
    await store.query("SELECT 1")
    inserts, reads = client.told["insert"], client.told["query"]
    assert inserts["insert_deduplication_token"]
    quorum = {name: value for name, value in inserts.items() if "quorum" in name}
    assert quorum == ({"insert_quorum": "auto", "insert_quorum_parallel": 0} if cluster else {})
    assert reads.get("select_sequential_consistency") == (1 if cluster else None)
    store.close()
