"""Why readers of the topics ignore a record. Pure."""

from __future__ import annotations

from enum import StrEnum

from schemas.codec import MalformedEvent


class Reason(StrEnum):
    """The reason why a record does not count."""

    NO_KEY = "no_key"
    UNREADABLE_KEY = "unreadable_key"
    MALFORMED_KEY = "malformed_key"
    KEY_AND_VALUE_DIFFER = "key_and_value_differ"
    WRONG_PARTITION = "wrong_partition"
    UNREADABLE_VALUE = "unreadable_value"
    MALFORMED_VALUE = "malformed_value"


class RefusedRecord(MalformedEvent):
    """A record that readers ignore; the message repeats nothing of the record's contents."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def reason_of(error: MalformedEvent) -> Reason:
    """The reason in an error: about the record's key, or that its value can't be read."""
    return error.reason if isinstance(error, RefusedRecord) else Reason.UNREADABLE_VALUE
