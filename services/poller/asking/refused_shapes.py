"""Remembers which shapes of call a platform refuses of a channel, whichever target is asked for; pure. Instants are ms.

Single targets that are refused alike, none of that shape being answered, stand for all. Such a shape is tried with one
target once in a while, instead of at each poll. Several refused shapes of a channel take turns in the same tries, so
that a channel that is refused everything costs no more calls than one that is refused one thing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from enum import Enum

from services.platforms.base import Outcome
from services.poller.keys import ChannelKey
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR

MOST_CHANNELS = 20_000
_MOST_ANSWERED = 50_000
# Single targets that have to be refused alike; more where they are no samples of a refused call, but only those that
# happened to be due, and others were answered not long ago.
STRIKES = 3
STRIKES_AFTER_ANSWERS = 6
# How long ago "not long" is.
_LATELY = MILLIS_PER_HOUR
_MINUTE = MILLIS_PER_HOUR // 60
# Between two tries of a channel; then while the refusal is older than `PATIENT`, and than a day: a day of them is a
# small part of the least quota, LinkedIn's 100 calls a member.
WAITS = (5 * _MINUTE, 10 * _MINUTE, 20 * _MINUTE)
LONG_WAIT = MILLIS_PER_HOUR
LONGEST_WAIT = 3 * MILLIS_PER_HOUR
# For how long what is due stays due; after that it waits for its regular time.
PATIENT = 6 * MILLIS_PER_HOUR
# A shape whose turn it is may have nothing due; another takes the turn after this time.
_TURN = 2 * _MINUTE
# What a try may take at most, until its outcome is known.
_TRIAL = _MINUTE
# Shapes and targets of one channel that are remembered at most.
_MOST = 64


class Turn(Enum):
    """Whether a shape may be asked now."""

    FREE = "free"  # nothing is known against it
    TRY = "try"  # with one target
    WAIT = "wait"  # not now


class _Shape:
    __slots__ = ("since", "tried_at")

    def __init__(self, now: int) -> None:
        self.since = now
        self.tried_at = now


class _Channel:
    __slots__ = ("in_a_row", "next_at", "refused", "strikes", "struck", "tries")

    def __init__(self) -> None:
        self.strikes: dict[str, dict[str, Outcome]] = {}
        self.in_a_row = 0
        self.refused: dict[str, _Shape] = {}
        self.struck: dict[str, None] = {}
        self.next_at = 0
        self.tries = 0


class RefusedShapes:
    """By channel; the longest unheard-of are forgotten first.

    Args:
        speed: divides every interval.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._known: OrderedDict[ChannelKey, _Channel] = OrderedDict()
        self._answered: OrderedDict[tuple[ChannelKey, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def turn(self, key: ChannelKey, shape: str, now: int) -> Turn:
        """Whether a shape may be asked of a channel; a try has begun where the answer is TRY."""
        channel = self._known.get(key)
        if channel is None or shape not in channel.refused:
            return Turn.FREE
        if now < channel.next_at:
            return Turn.WAIT
        refused = channel.refused[shape]
        is_next = refused.tried_at <= min(other.tried_at for other in channel.refused.values())
        if not is_next and now < channel.next_at + int(_TURN / self._speed):
            return Turn.WAIT
        refused.tried_at = now
        channel.next_at = now + int(_TRIAL / self._speed)
        return Turn.TRY

    def again_at(self, key: ChannelKey) -> int:
        """When the next try of a channel may begin."""
        return self._known[key].next_at

    def is_old(self, key: ChannelKey, shape: str, now: int) -> bool:
        """Whether the refusal is so old that what is due need not be asked as soon as it ends."""
        return now - self._known[key].refused[shape].since >= int(PATIENT / self._speed)

    def was_struck(self, key: ChannelKey, external_id: str) -> bool:
        """Whether a target is one of those that were refused alone; a try is better made with another."""
        channel = self._known.get(key)
        return channel is not None and external_id in channel.struck

    def is_refused(self, key: ChannelKey, shape: str) -> bool:
        """Whether a shape is taken for refused of a channel."""
        channel = self._known.get(key)
        return channel is not None and shape in channel.refused

    def was_answered(self, key: ChannelKey, shape: str, since: int) -> bool:
        """Whether a call of this shape was answered since an instant, as far as is known."""
        return self._answered.get((key, shape), since - 1) >= since

    def samples(self, key: ChannelKey, shape: str) -> int:
        """How many single targets of a channel are refused a shape, as far as it matters whether there are several."""
        channel = self._known.get(key)
        if channel is None:
            return 0
        return STRIKES if shape in channel.refused else len(channel.strikes.get(shape, ()))

    def refused(
        self, key: ChannelKey, shape: str, external_id: str, outcome: Outcome, now: int, *, is_sample: bool,
        is_total: bool = False,
    ) -> bool:  # fmt: skip
        """A platform refused a target that was asked for alone, and nothing else of the shape was answered just now.

        Args:
            is_sample: it was asked for alone because a call about several was refused.
            is_total: the shape is refused of all channels.

        Returns:
            Whether the shape is refused of the channel, as far as is known now.
        """
        channel = self._known.get(key)
        if channel is None:
            channel = self._known[key] = _Channel()
        self._known.move_to_end(key)
        while len(self._known) > MOST_CHANNELS:
            self._known.popitem(last=False)
        channel.struck[external_id] = None
        if len(channel.struck) > _MOST:
            del channel.struck[next(iter(channel.struck))]
        if shape in channel.refused:
            channel.tries += 1
            self._wait(channel, shape, now)
            return True
        channel.strikes.setdefault(shape, {})[external_id] = outcome
        channel.in_a_row += 1
        if not (is_total or self._suffices(key, channel, shape, outcome, now, is_sample=is_sample)):
            return False
        # What was refused as often in a row, and nothing else answered, is refused as well.
        for other in list(channel.strikes) if channel.in_a_row >= STRIKES_AFTER_ANSWERS else [shape]:
            self._conclude(channel, other, now)
        return True

    def _suffices(
        self, key: ChannelKey, channel: _Channel, shape: str, outcome: Outcome, now: int, *, is_sample: bool
    ) -> bool:
        if len(channel.refused) >= _MOST:
            return False
        if channel.refused:
            # Where one shape is refused of a channel already, of another a single target is enough.
            return True
        was_answered = now - self._answered.get((key, shape), -_LATELY) < int(_LATELY / self._speed)
        needed = STRIKES if is_sample or not was_answered else STRIKES_AFTER_ANSWERS
        alike = [name for name, other in channel.strikes[shape].items() if other is outcome]
        return len(alike) >= needed or (channel.in_a_row >= STRIKES_AFTER_ANSWERS and len(channel.struck) > 1)

    def _conclude(self, channel: _Channel, shape: str, now: int) -> None:
        """A shape is refused of a channel."""
        if not channel.refused:
            channel.tries = 0
        channel.refused.setdefault(shape, _Shape(now))
        channel.strikes.pop(shape, None)
        self._wait(channel, shape, now)

    def _wait(self, channel: _Channel, shape: str, now: int) -> None:
        age = (now - channel.refused[shape].since) * self._speed
        wait = WAITS[min(channel.tries, len(WAITS) - 1)]
        if age >= PATIENT:
            wait = LONGEST_WAIT if age >= MILLIS_PER_DAY else LONG_WAIT
        channel.next_at = now + int(wait / self._speed)

    def answered(self, key: ChannelKey, shape: str, now: int) -> list[str] | None:
        """A platform answered a call of this shape.

        Returns:
            Where the shape was refused: the targets that were refused meanwhile, which may be none of the culprits.
        """
        self._answered[key, shape] = now
        self._answered.move_to_end((key, shape))
        if len(self._answered) > _MOST_ANSWERED:
            self._answered.popitem(last=False)
        channel = self._known.get(key)
        if channel is None:
            return None
        channel.strikes.pop(shape, None)
        channel.in_a_row = 0
        if channel.refused.pop(shape, None) is None:
            if not channel.refused and not channel.strikes:
                del self._known[key]
            return None
        # The others are tried at once.
        channel.next_at = now
        struck = list(channel.struck)
        if not channel.refused:
            del self._known[key]
        return struck

    def forget(self, keys: Iterable[ChannelKey], shape: str) -> list[tuple[ChannelKey, list[str]]]:
        """A shape is asked of channels again, as if it had not been refused of them.

        Returns:
            By channel, the targets that were refused meanwhile.
        """
        forgotten = []
        for key in keys:
            channel = self._known.get(key)
            if channel is not None:
                channel.refused.pop(shape, None)
                channel.strikes.pop(shape, None)
                channel.next_at = 0
                forgotten.append((key, list(channel.struck)))
        return forgotten

    def forget_channel(self, key: ChannelKey) -> None:
        """A channel is connected anew: ask for every shape as if none had been refused."""
        self._known.pop(key, None)

    def written(self, key: ChannelKey, now: int) -> bool:
        """The catalog has news of a channel's posts: the next try is soon; returns whether there is one to come."""
        channel = self._known.get(key)
        if channel is None or not channel.refused:
            return False
        tried_at = max(shape.tried_at for shape in channel.refused.values())
        channel.next_at = min(channel.next_at, max(now, tried_at + int(WAITS[0] / self._speed)))
        return True

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        self._answered.clear()
        for channel in self._known.values():
            channel.next_at -= by
            for shape in channel.refused.values():
                shape.since -= by
                shape.tried_at -= by
