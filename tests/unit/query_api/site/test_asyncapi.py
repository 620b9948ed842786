"""The description of the topics: every public topic with all versions of its schema, its key and examples."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from schemas.codec import schema_text
from schemas.notices import TEST_TYPE, NoticeType
from schemas.topic_specs import topic_specs
from services.query_api.site.asyncapi import asyncapi
from tests.support.examples import all_examples
from tests.support.query_api import fake_api

DESCRIBED: dict[str, Any] = asyncapi("team.", 12)
PUBLIC = [spec for spec in topic_specs() if spec.is_public]


def resolved(reference: dict[str, str]) -> Any:
    """What a reference within the description stands for."""
    found: Any = DESCRIBED
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def references(value: Any) -> list[dict[str, str]]:
    if isinstance(value, dict):
        own = [value] if "$ref" in value else []
        return own + [found for part in value.values() for found in references(part)]
    return [found for part in value for found in references(part)] if isinstance(value, list) else []


def test_every_public_topic_is_a_channel_and_no_other() -> None:
    assert set(DESCRIBED["channels"]) == {spec.name for spec in PUBLIC} | {"webhooks"}


def test_webhooks_are_described_with_every_type_they_deliver() -> None:
    messages = [resolved(reference) for reference in DESCRIBED["channels"]["webhooks"]["messages"].values()]
    assert [message["name"] for message in messages] == [*NoticeType, TEST_TYPE]
    for message in messages:
        (example,) = message["examples"]
        data = message["payload"]["properties"]["data"]
        assert set(example["payload"]["data"]) == set(data["required"]) == set(data["properties"])
        assert example["payload"]["type"] == message["name"]


@pytest.mark.parametrize("spec", PUBLIC, ids=lambda spec: spec.name)
def test_a_channel_has_address_partitions_and_every_version(spec: Any) -> None:
    channel = DESCRIBED["channels"][spec.name]
    kafka = channel["bindings"]["kafka"]
    assert channel["address"] == kafka["topic"] == f"team.{spec.name}"
    assert kafka["partitions"] == 12
    assert kafka["topicConfiguration"]["cleanup.policy"] == [spec.config["cleanup.policy"]]
    messages = [resolved(reference) for reference in channel["messages"].values()]
    assert [message["payload"]["schema"] for message in messages] == [
        json.loads(schema_text(spec.name, version)) for version in spec.versions
    ]
    for message in messages:
        assert spec.key in message["bindings"]["kafka"]["key"]["description"]


def test_every_example_of_a_public_topic_is_shown() -> None:
    shown = {
        (name, example["name"])
        for name, message in DESCRIBED["components"]["messages"].items()
        if "kafka" in message.get("bindings", {})
        for example in message["examples"]
    }
    names = {spec.name for spec in PUBLIC}
    assert shown == {(f"{e.topic}.v{e.version}", e.name) for e in all_examples() if e.topic in names}


def test_only_raw_events_may_be_sent_by_others() -> None:
    received = [name for name, operation in DESCRIBED["operations"].items() if operation["action"] == "receive"]
    assert received == ["receive.platform.raw"]


def test_references_lead_somewhere() -> None:
    found = references(DESCRIBED)
    assert found
    for reference in found:
        assert resolved(reference)


async def test_it_is_served_without_a_key() -> None:
    reply = await fake_api().client.get("/asyncapi.json")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    described = reply.json()
    assert set(described["channels"]) == {*DESCRIBED["channels"], "streamChanges"}
    stream = described["channels"]["streamChanges"]
    assert (stream["address"], stream["servers"]) == ("/tidemark/v1/stream", [{"$ref": "#/servers/query-api"}])
    assert described["operations"]["send.streamChanges"]["action"] == "send"
    message = described["components"]["messages"]["streamChanges.event"]
    assert jsonschema_rs.is_valid(message["payload"], message["examples"][0]["payload"])
    assert not jsonschema_rs.is_valid(message["payload"], {"type": "post"})
