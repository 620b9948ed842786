"""An installation of a test's own that is filled, asked and lost: what it answers after has to be what it did before.

Without polls its numbers stand still. Times and windows that move with the clock are left out of what is compared.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

from infra.sandbox.ids import make_id
from tests.support.backend import now_ms
from tests.support.tidemark import RawPublisher, Tidemark
from tests.support.waiting import wait_until

WORKSPACES = ("w-backed-1", "w-backed-2", "w-backed-3")
POSTS = 12
TOKEN = "a-very-secret-access-token"
PATHS = (
    "/tidemark/v1/posts/{post}", "/api/v1/posts/{post}/insights", "/v1/posts/{post}/metrics",
    "/tidemark/v1/channels/c1", "/api/v1/channels/c1/insights?range=28d",
)  # fmt: skip
# What moves with the clock.
MOVING = {"age_seconds", "next_poll_at", "tier", "generated_at", "window"}
# Columns of the write itself, and of the window that ends now.
INSTANTS = {
    "posts": "updated_at", "channels": "updated_at",
    "channel_totals": "window_start, window_end, valid_from, valid_until",
}  # fmt: skip
VIEWS = ("post_totals", "latest_post_metrics", "post_snapshots", "channel_totals", "posts", "channels")


@contextmanager
def started(
    folder: Path, *options: str, environment: Mapping[str, str] | None = None, polls: bool = False
) -> Iterator[Tidemark]:
    """A running Tidemark on a folder that may have been used before; without polls its numbers stand still."""
    folder.mkdir(exist_ok=True)
    # Of an earlier run on the folder.
    (folder / "ready.json").unlink(missing_ok=True)
    tidemark = Tidemark(folder, {"TIDEMARK_WEBHOOKS_ALLOW_PRIVATE": "1", **(environment or {})})
    tidemark.start(*(() if polls else ("--without", "poller")), *options)
    try:
        yield tidemark
    finally:
        tidemark.stop()


def command(tidemark: Tidemark, *arguments: str, code: int = 0) -> str:
    """Run a command against it; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "--data-dir", str(tidemark.folder / "data"), *arguments],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def fill(tidemark: Tidemark) -> None:
    """Channels with tokens, posts, and figures of two instants for each target."""
    now = now_ms()
    publisher = RawPublisher(tidemark.ready)
    for workspace in WORKSPACES:
        tidemark.put_channel(workspace, "c1", access_token=TOKEN)
        for number in range(POSTS):
            put_post(tidemark, workspace, number)
            for at, likes in ((now - 3_600_000, number), (now - 60_000, number * 10 + 1)):
                publisher.publish(answer(workspace, number, at, likes))
    tidemark.admin("DELETE", f"/admin/v1/workspaces/{WORKSPACES[0]}/posts/p11").raise_for_status()
    publisher.flush()
    expected = len(WORKSPACES) * POSTS - 1
    wait_until(lambda: numbered(tidemark) == expected, 60, lambda: f"{numbered(tidemark)} of {expected} posts")


def external_id(number: int) -> str:
    """The platform's id of a post, the same in every run."""
    return make_id("bluesky", 1_767_225_600_000, number)


def put_post(tidemark: Tidemark, workspace: str, number: int, **fields: Any) -> None:
    """Put the post of a number, with one target."""
    target = {"target_id": f"t{number}", "channel_id": "c1", "status": "published", "external_id": external_id(number)}
    tidemark.put_post(workspace, f"p{number}", [target], published_at="2026-01-01T00:00:00Z", **fields)


