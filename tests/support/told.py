"""Values of the topics that the query API's store holds, as their writers write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from schemas.codec import codec, schema_text
from schemas.encoder import wire_encoder
from schemas.events import AccountEvent, CatalogChannel, CatalogPost, CatalogTarget
from schemas.metrics import POST_NAMES, WINDOW_METRICS, mask_of, post_engagement_rate, post_engagements, total
from schemas.topic_names import ACCOUNT_EVENTS, CHANNEL_ROLLUPS, CHANNELS, POST_ROLLUPS, POSTS
from services.query_api.store import messages
from services.query_api.store.layout import TOPICS
from services.query_api.store.messages import Decoder
from services.runtime.kafka import partition_of
from tests.support.manual_clock import START
from tests.support.memory_brokers import MemoryBrokers

PARTITIONS = 2
_IDS = {topic: number for number, topic in enumerate(TOPICS, 1)}
_TEXTS = {number: schema_text(topic) for topic, number in _IDS.items()}
_OLD_ROLLUPS = 99
_TEXTS[_OLD_ROLLUPS] = schema_text(POST_ROLLUPS, 1)
_CODECS = {
    topic: codec(topic, schema_id=_IDS[topic], fetch_schema=_TEXTS.__getitem__)
    for topic in (CHANNELS, POSTS, ACCOUNT_EVENTS)
}
_ROLLUP = wire_encoder(_TEXTS[_IDS[POST_ROLLUPS]], _IDS[POST_ROLLUPS])
_OLD_ROLLUP = wire_encoder(_TEXTS[_OLD_ROLLUPS], _OLD_ROLLUPS)
_WINDOW = wire_encoder(_TEXTS[_IDS[CHANNEL_ROLLUPS]], _IDS[CHANNEL_ROLLUPS])


def fetch_schema(schema_id: int) -> str:
    """A schema's text."""
    return _TEXTS[schema_id]


def decoders() -> dict[str, Decoder]:
    """Decoders of all topics of the store."""
    return messages.decoders(fetch_schema)


def topics() -> MemoryBrokers:
    """The topics of the store, empty."""
    return MemoryBrokers(dict.fromkeys(TOPICS, PARTITIONS))


def channel(workspace: str, channel_id: str, **more: Any) -> bytes:
    """A value of `catalog.channels`."""
    told = {"platform": "x", "external_id": "e", "username": "u", "status": "active", "token_expires_at": None}
    return _CODECS[CHANNELS].encode(CatalogChannel(workspace, channel_id, **{**told, "updated_at": START, **more}))


def post(
    workspace: str,
    post_id: str,
    targets: Sequence[CatalogTarget] = (),
    status: str = "published",
    at: int = START,
    published_at: int | None = START,
) -> bytes:
    """A value of `catalog.posts`."""
    return _CODECS[POSTS].encode(CatalogPost(workspace, post_id, status, START, published_at, tuple(targets), at))


def target(target_id: str, channel_id: str = "c1", **more: Any) -> CatalogTarget:
    """A target of a post."""
    detail = more.pop("detail", {})
    told = {"post_type": "x-post", "external_id": f"e-{target_id}", "content": "text", **more}
    return CatalogTarget(target_id, channel_id, detail=orjson.dumps(detail).decode(), **told)


def values(**named: int) -> tuple[int | None, ...]:
    """Figures in the order of POST_METRICS."""
    return tuple(named.get(name) for name in POST_NAMES)


def figures(
    workspace: str,
    post_id: str,
    of_targets: Mapping[str, tuple[int | None, ...]],
    *,
    at: int | None = START,
    channel_id: str = "c1",
    is_old: bool = False,
) -> bytes:
    """A value of `rollups.posts`; `is_old` as an aggregator wrote it that did not say targets."""
    fields = figures_fields(workspace, post_id, of_targets, at=at, channel_id=channel_id)
    return _OLD_ROLLUP(fields[:-1]) if is_old else _ROLLUP(fields)


def figures_fields(
    workspace: str,
    post_id: str,
    of_targets: Mapping[str, tuple[int | None, ...]],
    *,
    at: int | None = START,
    channel_id: str = "c1",
) -> tuple[Any, ...]:
    """The fields of a value of `rollups.posts`."""
    told = {target_id: (None if not mask_of(held) else at, held) for target_id, held in of_targets.items()}
    totals = total([held for _, held in told.values()])
    derived = (post_engagements(totals), post_engagement_rate(totals))
    targets = [
        (target_id, channel_id, "x", captured, *held, post_engagements(held), post_engagement_rate(held),
         [] if captured is None else [(f"ev-{captured}", captured, True, mask_of(held))])
        for target_id, (captured, held) in told.items()
    ]  # fmt: skip
    head = (workspace, post_id, max((c for c, _ in told.values() if c), default=None), 1, *totals, *derived)
    of_channel = [(channel_id, "x", head[2], *totals, *derived)] if targets else []
    return (*head, of_channel, targets)


def window(workspace: str, channel_id: str, length: str = "28d", **more: Any) -> bytes:
    """A value of `rollups.channels`."""
    return _WINDOW(window_fields(workspace, channel_id, length, **more))


def window_fields(workspace: str, channel_id: str, length: str = "28d", **more: Any) -> tuple[Any, ...]:
    """The fields of a value of `rollups.channels`."""
    told: dict[str, Any] = {
        "source": "posts", "start": START - 86_400_000, "end": START, "valid_from": None, "valid_until": None, **more
    }  # fmt: skip
    held = tuple(told.get(metric.name) for metric in WINDOW_METRICS)
    return (
        workspace, channel_id, "x", length, told["source"], told["start"], told["end"], told["valid_from"],
        told["valid_until"], None, 1, *held, told.get("engagements"), None, told.get("views"), told.get("views"),
    )  # fmt: skip


def account(workspace: str, channel_id: str, type_: str = "account.token_expired", at: int = START) -> bytes:
    """A value of `accounts.events`."""
    return _CODECS[ACCOUNT_EVENTS].encode(AccountEvent(workspace, channel_id, "x", type_, at, None))


def put(brokers: MemoryBrokers, topic: str, key: str, value: bytes | None, *, timestamp: int = START) -> int:
    """Write a message to its workspace's partition; returns its offset."""
    partition = partition_of(key.partition("/")[0], PARTITIONS)
    return brokers.put(topic, partition, key.encode(), value, timestamp=timestamp)
