"""How answers of the Graph API are read, whatever node they are of: what was asked, batches, lists. No platform.

A node is a post, a media or a video; `Figures` is how a platform reads one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import orjson

from schemas.events import PlatformRaw, RawKind
from services.platforms import _graph, _lists, abilities, base, http_reading, json_reading

INSIGHT_EDGES = ("insights", "video_insights")
# Of an account's newest posts, as many as are asked for at once.
DISCOVERED = 25

# Most requests of one batch.
# Source: https://developers.facebook.com/documentation/graph-api/batch-requests
BATCH_SIZE = 50

_INSIGHT_NAMES = re.compile(r"insights(?:\.\w+\([^()]*\))*\.metric\(([^()]*)\)")
_BRACKETS = re.compile(r"[(){}]")
_OPENING = {")": "(", "}": "{"}
# Texts of requests that are longer are no request of a poller, and are not kept.
_KEPT_CHARS = 4096


class Asked(NamedTuple):
    """Plain fields and names of insights that a request asked for."""

    fields: frozenset[str]
    insights: frozenset[str]


NOTHING_ASKED = Asked(frozenset(), frozenset())
Figures = Callable[[dict[str, Any], Asked], tuple[int, int, list[int | None]]]
"""From a node and what was asked to its figures: masks of reported and of ranged metrics, and values."""


def split(names: str) -> frozenset[str]:
    """The names of a text that separates them by commas."""
    return frozenset(name.strip() for name in names.split(",") if name.strip())


def asked(fields: str) -> Asked:
    """What a `fields` parameter asks for; nested fields are not the node's own."""
    return _kept_asked(fields) if len(fields) <= _KEPT_CHARS else _asked(fields)


def _asked(fields: str) -> Asked:
    names = _INSIGHT_NAMES.search(fields)
    return Asked(
        frozenset(field.partition(".")[0].strip() for field in _without_brackets(fields).split(",")),
        split(names[1]) if names else frozenset(),
    )


_kept_asked = lru_cache(maxsize=1024)(_asked)
_kept_split = lru_cache(maxsize=1024)(split)


def _without_brackets(fields: str) -> str:
    """A text without what stands in brackets; brackets without their partner stay."""
    left: list[str] = []
    opened: list[tuple[str, int]] = []
    at = 0
    for bracket in _BRACKETS.finditer(fields):
        left.append(fields[at : bracket.start()])
        at = bracket.end()
        if opened and opened[-1][0] == _OPENING.get(bracket[0]):
            del left[opened.pop()[1] :]
        else:
            # A closing bracket without a partner parts what stands before it from what comes after.
            opened.append((bracket[0], len(left)))
            left.append(bracket[0])
    return "".join([*left, fields[at:]])


def asked_of(edge: str, parameters: Mapping[str, str]) -> Asked:
    """What a request asked for at an edge of a node (`insights`), or at the node itself (empty)."""
    if edge in INSIGHT_EDGES:
        names = parameters.get("metric", "")
        return Asked(frozenset(), _kept_split(names) if len(names) <= _KEPT_CHARS else split(names))
    return asked(parameters.get("fields", ""))


def is_batch(event: PlatformRaw) -> bool:
    """Whether an event is of a Graph batch: posted to the root, with its requests in the body."""
    return not http_reading.path_segments(event.endpoint) and ("batch" in event.request or "body" in event.request)


class Part(NamedTuple):
    """One element of a batch: which node and edge were asked, with which parameters, and the element as it came."""

    external_id: str
    edge: str
    parameters: Mapping[str, str]
    element: Any


def parts(event: PlatformRaw) -> Iterator[Part]:
    """The elements of a batch's answer, each by its request, else by the id in it.

    Raises:
        MappingError: `body_not_json` or `unexpected_shape`; also where more elements are about one node than a batch
            has requests.
    """
    elements = json_reading.json_value(event.body)
    if not isinstance(elements, list):
        raise base.MappingError("unexpected_shape", f"a batch's answer is a JSON {type(elements).__name__}")
    requests = _requests(event)
    seen: dict[str, int] = {}
    for index, element in enumerate(elements):
        url = requests[index].get("relative_url") if index < len(requests) else None
        path_text, _, query_text = url.partition("?") if isinstance(url, str) else ("", "", "")
        path = http_reading.path_segments("/" + path_text.lstrip("/"))
        external_id = unquote(path[0]) if path else _own_id(element)
        seen[external_id] = seen.get(external_id, 0) + 1
        if seen[external_id] > BATCH_SIZE and external_id:
            raise base.MappingError("unexpected_shape", f"more than {BATCH_SIZE} elements of a batch are about one id")
        yield Part(external_id, "/".join(path[1:]), dict(parse_qsl(query_text)), element)


def _requests(event: PlatformRaw) -> list[dict[str, Any]]:
    """The requests of a batch, from the body that was sent; [] where it isn't known."""
    sent: Any = event.request.get("batch")
    try:
        if sent is None:
            body = orjson.loads(event.request.get("body", "null"))
            sent = body.get("batch") if isinstance(body, dict) else None
        batch = orjson.loads(sent) if isinstance(sent, str) else sent
    except orjson.JSONDecodeError:
        return []
    return [request if isinstance(request, dict) else {} for request in batch] if isinstance(batch, list) else []


def _own_id(element: Any) -> str:
    text = element.get("body") if isinstance(element, dict) else None
    own = json_reading.try_json_object(text.encode()).get("id") if isinstance(text, str) else None
    return own if isinstance(own, str) else ""


