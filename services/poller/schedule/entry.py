"""One target to poll, as small as may be: there is one for each published post."""

from __future__ import annotations

import sys

from schemas.events import CatalogTarget
from services.platforms.base import Target
from services.poller.keys import ChannelKey

# Bits of `Entry.state` beneath the time at which the post went out.
STATE_BITS = 8
_STORY, DROPPED, _GONE_ONE = 1, 2, 4
GONE = 0xFC


class Entry:
    """One target to poll.

    Attributes:
        key: of its channel.
        state: what changes or is often read, in one number: when it went out (ms), above some bits.
    """

    __slots__ = ("_texts", "key", "post_id", "post_type", "state")

    def __init__(self, key: ChannelKey, post_id: str, target: CatalogTarget, published_at: int) -> None:
        self.key = key
        self.post_id = post_id
        self.post_type = sys.intern(target.post_type)
        # Our own ids have no such character; a platform's may be anything, and comes last.
        self._texts = f"{target.target_id}\0{target.external_id}".encode()
        self.state = published_at << STATE_BITS | (_STORY if target.is_story else 0)

    @property
    def target_id(self) -> str:
        """Our id of the target."""
        return self._texts.partition(b"\0")[0].decode()

    @property
    def identity(self) -> bytes:
        """Our id of the target, in UTF-8."""
        return self._texts.partition(b"\0")[0]

    @property
    def external_id(self) -> str:
        """The platform's id of the post."""
        return self._texts.partition(b"\0")[2].decode()

    @property
    def published_at(self) -> int:
        """When the post went out, ms."""
        return self.state >> STATE_BITS

    @property
    def is_story(self) -> bool:
        """Whether it is a story."""
        return bool(self.state & _STORY)

    @property
    def dropped(self) -> bool:
        """Whether it is never to be polled again."""
        return bool(self.state & DROPPED)

    def drop(self) -> None:
        """Never poll it again."""
        self.state |= DROPPED

    def gone(self) -> int:
        """The platform said again that it is not there; returns how many times in a row."""
        self.state += _GONE_ONE
        return (self.state & GONE) // _GONE_ONE

    def found(self) -> None:
        """The platform said something else."""
        self.state &= ~GONE

    def target(self) -> Target:
        """The target as platforms know it."""
        target_id, _, external_id = self._texts.decode().partition("\0")
        return Target(target_id, self.post_id, external_id, self.post_type, self.published_at, self.is_story)

    def same_as(self, target: CatalogTarget, published_at: int) -> bool:
        """Whether the catalog still says of the target what it said before, so that nothing has to be asked anew."""
        return (
            self._texts == f"{target.target_id}\0{target.external_id}".encode()
            and self.key[1] == target.channel_id
            and self.published_at == published_at
            and self.post_type == target.post_type
            and self.is_story == target.is_story
        )
