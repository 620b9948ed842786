"""What a call of LinkedIn's asks for, read as protocol 2.0.0 does, and how it is refused.

Source: as of `linkedin`.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from infra.sandbox.exchange import Ask, Reply

_DAY_MS = 86_400_000
YEAR_MS = 366 * _DAY_MS
LONGEST_LIST = 100
POST_URN = re.compile(r"urn:li:(?:share|ugcPost|activity):[0-9]{1,19}")
ORGANIZATION_URN = re.compile(r"urn:li:organization:[0-9]{1,19}")
_INTERVALS = re.compile(r"\(timeRange:\(start:([0-9]{1,14}),end:([0-9]{1,14})\),timeGranularityType:(DAY|MONTH)\)")


class RefusedError(Exception):
    """One thing about the request fails all of it."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def error(status: int, code: str, message: str, service_code: int | None = None) -> Reply:
    """An error in LinkedIn's form."""
    body: dict[str, Any] = {"status": status, "code": code, "message": message}
    if service_code is not None:
        body["serviceErrorCode"] = service_code
    return Reply(status, body)


def illegal(message: str) -> RefusedError:
    """A parameter is none that the call takes."""
    return RefusedError(error(400, "ILLEGAL_ARGUMENT", message))


def raw_value(ask: Ask, name: str) -> str:
    """A parameter as it was sent, since its escapes are part of its syntax."""
    for part in ask.query_text.split("&"):
        key, _, value = part.partition("=")
        if key == name:
            return value
    return ""


def urns_of(ask: Ask, name: str) -> list[str]:
    """The urns of a list: `List(urn%3Ali%3Ashare%3A1,...)`."""
    raw = raw_value(ask, name)
    inner = re.fullmatch(r"List\(([^():]*)\)", raw)
    urns = [unquote(part) for part in inner[1].split(",")] if inner else []
    if not urns or len(urns) > LONGEST_LIST or not all(map(POST_URN.fullmatch, urns)):
        raise illegal("Invalid query parameters passed to request")
    return urns


def entity_of(ask: Ask) -> str:
    """A member's post: `(share:urn%3A...)` or `(ugc:urn%3A...)`."""
    inner = re.fullmatch(r"\((share|ugc):([^():,]+)\)", raw_value(ask, "entity"))
    urn = unquote(inner[2]) if inner else ""
    kind = "urn:li:ugcPost:" if inner and inner[1] == "ugc" else "urn:li:share:"
    if not POST_URN.fullmatch(urn) or not urn.startswith(kind):
        raise illegal("Invalid query parameters passed to request")
    return urn


def organization_of(ask: Ask, name: str) -> str:
    """The urn of a page."""
    urn = ask.value(name)
    if not ORGANIZATION_URN.fullmatch(urn):
        raise illegal(f"Invalid value for param; wrong urn type in {name}")
    return urn


def intervals_of(ask: Ask) -> tuple[int, int] | None:
    """The range of days asked for, in ms; None for a lifetime."""
    if not ask.value("timeIntervals"):
        return None
    found = _INTERVALS.fullmatch(raw_value(ask, "timeIntervals"))
    if found is None or int(found[1]) >= int(found[2]) or found[3] != "DAY":
        raise illegal("Invalid query parameters passed to request")
    return int(found[1]), int(found[2])


def days_of(ask: Ask, start: int, end: int) -> list[tuple[int, int]]:
    """Closed UTC days of a range, of the last 12 months."""
    first = max(start, ask.now - YEAR_MS) // _DAY_MS * _DAY_MS
    last = min(end, ask.now // _DAY_MS * _DAY_MS)
    return [(at, at + _DAY_MS) for at in range(first, last, _DAY_MS)]


def foreign(name: str, index: int) -> RefusedError:
    """A post in a list is somebody else's."""
    message = (
        f"Unpermitted fields present in PARAMETER: Data Processing Exception while processing fields [/{name}[{index}]]"
    )
    return RefusedError(error(403, "ACCESS_DENIED", message, 100))