def answered(part: Part) -> dict[str, Any] | None:
    """The node in an element that was answered; {} in one that failed or did not finish, None where it is gone.

    Raises:
        MappingError: `unexpected_shape`.
    """
    element = part.element
    if element is None:
        return {}  # did not finish in time: nothing is known
    if not isinstance(element, dict):
        raise base.MappingError("unexpected_shape", f"an element of a batch is a JSON {type(element).__name__}")
    text = element.get("body")
    if not isinstance(text, str):
        raise base.MappingError("unexpected_shape", f"the body of an element is a JSON {type(text).__name__}")
    code = element.get("code")
    if type(code) is not int or not 200 <= code < 300:
        is_gone = _graph.verdict_of_part(element).outcome is base.Outcome.TARGET_GONE
        return None if is_gone and part.external_id else {}
    answer = json_reading.json_object(text.encode())
    return {part.edge: answer} if part.edge in INSIGHT_EDGES else answer


def batch_reading(event: PlatformRaw, figures: Figures) -> base.Reading:
    """Elements about one node add to each other: its fields and its insights can be two.

    Raises:
        MappingError: `body_not_json`, `unexpected_shape` or `bad_count`.
    """
    wanted = json_reading.positions(event)
    found: dict[str, json_reading.Figures] = {}
    gone: dict[str, None] = {}
    for part in parts(event):
        node, external_id = answered(part), part.external_id
        if node is None:
            gone[external_id] = None
            continue
        spoken, ranged, values = figures(node, asked_of(part.edge, part.parameters))
        if not spoken or external_id not in wanted:
            continue
        if external_id in found:
            held_spoken, held_ranged, held = found[external_id]
            merged = [value if spoken >> position & 1 else held[position] for position, value in enumerate(values)]
            found[external_id] = (held_spoken | spoken, held_ranged & ~spoken | ranged, tuple(merged))
        else:
            found[external_id] = (spoken, ranged, tuple(values))
    left = [index for external_id in gone if external_id not in found for index in wanted.get(external_id, ())]
    return base.Reading(json_reading.readings(found, wanted), (), left)


def nodes_reading(event: PlatformRaw, nodes: Mapping[str, Any], wanted: Asked, figures: Figures) -> base.Reading:
    """The figures of an answer's nodes, by their ids.

    Raises:
        MappingError: `unexpected_shape` or `bad_count`.
    """
    found: dict[str, json_reading.Figures] = {}
    positions = json_reading.positions(event)
    for external_id in positions:
        if external_id not in nodes:
            continue
        node = nodes[external_id]
        if not isinstance(node, dict):
            raise base.MappingError("unexpected_shape", f"a node is a JSON {type(node).__name__}, expected an object")
        spoken, ranged, values = figures(node, wanted)
        if spoken:
            found[external_id] = (spoken, ranged, tuple(values))
    return base.Reading(json_reading.readings(found, positions))


def batch_nodes(event: PlatformRaw) -> dict[str, dict[str, Any]]:
    """What a batch's answer holds of each node, the node's elements put together.

    Nodes of which an element can't be read are left out.

    Raises:
        MappingError: as `parts`.
    """
    found: dict[str, dict[str, Any]] = {}
    unreadable: set[str] = set()
    for part in parts(event):
        try:
            found.setdefault(part.external_id, {}).update(answered(part) or {})
        except base.MappingError:
            unreadable.add(part.external_id)
    return {external_id: node for external_id, node in found.items() if external_id not in unreadable}


def verdicts(event: PlatformRaw) -> dict[int, base.Verdict]:
    """What an answer means for each target that it tells of apart: the parts of a batch, errors in place of nodes.

    Of several parts about one target the best counts: it has been answered then.
    """
    found: dict[str, base.Verdict] = {}
    wanted = json_reading.positions(event)
    try:
        told = [(part.external_id, _graph.verdict_of_part(part.element)) for part in parts(event)]
    except base.MappingError:
        # Several ids in one request, as producers other than the poller may have asked.
        nodes = json_reading.try_json_object(event.body).items() if event.http_status < 300 else ()
        told = [
            (external_id, _graph.verdict_of(400, {}, orjson.dumps(node)))
            for external_id, node in nodes
            if external_id in wanted and isinstance(node, dict) and isinstance(node.get("error"), dict)
        ]
    for external_id, verdict in told:
        if external_id in wanted and (external_id not in found or verdict.outcome is base.Outcome.OK):
            found[external_id] = verdict
    return {index: verdict for external_id, verdict in found.items() for index in wanted[external_id]}


def discovered(event: PlatformRaw, edge: str, post_of: _lists.PostOf) -> abilities.Listed:
    """The posts in an account's list at an edge; none in a failed answer and in another one.

    Raises:
        MappingError: `body_not_json` or `unexpected_shape`.
    """
    path = http_reading.path_segments(event.endpoint)
    if not http_reading.succeeded(event) or event.kind != RawKind.IDENTITY or path[1:] != (edge,):
        return abilities.Listed()
    answer = json_reading.json_object(event.body)
    if "error" in answer:
        return abilities.Listed()
    return _lists.listed(answer.get("data"), "data", post_of)


def listed_post(
    item: Mapping[str, Any], time_field: str, link_field: str, text_field: str, post_type: str
) -> abilities.Discovered | str:
    """A post of a list; the name of a field without which it can't be polled, where that is missing."""
    external_id, at = item.get("id"), _graph.instant(item.get(time_field))
    if not isinstance(external_id, str) or not external_id:
        return "id"
    if at is None:
        return time_field
    link, content = _lists.text_of(item.get(link_field)), _lists.text_of(item.get(text_field))
    return abilities.Discovered(external_id, at, post_type, link, content)
