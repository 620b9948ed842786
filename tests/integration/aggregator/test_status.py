"""`tidemark status` of a running aggregator and of engines that are away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from typer.testing import CliRunner, Result

from schemas.events import CatalogTarget
from services.cli import app
from tests.support.backend import Backend, bluesky_event, now_ms
from tests.support.waiting import wait_until


def _status(folder: Path, environment: dict[str, str], *options: str) -> Result:
    arguments = ["status", "--data-dir", str(folder), "--interval-seconds", "0.2", *options]
    return CliRunner().invoke(app, arguments, env=environment)


def test_a_running_aggregator_is_shown(backend: Backend, workspace: str, tmp_path: Path) -> None:
    backend.put_channel(workspace, "c1", "bluesky")
    backend.put_post(workspace, "p1", [CatalogTarget("t1", "c1")], published_at=now_ms())
    backend.publish_raw(bluesky_event(workspace, "c1", "e1", {"t1": {"likeCount": 1}}))
    backend.publish_raw(bluesky_event(workspace, "c1", "e2", {"t1": {}}, body=b"<html>"))
    backend.flush()
    told = {**backend.environment, "TIDEMARK_STATUS_TARGETS": f"aggregator={backend.operations_url()}"}

    def report() -> Any:
        answer = _status(tmp_path, told, "--json")
        found = orjson.loads(answer.stdout)
        aggregator = found["services"]["aggregator"]
        # Engines are asked side by side: the tables may be those of a moment before the lag.
        tables = {table["name"] for table in found["clickhouse"]["tables"]}
        is_complete = (
            answer.exit_code == 0
            and tables >= {"raw_events_store", "post_snapshots_store"}
            and aggregator.get("dead_letters", {}).get("body_not_json")
            and all(entry["lag"] == 0 for entry in found["kafka"]["lag"] if entry["topic"].endswith("platform.raw"))
        )
        return found if is_complete else None

    found = wait_until(report, 30, lambda: _status(tmp_path, told).stdout)
    assert found is not None
    assert {entry["topic"].removeprefix(backend.settings.topic_prefix) for entry in found["kafka"]["lag"]} == {
        "platform.raw", "catalog.channels", "catalog.posts",
    }  # fmt: skip
    aggregator = found["services"]["aggregator"]
    assert aggregator["memory_bytes"] > 10_000_000
    assert "event_latency_seconds" in aggregator
    shown = _status(tmp_path, told)
    assert shown.exit_code == 0, shown.output
    assert "post_snapshots_store" in shown.stdout


def test_what_is_away_is_said(tmp_path: Path) -> None:
    away = {
        "TIDEMARK_STATUS_TARGETS": "poller=http://127.0.0.1:1",
        "TIDEMARK_CLICKHOUSE_URL": "http://default:x@127.0.0.1:1/tidemark",
        "TIDEMARK_KAFKA_BOOTSTRAP": "",
    }
    answer = _status(tmp_path, away)
    assert answer.exit_code == 1
    assert "no answer at http://127.0.0.1:1" in answer.stdout
    assert "TIDEMARK_KAFKA_BOOTSTRAP is not set" in answer.stdout
    assert "TIDEMARK_CLICKHOUSE_URL" in answer.stdout
    bad = _status(tmp_path, {"TIDEMARK_STATUS_TARGETS": "poller"})
    assert bad.exit_code == 2
