"""What an operator does after a disaster, as `docs/operations.md` says it, on a whole installation.

Each drill ends with a clean audit and the answers of before, or names what can't be known. With `-s` it prints how long
it took until numbers could be read again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from infra.sandbox.ids import make_id
from services.runtime.clock import MILLIS_PER_DAY, iso_millis
from services.runtime.kafka import partition_of
from tests.support.backend import now_ms
from tests.support.installations import (
    TOKEN,
    WORKSPACES,
    Stopwatch,
    answer,
    answers,
    command,
    difference,
    external_id,
    fill,
    go_on,
    make_keys,
    put_post,
    rows,
    started,
)
from tests.support.log_files import cut
from tests.support.receiver import Receiver, receiving_in_a_thread
from tests.support.tidemark import RawPublisher, Tidemark
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]
BUSY = WORKSPACES[0]
ENGINES_ALONE = [f"--without={name}" for name in ("topics", "aggregator", "query-api", "notifier")]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving_in_a_thread() as made:
        yield made


def change_the_catalog(tidemark: Tidemark) -> None:
    """What happens after the backup: a post is edited, one is made, one deleted; newer figures come."""
    put_post(tidemark, BUSY, 1, status="failed")
    target = {"target_id": "t-new", "channel_id": "c1", "status": "published", "external_id": external_id(77)}
    tidemark.put_post(BUSY, "p-new", [target], published_at="2026-01-02T00:00:00Z")
    tidemark.admin("DELETE", f"/admin/v1/workspaces/{BUSY}/posts/p10").raise_for_status()
    go_on(tidemark, (2, 3), 5_001)


def settled(tidemark: Tidemark) -> None:
    """Wait until the catalog's writes are in its tables."""
    sql = f"SELECT count() AS n FROM posts WHERE workspace_id = '{BUSY}' AND (post_id = 'p-new' OR status = 'failed')"
    wait_until(lambda: tidemark.query(sql) == [{"n": 2}], 60, lambda: tidemark.log("aggregator"))
    gone = f"SELECT count() AS n FROM posts WHERE workspace_id = '{BUSY}' AND post_id = 'p10'"
    wait_until(lambda: tidemark.query(gone) == [{"n": 0}], 60, lambda: tidemark.log("aggregator"))


def is_as_before(
    tidemark: Tidemark, keys: Mapping[str, str], told: Mapping[str, Any], held: Mapping[str, Any], watch: Stopwatch
) -> None:
    """The tables and every product's answers equal those of before."""
    wait_until(
        lambda: answers(tidemark, dict(keys)) == told,
        60,
        lambda: difference(answers(tidemark, dict(keys)), dict(told)),
    )
    watch.told("numbers can be read")
    assert "no differences" in command(tidemark, "audit")
    seen = rows(tidemark)
    for view, expected in held.items():
        assert seen[view] == expected, view


def test_clickhouse_is_lost_with_all_tables(tmp_path: Path) -> None:
    archive = tmp_path / "backup"
    with started(tmp_path / "up") as tidemark:
        fill(tidemark)
        keys = make_keys(tidemark)
        command(tidemark, "backup", "create", str(archive))
        change_the_catalog(tidemark)
        settled(tidemark)
        told, held = answers(tidemark, keys), rows(tidemark)
        epochs = versions(tidemark)
    shutil.rmtree(tmp_path / "up" / "data" / "clickhouse")
    watch = Stopwatch("ClickHouse lost")
    with started(tmp_path / "up") as tidemark:
        command(tidemark, "backup", "restore", str(archive), "--lost", "clickhouse")
        command(tidemark, "rebuild")
        # The catalog is the topics', with what was written after the backup; figures since then are platform.raw's.
        is_as_before(tidemark, keys, told, held, watch)
        # Rollups on the topic carry versions: newer ones are greater, also where the tables forgot who owned what.
        after = versions(tidemark)
        assert all(after[partition] > epoch for partition, epoch in epochs.items()), (epochs, after)


def versions(tidemark: Tidemark) -> dict[int, int]:
    """The newest epoch of each partition."""
    found = tidemark.query("SELECT partition, max(epoch) AS epoch FROM partition_claims GROUP BY partition")
    return {int(row["partition"]): int(row["epoch"]) for row in found}


