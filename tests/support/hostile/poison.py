"""Messages for `platform.raw` that no honest producer sends, by kind. Pure: seeded, and no client.

None of them can be a true event of a tenant: those would count, as the contract says of every producer's. What names a
tenant here is broken, from the future, or of another workspace.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.hostile import avro
from tests.support.hostile.bodies import PLATFORMS, SECRET_NAMES, hostile_bodies, token, with_tokens

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class Poison:
    """One message.

    Attributes:
        partition: None lets the partitioner choose.
        odd_name: bytes of a header's name that are no UTF-8, put in front of the headers.
    """

    kind: str
    value: bytes | None
    key: bytes | None
    headers: Headers = ()
    partition: int | None = None
    odd_name: bytes | None = None


class Poisoner:
    """Makes messages.

    Args:
        schema_id: of `platform.raw-value`.
        other_ids: registered ids of other types and schemas.
        workspace: one of the attacker's own, which the catalog holds.
    """

    def __init__(
        self, seed: int, *, schema_id: int, other_ids: list[int], tenants: list[str], workspace: str, partitions: int
    ) -> None:
        self._chance = random.Random(seed)
        self._schema_id = schema_id
        self._other_ids = other_ids
        self._tenants = tenants
        self._workspace = workspace
        self._partitions = partitions
        self._mutations = avro.mutations(self._chance)
        self._made = 0

    def messages(self) -> Iterator[Poison]:
        """Small messages for ever, every kind in turn."""
        kinds: list[Callable[[], Poison]] = [
            self._mutated, self._mutated, self._mutated, self._cut, self._hostile_body, self._hostile_body,
            self._ghost, self._ghost, self._ghost, self._other_schema, self._rubbish, self._odd_headers,
            self._many_headers, self._odd_header_name, self._misplaced, self._no_value, self._of_another_tenant,
            self._strange_time, self._leaking, self._leaking_malformed, self._leaking_cut,
        ]  # fmt: skip
        while True:
            self._chance.shuffle(kinds)
            for kind in kinds:
                yield kind()

    def large_messages(self) -> Iterator[Poison]:
        """Messages around the limits of size, for ever."""
        mebibyte = 1024 * 1024
        while True:
            for size in (mebibyte - 200, mebibyte + 200, 8 * mebibyte - 700, 8 * mebibyte - 5000, 4 * mebibyte):
                make = self._chance.choice((self._large_rubbish, self._large_event, self._large_misplaced))
                yield make(size)
            yield self._huge_header(self._chance.choice((100_000, 3_000_000)))

    def bomb(self, size: int) -> Poison:
        """Zeros that any compression makes small."""
        return Poison("compressed bomb", b"\x00" + bytes(size), b"bomb")

    def event(self, workspace: str, **fields: Any) -> dict[str, Any]:
        """An event of a workspace that is not a tenant's."""
        self._made += 1
        platform = self._chance.choice(list(PLATFORMS))
        made: dict[str, Any] = {
            "event_id": f"poison-{self._made}-{self._chance.randrange(10**9)}",
            "workspace_id": workspace,
            "channel_id": f"c{self._chance.randrange(50)}",
            "platform": platform,
            "kind": self._chance.choice(("POST_METRICS", "CHANNEL_METRICS", "IDENTITY")),
            "endpoint": PLATFORMS[platform],
            "request": {"ids": "1"},
            "targets": [("t1", "p1", "1")],
            "http_status": self._chance.choice((200, 200, 200, 201, 429, 500)),
            "body": b'{"data":[{"id":"1","public_metrics":{"like_count":666}}]}',
            "captured_at": int(time.time() * 1000),
            "origin": self._chance.choice(("SCHEDULE", "LIVE", "BACKFILL")),
        }
        return {**made, **fields}

    def _wire(self, parts: avro.Parts, schema_id: int | None = None) -> bytes:
        return b"\x00" + (schema_id or self._schema_id).to_bytes(4, "big") + avro.joined(parts)

    def _anybody(self) -> str:
        """A made-up workspace, the attacker's own, or (for what can't be read) a tenant."""
        return self._chance.choice((self._ghost_name(), self._workspace, self._chance.choice(self._tenants)))

    def _ghost_name(self) -> str:
        return f"ghost-{self._chance.randrange(10**9)}"

    def _mutated(self) -> Poison:
        field, fault, replacement = next(self._mutations)
        # Under its own or a made-up name: a tenant's event with one odd field may still be a valid event.
        workspace = self._chance.choice((self._ghost_name(), self._workspace))
        parts = avro.parts_of(self.event(workspace)) | {field: replacement}
        return Poison(f"{field}: {fault}", self._wire(parts), workspace.encode())

    def _cut(self) -> Poison:
        value = self._wire(avro.parts_of(self.event(self._ghost_name())))
        return Poison("cut", value[: self._chance.randrange(len(value))], self._anybody().encode())

    def _hostile_body(self) -> Poison:
        fault, body = self._chance.choice(hostile_bodies(self._chance))
        workspace = self._chance.choice((self._ghost_name(), self._workspace))
        value = self._wire(avro.parts_of(self.event(workspace, body=body, http_status=200)))
        return Poison(f"body: {fault}", value, workspace.encode())

    def _ghost(self) -> Poison:
        workspace = self._ghost_name()
        return Poison("ghost", self._wire(avro.parts_of(self.event(workspace))), workspace.encode())

    def _other_schema(self) -> Poison:
        ids = (*self._other_ids, self._chance.randrange(10**6, 2**31), 0, 2**32 - 1)
        parts = avro.parts_of(self.event(self._ghost_name()))
        value = b"\x00" + self._chance.choice(ids).to_bytes(4, "big") + avro.joined(parts)
        return Poison("other schema", value, self._anybody().encode())

    def _rubbish(self) -> Poison:
        value = self._chance.choice(
            (self._chance.randbytes(self._chance.randrange(300)), b"{}", b"\x00", b"\x00\x00\x00", b"\x01" * 50)
        )
        return Poison("rubbish", value, self._chance.choice((b"", b"\x00", b"\xff\xfe", None, b"k" * 5000)))

    def _odd_headers(self) -> Poison:
        headers: list[tuple[str, bytes | None]] = [
            ("", b""), ("null", None), ("null", b"again"), ("nul\x00", b"\xff\x00"), ("tidemark-redriven-from", b"x"),
            ("tidemark-redriven-from", None), ("traceparent", b"\xff" * 60),
        ]  # fmt: skip
        self._chance.shuffle(headers)
        value = self._chance.choice((b"rubbish", self._wire(avro.parts_of(self.event(self._workspace)))))
        return Poison("odd headers", value, self._anybody().encode(), tuple(headers[: self._chance.randrange(1, 7)]))

    def _many_headers(self) -> Poison:
        headers = tuple((f"h{number % 700}", b"v" * (number % 9)) for number in range(3_000))
        value = self._chance.choice((b"rubbish", self._wire(avro.parts_of(self.event(self._workspace)))))
        return Poison("many headers", value, self._ghost_name().encode(), headers)

    def _odd_header_name(self) -> Poison:
        value = self._chance.choice((b"rubbish", self._wire(avro.parts_of(self.event(self._workspace)))))
        name = self._chance.choice((b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80", b"\xc0\xaf"))
        return Poison("header name no UTF-8", value, self._anybody().encode(), (("a", b"b"),), odd_name=name)

    def _misplaced(self) -> Poison:
        workspace = self._chance.choice((self._ghost_name(), self._workspace))
        value = self._wire(avro.parts_of(self.event(workspace)))
        key = self._chance.choice((None, b"", self._chance.choice(self._tenants).encode(), b"\xff"))
        return Poison("misplaced", value, key, partition=self._chance.randrange(self._partitions))

    def _no_value(self) -> Poison:
        return Poison("no value", None, self._chance.choice((None, self._anybody().encode())))

    def _of_another_tenant(self) -> Poison:
        tenant = self._chance.choice(self._tenants)
        entries = [(f"t{number}", f"p{number % 4}", str(number)) for number in range(1, 6)]
        body = {"data": [{"id": str(n), "public_metrics": {"like_count": 10**9}} for n in range(1, 6)]}
        event = self.event(
            self._workspace, channel_id="c1", platform="x", targets=entries, http_status=200, kind="POST_METRICS",
            endpoint="/2/tweets", event_id=f"~{tenant}-1", body=repr(body).replace("'", '"').encode(),
        )  # fmt: skip
        return Poison("names another tenant's", self._wire(avro.parts_of(event)), tenant.encode())

    def _strange_time(self) -> Poison:
        now = int(time.time() * 1000)
        at = self._chance.choice((0, 1, -1, 946_684_799_999, now + 10**7, 2**53, 2**62, 2**63 - 1, -(2**63)))
        workspace = self._chance.choice((self._ghost_name(), self._workspace))
        value = self._wire(avro.parts_of(self.event(workspace, captured_at=at)))
        return Poison("strange captured_at", value, workspace.encode())

    def _leaking(self) -> Poison:
        return Poison("leaking", self._wire(avro.parts_of(self._leaking_event())), self._workspace.encode())

    def _leaking_event(self) -> dict[str, Any]:
        """A valid event with canary tokens in every text that may hold one."""
        name = self._chance.choice(SECRET_NAMES)
        return self.event(
            self._workspace,
            endpoint=f"/me?{name}={token(self._chance)}",
            request={name: token(self._chance), "a": "1"},
            body=with_tokens(self._chance),
            http_status=self._chance.choice((200, 401)),
        )

    def _leaking_cut(self) -> Poison:
        value = self._wire(avro.parts_of(self._leaking_event()))
        return Poison("leaking, cut", value[: -self._chance.randrange(1, 60)], self._workspace.encode())

    def _leaking_malformed(self) -> Poison:
        name = self._chance.choice(SECRET_NAMES)
        headers: Headers = ((name, token(self._chance).encode()), ("x", f"{name}={token(self._chance)}".encode()))
        value = f"GET /me?{name}={token(self._chance)} HTTP/1.1".encode() + with_tokens(self._chance)
        return Poison("leaking, malformed", value, self._ghost_name().encode(), headers)

    def _large_rubbish(self, size: int) -> Poison:
        return Poison(f"large rubbish, {size >> 20} MiB", self._chance.randbytes(size), self._ghost_name().encode())

    def _large_event(self, size: int) -> Poison:
        body = b'{"data":"' + b"x" * (size - 1000) + b'"}'
        value = self._wire(avro.parts_of(self.event(self._workspace, body=body)))
        return Poison(f"large event, {size >> 20} MiB", value, self._workspace.encode())

    def _large_misplaced(self, size: int) -> Poison:
        body = b'{"data":"' + b"x" * (size - 600) + b'"}'
        workspace = self._ghost_name()
        value = self._wire(avro.parts_of(self.event(workspace, body=body)))
        return Poison(
            f"large misplaced, {size >> 20} MiB", value, None, partition=self._chance.randrange(self._partitions)
        )

    def _huge_header(self, size: int) -> Poison:
        return Poison("huge header", b"rubbish", self._ghost_name().encode(), (("h", b"x" * size),))
