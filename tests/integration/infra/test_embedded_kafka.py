"""The embedded broker: real clients work, messages of 8 MiB pass, and nothing is lost to SIGKILL."""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.embedded.kafka import MAX_MESSAGE_BYTES
from tests.support.engines import EmbeddedEngines, Engines
from tests.support.waiting import wait_until

CLIENT_LIMIT_BYTES = MAX_MESSAGE_BYTES + 64 * 1024


def create_topic(bootstrap: str, name: str, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, 1, 1, config=config)])[name].result(20)


def consume_all(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    values: list[bytes] = []

    def enough() -> bool:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            value = message.value()
            assert isinstance(value, bytes)
            values.append(value)
        return len(values) >= count

    try:
        wait_until(enough, 30, lambda: f"{count} messages of {topic}, {len(values)} so far")
    finally:
        consumer.close()
    return values


async def test_aiokafka_writes_and_confluent_reads(engines: Engines, topic_prefix: str) -> None:
    topic = f"{topic_prefix}events"
    create_topic(engines.kafka_bootstrap, topic)
    producer = AIOKafkaProducer(bootstrap_servers=engines.kafka_bootstrap, acks="all", compression_type="zstd")
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"first", key=b"w1")
    finally:
        await producer.stop()
    assert consume_all(engines.kafka_bootstrap, topic, 1) == [b"first"]


async def test_a_message_of_8_mib_passes_both_ways(engines: Engines, topic_prefix: str) -> None:
    topic = f"{topic_prefix}large"
    create_topic(engines.kafka_bootstrap, topic)
    large = b"x" * MAX_MESSAGE_BYTES
    producer = AIOKafkaProducer(bootstrap_servers=engines.kafka_bootstrap, max_request_size=CLIENT_LIMIT_BYTES)
    await producer.start()
    try:
        await producer.send_and_wait(topic, large)
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=engines.kafka_bootstrap, max_partition_fetch_bytes=CLIENT_LIMIT_BYTES, group_id=None
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        assert (await consumer.getone()).value == large
    finally:
        await consumer.stop()


def test_metadata_names_loopback_only_and_topics_are_not_made_by_accident(engines: Engines, topic_prefix: str) -> None:
    admin = AdminClient({"bootstrap.servers": engines.kafka_bootstrap})
    metadata = admin.list_topics(topic=f"{topic_prefix}nobody-made-this", timeout=10)
    assert {broker.host for broker in metadata.brokers.values()} == {"127.0.0.1"}
    assert f"{topic_prefix}nobody-made-this" not in admin.list_topics(timeout=10).topics


def test_transactions_work(engines: Engines, topic_prefix: str) -> None:
    topic = f"{topic_prefix}transactional"
    create_topic(engines.kafka_bootstrap, topic)
    producer = Producer({"bootstrap.servers": engines.kafka_bootstrap, "transactional.id": f"{topic_prefix}0"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    producer.abort_transaction(20)
    producer.begin_transaction()
    producer.produce(topic, b"committed")
    producer.commit_transaction(20)
    assert consume_all(engines.kafka_bootstrap, topic, 1) == [b"committed"]


def test_sigkill_loses_nothing(embedded_engines: EmbeddedEngines, topic_prefix: str) -> None:
    broker = embedded_engines.kafka
    topic = f"{topic_prefix}durable"
    create_topic(broker.bootstrap, topic)
    cluster_id = broker.cluster_id
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "log_level": 0})
    expected = [f"value {number}".encode() for number in range(100)]
    for value in expected:
        producer.produce(topic, value)
    assert producer.flush(20) == 0

    child = embedded_engines.child("kafka")
    child.signal_group(signal.SIGKILL)
    wait_until(lambda: child.poll() is not None, 10, "the broker's end")
    broker.prepare()
    embedded_engines.start("kafka", broker.command(), broker.answers)

    assert consume_all(broker.bootstrap, topic, 100) == expected
    assert AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=10).cluster_id == cluster_id


@pytest.mark.long
def test_many_large_requests_at_once_do_not_end_the_broker(embedded_engines: EmbeddedEngines) -> None:
    """The broker makes room for a request once it knows its length, and keeps it until the rest has come."""
    broker = embedded_engines.kafka
    child = embedded_engines.child("kafka")
    with contextlib.ExitStack() as open_connections:
        for _ in range(28):
            connection = open_connections.enter_context(socket.create_connection(("127.0.0.1", broker.port), 10))
            connection.sendall(struct.pack(">i", MAX_MESSAGE_BYTES))
        for _ in range(8):
            assert broker.answers()
    assert child.poll() is None
    assert broker.answers()


@pytest.mark.long
def test_a_cluster_of_three_survives_one(embedded_engines: EmbeddedEngines, topic_prefix: str) -> None:
    brokers = embedded_engines.start_cluster(3)
    bootstrap = ",".join(broker.bootstrap for broker in brokers)
    topic = f"{topic_prefix}replicated"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 3, 3)])[topic].result(30)
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "log_level": 0})
    for number in range(100):
        producer.produce(topic, f"before {number}".encode())
    assert producer.flush(30) == 0

    folder = brokers[0].folder.parent.name
    embedded_engines.child(f"{folder}-1").signal_group(signal.SIGKILL)
    for number in range(100):
        producer.produce(topic, f"after {number}".encode())
    assert producer.flush(60) == 0

    survivors = ",".join(broker.bootstrap for broker in brokers[1:])
    assert len(set(consume_all(survivors, topic, 200))) == 200
    embedded_engines.stop_cluster(brokers)