def test_kafka_is_lost_with_all_topics(tmp_path: Path, receiver: Receiver) -> None:
    archive = tmp_path / "backup"
    with started(tmp_path / "up") as tidemark:
        fill(tidemark)
        keys = make_keys(tidemark)
        told_before = webhooks(tidemark, receiver)
        command(tidemark, "backup", "create", str(archive))
        change_the_catalog(tidemark)
        tidemark.put_channel(BUSY, "c-new", access_token=TOKEN)
        settled(tidemark)
        log = f"SELECT count() AS n FROM channels WHERE workspace_id = '{BUSY}' AND channel_id = 'c-new'"
        wait_until(lambda: tidemark.query(log) == [{"n": 1}], 60, "the new channel is mirrored")
        told, held = answers(tidemark, keys), rows(tidemark)
        offsets = raw_offsets(tidemark)
    shutil.rmtree(tmp_path / "up" / "data" / "kafka")
    watch = Stopwatch("Kafka lost")
    with started(tmp_path / "up") as tidemark:
        said = command(tidemark, "backup", "restore", str(archive), "--lost", "kafka")
        assert f"catalog.channels: 1 newer than the backup, taken from ClickHouse: {BUSY}/c-new" in said
        assert "their tokens can't be known: PUT these channels again" in said
        # Events that come while a rebuild runs have the offsets of others that were stored before.
        publisher = RawPublisher(tidemark.ready)
        command(tidemark, "rebuild")
        is_as_before(tidemark, keys, told, held, watch)
        for number in range(4):
            publisher.publish(answer(BUSY, number, now_ms(), 9_001))
        publisher.flush()
        sql = "SELECT count() AS n FROM post_totals WHERE likes = 9001"
        wait_until(lambda: tidemark.query(sql) == [{"n": 4}], 60, lambda: tidemark.log("aggregator"))
        assert "no differences" in command(tidemark, "audit")
        assert max(raw_offsets(tidemark)) < max(offsets)
        # Of webhooks nothing is told twice, and what was due goes on.
        receiver.decide = lambda _: "ok"
        wait_until(lambda: receiver.taken("due"), 240, lambda: tidemark.log("notifier"))
        ids = [request.headers["webhook-id"] for request in receiver.of("told")]
        assert ids[: len(told_before)] == told_before
        assert len(ids) == len(set(ids))


def raw_offsets(tidemark: Tidemark) -> list[int]:
    """Offsets of raw events that count as those of the topic."""
    sql = "SELECT offset FROM raw_events WHERE NOT startsWith(topic, 'restored:')"
    return [int(row["offset"]) for row in tidemark.query(sql)]


def webhooks(tidemark: Tidemark, receiver: Receiver) -> list[str]:
    """One webhook that was told of accounts, and one whose receiver fails; returns the ids of what was told."""
    receiver.decide = lambda path: "500" if "due" in path else "ok"
    scopes = {"scopes": ["analytics:read", "webhooks:write"], "style": "tidemark"}
    made = tidemark.admin("POST", f"/admin/v1/workspaces/{BUSY}/keys", scopes).raise_for_status().json()
    with httpx.Client(
        base_url=tidemark.ready["query_api"], headers={"Authorization": f"Bearer {made['key']}"}, timeout=30,
        trust_env=False,
    ) as client:  # fmt: skip
        for name in ("told", "due"):
            hook = {"url": receiver.url(name), "types": ["metrics.changed"]}
            client.post("/tidemark/v1/webhooks", json=hook).raise_for_status()
    go_on(tidemark, (5,), 4_001)
    wait_until(lambda: receiver.taken("told") and receiver.of("due"), 60, lambda: tidemark.log("notifier"))
    sql = "SELECT count() AS n FROM webhook_deliveries FINAL WHERE status = 'pending' AND tries > 0"
    wait_until(lambda: tidemark.query(sql) != [{"n": 0}], 60, lambda: tidemark.log("notifier"))
    return [request.headers["webhook-id"] for request in receiver.taken("told")]


