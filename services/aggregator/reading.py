"""Reads a raw message: returns the decoded event and its figures, or the reason why the message can't be used.

Pure except for the codec, which may look a schema up in the registry. Anybody may publish to `platform.raw`, so reading
any message ends in an event or in an `InvalidEvent`, and every event fits ClickHouse's columns and the dead-letter
topic.
"""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from schemas.codec import Codec, MalformedEvent
from schemas.events import PlatformRaw
from schemas.ids import ID_MAX_CHARS, is_id
from schemas.raw_decoder import REQUEST_MAX, TARGETS_MAX
from schemas.writers import SchemasAway
from services.aggregator.errors import InvalidEvent
from services.platforms import all_platforms
from services.platforms.base import NOTHING, SAME_ID_MAX, MappingError, Reading
from services.runtime.record_bounds import TOO_MANY_HEADERS, held_bytes
from services.runtime.redaction import blank_request, blank_secret_bytes, blank_secrets
from services.runtime.settings import MESSAGE_MAX_BYTES
from services.runtime.tracing import NO_SPAN, Span

SCHEMA_UNAVAILABLE = "schema_unavailable"
"""The reason of an event whose schema could not be asked for: it may be read later."""
# A poller's clock may be ahead of the broker's by this much; with a larger tolerance one bad clock would win every
# comparison.
FUTURE_TOLERANCE_MILLIS = 5 * 60 * 1000
# The year 2000. ClickHouse's DateTime64 begins in 1900, but no platform answered before social networks existed.
EARLIEST_CAPTURE = 946_684_800_000
_TARGET_ID, _EXTERNAL_ID = attrgetter("target_id"), attrgetter("external_id")
_EVENT_ID_MAX_BYTES = 256
# No platform has a longer name; ClickHouse keeps each name once in a block.
_PLATFORM_MAX_CHARS = 64
_ENDPOINT_MAX_CHARS = 64 * 1024
_EXTERNAL_ID_MAX_CHARS = 8 * 1024
# The range of ClickHouse's Int32.
_STATUS_MAX = 2**31 - 1
# The end of 2299, where DateTime64 with milliseconds ends; a platform may name any date as a period's end.
_PERIOD_MAX = 10_413_791_999_000
# Three years of days; a longer range is asked for in parts.
_PERIODS_MAX = 1_100
_DAY_MILLIS = 86_400_000
# How long after its answer a period may end (ms). The day in progress ends within 38 hours: zones are up to 14 hours
# ahead of UTC, and some platforms name days without their zone. A window in progress may be a calendar month.
_AHEAD_MAX = {"day": 3 * _DAY_MILLIS, "window": 32 * _DAY_MILLIS}
DETAIL_MAX_CHARS = 2_000


