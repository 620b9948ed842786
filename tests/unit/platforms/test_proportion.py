"""Reading an answer takes time in proportion to it: twice the targets and items take at most about twice the time.

One generator for all platforms. Of each golden answer it makes ever larger ones: each list, each object by ids and each
text with a list in the body or the request is made n entries long, one after another, and the event has n targets, all
of one external id or each with its own. What is timed is what services do with an answer: figures, verdicts, and the
parts of all targets.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import orjson
import pytest

from schemas.events import PlatformRaw, RawTarget
from services.platforms import all_platforms, platform
from services.platforms.abilities import AnswersApart
from services.platforms.base import MappingError
from services.platforms.json_reading import Parsed
from tests.support.proportion import MOST, growth
from tests.unit.platforms import golden

NAMES = sorted(all_platforms())
ENTRIES = 250
Path = tuple[str | int, ...]


class Shape(NamedTuple):
    """How the answers of a series grow: at which place of body and request, and whether each target has its own id."""

    case: str
    place: Path
    is_own: bool


def _places(value: Any, ids: set[str], at: Path) -> Iterator[Path]:
    """The lists, and the objects by ids, within a JSON value; of a list's items the first stands for all."""
    if isinstance(value, dict):
        if not ids.isdisjoint(value):
            yield at
        for key, held in value.items():
            yield from _places(held, ids, (*at, key))
    elif isinstance(value, list) and value:
        yield at
        yield from _places(value[0], ids, (*at, 0))


def _kind(answer: dict[str, Any], place: Path) -> tuple[Any, ...]:
    """What two shapes have in common that are read by the same code."""
    endpoint = "".join("#" if letter.isdigit() else letter for letter in answer["endpoint"])
    return answer["kind"], endpoint, tuple(0 if isinstance(key, int) or key.isdigit() else key for key in place)


def shapes(name: str) -> list[Shape]:
    found: dict[tuple[Any, ...], Shape] = {}
    for of, case in golden.cases():
        answer = golden.response(name, case) if of == name else {}
        if of != name or answer["http_status"] >= 300 or "body" not in answer:
            continue
        ids = {target["external_id"] for target in answer["targets"]}
        texts = [("request", key) for key in answer["request"]]
        for place in [*_places(answer["body"], ids, ("body",)), *texts]:
            for is_own in (False, True) if answer["targets"] else (True,):
                found.setdefault((*_kind(answer, place), is_own), Shape(case, place, is_own))
    return list(found.values())


def _renamed(value: Any, old: str, new: str) -> Any:
    return orjson.loads(orjson.dumps(value).replace(orjson.dumps(old)[1:-1], orjson.dumps(new)[1:-1]))


def _grown(value: Any, old: str, ids: list[str]) -> Any:
    """A list, object or text with an entry for each id; entries of an object are of other keys."""
    if isinstance(value, list):
        return [_renamed(value[0], old, new) for new in ids]
    if isinstance(value, dict):
        if old in value:
            return {new: _renamed(value[old], old, new) for new in ids}
        key, entry = next(iter(value.items()), ("", None))
        return {**value, **{f"{key}{number}": _renamed(entry, old, new) for number, new in enumerate(ids)}}
    if isinstance(value, str) and value.startswith(("[", "{")):
        held = orjson.loads(value)
        listed = next((key for key, one in held.items() if isinstance(one, list)), None) if value[0] == "{" else None
        grown = _grown(held, old, ids) if listed is None else {**held, listed: _grown(held[listed], old, ids)}
        return orjson.dumps(grown).decode()
    if isinstance(value, str):
        return ",".join(value.replace(old, new) if old in value else f"{value}{n}" for n, new in enumerate(ids))
    return value


def event_of(name: str, shape: Shape, entries: int) -> PlatformRaw:
    """The answer of a shape with so many targets, and so many entries at its place."""
    answer = golden.response(name, shape.case)
    old = answer["targets"][0]["external_id"] if answer["targets"] else "no id"
    ids = [f"{old}{number:05}" if shape.is_own else old for number in range(entries)]
    held = {"body": answer["body"], "request": answer["request"]}
    *before, last = shape.place
    around: Any = held
    for key in before:
        around = around[key]
    around[last] = _grown(around[last], old, ids)
    if isinstance(held["body"], list) and shape.place == ("body",):
        # The answer's elements are told by the requests.
        requests = {key: _grown(text, old, ids) for key, text in held["request"].items() if text.startswith(("[", "{"))}
        held["request"] = {**held["request"], **requests}
    request = {
        key: text if isinstance(text, str) else orjson.dumps(text).decode() for key, text in held["request"].items()
    }
    targets = tuple(
        RawTarget(f"t{number}", "p1", external_id)
        for number, external_id in enumerate(ids if answer["targets"] else ())
    )
    made = golden.raw_event(name, {**answer, "body": held["body"], "request": request})
    return replace(made, targets=targets)


