"""The audit finds nothing in what the aggregator wrote, and everything that was changed behind its back."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from schemas.codec import Codec
from schemas.events import CatalogTarget, PlatformRaw
from services.aggregator.audit import raw_events
from services.aggregator.audit.command import MENDS
from services.aggregator.audit.plan import Part, Sample
from services.aggregator.audit.run import CHECKS, AuditSettings, Options, Summary, audit
from services.aggregator.audit.store import AuditFailed, AuditStore, Difference
from services.aggregator.reading import Message, check_message
from services.cli import app
from services.runtime.clock import SystemClock
from services.runtime.kafka import key
from tests.support.backend import Backend, bluesky_event, now_ms
from tests.support.properties import part_of
from tests.support.random_tenants import RandomTenant
from tests.support.state_store import StateStore
from tests.support.waiting import wait_until

HOUR = 3_600_000
DAY = 24 * HOUR
QUICK = {"retries": 2, "grace_seconds": 0.05}


def _settings(backend: Backend) -> AuditSettings:
    return AuditSettings.model_validate(backend.settings.model_dump())


def _audit(backend: Backend, workspace: str | None, **options: Any) -> list[Difference]:
    chosen = Options(workspace, **{**QUICK, **options})
    return list(audit(_settings(backend), chosen, SystemClock(), lambda *_: None, Summary()))


def _fill(backend: Backend, workspaces: Sequence[str]) -> None:
    """Two channels, two posts and figures a workspace, everywhere readable."""
    at = now_ms() - HOUR
    for name in workspaces:
        for channel in ("c1", "c2"):
            backend.put_channel(name, channel, "bluesky")
        backend.put_post(name, "p1", [CatalogTarget("t1", "c1"), CatalogTarget("t2", "c2")], published_at=at)
        backend.put_post(name, "p2", [CatalogTarget("t3", "c1")], published_at=at)
        backend.publish_raw(bluesky_event(name, "c1", "e1", {"t1": {"likeCount": 5}, "t3": {"likeCount": 2}}))
        backend.publish_raw(bluesky_event(name, "c2", "e2", {"t2": {"likeCount": 7, "replyCount": 1}}))
    # An audit that finds what is still on its way is made again.
    backend.settle()
    query = "SELECT sum(likes) AS likes FROM post_totals WHERE workspace_id IN {w:Array(String)}"
    wait_until(lambda: backend.rows(query, {"w": workspaces})[0]["likes"] == 14 * len(workspaces), 30, backend.log_tail)


def _plant(backend: Backend, table: str, change: str, where: str, workspace: str) -> None:
    """Store a newer row of a thing with another figure, as a bug would."""
    backend.clickhouse.command(
        f"INSERT INTO {table} SELECT * REPLACE ({change}, version + 1 AS version) FROM {table} FINAL "
        f"WHERE workspace_id = {{w:String}} AND {where}",
        parameters={"w": workspace},
    )


# Table, what is changed in it, of which row, and where the audit must see it.
PLANTED = (
    ("latest_post_metrics_store", "likes + 1 AS likes", "target_id = 't1'", "latest_post_metrics", "likes"),
    ("latest_post_metrics_store", "NULL AS likes", "target_id = 't1'", "latest_post_metrics", "likes"),
    ("latest_post_metrics_store", "toUInt8(0) AS is_listed", "target_id = 't3'", "latest_post_metrics", "is_listed"),
    ("latest_post_metrics_store", "'c2' AS channel_id", "target_id = 't3'", "latest_post_metrics", "channel_id"),
    (
        "latest_post_metrics_store", "published_at + toIntervalMillisecond(1) AS published_at", "target_id = 't3'",
        "latest_post_metrics", "published_at",
    ),
    ("post_totals_store", "likes - 1 AS likes", "post_id = 'p1'", "post_totals", "likes"),
    ("post_totals_store", "toUInt8(1) AS is_deleted", "post_id = 'p1'", "post_totals", "row"),
    ("channel_totals_store", "0 AS likes", "channel_id = 'c1' AND `range` = '7d'", "channel_totals", "likes"),
    ("channel_totals_store", "'none' AS source", "channel_id = 'c1'", "channel_totals", "source"),
    ("channel_totals_store", "toUInt8(1) AS is_deleted", "channel_id = 'c1'", "channel_totals", "row"),
    (
        "channel_totals_store", "valid_until + toIntervalDay(30) AS valid_until",
        "channel_id = 'c1' AND `range` = '24h'",
        "channel_totals", "likes",
    ),
    ("posts_store", "toUInt8(1) AS is_deleted", "post_id = 'p2'", "latest_post_metrics", "is_listed"),
    ("channels_store", "toUInt8(1) AS is_deleted", "channel_id = 'c2'", "channel_totals", "row"),
)  # fmt: skip


@pytest.fixture(scope="module")
def filled(backend: Backend) -> list[str]:
    """As many filled workspaces at rest as tests take of them: what is planted is not written over."""
    names = [f"w-{secrets.token_hex(4)}" for _ in range(len(PLANTED) + 6)]
    _fill(backend, names)
    wait_until(lambda: _audit(backend, None) == [], 30, lambda: str(_audit(backend, None)))
    return names


@pytest.fixture
def tenant(filled: list[str]) -> str:
    """A filled workspace of one test's own."""
    return filled.pop()


