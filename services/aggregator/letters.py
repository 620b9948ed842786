"""Makes the dead letter of a message, and tells which letters are of one message. Pure except for the codec.

Whatever a message is, its letter fits the dead-letter topic, and shows nothing like a token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from schemas.codec import Codec
from schemas.events import DeadLetter, PlatformRaw
from services.aggregator.errors import InvalidEvent
from services.aggregator.reading import DETAIL_MAX_CHARS, Message, clean_event
from services.runtime.binary_secrets import blank_unreadable
from services.runtime.redaction import MASK, blank_secrets, has_mark, is_secret_name
from services.runtime.settings import MESSAGE_MAX_BYTES

_ORIGIN_KEY_MAX_BYTES = 1_024
# The most bytes of payload and headers in a dead letter, which is a message itself; the rest is for its other fields
# and Kafka's overhead.
LETTER_MAX_BYTES = MESSAGE_MAX_BYTES - 64 * 1024
SHORTENED_BYTES = 64 * 1024
_MARGIN_BYTES = 1024
# Headers of a dead letter that holds only the first bytes of its message: the whole length, and the identity.
SHORTENED_HEADER = "tidemark-payload-bytes"
IDENTITY_HEADER = "tidemark-payload-identity"
_HEADERS_MAX_BYTES = 64 * 1024


def clean_payload(codec: Codec[PlatformRaw], value: bytes, most: int | None = None) -> bytes:
    """A raw message's value with everything like a token blanked; the value of a valid event remains a valid event.

    Args:
        most: how many of the first bytes are shown at most; the result may end behind them. None for all bytes.
    """
    # The margin is for a name whose value begins in front of the cut: a value is blanked as far as the bytes reach.
    shown = value if most is None else value[: most + _MARGIN_BYTES]
    try:
        event = codec.decode(value)
    except Exception:  # no event, or an event that can't be read now
        return blank_unreadable(shown)
    cleaned = clean_event(event)
    if cleaned is event:
        # Other fields may hold a token too, such as an id, and so may the fields of a newer schema.
        return blank_unreadable(shown)
    try:
        return codec.encode(cleaned)
    except Exception:  # the event was read by another schema and does not fit into this one
        return blank_unreadable(shown)


def dead_letter(codec: Codec[PlatformRaw], message: Message, error: InvalidEvent, failed_at: int) -> DeadLetter:
    """Make the dead letter of a message: reason, origin and payload, with everything like a token blanked.

    The letter of a message that is too large holds the message's first 64 KiB, and headers with the whole length and
    the identity.

    Args:
        failed_at: ms.
    """
    value = message.value or b""
    headers = {name: held or b"" for name, held in message.headers if name not in (SHORTENED_HEADER, IDENTITY_HEADER)}
    detail = error.detail[:DETAIL_MAX_CHARS]
    headers_size = _size_of(headers)
    if headers_size > _HEADERS_MAX_BYTES:
        # Left out before they are searched for secrets: a message may have a megabyte of headers.
        headers = {}
        detail += f"; its headers of {headers_size} bytes are left out"
    # Most headers hold no word that marks a secret, so all headers are searched at once.
    together = b"\0".join([*(name.encode() for name in headers), *headers.values()]).lower()
    if has_mark(together):
        headers = {
            blank_secrets(name): MASK.encode() if held and is_secret_name(name) else blank_unreadable(held)
            for name, held in headers.items()
        }
    key = message.key
    if key is not None:
        key = blank_unreadable(key[:_ORIGIN_KEY_MAX_BYTES])
    room = LETTER_MAX_BYTES - _size_of(headers)
    is_shortened = message.is_cut or len(value) > room
    payload = clean_payload(codec, value, SHORTENED_BYTES if is_shortened else None)
    # Blanking an event's short secrets makes the event longer.
    if is_shortened or len(payload) > room:
        headers[SHORTENED_HEADER] = str(len(value)).encode()
        headers[IDENTITY_HEADER] = identity(codec, value)
        detail += f"; of its {len(value)} bytes the letter holds the first {min(len(value), SHORTENED_BYTES)}"
        payload = payload[:SHORTENED_BYTES]
    return DeadLetter(
        workspace_id=error.workspace_id,
        reason=error.reason,
        detail=detail,
        origin_topic=message.topic,
        origin_partition=message.partition,
        origin_offset=message.offset,
        origin_key=key,
        payload=payload,
        failed_at=failed_at,
        headers=headers,
    )


def _size_of(headers: Mapping[str, bytes]) -> int:
    return sum(len(name.encode()) + len(held) for name, held in headers.items())


def identity(codec: Codec[PlatformRaw], payload: bytes) -> bytes:
    """Identifies a message by the event's id, else by a digest of the bytes; blanking secrets changes neither.

    No letter holds all of a payload that is longer than a letter, so its digest is of the bytes as they are: to blank
    8 MiB takes most of a second.
    """
    try:
        event = codec.decode(payload)
    except Exception:  # no event
        if len(payload) > LETTER_MAX_BYTES:
            return hashlib.blake2b(payload, digest_size=16).digest()
        return hashlib.blake2b(blank_unreadable(payload), digest_size=16).digest()
    return f"{event.workspace_id}/{event.event_id}".encode()
