"""The endpoints of insights."""

from __future__ import annotations

from typing import Any

from services.query_api.reads.sources import Sources
from services.query_api.serving.actions import reads
from services.query_api.serving.endpoint import Endpoint
from services.query_api.tidemark import PREFIX
from services.query_api.tidemark.insights import models
from services.query_api.tidemark.insights.answers import best_times, decay, unusual
from services.query_api.tidemark.insights.measures import (
    LEAST_FIGURE,
    LEAST_OF_AGE,
    LEAST_OF_CELL,
    LEAST_OF_CHANNEL,
)
from services.query_api.tidemark.insights.parameters import BestTimesParameters, DecayParameters, UnusualParameters

_FIGURE_DOC = (
    " A figure at an age is the lifetime figure in the target's latest answer until that age; it is known only if that"
    " answer came within the last quarter of the age, or its last hour if that is longer."
)

ENDPOINTS: tuple[Endpoint[Sources, Any, Any], ...] = (
    Endpoint(
        id="getBestTimes",
        path=f"{PREFIX}/insights/best-times",
        summary="Best times to publish",
        description="For each hour of the week: the median of what its posts had at an age, divided by their channel's"
        f" usual at this age, which is the median of at least {LEAST_OF_CHANNEL} of the channel's targets in the span."
        f" null where fewer than {LEAST_OF_CELL} posts are behind a cell.{_FIGURE_DOC}",
        action=reads(BestTimesParameters, best_times),
        sample=models.BEST_TIMES,
        schema=models.BEST_TIMES_SCHEMA,
    ),
    Endpoint(
        id="getDecay",
        path=f"{PREFIX}/insights/decay",
        summary="How fast posts reach their figures",
        description="For each age: the median share of the figure at `base_days` that posts have reached; null where"
        f" fewer than {LEAST_OF_AGE} targets have both figures.{_FIGURE_DOC}",
        action=reads(DecayParameters, decay),
        sample=models.DECAY,
        schema=models.DECAY_SCHEMA,
    ),
    Endpoint(
        id="getUnusual",
        path=f"{PREFIX}/insights/unusual",
        summary="What is unusual",
        description="`posts`: targets whose figure is `factor` times their channel's usual at the same age or more, or"
        f" that fraction of it or less; the usual is a median of at least {LEAST_OF_CHANNEL} targets, and the figure or"
        f" the usual is at least {LEAST_FIGURE}. `falls`: counters that fell between two answers of the span. `late`:"
        f" targets whose poll is late by more than its interval, whenever they were published.{_FIGURE_DOC}",
        action=reads(UnusualParameters, unusual),
        sample=models.UNUSUAL,
        schema=models.UNUSUAL_SCHEMA,
    ),
)
