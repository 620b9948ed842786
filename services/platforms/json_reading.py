"""Reads the JSON of platforms' answers: bodies, counts, and blocks of figures. Pure.

Every function takes a value as a platform sent it. A value of another kind than expected raises `MappingError`, which
sends the event to the dead letters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson

from schemas.events import PlatformRaw
from schemas.metrics import INT64_MAX, INT64_MIN, MILLIS_MAX, Values
from services.platforms.base import MappingError, PostReading

Made = TypeVar("Made")
_within = threading.local()


class Parsed:
    """What bodies were parsed to, and what `made_once` made of events; use is `with parsed:`, as often as is needed.

    Within it each body is parsed once in this thread, for answers of which several functions read, or the parts of many
    targets one by one. What was parsed is shared: nobody changes it.

    Args:
        most_bytes: what longer bodies are parsed to, or is made of them, is not held; None for no such bound.
    """

    __slots__ = ("_most_bytes", "_outer", "bodies", "made")

    def __init__(self, most_bytes: int | None = None) -> None:
        self._most_bytes = most_bytes
        self.bodies: dict[bytes, Any] = {}
        self.made: dict[tuple[Any, int], tuple[PlatformRaw, Any]] = {}
        self._outer: list[Parsed | None] = []

    def __enter__(self) -> Parsed:
        self._outer.append(getattr(_within, "parsed", None))
        _within.parsed = self
        return self

    def __exit__(self, *_: object) -> None:
        _within.parsed = self._outer.pop()

    def holds(self, body: bytes) -> bool:
        """Whether a body is short enough."""
        return self._most_bytes is None or len(body) <= self._most_bytes


def _parsed_for(body: bytes) -> Parsed | None:
    """What is entered and holds what comes of a body; None where it is made anew."""
    parsed: Parsed | None = getattr(_within, "parsed", None)
    return parsed if parsed is not None and parsed.holds(body) else None


def made_once(event: PlatformRaw, make: Callable[[PlatformRaw], Made]) -> Made:
    """What a function makes of an event; within a `Parsed` the function is called once for each event.

    For what an answer holds of each of its targets: it is matched once, and not once for each target that is asked for.

    Args:
        make: the same function at each call, and no function that is defined anew.

    Raises:
        MappingError: raised by `make`, at each call.
    """
    parsed = _parsed_for(event.body)
    if parsed is None:
        return make(event)
    key = make, id(event)
    if key not in parsed.made:
        result: Made | MappingError
        try:
            result = make(event)
        except MappingError as error:
            result = error
        # The event is held as well, so that no other event gets its id.
        parsed.made[key] = event, result
    held: Made | MappingError = parsed.made[key][1]
    if isinstance(held, MappingError):
        raise MappingError(held.reason, held.detail)
    return held


def json_value(body: bytes) -> Any:
    """The body of a successful answer as a JSON value.

    Raises:
        MappingError: `body_not_json`.
    """
    parsed = _parsed_for(body)
    if parsed is not None and body in parsed.bodies:
        value = parsed.bodies[body]
    else:
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            value = error
        if parsed is not None:
            parsed.bodies[body] = value
    if isinstance(value, orjson.JSONDecodeError):
        raise MappingError("body_not_json", f"the body is no JSON: {value}")
    return value


def json_object(body: bytes) -> dict[str, Any]:
    """The body of a successful answer as a JSON object.

    Raises:
        MappingError: `body_not_json` or `unexpected_shape`.
    """
    parsed = json_value(body)
    if not isinstance(parsed, dict):
        raise MappingError("unexpected_shape", f"the body is a JSON {type(parsed).__name__}, expected an object")
    return parsed


def try_json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object, or {} when it is anything else: for reading error bodies."""
    try:
        return json_object(body)
    except MappingError:
        return {}


def is_object(body: bytes) -> bool:
    """Whether a body is a whole JSON object, empty or not: what a successful answer is on most platforms."""
    try:
        json_object(body)
    except MappingError:
        return False
    return True


def count(value: Any, name: str) -> int | None:
    """A count as the platform sent it, an integer or a string of digits; null stays None.

    Raises:
        MappingError: `bad_count`: not an integer, or outside 64 bits.
    """
    if type(value) is int:
        if INT64_MIN <= value <= INT64_MAX:
            return value
        raise MappingError("bad_count", f"{name} is outside 64 bits")
    if value is None:
        return None
    if isinstance(value, str):
        digits = value[1:] if value.startswith("-") else value
        if digits.isascii() and digits.isdigit() and len(digits) <= 20:
            return count(int(value), name)
        raise MappingError("bad_count", f"{name} is a string that is no integer")
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    raise MappingError("bad_count", f"{name} is a {type(value).__name__}, expected an integer")


