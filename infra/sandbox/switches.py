"""Which refusals of the catalogue are switched on, and what becomes of a call that meets one.

Between the checks of `app` and the routes: a route never sees a call, or a part of a batch, that is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from infra.sandbox.asked import Asked, asked_of, batch_of, part_of, with_batch, without_ids
from infra.sandbox.exchange import Ask, Reply
from infra.sandbox.ids import behaviour
from infra.sandbox.refusals import catalogue
from infra.sandbox.refusals.row import About, Effect, Refusal, filled
from infra.sandbox.state import Switch

_TOKEN_PATHS = re.compile(r"/oauth|/token$|accessToken$|access_token$|refreshSession$")
_PACIFIC = ZoneInfo("America/Los_Angeles")
_PART_HEADERS = [{"name": "Content-Type", "value": "text/javascript; charset=UTF-8"}]

Answer = Callable[[Ask], Reply]
PlatformOf = Callable[[Ask], str]
"""Whose a call is, by its path and query; platforms share paths."""


def answered(ask: Ask, answer: Answer, platform_of: PlatformOf) -> Reply:
    """What a call is answered: by the route, by refusals, or by both where they concern parts of it."""
    elements = batch_of(ask)
    if elements is not None:
        return _batch(ask, elements, answer, platform_of)
    asked = asked_of(ask)
    # Only a part of a batch can be unfinished.
    met = [switch for switch in _met(ask, asked) if _row(switch).effect is not Effect.UNFINISHED]
    return _applied(ask, asked, met, answer)


def _row(switch: Switch) -> Refusal:
    return catalogue()[switch.platform, switch.refusal]


def _is_on(switch: Switch, ask: Ask) -> bool:
    """Whether it stands now, for the caller of a call."""
    return (
        switch.platform == ask.platform
        and (switch.until is None or ask.wall < switch.until)
        and ask.token.startswith(switch.token)
        and (not switch.account or ask.account_id == switch.account)
    )


def _meets(switch: Switch, ask: Ask, asked: Asked) -> bool:
    """Whether a call is one of those that the refusal concerns."""
    row = _row(switch)
    if bool(_TOKEN_PATHS.search(ask.path)) is not row.is_of_tokens or not re.search(row.path, ask.path):
        return False
    names = (switch.metric,) if switch.metric else row.names
    if names and not asked.names.intersection(names):
        return False
    if switch.target and not asked.mentions(switch.target):
        return False
    # Without a target it concerns every id asked for; a call that asks for none can't be about one.
    if row.about is About.TARGET and not asked.ids:
        return False
    return not row.more_than or asked.size > row.more_than


def _met(ask: Ask, asked: Asked, *, whole: bool = False) -> list[Switch]:
    """The switches that a call meets, those of culprits among its ids too."""
    peculiar = [(one, behaviour(ask.platform, one)) for one in asked.ids]
    own = [Switch(ask.platform, name, one) for one, name in peculiar if (ask.platform, name) in catalogue()]
    met = [
        switch
        for switch in (*ask.state.switches, *own)
        if _is_on(switch, ask) and (not whole or _row(switch).is_whole) and _meets(switch, ask, asked)
    ]
    for switch in met:
        switch.refused += 1
    return met


def _batch(ask: Ask, elements: list[Any], answer: Answer, platform_of: PlatformOf) -> Reply:
    """A Graph batch: refused as a whole, or part by part; the route sees the parts that are left."""
    parts = [part_of(ask, element) for element in elements]
    parts = [replace(part, platform=platform_of(part) or ask.platform) for part in parts]
    all_asked = [asked_of(part) for part in parts]
    together = Asked(
        tuple(one for asked in all_asked for one in asked.ids[:1]),
        frozenset().union(*(asked.names for asked in all_asked)),
        (),
    )
    outer = replace(ask, platform=parts[0].platform)
    for switch in _met(outer, together, whole=True):
        return refused(outer, together, switch)
    stopped: dict[int, Any] = {}
    altered: dict[int, list[Switch]] = {}
    for index, (part, asked) in enumerate(zip(parts, all_asked, strict=True)):
        met = [switch for switch in _met(part, asked) if not _row(switch).is_whole]
        if any(_row(switch).effect is Effect.UNFINISHED for switch in met):
            stopped[index] = None
        elif refusing := [switch for switch in met if _row(switch).effect is Effect.REFUSE]:
            reply = refused(part, asked, refusing[0])
            stopped[index] = {"code": reply.status, "headers": _PART_HEADERS, "body": reply.encoded().decode()}
        elif met:
            altered[index] = met
    left = [element for index, element in enumerate(elements) if index not in stopped]
    reply = answer(with_batch(ask, left) if stopped else ask) if left else Reply(200, [])
    if reply.status != 200 or not isinstance(reply.body, list):
        return reply
    answers = iter(reply.body)
    merged: list[Any] = [stopped[index] if index in stopped else next(answers, None) for index in range(len(elements))]
    for index, met in altered.items():
        part = merged[index]
        if isinstance(part, dict) and part["code"] == 200:
            body = _altered(orjson.loads(part["body"]), met, all_asked[index])
            merged[index] = {**part, "body": orjson.dumps(body).decode()}
    return Reply(200, merged, reply.headers)


def _applied(ask: Ask, asked: Asked, met: Iterable[Switch], answer: Answer) -> Reply:
    """One call that is no batch, with all that it meets."""
    changing = []
    left_out: list[str] = []
    alone: Switch | None = None
    for switch in met:
        if _row(switch).effect in (Effect.REFUSE, Effect.SILENT):
            return refused(ask, asked, switch)
        changing.append(switch)
        if _row(switch).effect is Effect.LEAVE_OUT:
            left_out += [one for one in asked.ids if not switch.target or one.endswith(switch.target)]
            alone = switch
    smaller = without_ids(ask, left_out) if left_out else ask
    if smaller is None and alone is not None:
        reply = Reply(200, filled(_row(alone).alone, _values(ask, asked, alone)))
    else:
        reply = answer(smaller or ask)
    if changing and 200 <= reply.status < 300:
        reply.body = _altered(reply.body, changing, asked)
    return reply


def _altered(body: Any, switches: Iterable[Switch], asked: Asked) -> Any:
    for switch in switches:
        alter = _row(switch).alter
        if alter is None:
            continue
        for one in asked.ids or ("",):
            if not switch.target or one.endswith(switch.target):
                body = alter(body, one)
    return body


def refused(ask: Ask, asked: Asked, switch: Switch) -> Reply:
    """What a call is answered that is refused as a whole."""
    row, values = _row(switch), _values(ask, asked, switch)
    if row.effect is Effect.SILENT:
        return Reply(row.status, row.body, is_silent=True)
    headers = {name: str(filled(text, values)) for name, text in row.headers.items()}
    body = filled(row.body, values)
    if isinstance(body, str):
        return Reply(row.status, body.encode(), {"content-type": "text/html; charset=UTF-8", **headers})
    return Reply(row.status, body, headers)


def instants(wall: int) -> dict[str, int]:
    """The instants that place holders name, in unix seconds, as of one in ms."""
    now = datetime.fromtimestamp(wall / 1000, UTC)
    next_utc = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    local = now.astimezone(_PACIFIC)
    next_pacific = datetime(local.year, local.month, local.day, tzinfo=_PACIFIC) + timedelta(days=1)
    next_month = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return {
        "now": int(now.timestamp()),
        "in_15_minutes": int(now.timestamp()) + 900,
        "next_utc_day": int(next_utc.timestamp()),
        "next_pacific_day": int(next_pacific.timestamp()),
        "next_month": int(next_month.timestamp()),
    }


def _values(ask: Ask, asked: Asked, switch: Switch) -> dict[str, str | int]:
    """What place holders stand for; see `refusals.row`."""
    names = (switch.metric,) if switch.metric else _row(switch).names
    metric = next((name for name in (*asked.metrics, *asked.names) if name in names), "")
    found = instants(ask.wall)
    return {
        "target": switch.target or (asked.ids[0] if asked.ids else ""),
        "ids": ",".join(asked.ids),
        "index": asked.ids.index(switch.target) if switch.target in asked.ids else 0,
        "metric": metric,
        "position": asked.metrics.index(metric) if metric in asked.metrics else 0,
        "account": ask.account_id,
        "path": ask.path,
        **found,
        "seconds_to_utc_day": found["next_utc_day"] - found["now"],
    }
