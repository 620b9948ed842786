"""A backup of topics and tables, restored into other topics and tables, also in two parts; nobody folds meanwhile."""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.events import CatalogTarget
from services.aggregator.audit.run import AuditSettings
from services.aggregator.backup import raw_rows, restore
from services.aggregator.backup.archive import BackupError, Reader
from services.aggregator.backup.create import create
from services.aggregator.backup.topic_messages import TopicWriter
from services.aggregator.backup.workspace import export
from services.runtime.clock import SystemClock
from services.runtime.migrations import migrate
from services.runtime.settings import KafkaSettings
from tests.integration.aggregator.conftest import make_backend
from tests.support.backend import PARTITIONS, Backend, bluesky_event
from tests.support.engines import Engines
from tests.support.waiting import PATIENCE

TOPICS = ("catalog.channels", "catalog.posts", "catalog.tokens", "catalog.api-keys", "accounts.events")
EVENTS = 30
RAW = "SELECT * EXCEPT (topic, partition, offset) FROM raw_events WHERE workspace_id = {w:String} ORDER BY event_id"


def settings_of(backend: Backend) -> AuditSettings:
    told = {name.removeprefix("TIDEMARK_").lower(): value for name, value in backend.environment.items()}
    return AuditSettings.model_validate({name: told[name] for name in AuditSettings.model_fields if name in told})


def silent(_: str) -> None:
    """Shows no progress."""


