"""Messages as the store keeps them, and what it keeps as what is read of it. Pure.

A payload is JSON, since nothing in Python is read faster: lists by position, figures of targets by their id; packed
where that is shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import lz4.block
import orjson

from schemas.codec import schema_text
from schemas.events import AccountEvent, CatalogChannel, PostStatus, TargetOrigin
from schemas.metrics import NO_POST_VALUES, POST_METRICS, WINDOW_METRICS, Values
from schemas.registers import Groups, Register, Stamp
from schemas.topic_names import ACCOUNT_EVENTS, CHANNEL_ROLLUPS, CHANNELS, POST_ROLLUPS, POSTS
from schemas.values import check_figures, check_post, checked_value, read_detail
from services.query_api.store.layout import Damaged

_METRICS = len(POST_METRICS)
_NO_DETAIL: Mapping[str, Any] = {}
# Targets of a post are much alike: packed, two take a third less, for a microsecond. The figures of two targets are
# just short enough to be left as they are: that takes 80 bytes more, and 0.4 us less of each read.
_PACKED = b"\x01"
_PACKED_BYTE = _PACKED[0]
_loads, _unpacked = orjson.loads, lz4.block.decompress
_SHORT_BYTES = 256
_WINDOW = len(WINDOW_METRICS)
# A target's fields as they are stored: of a plain one, and of any one without its origin.
_PLAIN_FIELDS, _FIELDS = 8, 11
_PRODUCT = TargetOrigin.PRODUCT.value
_DELETED, _PUBLISHED = PostStatus.DELETED.value, PostStatus.PUBLISHED.value

WANTED: Mapping[str, frozenset[str] | None] = {
    CHANNELS: None,
    ACCOUNT_EVENTS: None,
    CHANNEL_ROLLUPS: None,
    POSTS: None,
    # Totals follow from the targets.
    POST_ROLLUPS: frozenset({"workspace_id", "post_id", "captured_at", "version", "targets"}),
}
"""The fields of each topic that are decoded; None is all of them."""

KEY_FIELDS: Mapping[str, int] = {CHANNELS: 2, ACCOUNT_EVENTS: 2, CHANNEL_ROLLUPS: 2, POSTS: 2, POST_ROLLUPS: 2}
"""How many of the first fields are the parts of the message key; a window's range follows apart."""

_RANGE_AT = 3


_NAMES = {
    topic: tuple(entry["name"] for entry in orjson.loads(schema_text(topic))["fields"])
    for topic in (CHANNELS, ACCOUNT_EVENTS, CHANNEL_ROLLUPS)
}


class StoredTarget(NamedTuple):
    """One target of a post, with its figures.

    Attributes:
        published_at: ms; the post's where the target has none of its own.
        captured_at: ms, of its freshest figures.
        values: in the order of POST_METRICS.
        sources: the answers that its figures are from, as they are stored.
    """

    target_id: str
    channel_id: str
    post_type: str
    status: str
    external_id: str
    permalink: str | None
    published_at: int | None
    content: str | None
    is_story: bool
    parent_target_id: str | None
    detail: Mapping[str, Any]
    captured_at: int
    values: Values
    sources: Sequence[Any]
    origin: str = _PRODUCT

    @property
    def register(self) -> Register:
        """The figures with the answers that they are from."""
        return register_of(self.captured_at, self.values, self.sources)


# A tuple's own constructor takes half the time of the class's, and targets are made by the ten thousand a second.
_new_target: Callable[[tuple[Any, ...]], StoredTarget] = partial(tuple.__new__, StoredTarget)
# The nulls that are left out behind so many figures.
_NULLS = tuple([NO_POST_VALUES[count:] for count in range(_METRICS + 1)])


class StoredPost(NamedTuple):
    """A post of the catalog and the figures of its targets, in order, without those that are deleted or another's."""

    post_id: str
    status: str
    created_at: int | None
    published_at: int | None
    updated_at: int
    targets: tuple[StoredTarget, ...]


ReadPost = tuple[str, int | None, int | None, int, list[tuple[Any, ...]]]
"""The fields of a `StoredPost` behind its id, with the targets as plain tuples of a `StoredTarget`'s fields."""

Published = tuple[int | None, list[tuple[str, str, int | None, bool]]]
"""When a post was published, ms; of each target that is not deleted id, channel, time, and whether its status is
published."""

_new_register: Callable[[tuple[Any, ...]], Register] = partial(tuple.__new__, Register)


class StoredWindow(NamedTuple):
    """Totals of a channel's window; instants in ms, `values` in the order of WINDOW_METRICS."""

    platform: str
    source: str
    start: int
    end: int
    valid_from: int | None
    valid_until: int | None
    captured_at: int | None
    engagements: int | None
    views_or_impressions: int | None
    impressions_or_views: int | None
    values: Values


