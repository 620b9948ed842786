"""Cursors of the order of changes as text: offsets become a signed text that means nothing to a caller, and back.

The query API gives cursors with pages and streams of changes, the notifier with `metrics.changed`. Each process that
has the keys of TIDEMARK_SECRET_KEYS reads the cursors of every other one. A key's use here is derived from it by HKDF,
so a cursor tells nothing about what the key encrypts. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from pydantic import SecretStr

from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.secrets import derived_key, usable_keys

GOOD_DAYS: Final = 90
"""How long a cursor is good: as long as compacted topics keep their tombstones (`delete.retention.ms`)."""

Offsets = tuple[int, ...]
"""One a topic, in the order of `schemas.topic_names.TOPICS_OF_CHANGES`, of the workspace's partition."""

# Version 2 has `Place.left` as well: a cursor that was read on with some types only.
_VERSION: Final = 1
_VERSION_LEFT: Final = 2
_PURPOSE: Final = b"tidemark cursors of changes"
_SECONDS_BYTES: Final = 5
_ORIGIN_BYTES: Final = 6
_HEAD_BYTES: Final = 1 + _SECONDS_BYTES + _ORIGIN_BYTES
_MAC_BYTES: Final = 16
# Offsets are below 2**63, which takes 9 bytes of 7 bits.
_LONGEST_OFFSET_BYTES: Final = 9
# Far longer than a cursor of five topics, and short enough that reading rubbish costs nothing.
_LONGEST_TEXT: Final = 400


class CursorRefused(ValueError):
    """A text is no cursor of this workspace: never given by anybody with these keys, or given to another workspace."""


class CursorExpired(ValueError):
    """A cursor was given too long ago, or its topics were made anew since: begin again without a cursor."""


class Place(NamedTuple):
    """A place in the order of changes of one workspace.

    Attributes:
        at: the next offset to be read of each topic.
        seen: offsets that states read so far may hold; a replica that has not read up to them does not answer yet.
            Whoever tells that the message at offset n is there gives `at` n and `seen` n + 1.
        left: which types of changes are not read from here, in the numbers of the query API; empty where all are.
    """

    at: Offsets
    seen: Offsets
    left: tuple[int, ...] = ()


class CursorText:
    """Writes and reads cursors.

    Args:
        keys: TIDEMARK_SECRET_KEYS, newest first: the newest signs, each of them is accepted.

    Raises:
        SecretsError: there is no key, or a key is too short.
    """

    def __init__(self, keys: Sequence[SecretStr | str]) -> None:
        self.rekey(keys)

    def rekey(self, keys: Sequence[SecretStr | str]) -> None:
        """Go on with other keys, newest first.

        Raises:
            SecretsError: there is no key, or a key is too short; the keys stay as they were.
        """
        self._keys = [derived_key(text, _PURPOSE) for text in usable_keys(keys)]

    def written(self, workspace_id: str, place: Place, now: int, incarnation: str) -> str:
        """A place as text, good for 90 days from `now` (ms).

        Args:
            incarnation: names the topics as they are now (`topics.incarnation`): offsets of topics that were made anew
                are others.
        """
        # Servers from before there was `left` read all other cursors.
        version, left = (_VERSION_LEFT, (len(place.left), *place.left)) if place.left else (_VERSION, ())
        body = bytes([version]) + (now // 1000).to_bytes(_SECONDS_BYTES, "big") + _origin(incarnation)
        body += b"".join([_varint(number) for number in (*left, *place.at, *place.seen)])
        return _text(body + _mac(self._keys[0], workspace_id, body))

    def read(self, workspace_id: str, text: str, now: int, incarnation: str) -> Place:
        """The inverse of `written`.

        Raises:
            CursorRefused: the text is no cursor of this workspace.
            CursorExpired: the cursor is of this workspace, and not good any more.
        """
        return self.read_with_time(workspace_id, text, now, incarnation)[0]

    def read_with_time(self, workspace_id: str, text: str, now: int, incarnation: str) -> tuple[Place, int]:
        """As `read`, with the time at which the cursor was given, ms."""
        body = self._checked(workspace_id, text)
        place = _place(body)
        given_at = int.from_bytes(body[1 : 1 + _SECONDS_BYTES], "big") * 1000
        origin = body[1 + _SECONDS_BYTES : _HEAD_BYTES]
        if now - given_at > GOOD_DAYS * MILLIS_PER_DAY or origin != _origin(incarnation):
            raise CursorExpired
        return place, given_at

    def _checked(self, workspace_id: str, text: str) -> bytes:
        """The signed bytes of a text; the time that a refusal takes tells nothing about the right signature."""
        if len(text) > _LONGEST_TEXT or not text.isascii():
            raise CursorRefused
        try:
            held = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raise CursorRefused from None
        body, mac = held[:-_MAC_BYTES], held[-_MAC_BYTES:]
        # One cursor has one text: base64 would otherwise allow several last characters.
        if len(body) <= _HEAD_BYTES or body[0] not in (_VERSION, _VERSION_LEFT) or _text(held) != text:
            raise CursorRefused
        if not any(hmac.compare_digest(mac, _mac(key, workspace_id, body)) for key in self._keys):
            raise CursorRefused
        return body


def _text(held: bytes) -> str:
    return base64.urlsafe_b64encode(held).rstrip(b"=").decode()


def _mac(key: bytes, workspace_id: str, body: bytes) -> bytes:
    # Ids have no zero byte.
    return hmac.digest(key, workspace_id.encode() + b"\0" + body, "sha256")[:_MAC_BYTES]


def _origin(incarnation: str) -> bytes:
    return blake2b(incarnation.encode(), digest_size=_ORIGIN_BYTES).digest()


def _varint(number: int) -> bytes:
    """A number in groups of 7 bits, the lowest first; the high bit says that another group follows."""
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _place(body: bytes) -> Place:
    numbers = _numbers(body[_HEAD_BYTES:])
    left: tuple[int, ...] = ()
    if body[0] == _VERSION_LEFT:
        count = 1 + (numbers[0] if numbers else 0)
        left, numbers = numbers[1:count], numbers[count:]
    if len(numbers) % 2:
        raise CursorRefused
    half = len(numbers) // 2
    return Place(numbers[:half], numbers[half:], left)


def _numbers(body: bytes) -> tuple[int, ...]:
    found: list[int] = []
    number = shift = 0
    for byte in body:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found.append(number)
            number = shift = 0
        elif shift >= 7 * _LONGEST_OFFSET_BYTES:
            raise CursorRefused
    if shift:
        raise CursorRefused
    return tuple(found)
