"""Totals of a channel over its trailing window, and of each whether the platform told it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.metrics import POST_NAMES, WINDOW_METRICS
from schemas.windows import WindowTotals
from services.query_api.errors import NotFound
from services.query_api.reads.query import WindowTotalsQuestion
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Answer, Request
from services.query_api.serving.parameters import Parameters
from services.query_api.tidemark.resources.reasons import ENGAGEMENT_RATE, ENGAGEMENTS
from services.query_api.tidemark.resources.render import figure, time

_INTERACTIONS = ("likes", "comments", "shares", "saves")
_NUMBER = {"type": ["number", "null"]}
_NAMES = (*(metric.name for metric in WINDOW_METRICS), ENGAGEMENTS, ENGAGEMENT_RATE)
_SUMMED = (*POST_NAMES, ENGAGEMENTS, ENGAGEMENT_RATE)


class WindowAsked(Parameters):
    """Which window."""

    range: Literal["24h", "7d", "28d"] = Field("28d", description="Length of the window, which ends now.")


async def get_window(sources: Sources, request: Request[WindowAsked]) -> Answer[object]:
    """The window of the channel of the path."""
    channel_id, length = request.path["id"], request.parameters.range
    totals: WindowTotals | None = await sources.read_model.answer(
        WindowTotalsQuestion(request.workspace_id, channel_id, length, request.now // 1000 * 1000)
    )
    if totals is None:
        raise NotFound
    return Answer(window(channel_id, length, totals))


def window(channel_id: str, length: str, totals: WindowTotals) -> dict[str, Any]:
    """A window's totals as a reply."""
    metrics: dict[str, Any] = {
        metric.name: figure(metric, value) for metric, value in zip(WINDOW_METRICS, totals.values, strict=True)
    }
    metrics |= {ENGAGEMENTS: totals.engagements, ENGAGEMENT_RATE: totals.engagement_rate}
    return {
        "channel_id": channel_id,
        "range": length,
        "source": totals.source,
        "window_start": time(totals.start),
        "window_end": time(totals.end),
        "metrics": metrics,
        "sources": {name: _source(name, totals) for name in _SUMMED if metrics[name] is not None},
    }


def _source(name: str, totals: WindowTotals) -> str:
    """Whether the platform told a total (`channel`), or it is the posts' sum, or made of both."""
    if name in totals.native:
        return "channel"
    if name not in (ENGAGEMENTS, ENGAGEMENT_RATE):
        return "posts"
    told = {part in totals.native for part in _INTERACTIONS if totals.values[POST_NAMES.index(part)] is not None}
    if ENGAGEMENTS in totals.native or told == {True}:
        return "channel"
    return "mixed" if True in told and name == ENGAGEMENTS else "posts"


SAMPLE = {
    "channel_id": "ch-facebook",
    "range": "7d",
    "source": "channel",
    "window_start": "2026-06-21T07:00:00Z",
    "window_end": "2026-06-28T07:00:00Z",
    "metrics": {**dict.fromkeys(_NAMES), "views": 18240, "likes": 271, ENGAGEMENTS: 1965, ENGAGEMENT_RATE: 0.1077},
    "sources": {"views": "channel", "likes": "posts", ENGAGEMENTS: "channel", ENGAGEMENT_RATE: "channel"},
}
SCHEMA: dict[str, Any] = {
    "title": "ChannelWindow",
    "type": "object",
    "required": list(SAMPLE),
    "additionalProperties": False,
    "properties": {
        "channel_id": {"type": "string"},
        "range": {"type": "string", "enum": ["24h", "7d", "28d"]},
        "source": {"type": "string", "enum": ["channel", "posts", "none"]},
        "window_start": {"type": "string", "format": "date-time"},
        "window_end": {"type": "string", "format": "date-time"},
        "metrics": {
            "title": "WindowFigures",
            "type": "object",
            "required": list(_NAMES),
            "additionalProperties": False,
            "properties": dict.fromkeys(_NAMES, _NUMBER),
        },
        "sources": {
            "title": "WindowSources",
            "type": "object",
            "additionalProperties": False,
            "properties": {name: {"type": "string", "enum": ["channel", "posts", "mixed"]} for name in _SUMMED},
        },
    },
}
