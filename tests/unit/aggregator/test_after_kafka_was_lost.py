"""What is written into topics made anew: the newest of the backup and of ClickHouse, each once."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import orjson

from schemas.codec import Codec, codec, schema_text
from schemas.events import CatalogChannel, CatalogPost, CatalogTarget
from schemas.notices import DeliveryStatus, WebhookDelivery
from schemas.topic_names import CHANNELS, POSTS, WEBHOOK_DELIVERIES
from services.aggregator.backup.newest_catalog import NewestCatalog
from services.aggregator.backup.open_deliveries import OpenDeliveries
from services.aggregator.backup.raw_rows import RawRows

BACKUP_ID, OWN_ID = 7, 9


class Rows:
    """In place of ClickHouse: answers a query by what its text asks for."""

    def __init__(self, rows: Sequence[Sequence[Any]]) -> None:
        self._rows = rows
        self.commands: list[str] = []

    def query(self, query: str, parameters: dict[str, Any]) -> list[Any]:
        if "count()" in query:
            key = tuple(parameters[name] for name in ("workspace", "webhook", "delivery"))
            return [[sum(tuple(row[:3]) == key for row in self._rows)]]
        if "keys" in parameters:
            return [row for row in self._rows if tuple(row[:2]) in {tuple(key) for key in parameters["keys"]}]
        if "status = 'pending'" in query:
            after = tuple(parameters[name] for name in ("workspace", "webhook", "delivery"))
            return [row for row in self._rows if tuple(row[:3]) > after and row[6] == "pending"]
        after = (parameters["workspace"], parameters["thing"])
        return [row for row in self._rows if tuple(row[:2]) > after]

    def command(self, statement: str) -> None:
        self.commands.append(statement)


def read_by(topic: str) -> tuple[Codec[Any], Codec[Any]]:
    """A codec that decodes the backup's values and encodes own ones, and one of the backup."""
    texts = {BACKUP_ID: schema_text(topic), OWN_ID: schema_text(topic)}
    return (
        codec(topic, schema_id=OWN_ID, fetch_schema=texts.__getitem__),
        codec(topic, schema_id=BACKUP_ID, fetch_schema=texts.__getitem__),
    )


def line(key: str, value: bytes | None, at: int) -> bytes:
    encoded = None if value is None else base64.b64encode(value).decode()
    return orjson.dumps({"k": base64.b64encode(key.encode()).decode(), "v": encoded, "t": at})


def told(lines: Sequence[bytes], decoder: Codec[Any]) -> dict[str, Any]:
    found = {}
    for entry in map(orjson.loads, lines):
        value = None if entry["v"] is None else base64.b64decode(entry["v"])
        assert value is None or (value[4] == OWN_ID) == bool(entry.get("own")), "marked where it has the own id"
        found[base64.b64decode(entry["k"]).decode()] = None if value is None else decoder.decode(value)
    return found


def channel(channel_id: str, at: int, **more: Any) -> CatalogChannel:
    return replace(CatalogChannel("w", channel_id, "x", "e", "name", "active", None, at), **more)


def row(channel_id: str, at: int, *, status: str = "active", is_deleted: int = 0) -> tuple[Any, ...]:
    if is_deleted:
        return ("w", channel_id, "", "", "", "", None, at, 1)
    return ("w", channel_id, "x", "e", "name", status, None, at, 0)


