"""The public surfaces of a running Tidemark, used with clients that the project did not write."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Any

import clickhouse_connect
import httpx
import orjson
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.demo import expected
from infra.demo.checks import Checker
from infra.demo.report import Report
from infra.demo.scene import make_scene
from schemas.topic_specs import topic_specs
from tests.support.tidemark import RawPublisher, Tidemark, kafka_options, registry_options
from tests.support.waiting import wait_until


def _event(workspace: str, event_id: str, likes: int) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "workspace_id": workspace,
        "channel_id": "c",
        "platform": "bluesky",
        "kind": "POST_METRICS",
        "endpoint": "/xrpc/app.bsky.feed.getPosts",
        "request": {"uris": "at://t"},
        "targets": [{"target_id": "t", "post_id": "p", "external_id": "at://t"}],
        "http_status": 200,
        "body": orjson.dumps({"posts": [{"uri": "at://t", "likeCount": likes}]}),
        "captured_at": datetime.now(UTC),
        "origin": "BACKFILL",
    }


def read_all(ready: dict[str, Any], topic: str) -> list[tuple[str, Any]]:
    """A topic from its beginning to its end, with Confluent's consumer and deserializer."""
    deserializer = AvroDeserializer(SchemaRegistryClient(registry_options(ready)))
    consumer = Consumer(
        {
            **kafka_options(ready),
            "group.id": secrets.token_hex(8),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
        }
    )
    found: list[tuple[str, Any]] = []
    try:
        partitions = consumer.list_topics(topic, timeout=15).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        ended: set[int] = set()
        deadline = time.monotonic() + 30
        while len(ended) < len(partitions):
            assert time.monotonic() < deadline, f"{topic} has no end"
            message = consumer.poll(0.5)
            if message is None:
                continue
            if message.error() is not None:
                ended.add(message.partition() or 0)
                continue
            value = message.value()
            context = SerializationContext(topic, MessageField.VALUE)
            # A tombstone has no value.
            found.append(((message.key() or b"").decode(), None if value is None else deserializer(value, context)))
    finally:
        consumer.close()
    return found


def test_confluent_clients_publish_raw_events_and_read_snapshots(tidemark: Tidemark) -> None:
    workspace = f"confluent-{secrets.token_hex(3)}"
    publisher = RawPublisher(tidemark.ready)
    publisher.publish(_event(workspace, "e1", 41))
    publisher.publish(_event(workspace, "e2", 42))
    publisher.flush()

    def told() -> list[Any]:
        snapshots = read_all(tidemark.ready, "metrics.post-snapshots")
        return [value for message_key, value in snapshots if message_key == f"{workspace}/t"]

    found = wait_until(lambda: held if len(held := told()) == 2 else None, 20, lambda: tidemark.log("aggregator"))
    assert found is not None
    assert [(value["event_id"], value["likes"], value["views"], value["origin"]) for value in found] == [
        ("e1", 41, None, "BACKFILL"),
        ("e2", 42, None, "BACKFILL"),
    ]
    assert isinstance(found[0]["captured_at"], datetime)


def test_an_event_of_a_newer_schema_is_read(tidemark: Tidemark) -> None:
    from confluent_kafka.schema_registry import Schema
    from confluent_kafka.schema_registry.avro import AvroSerializer

    from schemas.codec import schema_text

    workspace = f"newer-{secrets.token_hex(3)}"
    tidemark.put_channel(workspace, "c", status="disabled")
    published_at = datetime.now(UTC).isoformat()
    tidemark.put_post(
        workspace, "p", [{"target_id": "t", "channel_id": "c", "status": "published"}], published_at=published_at
    )
    newer = orjson.loads(schema_text("platform.raw"))
    newer["fields"].append({"name": "region", "type": "string", "default": "", "doc": "Where the poller ran."})
    registry = SchemaRegistryClient({"url": tidemark.ready["schema_registry"], "timeout": 10})
    # Registered apart from the topic's own subject, so that other tests see the schemas of today.
    text = orjson.dumps(newer).decode()
    registry.register_schema(f"{workspace}-value", Schema(text, "AVRO"))
    serializer = AvroSerializer(
        registry, text, conf={"auto.register.schemas": False, "subject.name.strategy": lambda *_: f"{workspace}-value"}
    )
    publisher = RawPublisher(tidemark.ready)
    publisher._serializer = serializer
    publisher.publish({**_event(workspace, "e1", 7), "region": "eu"})
    publisher.flush()
    wait_until(
        lambda: tidemark.get(workspace, "/api/v1/posts/p/insights").json().get("totals", {}).get("likes") == 7,
        20,
        lambda: tidemark.log("aggregator"),
    )


