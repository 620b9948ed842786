"""The control API, under `/_sandbox/`: what was served, the clock, faults, calls. For tests and demos; no token.

- `GET healthz`.
- `GET served?platform=&external_id=&metric=&since=&until=&limit=`: what was answered, oldest first: `served_at` (ms of
  the machine's clock), `clock` (ms of the sandbox's), `fields` (the platform's own names; null: hidden). `metric`
  keeps one field, `since <= served_at < until`, `limit` the newest.
- `GET value?platform=&external_id=&metric=&at=`: what a post's figure is at an instant (ms; now without).
- `GET id?platform=&published_at=&number=&behaviour=&account=`: an id of a post that went out then.
- `GET clock`, `POST clock {"at": ms} | {"advance_seconds": n} | {"offset_ms": n} | {"freeze": true|false}`.
- `GET faults`, `DELETE faults`, `POST faults {"platform": ..., "kind": ..., ...}`: see `state.Fault`; of one channel by
  `token` or `account`, of a share of calls by `share`; `for_seconds`
  ends it after a span. Several may be given as a list. A slow, halved or reset answer counts as served.
- `GET refusals`, `DELETE refusals?platform=&refusal=&target=`, `POST refusals {"platform": ..., "refusal": ...}`: the
  catalogue (`refusals`) and what of it is switched on; for one `target`, `account` or `token` (its beginning), for one
  `metric` in place of the row's own, for a span (`for_seconds`). Several may be given as a list. A refusal is met by
  the calls that the real platform would refuse, and by no others.
- `GET calls?platform=&limit=`: counts by platform, endpoint and status, and the newest calls, tokens masked;
  `connections`: from how many addresses and ports calls came.
- `GET limits`, `POST limits {"enforced": true|false}`: whether calls over a rate limit fail.
- `POST reset`: forget all of it, and the clock back to where it started.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.sandbox.curves import metric_value
from infra.sandbox.ids import behaviours_of, make_id, published_at
from infra.sandbox.refusals import catalogue, names_of
from infra.sandbox.routes import platform_names
from infra.sandbox.state import FAULT_KINDS, Fault, State, Switch

PREFIX = "/_sandbox/"
_FAULT_FIELDS = {field.name for field in fields(Fault)} - {"seen", "failed"}
_SWITCH_FIELDS = {field.name for field in fields(Switch)} - {"refused"}


class BadControlError(ValueError):
    """A control request that can't be followed; the message names the allowed values."""


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    try:
        return default if text is None else int(text)
    except ValueError:
        raise BadControlError(f"{name} is {text!r}, expected a whole number") from None


def _platform(request: Request) -> str:
    return _known(request.query_params.get("platform", ""))


def _known(platform: Any) -> str:
    if platform not in platform_names():
        raise BadControlError(f"platform is {platform!r}, expected one of {', '.join(platform_names())}")
    return str(platform)


