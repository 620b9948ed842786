"""Remembers which metrics platforms refuse of whom, so as not to ask for them in vain each time; pure.

What a target was refused that was asked for alone is known of that target. Where several single targets of one kind
(shape of call and type of post) are refused a metric, and none of that kind was given it, it is known of the kind: in
their channel, and on the whole platform once targets of several channels were refused it for what the metric is, not
for what their connection may read. All of it is forgotten after a while; then one target asks again. What a channel's
own figures were refused is known of the channel.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from services.platforms.base import Target
from services.poller.keys import ChannelKey
from services.runtime.clock import MILLIS_PER_HOUR

REMEMBERED_REFUSALS = 50_000
# Single targets of a kind that have to be refused a metric.
SEVERAL = 3
# How long the one target that asks again for its whole kind may take.
_TRIAL = MILLIS_PER_HOUR // 12
_NOTHING: frozenset[str] = frozenset()
PLATFORM: ChannelKey = ("", "")
"""In place of a channel: what is known of all channels of a platform."""
_K = TypeVar("_K")
_V = TypeVar("_V")


class Kind(NamedTuple):
    """Targets that have the same metrics."""

    platform: str
    shape: str
    post_type: str


class _Evidence:
    """What is known for and against one metric of a kind, in a channel or on the platform."""

    __slots__ = ("given_at", "refused", "refused_until", "trial_until")

    def __init__(self) -> None:
        self.refused: dict[tuple[ChannelKey, str], None] = {}
        self.given_at: int | None = None
        self.refused_until = 0
        self.trial_until = 0


class Refusals:
    """What is not asked for; the longest unheard-of is forgotten first.

    Args:
        lifetime: for how long a refusal is remembered, ms.
    """

    def __init__(self, lifetime: int) -> None:
        self._lifetime = lifetime
        self._targets: OrderedDict[tuple[ChannelKey, str, str], dict[str, int]] = OrderedDict()
        self._kinds: OrderedDict[tuple[ChannelKey, Kind, str], _Evidence] = OrderedDict()
        self._metrics: OrderedDict[Kind, dict[str, None]] = OrderedDict()
        self._channels: OrderedDict[tuple[ChannelKey, str], dict[str, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._targets) + len(self._kinds) + len(self._channels)

    def refuse_channel(self, key: ChannelKey, shape: str, metrics: Iterable[str], now: int) -> None:
        """A channel's own figures don't come with these."""
        _put(self._channels, (key, shape), {}).update(dict.fromkeys(metrics, now + self._lifetime))

    def of_channel(self, key: ChannelKey, shape: str, now: int) -> frozenset[str]:
        """What a channel's own figures are asked for without."""
        held = self._channels.get((key, shape))
        return _NOTHING if held is None else frozenset([name for name, until in held.items() if now < until])

    def suspect(self, key: ChannelKey, kinds: Iterable[Kind], metric: str) -> None:
        """A metric was refused of several targets together: from now on it is noted who is given it."""
        for kind in kinds:
            self._evidence(key, kind, metric)
            self._evidence(PLATFORM, kind, metric)

    def names_of(self, kind: Kind) -> list[str]:
        """The metrics that any target of a kind was refused, as far as is known."""
        return list(self._metrics.get(kind, ()))

    def refuse(
        self, key: ChannelKey, kind: Kind, target: Target, metrics: Sequence[str], now: int, *, is_connections: bool
    ) -> None:
        """A target that was asked for alone was refused these.

        Args:
            is_connections: the connection may not read them; other channels' may.
        """
        until = now + self._lifetime
        _put(self._targets, (key, kind.shape, target.external_id), {}).update(dict.fromkeys(metrics, until))
        for metric in metrics:
            for scope in (key,) if is_connections else (key, PLATFORM):
                evidence = self._evidence(scope, kind, metric)
                if evidence.refused_until:
                    evidence.refused_until, evidence.trial_until = until, 0
                    continue
                evidence.refused[key, target.external_id] = None
                if len(evidence.refused) > 2 * SEVERAL:
                    del evidence.refused[next(iter(evidence.refused))]
                is_given = evidence.given_at is not None and now - evidence.given_at < self._lifetime
                channels = {of for of, _ in evidence.refused}
                if not is_given and len(evidence.refused) >= SEVERAL and (scope != PLATFORM or len(channels) > 1):
                    evidence.refused_until = until

    def given(self, key: ChannelKey, kind: Kind, external_ids: Sequence[str], metrics: Iterable[str], now: int) -> None:
        """Targets of a kind were answered by a call that asked for these."""
        asked: frozenset[str] | None = None
        for external_id in external_ids if self._targets else ():
            held = self._targets.get((key, kind.shape, external_id))
            if held is not None:
                asked = frozenset(metrics) if asked is None else asked
                for metric in asked & held.keys():
                    del held[metric]
                if not held:
                    del self._targets[key, kind.shape, external_id]
        if kind in self._metrics:
            asked = frozenset(metrics) if asked is None else asked
            for metric in asked & self._metrics[kind].keys():
                for scope in (key, PLATFORM):
                    evidence = self._kinds.get((scope, kind, metric))
                    if evidence is not None:
                        evidence.given_at = now
                        evidence.refused.clear()
                        evidence.refused_until = evidence.trial_until = 0

    def was_given(self, key: ChannelKey, kinds: Iterable[Kind], metric: str, now: int) -> bool:
        """Whether a target of one of these kinds in the channel was given a metric of late."""
        held = [self._kinds.get((key, kind, metric)) for kind in kinds]
        return any(one is not None and one.given_at is not None and now - one.given_at < _TRIAL for one in held)

    def doubted(self, key: ChannelKey, kind: Kind) -> list[str]:
        """Metrics that another target of the kind in the channel was refused, newest first."""
        return [
            metric for metric in reversed(self._metrics.get(kind, {}))
            if (evidence := self._kinds.get((key, kind, metric))) is not None and evidence.refused
        ]  # fmt: skip

    def left_out(self, key: ChannelKey, kind: Kind, target: Target, now: int) -> tuple[frozenset[str], bool]:
        """What a target is asked for without, and whether it has to be asked for alone, since it asks again."""
        metrics: set[str] = set()
        is_trial = False
        held = self._targets.get((key, kind.shape, target.external_id))
        own = held or {}
        for metric, until in own.items():
            if now < until:
                metrics.add(metric)
            else:
                is_trial = True
        for metric in self._metrics.get(kind, ()):
            for scope in (key, PLATFORM):
                evidence = self._kinds.get((scope, kind, metric))
                if evidence is None or not evidence.refused_until or metric in metrics:
                    continue
                if now < max(evidence.refused_until, evidence.trial_until):
                    metrics.add(metric)
                else:
                    evidence.trial_until = now + _TRIAL
                    is_trial = True
        return (frozenset(metrics) if metrics else _NOTHING), is_trial

    def forget_channel(self, key: ChannelKey) -> None:
        """A channel is connected anew: ask for every metric that is not refused of the whole platform."""
        for one in [one for one in self._targets if one[0] == key]:
            del self._targets[one]
        for kind in [kind for kind in self._kinds if kind[0] == key]:
            del self._kinds[kind]
        for shape in [shape for shape in self._channels if shape[0] == key]:
            del self._channels[shape]

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        for held in (*self._targets.values(), *self._channels.values()):
            for metric in held:
                held[metric] -= by
        for evidence in self._kinds.values():
            evidence.refused_until = max(0, evidence.refused_until - by)
            evidence.trial_until -= by
            evidence.given_at = None if evidence.given_at is None else evidence.given_at - by

    def _evidence(self, key: ChannelKey, kind: Kind, metric: str) -> _Evidence:
        _put(self._metrics, kind, {})[metric] = None
        return _put(self._kinds, (key, kind, metric), _Evidence())


def _put(held: OrderedDict[_K, _V], key: _K, new: _V) -> _V:
    """What is held under a key, or what is new, as the newest."""
    found = held.setdefault(key, new)
    held.move_to_end(key)
    if len(held) > REMEMBERED_REFUSALS:
        held.popitem(last=False)
    return found
