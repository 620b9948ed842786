"""Live answers: fresh from the platforms, shared by whoever asks at once, and stored ones where that fails."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from infra.sandbox.ids import make_id
from tests.support.loopback import LOOPBACK
from tests.support.tidemark import Tidemark
from tests.support.waiting import wait_until

HOUR = 3_600_000
# How long a live answer waits for its platform unless told, and how long a slow one takes.
DEADLINE_SECONDS = 4.0
SLOW_SECONDS = 9
ACCOUNTS = {
    "bluesky": "did:plc:sandboxsandboxsandboxsan",
    "youtube": "UCsandboxsandboxsandbox",
    "google_business": "11293847561029384756",
}
FIELDS = {"bluesky": "likeCount", "youtube": "likeCount"}


class Scene:
    """A workspace of one test: a channel a platform, and posts of any age on them."""

    def __init__(self, tidemark: Tidemark, *platforms: str, **channel: Any) -> None:
        self.tidemark = tidemark
        self.workspace = f"live-{secrets.token_hex(3)}"
        self.platforms = platforms
        self.external_ids: dict[str, str] = {}
        for platform in platforms:
            token = {"access_token": f"sandbox-{self.workspace}", **channel}
            tidemark.put_channel(self.workspace, platform, platform=platform, external_id=ACCOUNTS[platform], **token)

    def put_post(self, post: str, age_hours: int, number: int = 1) -> None:
        at = (int(time.time()) - age_hours * 3600) * 1000
        targets = []
        for platform in self.platforms:
            name = f"{post}.{platform}"
            self.external_ids[name] = make_id(platform, at, number, account=ACCOUNTS[platform])
            target = {"target_id": name, "channel_id": platform, "external_id": self.external_ids[name]}
            targets.append({**target, "status": "published"})
        self.tidemark.put_post(
            self.workspace, post, targets, published_at=datetime.fromtimestamp(at / 1000, UTC).isoformat()
        )
        path = f"/api/v1/posts/{post}/insights"
        wait_until(lambda: self.tidemark.get(self.workspace, path).is_success, 10, f"{post} is known")

    def get(self, path: str) -> Any:
        reply = self.tidemark.get(self.workspace, path)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def analytics(self, post: str) -> dict[str, dict[str, Any]]:
        """Rows of PostFuze by target id."""
        rows = self.get(f"/api/v1/posts/{post}/analytics")["metrics_by_account"]
        return {row["target_id"]: row for row in rows}

    def served(self, target_id: str, until: int | None = None) -> list[dict[str, Any]]:
        platform = target_id.rpartition(".")[2]
        query: dict[str, Any] = {} if until is None else {"until": until + 1}
        found: list[dict[str, Any]] = self.tidemark.sandbox(
            "served", platform=platform, external_id=self.external_ids[target_id], **query
        )["served"]
        return found

    def likes_served(self, row: dict[str, Any]) -> int:
        """The likes that the sandbox served for a row."""
        served = self.served(row["target_id"], millis(row["captured_at"]))
        name = FIELDS[row["target_id"].rpartition(".")[2]]
        # YouTube's reports come apart, and hold no likes.
        likes = [record["fields"][name] for record in served if name in record["fields"]][-1]
        return int(likes)

    def wait_until_measured(self, count: int) -> None:
        query = f"SELECT count() AS n FROM latest_post_metrics WHERE workspace_id = '{self.workspace}'"
        wait_until(lambda: self.tidemark.query(query) == [{"n": count}], 30, lambda: self.tidemark.log("poller"))
        # ClickHouse has the figures first; the query API hears of them by the rollups.
        wait_until(lambda: self.shown_measured() == count, 30, lambda: self.tidemark.log("query_api"))

    def shown_measured(self) -> int:
        """Targets that the query API shows as measured."""
        listed = self.tidemark.get(self.workspace, "/tidemark/v1/targets").json()["data"]
        return sum(target["captured_at"] is not None for target in listed)


def millis(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.fixture
def faults(tidemark: Tidemark) -> Iterator[Any]:
    """Adds a fault to the sandbox, until the test's end. One that no call met fails the test, which showed nothing."""
    url = f"{tidemark.ready['sandbox']}/_sandbox/faults"

    def add(**fault: Any) -> None:
        LOOPBACK.post(url, json=fault).raise_for_status()

    yield add
    added = LOOPBACK.get(url)
    LOOPBACK.delete(url).raise_for_status()
    assert not [fault for fault in added.raise_for_status().json()["faults"] if not fault["failed"]]


