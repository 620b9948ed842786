"""Reads `platform.raw` values of today's schema straight into events. Pure.

For one event's targets a general reader builds 150 strings in 50 dicts, which are only copied into tuples. It also has
no bound of items: a message of 8 MiB can claim millions of targets (decision 0022). Events of any other schema go
through the general reader (`codec.py`); a property test holds the two equal, malformed bytes included.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from schemas.events import PlatformRaw, RawTarget
from schemas.varints import IntegerTooLong, read_long

_EXPECTED = (
    ("event_id", "string"),
    ("workspace_id", "string"),
    ("channel_id", "string"),
    ("platform", "string"),
    ("kind", "enum"),
    ("endpoint", "string"),
    ("request", "map"),
    ("targets", "array"),
    ("http_status", "int"),
    ("body", "bytes"),
    ("captured_at", "long"),
    ("origin", "enum"),
)
_TARGET = ("target_id", "post_id", "external_id")
# The most targets of one answer; platforms take at most 100 posts in a call.
TARGETS_MAX = 10_000
# The most parameters of one request.
REQUEST_MAX = 1_000


class NotReadable(ValueError):
    """The bytes are not of the schema."""


def _kind(schema: Any) -> Any:
    return _kind(schema["type"]) if isinstance(schema, dict) else schema


class Layout(NamedTuple):
    """The symbols of a schema's two enums, which may differ between the schemas that this module can read."""

    kinds: tuple[str, ...]
    origins: tuple[str, ...]


def layout_of(schema_text: str) -> Layout | None:
    """The layout of a writer's schema; None when this module can't read values of that schema."""
    schema = json.loads(schema_text)
    fields = schema.get("fields", []) if isinstance(schema, dict) else []
    if tuple((field["name"], _kind(field["type"])) for field in fields) != _EXPECTED:
        return None
    types = {field["name"]: field["type"] for field in fields}
    items = types["targets"]["items"]
    if _kind(types["request"]["values"]) != "string" or _kind(items) != "record":
        return None
    if tuple((field["name"], _kind(field["type"])) for field in items["fields"]) != tuple(
        (n, "string") for n in _TARGET
    ):
        return None
    return Layout(tuple(types["kind"]["symbols"]), tuple(types["origin"]["symbols"]))


def _size(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    if byte < 0x80:
        size, at = byte >> 1 ^ -(byte & 1), at + 1
    else:
        size, at = read_long(data, at)
    if size < 0 or at + size > len(data):
        raise NotReadable("a text is longer than the message")
    return size, at


def _string(data: bytes, at: int) -> tuple[str, int]:
    size, at = _size(data, at)
    end = at + size
    return data[at:end].decode(), end


def _blocks(data: bytes, at: int) -> tuple[int, int]:
    """The item count of an array's or map's next block, and the position after it; skips the size of a block."""
    items, at = read_long(data, at)
    if items < 0:
        _, at = read_long(data, at)
        items = -items
    if items > len(data):
        raise NotReadable("a list is longer than the message")
    return items, at


def read_raw(data: bytes, start: int, layout: Layout) -> PlatformRaw:
    """The event that begins at `start`.

    Args:
        layout: the layout of the writer's schema.

    Raises:
        NotReadable: the bytes are not of the schema.
    """
    try:
        event_id, at = _string(data, start)
        workspace_id, at = _string(data, at)
        channel_id, at = _string(data, at)
        platform, at = _string(data, at)
        kind, at = read_long(data, at)
        endpoint, at = _string(data, at)
        request: dict[str, str] = {}
        entries, at = _blocks(data, at)
        while entries:
            if len(request) + entries > REQUEST_MAX:
                raise NotReadable(f"a request has more than {REQUEST_MAX} parameters")
            for _ in range(entries):
                name, at = _string(data, at)
                request[name], at = _string(data, at)
            entries, at = _blocks(data, at)
        targets: list[RawTarget] = []
        items, at = _blocks(data, at)
        while items:
            if len(targets) + items > TARGETS_MAX:
                raise NotReadable(f"an answer speaks of more than {TARGETS_MAX} targets")
            for _ in range(items):
                target, at = _target(data, at)
                targets.append(target)
            items, at = _blocks(data, at)
        http_status, at = read_long(data, at)
        size, at = _size(data, at)
        body, at = data[at : at + size], at + size
        captured_at, at = read_long(data, at)
        origin, at = read_long(data, at)
        if kind < 0 or origin < 0:
            raise NotReadable("an enum has no such symbol")
        return PlatformRaw(
            event_id, workspace_id, channel_id, platform, layout.kinds[kind], endpoint, request, tuple(targets),
            http_status, body, captured_at, layout.origins[origin],
        )  # fmt: skip
    except IntegerTooLong as error:
        raise NotReadable(str(error)) from None
    except (IndexError, UnicodeDecodeError) as error:
        raise NotReadable(f"the bytes end early or are no text: {error}") from None


def read_ids(data: bytes, start: int) -> tuple[bytes, bytes] | None:
    """The bytes of event id and workspace id of the event that begins at `start`, without reading the rest.

    Returns:
        None where the bytes end early. Bytes that are no event may give any ids.
    """
    try:
        size, at = _size(data, start)
        event_id = data[at : at + size]
        size, at = _size(data, at + size)
        return event_id, data[at : at + size]
    except (IndexError, IntegerTooLong, NotReadable):
        return None


def _target(data: bytes, at: int) -> tuple[RawTarget, int]:
    # Short texts, whose length is one byte, are read in line.
    size = data[at]
    if size < 0x80 and not size & 1:
        first = at + 1
        at = first + (size >> 1)
        target_id = data[first:at].decode()
    else:
        target_id, at = _string(data, at)
    size = data[at]
    if size < 0x80 and not size & 1:
        first = at + 1
        at = first + (size >> 1)
        post_id = data[first:at].decode()
    else:
        post_id, at = _string(data, at)
    size = data[at]
    if size < 0x80 and not size & 1:
        first = at + 1
        at = first + (size >> 1)
        external_id = data[first:at].decode()
    else:
        external_id, at = _string(data, at)
    if at > len(data):
        raise NotReadable("a text is longer than the message")
    return RawTarget(target_id, post_id, external_id), at