def told_key(topic: str, fields: Sequence[Any]) -> tuple[str, ...]:
    """The parts of the message key that a decoded value belongs under."""
    if topic == CHANNEL_ROLLUPS:
        return fields[0], fields[1], fields[_RANGE_AT]
    return fields[0], fields[1]


def check(topic: str, fields: Sequence[Any]) -> None:
    """Check what a decoded value says beside its key; see `schemas.values`.

    Raises:
        RefusedRecord: the record does not count.
    """
    if topic == POST_ROLLUPS:
        targets = fields[4] or ()
        instants = [fields[2], *[target[3] for target in targets]]
        check_figures([target[0] for target in targets], [target[1] for target in targets], instants)
    elif topic == POSTS:
        _, _, _, created_at, published_at, targets, updated_at = fields
        check_post(
            [target[0] for target in targets],
            [target[1] for target in targets],
            [target[9] for target in targets],
            [target[4] for target in targets],
            [target[10] for target in targets],
            [created_at, published_at, updated_at, *[target[6] for target in targets]],
        )
    else:
        checked_value(topic, dict(zip(_NAMES[topic], fields, strict=True)))


def is_deleted(topic: str, fields: Sequence[Any]) -> bool:
    """Whether a value says that its thing is not there."""
    return topic == POSTS and fields[2] == PostStatus.DELETED


def target_ids(topic: str, fields: Sequence[Any]) -> list[str]:
    """The targets whose post a value of `rollups.posts` names."""
    if topic != POST_ROLLUPS or fields[4] is None:
        return []
    return [target[0] for target in fields[4]]


def publication(topic: str, fields: Sequence[Any]) -> Published | None:
    """When a post of a decoded value was published; None of other topics' values."""
    return _published(fields[4], fields[5]) if topic == POSTS else None


def payload(topic: str, fields: Sequence[Any]) -> bytes:
    """A decoded value as it is stored; one that `check` lets pass."""
    text = orjson.dumps(_SHAPES[topic](fields))
    if len(text) < _SHORT_BYTES:
        return text
    packed = _PACKED + lz4.block.compress(text)
    return packed if len(packed) < len(text) else text


def _channel(fields: Sequence[Any]) -> Any:
    return fields[2:]


def _post(fields: Sequence[Any]) -> Any:
    _, _, status, created_at, published_at, targets, updated_at = fields
    return [status, created_at, published_at, updated_at, [_target(target) for target in targets]]


def _target(target: Sequence[Any]) -> Sequence[Any]:
    """A target without what most have not: a part, a parent, extras and an origin elsewhere."""
    detail, origin = read_detail(target[10]), target[_FIELDS:] or [_PRODUCT]
    is_plain = not (target[8] or target[9] or detail) and origin[0] == _PRODUCT
    return target[:_PLAIN_FIELDS] if is_plain else [*target[:10], detail, *origin]


def _figures(fields: Sequence[Any]) -> Any:
    targets = fields[4]
    if targets is None:
        return None
    return {
        target[0]: [target[3], _without_end(target[4 : 4 + _METRICS]), _sources(target[3], target[6 + _METRICS])]
        for target in targets
    }


def _without_end(values: Sequence[int | None]) -> Sequence[int | None]:
    """Figures without the nulls after the last known one."""
    size = len(values)
    while size and values[size - 1] is None:
        size -= 1
    return values[:size]


def _sources(captured_at: int | None, sources: Sequence[Any]) -> Sequence[Any]:
    """The answers that figures are from; of a single one about the lifetime, its id and what it spoke of."""
    if len(sources) == 1:
        event_id, at, is_lifetime, spoken = sources[0]
        if is_lifetime and at == captured_at:
            return event_id, spoken
    return sources


_SHAPES = {
    CHANNELS: _channel,
    ACCOUNT_EVENTS: _channel,
    CHANNEL_ROLLUPS: _channel,
    POSTS: _post,
    POST_ROLLUPS: _figures,
}


def read_targets(stored: bytes) -> list[str] | None:
    """The targets that a stored value of `rollups.posts` names; None of one that an old aggregator wrote."""
    figures = _loaded(stored)
    return None if figures is None else list(figures)


def published(catalog: bytes) -> Published | None:
    """When a post of its payload, and each of its targets, was published; None where the catalog does not hold it."""
    if not catalog:
        return None
    try:
        _, _, published_at, _, targets = _loaded(catalog)
        return _published(published_at, targets)
    except (TypeError, ValueError, IndexError) as error:
        raise Damaged(f"a post is not as it was stored: {error!r}") from None


def _published(published_at: int | None, targets: Iterable[Sequence[Any]]) -> Published:
    return published_at, [
        (target[0], target[1], published_at if target[6] is None else target[6], target[3] == _PUBLISHED)
        for target in targets
        if target[3] != _DELETED
    ]


