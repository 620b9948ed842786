"""Answers the endpoints of totals: a window of a channel or of the workspace, compared with the window before."""

from __future__ import annotations

from typing import Any

from schemas.metrics import POST_NAMES
from services.query_api.errors import NotFound
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Answer, Request
from services.query_api.tidemark.analysis.figures import (
    CHANNEL_FIGURES,
    ENGAGEMENT_RATE,
    POST_FIGURES,
    change,
    derived,
    written,
)
from services.query_api.tidemark.analysis.formats import CONTENT_TYPES, Format, as_json, asked_format, write_rows
from services.query_api.tidemark.analysis.parameters import (
    Attribution,
    TotalsParameters,
    WorkspaceTotalsParameters,
    zoned_span,
)
from services.query_api.tidemark.analysis.ranges import Span, before, shown
from services.query_api.tidemark.analysis.reads import Subject, read_published, read_series
from services.query_api.tidemark.analysis.series import FORMATS, chosen_channels
from services.query_api.tidemark.analysis.sql import Scope

_COLUMNS = ("value", "previous", "change")


async def channel_totals(sources: Sources, request: Request[TotalsParameters]) -> Answer[object]:
    """The totals of one channel; NotFound when the workspace has no such channel."""
    channel_id = request.path["id"]
    if sources.directory.get(request.workspace_id, channel_id) is None:
        raise NotFound
    subject = Subject(request.workspace_id, Scope.CHANNEL, {"channel": channel_id})
    return await _answer(sources, request, {"channel_id": channel_id}, subject)


async def workspace_totals(sources: Sources, request: Request[WorkspaceTotalsParameters]) -> Answer[object]:
    """The totals of all channels of the workspace, or of some; NotFound for an unknown one of these."""
    chosen = request.parameters.channel_ids
    return await _answer(
        sources, request, chosen_channels(sources, request, chosen), Subject.workspace(request.workspace_id, chosen)
    )


async def _answer(
    sources: Sources, request: Request[Any], subject_shown: dict[str, Any], subject: Subject
) -> Answer[object]:
    parameters: TotalsParameters = request.parameters
    asked = zoned_span(parameters, request.now)
    previous = before(asked.span, asked.tz)
    is_compared = parameters.compare is not None
    if parameters.attribution is Attribution.PUBLISHED:
        names: tuple[str, ...] = POST_FIGURES
        found = await read_published(sources.store, subject, asked.span, previous if is_compared else asked.span)
    else:
        names = CHANNEL_FIGURES
        spans = [previous, asked.span] if is_compared else [asked.span]
        *then, now = await _received(sources, subject, spans, request.now)
        found = now, then[0] if then else {}
    current, earlier = (derived(figures) for figures in found)
    rows = [
        {
            "metric": name,
            "value": written(name, current.get(name)),
            "previous": written(name, earlier.get(name)) if is_compared else None,
            "change": change(current.get(name), earlier.get(name)) if is_compared else None,
        }
        for name in names
    ]
    kind = asked_format(parameters.format, request.headers, FORMATS)
    if kind is not Format.JSON:
        return Answer(write_rows(rows, ("metric", *_COLUMNS), kind), media_type=CONTENT_TYPES[kind])
    return Answer(
        {
            **subject_shown,
            "attribution": parameters.attribution.value,
            "from": shown(asked.span.start),
            "to": shown(asked.span.end),
            "tz": asked.tz_name,
            "compared_with": {"from": shown(previous.start), "to": shown(previous.end)} if is_compared else None,
            "metrics": {row["metric"]: {name: as_json(row[name]) for name in _COLUMNS} for row in rows},
        }
    )


async def _received(sources: Sources, subject: Subject, spans: list[Span], now: int) -> list[dict[str, int | None]]:
    """The growth within each of successive spans, each as if it was read alone."""
    names = (*POST_NAMES, ENGAGEMENT_RATE, *CHANNEL_FIGURES[len(POST_FIGURES) :])
    opens = [span.start for span in spans]
    return await read_series(sources.store, subject, names, spans, is_growth=True, now=now, opens=opens)
