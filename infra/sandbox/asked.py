"""What one call asks for: which ids, which names of fields and metrics, and the parts of a batch. Pure.

Read from query, path and body alone, the same way for every platform, so that a refusal can apply exactly where the
real platform's would: about one id of several, about one metric asked for, about more ids than some number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

import orjson

from infra.sandbox.exchange import Ask

# Parameters that hold ids of posts or accounts, by their names on any platform; `filters` holds them after `video==`.
_ID_PARAMETERS = frozenset(
    {"actor", "actors", "entity", "filters", "id", "ids", "pin_ids", "shares", "ugcPosts", "uris"}
)
# Parameters that hold names of metrics; where a platform has `fields`, only what is inside `.metric()` is a metric.
_METRIC_PARAMETERS = frozenset({"dailyMetrics", "metric", "metric_types", "metrics", "queryType", "type"})
_FIELD_PARAMETERS = frozenset({"fields", "part", "tweet.fields", "user.fields", "media.fields", "expansions"})
_METRICS_INSIDE = re.compile(r"\.metric\(([^()]*)\)")
# A path's segment that is an id: digits, a fullname, a urn, or a page with a post.
_PATH_ID = re.compile(r"[0-9]{5,}(?:_[0-9]+)?|urn:li:[\w:]+|t3_\w+")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call asks for.

    Attributes:
        ids: the platform's ids of posts or accounts, in request order.
        names: of everything that is asked for: fields, metrics, edges and methods of the path.
        metrics: those of the names that are metrics, in request order.
        limit: how many things of a list are asked for; 0 where that is not said.
    """

    ids: tuple[str, ...]
    names: frozenset[str]
    metrics: tuple[str, ...]
    limit: int = 0

    @property
    def size(self) -> int:
        """How much is asked for at once."""
        return max(len(self.ids), self.limit)

    def mentions(self, external_id: str) -> bool:
        """Whether the call asks for an id, alone or inside another (`share:urn:li:share:1`)."""
        return any(asked == external_id or asked.endswith(f":{external_id}") for asked in self.ids)


def asked_of(ask: Ask) -> Asked:
    """What a call asks for."""
    ids: list[str] = []
    names = {segment for segment in unquote(ask.path).split("/") if segment}
    metrics: list[str] = []
    for name, value in ask.query:
        if name in _ID_PARAMETERS:
            ids += _ids_in(value)
        if name in _METRIC_PARAMETERS:
            metrics += _split(value)
        if name in _FIELD_PARAMETERS:
            inside = [metric for group in _METRICS_INSIDE.findall(value) for metric in _split(group)]
            fields = [re.split(r"[.({]", field, maxsplit=1)[0] for field in split_fields(value)]
            metrics += inside
            names |= set(fields)
    ids += _body_ids(ask)
    if not ids:
        ids = [segment for segment in unquote(ask.path).split("/") if _PATH_ID.fullmatch(segment)]
    limit = ask.value("limit")
    return Asked(tuple(ids), frozenset(names | set(metrics)), tuple(metrics), int(limit) if limit.isdigit() else 0)


def without_ids(ask: Ask, left_out: Sequence[str]) -> Ask | None:
    """The same call without some ids; None where no id is left."""
    query: list[tuple[str, str]] = []
    for name, value in ask.query:
        if name in _ID_PARAMETERS and (mentioned := _ids_in(value)) and set(mentioned) & set(left_out):
            left = [one for one in mentioned if one not in left_out]
            if left:
                query.append((name, value.replace(_list_in(value), ",".join(left))))
        else:
            query.append((name, value))
    body = ask.body
    if set(listed := _body_ids(ask)) & set(left_out):
        wanted = ask.json()
        wanted["filters"]["video_ids"] = [one for one in listed if one not in left_out]
        body = orjson.dumps(wanted)
    smaller = replace(ask, query=query, body=body)
    remaining = [one for name, value in query if name in _ID_PARAMETERS for one in _ids_in(value)]
    return smaller if remaining or _body_ids(smaller) else None


def batch_of(ask: Ask) -> list[Any] | None:
    """The elements of a Graph batch, as they came; None where the call is none."""
    if ask.method != "POST":
        return None
    body = ask.json()
    listed = body.get("batch") if isinstance(body, dict) else ask.form().get("batch") or ask.value("batch")
    try:
        found = orjson.loads(listed) if isinstance(listed, str) and listed else listed
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, list) and found else None


def with_batch(ask: Ask, elements: Sequence[Any]) -> Ask:
    """The same batch with these elements only."""
    body = ask.json()
    query = [(name, value) for name, value in ask.query if name != "batch"]
    if isinstance(body, dict):
        return replace(ask, query=query, body=orjson.dumps({**body, "batch": list(elements)}))
    form = {**ask.form(), "batch": orjson.dumps(list(elements)).decode()}
    return replace(ask, query=query, body=urlencode(form).encode())


def part_of(ask: Ask, element: Any, platform: str | None = None) -> Ask:
    """The call that one element of a batch stands for, made with the batch's token."""
    url = element.get("relative_url") if isinstance(element, dict) else ""
    path, _, query = str(url).partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    return replace(
        ask, platform=platform or ask.platform, path="/" + unquote(path).lstrip("/"), query=pairs, path_ids=(),
        method="GET", body=b"", query_text=query,
    )  # fmt: skip


def _body_ids(ask: Ask) -> list[str]:
    if not ask.body or ask.method != "POST":
        return []
    wanted = ask.json()
    filters = wanted.get("filters") if isinstance(wanted, dict) else None
    listed = filters.get("video_ids") if isinstance(filters, dict) else None
    return [str(one) for one in listed] if isinstance(listed, list) else []


def _list_in(value: str) -> str:
    """The part of a value that lists ids: inside `List(...)` or brackets, after `video==`, or all of it."""
    inside = re.fullmatch(r"(?:List)?\((.*)\)|\w+==(.*)", value, re.DOTALL)
    return value if inside is None else inside[1] if inside[1] is not None else inside[2]


def _ids_in(value: str) -> list[str]:
    return [unquote(one) if "%3A" in one else one for one in _split(_list_in(value))]


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def split_fields(text: str) -> Iterator[str]:
    """Fields between commas, not between those inside brackets."""
    depth, start = 0, 0
    for index, character in enumerate(text):
        depth += (character in "({") - (character in ")}")
        if character == "," and depth == 0:
            yield text[start:index].strip()
            start = index + 1
    if text[start:]:
        yield text[start:].strip()
