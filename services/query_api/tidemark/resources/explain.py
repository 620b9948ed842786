"""Explains a figure: the answers that it was read from, their places in Kafka, and the module that read them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from schemas.events import PlatformRaw
from schemas.metrics import COMMENTS, IMPRESSIONS, LIKES, POST_METRICS, POST_NAMES, REACH, SAVES, SHARES, VIEWS
from services.platforms import platform
from services.platforms.json_reading import Parsed
from services.query_api.errors import NotFound, ReadsUnavailable
from services.query_api.reads.account_answers import shown_bytes
from services.query_api.reads.payloads import ANSWER_BYTES, batches
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Answer, Request
from services.query_api.tidemark.resources import render, sql
from services.query_api.tidemark.resources.parameters import ExplainParameters
from services.query_api.tidemark.resources.reads import ResourceReads
from services.query_api.tidemark.resources.reasons import ENGAGEMENT_RATE, ENGAGEMENTS, Reason, target_reasons
from services.query_api.tidemark.resources.states import TargetState, stamp_of
from services.runtime.clock import iso_millis
from services.runtime.logging import get_logger

log = get_logger(__name__)

_INTERACTIONS = (LIKES, COMMENTS, SHARES, SAVES)
# The deadline: a post may have hundreds of targets, and each figure of each target an answer of its own.
_SECONDS = 15.0
_RULES = {
    ENGAGEMENTS: "likes + comments + shares + saves, nulls as 0; null when all four are null",
    ENGAGEMENT_RATE: "engagements / impressions, else / reach, else / views: the first of these above zero; over "
    "several targets the sum of the engagements of the targets that have a rate, divided by the sum of their divisors",
}


class _Place(NamedTuple):
    topic: str
    partition: int
    offset: int


async def explain_target(sources: Sources, request: Request[ExplainParameters]) -> Answer[object]:
    """Explain a figure of one target; NotFound when the workspace has no such target."""
    target_id = request.path["id"]
    targets = await ResourceReads(sources, request.workspace_id, request.now).targets([target_id])
    if target_id not in targets:
        raise NotFound
    return await _explained(sources, request, [targets[target_id]])


async def explain_post(sources: Sources, request: Request[ExplainParameters]) -> Answer[object]:
    """Explain a total of one post by the figures of its targets; NotFound when the workspace has no such post."""
    post_id = request.path["id"]
    posts = await ResourceReads(sources, request.workspace_id, request.now).posts([post_id])
    if post_id not in posts:
        raise NotFound
    return await _explained(sources, request, posts[post_id].targets)


async def _explained(
    sources: Sources, request: Request[ExplainParameters], targets: Sequence[TargetState]
) -> Answer[object]:
    metric = request.parameters.metric
    parts = [(target, part) for target in targets for part in _parts_of(metric)]
    stamps = [stamp_of(target.register, part) for target, part in parts]
    event_ids = sorted({stamp.event_id.decode() for stamp in stamps if stamp is not None})
    places = await _places(sources, request.workspace_id, event_ids)
    reads = ResourceReads(sources, request.workspace_id, request.now)
    events: dict[str, dict[str, Any]] = {}
    target_ids = {target.target_id for target in targets}
    room = ANSWER_BYTES
    try:
        async with asyncio.timeout(_SECONDS):
            async for ids, _ in batches(sources.store, request.workspace_id, event_ids):
                found = await reads.events(ids)
                # In a thread: payloads are large, and other reads go on meanwhile.
                shown, used = await sources.desk.run(
                    request.workspace_id, _shown_events, found, places, target_ids, room
                )
                events |= shown
                room -= used
    except TimeoutError:
        raise ReadsUnavailable from None
    values = render.total_metrics([target.register.values for target in targets])
    reasons = {target.target_id: target_reasons(target, request.now) for target in targets}
    return Answer(
        {
            "metric": metric,
            "value": values[metric],
            "rule": _rule(metric),
            "parts": [_part(target, part, reasons[target.target_id], events) for target, part in parts],
        }
    )


def _parts_of(metric: str) -> tuple[int, ...]:
    """The places of the stored metrics that a column is computed from."""
    if metric == ENGAGEMENTS:
        return _INTERACTIONS
    if metric == ENGAGEMENT_RATE:
        return (*_INTERACTIONS, IMPRESSIONS, REACH, VIEWS)
    return (POST_NAMES.index(metric),)


def _rule(metric: str) -> str:
    if metric in _RULES:
        return _RULES[metric]
    held = POST_METRICS[POST_NAMES.index(metric)]
    latest = "for each target the latest answer with this figure, lifetime figures before figures of a range of dates"
    combined = "summed over targets" if held.summable else "a post has the figure if exactly one of its targets has it"
    return f"{latest}; {combined}"


def _part(target: TargetState, metric: int, reasons: Mapping[str, Reason], events: Mapping[str, Any]) -> dict[str, Any]:
    stamp = stamp_of(target.register, metric)
    value = target.register.values[metric]
    event: dict[str, Any] | None = None
    if stamp is not None:
        event_id = stamp.event_id.decode()
        lost = {"event_id": event_id, "captured_at": iso_millis(stamp.captured_at), "is_held": False}
        event = events.get(event_id) or lost
    shown = None if event is None else {key: held for key, held in event.items() if key != "parts"}
    return {
        "target_id": target.target_id,
        "metric": POST_NAMES[metric],
        "value": render.figure(POST_METRICS[metric], value),
        "hidden": stamp is not None and value is None,
        "reason": reasons.get(POST_NAMES[metric]),
        "figure_of": None if stamp is None else "lifetime" if stamp.is_lifetime else "range",
        "event": shown,
        "answer": None if event is None else event.get("parts", {}).get(target.target_id),
        "mapping": _mapping(target.channel.platform),
    }


def _mapping(name: str) -> dict[str, Any]:
    """The module that read the answer, and the platform's documentation that the module follows."""
    try:
        held = platform(name)
    except KeyError:
        return {"module": None, "documentation": None, "read_on": None}
    facts = held.facts
    return {"module": type(held).__module__, "documentation": facts.documentation, "read_on": facts.read_on}


