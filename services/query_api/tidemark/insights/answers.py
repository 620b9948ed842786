"""Answers the endpoints of insights."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from schemas.metrics import POST_NAMES
from schemas.tiers import COMMON, MILLIS_PER_DAY, MILLIS_PER_HOUR, rule_of
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Answer, Request
from services.query_api.tidemark.analysis.parameters import instant_of, named, span_between, zone_of
from services.query_api.tidemark.analysis.ranges import Span, Step, buckets, shown
from services.query_api.tidemark.analysis.reads import SECONDS
from services.query_api.tidemark.analysis.series import chosen_channels
from services.query_api.tidemark.insights import sql
from services.query_api.tidemark.insights.cells import CELLS, HOURS, cells_of
from services.query_api.tidemark.insights.measures import (
    AGES,
    LEAST_FIGURE,
    LEAST_OF_AGE,
    LEAST_OF_CELL,
    LEAST_OF_CHANNEL,
    ages_up_to,
    parts_of,
    within,
)
from services.query_api.tidemark.insights.parameters import (
    DEFAULT_DAYS,
    BestTimesParameters,
    DecayParameters,
    InsightParameters,
    UnusualParameters,
)
from services.query_api.tidemark.resources import render
from services.query_api.tidemark.resources.due import target_due
from services.query_api.tidemark.resources.reads import ResourceReads
from services.query_api.tidemark.resources.states import TargetState
from services.runtime.instants import EARLIEST


class _Asked(NamedTuple):
    """What every insight is asked: the span of publishing, its zone, and the part of the reply that repeats this."""

    span: Span
    tz: ZoneInfo
    shown: dict[str, Any]


async def best_times(sources: Sources, request: Request[BestTimesParameters]) -> Answer[object]:
    """For each hour of the week, what its posts earned against their channel's usual; NotFound for a channel."""
    parameters, asked = request.parameters, _asked(sources, request)
    age = parameters.age_hours * MILLIS_PER_HOUR
    span = _old_enough(asked.span, age, request.now)
    rows: list[list[Any]] = []
    if span is not None:
        hours = named("from", lambda: buckets(span, Step.HOUR, asked.tz))
        rows = await sources.store.rows(
            "best_times",
            sql.best_times(parts_of(parameters.metric)),
            {
                **_values(request, span, (age,)),
                "edges": [hour.start for hour in hours],
                "cells": cells_of(hours, asked.tz),
                "least": LEAST_OF_CHANNEL,
            },
            SECONDS,
        )
    held = {cell: (posts, targets, score) for cell, posts, targets, score in rows}
    cells = []
    for cell in range(CELLS):
        posts, targets, score = held.get(cell, (0, 0, None))
        cells.append(
            {
                "weekday": cell // HOURS + 1,
                "hour": cell % HOURS,
                "score": score if posts >= LEAST_OF_CELL else None,
                "posts": posts,
                "targets": targets,
            }
        )
    minimum = {"channel_targets": LEAST_OF_CHANNEL, "cell_posts": LEAST_OF_CELL}
    return Answer({**asked.shown, "age_hours": parameters.age_hours, "minimum": minimum, "cells": cells})


async def decay(sources: Sources, request: Request[DecayParameters]) -> Answer[object]:
    """The share of the figure at the last age that posts have reached at earlier ages; NotFound for a channel."""
    parameters, asked = request.parameters, _asked(sources, request)
    ages = ages_up_to(parameters.base_days * MILLIS_PER_DAY)
    span = _old_enough(asked.span, ages[-1], request.now)
    rows: list[list[Any]] = []
    if span is not None:
        statement = sql.decay(parts_of(parameters.metric))
        rows = await sources.store.rows("decay", statement, _values(request, span, ages), SECONDS)
    held = {number: (posts, targets, share) for number, posts, targets, share in rows}
    shown_ages = []
    for number, age in enumerate(ages, 1):
        posts, targets, share = held.get(number, (0, 0, None))
        shown_ages.append(
            {
                "age_hours": age // MILLIS_PER_HOUR,
                "share": share if targets >= LEAST_OF_AGE else None,
                "posts": posts,
                "targets": targets,
            }
        )
    minimum = {"targets": LEAST_OF_AGE}
    return Answer({**asked.shown, "base_days": parameters.base_days, "minimum": minimum, "ages": shown_ages})