def test_an_empty_workspace_and_an_unknown_channel(tidemark: Tidemark) -> None:
    workspace = f"empty-{secrets.token_hex(3)}"
    assert tidemark.get(workspace, "/v1/analytics").json() == {"data": []}
    assert tidemark.get(workspace, "/api/v1/channels/none/insights").status_code == 404
    publisher = RawPublisher(tidemark.ready)
    publisher.publish(_event(workspace, "e1", 1))
    publisher.flush()
    query = f"SELECT likes FROM post_snapshots WHERE workspace_id = '{workspace}'"
    wait_until(lambda: tidemark.query(query) == [{"likes": 1}], 20, lambda: tidemark.log("aggregator"))
    assert tidemark.query(f"SELECT * FROM latest_post_metrics WHERE workspace_id = '{workspace}'") == []
    assert tidemark.get(workspace, "/api/v1/posts/p/insights").status_code == 404


def test_kafka_metadata_names_every_topic(tidemark: Tidemark) -> None:
    metadata = AdminClient({"bootstrap.servers": tidemark.ready["kafka"]}).list_topics(timeout=15)
    assert {spec.name for spec in topic_specs()} <= set(metadata.topics)
    assert {len(metadata.topics[spec.name].partitions) for spec in topic_specs()} == {4}


@pytest.fixture
def clickhouse(tidemark: Tidemark) -> Client:
    """The vendor's client on the read-write user."""
    return clickhouse_connect.get_client(dsn=tidemark.ready["clickhouse"], autogenerate_session_id=False)


def test_clickhouse_connect_runs_ddl_inserts_streams_and_errors(clickhouse: Client) -> None:
    table = f"scratch_{secrets.token_hex(3)}"
    clickhouse.command(
        f"CREATE TABLE {table} (n UInt64, s String, d Nullable(Decimal(18, 3))) ENGINE = MergeTree ORDER BY n"
    )
    rows = 100_000
    columns: list[list[Any]] = [list(range(rows)), [f"row {n}" for n in range(rows)], [None] * rows]
    clickhouse.insert(table, columns, column_names=["n", "s", "d"], column_oriented=True)
    total = clickhouse.query(
        f"SELECT count(), sum(n) FROM {table} WHERE n >= {{least:UInt64}}", parameters={"least": 10}
    ).result_rows
    assert total == [(rows - 10, sum(range(10, rows)))]
    with clickhouse.query_row_block_stream(f"SELECT n FROM {table} ORDER BY n") as stream:
        assert sum(len(block) for block in stream) == rows
    with pytest.raises(DatabaseError) as failure:
        clickhouse.query(f"SELECT * FROM {table}_missing")
    assert failure.value.code == 60
    clickhouse.command(f"DROP TABLE {table}")


def test_the_analyst_reads_and_can_do_nothing_else(tidemark: Tidemark) -> None:
    analyst = clickhouse_connect.get_client(dsn=tidemark.ready["clickhouse_analyst"], autogenerate_session_id=False)
    assert analyst.query("SELECT count() FROM posts").result_rows[0][0] >= 0
    for statement in (
        "DROP TABLE posts_store",
        "SELECT 1 INTO OUTFILE '/tmp/stolen'",
        "SELECT * FROM url('http://127.0.0.1/')",
    ):
        with pytest.raises(DatabaseError):
            analyst.command(statement)


def test_bad_requests_get_problem_json_without_a_traceback(tidemark: Tidemark) -> None:
    api = tidemark.ready["query_api"]
    for path, headers, status in (
        ("/api/v1/posts/p/insights", {}, 401),
        ("/api/v1/posts/p/insights", {"Authorization": "Bearer pml_live_wrong"}, 401),
        ("/nowhere", {}, 404),
        ("/admin/v1/workspaces/w/keys", {}, 401),
    ):
        method = "POST" if path.startswith("/admin") else "GET"
        reply = httpx.request(method, api + path, headers=headers, trust_env=False)
        assert reply.status_code == status, (path, reply.text)
        assert reply.headers["content-type"].startswith("application/problem+json")
        assert {"type", "title", "status", "detail", "code", "message"} <= reply.json().keys()
        assert "Traceback" not in reply.text
    reply = tidemark.admin("PUT", "/admin/v1/workspaces/w/channels/c", {"platform": "myspace"})
    assert (reply.status_code, reply.headers["content-type"].split(";")[0]) == (422, "application/problem+json")
    assert tidemark.get("w", "/v1/analytics?days=0").status_code == 422


def test_the_demo_passes_on_right_numbers_and_notices_a_wrong_one(
    tidemark: Tidemark, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    scene = make_scene()
    report = Report(Console(quiet=True))
    checker = Checker(tidemark.ready, scene, report)
    checker.register()
    wait_until(lambda: checker.measured() >= len(scene.targets), 60, lambda: tidemark.log("poller"))
    wait_until(lambda: checker.followed() >= len(scene.platforms), 40, lambda: tidemark.log("poller"))

    def passes() -> bool:
        # Polling goes on sixty-fold here: an answer may be newer than the record that was looked up before it.
        report.wrong.clear()
        checker.check_all(checker.followers())
        return not report.wrong

    wait_until(passes, 40, lambda: "; ".join(report.wrong))
    assert report.compared > 50
    monkeypatch.setitem(expected._FIELDS["bluesky"], "likes", ("replyCount",))
    report.wrong.clear()
    checker.check_all(checker.followers())
    assert any("likes" in line for line in report.wrong)
    checker.close()