def test_both_engines_are_set_back_to_an_older_instant(tmp_path: Path) -> None:
    """Disks of both engines come back as they were; the query API's store and the registry have gone on meanwhile."""
    data = tmp_path / "up" / "data"
    with started(tmp_path / "up") as tidemark:
        fill(tidemark)
        keys = make_keys(tidemark)
        told, held = answers(tidemark, keys), rows(tidemark)
    for name in ("kafka", "clickhouse"):
        shutil.copytree(data / name, tmp_path / name, symlinks=True)
    with started(tmp_path / "up") as tidemark:
        change_the_catalog(tidemark)
        settled(tidemark)
        wait_until(lambda: "p-new" in str(tidemark.get(BUSY, "/tidemark/v1/posts?limit=100").json()), 60, "it is read")
    for name in ("kafka", "clickhouse"):
        shutil.rmtree(data / name)
        shutil.move(tmp_path / name, data / name)
    watch = Stopwatch("both engines set back")
    with started(tmp_path / "up", "--without", "query-api") as tidemark:
        # As many messages come as were lost: each position of before is within its topic again.
        publisher = RawPublisher(tidemark.ready)
        for number in (2, 3, 5, 6, 7, 8):
            for likes in range(30):
                publisher.publish(answer(BUSY, number, now_ms() - 3_600_000 * 48 - likes, likes))
        publisher.flush()
        sql = f"SELECT count() AS n FROM raw_events WHERE workspace_id = '{BUSY}'"
        wait_until(lambda: int(tidemark.query(sql)[0]["n"]) > 180, 60, lambda: tidemark.log("aggregator"))
    with started(tmp_path / "up") as tidemark:
        # Older answers change no latest figure, so the answers are those of before.
        same = {name: held[name] for name in ("post_totals", "latest_post_metrics", "posts", "channels")}
        is_as_before(tidemark, keys, told, same, watch)


def test_the_registry_is_lost(tmp_path: Path) -> None:
    archive = tmp_path / "backup"
    with started(tmp_path / "up", *ENGINES_ALONE) as tidemark:
        # Somebody else's schema came first, so ids are others than a new registry would give.
        client = SchemaRegistryClient({"url": tidemark.ready["schema_registry"], "timeout": 10})
        foreign = Schema('{"type": "record", "name": "Foreign", "fields": [{"name": "a", "type": "int"}]}', "AVRO")
        client.register_schema("foreign-value", foreign)
    with started(tmp_path / "up") as tidemark:
        fill(tidemark)
        keys = make_keys(tidemark)
        told, held = answers(tidemark, keys), rows(tidemark)
        before = schema_ids(tidemark)
        command(tidemark, "backup", "create", str(archive))
    shutil.rmtree(tmp_path / "up" / "data" / "registry")
    watch = Stopwatch("registry lost")
    lost = Tidemark(tmp_path / "up")
    (tmp_path / "up" / "ready.json").unlink(missing_ok=True)
    # What would register the schemas anew, under other ids, does not.
    with pytest.raises(AssertionError, match=r"restore FILE --lost registry"):
        lost.start("--without", "poller")
    with started(tmp_path / "up", *ENGINES_ALONE) as tidemark:
        command(tidemark, "backup", "restore", str(archive), "--lost", "registry")
        assert schema_ids(tidemark) == before
    with started(tmp_path / "up") as tidemark:
        assert schema_ids(tidemark) == before
        is_as_before(tidemark, keys, told, held, watch)
        go_on(tidemark, (4,), 7_001)
        assert "no differences" in command(tidemark, "audit")


def schema_ids(tidemark: Tidemark) -> dict[str, list[int]]:
    """By subject of ours, the ids of its versions."""
    client = SchemaRegistryClient({"url": tidemark.ready["schema_registry"], "timeout": 10})
    return {
        subject: [int(client.get_version(subject, version).schema_id or 0) for version in client.get_versions(subject)]
        for subject in client.get_subjects()
        if subject != "foreign-value"
    }