def test_a_live_answer_is_fresh_and_reaches_every_surface(tidemark: Tidemark) -> None:
    scene = Scene(tidemark, "bluesky", "youtube")
    scene.put_post("p", 24 * 20)
    scene.put_post("old", 24 * 200, 2)  # never polled: only a live pull asks
    scene.wait_until_measured(2)
    for post in ("p", "old"):
        asked_at = time.time() * 1000
        rows = scene.analytics(post)
        assert list(rows) == [f"{post}.bluesky", f"{post}.youtube"]
        for row in rows.values():
            assert millis(row["captured_at"]) >= asked_at - 1
            assert row["likes"] == scene.likes_served(row)
    expected = sum(row["likes"] for row in rows.values())
    wait_until(
        lambda: scene.get("/api/v1/posts/old/insights")["totals"]["likes"] == expected, 5, "postme shows the pull"
    )
    raw = tidemark.query(
        f"SELECT DISTINCT origin FROM raw_events WHERE workspace_id = '{scene.workspace}' "
        "AND has(`targets.target_id`, 'old.bluesky')"
    )
    assert raw == [{"origin": "LIVE"}]


def test_a_thousand_concurrent_requests_make_one_call(tidemark: Tidemark, faults: Any) -> None:
    scene = Scene(tidemark, "bluesky")
    scene.put_post("p", 24 * 20)
    scene.wait_until_measured(1)
    # The crowd needs some time to arrive, and the sandbox alone answers within 20 ms: then the first ones of the crowd
    # have their answer before the next ones ask, which makes them no crowd. A platform is never that quick.
    slow = 1.0
    # For every workspace: posts of Bluesky are asked for without a token, by which a fault could tell this one.
    faults(platform="bluesky", kind="slow", delay_seconds=slow)
    before = len(scene.served("p.bluesky"))
    key = tidemark.get(scene.workspace, "/v1/analytics").request.headers["authorization"]
    url = f"{tidemark.ready['query_api']}/api/v1/posts/p/analytics"

    async def part_of_crowd() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=25)
        async with httpx.AsyncClient(
            limits=limits, timeout=60, trust_env=False, verify=False, headers={"authorization": key}
        ) as api:
            return await asyncio.gather(*(api.get(url) for _ in range(25)))

    async def crowd() -> list[httpx.Response]:
        # A client looks through all its connections at each step of each request: one with a thousand takes a minute.
        parts = await asyncio.gather(*(part_of_crowd() for _ in range(40)))
        return [reply for part in parts for reply in part]

    began = time.monotonic()
    replies = asyncio.run(crowd())
    # On a busy machine the crowd is still arriving when the first have their answer: the others share the next call.
    most = max(1, int((time.monotonic() - began) / slow))
    assert Counter(reply.status_code for reply in replies) == {200: 1000}
    calls = len(scene.served("p.bluesky")) - before
    assert 1 <= calls <= most
    assert len({reply.content for reply in replies}) == calls


def test_a_platform_that_is_slow_costs_only_its_own_targets(tidemark: Tidemark, faults: Any) -> None:
    scene = Scene(tidemark, "bluesky", "youtube")
    scene.put_post("p", 24 * 20)
    scene.wait_until_measured(2)
    faults(platform="youtube", kind="slow", delay_seconds=SLOW_SECONDS, token=f"sandbox-{scene.workspace}")
    asked_at = time.time()
    rows = scene.analytics("p")
    took = time.time() - asked_at
    assert took < SLOW_SECONDS, "the platform was waited for"
    assert millis(rows["p.bluesky"]["captured_at"]) >= asked_at * 1000 - 1
    assert millis(rows["p.youtube"]["captured_at"]) < asked_at * 1000
    assert all(row["likes"] == scene.likes_served(row) for row in rows.values())


