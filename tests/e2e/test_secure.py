"""`tidemark up --secure`: the main paths on engines with TLS, where each service has a user with its own rights."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from rich.console import Console

from infra.demo.checks import Checker
from infra.demo.report import Report
from infra.demo.scene import make_scene
from tests.e2e.test_surfaces import read_all
from tests.support.closed import LOOPBACK, listening, open_to_others
from tests.support.receiver import receiving_in_a_thread
from tests.support.tidemark import RawPublisher, Tidemark, kafka_options
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
WORKSPACE = "secured"


def _event(event_id: str, likes: int) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "workspace_id": WORKSPACE,
        "channel_id": "c",
        "platform": "bluesky",
        "kind": "POST_METRICS",
        "endpoint": "/xrpc/app.bsky.feed.getPosts",
        "request": {"uris": "at://t"},
        "targets": [{"target_id": "t", "post_id": "p", "external_id": "at://t"}],
        "http_status": 200,
        "body": json.dumps({"posts": [{"uri": "at://t", "likeCount": likes}]}).encode(),
        "captured_at": datetime.now(UTC),
        "origin": "BACKFILL",
    }


def test_every_product_answers_with_the_figures_that_were_polled(secure_tidemark: Tidemark) -> None:
    """The demo's figures: published by pollers, read from each of the five APIs and from ClickHouse."""
    scene = make_scene()
    report = Report(Console(quiet=True))
    checker = Checker(secure_tidemark.ready, scene, report)
    try:
        checker.register()
        wait_until(lambda: checker.measured() >= len(scene.targets), 120, lambda: secure_tidemark.log("poller"))
        wait_until(lambda: checker.followed() >= len(scene.platforms), 120, lambda: secure_tidemark.log("poller"))

        def is_right() -> bool:
            # Polling goes on: an answer may be newer than the record that was looked up before it.
            report.wrong.clear()
            checker.check_all(checker.followers())
            return not report.wrong

        wait_until(is_right, 60, lambda: "; ".join(report.wrong))
    finally:
        checker.close()
    assert report.compared > 50


def test_an_own_publisher_changes_figures_and_webhooks_are_told(secure_tidemark: Tidemark) -> None:
    running = secure_tidemark
    scopes = {"scopes": ["analytics:read", "webhooks:write"]}
    key = running.admin("POST", f"/admin/v1/workspaces/{WORKSPACE}/keys", scopes).raise_for_status().json()["key"]
    running.put_channel(WORKSPACE, "c")
    target = {"target_id": "t", "channel_id": "c", "status": "published", "external_id": "at://t"}
    running.put_post(WORKSPACE, "p", [target], published_at="2026-11-01T00:00:00Z")
    with (
        receiving_in_a_thread() as receiver,
        httpx.Client(
            base_url=running.ready["query_api"], headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False
        ) as api,
    ):
        api.post(
            "/tidemark/v1/webhooks", json={"url": receiver.url("ok"), "types": ["metrics.changed"]}
        ).raise_for_status()
        publisher = RawPublisher(running.ready)
        publisher.publish(_event(f"secure-{time.time_ns()}", 41))
        publisher.flush()
        wait_until(
            lambda: api.get("/tidemark/v1/posts/p").json().get("metrics", {}).get("likes") == 41,
            60,
            lambda: f"{api.get('/tidemark/v1/posts/p').text} {running.log('aggregator')}",
        )
        wait_until(lambda: receiver.of("ok"), 60, lambda: running.log("notifier"))
        changed = api.get("/tidemark/v1/changes").raise_for_status().json()
        assert any("p" in json.dumps(one) for one in changed["changes"])
    rollups = [value for key_, value in read_all(running.ready, "rollups.posts") if key_ == f"{WORKSPACE}/p"]
    assert rollups[-1]["likes"] == 41


def test_commands_find_a_secure_up(secure_tidemark: Tidemark) -> None:
    running = secure_tidemark
    publisher = RawPublisher(running.ready)
    publisher.publish({**_event(f"unknown-{time.time_ns()}", 1), "platform": "no-such-platform"})
    publisher.flush()

    def letters() -> str:
        return running.command("dead-letters", "list").stdout

    wait_until(lambda: "platform" in letters(), 60, letters)
    state = running.command("status")
    assert state.returncode == 0, state.stdout + state.stderr
    for arguments in (
        ("topics",),
        ("migrate",),
        ("dead-letters", "redrive", "--every-reason"),
        ("catalog", "export"),
        ("backup", "create", str(running.folder / "backup")),
        ("rebuild",),
        ("audit", "--grace-seconds", "1"),
    ):
        done = running.command(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout} {done.stderr}"


