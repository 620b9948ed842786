"""Asks again for less: halves, without one target, without one metric; pure."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from services.platforms.base import Call, Channel, Platform, Target
from services.poller.schedule.schedule import ChannelKey

REMEMBERED_REFUSALS = 10_000


def halves(platform: Platform, channel: Channel, call: Call, now: int) -> list[Call]:
    """The same question in two parts; [] when it is about one target or none."""
    middle = len(call.targets) // 2
    if not middle:
        return []
    return _again(platform, channel, call, call.targets[:middle], now) + _again(
        platform, channel, call, call.targets[middle:], now
    )


def without_target(platform: Platform, channel: Channel, call: Call, external_id: str, now: int) -> list[Call]:
    """The same question about all targets but one; [] when none is left."""
    left = tuple(target for target in call.targets if target.external_id != external_id)
    return _again(platform, channel, call, left, now) if left else []


def _again(platform: Platform, channel: Channel, call: Call, targets: Sequence[Target], now: int) -> list[Call]:
    """The platform's calls about fewer targets, of those only the ones of the same kind of question."""
    return [
        other
        for other in platform.post_calls(channel, targets, now)
        if (other.limit_group, other.base_url, other.method) == (call.limit_group, call.base_url, call.method)
    ]


def without_metric(call: Call, metric: str) -> Call | None:
    """The same call without one name in its comma-separated parameters; None where nothing would be left or changed."""
    name = re.escape(metric)
    pattern = re.compile(rf"(?:(?<=[(,])|^){name},|,{name}(?=[),]|$)")
    query = tuple((key, pattern.sub("", value)) for key, value in call.query)
    return replace(call, query=query) if query != call.query else None


# Names of metrics: the whole of a parameter, or what stands in brackets after `.metric`.
_NAMES_INSIDE = re.compile(r"(?<=\.metric\()[^()]*(?=\))")


def metrics_of(call: Call) -> list[str]:
    """The names of metrics that a call asks for; [] where its parameters don't list any."""
    for key, value in call.query:
        found = [value] if key == "metric" else _NAMES_INSIDE.findall(value)
        if found:
            return [name for name in found[0].split(",") if name]
    return []


def metric_halves(call: Call) -> list[Call]:
    """The same question with half of its metrics each, for a refusal that doesn't say which; [] with fewer than two."""
    names = metrics_of(call)
    middle = len(names) // 2
    if not middle:
        return []
    return [replace(call, query=_with_metrics(call.query, part)) for part in (names[:middle], names[middle:])]


def _with_metrics(query: tuple[tuple[str, str], ...], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    listed = ",".join(names)
    return tuple(
        (key, listed if key == "metric" else _NAMES_INSIDE.sub(lambda _: listed, value)) for key, value in query
    )


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
