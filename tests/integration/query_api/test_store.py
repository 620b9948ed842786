"""The service's own store on real Kafka and registry: all that is read of it, with nothing in ClickHouse.

Two workers share it. The tables stay empty, so whatever shows a post has it from the topics.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from services.query_api.store.files import Folder
from tests.integration.query_api.rollups import Topics
from tests.integration.query_api.running import ADMIN, CHANNEL, Workers
from tests.support.waiting import wait_until

POST = "/api/v1/posts/p1/insights"
WINDOW = "/api/v1/channels/c1/insights?range=7d"
SECONDS = 30


@pytest.fixture
def workers(store_workers: Workers) -> Workers:
    return store_workers


def made(workers: Workers, topics: Topics, workspace: str) -> dict[str, str]:
    """A workspace with a post of eleven likes; returns the headers of its key."""
    headers = workers.make_key(workspace)[1]
    base = f"/admin/v1/workspaces/{workspace}"
    post = {"status": "published", "targets": [{"target_id": "t1", "channel_id": "c1", "status": "published"}]}
    assert workers.client.put(f"{base}/channels/c1", json=CHANNEL, headers=ADMIN).status_code == 200
    assert workers.client.put(f"{base}/posts/p1", json=post, headers=ADMIN).status_code == 200
    topics.figures(workspace, "p1", "t1", 11)
    shows(workers, headers, 11)
    return headers


def shows(workers: Workers, headers: dict[str, str], likes: int, path: str = POST) -> None:
    """Wait until each worker shows this many likes."""

    def is_shown() -> bool:
        return likes_of(workers, headers, path) == likes

    # Both run until it is stored: a frozen worker may be the one that fills the store.
    wait_until(is_shown, SECONDS, workers.log.read_text)
    for pid in workers.pids():
        with workers.without(pid):
            wait_until(is_shown, SECONDS, workers.log.read_text)


def likes_of(workers: Workers, headers: dict[str, str], path: str = POST) -> int | None:
    reply = workers.ask(path, headers)
    return None if reply.status_code == 404 else int(reply.json()["totals"]["likes"])


def item_likes_of(workers: Workers, headers: dict[str, str]) -> int | None:
    reply = workers.ask("/api/v1/post-items/t1/analytics", {**headers, "x-workspace-id": "own1"})
    return None if reply.status_code == 404 else int(reply.json()["metrics"]["likes"])


def writer_of(workers: Workers) -> int:
    """The worker that has opened the store for writing."""
    lock = str(Path(workers.environment["TIDEMARK_STORE_DIR"]) / "writer.lock")
    for pid in workers.pids():
        if any(entry.path == lock for entry in psutil.Process(pid).open_files()):
            return pid
    raise AssertionError("nobody writes the store")


def test_every_worker_shows_what_the_topics_say(workers: Workers, topics: Topics) -> None:
    workers.wait_for_two()
    headers = made(workers, topics, "own1")
    # Posts and windows come by two topics: a post that is shown tells nothing about windows. Until the window comes,
    # ClickHouse is asked, which is empty; that answer is not kept for longer.
    shows(workers, headers, 0, WINDOW)
    topics.window("own1", "c1", 12)
    shows(workers, headers, 12, WINDOW)
    wait_until(lambda: item_likes_of(workers, headers) == 11, SECONDS, workers.log.read_text)
    topics.figures("own1", "p1", "t1", 13)
    shows(workers, headers, 13)
    assert workers.client.delete("/admin/v1/workspaces/own1/posts/p1", headers=ADMIN).status_code == 204
    wait_until(lambda: likes_of(workers, headers) is None, SECONDS, workers.log.read_text)


def test_a_worker_that_dies_writing_is_followed_by_another(workers: Workers, topics: Topics) -> None:
    workers.wait_for_two()
    headers = made(workers, topics, "own2")
    os.kill(writer_of(workers), signal.SIGKILL)
    topics.figures("own2", "p1", "t1", 21)
    wait_until(lambda: likes_of(workers, headers) == 21, SECONDS, workers.log.read_text)
    workers.wait_for_two()
    topics.figures("own2", "p1", "t1", 22)
    shows(workers, headers, 22)


def test_a_restart_goes_on_where_it_was(workers: Workers, topics: Topics) -> None:
    workers.wait_for_two()
    headers = made(workers, topics, "own3")
    before = Folder(Path(workers.environment["TIDEMARK_STORE_DIR"])).current()
    workers.stop()
    topics.figures("own3", "p1", "t1", 31)
    workers.log.write_text("")
    workers.start()
    workers.wait_until_ready()
    # One worker was asked whether it is ready; the other may still open the store, and asks ClickHouse until then.
    shows(workers, headers, 31)
    assert Folder(Path(workers.environment["TIDEMARK_STORE_DIR"])).current() == before
    assert "the store is filled" not in workers.log.read_text()