def answer(workspace: str, number: int, at: int, likes: int) -> dict[str, Any]:
    """The raw event of one answer about one post."""
    uri = external_id(number)
    body = {"posts": [{"uri": uri, "likeCount": likes, "repostCount": 2, "replyCount": 1}]}
    return {
        "event_id": f"{workspace}-{number}-{at}", "workspace_id": workspace, "channel_id": "c1",
        "platform": "bluesky", "kind": "POST_METRICS", "endpoint": "/xrpc/app.bsky.feed.getPosts",
        "request": {"uris": uri}, "http_status": 200, "body": orjson.dumps(body),
        "targets": [{"target_id": f"t{number}", "post_id": f"p{number}", "external_id": uri}],
        "captured_at": at, "origin": "SCHEDULE",
    }  # fmt: skip


def go_on(tidemark: Tidemark, numbers: Sequence[int], likes: int) -> None:
    """Newer figures of some posts of each workspace, and wait until they are counted."""
    publisher = RawPublisher(tidemark.ready)
    for workspace in WORKSPACES:
        for number in numbers:
            publisher.publish(answer(workspace, number, now_ms(), likes))
    publisher.flush()
    sql = f"SELECT count() AS n FROM post_totals WHERE likes = {likes}"
    expected = len(WORKSPACES) * len(numbers)
    wait_until(
        lambda: int(tidemark.query(sql)[0]["n"]) == expected, 60, lambda: f"{likes}: {tidemark.log('aggregator')}"
    )


class Stopwatch:
    """Tells how long a drill took until numbers can be read again; shown with `-s`."""

    def __init__(self, drill: str) -> None:
        self._drill = drill
        self._began = time.monotonic()

    def told(self, what: str) -> None:
        """Print the time since the beginning, and how busy the machine is."""
        seconds, load = time.monotonic() - self._began, os.getloadavg()[0]
        print(f"drill: {self._drill}: {what} after {seconds:.0f} s (load {load:.1f})", flush=True)


def numbered(tidemark: Tidemark) -> int:
    """How many posts have their last figures."""
    sql = "SELECT count() AS n FROM post_totals WHERE likes % 10 = 1"
    return int(tidemark.query(sql)[0]["n"])


def rows(tidemark: Tidemark) -> dict[str, list[dict[str, Any]]]:
    """The public tables; times of the write itself aside."""
    found = {}
    for view in VIEWS:
        moving = INSTANTS.get(view)
        shown = f"EXCEPT ({moving})" if moving else ""
        found[view] = tidemark.query(f"SELECT * {shown} FROM {view} ORDER BY ALL")
    raw = "SELECT * EXCEPT (topic, partition, offset) FROM raw_events ORDER BY workspace_id, event_id"
    found["raw_events"] = tidemark.query(raw)
    return found


def answers(tidemark: Tidemark, keys: dict[str, str]) -> dict[str, Any]:
    """Every product's reply for every post, without what moves with the clock."""
    found = {}
    for workspace in WORKSPACES:
        for path in PATHS:
            for number in range(POSTS) if "{post}" in path else (0,):
                asked = path.format(post=f"p{number}")
                reply = httpx.get(
                    tidemark.ready["query_api"] + asked, headers={"Authorization": f"Bearer {keys[workspace]}"},
                    timeout=30, trust_env=False,
                )  # fmt: skip
                found[f"{workspace} {asked}"] = (reply.status_code, still(reply.json()))
    return found


def still(value: Any) -> Any:
    """A reply without what moves with the clock."""
    if isinstance(value, dict):
        return {name: still(held) for name, held in value.items() if name not in MOVING}
    return [still(held) for held in value] if isinstance(value, list) else value


def make_keys(tidemark: Tidemark) -> dict[str, str]:
    """A key of each workspace."""
    made = {}
    for workspace in WORKSPACES:
        body = {"scopes": ["analytics:read"], "style": "tidemark"}
        made[workspace] = tidemark.admin("POST", f"/admin/v1/workspaces/{workspace}/keys", body).json()["key"]
    return made


def difference(seen: dict[str, Any], expected: dict[str, Any]) -> str:
    """What differs, for people."""
    return "\n".join(f"{name}: {seen.get(name)} instead of {expected[name]}" for name in expected
                     if seen.get(name) != expected[name])[:3000]  # fmt: skip
