"""A topic that holds values of several schema versions is read to the same numbers; a breaking one is refused."""

from __future__ import annotations

import io
import json
import secrets
from typing import Any

import fastavro
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.codec import schema_text
from schemas.events import CatalogTarget, PlatformRaw
from tests.support.backend import Backend, bluesky_event, now_ms
from tests.support.waiting import wait_until

RAW = "platform.raw"


def _newer(name: str, **field: Any) -> str:
    schema = json.loads(schema_text(RAW))
    schema["fields"].insert(3, {"name": name, "type": "string", "doc": "Of tomorrow.", **field})
    return json.dumps(schema)


def _register(backend: Backend, text: str) -> int:
    client = SchemaRegistryClient({"url": backend.settings.schema_registry_address, "timeout": 10})
    return int(client.register_schema(f"{backend.settings.topic(RAW)}-value", Schema(text, "AVRO")))


def _register_behind_strangers(backend: Backend, workspace: str, text: str) -> int:
    """Register a schema after strangers published values that claim its id and others."""
    client = SchemaRegistryClient({"url": backend.settings.schema_registry_address, "timeout": 10})
    other = {"type": "record", "name": f"Other_{secrets.token_hex(4)}", "fields": []}
    last = int(client.register_schema(f"other-{secrets.token_hex(4)}", Schema(json.dumps(other), "AVRO")))
    for schema_id in range(last + 1, last + 40):
        event = bluesky_event(workspace, "c1", f"invented-{schema_id}", {"t1": {"likeCount": 1}})
        backend.publish(RAW, workspace.encode(), workspace, _value(text, schema_id, event))
    backend.flush()
    backend.settle(60)
    newer_id = _register(backend, text)
    assert last < newer_id < last + 40
    return newer_id


def _value(text: str, schema_id: int, event: PlatformRaw) -> bytes:
    record = {name: getattr(event, name) for name in PlatformRaw.__dataclass_fields__}
    record["targets"] = [target._asdict() for target in event.targets]
    out = io.BytesIO()
    fastavro.schemaless_writer(out, json.loads(text), {"region": "eu", **record})
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def test_old_and_new_events_count_alike(backend: Backend, workspace: str) -> None:
    backend.put_channel(workspace, "c1", "bluesky")
    targets = [CatalogTarget("t1", "c1"), CatalogTarget("t2", "c1")]
    backend.put_post(workspace, "p1", targets, published_at=now_ms())
    newer = _newer("region", default="")
    newer_id = _register_behind_strangers(backend, workspace, newer)
    backend.publish_raw(bluesky_event(workspace, "c1", "e1", {"t1": {"likeCount": 1}}))
    event = bluesky_event(workspace, "c1", "e2", {"t2": {"likeCount": 20}})
    backend.publish(RAW, workspace.encode(), workspace, _value(newer, newer_id, event))
    backend.publish_raw(bluesky_event(workspace, "c1", "e3", {"t1": {"likeCount": 3}}, captured_at=now_ms() + 1))
    backend.flush()
    query = "SELECT likes FROM post_totals WHERE workspace_id = {w:String}"
    wait_until(lambda: backend.rows(query, {"w": workspace}) == [{"likes": 23}], 20, backend.log_tail)


def test_the_registry_refuses_what_breaks(backend: Backend) -> None:
    client = SchemaRegistryClient({"url": backend.settings.schema_registry_address, "timeout": 10})
    assert client.get_compatibility(f"{backend.settings.topic(RAW)}-value") == "BACKWARD"
    attempts = iter(range(1000))

    def is_refused() -> bool:
        # Each attempt is another schema: one that was taken would be found again without a check.
        try:
            _register(backend, _newer(f"without_default_{next(attempts)}"))
        except SchemaRegistryError:
            return True
        return False

    # The registry was once seen to take a breaking schema on a busy machine, soon after its rule was set.
    wait_until(is_refused, 10, "the registry refuses a schema that old values can't be read by")
