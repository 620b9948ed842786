"""Checks that a record's key, value and partition belong together; readers ignore records that fail. Pure.

The key decides to which workspace a record belongs, for compaction and for access. Readers act by the value. If the two
could differ, a writer of one workspace's records could act for another workspace. Every reader makes the same check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from schemas.ids import ID_PATTERN, is_id
from schemas.refusals import Reason, RefusedRecord, reason_of
from schemas.topic_names import (
    ACCOUNT_EVENTS,
    API_KEYS,
    BACKFILLS,
    CHANNEL_ROLLUPS,
    CHANNEL_SNAPSHOTS,
    CHANNELS,
    POST_ROLLUPS,
    POST_SNAPSHOTS,
    POSTS,
    SPENDING,
    TOKENS,
    WEBHOOK_DELIVERIES,
    WEBHOOK_REQUESTS,
    WEBHOOK_STATES,
    WEBHOOKS,
)
from schemas.values import checked_value

__all__ = ["KEY_FIELDS", "Reason", "RefusedRecord", "checked_key", "is_id", "parsed_key", "reason_of"]

KEY_FIELDS: dict[str, tuple[str, ...]] = {
    API_KEYS: ("workspace_id", "key_id"),
    CHANNELS: ("workspace_id", "channel_id"),
    POSTS: ("workspace_id", "post_id"),
    TOKENS: ("workspace_id", "channel_id"),
    CHANNEL_SNAPSHOTS: ("workspace_id", "channel_id"),
    POST_SNAPSHOTS: ("workspace_id", "target_id"),
    BACKFILLS: ("workspace_id", "channel_id"),
    SPENDING: ("workspace_id", "platform", "month"),
    CHANNEL_ROLLUPS: ("workspace_id", "channel_id", "range"),
    POST_ROLLUPS: ("workspace_id", "post_id"),
    ACCOUNT_EVENTS: ("workspace_id", "channel_id"),
    WEBHOOKS: ("workspace_id", "webhook_id"),
    WEBHOOK_DELIVERIES: ("workspace_id", "webhook_id", "delivery_id"),
    WEBHOOK_STATES: ("workspace_id", "webhook_id"),
    WEBHOOK_REQUESTS: ("workspace_id", "webhook_id"),
}
"""The fields of a topic's value whose texts, joined by slashes, are the key."""

# A backfill of a whole workspace names no channel.
_MAY_BE_EMPTY = frozenset({(BACKFILLS, "channel_id")})
_KEYS = {
    topic: re.compile("/".join(f"({ID_PATTERN}{'|' if (topic, name) in _MAY_BE_EMPTY else ''})" for name in fields))
    for topic, fields in KEY_FIELDS.items()
}


def parsed_key(topic: str, message_key: bytes | None) -> tuple[str, ...]:
    """The ids in a message's key.

    Args:
        topic: name without prefix.

    Raises:
        RefusedRecord: the bytes are no key of this topic.
    """
    fields = KEY_FIELDS[topic]
    if message_key is None:
        raise RefusedRecord(Reason.NO_KEY, f"a message of {topic} has no key")
    try:
        found = _KEYS[topic].fullmatch(message_key.decode())
    except UnicodeDecodeError:
        raise RefusedRecord(Reason.UNREADABLE_KEY, f"a key of {topic} is not UTF-8") from None
    if found is None:
        raise RefusedRecord(Reason.MALFORMED_KEY, f"a key of {topic} must be {'/'.join(fields)}")
    return found.groups()


def checked_key(
    topic: str, message_key: bytes | None, value: Any, is_home: Callable[[str], bool] | None = None
) -> tuple[str, ...]:
    """The ids in a record's key, after checking that the key agrees with the record's value and partition.

    The value's own contents are checked as well: see `values.checked_value`.

    Args:
        topic: name without prefix.
        value: an event of the topic, or its record as a dict; None for a tombstone, which has only a key.
        is_home: whether a workspace belongs to the partition that the record was read from; None skips this check.

    Raises:
        RefusedRecord: the record does not count.
    """
    parts = parsed_key(topic, message_key)
    if is_home is not None and not is_home(parts[0]):
        # Records of one key in two partitions have no order, and compaction leaves both.
        raise RefusedRecord(Reason.WRONG_PARTITION, f"a message of {topic} is in another workspace's partition")
    if value is not None:
        fields = KEY_FIELDS[topic]
        told = [value[name] if isinstance(value, Mapping) else getattr(value, name) for name in fields]
        if tuple(told) != parts:
            raise RefusedRecord(Reason.KEY_AND_VALUE_DIFFER, f"key and value of a message of {topic} differ")
        checked_value(topic, value)
    return parts
