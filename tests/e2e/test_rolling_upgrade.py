"""The last release is replaced by this commit, one process after the other in any order, and back again.

Events flow, posts are written and channels are polled meanwhile; after each step every number is the model's.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.embedded.ports import free_ports
from infra.embedded.processes import tied
from tests.support.backend import now_ms
from tests.support.installations import answer, external_id, started
from tests.support.releases import THIS, Release, last_release
from tests.support.tidemark import RawPublisher, Tidemark
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]
WORKSPACE = "w-rolls"
ROLES = ("aggregator", "poller", "query_api")
POSTS = 6
# Pollers of either version open what the other writes.
KEPT = {"TIDEMARK_UNBOUND_TOKENS": "keep", "TIDEMARK_POLL_SPEED": "3600"}


class Rolling:
    """The services of one installation, each a process of one release or the other."""

    def __init__(self, engines: Tidemark, folder: Path) -> None:
        self._engines = engines
        self._folder = folder
        running = json.loads((engines.folder / "data" / "running.json").read_text())
        self.environment = {**os.environ, **running["environment"], **KEPT}
        self.environment["TIDEMARK_STORE_DIR"] = str(folder / "store")
        self._ports = dict(zip((*ROLES, "query_api_metrics"), free_ports(4), strict=True))
        self.environment["TIDEMARK_QUERY_API_PORT"] = str(self._ports["query_api"])
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._publisher = RawPublisher(engines.ready)
        self._key = ""
        self._step = 0
        self._posts: set[int] = set()

    def command(self, release: Release, *arguments: str) -> str:
        done = subprocess.run(
            [release.python, "-m", "services.cli", *arguments], cwd=release.folder, env=self.environment,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{release.name}: {arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def replace(self, role: str, release: Release) -> None:
        """End a role's process, and start it from a release."""
        if role in self._processes:
            before = self._processes.pop(role)
            before.terminate()
            before.wait(60)
        port = self._ports["query_api_metrics" if role == "query_api" else role]
        told = {"TIDEMARK_INSTANCE_ID": f"{role}-0".replace("_", "-"), "TIDEMARK_METRICS_PORT": str(port)}
        with (self._folder / f"{role}.log").open("ab") as log:
            self._processes[role] = subprocess.Popen(
                tied([release.python, "-m", f"services.{role}"]), cwd=release.folder,
                env={**self.environment, **told}, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        url = f"http://127.0.0.1:{self._ports[role]}/readyz"
        wait_until(lambda: self._answers(role, url), 120, lambda: f"{role} of {release.name}: {self.log(role)}")

    def _answers(self, role: str, url: str) -> bool:
        assert self._processes[role].poll() is None, self.log(role)
        try:
            return httpx.get(url, trust_env=False, timeout=5).is_success
        except httpx.HTTPError:
            return False

    def log(self, role: str) -> str:
        return (self._folder / f"{role}.log").read_text(errors="replace")[-3000:]

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        reply = httpx.request(
            method, f"http://127.0.0.1:{self._ports['query_api']}/admin/v1/workspaces/{WORKSPACE}/{path}", json=body,
            headers={"Authorization": f"Bearer {self._engines.ready['admin_key']}"}, timeout=30, trust_env=False,
        )  # fmt: skip
        assert reply.is_success, f"{path}: {reply.status_code} {reply.text} {self.log('query_api')}"
        return reply.json() if reply.content else None

    def put_channel(self, channel: str, token: str | None = None) -> None:
        body = {"platform": "bluesky", "external_id": f"did:plc:{channel}", "username": channel, "access_token": token}
        self.admin("PUT", f"channels/{channel}", body)

    def put_post(self, number: int, channel: str = "c1") -> None:
        target = {"target_id": f"t{number}", "channel_id": channel, "status": "published",
                  "external_id": external_id(number)}  # fmt: skip
        body = {"status": "published", "published_at": "2026-01-01T00:00:00Z", "targets": [target]}
        self.admin("PUT", f"posts/p{number}", body)

    def goes_on(self, what: str) -> None:
        """Another post, newer figures of all, another poll; every number is readable in the tables and by the API."""
        self._step += 1
        if not self._key:
            self._key = self.admin("POST", "keys", {"scopes": ["analytics:read"], "style": "powerpost"})["key"]
        number = POSTS + self._step
        self.put_post(number)
        self._posts |= {*range(POSTS), number}
        likes = 100_000 + self._step
        polled = self._polls()
        for post in sorted(self._posts):
            self._publisher.publish(answer(WORKSPACE, post, now_ms(), likes))
        self._publisher.flush()
        sql = f"SELECT count() AS n FROM post_totals WHERE workspace_id = '{WORKSPACE}' AND likes = {likes}"
        wait_until(
            lambda: self._engines.query(sql) == [{"n": len(self._posts)}], 90,
            lambda: f"{what}: {self._engines.query(sql)} of {len(self._posts)}: {self.log('aggregator')}",
        )  # fmt: skip
        wait_until(
            lambda: all(str(likes) in self._shown(post) for post in self._posts), 60,
            lambda: f"{what}: {[self._shown(post)[:300] for post in sorted(self._posts)]}",
        )  # fmt: skip
        wait_until(lambda: self._polls() > polled, 120, lambda: f"{what}: nothing is polled: {self.log('poller')}")

    def _shown(self, post: int) -> str:
        url = f"http://127.0.0.1:{self._ports['query_api']}/v1/posts/p{post}/metrics"
        return httpx.get(url, headers={"Authorization": f"Bearer {self._key}"}, timeout=30, trust_env=False).text

    def _polls(self) -> int:
        sql = "SELECT count() AS n FROM raw_events WHERE channel_id = 'polled' AND http_status = 200"
        return int(self._engines.query(sql)[0]["n"])


@pytest.fixture
def rolling(tmp_path: Path) -> Iterator[Rolling]:
    left_out = [f"--without={name}" for name in ("aggregator", "query-api", "notifier", "topics", "migrate")]
    with started(tmp_path / "up", *left_out) as engines:
        made = Rolling(engines, tmp_path)
        try:
            yield made
        finally:
            made.close()


def test_one_process_after_the_other_and_back(rolling: Rolling, tmp_path: Path) -> None:
    before = last_release(tmp_path)
    seed = time.time_ns() % 1_000_000
    print(f"rolling upgrade: order by seed {seed}", flush=True)
    order = random.Random(seed)
    rolling.command(before, "topics")
    rolling.command(before, "migrate")
    for role in ("query_api", "aggregator", "poller"):
        rolling.replace(role, before)
    rolling.put_channel("c1")
    rolling.put_channel("polled", "sandbox-polled")
    rolling.put_post(500, "polled")
    for number in range(POSTS):
        rolling.put_post(number)
    rolling.goes_on("the release before")
    # Topics and tables first, as docs/operations.md says, while the services of before run on.
    rolling.command(THIS, "topics")
    rolling.command(THIS, "migrate")
    rolling.goes_on("newer topics and tables")
    for role in order.sample(ROLES, len(ROLES)):
        rolling.replace(role, THIS)
        rolling.goes_on(f"{role} is newer")
    assert "no differences" in rolling.command(THIS, "audit")
    for role in order.sample(ROLES, len(ROLES)):
        rolling.replace(role, before)
        rolling.goes_on(f"{role} is of before again")
