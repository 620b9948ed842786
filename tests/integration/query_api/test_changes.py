"""Changes and their stream on real Kafka, registry and ClickHouse, of a service with two workers that share a store."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from schemas.topic_names import TOPICS_OF_CHANGES
from services.runtime.clock import MILLIS_PER_DAY, SystemClock, iso_millis
from services.runtime.cursors import CursorText, Place
from services.runtime.settings import KafkaSettings
from services.runtime.topics import incarnation
from tests.integration.query_api.rollups import Topics
from tests.integration.query_api.rows import Store
from tests.integration.query_api.running import ADMIN, CHANNEL, Workers
from tests.support.query_api import SECRET_KEY
from tests.support.waiting import wait_until
from tidemark_client import Tidemark

CHANGES = "/tidemark/v1/changes"
STREAM = "/tidemark/v1/stream"
MOVING = ("age_seconds", "tier", "next_poll_at")
SECONDS = 30


@pytest.fixture
def workers(store_workers: Workers) -> Workers:
    return store_workers


class Reader:
    """A workspace and what is read of it."""

    def __init__(self, workers: Workers, topics: Topics, tables: Store, name: str) -> None:
        self.workers = workers
        self.topics = topics
        self.tables = tables
        self.name = name
        self.key_id, self.headers = workers.make_key(name)
        self.base = f"/admin/v1/workspaces/{name}"

    @property
    def origin(self) -> str:
        return str(self.workers.client.base_url)

    def put_channel(self, channel_id: str = "c1", **more: Any) -> None:
        body = {**CHANNEL, "platform": "bluesky", **more}
        reply = self.workers.client.put(f"{self.base}/channels/{channel_id}", json=body, headers=ADMIN)
        assert reply.status_code == 200, reply.text

    def put_post(self, post_id: str = "p1", likes: int = 1) -> None:
        target = {
            "target_id": f"t-{post_id}", "channel_id": "c1", "status": "published", "external_id": "7",
            "published_at": iso_millis(SystemClock().now() - MILLIS_PER_DAY),
        }  # fmt: skip
        body = {"status": "published", "targets": [target]}
        assert self.workers.client.put(f"{self.base}/posts/{post_id}", json=body, headers=ADMIN).status_code == 200
        self.topics.figures(self.name, post_id, f"t-{post_id}", likes)

    def ask(self, query: str = "", headers: dict[str, str] | None = None) -> httpx.Response:
        return self.workers.ask(f"{CHANGES}{query}", headers or self.headers)

    def page(self, query: str = "") -> Any:
        reply = self.ask(query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def until(self, mirror: Mirror, told: dict[tuple[str, str], Any]) -> None:
        """Read on until a mirror holds something of each of these, and nothing else."""

        def is_held() -> bool:
            mirror.read(self)
            return {key: _part(mirror.held[key], told.get(key)) for key in mirror.held} == told

        wait_until(is_held, SECONDS, lambda: f"{mirror.held} {self.workers.log.read_text()[-2000:]}")


def _part(data: Any, like: Any) -> Any:
    """The fields of data that something else has as well."""
    return {name: data[name] for name in like} if isinstance(like, dict) else data


class Mirror:
    """Whoever applies all changes in order."""

    def __init__(self, cursor: str = "") -> None:
        self.cursor = cursor
        self.held: dict[tuple[str, str], Any] = {}

    def read(self, reader: Reader, limit: int = 3) -> dict[tuple[str, str], Any]:
        """Read to the end; returns what is held then."""
        has_more = True
        while has_more:
            page = reader.page(f"?limit={limit}&cursor={self.cursor}")
            for change in page["changes"]:
                self.apply(change)
            self.cursor, has_more = page["next_cursor"], page["has_more"]
        return self.held

    def apply(self, change: Any) -> None:
        key = (change["type"], change["id"])
        assert change["deleted"] is (change["data"] is None)
        if change["deleted"]:
            self.held.pop(key, None)
        else:
            self.held[key] = change["data"]


@pytest.fixture
def reader(workers: Workers, topics: Topics, tables: Store, request: pytest.FixtureRequest) -> Reader:
    name = f"changes-{abs(hash(request.node.name)) % 10**8}"
    workers.wait_for_two()
    made = Reader(workers, topics, tables, name)
    made.put_channel()
    topics.window(name, "c1", 1)
    return made


def without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_clock(part) for name, part in value.items() if name not in MOVING}
    return [without_clock(part) for part in value] if isinstance(value, list) else value


def likes_in(data: Any) -> Any:
    return data["metrics"]["likes"]


def test_a_mirror_holds_what_the_api_says(reader: Reader) -> None:
    mirror, late = Mirror(), Mirror()
    channel = ("channel", "c1")
    post = ("post", "p1")
    reader.until(mirror, {channel: {"username": "tide"}})
    reader.put_post(likes=11)
    reader.until(mirror, {channel: {"username": "tide"}, post: {"status": "published"}})
    assert likes_in(mirror.held[post]) == 11
    reader.topics.figures(reader.name, "p1", "t-p1", 12)
    wait_until(lambda: likes_in(mirror.read(reader)[post]) == 12, SECONDS, str(mirror.held))
    said = reader.workers.ask("/tidemark/v1/posts/p1", reader.headers).json()
    assert mirror.held[post] == without_clock(said)
    assert mirror.held[post]["reasons"]["reach"] == "not_supported"
    # Its channel has no token.
    assert mirror.held[post]["reasons"]["comments"] == "permission"
    # A poll that failed: the aggregator stores the answer, and tells the same figures again.
    reader.tables.raw_event(
        reader.name, "e-failed", "bluesky", [("t-p1", "7")], {"title": "down"}, http_status=503,
        captured_at=iso_millis(SystemClock().now()), ingested_at=iso_millis(SystemClock().now()),
    )  # fmt: skip
    reader.topics.figures(reader.name, "p1", "t-p1", 12)
    wait_until(lambda: mirror.read(reader)[post]["reasons"]["comments"] == "error", SECONDS, str(mirror.held))
    reader.put_channel(username="new")
    reader.until(mirror, {channel: {"username": "new"}, post: {"status": "published"}})
    assert reader.workers.client.delete(f"{reader.base}/posts/p1", headers=ADMIN).status_code == 204
    reader.until(mirror, {channel: {"username": "new"}})
    reader.put_post("p2", likes=5)
    reader.until(mirror, {channel: {"username": "new"}, ("post", "p2"): {"id": "p2"}})
    assert reader.workers.client.delete(f"{reader.base}/channels/c1", headers=ADMIN).status_code == 204
    reader.topics.figures(reader.name, "p2", "t-p2", 5)
    reader.until(mirror, {("post", "p2"): {"targets": []}})
    late.read(reader)
    assert late.held == mirror.held


def test_types_and_waits(reader: Reader) -> None:
    reader.put_post(likes=1)
    reader.until(Mirror(), {("channel", "c1"): {"id": "c1"}, ("post", "p1"): {"id": "p1"}})
    assert [change["type"] for change in reader.page("?types=post")["changes"]] == ["post"]
    cursor = reader.page("?cursor=now")["next_cursor"]
    found: list[Any] = []
    began = time.monotonic()
    waiting = threading.Thread(target=lambda: found.append(reader.page(f"?wait=20&cursor={cursor}")))
    waiting.start()
    reader.topics.figures(reader.name, "p1", "t-p1", 3)
    waiting.join(SECONDS)
    assert [likes_in(change["data"]) for change in found[0]["changes"]] == [3]
    assert time.monotonic() - began < 15


def test_cursors_of_others_and_of_old_are_refused(
    reader: Reader, workers: Workers, topics: Topics, tables: Store, kafka_settings: KafkaSettings
) -> None:
    other = Reader(workers, topics, tables, f"{reader.name}-other")
    mine = reader.page()["next_cursor"]
    for path in (CHANGES, STREAM):
        reply = workers.ask(f"{path}?cursor={mine}", other.headers)
        assert (reply.status_code, reply.json()["code"]) == (422, "invalid_parameter")
        reply = workers.ask(path, {**other.headers, "last-event-id": mine}) if path == STREAM else reply
        assert reply.status_code == 422
    cursors, now = CursorText([SECRET_KEY]), SystemClock().now()
    names = incarnation(kafka_settings, TOPICS_OF_CHANGES)
    place = Place((0,) * 5, (0,) * 5)
    assert reader.ask(f"?cursor={cursors.written(reader.name, place, now, names)}").status_code == 200
    old = cursors.written(reader.name, place, now - 91 * MILLIS_PER_DAY, names)
    for path in (CHANGES, STREAM):
        reply = workers.ask(f"{path}?cursor={old}", reader.headers)
        assert (reply.status_code, reply.json()["code"]) == (410, "cursor_expired")


def test_a_stream_resumes_at_the_other_worker(reader: Reader) -> None:
    reader.put_post(likes=1)
    reader.put_post("p2", likes=2)
    workers = reader.workers
    everything = {("channel", "c1"): {"id": "c1"}, ("post", "p1"): {"id": "p1"}, ("post", "p2"): {"id": "p2"}}
    reader.until(Mirror(), everything)
    last, seen, mirror = "", 0, Mirror()
    first, second = workers.pids()
    for asleep in (first, second, first):
        # The worker that is asleep accepts nothing.
        with workers.without(asleep), httpx.Client(timeout=SECONDS, headers=reader.headers) as client:
            headers = {"Last-Event-ID": last} if last else {}
            with connect_sse(client, "GET", f"{reader.origin}{STREAM}", headers=headers) as source:
                assert source.response.headers["content-type"] == "text/event-stream"
                for event in source.iter_sse():
                    change = json.loads(event.data)
                    assert change["type"] == event.event
                    mirror.apply(change)
                    last, seen = event.id, seen + 1
                    break
    assert seen == 3
    assert set(mirror.held) == set(everything), "three events, and none twice"


def test_curl_reads_the_stream_and_the_key_ends_it(reader: Reader) -> None:
    curl = shutil.which("curl")
    assert curl is not None
    key_id, headers = reader.workers.make_key(reader.name)
    process = subprocess.Popen(
        [curl, "-sN", "-H", f"x-api-key: {headers['x-api-key']}", f"{reader.origin}{STREAM}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == ":\n"
        lines = [process.stdout.readline() for _ in range(4)]
        assert [line.partition(":")[0] for line in lines] == ["id", "event", "data", "\n"]
        revoked = reader.workers.client.delete(f"{reader.base}/keys/{key_id}", headers=ADMIN)
        assert revoked.status_code == 204
        assert process.wait(10) == 0, "a whole reply"
    finally:
        process.kill()
        process.stdout.close()  # type: ignore[union-attr]


def test_the_typed_client_follows_over_a_restart(reader: Reader) -> None:
    """The last of this file: it ends both workers while somebody reads a stream."""
    reader.put_post(likes=1)
    seen: list[tuple[str, Any]] = []
    is_over = threading.Event()

    def follow() -> None:
        with Tidemark(reader.origin, reader.headers["x-api-key"]) as client:
            for change in client.stream(types=("post",)):
                seen.append((change.id, change.data and change.data["metrics"]["likes"]))
                if is_over.is_set():
                    return

    following = threading.Thread(target=follow)
    following.start()
    wait_until(lambda: ("p1", 1) in seen, SECONDS, lambda: str(seen))
    # On the same port, as a deployed service is started again.
    port = reader.workers.client.base_url.port
    began = time.monotonic()
    assert reader.workers.stop() == 0
    assert time.monotonic() - began < 8, "streams end with the server"
    reader.topics.figures(reader.name, "p1", "t-p1", 2)
    reader.workers.environment["TIDEMARK_QUERY_API_PORT"] = str(port)
    reader.workers.log.write_text("")
    reader.workers.start()
    reader.workers.wait_until_ready()
    wait_until(lambda: ("p1", 2) in seen, SECONDS, lambda: f"{seen} {reader.workers.log.read_text()[-2000:]}")
    is_over.set()
    reader.topics.figures(reader.name, "p1", "t-p1", 3)
    following.join(SECONDS)
    assert not following.is_alive()
    assert [likes for _, likes in seen] == sorted(likes for _, likes in seen)
