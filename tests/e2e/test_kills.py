"""SIGKILL of each process while data flows: soon after, every number is right; nothing is lost or counted twice."""

from __future__ import annotations

import secrets
import threading
import time
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from infra.sandbox.ids import make_id
from tests.support.tidemark import RawPublisher, Tidemark
from tests.support.waiting import PATIENCE, wait_until

TARGETS = 40
RIGHT_AGAIN_SECONDS = 30
# The promise itself: no patience beyond it.
PROMISED_WAIT = RIGHT_AGAIN_SECONDS / PATIENCE


class Feeder:
    """Publishes a growing count for each target, some events twice, until stopped."""

    def __init__(self, tidemark: Tidemark, workspace: str) -> None:
        self.workspace = workspace
        self._publisher = RawPublisher(tidemark.ready)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._publisher.flush()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.rounds += 1
            for part in range(4):
                event = self._event(part, self.rounds)
                self._publisher.publish(event)
                if self.rounds % 5 == 0:
                    self._publisher.publish(event)

    def _event(self, part: int, likes: int) -> dict[str, Any]:
        mine = range(part * TARGETS // 4, (part + 1) * TARGETS // 4)
        posts = [{"uri": f"at://t{number}", "likeCount": likes + number, "replyCount": 1} for number in mine]
        return {
            "event_id": f"{self.workspace}-{part}-{likes:06d}",
            "workspace_id": self.workspace,
            "channel_id": "fed",
            "platform": "bluesky",
            "kind": "POST_METRICS",
            "endpoint": "/xrpc/app.bsky.feed.getPosts",
            "request": {},
            "targets": [
                {"target_id": f"t{number}", "post_id": "any", "external_id": f"at://t{number}"} for number in mine
            ],
            "http_status": 200,
            "body": orjson.dumps({"posts": posts}),
            "captured_at": datetime.now(UTC),
            "origin": "SCHEDULE",
        }


def _register(tidemark: Tidemark, workspace: str) -> None:
    published_at = datetime.fromtimestamp(time.time() - 3600, UTC).isoformat()
    # Not active, so that only the feeder speaks of it.
    tidemark.put_channel(workspace, "fed", status="disabled")
    for post in range(4):
        mine = range(post * TARGETS // 4, (post + 1) * TARGETS // 4)
        targets = [{"target_id": f"t{n}", "channel_id": "fed", "status": "published"} for n in mine]
        tidemark.put_post(workspace, f"p{post}", targets, published_at=published_at)


def _right(tidemark: Tidemark, feeder: Feeder) -> str | None:
    """None when every surface shows the last round, else what is wrong."""
    last, per_post = feeder.rounds, TARGETS // 4
    expected = {f"p{p}": sum(last + n for n in range(p * per_post, (p + 1) * per_post)) for p in range(4)}
    rows = tidemark.query(
        f"SELECT post_id, likes, comments FROM post_totals WHERE workspace_id = '{feeder.workspace}' ORDER BY post_id"
    )
    if {row["post_id"]: row["likes"] for row in rows} != expected:
        return f"post_totals {rows}, expected {expected}"
    if {row["comments"] for row in rows} != {per_post}:
        return f"comments {rows}"
    window = tidemark.query(
        f"SELECT likes FROM channel_totals WHERE workspace_id = '{feeder.workspace}' AND `range` = '24h'"
    )
    if window != [{"likes": sum(expected.values())}]:
        return f"channel_totals {window}"
    answer = tidemark.get(feeder.workspace, "/api/v1/posts/p0/insights")
    if answer.status_code != 200 or answer.json()["totals"]["likes"] != expected["p0"]:
        return f"postme {answer.status_code} {answer.text[:300]}"
    snapshots = tidemark.query(f"SELECT count() AS n FROM post_snapshots WHERE workspace_id = '{feeder.workspace}'")
    if snapshots != [{"n": last * TARGETS}]:
        return f"post_snapshots {snapshots}, expected {last * TARGETS}"
    return None


@pytest.mark.parametrize("service", [pytest.param("aggregator", marks=pytest.mark.long), "clickhouse", "kafka"])
def test_numbers_are_right_soon_after_a_kill(tidemark: Tidemark, service: str) -> None:
    workspace = f"kill-{service}-{secrets.token_hex(3)}"
    _register(tidemark, workspace)
    with Feeder(tidemark, workspace) as feeder:
        wait_until(lambda: feeder.rounds > 20, 10, "data flows")
        killed_at = tidemark.kill(service)
        started = feeder.rounds
        wait_until(lambda: feeder.rounds > started + 20, 30, "data flows on")
    said: list[str | None] = [None]

    def right() -> bool:
        try:
            said[0] = _right(tidemark, feeder)
        except (OSError, AssertionError) as error:
            said[0] = repr(error)
        except Exception as error:
            said[0] = repr(error)
        return said[0] is None

    wait_until(right, PROMISED_WAIT, lambda: f"{said[0]}; {tidemark.log()} {tidemark.log('aggregator')}")
    took = time.monotonic() - killed_at
    assert took < RIGHT_AGAIN_SECONDS + 15, f"{took:.0f} s from the kill, with the feeder's own time"
    path = "/api/v1/posts/p0/insights"
    # Whatever follows the changes is there again as well, or every read would ask ClickHouse for ever after.
    wait_until(lambda: "age" in tidemark.get(workspace, path).headers, 10, lambda: tidemark.log("query_api"))


def test_every_post_is_polled_although_the_poller_is_killed(tidemark: Tidemark) -> None:
    workspace = f"kill-poller-{secrets.token_hex(3)}"
    account = "did:plc:sandboxsandboxsandboxsan"
    tidemark.put_channel(workspace, "c", external_id=account, access_token="sandbox-token")
    posts: dict[str, str] = {}

    def put(number: int) -> None:
        at = (int(time.time()) - 3600 * (number % 20 + 1)) * 1000
        external_id = make_id("bluesky", at, number, account=account)
        posts[f"t{number}"] = external_id
        target = {"target_id": f"t{number}", "channel_id": "c", "status": "published", "external_id": external_id}
        published_at = datetime.fromtimestamp(at / 1000, UTC).isoformat()
        tidemark.put_post(workspace, f"p{number}", [target], published_at=published_at)

    for number in range(30):
        put(number)
        if number == 15:
            tidemark.kill("poller")
    query = (
        "SELECT target_id, toUnixTimestamp64Milli(captured_at) AS at, likes, comments FROM latest_post_metrics "
        f"WHERE workspace_id = '{workspace}'"
    )
    wait_until(
        lambda: len(tidemark.query(query)) == len(posts),
        PROMISED_WAIT,
        lambda: f"{len(tidemark.query(query))} of {len(posts)} measured; {tidemark.log('poller')}",
    )
    for row in tidemark.query(query):
        served = tidemark.sandbox(
            "served", platform="bluesky", external_id=posts[row["target_id"]], until=int(row["at"]) + 1
        )["served"]
        assert (row["likes"], row["comments"]) == (
            served[-1]["fields"]["likeCount"],
            served[-1]["fields"]["replyCount"],
        )