class Message(NamedTuple):
    """A message as consumed.

    Attributes:
        value: None for a tombstone.
        timestamp: the broker's append time, ms.
        unreadable: why the message could not be fetched whole; `value` then holds the first bytes, or all bytes of a
            message whose headers are too many. None for others.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[tuple[str, bytes | None], ...] = ()
    unreadable: str | None = None

    @property
    def intact(self) -> bytes | None:
        """The value: None for a tombstone, b"" (which no codec decodes) for a message that was not fetched whole."""
        return self.value if self.unreadable is None else b""

    @property
    def is_cut(self) -> bool:
        """Whether `value` holds only the first bytes, as of a message that is too large."""
        return self.unreadable is not None and not self.unreadable.startswith(TOO_MANY_HEADERS)

    @property
    def held_bytes(self) -> int:
        """About how many bytes of memory key, value and headers take."""
        return held_bytes(self.key, self.value, self.headers)

    @property
    def sent_bytes(self) -> int:
        """About how many bytes key, value and headers have in a batch."""
        size = len(self.key or b"") + len(self.value or b"")
        for name, value in self.headers:
            size += len(name.encode()) + len(value or b"") + 8
        return size


@dataclass(frozen=True, slots=True)
class RawReading:
    """One raw event and the figures of its answer.

    Attributes:
        message: the message as consumed.
        event: the decoded event, with everything like a token blanked.
        event_id: the event's id as UTF-8 bytes, for the stamps of registers.
        reading: the figures of targets and of the channel.
        failure: why the platform's answer could not be mapped; None for a mapped answer. The event is kept in both
            cases.
        trace: the span of reading the message, where it is sampled.
    """

    message: Message
    event: PlatformRaw
    event_id: bytes
    reading: Reading
    failure: InvalidEvent | None = None
    trace: Span = NO_SPAN


def read_message(codec: Codec[PlatformRaw], message: Message) -> RawReading:
    """Decode and map one message of `platform.raw`.

    Raises:
        InvalidEvent: the message is no valid event. A valid event that can't be mapped is returned with `failure` set.
    """
    event = check_message(codec, message)
    try:
        event = clean_event(event)
    except Exception as error:  # a bug: this message is set aside with the place of the bug, and the others go on
        raise InvalidEvent("not_read", describe_bug(error)) from error
    reading, failure = map_or_failure(event)
    return RawReading(message, event, event.event_id.encode(), reading, failure)


def check_message(codec: Codec[PlatformRaw], message: Message) -> PlatformRaw:
    """Decode and check one message without blanking and mapping it, which takes most of the time of reading.

    Returns:
        the event as received: texts of it may hold tokens.

    Raises:
        InvalidEvent: the message is no valid event; `read_message` refuses it as well.
    """
    try:
        return _decoded(codec, message)
    except InvalidEvent:
        raise
    except SchemasAway as error:
        # Known schemas are kept in memory: only an event of a new schema comes here.
        raise InvalidEvent(SCHEMA_UNAVAILABLE, blank_secrets(str(error))) from None
    except Exception as error:  # a bug in what decodes or checks
        raise InvalidEvent("not_read", describe_bug(error)) from error


def _decoded(codec: Codec[PlatformRaw], message: Message) -> PlatformRaw:
    if message.unreadable is not None:
        reason, _, detail = message.unreadable.partition(": ")
        raise InvalidEvent(reason, detail)
    if message.value is None:
        raise InvalidEvent("empty_value", "a raw event without a value says nothing")
    if len(message.value) > MESSAGE_MAX_BYTES:
        raise InvalidEvent("too_large", f"the value has {len(message.value)} bytes; messages have {MESSAGE_MAX_BYTES}")
    try:
        event = codec.decode(message.value)
    except MalformedEvent as error:
        raise InvalidEvent("malformed_event", blank_secrets(str(error)[:DETAIL_MAX_CHARS])) from None
    _check(event, message)
    return event


def map_or_failure(event: PlatformRaw) -> tuple[Reading, InvalidEvent | None]:
    """The figures of an event; or no figures, and the reason why the event can't be mapped. Never raises."""
    try:
        reading = map_event(event)
        _check_periods(event, reading)
        return reading, None
    except MappingError as error:
        return NOTHING, InvalidEvent(error.reason, blank_secrets(error.detail[:DETAIL_MAX_CHARS]), event.workspace_id)
    except Exception as error:  # a bug
        return NOTHING, InvalidEvent("mapping_failed", describe_bug(error), event.workspace_id)


def describe_bug(error: BaseException) -> str:
    """An unexpected error's class and place in the code, without its text, which may quote the message."""
    frames = traceback.extract_tb(error.__traceback__)
    place = " < ".join(f"{frame.name} ({frame.filename.rpartition('/')[2]}:{frame.lineno})" for frame in frames[:-4:-1])
    return f"{type(error).__name__} in {place or 'no known place'}"


def map_event(event: PlatformRaw) -> Reading:
    """The figures of an event, read by its platform's file.

    Raises:
        MappingError: the answer has another shape than the platform documents; with the reason `unknown_platform` when
            no platform has the event's name.
    """
    known = all_platforms().get(event.platform)
    if known is None:
        raise MappingError("unknown_platform", f"no platform of that name; known: {', '.join(all_platforms())}")
    return known.read(event)


