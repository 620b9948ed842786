"""The poison producer: sends poison to `platform.raw` with every codec, in and out of transactions."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator

import httpx
from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.codec import schema_text
from tests.support.hostile.poison import Poison, Poisoner
from tests.support.hostile.scenario import Scenario, Tally

TOPIC = "platform.raw"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
SMALL_PER_SECOND = 60
LARGE_EVERY_SECONDS = 4.0
BOMB_EVERY_SECONDS = 25.0
BOMB_BYTES = 200 * 1024 * 1024
TRANSACTION_EVERY_SECONDS = 5.0
ODD_NAMES_EVERY_SECONDS = 2.0
OTHER_SCHEMAS = {
    "hostile-json": {"schemaType": "JSON", "schema": '{"type":"object","properties":{"a":{"type":"string"}}}'},
    "hostile-protobuf": {"schemaType": "PROTOBUF", "schema": 'syntax = "proto3"; message A { string a = 1; }'},
    "hostile-avro": {"schema": '{"type":"record","name":"A","fields":[{"name":"a","type":"string"}]}'},
    "hostile-recursive": {
        "schema": '{"type":"record","name":"R","fields":[{"name":"r","type":["null","R"],"default":null}]}'
    },
}


class OddName(str):
    """A header's name whose bytes are no UTF-8."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode("latin-1")


class PoisonProducer:
    """Sends until the scenario's time is up.

    Args:
        tally: counts what was sent, and the broker's answers.
    """

    def __init__(self, scenario: Scenario, tally: Tally) -> None:
        self._scenario = scenario
        self._tally = tally
        self._chance = random.Random(scenario.seed)
        schema_id, other_ids = _register(str(scenario.ready["schema_registry"]))
        self._common = {
            "bootstrap.servers": scenario.ready["kafka"],
            "message.max.bytes": 1_000_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
            "message.timeout.ms": 20_000,
            "linger.ms": 5,
            "log_level": 0,
        }
        self._producers = [Producer({**self._common, "compression.type": codec}) for codec in CODECS]
        partitions = len(self._producers[0].list_topics(TOPIC, 20).topics[TOPIC].partitions)
        self._poisoner = Poisoner(
            scenario.seed, schema_id=schema_id, other_ids=other_ids, tenants=scenario.tenants,
            workspace=scenario.hoarder, partitions=partitions,
        )  # fmt: skip
        self._open: list[Producer] = []

    def run(self) -> None:
        """Send everything that there is, side by side."""
        scenario, poisoner = self._scenario, self._poisoner
        small, large = poisoner.messages(), poisoner.large_messages()
        odd: list[Poison] = []
        start = time.monotonic()
        due = {"small": start, "large": start + 2, "bomb": start + 8, "transaction": start, "odd": start}
        pause = 1 / (SMALL_PER_SECOND * scenario.strength)
        while (now := time.monotonic()) < start + scenario.seconds:
            if now >= due["small"]:
                due["small"] = max(due["small"] + pause, now - 0.5)
                message = next(small)
                (odd.append if message.odd_name is not None else self._send)(message)
            if now >= due["large"]:
                due["large"] = now + LARGE_EVERY_SECONDS / scenario.strength
                self._send(next(large))
            if now >= due["bomb"]:
                due["bomb"] = now + BOMB_EVERY_SECONDS / scenario.strength
                self._send(poisoner.bomb(BOMB_BYTES), self._producers[-1])
            if now >= due["transaction"]:
                due["transaction"] = now + TRANSACTION_EVERY_SECONDS
                self._transaction(small)
            if now >= due["odd"] and odd:
                due["odd"] = now + ODD_NAMES_EVERY_SECONDS
                asyncio.run(self._send_odd(odd))
                odd.clear()
            for producer in self._producers:
                producer.poll(0)
            time.sleep(min(0.02, max(0.0, due["small"] - time.monotonic())))
        for producer in self._producers:
            producer.flush(20)

    def _send(self, message: Poison, producer: Producer | None = None) -> None:
        chosen = producer or self._chance.choice(self._producers)
        kind = message.kind

        def answered(error: KafkaError | None, _: Message) -> None:
            self._tally.answers["stored" if error is None else f"refused: {error.name()}"] += 1

        self._tally.sent[kind] += 1
        self._tally.write_sometimes()
        try:
            chosen.produce(
                TOPIC, value=message.value, key=message.key, headers=list(message.headers),
                partition=-1 if message.partition is None else message.partition, on_delivery=answered,
            )  # fmt: skip
        except (KafkaException, BufferError) as error:
            self._tally.answers[f"not sent: {type(error).__name__}"] += 1
            chosen.poll(0.1)

    def _transaction(self, small: Iterator[Poison]) -> None:
        """Messages of a transaction that is aborted, committed, or left open until the producer is gone."""
        name = f"hostile-{self._chance.randrange(10**9)}"
        producer = Producer({**self._common, "transactional.id": name, "transaction.timeout.ms": 60_000})
        try:
            producer.init_transactions(10)
            producer.begin_transaction()
            for _ in range(10):
                message = next(small)
                if message.odd_name is None:
                    self._send(message, producer)
            producer.flush(10)
            what = self._chance.choice(("aborted", "committed", "left open"))
            if what == "aborted":
                producer.abort_transaction(10)
            elif what == "committed":
                producer.commit_transaction(10)
            else:
                # Kept, so that the client neither ends nor aborts it.
                self._open = [*self._open[-5:], producer]
            self._tally.note(f"transaction {what}", "transaction")
        except KafkaException as error:
            self._tally.note("transaction", f"refused: {error.args[0].name()}")

    async def _send_odd(self, messages: list[Poison]) -> None:
        """Messages whose headers no Confluent client can write."""
        producer = AIOKafkaProducer(bootstrap_servers=self._scenario.ready["kafka"], request_timeout_ms=10_000)
        await producer.start()
        try:
            for message in messages:
                assert message.odd_name is not None
                headers = [(OddName(message.odd_name.decode("latin-1")), b"v"), *message.headers]
                await producer.send_and_wait(TOPIC, message.value, message.key, headers=headers)
                self._tally.note(message.kind, "stored")
        finally:
            await producer.stop()


def _register(registry: str) -> tuple[int, list[int]]:
    """The id of the raw schema, and ids of schemas that are none of it."""
    with httpx.Client(base_url=registry, timeout=20, trust_env=False) as client:
        found = client.post("/subjects/platform.raw-value", json={"schema": schema_text(TOPIC)}).raise_for_status()
        others = [
            int(client.post(f"/subjects/{subject}/versions", json=schema).raise_for_status().json()["id"])
            for subject, schema in OTHER_SCHEMAS.items()
        ]
        dead_letters = client.get("/subjects/platform.raw.dead-letters-value/versions/latest").raise_for_status()
        return int(found.json()["id"]), [*others, int(dead_letters.json()["id"])]
