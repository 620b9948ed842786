"""What a registry's answers mean: that it has no such schema, or that it can't answer now."""

from __future__ import annotations

import pytest
from confluent_kafka.schema_registry.error import SchemaRegistryError

from services.runtime.registry import Registry, RegistryUnavailable
from services.runtime.settings import KafkaSettings, RegistrySettings


def _registry(monkeypatch: pytest.MonkeyPatch, status: int, code: int) -> Registry:
    made = Registry(
        RegistrySettings(schema_registry_url="http://127.0.0.1:1"), KafkaSettings(kafka_bootstrap="127.0.0.1:1")
    )

    def refuse(_: int) -> None:
        raise SchemaRegistryError(status, code, "its words")

    monkeypatch.setattr(made._connected, "get_schema", refuse)
    return made


# Confluent's own, Apicurio's, Redpanda's and Karapace's words for an id that they can't hold.
@pytest.mark.parametrize(("status", "code"), [(404, 40403), (404, 404), (400, 400), (422, 422), (500, 40403)])
def test_an_id_that_the_registry_refuses_is_unknown(monkeypatch: pytest.MonkeyPatch, status: int, code: int) -> None:
    with pytest.raises(KeyError):
        _registry(monkeypatch, status, code).fetch_schema(2**31 - 1)


@pytest.mark.parametrize(("status", "code"), [(401, 401), (403, 403), (408, 408), (429, 429), (500, 50001), (503, 503)])
def test_a_registry_that_does_not_let_in_or_is_busy_is_away(
    monkeypatch: pytest.MonkeyPatch, status: int, code: int
) -> None:
    with pytest.raises(RegistryUnavailable, match="its words"):
        _registry(monkeypatch, status, code).fetch_schema(1)