def duration(value: Any, name: str) -> int | None:
    """A duration that the platform sent in whole milliseconds; null stays None.

    Raises:
        MappingError: `bad_count`: no whole number, or more than a watch time column holds.
    """
    millis = count(value, name)
    if millis is not None and abs(millis) > MILLIS_MAX:
        raise MappingError("bad_count", f"{name} is more than a watch time holds")
    return millis


def instant(value: Any) -> int | None:
    """The ms of an instant that a platform wrote as RFC 3339, such as `2026-11-30T12:00:00Z`; None when it is none.

    An instant without a zone is UTC.
    """
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    millis = round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    return millis if millis > 0 else None


def added(first: int | None, second: int | None, name: str) -> int | None:
    """The sum of two counts that one metric is made of; null counts are left out, None when both are null.

    Raises:
        MappingError: `bad_count`: the sum is outside 64 bits.
    """
    if first is None or second is None:
        return second if first is None else first
    return count(first + second, name)


def text(value: Any) -> str:
    """A JSON value as text; a list or an object, however deep, stands as its kind."""
    return f"({type(value).__name__})" if isinstance(value, dict | list) else str(value)


def objects(value: Any, name: str) -> list[dict[str, Any]]:
    """A list of JSON objects.

    Raises:
        MappingError: `unexpected_shape`.
    """
    if not isinstance(value, list):
        raise MappingError("unexpected_shape", f"{name} is a JSON {type(value).__name__}, expected a list")
    for item in value:
        if not isinstance(item, dict):
            raise MappingError("unexpected_shape", f"an item of {name} is a JSON {type(item).__name__}")
    return value


def block(value: Any, name: str) -> dict[str, Any] | None:
    """A block of figures; None when it is missing or empty, which both report nothing.

    Raises:
        MappingError: `unexpected_shape`: neither an object nor null.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise MappingError("unexpected_shape", f"{name} is a JSON {type(value).__name__}, expected an object")
    return value or None


FieldMap = tuple[tuple[str, int], ...]
"""A platform's keys of one block, each with the position of its common metric."""


def bits(*metrics: int) -> int:
    """The bit mask of some positions."""
    mask = 0
    for position in metrics:
        mask |= 1 << position
    return mask


def fill(values: list[int | None], answered: Mapping[str, Any], fields: FieldMap) -> None:
    """Write one block's counts into their positions; a key that the block leaves out stays null.

    Raises:
        MappingError: `bad_count`.
    """
    for key, position in fields:
        value = answered.get(key)
        # In line: nearly every figure is a plain integer.
        is_plain = type(value) is int and INT64_MIN <= value <= INT64_MAX
        values[position] = value if is_plain else count(value, key)


Figures = tuple[int, int, Values]
"""The figures of one post: masks of reported and of ranged metrics, and values."""


def readings(found: Mapping[str, Figures], wanted: Mapping[str, list[int]]) -> list[PostReading]:
    """The figures of posts by their external ids, for each target that has the id.

    Readers match items with external ids, and with targets only here: with many items of one id and many targets of
    this id, the work is their sum and not their product.

    Args:
        wanted: as `positions` gives it; it has every id of `found`.
    """
    return [
        PostReading(index, spoken, ranged, values)
        for external_id, (spoken, ranged, values) in found.items()
        for index in wanted[external_id]
    ]


def left_out(event: PlatformRaw, answered: Collection[str]) -> list[int]:
    """The positions of targets whose external ids are none of the answered ones.

    Args:
        answered: a set, or a mapping by external ids.
    """
    return [index for index, target in enumerate(event.targets) if target.external_id not in answered]


def positions(event: PlatformRaw) -> dict[str, list[int]]:
    """Where in the event's targets each external id stands; one id may stand for several targets.

    See `readings` for the way back.
    """
    found: dict[str, list[int]] = {}
    for index, target in enumerate(event.targets):
        if target.external_id in found:
            found[target.external_id].append(index)
        else:
            found[target.external_id] = [index]
    return found
