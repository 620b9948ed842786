"""Reads changes and totals of figures from ClickHouse, for series and for totals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.metrics import CHANNEL_METRICS, POST_METRICS, Kind
from services.query_api.reads.sources import Store
from services.query_api.tidemark.analysis import sql
from services.query_api.tidemark.analysis.figures import (
    ENGAGEMENT_RATE,
    OWN_METRICS,
    RATE_BASE,
    RATED,
    Chosen,
    Figures,
    chosen,
    held_within,
)
from services.query_api.tidemark.analysis.growth import Change, cumulative, increments, merged
from services.query_api.tidemark.analysis.ranges import Span
from services.query_api.tidemark.analysis.sql import Scope

# The deadline of a query: a channel of 10,000 posts with a million snapshots took 4 s, all metrics on one thread.
SECONDS = 20.0
_MEANS = frozenset(metric.name for metric in POST_METRICS if metric.kind is Kind.MEAN)
_OWN = frozenset(metric.name for metric in OWN_METRICS)
_NONE = Chosen(())


@dataclass(frozen=True, slots=True)
class Subject:
    """The post, target, channel or workspace whose figures are read.

    Attributes:
        values: the values of the scope's parameters.
        is_own: read only a channel's own figures, and none of its posts.
    """

    workspace_id: str
    scope: Scope
    values: dict[str, Any] = field(default_factory=dict)
    is_own: bool = False

    def choose(self, names: Sequence[str], *, is_growth: bool) -> tuple[Chosen, Chosen]:
        """The metrics to read of posts, and the metrics to read of the channel itself."""
        own = chosen(names if self.is_own else _OWN & set(names), CHANNEL_METRICS, is_growth=is_growth)
        return _NONE if self.is_own else chosen(names, POST_METRICS, is_growth=is_growth), own


async def read_series(
    store: Store, subject: Subject, names: Sequence[str], spans: Sequence[Span], *, is_growth: bool, now: int
) -> list[dict[str, int | None]]:
    """The figures that the named figures are computed from, one mapping for each bucket.

    Args:
        spans: the buckets; each begins where the bucket before ends.
        is_growth: read the growth within each bucket instead of the value at its end.
        now: ms.

    Raises:
        ReadsUnavailable: ClickHouse did not answer within the deadline, or answered with an error.
    """
    of_posts, own = subject.choose(names, is_growth=is_growth)
    post_sql, own_sql = (sql.post_growth, sql.channel_growth) if is_growth else (sql.post_changes, sql.channel_changes)
    rated = of_posts if ENGAGEMENT_RATE in names and not subject.is_own else _NONE
    found = await asyncio.gather(
        _changes(store, "post_series", subject, of_posts, post_sql, spans),
        _changes(store, "channel_series", subject, own, own_sql, spans),
        _rates(store, subject, rated, sql.post_rate_growth if is_growth else sql.post_rates, spans),
    )
    if is_growth:
        points = merged([increments(changes, spans) for changes in found])
    else:
        points = merged([cumulative(changes, spans, _MEANS, now) for changes in found])
    if rated.metrics:
        for point in points:
            point.setdefault(RATE_BASE, None)  # no target has a rate, so the total has none
    return points


async def _changes(
    store: Store, name: str, subject: Subject, metrics: Chosen, statement: Any, spans: Sequence[Span]
) -> list[Change]:
    if not metrics.metrics:
        return []
    names = {place: metric.name for place, metric in metrics.metrics}
    rows = await store.rows(
        name,
        statement(metrics, subject.scope),
        {
            "workspace": subject.workspace_id,
            **subject.values,
            "start": spans[0].start,
            "end": spans[-1].end,
            "edges": [span.start for span in spans],
        },
        SECONDS,
    )
    return [Change(names[place], int(start), int(amount), int(count)) for place, start, amount, count in rows]


async def _rates(
    store: Store, subject: Subject, metrics: Chosen, statement: Any, spans: Sequence[Span]
) -> list[Change]:
    """The changes of `RATED` and `RATE_BASE`, from which the engagement rate over targets is computed."""
    if not metrics.metrics:
        return []
    rows = await store.rows(
        "post_rates",
        statement(metrics, subject.scope),
        {
            "workspace": subject.workspace_id,
            **subject.values,
            "start": spans[0].start,
            "end": spans[-1].end,
            "edges": [span.start for span in spans],
        },
        SECONDS,
    )
    return [
        Change(name, int(start), int(amount), int(count))
        for start, engaged, base, count in rows
        for name, amount in ((RATED, engaged), (RATE_BASE, base))
    ]


async def read_published(store: Store, subject: Subject, span: Span, before: Span) -> tuple[Figures, Figures]:
    """Sums of the latest figures of targets published in a span, and of those published in the span before.

    Raises:
        ReadsUnavailable: ClickHouse did not answer within the deadline, or answered with an error.
    """
    rows = await store.rows(
        "published_totals",
        sql.published_totals(subject.scope),
        {
            "workspace": subject.workspace_id,
            **subject.values,
            "before": before.start,
            "start": span.start,
            "end": span.end,
        },
        SECONDS,
    )
    held = {bool(is_current): _totals(sums) for is_current, *sums in rows}
    return held.get(True, {}), held.get(False, {})


def _totals(row: Sequence[Any]) -> dict[str, int | None]:
    engaged, base, *sums = row
    found: dict[str, int | None] = {RATED: int(engaged), RATE_BASE: int(base)}
    for metric, amount, count in zip(POST_METRICS, sums[::2], sums[1::2], strict=True):
        is_known = int(count) == 1 if metric.kind is Kind.MEAN else int(count) > 0
        found[metric.name] = held_within(int(amount), metric.name) if is_known else None
    return found
