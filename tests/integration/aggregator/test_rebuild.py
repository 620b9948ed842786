"""`tidemark rebuild` beside a live aggregator: all history by today's mapping, nothing lost on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from schemas.events import CatalogTarget
from tests.support.backend import Backend, bluesky_event, now_ms
from tests.support.waiting import wait_until

HOUR = 3_600_000
POSTS = 12
SNAPSHOTS = 400

pytestmark = pytest.mark.timeout(400)


def _rebuild(backend: Backend, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", "rebuild", "--handover-seconds", "60", *options],
        env={**os.environ, **backend.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process: subprocess.Popen[str], backend: Backend) -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, f"{output}\n{backend.log_tail()}"
    return output


def _likes(backend: Backend, workspace: str) -> dict[str, Any]:
    rows = backend.rows("SELECT post_id, likes FROM post_totals WHERE workspace_id = {w:String}", {"w": workspace})
    return {row["post_id"]: row["likes"] for row in rows}


def _publish(backend: Backend, workspace: str, number: int, likes: int, event_id: str) -> None:
    event = bluesky_event(workspace, "c1", event_id, {f"t{number}": {"likeCount": likes}})
    backend.publish_raw(event)


def _suspend_while_it_folds(process: subprocess.Popen[str], backend: Backend, workspace: str) -> None:
    folded = "SELECT count() AS n FROM rebuild_progress WHERE workspace_id = {w:String}"
    wait_until(lambda: backend.rows(folded, {"w": workspace})[0]["n"], 60, "the rebuild folds")
    process.send_signal(signal.SIGSTOP)


def test_a_rebuild_brings_every_number_to_todays_mapping_although_one_before_it_comes_back(
    backend: Backend, workspace: str, request: pytest.FixtureRequest
) -> None:
    """A second run goes on where the first was suspended; once the first wakes up, it ends and changes nothing."""
    other, much = f"{workspace}-b", f"{workspace}-much"
    backend.put_channel(much, "c1", "bluesky")
    backend.put_post(much, "p0", [CatalogTarget("t0", "c1")], published_at=now_ms() - HOUR)
    for number in range(SNAPSHOTS):
        _publish(backend, much, 0, number, f"e{number:04d}")
    for tenant in (workspace, other):
        backend.put_channel(tenant, "c1", "bluesky")
        backend.put_channel(tenant, "c2", "bluesky")
        for number in range(POSTS):
            backend.put_post(tenant, f"p{number}", [CatalogTarget(f"t{number}", "c1")], published_at=now_ms() - HOUR)
            _publish(backend, tenant, number, number + 1, f"e{number:04d}")
        # Listed by two posts, the newer of which has it: the last by id in one case, and not in the other.
        backend.put_post(tenant, "p1", [CatalogTarget("t1", "c1"), CatalogTarget("t2", "c1")])
        backend.put_post(tenant, "p10", [CatalogTarget("t10", "c1"), CatalogTarget("t1", "c1")])
    backend.flush()
    expected = {f"p{number}": number + 1 for number in range(POSTS)} | {"p1": 3, "p2": None, "p10": 11 + 2}
    wait_until(lambda: _likes(backend, much) == {"p0": SNAPSHOTS - 1}, 30, backend.log_tail)
    for tenant in (workspace, other):
        wait_until(lambda t=tenant: _likes(backend, t) == expected, 20, backend.log_tail)  # type: ignore[misc]
    # As an older, wrong mapping would have left them.
    for table in ("latest_post_metrics_store", "post_totals_store"):
        backend.clickhouse.command(
            f"INSERT INTO {table} SELECT * REPLACE (likes + 1000 AS likes, version + 1 AS version"
            + (", replaceAll(targets, '\"values\":[', '\"values\":[7') AS targets" if table.startswith("post") else "")
            + f") FROM {table} FINAL WHERE workspace_id = '{workspace}'"
        )
    wait_until(lambda: _likes(backend, workspace)["p0"] == 1001, 10, "the wrong numbers show")
    suspended = _rebuild(backend)
    request.addfinalizer(suspended.kill)
    _suspend_while_it_folds(suspended, backend, much)
    assert _likes(backend, much) == {"p0": SNAPSHOTS - 1}
    generation = backend.rows("SELECT max(generation) AS g FROM rebuilds")[0]["g"]
    process = _rebuild(backend, "--take-over")
    # Meanwhile the world goes on: new answers, a deleted post, a target that moves, a channel that goes.
    for number in range(POSTS):
        _publish(backend, other, number, 500 + number, f"f{number:04d}")
    backend.delete("catalog.posts", other, "p3")
    backend.put_post(other, "p10", [CatalogTarget("t10", "c1")], published_at=now_ms() - HOUR)
    backend.put_post(other, "p4", [CatalogTarget("t4", "c2")], published_at=now_ms() - HOUR)
    backend.flush()
    backend.delete("catalog.channels", other, "c2")
    output = _finish(process, backend)
    assert "partitions on the new generation" in output
    assert _likes(backend, workspace) == expected
    moved = {f"p{number}": 500 + number for number in range(POSTS) if number != 3} | {"p4": None}
    moved |= {"p1": 501 + 502, "p2": None}
    wait_until(lambda: _likes(backend, other) == moved, 20, lambda: f"{_likes(backend, other)} {backend.log_tail()}")
    active = backend.rows("SELECT argMax(generation, version) AS g FROM active_generations")[0]["g"]
    assert active == generation, "the second rebuild goes on with the first one's generation"
    generations = backend.rows("SELECT DISTINCT generation FROM post_totals_store")
    assert generations == [{"generation": active}]
    assert _likes(backend, much) == {"p0": SNAPSHOTS - 1}
    count = backend.rows("SELECT count() AS n FROM post_snapshots WHERE workspace_id = {w:String}", {"w": much})
    assert count == [{"n": SNAPSHOTS}]
    rollups = backend.latest("rollups.posts")
    assert {key: value["likes"] for key, value in rollups.items() if key.startswith(f"{workspace}/")} == {
        f"{workspace}/{post}": likes for post, likes in expected.items()
    }
    assert f"{other}/p3" not in rollups
    assert f"{other}/c2/7d" not in backend.latest("rollups.channels")
    suspended.send_signal(signal.SIGCONT)
    output, _ = suspended.communicate(timeout=60)
    assert suspended.returncode == 1
    assert "another run of `tidemark rebuild` has taken the rebuild over" in output
    assert (_likes(backend, workspace), _likes(backend, much)) == (expected, {"p0": SNAPSHOTS - 1})
    # And life goes on in the new generation, also after a restart.
    _publish(backend, workspace, 0, 77, "g0000")
    backend.flush()
    wait_until(lambda: _likes(backend, workspace)["p0"] == 77, 20, backend.log_tail)
    backend.kill_aggregator()
    backend.start_aggregator()
    _publish(backend, workspace, 3, 78, "g0001")
    backend.flush()
    wait_until(lambda: _likes(backend, workspace)["p3"] == 78, 20, backend.log_tail)