def _check(event: PlatformRaw, message: Message) -> None:
    workspace_id = event.workspace_id
    if not is_id(workspace_id):
        raise InvalidEvent("bad_id", "workspace_id must be 1-128 of A-Z a-z 0-9 . _ : -")
    if not is_id(event.channel_id):
        raise InvalidEvent("bad_id", "channel_id must be 1-128 of A-Z a-z 0-9 . _ : -", workspace_id)
    if not 0 < len(event.event_id.encode()) <= _EVENT_ID_MAX_BYTES:
        raise InvalidEvent("bad_id", f"event_id must have 1-{_EVENT_ID_MAX_BYTES} bytes", workspace_id)
    if len(event.targets) > TARGETS_MAX:
        raise InvalidEvent("too_many_targets", f"an event has at most {TARGETS_MAX} targets", workspace_id)
    for target_id, post_id, external_id in event.targets:
        # Lengths are checked first, since `_is_id` remembers the texts.
        if len(target_id) > ID_MAX_CHARS or len(post_id) > ID_MAX_CHARS or not (_is_id(target_id) and _is_id(post_id)):
            raise InvalidEvent("bad_id", "target_id and post_id must be 1-128 of A-Z a-z 0-9 . _ : -", workspace_id)
        if len(external_id) > _EXTERNAL_ID_MAX_CHARS:
            raise InvalidEvent("bad_id", f"external_id has more than {_EXTERNAL_ID_MAX_CHARS} characters", workspace_id)
    _check_repeated(event)
    if not -_STATUS_MAX <= event.http_status <= _STATUS_MAX:
        raise InvalidEvent("bad_status", "http_status is no HTTP status", workspace_id)
    if len(event.platform) > _PLATFORM_MAX_CHARS:
        raise InvalidEvent("unknown_platform", "no platform has a name that long", workspace_id)
    if len(event.endpoint) > _ENDPOINT_MAX_CHARS or len(event.request) > REQUEST_MAX:
        raise InvalidEvent("bad_request", "no call has an endpoint or a query that long", workspace_id)
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
    """Whether a text is a valid id; remembered, since a tenant's targets come again with every poll."""
    return is_id(text)


def _check_repeated(event: PlatformRaw) -> None:
    """Refuse an event that names one target twice, or one id of the platform for more targets than a post can have.

    Raises:
        InvalidEvent: `repeated_target`.
    """
    targets = event.targets
    if len(set(map(_TARGET_ID, targets))) < len(targets):
        raise InvalidEvent("repeated_target", "an event names each target once", event.workspace_id)
    if len(targets) > SAME_ID_MAX:
        most = max(Counter(map(_EXTERNAL_ID, targets)).values())
        if most > SAME_ID_MAX:
            raise InvalidEvent(
                "repeated_target",
                f"{most} targets have one external_id; at most {SAME_ID_MAX} have",
                event.workspace_id,
            )


def _check_periods(event: PlatformRaw, reading: Reading) -> None:
    """Refuse more periods than a call asks for, and periods that end long after the answer or fit into no column.

    Windows are made anew of all periods that a channel holds, and a period is held until it has ended for a while.

    Raises:
        MappingError: `unexpected_shape`.
    """
    if len(reading.channels) > _PERIODS_MAX:
        raise MappingError(
            "unexpected_shape",
            f"{len(reading.channels)} periods in one answer; a range of more than {_PERIODS_MAX} is asked for in parts",
        )
    for of_channel in reading.channels:
        for instant in (of_channel.period_start, of_channel.period_end):
            if instant is not None and not 0 <= instant <= _PERIOD_MAX:
                raise MappingError("unexpected_shape", "a period begins or ends outside of the years 1970-2299")
        ahead = 0 if of_channel.period_end is None else of_channel.period_end - event.captured_at
        if ahead > 0 and ahead > _AHEAD_MAX.get(of_channel.period, _AHEAD_MAX["window"]):
            raise MappingError(
                "unexpected_shape", f"a {of_channel.period} ends {ahead // _DAY_MILLIS} days after the answer"
            )


def clean_event(event: PlatformRaw) -> PlatformRaw:
    """An event with everything like a token blanked, in the request and in the answer."""
    endpoint, request = blank_secrets(event.endpoint), blank_request(event.request)
    body = blank_secret_bytes(event.body)
    if endpoint is event.endpoint and request is event.request and body is event.body:
        return event
    return PlatformRaw(
        event.event_id, event.workspace_id, event.channel_id, event.platform, event.kind, endpoint, request,
        event.targets, event.http_status, body, event.captured_at, event.origin,
    )  # fmt: skip
