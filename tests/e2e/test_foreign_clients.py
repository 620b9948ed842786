"""Clients of other languages at a running Tidemark: subscribers with stock codecs, and the JDK at the admin API."""

from __future__ import annotations

import secrets
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from schemas.topic_specs import topic_specs
from tests.support.foreign import built
from tests.support.tidemark import RawPublisher, Tidemark
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
# Written by what the fixture does; others may be empty.
FILLED = ("platform.raw", "catalog.channels", "catalog.posts", "metrics.post-snapshots", "rollups.posts")


@pytest.fixture(scope="module")
def topics(tidemark: Tidemark) -> list[str]:
    """The public topics, once each of `FILLED` holds something."""
    workspace = f"foreign-{secrets.token_hex(3)}"
    tidemark.put_channel(workspace, "c", status="disabled")
    tidemark.put_post(
        workspace,
        "p",
        [{"target_id": "t", "channel_id": "c", "status": "published", "external_id": "at://t"}],
        published_at=datetime.now(UTC).isoformat(),
    )
    publisher = RawPublisher(tidemark.ready)
    for likes in (41, 42):
        publisher.publish(
            {
                "event_id": f"e{likes}", "workspace_id": workspace, "channel_id": "c", "platform": "bluesky",
                "kind": "POST_METRICS", "endpoint": "/xrpc/app.bsky.feed.getPosts", "request": {"uris": "at://t"},
                "targets": [{"target_id": "t", "post_id": "p", "external_id": "at://t"}], "http_status": 200,
                "body": orjson.dumps({"posts": [{"uri": "at://t", "likeCount": likes}]}),
                "captured_at": datetime.now(UTC), "origin": "BACKFILL",
            }
        )  # fmt: skip
    publisher.flush()
    sql = f"SELECT count() AS n FROM post_totals WHERE workspace_id = '{workspace}'"
    wait_until(lambda: int(tidemark.query(sql)[0]["n"]) > 0, 60, lambda: tidemark.log("aggregator"))
    return sorted(
        spec.name for spec in topic_specs() if spec.name.startswith(("metrics.", "rollups.")) or spec.name in FILLED
    )


def test_kafkajs_with_its_stock_codecs(tidemark: Tidemark, topics: list[str], tmp_path: Path) -> None:
    folder = built(tmp_path, "kafkajs", ("node", "npm"), ["npm", "install", "--no-audit", "--no-fund"])
    command = ["node", "read.js", tidemark.ready["kafka"], tidemark.ready["schema_registry"], *topics]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    read = dict(line.split(" ") for line in done.stdout.splitlines())
    assert set(read) == set(topics)
    assert all(read[topic] == "true" for topic in FILLED), read


@pytest.mark.parametrize(
    ("name", "module"), [("franz", "github.com/twmb/franz-go"), ("sarama", "github.com/IBM/sarama")]
)
def test_go(tidemark: Tidemark, topics: list[str], tmp_path: Path, name: str, module: str) -> None:
    folder = built(
        tmp_path,
        name,
        ("go",),
        ["go", "get", f"{module}@latest"],
        ["go", "mod", "tidy"],
        ["go", "build", "-o", "client", "."],
    )
    command = [str(folder / "client"), tidemark.ready["kafka"], *FILLED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == [f"{topic} true" for topic in FILLED], done.stderr[-3000:]


def test_the_jdk_posts_to_the_admin_api(tidemark: Tidemark, tmp_path: Path) -> None:
    folder = built(tmp_path, "jdk", ("javac", "java"), ["javac", "-d", ".", "Admin.java"])
    workspace = f"jdk-{secrets.token_hex(3)}"
    command = ["java", "-cp", ".", "Admin", tidemark.ready["query_api"], tidemark.ready["admin_key"], workspace]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ["channel 2", "key 2 true", "refused 4"], done.stderr
