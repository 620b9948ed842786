"""Notices when a platform refuses a shape of call of most channels alike; pure. Instants are ms.

While nothing of that shape is answered of any channel, it is tried once in a while with one channel. As soon as one
answer comes, all channels are asked again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from services.platforms.base import Outcome
from services.poller.keys import ChannelKey
from services.runtime.clock import MILLIS_PER_HOUR

# What was heard of a channel counts for as long: every channel with young posts is asked meanwhile, so that one that
# was answered is not forgotten before it is asked again.
WINDOW = 35 * MILLIS_PER_HOUR // 60
# Channels that have to be refused alike; all of them where there are fewer. And single targets of them, so that one
# post that is refused is no incident where it is the only channel's first.
LEAST_CHANNELS = 5
LEAST_SAMPLES = 3
# Between two tries while all channels are refused.
TRY_EVERY = MILLIS_PER_HOUR // 12
_MOST_CHANNELS = 5_000
_MOST_WORDS = 200


class Incident(NamedTuple):
    """A shape of call that is refused of most channels.

    Attributes:
        detail: the platform's own words, of one of the answers.
        since: ms.
        channels: how many are refused so.
    """

    platform: str
    shape: str
    outcome: Outcome
    detail: str
    since: int
    channels: int


class _Heard(NamedTuple):
    at: int
    outcome: Outcome
    samples: int = 0


class _Shape:
    __slots__ = ("begun", "counts", "heard", "next_at", "samples")

    def __init__(self) -> None:
        self.heard: OrderedDict[ChannelKey, _Heard] = OrderedDict()
        self.counts: Counter[Outcome] = Counter()
        self.samples: Counter[Outcome] = Counter()
        self.begun: tuple[Outcome, str, int] | None = None
        self.next_at = 0

    @property
    def is_total(self) -> bool:
        return self.begun is not None and not self.counts[Outcome.OK]

    def note(self, key: ChannelKey, heard: _Heard) -> None:
        self.drop(key)
        self.heard[key] = heard
        self.counts[heard.outcome] += 1
        self.samples[heard.outcome] += heard.samples

    def drop(self, key: ChannelKey) -> None:
        old = self.heard.pop(key, None)
        if old is not None:
            self.counts[old.outcome] -= 1
            self.samples[old.outcome] -= old.samples


class Incidents:
    """By platform and shape of call.

    Args:
        channels_of: how many channels of a platform are polled.
        speed: divides every interval.
    """

    def __init__(self, channels_of: Callable[[str], int], speed: float = 1.0) -> None:
        self._channels_of = channels_of
        self._speed = speed
        self._shapes: dict[tuple[str, str], _Shape] = {}
        self._begun = 0

    def __len__(self) -> int:
        return self._begun

    def refused(
        self,
        platform: str,
        shape: str,
        key: ChannelKey,
        outcome: Outcome,
        detail: str,
        now: int,
        samples: int = LEAST_SAMPLES,
    ) -> bool:
        """Of a channel a call was refused, and none of that shape answered; returns whether an incident began.

        Args:
            samples: how many single targets of the channel are refused so.
        """
        known = self._shapes.setdefault((platform, shape), _Shape())
        known.note(key, _Heard(now, outcome, samples))
        self._prune(known, now)
        if known.begun is not None or not self._is_incident(platform, known, outcome):
            return False
        known.begun = (outcome, detail[:_MOST_WORDS], now)
        self._begun += 1
        known.next_at = now + int(TRY_EVERY / self._speed)
        return True

    def answered(self, platform: str, shape: str, key: ChannelKey, now: int) -> list[ChannelKey]:
        """Of a channel a call was answered; returns the channels that are asked again where that ended an incident."""
        known = self._shapes.get((platform, shape))
        if known is None:
            known = self._shapes[platform, shape] = _Shape()
        was_total = known.is_total
        known.note(key, _Heard(now, Outcome.OK))
        self._prune(known, now)
        if known.begun is None or not (was_total or not self._is_incident(platform, known, known.begun[0])):
            return []
        del self._shapes[platform, shape]
        self._begun -= 1
        return list(known.heard)

    def wait_until(self, platform: str, shape: str, now: int) -> int:
        """When a shape may be asked of any channel: 0 for now. Where all are refused, a try begins with a 0."""
        known = self._shapes.get((platform, shape))
        if known is None or not known.is_total:
            return 0
        if now < known.next_at:
            return known.next_at
        known.next_at = now + int(TRY_EVERY / self._speed)
        return 0

    def is_total(self, platform: str, shape: str) -> bool:
        """Whether a shape is refused of all channels that were asked."""
        known = self._shapes.get((platform, shape))
        return known is not None and known.is_total

    def try_at(self, platform: str, shape: str) -> int | None:
        """When a shape that is refused of all channels is tried next (ms); None for any other."""
        known = self._shapes.get((platform, shape))
        return known.next_at if known is not None and known.is_total else None

    def current(self) -> list[Incident]:
        """All that is going on."""
        return [
            Incident(platform, shape, *known.begun[:2], known.begun[2], known.counts[known.begun[0]])
            for (platform, shape), known in sorted(self._shapes.items())
            if known.begun is not None
        ]

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        for known in self._shapes.values():
            known.next_at -= by
            if known.begun is not None:
                known.begun = (*known.begun[:2], known.begun[2] - by)
            for key, heard in known.heard.items():
                known.heard[key] = heard._replace(at=heard.at - by)

    def _is_incident(self, platform: str, known: _Shape, outcome: Outcome) -> bool:
        alike = known.counts[outcome]
        if alike * 2 <= len(known.heard) or known.samples[outcome] < LEAST_SAMPLES:
            return False
        return alike >= LEAST_CHANNELS or alike >= self._channels_of(platform)

    def _prune(self, known: _Shape, now: int) -> None:
        """Forget what is older than the window, unless it is all that is known of an incident."""
        before = now - int(WINDOW / self._speed)
        while known.heard and not known.is_total:
            key, heard = next(iter(known.heard.items()))
            if heard.at >= before and len(known.heard) <= _MOST_CHANNELS:
                return
            known.drop(key)
