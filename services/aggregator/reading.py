"""A raw message to what it says, or to the reason why it can't be read. Pure but for the codec's schema look-up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from schemas.codec import Codec, MalformedEvent
from schemas.events import DeadLetter, PlatformRaw
from services.aggregator.errors import InvalidEvent
from services.platforms import all_platforms
from services.platforms.base import NOTHING, MappingError, Reading
from services.runtime.logging import blank_secret_bytes, blank_secrets

# A poller's clock may be ahead of the broker's by this much; more would let one bad clock win every comparison.
FUTURE_TOLERANCE_MILLIS = 5 * 60 * 1000
# ClickHouse's DateTime64 begins in 1900, but nothing was captured before social networks were.
EARLIEST_CAPTURE = 946_684_800_000
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_EVENT_ID_MAX_BYTES = 256


class Message(NamedTuple):
    """A message as consumed.

    Attributes:
        timestamp: the broker's append time, ms.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class RawReading:
    """One raw event with what it says.

    Attributes:
        message: where it came from.
        event: the decoded event, its body with anything like a token blanked.
        event_id: the event's id as bytes, for stamps.
        reading: what it says.
        failure: why a successful answer could not be mapped, when so; the event itself is kept all the same.
    """

    message: Message
    event: PlatformRaw
    event_id: bytes
    reading: Reading
    failure: InvalidEvent | None = None


def read_message(codec: Codec[PlatformRaw], message: Message) -> RawReading:
    """Decode and map one message of `platform.raw`.

    Raises:
        InvalidEvent: the message is no valid event at all. An event that is valid but can't be mapped comes back
            with `failure` set instead.
    """
    if message.value is None:
        raise InvalidEvent("empty_value", "a raw event without a value says nothing")
    try:
        event = codec.decode(message.value)
    except MalformedEvent as error:
        raise InvalidEvent("malformed_event", blank_secrets(str(error))) from None
    _check(event, message)
    clean = blank_secret_bytes(event.body)
    if clean is not event.body:
        event = _with_body(event, clean)
    failure: InvalidEvent | None = None
    reading = NOTHING
    try:
        reading = map_event(event)
    except MappingError as error:
        failure = InvalidEvent(error.reason, blank_secrets(error.detail), event.workspace_id)
    return RawReading(message, event, event.event_id.encode(), reading, failure)


def map_event(event: PlatformRaw) -> Reading:
    """What an event says, by its platform's file.

    Raises:
        MappingError: see there; `unknown_platform` when there is no such file.
    """
    known = all_platforms().get(event.platform)
    if known is None:
        raise MappingError("unknown_platform", f"no platform of that name; known: {', '.join(all_platforms())}")
    return known.read(event)


def _check(event: PlatformRaw, message: Message) -> None:
    workspace_id = event.workspace_id
    if not _ID.fullmatch(workspace_id):
        raise InvalidEvent("bad_id", "workspace_id must be 1-128 of A-Z a-z 0-9 . _ : -")
    if not _ID.fullmatch(event.channel_id):
        raise InvalidEvent("bad_id", "channel_id must be 1-128 of A-Z a-z 0-9 . _ : -", workspace_id)
    if not 0 < len(event.event_id.encode()) <= _EVENT_ID_MAX_BYTES:
        raise InvalidEvent("bad_id", f"event_id must have 1-{_EVENT_ID_MAX_BYTES} bytes", workspace_id)
    for target_id, post_id, _ in event.targets:
        if not _is_id(target_id) or not _is_id(post_id):
            raise InvalidEvent("bad_id", "target_id and post_id must be 1-128 of A-Z a-z 0-9 . _ : -", workspace_id)
    if event.captured_at > message.timestamp + FUTURE_TOLERANCE_MILLIS:
        ahead = (event.captured_at - message.timestamp) // 1000
        raise InvalidEvent(
            "captured_in_future", f"captured_at is {ahead} s ahead of the broker; set the poller's clock", workspace_id
        )
    if event.captured_at < EARLIEST_CAPTURE:
        raise InvalidEvent(
            "captured_too_early", "captured_at is before the year 2000; it is in milliseconds", workspace_id
        )


@lru_cache(maxsize=200_000)
def _is_id(text: str) -> bool:
    """Looked up: a tenant's targets come again with every poll."""
    return _ID.fullmatch(text) is not None


def _with_body(event: PlatformRaw, body: bytes) -> PlatformRaw:
    return PlatformRaw(
        event.event_id, event.workspace_id, event.channel_id, event.platform, event.kind, event.endpoint,
        event.request, event.targets, event.http_status, body, event.captured_at, event.origin,
    )  # fmt: skip


def clean_payload(codec: Codec[PlatformRaw], value: bytes) -> bytes:
    """A raw message's value with anything like a token blanked, and still an event where it was one."""
    blanked = blank_secret_bytes(value)
    if blanked is value:
        return value
    try:
        event = codec.decode(value)
    except MalformedEvent:
        return blanked
    request = {name: blank_secrets(held) for name, held in event.request.items()}
    cleaned = PlatformRaw(
        event.event_id, event.workspace_id, event.channel_id, event.platform, event.kind,
        blank_secrets(event.endpoint), request, event.targets, event.http_status, blank_secret_bytes(event.body),
        event.captured_at, event.origin,
    )  # fmt: skip
    return codec.encode(cleaned)


def dead_letter(codec: Codec[PlatformRaw], message: Message, error: InvalidEvent, failed_at: int) -> DeadLetter:
    """A message that can't be used, with why and where it came from; anything like a token blanked."""
    return DeadLetter(
        workspace_id=error.workspace_id,
        reason=error.reason,
        detail=error.detail,
        origin_topic=message.topic,
        origin_partition=message.partition,
        origin_offset=message.offset,
        origin_key=message.key,
        payload=clean_payload(codec, message.value or b""),
        failed_at=failed_at,
        headers={name: blank_secret_bytes(value) for name, value in message.headers},
    )