async def _places(sources: Sources, workspace_id: str, event_ids: list[str]) -> dict[str, _Place]:
    if not event_ids:
        return {}
    rows = await sources.store.rows("tidemark_places", sql.PLACES, {"workspace": workspace_id, "ids": event_ids})
    return {event_id: _Place(topic, partition, offset) for event_id, topic, partition, offset in rows}


def _shown_events(
    events: Iterable[PlatformRaw], places: Mapping[str, _Place], target_ids: set[str], most_bytes: int
) -> tuple[dict[str, dict[str, Any]], int]:
    """Events by id in the form of replies, with the targets' own parts of payloads under `parts`; and the parts' bytes.

    Args:
        most_bytes: once the parts have more bytes than this, no further parts are shown.
    """
    found: dict[str, dict[str, Any]] = {}
    used = 0
    for event in events:
        parts = _parts(event, target_ids, most_bytes - used)
        used += sum(map(len, parts.values()))
        found[event.event_id] = {
            "event_id": event.event_id,
            "captured_at": iso_millis(event.captured_at),
            "is_held": True,
            **(places[event.event_id]._asdict() if event.event_id in places else {}),
            "endpoint": event.endpoint,
            "http_status": event.http_status,
            "origin": event.origin,
            "parts": {target_id: orjson.Fragment(part) for target_id, part in parts.items()},
        }
    return found, used


def _parts(event: PlatformRaw, target_ids: set[str], most_bytes: int) -> dict[str, bytes]:
    """The targets' own parts of an answer as JSON, until they have more bytes than `most_bytes`."""
    parts: dict[str, bytes] = {}
    held = 0
    with Parsed():
        for index, target in enumerate(event.targets):
            if target.target_id not in target_ids or held > most_bytes:
                continue
            try:
                part = shown_bytes(platform(event.platform).part(event, index))
            except Exception as error:  # one strange payload must not take the whole explanation away
                log.warning("part of a payload can't be read", platform=event.platform, error=type(error).__name__)
                continue
            if part is not None:
                held += len(part)
                parts[target.target_id] = part
    return parts
