"""Asks again for less: halves, without one target, without one metric; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from services.platforms.base import Call, Channel, Platform, Target


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
