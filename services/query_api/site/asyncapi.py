"""Makes the AsyncAPI 3 description of the public topics, from the files in `schemas/` alone, and of webhooks. Pure.

A topic is a channel. Each version of its Avro schema is a message, so that a reader sees the form of older messages.
Every subscriber receives; others may also send to `platform.raw`.

Source: AsyncAPI 3.0.0; Kafka bindings 0.5.0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

import schemas
from schemas.codec import schema_text
from schemas.topic_specs import TopicSpec, topic_specs
from services.query_api.serving.endpoint import Api
from services.query_api.site import deliveries
from services.query_api.site.asyncapi_streams import with_streams

_EXAMPLES_DIR = Path(schemas.__file__).parent / "examples"
_AVRO: Final = "application/vnd.apache.avro;version=1.9.0"
_BINDING: Final = "0.5.0"
_ANYBODY: Final = "any"
_DESCRIPTION = (
    "Topics that anybody with access to Kafka may read. Values are Avro in the Confluent wire format; the registry "
    "holds their schemas under `<topic>-value`. Keys are UTF-8 text. Every message of a workspace is in one partition, "
    "chosen by the murmur2 hash of the `workspace_id` alone, on every topic. Delivery is at least once: a repeated "
    "message holds the same state. A null value on a compacted topic deletes the key."
)
_CONFIGS: Mapping[str, Callable[[str], Any]] = {
    "cleanup.policy": lambda value: value.split(","),
    "retention.ms": int,
    "delete.retention.ms": int,
    "max.message.bytes": int,
}


def asyncapi(prefix: str, partitions: int, specs: Sequence[TopicSpec] | None = None) -> dict[str, Any]:
    """The description of the public topics.

    Args:
        prefix: the text before every topic's name.
        partitions: the number of partitions of each topic.
        specs: the topics; None for all public topics.
    """
    described = [spec for spec in topic_specs() if spec.is_public] if specs is None else specs
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tidemark topics",
            "version": "1",
            "description": _DESCRIPTION,
            "license": {"name": "Apache 2.0"},
            "contact": {"name": "Whoever runs this server"},
            "tags": [
                {"name": "kafka", "description": "Topics, for Kafka clients."},
                {"name": "webhooks", "description": "Requests to addresses of a workspace."},
            ],
        },
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "The brokers, with the schema registry beside them.",
                "variables": {
                    "bootstrap": {"default": "127.0.0.1:9092", "description": "As in TIDEMARK_KAFKA_BOOTSTRAP."}
                },
                "tags": [{"name": "kafka"}],
            },
            deliveries.CHANNEL: deliveries.server(),
        },
        "channels": {
            **{spec.name: _channel(spec, prefix, partitions) for spec in described},
            deliveries.CHANNEL: deliveries.channel(),
        },
        "operations": {
            **{name: operation for spec in described for name, operation in _operations(spec).items()},
            f"send.{deliveries.CHANNEL}": deliveries.operation(),
        },
        "components": {
            "messages": {
                **{name: message for spec in described for name, message in _messages(spec).items()},
                **deliveries.messages(),
            },
        },
    }


def asyncapi_json(prefix: str, partitions: int, apis: Sequence[Api[Any]] = ()) -> bytes:
    """The description of `asyncapi`, with the streams of some APIs, as JSON text; arguments as there."""
    return orjson.dumps(with_streams(asyncapi(prefix, partitions), apis))


def _channel(spec: TopicSpec, prefix: str, partitions: int) -> dict[str, Any]:
    config = {name: read(spec.config[name]) for name, read in _CONFIGS.items() if name in spec.config}
    return {
        "address": prefix + spec.name,
        "title": spec.name,
        "summary": spec.purpose,
        "description": _described(spec),
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages(spec)},
        "bindings": {
            "kafka": {
                "topic": prefix + spec.name,
                "partitions": partitions,
                "topicConfiguration": config,
                "bindingVersion": _BINDING,
            }
        },
        "tags": [{"name": "kafka"}],
    }


def _described(spec: TopicSpec) -> str:
    lines = [f"Key: `{spec.key}`.", f"Written by: {', '.join(spec.producers)}. Schemas are {spec.compatibility}."]
    if spec.is_compacted:
        lines.append("Compacted: the last value of each key stays; a null value deletes the key.")
    if spec.dead_letters is not None:
        lines.append(f"Messages that can't be used go to `{spec.dead_letters}`.")
    return " ".join(lines)


def _operations(spec: TopicSpec) -> dict[str, Any]:
    """The operations on a topic from Tidemark's point of view: Tidemark sends, and may receive."""
    channel = {"$ref": f"#/channels/{_escaped(spec.name)}"}
    messages = [{"$ref": f"#/channels/{_escaped(spec.name)}/messages/{_escaped(name)}"} for name in _messages(spec)]
    found: dict[str, Any] = {
        f"send.{spec.name}": {"action": "send", "channel": channel, "summary": spec.purpose, "messages": messages}
    }
    if _ANYBODY in spec.producers:
        found[f"receive.{spec.name}"] = {
            "action": "receive",
            "channel": channel,
            "summary": "Tidemark folds events of any producer like those of its own poller.",
            "messages": messages[-1:],
        }
    return found


def _messages(spec: TopicSpec) -> dict[str, Any]:
    """Messages by name, one for each version of the schema."""
    return {f"{spec.name}.v{version}": _message(spec, version) for version in spec.versions}


def _message(spec: TopicSpec, version: int) -> dict[str, Any]:
    schema = json.loads(schema_text(spec.name, version))
    is_newest = version == spec.versions[-1]
    return {
        "name": schema["name"],
        "title": f"{schema['name']} v{version}",
        "summary": schema.get("doc", spec.purpose),
        "description": "The version written today." if is_newest else "An older version; messages may still have it.",
        "contentType": "application/vnd.confluent.avro",
        "payload": {"schemaFormat": _AVRO, "schema": schema},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"UTF-8 text: `{spec.key}`."},
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "schemaLookupStrategy": "TopicNameStrategy",
                "bindingVersion": _BINDING,
            }
        },
        "examples": [
            {"name": path.stem, "payload": orjson.loads(path.read_bytes())}
            for path in sorted((_EXAMPLES_DIR / spec.name / str(version)).glob("*.json"))
        ],
    }


def _escaped(name: str) -> str:
    """A name escaped for a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")
