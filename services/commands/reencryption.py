"""Encrypts anew what older keys of TIDEMARK_SECRET_KEYS encrypted, while services run: tokens, and secrets of webhooks.

In: compacted topics. Out: the same events with a ciphertext of the newest key, and progress.

Services write these topics meanwhile. An event that somebody wrote between the read of an older one and its new
ciphertext is the newer one: it is written once more, behind the ciphertext. Pollers pass such a late ciphertext over by
themselves, since it does not say that it is a PUT (see `TokenStore` of the poller).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from schemas.codec import Codec, MalformedEvent
from schemas.events import ChannelTokens
from schemas.keys import checked_key
from schemas.notices import Webhook
from schemas.topic_names import TOKENS, WEBHOOKS
from services.runtime.sealing import WebhookCipher
from services.runtime.secrets import SecretsError, TokenCipher, is_bound

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the topic's name, and how many of how many ciphertexts are done."""

_PUT, _BOUND = "put", "bound"


class Held(Protocol):
    """One message of a topic."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def intact(self) -> bytes | None:
        """Its value; None for a tombstone."""


class Topic(Protocol):
    """A compacted topic, read in order and written to."""

    def partitions(self) -> list[int]:
        """The partitions' numbers."""

    def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset that the partition holds, and the next to be written."""

    def read(self, partition: int, start: int, end: int) -> Iterator[Held]:
        """The messages of `[start, end)` in order."""

    def write(self, partition: int, messages: Mapping[bytes, bytes | None], read_to: int) -> dict[bytes, int]:
        """Write a message for each key and wait until all are confirmed; returns their offsets.

        Args:
            read_to: the end of what has been read of the partition; see `services.runtime.revisions`.
        """


class Renewing(Protocol):
    """Decides, for one topic, which values are renewed."""

    def renewed(self, key: bytes, value: bytes) -> bytes | None:
        """The value with a ciphertext of the newest key; None where it has one already.

        Raises:
            SecretsError: no key opens the ciphertext.
            MalformedEvent: no service reads this message either.
        """


@dataclass(slots=True)
class Outcome:
    """What was done in one topic.

    Attributes:
        unopened: keys of messages whose ciphertext no key opens.
    """

    current: int = 0
    renewed: int = 0
    unopened: list[str] = field(default_factory=list)


class TokensRenewing:
    """Renews tokens of channels."""

    def __init__(self, codec: Codec[ChannelTokens], cipher: TokenCipher) -> None:
        self._codec = codec
        self._cipher = cipher

    def renewed(self, key: bytes, value: bytes) -> bytes | None:
        event = self._codec.decode(value)
        checked_key(TOKENS, key, event)
        owner = (event.workspace_id, event.channel_id)
        if self._cipher.is_newest(event.ciphertext, owner):
            return None
        pair = self._cipher.decrypt(event.ciphertext, owner)
        fingerprint = event.put_fingerprint
        if not is_bound(event.ciphertext):
            parts = fingerprint.split(".")
            fingerprint = ".".join(part if part in ("", "-") else self._cipher.bind(part, owner) for part in parts)
        made = replace(
            event,
            ciphertext=self._cipher.encrypt(pair, owner),
            put_fingerprint=fingerprint,
            # A PUT that comes back late would count as a newer one.
            origin=_BOUND if event.origin == _PUT else event.origin,
        )
        return self._codec.encode(made)


class WebhooksRenewing:
    """Renews the signing secrets of webhooks."""

    def __init__(self, codec: Codec[Webhook], cipher: WebhookCipher) -> None:
        self._codec = codec
        self._cipher = cipher

    def renewed(self, key: bytes, value: bytes) -> bytes | None:
        event = self._codec.decode(value)
        checked_key(WEBHOOKS, key, event)
        owner = (event.workspace_id, event.webhook_id)
        if self._cipher.is_newest(event.sealed_secrets, *owner):
            return None
        secrets = self._cipher.open(event.sealed_secrets, *owner)
        return self._codec.encode(replace(event, sealed_secrets=self._cipher.seal(secrets, *owner)))


def reencrypt(name: str, topic: Topic, renewing: Renewing, progress: Progress, batch: int = 500) -> Outcome:
    """Encrypt anew each key's last message of a topic, where an older key encrypted it.

    Args:
        name: of the topic, for the progress.
        batch: how many messages are written between two reads of what others wrote meanwhile.

    Guarantee: at least once; a run that was broken off is repeated, and finds what is left.
    """
    done = Outcome()
    for partition in topic.partitions():
        _reencrypt_partition(name, topic, partition, renewing, progress, batch, done)
    return done


def _reencrypt_partition(
    name: str, topic: Topic, partition: int, renewing: Renewing, progress: Progress, batch: int, done: Outcome
) -> None:
    start, end = topic.bounds(partition)
    last: dict[bytes, tuple[int, bytes | None]] = {}
    for message in topic.read(partition, start, end):
        if message.key is not None:
            last[message.key] = (message.offset, message.intact)
    old: dict[bytes, tuple[int, bytes]] = {}
    for key, (offset, value) in last.items():
        made = _renewed(key, value, renewing, done)
        if made is not None:
            old[key] = (offset, made)
    keys = list(old)
    for first in range(0, len(keys), batch):
        some = {key: old[key] for key in keys[first : first + batch]}
        end = _written(topic, partition, some, end, renewing)
        done.renewed += len(some)
        progress(f"{name} partition {partition}", min(first + batch, len(keys)), len(keys))


def _written(
    topic: Topic, partition: int, some: Mapping[bytes, tuple[int, bytes]], read_to: int, renewing: Renewing
) -> int:
    """Write new ciphertexts, and once more whatever others wrote before them meanwhile; returns the end that was read.

    Args:
        some: by key, the offset of the message that was read, and the value to write.
        read_to: the end of what has been read.
    """
    own = topic.write(partition, {key: value for key, (_, value) in some.items()}, read_to)
    while True:
        _, end = topic.bounds(partition)
        overtaken: dict[bytes, bytes | None] = {}
        for message in topic.read(partition, read_to, end):
            place = None if message.key is None else own.get(message.key)
            # Behind the own message stands what is newer anyway.
            if message.key is not None and place is not None and message.offset < place:
                overtaken[message.key] = message.intact
        if not overtaken:
            return end
        read_to = end
        newest = {key: _newest(key, value, renewing) for key, value in overtaken.items()}
        own = topic.write(partition, newest, read_to)


def _newest(key: bytes, value: bytes | None, renewing: Renewing) -> bytes | None:
    """Another's value as it is written once more: encrypted anew where it has to be."""
    return _renewed(key, value, renewing, Outcome()) or value


def _renewed(key: bytes, value: bytes | None, renewing: Renewing, done: Outcome) -> bytes | None:
    if value is None:
        return None
    try:
        made = renewing.renewed(key, value)
    except MalformedEvent:
        return None
    except SecretsError:
        done.unopened.append(key.decode(errors="replace"))
        return None
    if made is None:
        done.current += 1
    return made
