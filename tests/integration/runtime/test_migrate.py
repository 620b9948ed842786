"""`tidemark migrate` on a real ClickHouse: twice, by two at once, and retention by setting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import clickhouse_connect
import pytest

from schemas.metrics import CHANNEL_NAMES, POST_NAMES
from services.runtime.migrations import MigrationError, connect, migrate, migrations
from services.runtime.settings import ClickHouseSettings

PUBLIC = (
    "post_snapshots", "channel_snapshots", "latest_post_metrics", "post_totals", "channel_totals", "posts", "channels",
    "raw_events",
)  # fmt: skip


def _settings(url: str, **more: object) -> ClickHouseSettings:
    return ClickHouseSettings.model_validate({"clickhouse_url": url, **more})


def test_two_at_once_and_again(clickhouse_url: str) -> None:
    settings = _settings(clickhouse_url)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: list(migrate(settings)), range(2)))
    lines = list(migrate(settings))
    assert sum("there already" in line for line in lines) == len(migrations())
    client = connect(settings, settings.clickhouse_database)
    columns = client.query(
        "SELECT table, name, comment FROM system.columns WHERE database = currentDatabase()"
    ).result_rows
    for view in PUBLIC:
        held = {name: comment for table, name, comment in columns if table == view}
        assert held, view
        assert all(held.values()), f"{view} has columns without a comment"
        assert client.query(f"SELECT * FROM {view}").result_rows == []
    by_view = {view: {name for table, name, _ in columns if table == view} for view in PUBLIC}
    assert {*POST_NAMES, "engagements", "engagement_rate"} <= by_view["post_totals"] & by_view["latest_post_metrics"]
    assert {*CHANNEL_NAMES, "range", "source", "window_start", "window_end"} <= by_view["channel_totals"]
    client.close()


def test_rows_survive_the_copy_of_a_table(clickhouse_url: str) -> None:
    settings = _settings(clickhouse_url)
    list(migrate(settings))
    client = connect(settings, settings.clickhouse_database)
    client.command(
        "INSERT INTO posts_store (workspace_id, post_id, status, targets, version) "
        "SELECT 'w1', toString(number), 'published', '[]', 1 FROM numbers(1000)"
    )
    client.command(
        "INSERT INTO post_totals_store (workspace_id, post_id, version) VALUES ('w1', '7', 5), ('w1', '7', 6)"
    )
    client.command("ALTER TABLE schema_migrations DELETE WHERE number = 10", settings={"mutations_sync": 2})
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: list(migrate(settings)), range(2)))
    assert client.query("SELECT count(), uniqExact(post_id) FROM posts_store").result_rows == [(1000, 1000)]
    assert client.query("SELECT post_id, version FROM post_totals_store FINAL").result_rows == [("7", 6)]
    tables = "SELECT name FROM system.tables WHERE database = currentDatabase() AND match(name, '_store_[0-9a-f]{8}$')"
    assert client.query(tables).result_rows == []
    client.close()


def test_retention_follows_the_settings(clickhouse_url: str) -> None:
    list(migrate(_settings(clickhouse_url)))

    def engine(table: str) -> str:
        client = clickhouse_connect.get_client(dsn=clickhouse_url, autogenerate_session_id=False)
        query = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {t:String}"
        found = str(client.query(query, parameters={"t": table}).result_rows[0][0])
        client.close()
        return found

    assert "TTL" not in engine("raw_events_store")
    kept = _settings(clickhouse_url, raw_events_retention_days=400, snapshots_retention_days=90)
    assert any("400 days" in line for line in list(migrate(kept)))
    assert "toIntervalDay(400)" in engine("raw_events_store")
    assert "toIntervalDay(90)" in engine("post_snapshots_store")
    assert not any("days" in line for line in list(migrate(kept)))
    assert any("for ever" in line for line in list(migrate(_settings(clickhouse_url))))
    assert "TTL" not in engine("raw_events_store")


def test_an_edited_migration_is_refused(clickhouse_url: str) -> None:
    settings = _settings(clickhouse_url)
    list(migrate(settings))
    client = connect(settings, settings.clickhouse_database)
    client.command(
        "INSERT INTO schema_migrations SELECT number, name, 'other', now64(3) + 1 FROM schema_migrations FINAL "
        "WHERE number = 1"
    )
    with pytest.raises(MigrationError, match="0001_create_active_generations was applied in another wording"):
        list(migrate(settings))
    client.close()


def test_an_address_that_does_not_answer_is_one_line() -> None:
    with pytest.raises(MigrationError, match="TIDEMARK_CLICKHOUSE_URL"):
        list(migrate(_settings("http://default:@127.0.0.1:9/tidemark")))