def test_partitions_logs_are_cut_short(tmp_path: Path) -> None:
    """A crash takes the last messages of three topics, and newer ones come before anybody reads the topics again."""
    archive = tmp_path / "backup"
    log = tmp_path / "up" / "data" / "kafka" / "log"
    with started(tmp_path / "up") as tidemark:
        fill(tidemark)
        keys = make_keys(tidemark)
        command(tidemark, "backup", "create", str(archive))
        change_the_catalog(tidemark)
        settled(tidemark)
        posts = rows(tidemark)["posts"]
    partition = partition_of(BUSY, len(list(log.glob("platform.raw-*"))))
    lost = cut(log, "platform.raw", partition, 2)
    cut(log, "rollups.posts", partition, 4)
    cut(log, "catalog.posts", partition, 3)
    watch = Stopwatch("logs cut short")
    numbers = range(9)
    with started(tmp_path / "up", "--without", "aggregator", "--without", "query-api") as tidemark:
        publisher = RawPublisher(tidemark.ready)
        for _ in range(1 + lost // len(numbers)):
            for number in numbers:
                publisher.publish(answer(BUSY, number, now_ms(), 6_001))
        publisher.flush()
    with started(tmp_path / "up", *ENGINES_ALONE) as tidemark:
        # An aggregator would have the mirror agree with what is left of the topic.
        command(tidemark, "backup", "restore", str(archive), "--lost", "kafka", "--force")
    with started(tmp_path / "up") as tidemark:
        # The aggregator stands behind messages that it never saw: the audit names them, and the rebuild stores them.
        assert "raw_events" in command(tidemark, "audit", code=1)
        command(tidemark, "rebuild")
        sql = f"SELECT count() AS n FROM post_totals WHERE workspace_id = '{BUSY}' AND likes = 6001"
        wait_until(lambda: tidemark.query(sql) == [{"n": len(numbers)}], 60, lambda: tidemark.log("aggregator"))
        watch.told("numbers can be read")
        assert "no differences" in command(tidemark, "audit")
        assert rows(tidemark)["posts"] == posts, "what was written last is there, as its mirror has it"
        path = "/tidemark/v1/posts/p2"
        wait_until(lambda: "6001" in str(answers(tidemark, keys)[f"{BUSY} {path}"]), 60, "the API shows them")


def test_a_region_comes_back_after_two_days(tmp_path: Path, receiver: Receiver) -> None:
    """Everything stands still for two days: polls and tries are overdue, windows have moved on."""
    two_days = 2 * MILLIS_PER_DAY
    clock = Path(__file__).parents[1] / "support" / "moved_clock"
    moved = {"PYTHONPATH": str(clock), "PYTHON_TEST_CLOCK_MOVED_MS": str(-two_days)}
    receiver.decide = lambda _: "500"
    numbers = range(6)
    with started(tmp_path / "up", environment=moved, polls=True) as tidemark:
        scopes = {"scopes": ["analytics:read", "webhooks:write"], "style": "tidemark"}
        made = tidemark.admin("POST", f"/admin/v1/workspaces/{BUSY}/keys", scopes).raise_for_status().json()
        headers = {"Authorization": f"Bearer {made['key']}"}
        hook = {"url": receiver.url("overdue"), "types": ["metrics.changed"]}
        httpx.post(
            f"{tidemark.ready['query_api']}/tidemark/v1/webhooks", json=hook, headers=headers, timeout=30,
            trust_env=False,
        ).raise_for_status()  # fmt: skip
        tidemark.put_channel(BUSY, "c1", access_token="sandbox-two-days")
        published = now_ms() - two_days - 3_600_000
        for number in numbers:
            target = {"target_id": f"t{number}", "channel_id": "c1", "status": "published",
                      "external_id": make_id("bluesky", published, number)}  # fmt: skip
            tidemark.put_post(BUSY, f"p{number}", [target], published_at=iso_millis(published))
        polled = "SELECT count() AS n FROM post_totals WHERE likes IS NOT NULL"
        wait_until(lambda: tidemark.query(polled) == [{"n": len(numbers)}], 120, lambda: tidemark.log("poller"))
        waiting = "SELECT delivery_id FROM webhook_deliveries FINAL WHERE status = 'pending' AND tries > 0"
        due = wait_until(lambda: tidemark.query(waiting), 60, lambda: tidemark.log("notifier"))
    receiver.decide = lambda _: "ok"
    watch, since = Stopwatch("back after two days"), now_ms()
    with started(tmp_path / "up", polls=True) as tidemark:
        fresh = f"SELECT count() AS n FROM post_totals WHERE captured_at >= fromUnixTimestamp64Milli({since})"
        wait_until(lambda: tidemark.query(fresh) == [{"n": len(numbers)}], 120, lambda: tidemark.log("poller"))
        watch.told("every post has new figures")
        wait_until(
            lambda: {row["delivery_id"] for row in due} <= {r.headers["webhook-id"] for r in receiver.taken("overdue")},
            120, lambda: tidemark.log("notifier"),
        )  # fmt: skip
        watch.told("every delivery that was due is made")
        windows = f"SELECT count() AS n FROM channel_totals WHERE window_end < fromUnixTimestamp64Milli({since})"
        wait_until(lambda: tidemark.query(windows) == [{"n": 0}], 60, lambda: tidemark.log("aggregator"))
        # Two days of polls are not made up for: of each call one, and what is due by itself meanwhile.
        calls = f"SELECT count() AS n FROM raw_events WHERE captured_at >= fromUnixTimestamp64Milli({since})"
        seconds = (now_ms() - since) / 1000
        assert int(tidemark.query(calls)[0]["n"]) <= 4 + seconds / 60
        assert "no differences" in command(tidemark, "audit")