def work(event: PlatformRaw) -> None:
    """What services do with an answer."""
    of = platform(event.platform)
    with Parsed():
        try:
            of.read(event)
        except MappingError:
            pass
        if isinstance(of, AnswersApart):
            of.verdicts(event, {}, golden.RECEIVED_AT)
        for place in range(len(event.targets)):
            of.part(event, place)


@pytest.mark.parametrize("name", NAMES)
def test_twice_the_answer_takes_at_most_twice_the_time(name: str) -> None:
    found = {}
    gc.collect()
    gc.disable()
    try:
        for shape in shapes(name):
            small, large = (event_of(name, shape, entries) for entries in (ENTRIES, 2 * ENTRIES))
            ratio = growth(partial(work, small), partial(work, large))
            if ratio > MOST:
                found[shape] = round(ratio, 1)
    finally:
        gc.enable()
    assert found == {}


def _answer(name: str, endpoint: str, request: dict[str, str], body: Any, ids: list[str]) -> PlatformRaw:
    targets = [
        {"target_id": f"t{number}", "post_id": "p1", "external_id": external_id}
        for number, external_id in enumerate(ids)
    ]
    answer = {"kind": "POST_METRICS", "endpoint": endpoint, "request": request, "targets": targets, "http_status": 200}
    return golden.raw_event(name, {**answer, "body": body})


def _nested(count: int) -> PlatformRaw:
    return _answer("facebook", "/v25.0/1", {"fields": "a(" * 8 * count + ")" * 8 * count}, {"id": "1"}, ["1"])


def _asked_of_many(count: int) -> PlatformRaw:
    ids = [str(number) for number in range(count)]
    names = ",".join(f"n{number}" for number in range(8 * count))
    insights = {"data": [{"name": "views", "period": "lifetime", "values": [{"value": 1}]}]}
    fields = {"fields": f"insights.metric({names})"}
    return _answer("instagram", "/v25.0/", fields, {external_id: {"insights": insights} for external_id in ids}, ids)


def _asked_of_videos(count: int) -> PlatformRaw:
    ids = [str(number) for number in range(count)]
    fields = {"fields": ",".join(f"n{number}" for number in range(8 * count))}
    videos = [{"id": external_id, "view_count": 1} for external_id in ids]
    return _answer("tiktok", "/v2/video/query/", fields, {"data": {"videos": videos}, "error": {"code": "ok"}}, ids)


def _refused_fields(count: int) -> PlatformRaw:
    ids = [str(number) for number in range(count)]
    kind = "https://api.twitter.com/2/problems/not-authorized-for-field"
    errors = [{"type": kind, "title": "a", "field": f"f{number}"} for number in range(count)]
    own = [{"type": kind, "title": "a", "field": "x", "resource_id": external_id} for external_id in ids]
    return _answer("x", "/2/tweets", {}, {"errors": errors + own}, ids)


def _versions_with_media(count: int) -> PlatformRaw:
    ids = [str(number) for number in range(count)]
    keys = [f"m{number}" for number in range(count)]
    media = [{"media_key": key, "public_metrics": {"view_count": 1}} for key in keys]
    post = {"id": "newest", "edit_history_tweet_ids": ids, "attachments": {"media_keys": keys}}
    return _answer("x", "/2/tweets", {}, {"data": [post], "includes": {"media": media}}, ids)


def _ways_of_a_urn(count: int) -> PlatformRaw:
    urn = "urn:li:activity:1234567890"
    ways = ["".join(f"%{ord(c):02x}" if n >> at & 1 else c for at, c in enumerate(urn)) for n in range(count)]
    body = {"results": {}, "errors": {way: {"status": 404} for way in ways}}
    return _answer("linkedin", "/rest/socialMetadata", {}, body, [urn] * count)


def _long_entity(count: int) -> PlatformRaw:
    request = {"q": "entity", "entity": "x" * 200 * count, "queryType": "IMPRESSION"}
    elements = [{"count": 1, "metricType": "IMPRESSION"}] * count
    return _answer("linkedin", "/rest/memberCreatorPostAnalytics", request, {"elements": elements}, ["urn:li:share:1"])


@pytest.mark.parametrize(
    "grown",
    [
        _nested,
        _asked_of_many,
        _asked_of_videos,
        _refused_fields,
        _versions_with_media,
        _ways_of_a_urn,
        _long_entity,
    ],
)
def test_twice_of_what_no_golden_answer_holds_takes_at_most_twice_the_time(grown: Callable[[int], PlatformRaw]) -> None:
    assert growth(partial(work, grown(ENTRIES)), partial(work, grown(2 * ENTRIES))) <= MOST
