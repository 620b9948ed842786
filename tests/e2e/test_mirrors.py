"""Mirrors of changes equal the API, whatever was killed, rebuilt or restarted while they were read.

Two query APIs with a store each, on the engines of one Tidemark. Query APIs, aggregator, broker and ClickHouse are
killed, and everything is rebuilt once. Mirrors begin at different cursors, read pages from
either API in turn or a stream, and are cut off at any time. TIDEMARK_TEST_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.query_api.running import Service
from tests.support.brute_force import CHANNELS, POSTS, World
from tests.support.tidemark import RawPublisher, Tidemark
from tests.support.waiting import wait_until
from tidemark_client import Tidemark as Client
from tidemark_client import TidemarkError

SEED = int(os.environ.get("TIDEMARK_TEST_SEED") or secrets.randbelow(10**6))
STEPS = 60
SECONDS = 120
MOVING = ("age_seconds", "tier", "next_poll_at")
SECRET_KEYS = secrets.token_urlsafe(32)

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]

Thing = tuple[str, str]


@pytest.fixture
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tidemark]:
    """A Tidemark of this file's own, without a poller: nobody else speaks of the channels."""
    if request.config.getoption("--engines") != "embedded":
        pytest.skip("runs `tidemark up`, which has engines of its own: --engines=embedded only")
    made = Tidemark(tmp_path_factory.mktemp("mirrors"), {"TIDEMARK_SECRET_KEYS": SECRET_KEYS})
    made.start("--without", "poller")
    yield made
    made.stop()


@pytest.fixture
def environment(running: Tidemark) -> dict[str, str]:
    """What a process beside the Tidemark is told."""
    ready = running.ready
    return {
        "TIDEMARK_KAFKA_BOOTSTRAP": ready["kafka"],
        "TIDEMARK_SCHEMA_REGISTRY_URL": ready["schema_registry"],
        "TIDEMARK_CLICKHOUSE_URL": ready["clickhouse"],
        "TIDEMARK_ADMIN_KEY": ready["admin_key"],
        "TIDEMARK_SECRET_KEYS": SECRET_KEYS,
    }


@pytest.fixture
def second(environment: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    """Another query API, with a store of its own."""
    more = {"TIDEMARK_STORE_DIR": str(tmp_path / "store"), "TIDEMARK_QUERY_API_PORT": "0"}
    made = Service({**environment, **more}, tmp_path / "second.log")
    made.start()
    made.wait_until_ready()
    # Where it is started anew, it has to be where it was.
    made.environment["TIDEMARK_QUERY_API_PORT"] = str(made.client.base_url.port)
    yield made
    made.stop()


class Mirror:
    """Whoever applies all changes in order; what comes must never be older than what is held."""

    def __init__(self, cursor: str = "") -> None:
        self.cursor = cursor
        self.held: dict[Thing, Any] = {}
        self.applied = 0
        self._steady = -1

    def apply(self, change: Any) -> None:
        thing = (change["type"], change["id"])
        before, data = self.held.get(thing), change["data"]
        assert change["deleted"] is (data is None)
        if before is not None and data is not None and thing[0] != "account":
            assert data["updated_at"] >= before["updated_at"], f"seed {SEED}: {thing} is older than before"
        if thing == ("post", "steady") and data is not None and data["metrics"]["likes"] is not None:
            assert data["metrics"]["likes"] >= self._steady, f"seed {SEED}: figures are older than before"
            self._steady = data["metrics"]["likes"]
        if data is None:
            self.held.pop(thing, None)
        else:
            self.held[thing] = data
        self.applied += 1


class Follower:
    """Reads a mirror on in a thread, until it is stopped; errors of assertions end the thread, and the test."""

    def __init__(self, read: Callable[[threading.Event], None]) -> None:
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._read = read
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._read(self._stop)
        except BaseException as error:
            self.error = error

    def ask_to_stop(self) -> None:
        """Let it end with what it reads next; a stream waits for that."""
        self._stop.set()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert self.error is None, self.error
        assert not self._thread.is_alive()


def paged(mirror: Mirror, origins: list[str], key: str, chance: random.Random) -> Callable[[threading.Event], None]:
    """Reads pages from any of the APIs, of any size; whoever does not answer is asked again."""

    def read(stop: threading.Event) -> None:
        with httpx.Client(headers={"x-api-key": key}, timeout=20, trust_env=False) as client:
            while not stop.is_set():
                asked = {
                    "limit": chance.choice((1, 2, 5, 1_000)),
                    "cursor": mirror.cursor,
                    "wait": chance.choice((0, 1)),
                }
                try:
                    reply = client.get(f"{chance.choice(origins)}/tidemark/v1/changes", params=asked)
                except httpx.TransportError:
                    stop.wait(0.1)
                    continue
                if reply.status_code in (429, 503):
                    stop.wait(0.2)
                    continue
                assert reply.status_code == 200, reply.text
                page = reply.json()
                for change in page["changes"]:
                    mirror.apply(change)
                mirror.cursor = page["next_cursor"]

    return read


def streamed(mirror: Mirror, origin: str, key: str, chance: random.Random) -> Callable[[threading.Event], None]:
    """Reads a stream by the typed client, from a new connection after some changes."""

    def read(stop: threading.Event) -> None:
        while not stop.is_set():
            with Client(origin, key) as client:
                try:
                    for left, change in enumerate(client.stream(mirror.cursor or None), -chance.randrange(5, 80)):
                        mirror.apply({**change.model_dump(include={"type", "id", "deleted"}), "data": change.data})
                        assert change.cursor is not None
                        mirror.cursor = change.cursor
                        if stop.is_set() or left >= 0:
                            break
                except TidemarkError as error:
                    if not error.may_pass:
                        raise

    return read


def without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_clock(part) for name, part in value.items() if name not in MOVING}
    return [without_clock(part) for part in value] if isinstance(value, list) else value


