"""Two workers, killed again and again while events flow: the end is that of an undisturbed run.

Long; TIDEMARK_TEST_KILLS and TIDEMARK_TEST_SNAPSHOTS make it shorter or longer.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from benchmarks.workload import Workload
from schemas.events import CatalogChannel, CatalogPost
from services.aggregator.audit.run import AuditSettings, Options, Summary, audit
from services.runtime.clock import SystemClock
from services.runtime.kafka import key
from tests.integration.aggregator.conftest import make_backend
from tests.support.backend import Backend, now_ms
from tests.support.engines import Engines
from tests.support.waiting import wait_until

KILLS = int(os.environ.get("TIDEMARK_TEST_KILLS", "50"))
SNAPSHOTS = int(os.environ.get("TIDEMARK_TEST_SNAPSHOTS", "500000"))
WORKERS = ("worker-a", "worker-b")
# Less than a partition's targets, so that states are dropped and read back while others are on their way to storage.
SMALL_MEMORY = {"TIDEMARK_AGGREGATOR_CACHE_TARGETS": "1000"}

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]


@pytest.fixture
def disturbed(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    yield from make_backend(engines, tmp_path_factory)


@pytest.fixture
def undisturbed(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    yield from make_backend(engines, tmp_path_factory)


def _register(backend: Backend, work: Workload, at: int) -> None:
    for channel in range(work.channels):
        tenant = work.workspace(channel)
        event = CatalogChannel(tenant, f"c{channel}", "x", f"e{channel}", "name", "active", None, at)
        value = backend.codec("catalog.channels").encode(event)
        backend.publish("catalog.channels", key(tenant, f"c{channel}"), tenant, value)
    for tenant, post_id, published_at, targets in work.posts(at):
        post = CatalogPost(tenant, post_id, "published", published_at, published_at, tuple(targets), at)
        backend.publish("catalog.posts", key(tenant, post_id), tenant, backend.codec("catalog.posts").encode(post))
    backend.flush()


def _state(backend: Backend) -> dict[str, Sequence[Any]]:
    """Everything that an undisturbed run would end in, as plain rows."""
    ids = "workspace_id, post_id"
    return {
        "latest": backend.clickhouse.query(
            "SELECT workspace_id, target_id, post_id, channel_id, captured_at, impressions, likes, comments, shares, "
            "saves, clicks FROM latest_post_metrics ORDER BY workspace_id, target_id"
        ).result_rows,
        "posts": backend.clickhouse.query(
            f"SELECT {ids}, captured_at, impressions, likes, comments, shares, saves FROM post_totals ORDER BY {ids}"
        ).result_rows,
        "snapshots": backend.clickhouse.query(
            "SELECT count(), uniqExact(event_id), sum(likes), sum(impressions) FROM post_snapshots"
        ).result_rows,
        "raw": backend.clickhouse.query("SELECT count(), uniqExact(event_id) FROM raw_events").result_rows,
        "rollups": sorted(
            (at, record["likes"], record["impressions"]) for at, record in backend.latest("rollups.posts").items()
        ),
    }


def _feed(backend: Backend, work: Workload, at: int, seconds: float) -> None:
    """Publish all events over about this time, every seventh of them twice."""
    pause = seconds / max(1, work.events)
    for index, event in enumerate(work.raw(at)):
        backend.publish_raw(event)
        if index % 7 == 0:
            backend.publish_raw(event)
        if index % 200 == 0:
            backend.flush()
        time.sleep(pause)
    backend.flush()


def _wait_for_all(backend: Backend, work: Workload, seconds: float) -> None:
    def stored() -> int:
        return int(backend.rows("SELECT count() AS n FROM post_snapshots")[0]["n"])

    wait_until(
        lambda: stored() == work.snapshots,
        seconds,
        lambda: f"{stored()} of {work.snapshots} stored; {backend.log_tail(WORKERS[0])}",
    )


def test_fifty_kills_end_as_an_undisturbed_run(disturbed: Backend, undisturbed: Backend) -> None:
    work = Workload(SNAPSHOTS, channels=160, workspaces=32)
    at = now_ms() - 3_600_000
    chance = random.Random(11)
    for backend in (disturbed, undisturbed):
        _register(backend, work, at)
    for name in WORKERS:
        disturbed.start_aggregator(name, SMALL_MEMORY)
    feeder = threading.Thread(target=_feed, args=(disturbed, work, at, KILLS * 3.0))
    feeder.start()
    for number in range(KILLS):
        name = chance.choice(WORKERS)
        if number % 5 == 4:
            # Frozen past its session: another worker takes over, and the frozen one wakes to find itself fenced.
            disturbed.freeze_aggregator(name, seconds=8)
        disturbed.kill_aggregator(name, signal.SIGKILL)
        disturbed.start_aggregator(name, SMALL_MEMORY)
    feeder.join()
    _wait_for_all(disturbed, work, 300)
    undisturbed.start_aggregator()
    _feed(undisturbed, work, at, 0)
    _wait_for_all(undisturbed, work, 300)
    expected = _state(undisturbed)
    seen: dict[str, Sequence[Any]] = {}

    def settled() -> bool:
        seen.update(_state(disturbed))
        return seen == expected

    wait_until(settled, 60, lambda: str([name for name in expected if seen[name] != expected[name]]))
    settings = AuditSettings.model_validate(disturbed.settings.model_dump())
    # Long enough for windows that run out while it looks.
    options = Options(None, retries=10, grace_seconds=2)
    assert list(audit(settings, options, SystemClock(), lambda *_: None, Summary())) == []
