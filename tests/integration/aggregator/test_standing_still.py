"""What tells an aggregator that is stuck from one that has nothing to read."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as ConfluentPartition

from services.aggregator.health import Ends
from services.runtime.brokers import Place
from services.runtime.kafka import confluent_options
from services.runtime.kafka_brokers import KafkaBrokers
from services.status.probe import ask_kafka
from tests.support.backend import Backend
from tests.support.waiting import wait_until


def _publish(backend: Backend, topic: str, workspace: str) -> None:
    """One message in a transaction: the message takes an offset, and so does the transaction's end."""
    producer = Producer({**confluent_options(backend.settings), "transactional.id": f"test-{workspace}"})
    producer.init_transactions()
    end = _end(backend, topic)
    producer.begin_transaction()
    producer.produce(topic, value=b"event", partition=0)
    producer.commit_transaction()
    # The broker writes the marker after it has answered.
    wait_until(lambda: _end(backend, topic) == end + 2, 15, "the transaction's end is in the log")


def _end(backend: Backend, topic: str) -> int:
    consumer = Consumer({**confluent_options(backend.settings), "group.id": "test"})
    try:
        return int(consumer.get_watermark_offsets(ConfluentPartition(topic, 0), timeout=10)[1])
    finally:
        consumer.close()


async def test_only_messages_are_work(bare_backend: Backend, workspace: str) -> None:
    topic = bare_backend.settings.topic("accounts.events")
    _publish(bare_backend, topic, workspace)
    place = Place("accounts.events", 0)
    reader = KafkaBrokers(bare_backend.settings).reader(is_committed=False)
    await reader.start()
    try:
        ends = Ends(reader)

        async def looked(committed: int) -> int:
            return await ends.end(place, committed, (await reader.bounds([place]))[place].end)

        assert [await looked(1) for _ in range(3)] == [2, 1, 1]
        assert [await looked(0) for _ in range(3)] == [2, 2, 2]
        assert await looked(1) == 2
        _publish(bare_backend, topic, workspace)
        assert [await looked(1) for _ in range(2)] == [4, 4]
        assert [await looked(3) for _ in range(2)] == [4, 3]
    finally:
        await reader.stop()


def test_status_shows_messages_as_lag_and_markers_not(bare_backend: Backend, workspace: str) -> None:
    topic, group = bare_backend.settings.topic("accounts.events"), f"group-{workspace}"
    _publish(bare_backend, topic, workspace)
    end = _end(bare_backend, topic)
    consumer = Consumer({**confluent_options(bare_backend.settings), "group.id": group})

    def lag(committed: int) -> int:
        consumer.commit(offsets=[ConfluentPartition(topic, 0, committed)], asynchronous=False)
        answer = ask_kafka(bare_backend.settings, {group: (topic,)}, {group: topic})
        assert answer.problem is None
        return next(found.lag for found in answer.lags if found.partition == 0)

    try:
        assert [lag(end - 2), lag(end - 1), lag(end)] == [2, 0, 0]
    finally:
        consumer.close()