class Workspace:
    """What is written to one workspace, and what an API says of it."""

    def __init__(self, running: Tidemark, second: Service, chance: random.Random) -> None:
        self.name = f"mirrors-{SEED}-{secrets.token_hex(2)}"
        self._running = running
        self._second = second
        self._chance = chance
        self._world = World(self.name, chance.randrange(2**32), int(time.time() * 1000) // 1000 * 1000)
        self._number = 0
        self.publisher = RawPublisher(running.ready)
        body = {"scopes": ["analytics:read"], "style": "tidemark"}
        self.key: str = running.admin("POST", f"/admin/v1/workspaces/{self.name}/keys", body).json()["key"]
        for origin in self.origins:
            # The key works at once where it was made, and everywhere soon.
            wait_until(lambda at=origin: self._opens(at), SECONDS, f"{origin} knows the key")  # type: ignore[misc]
        self._put("channels", "steady", {"platform": "bluesky", "external_id": "did:plc:s", "status": "active"})
        published = datetime.fromtimestamp(time.time() - 3600, UTC).isoformat()
        target = {"target_id": "steady", "channel_id": "steady", "status": "published", "external_id": "at://s"}
        self._put("posts", "steady", {"status": "published", "published_at": published, "targets": [target]})

    @property
    def origins(self) -> list[str]:
        return [self._running.ready["query_api"], str(self._second.client.base_url).rstrip("/")]

    def _opens(self, origin: str) -> bool:
        return httpx.get(f"{origin}/tidemark/v1/usage", headers={"x-api-key": self.key}, trust_env=False).is_success

    def _put(self, kind: str, thing: str, body: dict[str, Any] | None) -> None:
        path = f"/admin/v1/workspaces/{self.name}/{kind}/{thing}"

        def is_written() -> bool:
            try:
                reply = self._running.admin("DELETE" if body is None else "PUT", path, body)
            except httpx.TransportError:
                return False
            return reply.is_success or (body is None and reply.status_code == 404)

        wait_until(is_written, SECONDS, lambda: f"{kind} can be written; {self._running.log()}")

    def touch(self) -> None:
        """Change something that every reader is told of."""
        self._put("channels", "steady", {"platform": "bluesky", "external_id": "did:plc:s", "status": "disabled"})

    def step(self) -> None:
        """One write, or one answer: figures, a failure, a channel's own figures, or its failure."""
        chance = self._chance.random()
        if chance < 0.3:
            kind, thing, body = self._world.write()
            if kind == "channels" and body is not None:
                # Reasons follow the status.
                body = {**body, "status": self._chance.choice(("active", "disabled", "token_expired"))}
            self._put(kind, thing, body)
            return
        event = self._world.answer()
        if chance > 0.6:
            self._number += 1
            event = self._other(event)
        self.publisher.publish(event)

    def _other(self, event: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC)
        event_id = f"{self.name}-{self._number:06d}"
        match self._chance.randrange(4):
            case 0:
                failed = {"http_status": self._chance.choice((401, 403, 500, 503)), "body": b'{"title":"no"}'}
                return {**event, **failed, "event_id": event_id, "captured_at": now}
            case 1:
                body = b'{"data":{"id":"9","public_metrics":{"followers_count":%d}}}' % self._number
                about = {"kind": "CHANNEL_METRICS", "endpoint": "/2/users/9", "targets": [], "body": body}
                return {**event, **about, "event_id": event_id, "captured_at": now}
            case 2:
                about = {"kind": "CHANNEL_METRICS", "endpoint": "/2/users/9", "targets": [], "body": b"{}"}
                return {**event, **about, "event_id": event_id, "captured_at": now, "http_status": 503}
            case _:
                post = b'{"posts":[{"uri":"at://s","likeCount":%d}]}' % self._number
                target = {"target_id": "steady", "post_id": "steady", "external_id": "at://s"}
                return {
                    **event, "event_id": event_id, "channel_id": "steady", "platform": "bluesky", "targets": [target],
                    "endpoint": "/xrpc/app.bsky.feed.getPosts", "body": post, "captured_at": now,
                }  # fmt: skip

    def said(self, origin: str) -> dict[Thing, Any] | None:
        """What an API says of everything, without what moves with the clock; None while it, or ClickHouse, is away."""
        found = {}
        with httpx.Client(base_url=origin, headers={"x-api-key": self.key}, timeout=30, trust_env=False) as client:
            for kind, ids in (("post", (*POSTS, "steady")), ("channel", (*CHANNELS, "steady"))):
                for id_ in ids:
                    try:
                        reply = client.get(f"/tidemark/v1/{kind}s/{id_}")
                    except httpx.TransportError:
                        return None
                    if reply.status_code == 503:
                        return None
                    assert reply.status_code in (200, 404), reply.text
                    if reply.status_code == 200:
                        found[(kind, id_)] = without_clock(reply.json())
        return found


def rebuild(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "rebuild", "--handover-seconds", "120"],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def kill(service: Service) -> None:
    """SIGKILL, and started anew at the same address."""
    assert service.process is not None
    service.process.send_signal(signal.SIGKILL)
    service.process.wait(20)
    service.start()


def test_mirrors_equal_the_api_in_the_end(running: Tidemark, second: Service, environment: dict[str, str]) -> None:
    chance = random.Random(SEED)
    space = Workspace(running, second, chance)
    disturbances: list[Callable[[], object]] = [
        lambda: running.kill("aggregator"),
        lambda: running.kill("query_api"),
        lambda: running.kill("kafka"),
        lambda: kill(second),
        lambda: running.kill("clickhouse"),
        lambda: rebuild(environment),
        # The broker goes while a replica reads its topics anew, and ClickHouse while the aggregator comes back.
        lambda: (running.kill("query_api"), running.kill("kafka")),
        lambda: (running.kill("aggregator"), running.kill("clickhouse")),
    ]
    mirrors: list[Mirror] = []
    followers: list[Follower] = []

    def begin(read: Callable[[Mirror, random.Random], Callable[[threading.Event], None]]) -> None:
        mirror = Mirror()
        mirrors.append(mirror)
        followers.append(Follower(read(mirror, random.Random(chance.randrange(2**32)))))

    both = space.origins
    begin(lambda mirror, own: paged(mirror, both, space.key, own))
    begin(lambda mirror, own: streamed(mirror, both[0], space.key, own))
    for disturb in disturbances:
        with ThreadPoolExecutor(1) as beside:
            for number in range(STEPS):
                space.step()
                if number == STEPS // 3:
                    done = beside.submit(disturb)
            done.result(500)
        # Whoever begins later is first told all that exists, and then what others are told as well.
        begin(lambda mirror, own: paged(mirror, both, space.key, own))
        begin(lambda mirror, own: streamed(mirror, both[1], space.key, own))
    for _ in range(STEPS):
        space.step()
    space.publisher.flush()
    seen: list[str] = []

    def all_equal() -> bool:
        broken = [follower.error for follower in followers if follower.error is not None]
        assert not broken, broken
        first, other = (space.said(origin) for origin in space.origins)
        if first is None or other is None:
            seen[:] = ["an API does not answer yet"]
            return False
        seen[:] = differences(first, other, "the other API")
        for number, mirror in enumerate(mirrors):
            seen[:] += differences(first, mirror.held, f"mirror {number} of {len(mirrors)}")
        return not seen

    wait_until(all_equal, SECONDS, lambda: f"seed {SEED}: {seen[:3]}; {running.log('aggregator')}")
    for follower in followers:
        follower.ask_to_stop()
    space.touch()
    for follower in followers:
        follower.stop()
    assert all(mirror.applied >= len(mirror.held) > 0 for mirror in mirrors)


def differences(expected: dict[Thing, Any], found: dict[Thing, Any], whose: str) -> list[str]:
    """Where something that is held is not what the API says."""
    told = {thing: data for thing, data in found.items() if thing[0] != "account"}
    return [
        f"{whose}: {thing} is {told.get(thing)}, and the API says {expected.get(thing)}"
        for thing in {*expected, *told}
        if expected.get(thing) != told.get(thing)
    ]
