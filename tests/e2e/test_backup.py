"""A backup of one installation makes another one that gives the same answers."""

from __future__ import annotations

import base64
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

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
def started(folder: Path) -> Iterator[Tidemark]:
    folder.mkdir()
    tidemark = Tidemark(folder)
    # Without polls the numbers stand still.
    tidemark.start("--without", "poller")
    try:
        yield tidemark
    finally:
        tidemark.stop()


def command(tidemark: Tidemark, *arguments: str, code: int = 0) -> str:
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
            external_id = make_id("bluesky", now - 7_200_000, number)
            target = {"target_id": f"t{number}", "channel_id": "c1", "status": "published", "external_id": external_id}
            tidemark.put_post(workspace, f"p{number}", [target], published_at="2026-01-01T00:00:00Z")
            for at, likes in ((now - 3_600_000, number), (now - 60_000, number * 10 + 1)):
                body = {"posts": [{"uri": external_id, "likeCount": likes, "repostCount": 2, "replyCount": 1}]}
                event = {
                    "event_id": f"{workspace}-{number}-{at}", "workspace_id": workspace, "channel_id": "c1",
                    "platform": "bluesky", "kind": "POST_METRICS", "endpoint": "/xrpc/app.bsky.feed.getPosts",
                    "request": {"uris": external_id}, "http_status": 200, "body": orjson.dumps(body),
                    "targets": [{"target_id": f"t{number}", "post_id": f"p{number}", "external_id": external_id}],
                    "captured_at": at, "origin": "SCHEDULE",
                }  # fmt: skip
                publisher.publish(event)
    tidemark.admin("DELETE", f"/admin/v1/workspaces/{WORKSPACES[0]}/posts/p11").raise_for_status()
    publisher.flush()
    expected = len(WORKSPACES) * POSTS - 1
    wait_until(lambda: numbered(tidemark) == expected, 60, lambda: f"{numbered(tidemark)} of {expected} posts")


def numbered(tidemark: Tidemark) -> int:
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
    if isinstance(value, dict):
        return {name: still(held) for name, held in value.items() if name not in MOVING}
    return [still(held) for held in value] if isinstance(value, list) else value


def make_keys(tidemark: Tidemark) -> dict[str, str]:
    made = {}
    for workspace in WORKSPACES:
        body = {"scopes": ["analytics:read"], "style": "tidemark"}
        made[workspace] = tidemark.admin("POST", f"/admin/v1/workspaces/{workspace}/keys", body).json()["key"]
    return made


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_restored_installation_answers_as_the_lost_one_did(tmp_path: Path) -> None:
    archive = tmp_path / "tidemark.backup"
    with started(tmp_path / "lost") as lost:
        fill(lost)
        keys = make_keys(lost)
        told_before, rows_before = answers(lost, keys), rows(lost)
        said = command(lost, "backup", "create", str(archive))
        assert f"{len(WORKSPACES) * POSTS * 2} raw events" in said
        assert "exists already" in command(lost, "backup", "create", str(archive), code=1)
        assert "this installation is not empty" in command(lost, "backup", "restore", str(archive), code=1)
    holds_no_secret(archive, keys)
    with started(tmp_path / "fresh") as fresh:
        damaged = tmp_path / "damaged"
        damaged.write_bytes(archive.read_bytes()[:-2000])
        (line,) = command(fresh, "backup", "restore", str(damaged), code=1).splitlines()
        assert "cut short or altered; nothing was written" in line
        assert fresh.query("SELECT count() AS n FROM raw_events") == [{"n": 0}]
        command(fresh, "backup", "restore", str(archive))
        command(fresh, "rebuild")
        audited = command(fresh, "audit")
        assert "no differences" in audited
        assert rows(fresh) == rows_before
        wait_until(
            lambda: answers(fresh, keys) == told_before, 20, lambda: difference(answers(fresh, keys), told_before)
        )
        # Goes on as any other: a newer figure counts, and a second restore is refused.
        assert "not empty" in command(fresh, "backup", "restore", str(archive), code=1)
        # On top of itself it changes nothing.
        command(fresh, "backup", "restore", "--force", str(archive))
        assert "no differences" in command(fresh, "audit")
        assert rows(fresh) == rows_before


def difference(seen: dict[str, Any], expected: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {seen.get(name)} instead of {expected[name]}" for name in expected
                     if seen.get(name) != expected[name])[:3000]  # fmt: skip


def holds_no_secret(archive: Path, keys: dict[str, str]) -> None:
    """Neither as it is nor in base64, which topics' values are in, is a token or a key in the archive."""
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with zipfile.ZipFile(archive) as held:
        content = [held.read(name) for name in held.namelist()]
        lines = [line for name in held.namelist() if name.endswith(".ndjson") for line in held.read(name).splitlines()]
        assert held.read("topics/catalog.tokens.ndjson").count(b"\n") == len(WORKSPACES)
    values = [base64.b64decode(value) for line in lines if (value := orjson.loads(line)["v"])]
    for secret in (TOKEN, *keys.values()):
        assert not [part for part in (*content, *values) if secret.encode() in part]