def measured(figures: bytes, target_id: str) -> Values | None:
    """A target's figures, of the payload of its post's; None where it was never measured, or is not among them."""
    held = (_loaded(figures) or {}).get(target_id)
    if held is None or held[0] is None:
        return None
    values = held[1]
    return tuple(values) + _NULLS[len(values)]


def post(post_id: str, read: ReadPost) -> StoredPost:
    """A post that was read."""
    status, created_at, published_at, updated_at, targets = read
    return StoredPost(post_id, status, created_at, published_at, updated_at, tuple(map(_new_target, targets)))


def read_post(catalog: bytes, figures: bytes) -> ReadPost | None:
    """A post of its two payloads; None where an old aggregator wrote the figures, without those of each target.

    Raises:
        Damaged: they are no such payloads.
    """
    held = _loaded(figures)
    if held is None:
        return None
    try:
        status, created_at, published_at, updated_at, targets = _loaded(catalog)
        shown: list[tuple[Any, ...]] = []
        for target in targets:
            figures_of = held.get(target[0])
            if figures_of is None or target[3] == _DELETED:
                continue
            captured_at, values, sources = figures_of
            values = tuple(values) + _NULLS[len(values)]
            if len(target) != _PLAIN_FIELDS:
                shown.append(_odd_target(target, published_at, captured_at, values, sources))
                continue
            # Nearly all are like this: written out, since a call takes as long as the rest.
            target_id, channel_id, post_type, status_of, external_id, permalink, at, content = target
            shown.append(
                (
                    target_id, channel_id, post_type, status_of, external_id, permalink,
                    published_at if at is None else at, content, False, None, _NO_DETAIL, captured_at, values, sources,
                    _PRODUCT,
                )
            )  # fmt: skip
        return status, created_at, published_at, updated_at, shown
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise Damaged(f"a post is not as it was stored: {error!r}") from None


def _odd_target(
    target: Sequence[Any], published_at: int | None, captured_at: int | None, values: Values, sources: Sequence[Any]
) -> tuple[Any, ...]:
    """The fields of a target that is not plain; see `_target`."""
    at = published_at if target[6] is None else target[6]
    # Payloads from before there was an origin end with the detail.
    origin = target[_FIELDS] if len(target) > _FIELDS else _PRODUCT
    return (*target[:6], at, *target[7:_FIELDS], captured_at, values, sources, origin)


def register_of(captured_at: int, values: Values, sources: Sequence[Any]) -> Register:
    """A target's figures with the answers that they are from; arguments as of `StoredTarget`."""
    return _new_register((_groups(captured_at, sources), values, captured_at))


def _groups(captured_at: int, sources: Sequence[Any]) -> Groups:
    if sources and isinstance(sources[0], str):
        return _group(captured_at, *sources)
    return tuple([(_stamp(is_lifetime, at, event_id), mask) for event_id, at, is_lifetime, mask in sources])


@lru_cache(maxsize=4096)
def _group(captured_at: int, event_id: str, spoken: int) -> Groups:
    """What one answer said, shared by all targets of the answer."""
    return ((_stamp(True, captured_at, event_id), spoken),)


@lru_cache(maxsize=4096)
def _stamp(is_lifetime: bool, captured_at: int, event_id: str) -> Stamp:
    return Stamp(int(is_lifetime), captured_at, event_id.encode())


def channel(workspace_id: str, channel_id: str, stored: bytes) -> CatalogChannel:
    """A connected account of its payload."""
    # Six fields were stored before there was `discover`.
    return CatalogChannel(workspace_id, channel_id, *_of(stored, 6, 7))


def account(workspace_id: str, channel_id: str, stored: bytes) -> AccountEvent:
    """What last happened to an account's connection, of its payload."""
    return AccountEvent(workspace_id, channel_id, *_of(stored, 4))


def window(stored: bytes) -> StoredWindow:
    """Totals of a channel's window, of their payload."""
    platform, _, source, start, end, valid_from, valid_until, captured_at, _, *rest = _of(stored, 9 + _WINDOW + 4)
    engagements, _, views_or, impressions_or = rest[_WINDOW:]
    return StoredWindow(
        platform, source, start, end, valid_from, valid_until, captured_at, engagements, views_or, impressions_or,
        tuple(rest[:_WINDOW]),
    )  # fmt: skip


def _of(stored: bytes, *counts: int) -> list[Any]:
    found = _loaded(stored)
    if not isinstance(found, list) or len(found) not in counts:
        raise Damaged("a value is not as it was stored")
    return found


def _loaded(stored: bytes) -> Any:
    try:
        return _loads(_unpacked(stored[1:]) if stored[0] == _PACKED_BYTE else stored)
    except (orjson.JSONDecodeError, lz4.block.LZ4BlockError, IndexError) as error:
        raise Damaged(f"a value is not as it was stored: {error}") from None
