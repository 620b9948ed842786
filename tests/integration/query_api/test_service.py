"""The service as a process on real Kafka, registry and ClickHouse."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from schemas.events import ApiKey
from services.query_api.admin.catalog import KEYS
from services.query_api.serving.auth import key_hash, new_key
from services.runtime.kafka import confluent_options, partition_of
from services.runtime.registry import Registry
from services.runtime.settings import KafkaSettings, RegistrySettings
from tests.integration.query_api.rows import Store
from tests.integration.query_api.running import ADMIN, CHANNEL, Service
from tests.support.engines import Engines
from tests.support.query_api import target, values
from tests.support.unreadable import send_unreadable

Records = list[tuple[int, bytes, bytes | None]]


@pytest.fixture
def read_topic(kafka_settings: KafkaSettings) -> Callable[[str, str], Records]:
    """Reads a topic whole: partition, key and value of each record of the workspaces whose ids begin so."""

    def read(name: str, workspaces: str) -> Records:
        consumer = Consumer(
            {
                **confluent_options(kafka_settings),
                "group.id": f"{kafka_settings.topic_prefix}reader",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 20,
            }
        )
        topic = kafka_settings.topic(name)
        consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in range(kafka_settings.topic_partitions)])
        records: Records = []
        ended: set[int] = set()
        deadline = time.monotonic() + 20
        while len(ended) < kafka_settings.topic_partitions:
            assert time.monotonic() < deadline, f"{name} was not read to its end"
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error():
                ended.add(message.partition() or 0)
                continue
            key, value = message.key(), message.value()
            assert isinstance(key, bytes)
            assert value is None or isinstance(value, bytes)
            if key.startswith(workspaces.encode()):
                records.append((message.partition() or 0, key, value))
        consumer.close()
        return records

    return read


def test_a_key_works_at_once_and_after_a_restart_and_not_once_revoked(service: Service, store: Store) -> None:
    key_id, headers = service.make_key("w1")
    assert service.client.get("/api/v1/posts/p1/insights", headers=headers).status_code == 404
    assert service.client.put("/admin/v1/workspaces/w1/channels/c1", json=CHANNEL, headers=ADMIN).status_code == 200
    store.post("w1", "p1", [target("t1", values=values(views=7), captured_at=1_000)])
    assert service.client.get("/api/v1/posts/p1/insights", headers=headers).json()["totals"]["views"] == 7
    service.restart()
    assert service.client.get("/api/v1/posts/p1/insights", headers=headers).json()["totals"]["views"] == 7
    path = f"/admin/v1/workspaces/w1/keys/{key_id}"
    assert service.client.delete(path, headers=ADMIN).status_code == 204
    assert service.client.get("/api/v1/posts/p1/insights", headers=headers).status_code == 401
    assert service.client.delete(path, headers=ADMIN).status_code == 404
    service.restart()
    assert service.client.get("/api/v1/posts/p1/insights", headers=headers).status_code == 401


async def test_what_others_write_on_the_topics_of_keys_opens_nothing_and_stops_nothing(
    service: Service, engines: Engines, kafka_settings: KafkaSettings, store: Store
) -> None:
    partitions = kafka_settings.topic_partitions
    codec = Registry(RegistrySettings(schema_registry_url=engines.schema_registry_url), kafka_settings).codec(KEYS)
    forged, mine = new_key("tidemark"), partition_of("stranger", partitions)

    def record(workspace_id: str) -> bytes:
        return codec.encode(ApiKey(workspace_id, "k1", key_hash(forged), ("analytics:read",), "tidemark", 1))

    # One without a key is refused by the broker already.
    delivered: list[object] = []
    producer = Producer({**confluent_options(kafka_settings), "on_delivery": lambda error, _: delivered.append(error)})
    for partition, message_key, value in (
        (mine, b"stranger/k1", record("victim")),
        ((mine + 1) % partitions, b"stranger/k1", record("stranger")),
        (mine, b"\xff/k1", record("stranger")),
        (mine, b"stranger", record("stranger")),
        (mine, b"stranger/k1", b"nonsense"),
    ):
        producer.produce(kafka_settings.topic(KEYS), value, message_key, partition)
    assert producer.flush(20) == 0
    assert delivered == [None] * 5
    for partition in range(partitions):
        for topic in (KEYS, "catalog.channels", "catalog.posts", "rollups.posts"):
            await send_unreadable(kafka_settings, topic, partition, b"stranger/k1")
    store.post("victim", "p1", [target("t1", values=values(views=7), captured_at=1_000)])
    service.restart()
    reply = service.client.get("/api/v1/posts/p1/insights", headers={"authorization": f"Bearer {forged}"})
    assert reply.status_code == 401
    # What is written well is still read, in every partition.
    for number in range(2 * partitions):
        path = f"/admin/v1/workspaces/after{number}/keys"
        made = service.client.post(path, json={"scopes": ["analytics:read"], "style": "tidemark"}, headers=ADMIN).json()
        if number == 2 * partitions - 1:
            service.restart()
        headers = {"authorization": f"Bearer {made['key']}"}
        assert service.client.get("/api/v1/posts/p1/insights", headers=headers).status_code == 404
    metrics = service.client.get("/metrics", headers=ADMIN).text
    refused = dict.fromkeys(("key_and_value_differ", "wrong_partition", "malformed_key", "unreadable_key"), 1)
    # The messages with headers that aren't UTF-8 are read, one of each partition; their value is nonsense, too.
    refused["unreadable_value"] = 1 + partitions
    for reason, count in refused.items():
        assert f'refused_records_total{{reason="{reason}",topic="{KEYS}"}} {count}.0' in metrics


def test_a_write_is_an_event_in_its_tenants_partition(
    service: Service,
    engines: Engines,
    kafka_settings: KafkaSettings,
    read_topic: Callable[[str, str], Records],
) -> None:
    secret = "token-that-must-not-show"
    body = {**CHANNEL, "access_token": secret, "refresh_token": None}
    for workspace_id in ("event1", "event2", "event3"):
        path = f"/admin/v1/workspaces/{workspace_id}/channels/c1"
        assert service.client.put(path, json=body, headers=ADMIN).status_code == 200
        assert service.client.put(path, json=body, headers=ADMIN).status_code == 200
    post = {"status": "published", "targets": [{"target_id": "t1", "channel_id": "c1", "status": "published"}]}
    assert service.client.put("/admin/v1/workspaces/event1/posts/p1", json=post, headers=ADMIN).status_code == 200
    channels, tokens = read_topic("catalog.channels", "event"), read_topic("catalog.tokens", "event")
    assert (len(channels), len(tokens)) == (6, 3)  # the same PUT again brings no new token
    for partition, key, value in channels + tokens:
        assert partition == partition_of(key.decode().split("/")[0], kafka_settings.topic_partitions)
        assert value is not None
        assert secret.encode() not in value
    registry = Registry(RegistrySettings(schema_registry_url=engines.schema_registry_url), kafka_settings)
    ((_, key, value),) = read_topic("catalog.posts", "event")
    assert key == b"event1/p1"
    assert value is not None
    assert registry.codec("catalog.posts").decode(value).targets[0].channel_id == "c1"
    assert secret not in service.log.read_text()
    service.restart()
    assert service.client.put("/admin/v1/workspaces/event1/channels/c1", json=body, headers=ADMIN).status_code == 200
    assert len(read_topic("catalog.tokens", "event")) == 3  # also after a restart
    assert service.client.delete("/admin/v1/workspaces/event1/channels/c1", headers=ADMIN).status_code == 204
    assert (b"event1/c1", None) in [record[1:] for record in read_topic("catalog.tokens", "event")]


def test_many_lines_in_one_request(service: Service, read_topic: Callable[[str, str], Records]) -> None:
    def lines() -> Iterator[bytes]:
        for number in range(3_000):
            yield (
                f'{{"type": "post", "workspace_id": "bulk{number % 5}", "id": "p{number}", "status": "published", '
                f'"targets": [{{"target_id": "t{number}", "channel_id": "c1", "status": "published"}}]}}\n'
            ).encode()
            if number == 10:
                yield b'{"type": "post"}\n'

    reply = service.client.post("/admin/v1/catalog", content=lines(), headers=ADMIN)
    assert reply.json()["accepted"] == 3_000, reply.text
    assert [entry["line"] for entry in reply.json()["rejected"]] == [12]
    assert len({key for _, key, _ in read_topic("catalog.posts", "bulk")}) == 3_000


def test_a_clean_stop_and_one_line_for_a_taken_port(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "services.query_api"],
            env={**os.environ, **service.environment, "TIDEMARK_QUERY_API_PORT": port},
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert ended.returncode != 0
    assert ended.stderr.count("\n") == 1
    assert "TIDEMARK_QUERY_API_PORT" in ended.stderr
    assert service.stop() == 0
    service.restart()


def test_one_line_for_a_bad_setting(service: Service) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "services.query_api"],
        env={**os.environ, **service.environment, "TIDEMARK_RATE_LIMIT": "many"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode != 0
    assert ended.stderr.count("\n") == 1
    assert "TIDEMARK_RATE_LIMIT" in ended.stderr