def test_without_a_poller_snapshots_answer_soon(tidemark: Tidemark) -> None:
    scene = Scene(tidemark, "bluesky")
    scene.put_post("p", 24 * 20)
    scene.wait_until_measured(1)
    live = scene.get("/api/v1/social-accounts/bluesky/metrics")
    assert live["source"] == "live"
    wait_until(
        lambda: tidemark.query(
            f"SELECT 1 AS n FROM channel_snapshots WHERE workspace_id = '{scene.workspace}' LIMIT 1"
        ),
        10,
        "stored",
    )
    key = tidemark.get(scene.workspace, "/v1/analytics").request.headers["authorization"]
    # Connected already: making a client costs some tens of milliseconds.
    reader = httpx.Client(base_url=tidemark.ready["query_api"], headers={"authorization": key}, trust_env=False)
    reader.get("/healthz")
    poller = tidemark.ready["pids"]["poller"]
    os.kill(poller, signal.SIGSTOP)
    try:
        for path in ("posts/p/analytics", "social-accounts/bluesky/metrics", "social-accounts/bluesky/health"):
            started = time.monotonic()
            answer = reader.get(f"/api/v1/{path}").json()
            assert time.monotonic() - started < DEADLINE_SECONDS, f"{path} waited for the poller"
            assert answer.get("source", "snapshot") == "snapshot"
            assert not answer.get("checked_live", False)
    finally:
        os.kill(poller, signal.SIGCONT)


def test_health_probes_and_a_broken_token_flips_the_account(tidemark: Tidemark, faults: Any) -> None:
    scene = Scene(tidemark, "youtube")
    path = "/api/v1/social-accounts/youtube/health"
    wait_until(lambda: scene.get(path)["checked_live"], 30, lambda: tidemark.log("poller"))
    good = scene.get(path)
    assert (good["healthy"], good["status"], good["error_code"]) == (True, "active", None)
    faults(platform="youtube", kind="token_expired", token=f"sandbox-{scene.workspace}")
    # A probe that a busy machine is too slow for says so; the next look asks again.
    bad: Any = wait_until(
        lambda: asked if (asked := scene.get(path))["checked_live"] or not asked["healthy"] else None, 30, "a probe"
    )
    assert (bad["healthy"], bad["status"], bad["error_code"], bad["checked_live"]) == (
        False, "token_expired", "token_expired", True,
    )  # fmt: skip
    wait_until(lambda: scene.get(path)["status"] == "token_expired", 5, "the status is the catalog's")
    shown = scene.get("/api/v1/social-accounts/youtube/metrics")
    assert shown.get("source") != "live"


@pytest.fixture
def afterwards_anew(tidemark: Tidemark) -> Iterator[None]:
    """A new poller for the tests to come: a used-up quota is the whole app's, and ends all calls to the platform."""
    yield
    tidemark.kill("poller")


@pytest.mark.parametrize(
    ("kind", "error_code"),
    [
        ("permission_missing", "permission_missing"),
        pytest.param("rate_limited", "rate_limited", marks=pytest.mark.long),
        pytest.param("server_error", "platform_unavailable", marks=pytest.mark.long),
    ],
)
def test_health_says_why(tidemark: Tidemark, faults: Any, kind: str, error_code: str) -> None:
    _says_why(tidemark, faults, "youtube", kind, error_code)


@pytest.mark.usefixtures("afterwards_anew")
def test_health_says_that_a_quota_is_used_up(tidemark: Tidemark, faults: Any) -> None:
    # A poll that meets it first ends the probes too where both count against one quota, as on YouTube.
    _says_why(tidemark, faults, "google_business", "quota_exhausted", "quota_exhausted")


def _says_why(tidemark: Tidemark, faults: Any, platform: str, kind: str, error_code: str) -> None:
    scene = Scene(tidemark, platform)
    path = f"/api/v1/social-accounts/{platform}/health"
    wait_until(lambda: scene.get(path)["checked_live"], 30, lambda: tidemark.log("poller"))
    faults(platform=platform, kind=kind, token=f"sandbox-{scene.workspace}")
    # A probe that a busy machine is too slow for says so; the next look asks again.
    health: Any = wait_until(
        lambda: asked if (asked := scene.get(path))["checked_live"] else None, 30, "a probe in time"
    )
    assert (health["healthy"], health["error_code"]) == (False, error_code)
    assert health["status"] == "active"
