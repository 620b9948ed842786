"""Several workers on one port, as processes on real Kafka, registry and ClickHouse.

A worker that is frozen accepts nothing, so the other answers: that is how a test picks one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from services.runtime.settings import KafkaSettings
from tests.integration.query_api.rows import Store
from tests.integration.query_api.running import ADMIN, CHANNEL, Workers, environment_of, running_workers
from tests.support.engines import Engines
from tests.support.query_api import target, values
from tests.support.waiting import wait_until

POST = "/api/v1/posts/p1/insights"


@pytest.fixture(scope="module")
def workers(
    engines: Engines, kafka_settings: KafkaSettings, tables: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    """Two workers of this file's own, on the topics and tables of all; each test leaves two behind."""
    environment = environment_of(engines, kafka_settings, tables)
    log = tmp_path_factory.mktemp("workers") / "workers.log"
    yield from running_workers({**environment, "TIDEMARK_QUERY_API_WORKERS": "2"}, log)


def test_what_one_worker_wrote_the_other_knows(workers: Workers, store: Store) -> None:
    first, second = workers.wait_for_two()
    with workers.without(second):
        _, headers = workers.make_key("w1")
        workers.client.close()
    workers.client = httpx.Client(base_url=workers.client.base_url, timeout=20)
    with workers.without(first):
        assert workers.ask(POST, headers).status_code == 404  # a key that it does not know reads 401
        key_id, _ = workers.make_key("w1")
        workers.client.close()
    workers.client = httpx.Client(base_url=workers.client.base_url, timeout=20)
    with workers.without(second):
        path = f"/admin/v1/workspaces/w1/keys/{key_id}"
        assert workers.client.delete(path, headers=ADMIN).status_code == 204
        put = workers.client.put("/admin/v1/workspaces/w1/channels/c1", json=CHANNEL, headers=ADMIN)
        assert put.status_code == 200
    store.post("w1", "p1", [target("t1", values=values(views=7), captured_at=1_000)])
    for frozen in (first, second):
        with workers.without(frozen):
            wait_until(lambda: workers.ask(POST, headers).json()["totals"]["views"] == 7, 2, "the channel is known")
            assert workers.ask(POST, {"x-api-key": "nobody's"}).status_code == 401


def test_metrics_are_of_all_workers_and_outlive_one(workers: Workers) -> None:
    first, second = workers.wait_for_two()
    _, headers = workers.make_key("w1")

    def counted_by_both() -> float:
        # A worker tells its own counts each second, and when it is asked.
        for frozen in (first, second):
            with workers.without(frozen):
                assert workers.ask("/metrics", ADMIN).status_code == 200
        return workers.counted(404)

    before = counted_by_both()
    for frozen, times in ((first, 2), (second, 3)):
        with workers.without(frozen):
            for _ in range(times):
                assert workers.ask(POST, headers).status_code == 404
    assert counted_by_both() == before + 5
    # It dies while its supervisor, which looks twice a second, waits for its answer.
    with workers.without(first):
        frozen_at = time.monotonic()
        while time.monotonic() < frozen_at + 1.5:
            assert workers.ask(POST, headers).status_code == 404
        psutil.Process(first).kill()
    # Nobody is refused meanwhile, and whoever replaces it knows the keys before it answers.
    deadline = time.monotonic() + 50
    while not (len(workers.pids()) == 2 and first not in workers.pids()):
        assert workers.ask(POST, headers).status_code == 404
        assert time.monotonic() < deadline, workers.log.read_text()[-3000:]
    wait_until(lambda: workers.counted(404) > before + 5, 20, "those that came meanwhile are counted")
    with workers.without(second):
        assert workers.ask(POST, headers).status_code == 404
        assert "tidemark_query_api_cache_bytes 0.0" in workers.ask("/metrics", ADMIN).text


@pytest.mark.long
def test_workers_that_start_slowly_are_waited_for(workers: Workers, tmp_path: Path) -> None:
    workers.stop()
    # Read by every Python as it starts; a busy machine's imports take as long.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\nif '--multiprocessing-fork' in sys.orig_argv:\n    time.sleep(6)\n"
    )
    workers.log.write_text("")
    workers.environment["PYTHONPATH"] = str(tmp_path)
    workers.start()
    workers.wait_until_ready()
    workers.wait_for_two()
    assert "died" not in workers.log.read_text()
    del workers.environment["PYTHONPATH"]


def test_all_end_with_a_stop_and_start_again(workers: Workers) -> None:
    pids = workers.wait_for_two()
    assert workers.stop() == 0
    assert not any(psutil.pid_exists(pid) for pid in pids)
    workers.log.write_text("")
    workers.start()
    workers.wait_until_ready()
    workers.wait_for_two()
    assert "died" not in workers.log.read_text()


def test_all_workers_end_with_their_supervisor(workers: Workers) -> None:
    pids = workers.wait_for_two()
    assert workers.process is not None
    workers.process.send_signal(signal.SIGKILL)
    workers.process.wait()
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 15, "the workers of a killed supervisor end")
