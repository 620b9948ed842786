"""Remembers which metrics and parameters platforms refused, so as not to ask for them in vain each time; pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from services.platforms.base import Call
from services.poller.asking.smaller import without_metric
from services.poller.keys import ChannelKey

REMEMBERED_REFUSALS = 10_000


class Refusals:
    """Remembers for a while which parameters a platform refused of a channel, so as not to ask in vain each time."""

    def __init__(self, lifetime: int) -> None:
        self._lifetime = lifetime
        self._known: OrderedDict[tuple[ChannelKey, str, str], tuple[str, int]] = OrderedDict()
        self._metrics: OrderedDict[ChannelKey, dict[str, int]] = OrderedDict()

    def remember(self, key: ChannelKey, refused: Call, accepted: Call, now: int) -> None:
        """A call whose parameters were cut was refused as it was."""
        for (name, before), (_, after) in zip(refused.query, accepted.query, strict=True):
            if before != after:
                self._known[key, name, before] = (after, now + self._lifetime)
        while len(self._known) > REMEMBERED_REFUSALS:
            self._known.popitem(last=False)

    def refuse(self, key: ChannelKey, metric: str, now: int) -> None:
        """A metric was refused when it was asked for alone."""
        self._metrics.setdefault(key, {})[metric] = now + self._lifetime
        while len(self._metrics) > REMEMBERED_REFUSALS:
            self._metrics.popitem(last=False)

    def apply(self, key: ChannelKey, call: Call, now: int) -> Call:
        """A call as it will be accepted, as far as known."""
        for metric, until in self._metrics.get(key, {}).items():
            if now < until:
                call = without_metric(call, metric) or call
        if not self._known:
            return call
        query = tuple((name, self._replaced(key, name, value, now)) for name, value in call.query)
        return call if query == call.query else replace(call, query=query)

    def _replaced(self, key: ChannelKey, name: str, value: str, now: int) -> str:
        for _ in range(8):
            found = self._known.get((key, name, value))
            if found is None or found[1] <= now:
                break
            value = found[0]
        return value