def test_changed_rows_are_found_and_nothing_else(backend: Backend, filled: list[str]) -> None:
    names = [filled.pop() for _ in PLANTED]
    for name, (table, change, where, _, _) in zip(names, PLANTED, strict=True):
        _plant(backend, table, change, where, name)
    found = _audit(backend, None)
    for name, (_, change, _, check, field) in zip(names, PLANTED, strict=True):
        seen = {
            (difference.check, said)
            for difference in found
            if difference.workspace_id == name
            for said, _, _ in difference.fields
        }
        assert (check, field) in seen, change
    assert {difference.workspace_id for difference in found} == set(names)


def test_a_lost_snapshot_is_found(backend: Backend, tenant: str) -> None:
    backend.clickhouse.command(
        "ALTER TABLE post_snapshots_store DELETE WHERE workspace_id = {w:String} AND target_id = 't1'",
        parameters={"w": tenant},
        settings={"mutations_sync": 2},
    )
    (difference,) = _audit(backend, tenant)
    assert (difference.check, difference.label) == ("latest_post_metrics", "t1")
    assert ("likes", "5", None) in difference.fields


def test_a_changed_rollup_and_a_missing_tombstone_are_found(backend: Backend, tenant: str) -> None:
    codec = backend.registry.record_codec("rollups.posts")
    message_key = f"{tenant}/p1"
    record = backend.latest("rollups.posts")[message_key]
    backend.publish("rollups.posts", message_key.encode(), tenant, codec.encode({**record, "likes": 999}))
    backend.publish("rollups.posts", key(tenant, "gone"), tenant, codec.encode({**record, "post_id": "gone"}))
    backend.publish("rollups.channels", key(tenant, "c1", "7d"), tenant, None)
    backend.flush()
    found = {difference.label: difference for difference in _audit(backend, tenant)}
    assert found["p1"].fields == (("likes", "999", "12"),)
    assert found["gone"].fields == (("message", "present", "absent"),)
    assert found["c1/7d"].fields == (("message", "absent", "present"),)
    assert len(found) == 3


