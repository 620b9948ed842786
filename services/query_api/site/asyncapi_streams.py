"""Adds the streams of events that the APIs serve to the AsyncAPI description of the topics. Pure.

A stream is a channel of the query API's own server, found among the declared endpoints by its media type. The
endpoint's schema is that of an event's data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from services.query_api.serving.endpoint import Api, Endpoint

EVENTS: Final = "text/event-stream"
_HTTP_BINDING: Final = "0.3.0"


def with_streams(described: Mapping[str, Any], apis: Sequence[Api[Any]]) -> dict[str, Any]:
    """A description with the streams of some APIs.

    Args:
        described: as `asyncapi.asyncapi` makes it.
    """
    streams = [endpoint for api in apis for endpoint in api.endpoints if EVENTS in endpoint.media_types]
    if not streams:
        return dict(described)
    info, components = described["info"], described["components"]
    tag = {"name": "http", "description": "Streams of server-sent events, for HTTP clients with an API key."}
    return {
        **described,
        "info": {**info, "tags": [*info["tags"], tag]},
        "servers": {
            **described["servers"],
            "query-api": {
                "host": "{origin}",
                "protocol": "http",
                "description": "The query API.",
                "variables": {"origin": {"default": "127.0.0.1:8080", "description": "Host and port."}},
                "tags": [{"name": "http"}],
            },
        },
        "channels": {**described["channels"], **{endpoint.id: _channel(endpoint) for endpoint in streams}},
        "operations": {**described["operations"], **{f"send.{e.id}": _operation(e) for e in streams}},
        "components": {
            **components,
            "messages": {**components["messages"], **{_message_id(e): _message(e) for e in streams}},
        },
    }


def _message_id(endpoint: Endpoint[Any, Any, Any]) -> str:
    return f"{endpoint.id}.event"


def _channel(endpoint: Endpoint[Any, Any, Any]) -> dict[str, Any]:
    name = _message_id(endpoint)
    return {
        "address": endpoint.path,
        "title": endpoint.summary,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "servers": [{"$ref": "#/servers/query-api"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "tags": [{"name": "http"}],
    }


def _operation(endpoint: Endpoint[Any, Any, Any]) -> dict[str, Any]:
    channel = f"#/channels/{endpoint.id}"
    return {
        "action": "send",
        "channel": {"$ref": channel},
        "summary": endpoint.summary,
        "messages": [{"$ref": f"{channel}/messages/{_message_id(endpoint)}"}],
        "bindings": {"http": {"method": "GET", "bindingVersion": _HTTP_BINDING}},
    }


def _message(endpoint: Endpoint[Any, Any, Any]) -> dict[str, Any]:
    return {
        "name": endpoint.id,
        "title": endpoint.schema["title"],
        "summary": f"The data of one event of `{endpoint.path}`.",
        "contentType": "application/json",
        "payload": endpoint.schema,
        "examples": [{"name": "event", "payload": _sample(endpoint)}],
    }


def _sample(endpoint: Endpoint[Any, Any, Any]) -> Any:
    """The data of the sample reply's first event."""
    lines = endpoint.text_samples[EVENTS].splitlines()
    return orjson.loads(next(line.removeprefix("data: ") for line in lines if line.startswith("data: ")))
