"""One target to poll, as small as may be: there is one for each published post."""

from __future__ import annotations

import sys

from schemas.events import CatalogTarget
from services.platforms.base import Target
from services.poller.keys import ChannelKey
from services.runtime.clock import MILLIS_PER_HOUR

# Bits of `Entry.state` beneath the time at which the post went out.
STATE_BITS = 8
_STORY, DROPPED = 1, 2
# Above these: since which hour the platform says that it is not there, counted round from 1; 0: it is there.
GONE = 0xFC
_GONE_ONE = 4
_HOURS = 62
_RESTING = 63
# For how long a platform has to say it, again and again, before it is believed; in hours that have begun, so that it is
# a whole day at least. Polls are a day apart at most, so more than two days mean that the clock was set.
_BELIEVED_HOURS = 25
_LONGEST_HOURS = 2 * 24 + 2


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

    @property
    def is_resting(self) -> bool:
        """Whether the platform has no figures of it for good, as far as is known; it is looked at once in a while."""
        return self.state & GONE == _RESTING * _GONE_ONE

    @property
    def is_missing(self) -> bool:
        """Whether the platform says that it is not there, or has no figures of it."""
        return bool(self.state & GONE)

    def gone(self, now: int, *, may_rest: bool = True) -> bool:
        """The platform said (now, ms) that it is not there; returns whether it rests, having said so for a day.

        Args:
            may_rest: whether the platform says so of this one for what it is.
        """
        if self.is_resting:
            return True
        hour, since = now // MILLIS_PER_HOUR % _HOURS, (self.state & GONE) // _GONE_ONE - 1
        for_hours = (hour - since) % _HOURS
        if since >= 0 and _BELIEVED_HOURS <= for_hours <= _LONGEST_HOURS:
            if may_rest:
                self.rest()
            return may_rest
        if since < 0 or for_hours > _LONGEST_HOURS:
            self.state = self.state & ~GONE | (hour + 1) * _GONE_ONE
        return False

    def rest(self) -> None:
        """It has no figures for good, as far as is known."""
        self.state |= GONE

    def found(self) -> None:
        """The platform has figures of it."""
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