def test_raw_events_among_poison_are_compared_by_their_ids(
    backend: Backend, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        backend.publish_raw(bluesky_event(workspace, "c1", f"e{number}", {"t1": {"likeCount": number}}))
        backend.publish("platform.raw", b"k", workspace, b"rubbish")
    backend.settle()
    # A small partition is read without a look at its rows.
    monkeypatch.setattr(raw_events, "_FEW", 0)
    decoded: list[str] = []

    def checked(codec: Codec[PlatformRaw], message: Message) -> PlatformRaw:
        event = check_message(codec, message)
        decoded.extend([event.event_id] if event.workspace_id == workspace else [])
        return event

    monkeypatch.setattr(raw_events, "check_message", checked)
    shown: list[str] = []

    def differing() -> set[tuple[str, str]]:
        decoded.clear()
        options = Options(workspace, retries=2, grace_seconds=0.05)
        found = audit(_settings(backend), options, SystemClock(), lambda what, *_: shown.append(what), Summary())
        return {(difference.check, difference.key) for difference in found}

    assert differing() == set()
    assert decoded == []
    assert any(what.startswith("platform.raw partition ") and " of " in what for what in shown)
    # One row is lost; another one's offset has a row of another event, as after a log was cut short and written on.
    command, parameters = backend.clickhouse.command, {"w": workspace}
    command(
        "INSERT INTO raw_events_store SELECT * REPLACE ('strange' AS event_id) FROM raw_events_store "
        "WHERE workspace_id = {w:String} AND event_id = 'e7'",
        parameters=parameters,
    )
    command(
        "ALTER TABLE raw_events_store DELETE WHERE workspace_id = {w:String} AND event_id IN ('e3', 'e7')",
        parameters=parameters,
        settings={"mutations_sync": 2},
    )
    assert differing() == {("raw_events", "e3"), ("raw_events", "e7")}
    assert sorted(decoded) == ["e3", "e7"]


def test_the_command_prints_what_differs_and_exits_by_it(backend: Backend, tenant: str) -> None:
    def run(**environment: str) -> Result:
        options = ["--workspace", tenant, "--grace-seconds", "0.05", "--retries", "2"]
        return CliRunner().invoke(app, ["audit", *options], env={**backend.environment, **environment})

    clean = run()
    assert (clean.exit_code, clean.stdout) == (0, ""), clean.stderr
    assert "no differences" in clean.stderr
    (times,) = [line for line in clean.stderr.splitlines() if line.startswith("audit: by step: ")]
    timed = {step.split(" ")[0] for step in times.removeprefix("audit: by step: ").split(", ")}
    assert timed == {"start", "platform.raw", *MENDS} - {"raw_events"}
    _plant(backend, "post_totals_store", "likes + 1 AS likes", "post_id = 'p1'", tenant)
    different = run()
    assert different.exit_code == 1
    assert f"post_totals\t{tenant}\tp1\tlikes\tstored 13\trecomputed 12\n" in different.stdout
    bad = run(TIDEMARK_CLICKHOUSE_URL="nonsense")
    assert bad.exit_code == 2
    assert bad.stderr.count("\n") == 1
    assert "TIDEMARK_CLICKHOUSE_URL" in bad.stderr
    away = run(TIDEMARK_CLICKHOUSE_URL="http://default:x@127.0.0.1:1/tidemark")
    assert away.exit_code == 2


def test_shares_of_a_large_tenant_hold_each_thing_once(backend: Backend, tenant: str) -> None:
    for column in ("likes + 1 AS likes", "shares AS shares"):
        _plant(backend, "latest_post_metrics_store", column, "1", tenant)
    store = AuditStore(_settings(backend), SystemClock(), 1024)
    found = [
        difference.label
        for share in range(3)
        for difference in store.differences(CHECKS[0], Part((tenant,), 1, share, 3))
    ]
    assert sorted(found) == ["t1", "t2", "t3"]


def test_a_sample_of_nothing_finds_nothing(backend: Backend, tenant: str) -> None:
    _plant(backend, "post_totals_store", "likes + 1 AS likes", "post_id = 'p1'", tenant)
    assert _audit(backend, tenant, sample=Sample(0.0)) == []


def test_an_audit_does_not_judge_while_a_rebuild_takes_over(bare_backend: Backend) -> None:
    insert = "INSERT INTO rebuilds SELECT 7, {state:String}, '{}', now64(3), now64(3)"
    bare_backend.clickhouse.command(insert, parameters={"state": "handover"})
    with pytest.raises(AuditFailed, match="a rebuild is being taken over"):
        _audit(bare_backend, None)
    bare_backend.clickhouse.command(insert, parameters={"state": "done"})
    assert _audit(bare_backend, None) == []


async def _store_random(
    backend: Backend, seeds: Mapping[str, int], keep: Callable[[str, dict[str, Any]], bool]
) -> AuditStore:
    """Random tenants in the tables, but for rows that `keep` refuses.

    Args:
        seeds: by the tenant's name.
    """
    store = StateStore()
    for name, seed in seeds.items():
        await RandomTenant(store, name, now_ms() - 3 * DAY, seed).live(40)
    for table, rows in store.tables.items():
        kept = [row for row in rows.values() if keep(table, row)]
        if table != "raw_events_store" and kept:
            columns = list(kept[0])
            backend.clickhouse.insert(table, [[row[column] for column in columns] for row in kept], columns)
    return AuditStore(_settings(backend), SystemClock(), 1024)


@pytest.mark.hypothesis
async def test_folds_and_sql_agree_on_random_tenants(bare_backend: Backend) -> None:
    """Two independent readings of the contract: the aggregator's folds, and the audit's statements."""
    seeds = {f"w{number}": number for number in part_of(range(60))}
    store = await _store_random(bare_backend, seeds, lambda *_: True)
    sources = bare_backend.rows("SELECT DISTINCT source FROM channel_totals_store WHERE is_deleted = 0")
    assert {row["source"] for row in sources} == {"channel", "posts", "none"}
    for check in CHECKS:
        assert store.differences(check, Part(tuple(seeds), 0)) == [], seeds


async def test_figures_of_snapshots_past_their_retention_are_not_judged(bare_backend: Backend) -> None:
    seeds = {f"old{number}": number for number in range(10)}
    since = now_ms() - DAY
    keeping = await _store_random(
        bare_backend, seeds, lambda table, row: "snapshots" not in table or row["captured_at"] >= since
    )
    part = Part(tuple(seeds), 0)
    assert keeping.differences(CHECKS[0], part), "kept for ever, they must be there"
    assert keeping.differences(CHECKS[1], part)
    try:
        for table in ("post_snapshots_store", "channel_snapshots_store"):
            bare_backend.clickhouse.command(
                f"ALTER TABLE {table} MODIFY TTL toDateTime(captured_at) + toIntervalDay(2)",
                settings={"materialize_ttl_after_modify": 0},
            )
        forgetting = AuditStore(_settings(bare_backend), SystemClock(), 1024)
        for check in CHECKS:
            assert forgetting.differences(check, part) == []
    finally:
        for table in ("post_snapshots_store", "channel_snapshots_store"):
            bare_backend.clickhouse.command(f"ALTER TABLE {table} REMOVE TTL")
