"""Answers with totals of a channel over its trailing window, each with its source."""

from __future__ import annotations

from typing import Any

from schemas.metrics import WINDOW_METRICS
from schemas.windows import WindowTotals
from services.query_api.errors import NotFound
from services.query_api.reads.query import WindowTotalsQuestion
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Answer, Request
from services.query_api.tidemark.resources.models import SUMMED_NAMES
from services.query_api.tidemark.resources.parameters import WindowParameters
from services.query_api.tidemark.resources.reasons import ENGAGEMENT_RATE, ENGAGEMENTS
from services.query_api.tidemark.resources.render import figure, time

_INTERACTIONS = ("likes", "comments", "shares", "saves")


async def get_window(sources: Sources, request: Request[WindowParameters]) -> Answer[object]:
    """The window of the channel of the path; NotFound when the workspace has no such channel."""
    channel_id, length = request.path["id"], request.parameters.range
    totals: WindowTotals | None = await sources.read_model.answer(
        WindowTotalsQuestion(request.workspace_id, channel_id, length, request.now // 1000 * 1000)
    )
    if totals is None:
        raise NotFound
    return Answer(window(channel_id, length, totals))


def window(channel_id: str, length: str, totals: WindowTotals) -> dict[str, Any]:
    """A window's totals in the form of a reply; `length` is `24h`, `7d` or `28d`."""
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
        "sources": {name: _source(name, totals) for name in SUMMED_NAMES if metrics[name] is not None},
    }


def _source(name: str, totals: WindowTotals) -> str:
    """A total's source: the platform (`channel`), the sum over posts (`posts`), or both (`mixed`)."""
    if name in totals.native:
        return "channel"
    if name not in (ENGAGEMENTS, ENGAGEMENT_RATE):
        return "posts"
    if totals.has_native_engagements:
        return "channel"
    is_mixed = name == ENGAGEMENTS and any(part in totals.native for part in _INTERACTIONS)
    return "mixed" if is_mixed else "posts"
