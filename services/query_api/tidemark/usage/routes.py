"""The endpoint of what polls cost."""

from __future__ import annotations

from typing import Any

from schemas.spending import month_of
from services.query_api.reads.sources import Sources
from services.query_api.serving.actions import reads
from services.query_api.serving.endpoint import Answer, Endpoint, Request
from services.query_api.serving.parameters import NoParameters
from services.query_api.tidemark import PREFIX
from services.query_api.tidemark.usage import models
from services.query_api.tidemark.usage.render import usage


async def get_usage(sources: Sources, request: Request[NoParameters]) -> Answer[object]:
    """What the workspace's polls cost in this month."""
    return Answer(usage(sources.spending.of(request.workspace_id, month_of(request.now)), request.now))


ENDPOINTS: tuple[Endpoint[Sources, Any, Any], ...] = (
    Endpoint(
        id="getUsage",
        path=f"{PREFIX}/usage",
        summary="What polls cost",
        description="Of each platform that bills for what is read: what the workspace's polls cost in this UTC month "
        "by the configured prices, its part of the month's budget, what is left of that part, and a forecast to the "
        "month's end. Platforms that bill for nothing are left out.",
        action=reads(NoParameters, get_usage),
        sample=models.SAMPLE,
        schema=models.SCHEMA,
    ),
)
