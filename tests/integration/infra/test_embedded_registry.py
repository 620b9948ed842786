"""The embedded schema registry: Confluent's client works, and ids survive a stop and a SIGKILL."""

from __future__ import annotations

import json
import signal

import httpx
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from services.runtime.registry import Registry
from services.runtime.settings import KafkaSettings, RegistrySettings
from tests.support.engines import EmbeddedEngines, Engines
from tests.support.waiting import wait_until


def avro(name: str, **fields: object) -> Schema:
    described = [
        {"name": field, "type": kind} if isinstance(kind, str) else {"name": field, **dict(kind)}  # type: ignore[call-overload]
        for field, kind in fields.items()
    ]
    return Schema(json.dumps({"type": "record", "name": name, "fields": described}), "AVRO")


def test_versions_and_compatibility(engines: Engines, topic_prefix: str) -> None:
    client = SchemaRegistryClient({"url": engines.schema_registry_url, "timeout": 10})
    subject = f"{topic_prefix}events-value"
    first = client.register_schema(subject, avro("Event", id="string"))
    client.set_compatibility(subject, "BACKWARD")
    with_default = avro("Event", id="string", note={"type": ["null", "string"], "default": None})
    assert client.register_schema(subject, with_default) != first
    assert client.get_versions(subject) == [1, 2]
    assert client.register_schema(subject, avro("Event", id="string")) == first
    with pytest.raises(SchemaRegistryError):
        client.register_schema(subject, avro("Event", id="string", required="long"))


def test_a_subject_without_a_level_of_its_own_is_guarded(embedded_engines: EmbeddedEngines, topic_prefix: str) -> None:
    client = SchemaRegistryClient({"url": embedded_engines.schema_registry_url, "timeout": 10})
    assert client.get_compatibility() == "BACKWARD"
    subject = f"{topic_prefix}guarded-value"
    client.register_schema(subject, avro("Event", id="string"))
    with pytest.raises(SchemaRegistryError):
        client.register_schema(subject, avro("Event", id="string", required="long"))


def test_the_native_address_answers(embedded_engines: EmbeddedEngines) -> None:
    assert embedded_engines.schema_registry_url
    reply = httpx.get(f"{embedded_engines.registry.native_url}/system/info", timeout=10, trust_env=False)
    assert reply.is_success
    assert "version" in reply.json()


@pytest.mark.parametrize("end", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_ids_survive(embedded_engines: EmbeddedEngines, topic_prefix: str, end: signal.Signals) -> None:
    registry = embedded_engines.registry
    subjects = {f"{topic_prefix}s{number}-value": avro(f"R{number}", a="string") for number in range(5)}
    client = SchemaRegistryClient({"url": registry.url, "timeout": 10})
    ids = {subject: client.register_schema(subject, schema) for subject, schema in subjects.items()}

    # At once after the last registration: what was answered must be on disk.
    child = embedded_engines.child("registry")
    child.signal_group(end)
    wait_until(lambda: child.poll() is not None, 10, "the registry's end")
    embedded_engines.start("registry", registry.command(), registry.answers)

    fresh = SchemaRegistryClient({"url": registry.url, "timeout": 10})
    assert {s: fresh.lookup_schema(s, schema).schema_id for s, schema in subjects.items()} == ids
    assert {s: fresh.register_schema(s, schema) for s, schema in subjects.items()} == ids
    assert fresh.register_schema(f"{topic_prefix}late-value", avro("Late", a="string")) not in ids.values()


def test_ids_that_anybody_may_write_into_a_message_are_unknown_and_not_an_outage(engines: Engines) -> None:
    registry = Registry(
        RegistrySettings(schema_registry_url=engines.schema_registry_url),
        KafkaSettings(kafka_bootstrap=engines.kafka_bootstrap),
    )
    for schema_id in (0, 2**31 - 1, 2**31, 2**32 - 1):
        with pytest.raises(KeyError):
            registry.fetch_schema(schema_id)