def test_of_each_channel_the_newest_state_is_taken() -> None:
    own, theirs = read_by(CHANNELS)
    backup = [
        line("w/same", theirs.encode(channel("same", 5)), 5),
        line("w/older", theirs.encode(channel("older", 5, discover=True)), 5),
        line("w/newer", theirs.encode(channel("newer", 9)), 9),
        line("w/deleted", theirs.encode(channel("deleted", 5)), 5),
        line("w/gone", None, 5),
        line("w/back", None, 5),
    ]
    mirror = [
        row("same", 5), row("older", 8, status="disabled"), row("newer", 7), row("deleted", 8, is_deleted=1),
        row("gone", 5, is_deleted=1), row("back", 8), row("unknown", 8), row("unknown-and-gone", 8, is_deleted=1),
    ]  # fmt: skip
    newest = NewestCatalog(cast("RawRows", Rows(mirror)), CHANNELS, own)
    found = told(list(newest.lines(backup)), own)
    assert found == {
        "w/same": channel("same", 5),
        # What the mirror does not hold is the backup's.
        "w/older": channel("older", 8, status="disabled", discover=True),
        "w/newer": channel("newer", 9),
        "w/deleted": None,
        "w/gone": None,
        "w/back": channel("back", 8),
        "w/unknown": channel("unknown", 8),
        "w/unknown-and-gone": None,
    }
    assert newest.unknown == ["w/unknown"]


def test_what_no_reader_takes_is_older_than_what_the_mirror_holds() -> None:
    own, theirs = read_by(POSTS)
    twice = (CatalogTarget("t", "c"), CatalogTarget("t", "c"))
    backup = [
        line("w/p", theirs.encode(CatalogPost("w", "p", "published", None, 3, twice, 9)), 9),
        line("w/q", theirs.encode(CatalogPost("w", "r", "published", None, 3, (), 9)), 9),
    ]
    mirror = [("w", name, "published", None, 3, 5, "[]", 0) for name in ("p", "q")]
    newest = NewestCatalog(cast("RawRows", Rows(mirror)), POSTS, own)
    found = told(list(newest.lines(backup)), own)
    assert {key: (post.post_id, post.updated_at) for key, post in found.items()} == {"w/p": ("p", 5), "w/q": ("q", 5)}


def test_posts_come_with_their_targets() -> None:
    own, theirs = read_by(POSTS)
    post = CatalogPost("w", "p", "published", None, 3, (), 5)
    mirror = [("w", "p", "failed", None, 3, 8, '[{"target_id": "t", "channel_id": "c", "detail": {"a": 1}}]', 0)]
    newest = NewestCatalog(cast("RawRows", Rows(mirror)), POSTS, own)
    (found,) = told(list(newest.lines([line("w/p", theirs.encode(post), 5)])), own).values()
    assert (found.status, found.updated_at) == ("failed", 8)
    assert (found.targets[0].target_id, found.targets[0].detail) == ("t", '{"a":1}')


def delivery(name: str, status: str, tries: int = 0) -> WebhookDelivery:
    return WebhookDelivery("w", "h", name, "metrics.changed", 1, "{}", status, tries, 2, next_try_at=3)


def test_deliveries_are_those_that_are_open_by_the_log() -> None:
    own, theirs = read_by(WEBHOOK_DELIVERIES)
    backup = [
        line(f"w/h/{held.delivery_id}", theirs.encode(held), 5)
        for held in (
            delivery("done-since", DeliveryStatus.PENDING),
            delivery("tried-since", DeliveryStatus.PENDING),
            delivery("not-logged", DeliveryStatus.PENDING),
            replace(delivery("threshold", DeliveryStatus.TOLD), content=""),
        )
    ]
    log = [
        ("w", "h", held.delivery_id, held.type, 1, "{}", held.status, held.tries, 2, 3, None, None, "", "")
        for held in (
            delivery("done-since", DeliveryStatus.DELIVERED, 1),
            delivery("made-since", DeliveryStatus.PENDING),
            delivery("tried-since", DeliveryStatus.PENDING, 4),
        )
    ]
    rows = Rows(log)
    deliveries = OpenDeliveries(cast("RawRows", rows), own)
    found = told(list(deliveries.lines(backup)), own)
    assert {key: (held.status, held.tries) for key, held in found.items()} == {
        "w/h/not-logged": ("pending", 0),
        "w/h/threshold": ("told", 0),
        "w/h/made-since": ("pending", 0),
        "w/h/tried-since": ("pending", 4),
    }
    deliveries.forget()
    assert rows.commands == ["ALTER TABLE webhook_deliveries DELETE WHERE status = 'pending'"]
