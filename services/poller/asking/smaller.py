"""Asks again for less: halves, fewer targets, fewer metrics; pure.

Metrics stand in a call as a parameter of their own (`metric=a,b`), as fields (`fields=likes,insights.metric(a,b)`), or
in the addresses of a batch's parts, in its JSON body.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote

from services.platforms.base import Call, Channel, Platform, Target

# Parameters that list metrics and nothing else; a name may repeat.
_LISTS = frozenset({"metric", "metrics", "metric_types", "dailyMetrics"})
_METRIC = ".metric("
# What stands bare in a parameter of an address.
_BARE = "(),.{}:|"


def about(platform: Platform, channel: Channel, call: Call, targets: Sequence[Target], now: int) -> list[Call]:
    """The platform's calls about fewer targets, of those only the ones of the same kind of question. `now` in ms."""
    if not targets:
        return []
    same = (call.limit_group, call.base_url, call.method, call.shape)
    return [
        other
        for other in platform.post_calls(channel, targets, now)
        if (other.limit_group, other.base_url, other.method, other.shape) == same
    ]


def halves(platform: Platform, channel: Channel, call: Call, now: int) -> list[Call]:
    """The same question in two parts; [] when it is about one target or none."""
    middle = len(call.targets) // 2
    if not middle:
        return []
    return about(platform, channel, call, call.targets[:middle], now) + about(
        platform, channel, call, call.targets[middle:], now
    )


def without_target(platform: Platform, channel: Channel, call: Call, external_id: str, now: int) -> list[Call]:
    """The same question about all targets but one; [] when none is left."""
    left = tuple(target for target in call.targets if target.external_id != external_id)
    return about(platform, channel, call, left, now)


def without_metrics(call: Call, metrics: Collection[str]) -> Call | None:
    """The same call without some names; the call itself where it asks for none of them, None where nothing is left."""
    query, is_emptied = [], False
    for key, value in call.query:
        left = value if _names_targets(call, key, value) else _cut(value, metrics)
        if left == "" != value:
            # One of several parameters of this name may go; the only one can't.
            is_emptied = True
            continue
        query.append((key, left))
    if is_emptied and not {key for key, _ in call.query} <= {key for key, _ in query}:
        return None
    body = None if call.json is None else _cut_in(call.json, metrics)
    if body is None and call.json is not None:
        return None
    if tuple(query) == call.query and body == call.json:
        return call
    return replace(call, query=tuple(query), json=body)


def asks_for(call: Call, metric: str) -> bool:
    """Whether a call asks for a metric by this name."""
    return bool(metric) and without_metrics(call, (metric,)) is not call


def metrics_of(call: Call) -> list[str]:
    """The names of metrics that a call asks for, in its order; [] where its parameters don't list any."""
    found: dict[str, None] = {}
    for key, value in call.query:
        found.update(dict.fromkeys(_named(key, value)))
    for text in _texts(call.json):
        for key, value in _parameters(text):
            found.update(dict.fromkeys(_named(key, value)))
    return list(found)


def fields_left_out(call: Call, whole: Call) -> list[str]:
    """What a whole call asks for beside its metrics and a call does not: fields, by their parameters; in order."""
    found: dict[str, None] = {}
    asked = dict(call.query)
    for key, value in whole.query:
        if not _names_targets(whole, key, value):
            held = frozenset(_fields(asked.get(key, "")))
            found.update(dict.fromkeys(field for field in _fields(value) if _METRIC not in field and field not in held))
    return list(found)


def metric_halves(call: Call) -> list[Call]:
    """The same question with half of its metrics each, for a refusal that doesn't say which; [] with fewer than two."""
    names = metrics_of(call)
    middle = len(names) // 2
    if not middle:
        return []
    parts = (without_metrics(call, names[middle:]), without_metrics(call, names[:middle]))
    return [part for part in parts if part is not None]


def _names_targets(call: Call, key: str, value: str) -> bool:
    """Whether a parameter lists the targets, whose ids may read like anything."""
    if key in _LISTS:
        return False
    ids = {target.external_id for target in call.targets}
    return value in ids or not ids.isdisjoint(value.split(","))


def _named(key: str, value: str) -> list[str]:
    if key in _LISTS:
        return [name for name in value.split(",") if name]
    return [name for field in _fields(value) if _METRIC in field for name in _inside(field)[1]]


def _fields(listed: str) -> list[str]:
    """A list's fields: commas inside brackets don't part them."""
    fields, depth, begin = [], 0, 0
    for at, character in enumerate(listed):
        depth += (character in "({") - (character in ")}")
        if character == "," and depth == 0:
            fields.append(listed[begin:at])
            begin = at + 1
    return [*fields, listed[begin:]]


def _inside(field: str) -> tuple[str, list[str], str]:
    """What is before the names of `.metric(...)`, the names, and what follows them."""
    before, _, rest = field.partition(_METRIC)
    names, _, after = rest.partition(")")
    return before + _METRIC, [name for name in names.split(",") if name], ")" + after


def _cut(listed: str, metrics: Collection[str]) -> str:
    """A list without some names, or lists of names; "" where none is left."""
    metrics = {field for metric in metrics for field in _fields(metric)}
    if not any(name in listed for name in metrics):
        return listed
    left = []
    for field in _fields(listed):
        if field in metrics:
            continue
        if _METRIC in field:
            before, names, after = _inside(field)
            kept = [name for name in names if name not in metrics]
            if not kept:
                continue
            field = before + ",".join(kept) + after
        left.append(field)
    return ",".join(left)


def _cut_in(body: Any, metrics: Collection[str]) -> Any:
    """A JSON body without some names in the addresses that it holds; None where one of them asks for nothing more."""
    if isinstance(body, str):
        return _cut_address(body, metrics)
    if isinstance(body, dict):
        cut: Any = {key: None if value is None else _cut_in(value, metrics) for key, value in body.items()}
        return None if any(cut[key] is None is not value for key, value in body.items()) else cut
    if isinstance(body, list | tuple):
        cut = [_cut_in(value, metrics) for value in body]
        return None if any(after is None is not before for before, after in zip(body, cut, strict=True)) else cut
    return body


def _cut_address(text: str, metrics: Collection[str]) -> str | None:
    path, mark, query = text.partition("?")
    if not mark or not any(name in query for name in metrics):
        return text
    left = []
    for parameter in query.split("&"):
        key, _, sent = parameter.partition("=")
        value = unquote(sent)
        after = _cut(value, metrics)
        if after == "" != value:
            return None
        left.append(parameter if after == value else f"{key}={quote(after, safe=_BARE) if '%' in sent else after}")
    return path + mark + "&".join(left)


def _texts(body: Any) -> Iterable[str]:
    """Every text in a JSON body."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, dict):
        for value in body.values():
            yield from _texts(value)
    elif isinstance(body, list | tuple):
        for value in body:
            yield from _texts(value)


def _parameters(address: str) -> list[tuple[str, str]]:
    query = address.partition("?")[2]
    parts = [parameter.partition("=") for parameter in query.split("&")] if query else []
    return [(key, unquote(value)) for key, _, value in parts]
