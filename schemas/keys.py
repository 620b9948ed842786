"""Checks that a record's key, value and partition belong together; readers ignore records that fail. Pure.

The key decides to which workspace a record belongs, for compaction and for access. Readers act by the value. If the two
could differ, a writer of one workspace's records could act for another workspace. Every reader makes the same check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from schemas.codec import MalformedEvent
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
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_KEYS = {
    topic: re.compile("/".join(f"({_ID.pattern}{'|' if (topic, name) in _MAY_BE_EMPTY else ''})" for name in fields))
    for topic, fields in KEY_FIELDS.items()
}


def is_id(text: str) -> bool:
    """Whether a text is an id of ours."""
    return _ID.fullmatch(text) is not None


class Reason(StrEnum):
    """The reason why a record does not count."""

    NO_KEY = "no_key"
    UNREADABLE_KEY = "unreadable_key"
    MALFORMED_KEY = "malformed_key"
    KEY_AND_VALUE_DIFFER = "key_and_value_differ"
    WRONG_PARTITION = "wrong_partition"
    UNREADABLE_VALUE = "unreadable_value"


class RefusedRecord(MalformedEvent):
    """A record that readers ignore; the message repeats nothing of the record's contents."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def reason_of(error: MalformedEvent) -> Reason:
    """The reason in an error: about the record's key, or that its value can't be read."""
    return error.reason if isinstance(error, RefusedRecord) else Reason.UNREADABLE_VALUE


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
    return parts