def abort_a_transaction(backend: Backend) -> None:
    """Leave what nobody ever reads at the end of each partition of raw events."""
    producer = Producer(
        {
            "bootstrap.servers": backend.settings.kafka_bootstrap,
            "transactional.id": f"stranger-{secrets.token_hex(4)}",
        }
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.produce(backend.settings.topic("platform.raw"), b"rubbish", b"ghost", partition)
    producer.flush(30)
    producer.abort_transaction(30)


@pytest.fixture
def archive(backend: Backend, workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup of a channel, a deleted one, posts and raw events, in several pages."""
    # Nobody reads a message under a key that is no text. It comes first: the position after a message that is refused
    # is committed together with the next write.
    backend.publish("catalog.posts", b"\xff\xfe", workspace, b"\0\0\0\0\1")
    backend.flush()
    backend.put_channel(workspace, "c1", "bluesky")
    backend.put_channel(workspace, "gone", "bluesky")
    backend.delete("catalog.channels", workspace, "gone")
    for number in range(3):
        backend.put_post(
            workspace, f"p{number}", [CatalogTarget(f"t{number}", "c1", "", "published", f"at://t{number}")]
        )
    for number in range(EVENTS):
        body = b"\xff\x00 no JSON" if number == 7 else None
        backend.publish_raw(
            bluesky_event(workspace, "c1", f"e{number:03}", {f"t{number % 3}": {"likeCount": number}}, body=body)
        )
    backend.settle()
    abort_a_transaction(backend)
    monkeypatch.setattr(raw_rows, "_ROWS_PER_PAGE", 13)
    path = tmp_path / "backup"
    create(settings_of(backend), path, SystemClock(), 30 * PATIENCE, silent)
    return path


def told(backend: Backend, workspace: str) -> dict[str, dict[str, Any]]:
    """The last value of every key of a workspace, by topic."""
    return {
        topic: {key: value for key, value in backend.latest(topic).items() if key.startswith(workspace)}
        for topic in TOPICS
    }


def test_what_was_saved_is_there_again(
    backend: Backend, engines: Engines, workspace: str, archive: Path, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with Reader(archive) as reader:
        pages = [member for member in reader.manifest.members if member.name.startswith("raw_events/")]
        assert len(pages) > 2
        posts = next(m for m in reader.manifest.members if m.name == "topics/catalog.posts.ndjson")
        keys = [base64.b64decode(orjson.loads(line)["k"]) for line in reader.lines(posts)]
    assert b"\xff\xfe" not in keys
    for fresh in make_backend(engines, tmp_path_factory):
        settings = settings_of(fresh)
        _break_off_once(monkeypatch)
        with pytest.raises(BackupError, match="the network went away"):
            restore.restore(settings, archive, is_forced=False, show=silent)
        # What is there now is of the restore that was stopped, so this one goes on with it.
        restore.restore(settings, archive, is_forced=False, show=silent)
        assert not archive.with_name("backup.restoring").exists()
        assert told(fresh, workspace) == told(backend, workspace)
        assert f"{workspace}/gone" not in fresh.latest("catalog.channels")
        rows = fresh.rows(RAW, {"w": workspace})
        assert len(rows) == EVENTS
        assert rows == backend.rows(RAW, {"w": workspace})
        topics = {row["topic"] for row in fresh.rows("SELECT DISTINCT topic FROM raw_events")}
        assert topics == {f"restored:{backend.settings.topic('platform.raw')}"}
        with pytest.raises(BackupError, match=r"not empty .*rows in raw_events.*messages in .*catalog\.posts"):
            restore.restore(settings, archive, is_forced=False, show=silent)
        # On top of itself it changes nothing, and a backup of what was restored is the same again.
        restore.restore(settings, archive, is_forced=True, show=silent)
        assert told(fresh, workspace) == told(backend, workspace)
        assert fresh.rows(RAW, {"w": workspace}) == rows


def test_a_workspaces_export_holds_its_data_and_nothing_of_others(
    backend: Backend, workspace: str, archive: Path, tmp_path: Path
) -> None:
    backend.put_channel(f"{workspace}-other", "c9", "bluesky")
    backend.publish_raw(bluesky_event(f"{workspace}-other", "c9", "secret-of-others", {"t9": {"likeCount": 9}}))
    backend.settle()
    path = tmp_path / "export"
    manifest = export(settings_of(backend), workspace, path, SystemClock(), silent)
    counts = {member.name: member.count for member in manifest.members}
    assert counts["catalog.ndjson"] == 4, "a channel and three posts; the deleted channel is none"
    assert counts["raw_events.parquet"] == EVENTS
    assert counts["post_totals.parquet"] == 3
    assert counts["post_snapshots.parquet"] == EVENTS - 1
    with Reader(path) as reader:
        content = {m.name: b"".join(reader.chunks(m)) for m in reader.manifest.members}
    lines = [orjson.loads(line) for line in content["catalog.ndjson"].splitlines()]
    assert {(line["type"], line["id"]) for line in lines} == {
        ("channel", "c1"), ("post", "p0"), ("post", "p1"), ("post", "p2"),
    }  # fmt: skip
    table = pyarrow.parquet.read_table(io.BytesIO(content["raw_events.parquet"]))
    assert set(table["workspace_id"].to_pylist()) <= {workspace, workspace.encode()}
    assert table.num_rows == EVENTS
    assert not [name for name, part in content.items() if b"secret-of-others" in part]
    with pytest.raises(BackupError, match="is the export of the workspace"):
        restore.restore(settings_of(backend), path, is_forced=True, show=silent)
    with pytest.raises(BackupError, match="nothing is held of a workspace nobody"):
        export(settings_of(backend), "nobody", tmp_path / "nothing", SystemClock(), silent)
    assert not (tmp_path / "nothing").exists()


def test_a_backup_does_not_lack_what_the_aggregator_has_not_stored(bare_backend: Backend, tmp_path: Path) -> None:
    bare_backend.publish_raw(bluesky_event("w-behind", "c1", "e1", {"t1": {"likeCount": 1}}))
    bare_backend.flush()
    with pytest.raises(BackupError, match="the aggregator is 1 event behind"):
        create(settings_of(bare_backend), tmp_path / "backup", SystemClock(), 0, silent)
    assert list(tmp_path.iterdir()) == []


def test_schema_ids_become_those_of_the_other_registry() -> None:
    writer = TopicWriter(KafkaSettings(kafka_bootstrap="127.0.0.1:1"), "catalog.posts", {7: 4242})
    assert writer._with_own_id(b"\0\0\0\0\7rest") == b"\0\0\0\x10\x92rest"
    # Without a known schema a value stays as unreadable as it was.
    assert writer._with_own_id(b"\0\0\0\0\x08rest") == b"\0\0\0\0\x08rest"
    assert writer._with_own_id(b"x") == b"x"


def _break_off_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third part of the next restore fails."""
    original, calls = restore._Restore._write, []

    def write(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise BackupError("the network went away")
        original(*arguments)

    monkeypatch.setattr(restore._Restore, "_write", write)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_lost_tables_come_back_from_the_topics_and_the_backup(
    engines: Engines, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """ClickHouse is lost with all tables, and `platform.raw` no longer holds the older half of the events."""
    views = ("post_totals", "latest_post_metrics", "post_snapshots", "posts")
    for backend in make_backend(engines, tmp_path_factory):
        backend.start_aggregator()
        backend.put_channel("w-lost", "c1", "bluesky")
        backend.put_post("w-lost", "p1", [CatalogTarget("t1", "c1", "", "published", "at://t1")])
        for number in range(20):
            backend.publish_raw(bluesky_event("w-lost", "c1", f"e{number:02}", {"t1": {"likeCount": number}}))
        backend.settle()
        create(settings_of(backend), tmp_path / "backup", SystemClock(), 30, silent)
        _forget_raw(backend, keep=5)
        before = _content(backend, views)
        backend.kill_aggregator()
        database = backend.settings.clickhouse_database
        backend.clickhouse.command(f"DROP DATABASE {database} SYNC")
        list(migrate(backend.settings))
        backend.start_aggregator()
        restore.restore(
            settings_of(backend), tmp_path / "backup", is_forced=True, show=silent, lost=restore.Lost.CLICKHOUSE
        )
        backend.command("rebuild")
        backend.command("audit", "--grace-seconds", "0")
        assert _content(backend, views) == before


def _forget_raw(backend: Backend, keep: int) -> None:
    """Have the topic forget all but its newest messages, as its retention does."""
    topic = backend.settings.topic("platform.raw")
    admin = AdminClient({"bootstrap.servers": backend.settings.kafka_bootstrap})
    consumer = Consumer({"bootstrap.servers": backend.settings.kafka_bootstrap, "group.id": "forgets"})
    ends = [TopicPartition(topic, n, consumer.get_watermark_offsets(TopicPartition(topic, n))[1]) for n in range(4)]
    consumer.close()
    cut = [TopicPartition(place.topic, place.partition, max(place.offset - keep, 0)) for place in ends]
    for done in admin.delete_records(cut).values():
        done.result(20)


def _content(backend: Backend, views: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    shown = {"posts": "* EXCEPT (updated_at)"}
    return {view: backend.rows(f"SELECT {shown.get(view, '*')} FROM {view} ORDER BY ALL") for view in views}