async def _body(request: Request) -> Any:
    try:
        return orjson.loads(await request.body() or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadControlError(f"the body is no JSON: {error}") from None


def _fault(wanted: Any, wall: int) -> Fault:
    if not isinstance(wanted, dict):
        raise BadControlError("a fault is an object")
    given = dict(wanted)
    span = given.pop("for_seconds", None)
    if span is not None:
        given["until"] = wall + int(span * 1000)
    unknown = given.keys() - _FAULT_FIELDS
    if unknown or not {"platform", "kind"} <= given.keys():
        raise BadControlError(f"a fault needs platform and kind, and may have {', '.join(sorted(_FAULT_FIELDS))}")
    if given["kind"] not in FAULT_KINDS:
        raise BadControlError(f"kind is {given['kind']!r}, expected one of {', '.join(FAULT_KINDS)}")
    _known(given["platform"])
    return Fault(**given)


def _switch(wanted: Any, wall: int) -> Switch:
    if not isinstance(wanted, dict):
        raise BadControlError("a refusal to switch on is an object")
    given = dict(wanted)
    span = given.pop("for_seconds", None)
    if span is not None:
        given["until"] = wall + int(span * 1000)
    if given.keys() - _SWITCH_FIELDS or not {"platform", "refusal"} <= given.keys():
        known = ", ".join(sorted(_SWITCH_FIELDS))
        raise BadControlError(f"a refusal to switch on needs platform and refusal, and may have {known}")
    platform = _known(given["platform"])
    if given["refusal"] not in names_of(platform):
        known = ", ".join(names_of(platform))
        raise BadControlError(f"refusal is {given['refusal']!r}, expected one of {known}")
    return Switch(**given)


class Control:
    """The handlers, over one sandbox's state."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def healthz(self, request: Request) -> Response:
        """Answer that the process is alive."""
        return _json({"status": "ok", "seed": self.state.seed, "now": self.state.clock.now()})

    async def served(self, request: Request) -> Response:
        """List the figures that were answered, oldest first; `since` and `until` in ms."""
        query = request.query_params
        records = self.state.served.of(query.get("platform"), query.get("external_id"))
        since, until = _whole(request, "since", 0), _whole(request, "until", 1 << 62)
        records = [record for record in records if since <= record["served_at"] < until]
        metric = query.get("metric")
        if metric is not None:
            records = [
                {**record, "fields": {metric: record["fields"][metric]}}
                for record in records
                if metric in record["fields"]
            ]
        limit = _whole(request, "limit", 1000)
        return _json({"served": records[-limit:] if limit else [], "dropped": self.state.served.dropped})

    async def value(self, request: Request) -> Response:
        """A post's figure at an instant, computed."""
        platform, query = _platform(request), request.query_params
        external_id, metric = query.get("external_id", ""), query.get("metric", "")
        at = _whole(request, "at", self.state.clock.now())
        published = published_at(platform, external_id)
        value = metric_value(self.state.seed, platform, external_id, metric, published, at)
        return _json({"value": value, "published_at": published, "at": at})

    async def make_id(self, request: Request) -> Response:
        """An id that carries a time."""
        platform, query = _platform(request), request.query_params
        published = _whole(request, "published_at", self.state.clock.now())
        account = query.get("account", "did:plc:sandboxsandboxsandboxsan")
        peculiar = query.get("behaviour", "")
        if peculiar and peculiar not in behaviours_of(platform).values():
            known = ", ".join(behaviours_of(platform).values())
            raise BadControlError(f"behaviour is {peculiar!r}, expected one of {known}")
        made = make_id(platform, published, _whole(request, "number", 0), peculiar, account)
        return _json({"external_id": made, "published_at": published_at(platform, made)})

    async def clock(self, request: Request) -> Response:
        """Show, move or stop the clock."""
        clock = self.state.clock
        if request.method == "POST":
            wanted = await _body(request)
            known = {"at", "advance_seconds", "offset_ms", "freeze"}
            if not isinstance(wanted, dict) or not wanted.keys() <= known:
                raise BadControlError(f"a clock setting is an object with some of {', '.join(sorted(known))}")
            if "at" in wanted:
                clock.set(int(wanted["at"]))
            if "offset_ms" in wanted:
                clock.set(clock.wall() + int(wanted["offset_ms"]))
            if "advance_seconds" in wanted:
                clock.set(clock.now() + int(wanted["advance_seconds"] * 1000))
            if "freeze" in wanted:
                clock.freeze(bool(wanted["freeze"]))
        now, wall = clock.now(), clock.wall()
        return _json({"now": now, "wall": wall, "offset_ms": now - wall, "frozen": clock.frozen_at is not None})

    async def faults(self, request: Request) -> Response:
        """Show, add or remove faults."""
        if request.method == "POST":
            wanted = await _body(request)
            wall = self.state.clock.wall()
            made = [_fault(one, wall) for one in (wanted if isinstance(wanted, list) else [wanted])]
            self.state.faults.extend(made)
        elif request.method == "DELETE":
            self.state.faults.clear()
        return _json({"faults": self.state.fault_list()})

    async def refusals(self, request: Request) -> Response:
        """Show the catalogue and what of it is switched on; switch on or off."""
        query = request.query_params
        if request.method == "POST":
            wanted = await _body(request)
            wall = self.state.clock.wall()
            made = [_switch(one, wall) for one in (wanted if isinstance(wanted, list) else [wanted])]
            self.state.switches.extend(made)
        elif request.method == "DELETE":
            self.state.switch_off(query.get("platform"), query.get("refusal"), query.get("target"))
        listed = [
            {"platform": row.platform, "refusal": row.name, "about": row.about, "status": row.status,
             "source": row.source}
            for row in catalogue().values()
            if query.get("platform") in (None, row.platform)
        ]  # fmt: skip
        return _json({"on": self.state.switch_list(), "catalogue": listed})

    async def calls(self, request: Request) -> Response:
        """List the calls that arrived."""
        platform = request.query_params.get("platform")
        counts = [
            {"platform": of_platform, "endpoint": endpoint, "status": status, "count": count}
            for (of_platform, endpoint, status), count in sorted(self.state.call_counts.items())
            if platform in (None, of_platform)
        ]
        recent = [call for call in self.state.calls if platform in (None, call["platform"])]
        limit = _whole(request, "limit", 200)
        total = sum(count["count"] for count in counts if isinstance(count["count"], int))
        connections = len(self.state.callers)
        shown = recent[-limit:] if limit else []
        return _json({"total": total, "connections": connections, "counts": counts, "recent": shown})

    async def limits(self, request: Request) -> Response:
        """Show or set whether rate limits are enforced."""
        if request.method == "POST":
            wanted = await _body(request)
            if not isinstance(wanted, dict) or not isinstance(wanted.get("enforced"), bool):
                raise BadControlError('a limits setting is {"enforced": true} or {"enforced": false}')
            self.state.limits.enforced = wanted["enforced"]
        return _json({"enforced": self.state.limits.enforced})

    async def reset(self, request: Request) -> Response:
        """Forget all calls, figures and faults."""
        self.state.reset()
        return _json({"status": "ok"})


async def _bad_control(request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 422)


def control_app(state: State) -> Starlette:
    """The control API over a state."""
    control = Control(state)
    routes = [
        Route(f"{PREFIX}healthz", control.healthz),
        Route(f"{PREFIX}served", control.served),
        Route(f"{PREFIX}value", control.value),
        Route(f"{PREFIX}id", control.make_id),
        Route(f"{PREFIX}clock", control.clock, methods=["GET", "POST"]),
        Route(f"{PREFIX}faults", control.faults, methods=["GET", "POST", "DELETE"]),
        Route(f"{PREFIX}refusals", control.refusals, methods=["GET", "POST", "DELETE"]),
        Route(f"{PREFIX}calls", control.calls),
        Route(f"{PREFIX}limits", control.limits, methods=["GET", "POST"]),
        Route(f"{PREFIX}reset", control.reset, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {BadControlError: _bad_control, TypeError: _bad_control, ValueError: _bad_control}
    return Starlette(routes=routes, exception_handlers=handlers)
