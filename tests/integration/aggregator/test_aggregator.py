"""Raw events to tables and topics, through a real broker, registry and ClickHouse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.events import CatalogTarget
from tests.support.backend import Backend, bluesky_event, now_ms
from tests.support.waiting import wait_until

HOUR = 3_600_000
DAY = 24 * HOUR


def _one(backend: Backend, query: str, **parameters: Any) -> dict[str, Any] | None:
    rows = backend.rows(query, parameters)
    assert len(rows) <= 1, rows
    return rows[0] if rows else None


def _total(backend: Backend, workspace: str, post: str) -> dict[str, Any] | None:
    return _one(
        backend,
        "SELECT * FROM post_totals WHERE workspace_id = {w:String} AND post_id = {p:String}",
        w=workspace,
        p=post,
    )


def _wait_total(backend: Backend, workspace: str, post: str, **expected: Any) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        row = _total(backend, workspace, post)
        return row if row and all(row[name] == value for name, value in expected.items()) else None

    found = wait_until(
        reached,
        20,
        lambda: f"totals {expected}; seen {_total(backend, workspace, post)}; log: {backend.log_tail()}",
    )
    # Totals are stored before what they are made of; the callers look at both.
    backend.settle()
    return found or {}


def test_an_answer_reaches_every_table_and_topic(backend: Backend, workspace: str) -> None:
    published_at = now_ms() - HOUR
    backend.put_channel(workspace, "c1", "bluesky")
    backend.put_post(workspace, "p1", [CatalogTarget("t1", "c1"), CatalogTarget("t2", "c1")], published_at=published_at)
    captured_at = now_ms()
    backend.publish_raw(
        bluesky_event(
            workspace,
            "c1",
            "e1",
            {
                "t1": {"likeCount": 3, "replyCount": 1, "repostCount": 2, "quoteCount": 1},
                "t2": {"likeCount": 4, "replyCount": 0, "repostCount": 0, "quoteCount": 0},
            },
            captured_at=captured_at,
        )
    )
    backend.flush()
    total = _wait_total(backend, workspace, "p1", likes=7)
    assert (total["comments"], total["shares"], total["quotes"], total["views"]) == (1, 3, 1, None)
    assert total["engagements"] == 11
    assert total["engagement_rate"] is None
    assert int(total["captured_at"].timestamp() * 1000) == captured_at
    where = "WHERE workspace_id = {w:String}"
    latest = backend.rows(f"SELECT * FROM latest_post_metrics {where} ORDER BY target_id", {"w": workspace})
    assert [(row["target_id"], row["post_id"], row["likes"], row["platform"]) for row in latest] == [
        ("t1", "p1", 3, "bluesky"),
        ("t2", "p1", 4, "bluesky"),
    ]
    snapshots = backend.rows(f"SELECT * FROM post_snapshots {where} ORDER BY target_id", {"w": workspace})
    assert [(row["target_id"], row["event_id"], row["likes"]) for row in snapshots] == [
        ("t1", "e1", 3),
        ("t2", "e1", 4),
    ]
    raw = backend.rows(f"SELECT * FROM raw_events {where}", {"w": workspace})
    assert [(row["event_id"], row["http_status"], row["targets.target_id"]) for row in raw] == [
        ("e1", 200, ["t1", "t2"])
    ]
    windows = backend.rows(f"SELECT * FROM channel_totals {where} ORDER BY `range`", {"w": workspace})
    assert [(row["range"], row["source"], row["likes"]) for row in windows] == [
        ("24h", "posts", 7),
        ("28d", "posts", 7),
        ("7d", "posts", 7),
    ]
    rollup = backend.latest("rollups.posts")[f"{workspace}/p1"]
    assert (rollup["likes"], rollup["engagements"]) == (7, 11)
    assert [(entry["channel_id"], entry["platform"], entry["likes"]) for entry in rollup["channels"]] == [
        ("c1", "bluesky", 7)
    ]
    assert backend.latest("rollups.channels")[f"{workspace}/c1/7d"]["likes"] == 7
    told = [record for at, record in backend.records("metrics.post-snapshots") if at.startswith(f"{workspace}/")]
    assert [(record["target_id"], record["likes"]) for record in told if record] == [("t1", 3), ("t2", 4)]


def test_the_latest_answer_counts_whatever_the_order(backend: Backend, workspace: str) -> None:
    backend.put_channel(workspace, "c1", "bluesky")
    backend.put_post(workspace, "p1", [CatalogTarget("t1", "c1")], published_at=now_ms() - HOUR)
    base = now_ms() - 60_000
    for event_id, at, likes in (("e2", base + 2000, 20), ("e1", base + 1000, 99), ("e2", base + 2000, 20)):
        backend.publish_raw(bluesky_event(workspace, "c1", event_id, {"t1": {"likeCount": likes}}, captured_at=at))
    # Two answers at one instant: the greater id counts.
    backend.publish_raw(bluesky_event(workspace, "c1", "e3", {"t1": {"likeCount": 30}}, captured_at=base + 3000))
    backend.publish_raw(bluesky_event(workspace, "c1", "e30", {"t1": {"likeCount": 31}}, captured_at=base + 3000))
    backend.publish_raw(bluesky_event(workspace, "c1", "e29", {"t1": {"likeCount": 29}}, captured_at=base + 3000))
    backend.flush()
    _wait_total(backend, workspace, "p1", likes=31)
    count = _one(backend, "SELECT count() AS n FROM post_snapshots WHERE workspace_id = {w:String}", w=workspace)
    assert count == {"n": 5}


def test_metrics_before_the_catalog_count_once_it_comes(backend: Backend, workspace: str) -> None:
    backend.publish_raw(bluesky_event(workspace, "c1", "e1", {"t1": {"likeCount": 5}}))
    backend.settle()
    query = "SELECT count() AS n FROM post_snapshots WHERE workspace_id = {w:String}"
    assert backend.rows(query, {"w": workspace}) == [{"n": 1}]
    assert backend.rows("SELECT * FROM latest_post_metrics WHERE workspace_id = {w:String}", {"w": workspace}) == []
    backend.put_post(workspace, "p1", [CatalogTarget("t1", "c1")], published_at=now_ms() - HOUR)
    backend.put_channel(workspace, "c1", "bluesky")
    _wait_total(backend, workspace, "p1", likes=5)
    windows = backend.rows(
        "SELECT source, likes FROM channel_totals WHERE workspace_id = {w:String} AND `range` = '24h'", {"w": workspace}
    )
    assert windows == [{"source": "posts", "likes": 5}]


def test_deletes_leave_every_total_and_puts_bring_them_back(backend: Backend, workspace: str) -> None:
    backend.put_channel(workspace, "c1", "bluesky")
    backend.put_channel(workspace, "c2", "bluesky")
    both = [CatalogTarget("t1", "c1"), CatalogTarget("t2", "c2")]
    backend.put_post(workspace, "p1", both, published_at=now_ms() - HOUR)
    backend.publish_raw(bluesky_event(workspace, "c1", "e1", {"t1": {"likeCount": 1}}))
    backend.publish_raw(bluesky_event(workspace, "c2", "e2", {"t2": {"likeCount": 10}}))
    backend.flush()
    _wait_total(backend, workspace, "p1", likes=11)
    backend.delete("catalog.channels", workspace, "c2")
    _wait_total(backend, workspace, "p1", likes=1)
    wait_until(
        lambda: f"{workspace}/c2/7d" not in backend.latest("rollups.channels"), 10, "the channel's rollups are gone"
    )
    assert backend.rows("SELECT channel_id FROM channels WHERE workspace_id = {w:String}", {"w": workspace}) == [
        {"channel_id": "c1"}
    ]
    backend.put_channel(workspace, "c2", "bluesky")
    _wait_total(backend, workspace, "p1", likes=11)
    backend.put_post(workspace, "p1", both[1:], published_at=now_ms() - HOUR)
    _wait_total(backend, workspace, "p1", likes=10)
    backend.delete("catalog.posts", workspace, "p1")
    wait_until(lambda: _total(backend, workspace, "p1") is None, 20, backend.log_tail)
    wait_until(lambda: f"{workspace}/p1" not in backend.latest("rollups.posts"), 10, "the post's rollup is gone")
    backend.put_post(workspace, "p1", both, published_at=now_ms() - HOUR)
    _wait_total(backend, workspace, "p1", likes=11)


def test_bad_events_become_dead_letters_and_the_others_count(backend: Backend, workspace: str) -> None:
    backend.put_channel(workspace, "c1", "bluesky")
    backend.put_post(workspace, "p1", [CatalogTarget("t1", "c1")], published_at=now_ms() - HOUR)
    backend.publish_raw(bluesky_event(workspace, "c1", "html", {"t1": {}}, body=b"<html>access_token=abc123</html>"))
    backend.publish_raw(
        bluesky_event(workspace, "c1", "future", {"t1": {"likeCount": 999}}, captured_at=now_ms() + 400_000)
    )
    backend.publish_raw(bluesky_event(workspace, "c1", "down", {"t1": {}}, body=b"<html>502</html>", http_status=502))
    backend.publish("platform.raw", workspace.encode(), workspace, b"not avro")
    backend.publish_raw(bluesky_event(workspace, "c1", "good", {"t1": {"likeCount": 2}}))
    backend.flush()
    _wait_total(backend, workspace, "p1", likes=2)

    def letters() -> list[dict[str, Any]]:
        records = [record for _, record in backend.records("platform.raw.dead-letters") if record]
        return [letter for letter in records if letter["workspace_id"] in (workspace, "")]

    found = wait_until(lambda: held if len(held := letters()) >= 3 else None, 10, "three dead letters") or []
    by_reason = {letter["reason"]: letter for letter in found}
    assert set(by_reason) == {"body_not_json", "captured_in_future", "malformed_event"}
    assert b"abc123" not in by_reason["body_not_json"]["payload"]
    assert by_reason["body_not_json"]["origin_topic"] == backend.settings.topic("platform.raw")
    events = backend.rows("SELECT event_id, body FROM raw_events WHERE workspace_id = {w:String}", {"w": workspace})
    assert {row["event_id"] for row in events} == {"html", "down", "good"}
    assert all("abc123" not in row["body"] for row in events)


def test_an_event_in_another_tenants_partition_is_brought_home(backend: Backend, workspace: str) -> None:
    backend.put_channel(workspace, "c1", "bluesky")
    backend.put_post(workspace, "p1", [CatalogTarget("t1", "c1")], published_at=now_ms() - HOUR)
    event = bluesky_event(workspace, "c1", "e1", {"t1": {"likeCount": 6}})
    value = backend.codec("platform.raw").encode(event)
    for partition in range(4):
        backend.producer.produce(
            backend.settings.topic("platform.raw"), value=value, key=workspace.encode(), partition=partition
        )
    backend.flush()
    _wait_total(backend, workspace, "p1", likes=6)
    raw = "SELECT count() AS n FROM raw_events WHERE workspace_id = {w:String}"
    assert backend.rows(raw, {"w": workspace}) == [{"n": 1}]


def test_windows_are_told_anew_when_their_time_ran_out(backend: Backend, workspace: str) -> None:
    backend.put_channel(workspace, "c1", "bluesky")
    # Leaves the 24h window a few seconds from now.
    backend.put_post(workspace, "p1", [CatalogTarget("t1", "c1")], published_at=now_ms() - DAY + 4000)
    backend.publish_raw(bluesky_event(workspace, "c1", "e1", {"t1": {"likeCount": 8}}))
    backend.flush()
    query = (
        "SELECT likes, source FROM channel_totals "
        "WHERE workspace_id = {w:String} AND channel_id = 'c1' AND `range` = '24h'"
    )
    wait_until(lambda: backend.rows(query, {"w": workspace}) == [{"likes": 8, "source": "posts"}], 10, backend.log_tail)
    wait_until(
        lambda: backend.rows(query, {"w": workspace}) == [{"likes": None, "source": "posts"}], 15, backend.log_tail
    )
    wait_until(
        lambda: backend.latest("rollups.channels")[f"{workspace}/c1/24h"]["likes"] is None, 10, "the topic follows"
    )


def test_a_target_moves_with_its_figures(backend: Backend, workspace: str) -> None:
    backend.put_channel(workspace, "c1", "bluesky")
    backend.put_channel(workspace, "c2", "bluesky")
    at = now_ms() - HOUR
    backend.put_post(workspace, "p1", [CatalogTarget("t1", "c1")], published_at=at)
    backend.publish_raw(bluesky_event(workspace, "c1", "e1", {"t1": {"likeCount": 4}}))
    backend.flush()
    _wait_total(backend, workspace, "p1", likes=4)
    backend.put_post(workspace, "p2", [CatalogTarget("t1", "c2")], published_at=at)
    _wait_total(backend, workspace, "p2", likes=4)
    _wait_total(backend, workspace, "p1", likes=None)
    windows = backend.rows(
        "SELECT channel_id, source, likes FROM channel_totals WHERE workspace_id = {w:String} AND `range` = '7d' "
        "ORDER BY channel_id",
        {"w": workspace},
    )
    assert windows == [
        {"channel_id": "c1", "source": "none", "likes": None},
        {"channel_id": "c2", "source": "posts", "likes": 4},
    ]


def test_a_target_of_several_posts_is_the_newest_ones_that_lists_it(backend: Backend, workspace: str) -> None:
    backend.put_channel(workspace, "c1", "bluesky")
    at = now_ms() - HOUR
    shared = CatalogTarget("t1", "c1")
    backend.put_post(workspace, "p9", [shared, CatalogTarget("t2", "c1")], published_at=at)
    backend.publish_raw(bluesky_event(workspace, "c1", "e1", {"t1": {"likeCount": 4}, "t2": {"likeCount": 10}}))
    backend.flush()
    _wait_total(backend, workspace, "p9", likes=14)
    backend.put_post(workspace, "p1", [shared], published_at=at)
    _wait_total(backend, workspace, "p1", likes=4)
    _wait_total(backend, workspace, "p9", likes=10)
    # Let go in each of the ways that there are, it falls to the older post, which lists it still.
    ways: tuple[Callable[[], None], ...] = (
        lambda: backend.put_post(workspace, "p1", [], published_at=at),
        lambda: backend.put_post(workspace, "p1", [CatalogTarget("t1", "c1", status="deleted")], published_at=at),
        lambda: backend.put_post(workspace, "p1", [shared], published_at=at, status="deleted"),
        lambda: backend.delete("catalog.posts", workspace, "p1"),
    )
    for let_go in ways:
        let_go()
        _wait_total(backend, workspace, "p9", likes=14)
        backend.put_post(workspace, "p1", [shared], published_at=at)
        _wait_total(backend, workspace, "p1", likes=4)
        _wait_total(backend, workspace, "p9", likes=10)


def test_posts_that_list_a_target_are_found_by_the_index(backend: Backend) -> None:
    plan = backend.rows(
        "EXPLAIN indexes = 1 SELECT post_id FROM posts_store WHERE workspace_id IN ['w'] AND hasAny(target_ids, ['t1'])"
    )
    assert any("by_target" in row["explain"] for row in plan), plan