def test_the_operators_page_sees_what_the_command_sees(secure_tidemark: Tidemark) -> None:
    """With the rights of the query API's own users."""
    told = secure_tidemark.admin("GET", "/admin/v1/status").raise_for_status().json()
    for engine in ("kafka", "clickhouse"):
        assert told[engine]["problem"] is None, told[engine]
    assert told["clickhouse"]["tables"], told
    assert told["is_healthy"], told


def test_nobody_gets_in_without_a_user(secure_tidemark: Tidemark) -> None:
    ready = secure_tidemark.ready
    stranger = {"bootstrap.servers": ready["kafka"], "log_level": 0}
    known = kafka_options(ready)
    for options in (
        stranger,
        {**known, "security.protocol": "SSL"},
        {**known, "sasl.password": "wrong"},
        {**known, "security.protocol": "SASL_PLAINTEXT"},
    ):
        with pytest.raises(KafkaException):
            AdminClient({**options, "log_level": 0}).list_topics(timeout=5)
    # The operator's client reads and publishes; what it was not given, it may not do.
    admin = AdminClient({**known, "log_level": 0})  # held until it has answered
    (deleted,) = admin.delete_topics(["rollups.posts"]).values()
    with pytest.raises(KafkaException, match="AUTHORIZATION_FAILED"):
        deleted.result(20)
    registry = httpx.URL(ready["schema_registry"])
    bare = f"https://{registry.host}:{registry.port}{registry.path}/subjects"
    with httpx.Client(verify=secure_tidemark.trusted(), timeout=20, trust_env=False) as client:
        assert client.get(bare).status_code == 401
        assert client.get(bare, auth=("tidemark", "wrong")).status_code == 401
        assert client.get(bare, auth=(registry.username, registry.password)).status_code == 200
        clickhouse = httpx.URL(ready["clickhouse"])
        assert client.get(f"https://{clickhouse.host}:{clickhouse.port}/?query=SELECT+1").status_code in (401, 403)


def test_a_service_with_anothers_users_names_what_it_lacks(secure_tidemark: Tidemark) -> None:
    running = json.loads((secure_tidemark.folder / "data" / "running.json").read_text())
    told = {
        **running["environment"],
        **running["roles"]["notifier"],
        "TIDEMARK_AGGREGATOR_GROUP": "tidemark-aggregator",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "services.aggregator"],
        env={**os.environ, **told}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("tidemark:")]
    assert "user tidemark-notifier lacks" in line
    assert "on topic platform.raw" in line
    assert "user tidemark_notifier lacks" in line
    assert "ON tidemark.raw_events_store" in line


def test_secrets_are_files_of_their_owner_and_on_no_command_line(secure_tidemark: Tidemark) -> None:
    folder = secure_tidemark.folder / "data" / "secure"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
    held = json.loads((folder / "passwords.json").read_text())
    secrets = [*held["kafka"].values(), *held["clickhouse"].values(), held["registry"]]
    logs = secure_tidemark.folder / "data" / "logs"
    shown = [path.read_text(errors="replace") for path in logs.iterdir()] + [secure_tidemark.log()]
    for pid in secure_tidemark.ready["pids"].values():
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            shown.append(stream.read().decode())
    assert not [secret for secret in secrets for text in shown if secret in text]


def test_nothing_else_listens_and_nobody_else_reads_the_data_folder(secure_tidemark: Tidemark) -> None:
    data = secure_tidemark.data
    seen, found = open_to_others(data)
    assert seen > 100
    assert found == []
    ports = json.loads((data / "ports.json").read_text())
    heard = listening(secure_tidemark.ready["pids"])
    assert {address for _, address in heard.values()} <= {*LOOPBACK}
    assert set(ports.values()) <= heard.keys()
    # The registry has a port of its own for health and metrics, which can't be left out.
    assert {heard[port][0] for port in heard.keys() - set(ports.values())} <= {"registry"}
    # Without TLS only HTTP of the services themselves is spoken: no engine answers a plain request.
    for engine in ("kafka", "kafka_controller", "registry", "clickhouse"):
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{ports[engine]}/", timeout=10, trust_env=False).raise_for_status()


def test_a_second_start_has_the_same_users(secure_tidemark: Tidemark) -> None:
    """The last test here, since it stops what the others use."""
    before = secure_tidemark.ready["kafka_client"]
    assert secure_tidemark.stop() == 0
    secure_tidemark.start("--secure")
    assert secure_tidemark.ready["kafka_client"] == before
    assert secure_tidemark.query("SELECT count() AS n FROM posts")[0]["n"] > 0
