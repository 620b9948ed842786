"""Ids of a lost registry: a registry of Confluent's takes them in the mode IMPORT, and nothing is taken on trust."""

from __future__ import annotations

import functools
import json
from typing import Any

import httpx
import pytest

from services.runtime.registry import Registered
from services.runtime.registry_ids import IdsRefused, restore_ids
from services.runtime.settings import RegistrySettings

FIRST = '{"type": "record", "name": "A", "fields": []}'
SECOND = '{"type": "record", "name": "A", "fields": [{"name": "b", "type": "int", "default": 0}]}'
WANTED = {"a-value": [Registered(1, 41, FIRST), Registered(2, 57, SECOND)], "b-value": [Registered(1, 44, FIRST)]}


class FakeRegistry:
    """As Confluent's documentation says: an id is taken in the mode IMPORT, and given by the registry else."""

    def __init__(self, *, is_obedient: bool = True) -> None:
        self.subjects: dict[str, dict[int, tuple[int, str]]] = {}
        self.modes: dict[str, str] = {}
        self.next = 1
        self._is_obedient = is_obedient

    def answer(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.strip("/").split("/")
        body = json.loads(request.content) if request.content else {}
        if parts[0] == "mode":
            if body["mode"] == "IMPORT" and self.subjects.get(parts[1]):
                return httpx.Response(422, json={"error_code": 42205, "message": "subject is not empty"})
            self.modes[parts[1]] = body["mode"]
            return httpx.Response(200, json=body)
        held = self.subjects.get(parts[1], {})
        if request.method == "POST":
            return self._registered(parts[1], body)
        if len(parts) == 3:
            return httpx.Response(200, json=sorted(held)) if held else httpx.Response(404, json={"error_code": 40401})
        number = int(parts[3])
        return httpx.Response(200, json={"version": number, "id": held[number][0], "schema": held[number][1]})

    def _registered(self, subject: str, body: dict[str, Any]) -> httpx.Response:
        if self._is_obedient and self.modes.get(subject) == "IMPORT":
            number, schema_id = body["version"], body["id"]
        else:
            number, schema_id = len(self.subjects.get(subject, {})) + 1, self.next
            self.next += 1
        self.subjects.setdefault(subject, {})[number] = (schema_id, body["schema"])
        return httpx.Response(200, json={"id": schema_id})


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    return served(monkeypatch, FakeRegistry())


def served(monkeypatch: pytest.MonkeyPatch, fake: FakeRegistry) -> FakeRegistry:
    client = functools.partial(httpx.Client, transport=httpx.MockTransport(fake.answer))
    monkeypatch.setattr(httpx, "Client", client)
    return fake


def restored() -> list[str]:
    said: list[str] = []
    restore_ids(RegistrySettings(schema_registry_url="http://registry:8081"), WANTED, said.append)
    return said


def test_every_version_has_its_id_again(registry: FakeRegistry) -> None:
    assert restored() == ["2 subjects of 2 to register"]
    assert registry.subjects == {"a-value": {1: (41, FIRST), 2: (57, SECOND)}, "b-value": {1: (44, FIRST)}}
    assert set(registry.modes.values()) == {"READWRITE"}, "it registers as ever afterwards"
    assert restored() == ["0 subjects of 2 to register"]


def test_what_was_registered_anew_is_not_passed_over(registry: FakeRegistry) -> None:
    registry.subjects["b-value"] = {1: (1, FIRST)}
    with pytest.raises(IdsRefused, match="b-value is registered anew, with other ids"):
        restored()
    assert "a-value" not in registry.subjects, "nothing was written"


def test_a_registry_that_takes_no_ids_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    served(monkeypatch, FakeRegistry(is_obedient=False))
    with pytest.raises(IdsRefused, match="registered anew, with other ids"):
        restored()
