"""Answers the endpoints of time series of a post, a target or a channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.query_api.errors import NotFound
from services.query_api.reads.query import PostQuestion, TargetQuestion
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Answer, Request
from services.query_api.tidemark.analysis.figures import (
    CHANNEL_FIGURES,
    POST_FIGURES,
    REPORTED_FIGURES,
    check,
    derived,
    written,
)
from services.query_api.tidemark.analysis.formats import CONTENT_TYPES, Format, as_json, asked_format, write_rows
from services.query_api.tidemark.analysis.parameters import (
    ChannelSeriesParameters,
    Mode,
    SeriesParameters,
    Source,
    WorkspaceSeriesParameters,
    named,
    zoned_span,
)
from services.query_api.tidemark.analysis.ranges import buckets, shown
from services.query_api.tidemark.analysis.reads import Subject, read_series
from services.query_api.tidemark.analysis.sql import Scope

FORMATS = (Format.JSON, Format.CSV, Format.NDJSON)


async def post_series(sources: Sources, request: Request[SeriesParameters]) -> Answer[object]:
    """The time series of one post, summed over its targets; NotFound when the workspace has no such post."""
    post_id = request.path["id"]
    _check(request.parameters, POST_FIGURES)
    post = await sources.read_model.answer(PostQuestion(request.workspace_id, post_id))
    if post is None:
        raise NotFound
    targets = {"targets": [target.target_id for target in post.targets]}
    return await _answer(sources, request, {"post_id": post_id}, Subject(request.workspace_id, Scope.TARGETS, targets))


async def target_series(sources: Sources, request: Request[SeriesParameters]) -> Answer[object]:
    """The time series of one target; NotFound when the workspace has no such target."""
    target_id = request.path["id"]
    _check(request.parameters, POST_FIGURES)
    if await sources.read_model.answer(TargetQuestion(request.workspace_id, target_id)) is None:
        raise NotFound
    subject = Subject(request.workspace_id, Scope.TARGETS, {"targets": [target_id]})
    return await _answer(sources, request, {"target_id": target_id}, subject)


async def channel_series(sources: Sources, request: Request[ChannelSeriesParameters]) -> Answer[object]:
    """The time series of a channel's posts, or of the channel itself; NotFound for an unknown channel."""
    channel_id = request.path["id"]
    source = request.parameters.source
    _check(request.parameters, CHANNEL_FIGURES if source is Source.POSTS else REPORTED_FIGURES)
    if sources.directory.get(request.workspace_id, channel_id) is None:
        raise NotFound
    subject = Subject(request.workspace_id, Scope.CHANNEL, {"channel": channel_id}, is_own=source is Source.CHANNEL)
    return await _answer(sources, request, {"channel_id": channel_id, "source": source.value}, subject)


async def workspace_series(sources: Sources, request: Request[WorkspaceSeriesParameters]) -> Answer[object]:
    """The time series of all channels of the workspace, or of some; NotFound for an unknown one of these."""
    _check(request.parameters, CHANNEL_FIGURES)
    chosen = request.parameters.channel_ids
    return await _answer(
        sources, request, chosen_channels(sources, request, chosen), Subject.workspace(request.workspace_id, chosen)
    )


def chosen_channels(sources: Sources, request: Request[Any], chosen: Sequence[str] | None) -> dict[str, Any]:
    """The part of an answer that repeats which channels were asked for; empty where all count.

    Raises:
        NotFound: the workspace has no such channel.
    """
    if chosen is None:
        return {}
    sources.check_channels(request.workspace_id, chosen)
    return {"channel_ids": list(chosen)}


def _check(parameters: SeriesParameters, known: Sequence[str]) -> None:
    is_growth = parameters.mode is Mode.INCREMENTS
    named("metrics", lambda: check(parameters.metrics, known, is_growth=is_growth))


async def _answer(
    sources: Sources, request: Request[Any], subject_shown: dict[str, Any], subject: Subject
) -> Answer[object]:
    parameters: SeriesParameters = request.parameters
    asked = zoned_span(parameters, request.now)
    spans = named("from", lambda: buckets(asked.span, parameters.step, asked.tz, has_steps=True))
    is_growth = parameters.mode is Mode.INCREMENTS
    figures = await read_series(sources.store, subject, parameters.metrics, spans, is_growth=is_growth, now=request.now)
    points = []
    for span, found in zip(spans, figures, strict=True):
        known = found if subject.is_own else derived(found)
        points.append(
            {
                "start": shown(span.start),
                "end": shown(span.end),
                **{name: written(name, known.get(name)) for name in parameters.metrics},
            }
        )
    kind = asked_format(parameters.format, request.headers, FORMATS)
    if kind is not Format.JSON:
        return Answer(write_rows(points, ("start", "end", *parameters.metrics), kind), media_type=CONTENT_TYPES[kind])
    return Answer(
        {
            **subject_shown,
            "metrics": list(parameters.metrics),
            "from": shown(asked.span.start),
            "to": shown(asked.span.end),
            "step": parameters.step.value,
            "tz": asked.tz_name,
            "mode": parameters.mode.value,
            "points": as_json(points),
        }
    )
