"""Schemas in a registry that lost them: nothing is registered under another id while messages name the old ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.topic_specs import topic_specs
from services.runtime import topics
from services.runtime.settings import KafkaSettings, RegistrySettings
from services.runtime.topics import TopicsError, ensure_topics


class _Admin:
    """A broker whose last topic alone holds messages."""

    def __init__(self, _: dict[str, Any]) -> None:
        self._asked = 0

    def list_offsets(self, places: dict[TopicPartition, Any], **_: Any) -> dict[TopicPartition, Any]:
        self._asked += 1
        # The latest offsets are asked for first, then the earliest.
        held = 7 if self._asked % 2 and next(iter(places)).topic == list(topic_specs())[-1].name else 0
        return {place: SimpleNamespace(result=lambda: SimpleNamespace(offset=held)) for place in places}


class _Registry:
    """A registry without any schema."""

    registered: list[str]

    def __init__(self, _: dict[str, Any]) -> None:
        type(self).registered = []

    def get_versions(self, subject: str) -> list[int]:
        raise SchemaRegistryError(404, 40401, f"no {subject}")

    def register_schema(self, subject: str, _: Any) -> int:
        self.registered.append(subject)
        return len(self.registered)


def test_no_schema_is_registered_while_any_topics_messages_name_lost_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "AdminClient", _Admin)
    monkeypatch.setattr(topics, "SchemaRegistryClient", _Registry)
    monkeypatch.setattr(topics, "_existing_partitions", lambda *_: {spec.name: 1 for spec in topic_specs()})
    monkeypatch.setattr(topics, "_align_config", lambda *_: [])
    settings = KafkaSettings(kafka_bootstrap="127.0.0.1:1", topic_partitions=1)
    with pytest.raises(TopicsError, match=r"restore FILE --lost registry"):
        list(ensure_topics(settings, RegistrySettings(schema_registry_url="http://127.0.0.1:1")))
    assert _Registry.registered == []