async def unusual(sources: Sources, request: Request[UnusualParameters]) -> Answer[object]:
    """Posts far from their channel's usual, counters that fell, and polls that are late; NotFound for a channel."""
    parameters, asked = request.parameters, _asked(sources, request)
    parts = parts_of(parameters.metric)
    values = {**_values(request, asked.span, AGES), "limit": parameters.limit}
    posts, fallen, late = await asyncio.gather(
        sources.store.rows(
            "unusual_posts",
            sql.unusual_posts(parts),
            {
                **values,
                "now": request.now,
                "least": LEAST_OF_CHANNEL,
                "floor": LEAST_FIGURE,
                "factor": parameters.factor,
            },
            SECONDS,
        ),
        sources.store.rows("fallen_counters", sql.falls(parts), values, SECONDS),
        _late(sources, request),
    )
    return Answer(
        {
            **asked.shown,
            "factor": parameters.factor,
            "minimum": {"channel_targets": LEAST_OF_CHANNEL, "figure": LEAST_FIGURE},
            "posts": [_unusual_post(row) for row in posts],
            "falls": [
                {
                    "post_id": post_id,
                    "target_id": target_id,
                    "channel_id": channel_id,
                    "metric": POST_NAMES[place],
                    "before": before,
                    "value": value,
                    "captured_at": shown(at),
                    "event_id": event_id,
                }
                for target_id, post_id, channel_id, place, before, value, at, event_id in fallen
            ],
            "late": late,
        }
    )


def _unusual_post(row: list[Any]) -> dict[str, Any]:
    target_id, post_id, channel_id, published, number, value, usual, targets = row
    return {
        "post_id": post_id,
        "target_id": target_id,
        "channel_id": channel_id,
        "published_at": shown(published),
        "age_hours": AGES[number - 1] // MILLIS_PER_HOUR,
        "value": value,
        "usual": usual,
        "ratio": value / usual,
        "direction": "above" if value > usual else "below",
        "targets": targets,
    }


async def _late(sources: Sources, request: Request[UnusualParameters]) -> list[dict[str, Any]]:
    """The targets whose poll is late by more than an interval, the latest first."""
    rows = await sources.store.rows(
        "quiet_targets",
        sql.quiet_targets(COMMON),
        {
            "workspace": request.workspace_id,
            "channels": list(request.parameters.channels),
            "now": request.now,
            "speed": sources.poll_speed,
            "limit": request.parameters.limit,
        },
        SECONDS,
    )
    if not rows:
        return []
    states = await ResourceReads(sources, request.workspace_id, request.now).targets([row[0] for row in rows])
    found = [late for state in states.values() if (late := _late_poll(state, request.now, sources.poll_speed))]
    return sorted(found, key=lambda late: (-late["late_seconds"], late["target_id"]))


def _late_poll(state: TargetState, now: int, speed: float) -> dict[str, Any] | None:
    due = target_due(state, now, speed)
    interval = (
        None if state.published_at is None else rule_of(state.channel.platform).interval(now - state.published_at)
    )
    if due.next_at is None or interval is None or now - due.next_at <= interval / speed:
        return None
    return {
        "post_id": state.post_id,
        "target_id": state.target_id,
        "channel_id": state.channel.channel_id,
        "platform": state.channel.platform,
        "tier": due.tier,
        "captured_at": render.time(state.register.captured_at),
        "next_poll_at": render.time(due.next_at),
        "late_seconds": (now - due.next_at) // 1000,
    }


def _asked(sources: Sources, request: Request[Any]) -> _Asked:
    """The span that the parameters choose.

    Raises:
        Invalid: a time or the zone is bad, or the span does not begin before it ends.
        NotFound: the workspace has no such channel.
    """
    parameters: InsightParameters = request.parameters
    tz = zone_of(parameters.tz)
    end = instant_of("to", parameters.end, tz, request.now // 1000 * 1000)
    span = span_between(parameters.start, None, tz, max(EARLIEST, end - DEFAULT_DAYS * MILLIS_PER_DAY), end)
    chosen = chosen_channels(sources, request, parameters.channels)
    told = {
        "metric": parameters.metric,
        "channel_id": parameters.channel_id,
        **(chosen if parameters.channel_ids is not None else {}),
        "from": shown(span.start),
        "to": shown(span.end),
        "tz": parameters.tz,
    }
    return _Asked(span, tz, told)


def _old_enough(span: Span, age: int, now: int) -> Span | None:
    """The part of a span whose posts have reached an age; None where it has no such part."""
    end = min(span.end, now - age)
    return Span(span.start, end) if span.start < end else None


def _values(request: Request[Any], span: Span, ages: tuple[int, ...]) -> dict[str, Any]:
    return {
        "workspace": request.workspace_id,
        "channels": list(request.parameters.channels),
        "start": span.start,
        "end": span.end,
        "last": span.end + ages[-1],
        "ages": list(ages),
        "withins": [within(age) for age in ages],
    }
