"""Generates messages for `platform.raw` that nobody should have to read: by seed, so that a failure can be repeated."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import fastavro
import orjson

from schemas.codec import schema_text

RAW = "platform.raw"
MESSAGE_MAX = 8 * 1024 * 1024
Headers = list[tuple[str | bytes, bytes | None]]


@dataclass
class Poison:
    """One message.

    Attributes:
        name: what is wrong with it.
        workspace: decides the partition when not misplaced.
    """

    name: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = field(default_factory=list)
    workspace: str = "ghost"


_INTEGERS = (0, -1, 1, 2**31 - 1, 2**31, -(2**31) - 1, 2**40, 2**63 - 1, -(2**63))
_TEXTS = (
    "",
    "\0",
    "a\0b",
    "\u202e",
    "é" * 200,
    "x" * 129,
    "x" * 5000,
    "../../etc",
    "w/x",
    "\U0001d518" * 40,
    "'; DROP TABLE x --",
)
_BODIES = (
    b"", b"\0" * 100, b"\xff\xfe\xfa", b"<html>", b"null", b"[]", b"42", b'"text"', b"{", b"[" * 200_000,
    b'{"posts": ' + b"[" * 100_000, b'{"posts": [{"uri": "at://t1", "likeCount": 99999999999999999999999}]}',
    b'{"posts": [{"uri": "at://t1", "likeCount": -9223372036854775809}]}',
    b'{"posts": [{"uri": "at://t1", "likeCount": 1e400}]}', b'{"posts": [{"uri": "\\ud800", "likeCount": 1}]}',
    b'{"posts": {"0": null}}', b'{"posts": [null, 1, "x", [], {}]}', b'{"posts": [{"uri": {"a": 1}}]}',
    b'{"posts": [{"uri": "at://t1", "likeCount": {"a": []}}]}', b'{"posts": "' + b"\\" * 100_000 + b'"}',
)  # fmt: skip


class Maker:
    """Makes messages.

    Args:
        schema_id: of today's schema of `platform.raw`.
        others: ids of schemas of any type that are registered, and of none.
        now: ms.
    """

    def __init__(self, seed: int, schema_id: int, others: list[int], workspaces: list[str], now: int) -> None:
        self._random = random.Random(seed)
        self._schema_id = schema_id
        self._others = others
        self._workspaces = workspaces
        self._now = now
        self._schema = fastavro.parse_schema(orjson.loads(schema_text(RAW)))
        # The same with wider numbers, and with enums as ints: bytes that today's schema was never asked to write.
        wide = orjson.loads(schema_text(RAW))
        for entry in wide["fields"]:
            if entry["name"] in ("http_status", "kind", "origin", "captured_at"):
                entry["type"] = "long"
            if entry["name"] in ("event_id", "workspace_id", "channel_id", "platform", "endpoint"):
                entry["type"] = "bytes"
        self._wide = fastavro.parse_schema(wide)

    def record(self, number: int) -> dict[str, Any]:
        """A good event, as the wide schema takes it."""
        workspace = self._random.choice(self._workspaces)
        return {
            "event_id": f"p{number}".encode(), "workspace_id": workspace.encode(), "channel_id": b"c1",
            "platform": b"bluesky", "kind": 0, "endpoint": b"/xrpc/app.bsky.feed.getPosts",
            "request": {"uris": "at://t1"},
            "targets": [{"target_id": "t1", "post_id": "p1", "external_id": "at://t1"}], "http_status": 200,
            "body": b'{"posts": [{"uri": "at://t1", "likeCount": 1}]}', "captured_at": self._now, "origin": 0,
        }  # fmt: skip

    def encoded(self, record: dict[str, Any]) -> bytes:
        """A record in the wire format."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._wide, record)
        return struct.pack(">bI", 0, self._schema_id) + out.getvalue()

    def fields(self) -> Iterator[Poison]:
        """Every field with every value of its kind."""
        number = 0
        for name in ("http_status", "kind", "captured_at", "origin"):
            for value in _INTEGERS:
                number += 1
                yield Poison(f"{name}={value}", self.encoded({**self.record(number), name: value}))
        for name in ("event_id", "workspace_id", "channel_id", "platform", "endpoint"):
            for data in (*(text.encode() for text in _TEXTS), b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
                number += 1
                yield Poison(f"{name}={data[:20]!r}", self.encoded({**self.record(number), name: data}))
        for text in _TEXTS:
            for part in ("target_id", "post_id", "external_id"):
                number += 1
                record = self.record(number)
                record["targets"][0][part] = text
                yield Poison(f"{part}={text[:20]!r}", self.encoded(record))
            yield Poison(f"request={text[:20]!r}", self.encoded({**self.record(number), "request": {text: text}}))
        for body in _BODIES:
            for platform in (b"bluesky", b"x", b"facebook", b"tiktok", b"youtube", b"linkedin"):
                number += 1
                yield Poison(
                    f"body={body[:20]!r}", self.encoded({**self.record(number), "body": body, "platform": platform})
                )
        many = [{"target_id": f"t{n}", "post_id": "p", "external_id": ""} for n in range(10_001)]
        yield Poison("too many targets", self.encoded({**self.record(0), "targets": many}))
        yield Poison("many parameters", self.encoded({**self.record(0), "request": {str(n): "" for n in range(1_001)}}))

    def mutated(self, count: int) -> Iterator[Poison]:
        """Good events with some bytes changed, cut out or put in."""
        chance = self._random
        for number in range(count):
            data = bytearray(self.encoded(self.record(10_000 + number)))
            for _ in range(chance.randint(1, 4)):
                at = chance.randrange(len(data))
                way = chance.randrange(4)
                if way == 0:
                    data[at] = chance.randrange(256)
                elif way == 1:
                    data[at:at] = chance.randbytes(chance.choice((1, 9, 200)))
                elif way == 2:
                    del data[at : at + chance.randint(1, 50)]
                else:
                    data[at : at + 10] = b"\xff" * 9 + b"\x01"
                if not data:
                    break
            yield Poison(f"mutated {number}", bytes(data))

    def schemas(self) -> Iterator[Poison]:
        """Values that claim other schemas, and values that are no values."""
        good = self.encoded(self.record(1))
        for schema_id in self._others:
            yield Poison(f"schema {schema_id}", struct.pack(">bI", 0, schema_id & 0xFFFFFFFF) + good[5:])
        for value in (None, b"", b"\0", b"\0\0\0\0", b"\1" + good[1:], good[:5], b"{}", b"\xff" * 1000):
            yield Poison(f"value {value!r:.20}", value)

    def unknown_ids(self, count: int) -> Iterator[Poison]:
        """As many schema ids that nobody registered."""
        for number in range(count):
            yield Poison("unknown schema", struct.pack(">bI", 0, 1_000_000 + number) + b"x")

    def headed(self) -> Iterator[Poison]:
        """Good events and bad ones with headers of all kinds."""
        kinds: list[Headers] = [
            [("a", None)], [("", b"")], [("tidemark-redriven-from", b"\xff")], [("tidemark-redriven-from", None)],
            [("tidemark-payload-bytes", b"1"), ("tidemark-payload-identity", b"x")], [("unreadable", b"forged")],
            [("\0", b"\0")], [("é", b"x")], [("a", b"1"), ("a", b"2")], [("h" * 30_000, b"v")],
            [(f"h{n}", None) for n in range(500)], [("big", b"v" * 2_000_000)],
            [(b"\xff\xfe", b"x")], [(b"\xed\xa0\x80", None)], [(b"ok", b"1"), (b"\x80", b"2")],
        ]  # fmt: skip
        for number, headers in enumerate(kinds):
            yield Poison(f"headers {number}", self.encoded(self.record(20_000 + number)), headers=headers)
            yield Poison(f"headers {number} bad", b"rubbish", headers=headers)

    def sized(self) -> Iterator[Poison]:
        """Rubbish, events, keys and headers around the limits."""
        for size in (MESSAGE_MAX - 200, MESSAGE_MAX - 70_000, MESSAGE_MAX - 60_000):
            yield Poison(f"rubbish of {size}", self._random.randbytes(1000) * (size // 1000))
            body = b"access_token=ab " * ((size - 300) // 16)
            yield Poison(f"event of {size}", self.encoded({**self.record(size), "body": body}))
        yield Poison("a long key", b"rubbish", key=b"k" * 3_000_000)
        yield Poison("an incompressible one", self._random.randbytes(MESSAGE_MAX - 500))

    def ghosts(self, count: int) -> Iterator[Poison]:
        """Rubbish and unusable events under keys and workspaces that nobody has."""
        for number in range(count):
            name = f"ghost-{self._random.randrange(10**9)}"
            record = {**self.record(number), "workspace_id": name.encode(), "body": b"<html>"}
            yield Poison("ghost", b"rubbish" * 20, key=name.encode(), workspace=name)
            yield Poison("ghost event", self.encoded(record), key=name.encode(), workspace=name)
