"""Reads changes and totals of figures from ClickHouse, for series and for totals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from schemas.metrics import CHANNEL_METRICS, POST_METRICS, Kind
from services.query_api.reads.sources import Store
from services.query_api.tidemark.analysis import sql, steps
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

# The deadline of a query: a workspace of 100,000 posts with two million answers takes a second on two idle cores.
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

    @classmethod
    def workspace(cls, workspace_id: str, channel_ids: Sequence[str] | None) -> Self:
        """The workspace, or only the named channels of it."""
        if channel_ids is None:
            return cls(workspace_id, Scope.WORKSPACE)
        return cls(workspace_id, Scope.CHANNELS, {"channels": list(channel_ids)})

    def choose(self, names: Sequence[str], *, is_growth: bool) -> tuple[Chosen, Chosen]:
        """The metrics to read of posts, and the metrics to read of the channel itself."""
        own = chosen(names if self.is_own else _OWN & set(names), CHANNEL_METRICS, is_growth=is_growth)
        return _NONE if self.is_own else chosen(names, POST_METRICS, is_growth=is_growth), own


async def read_series(
    store: Store,
    subject: Subject,
    names: Sequence[str],
    spans: Sequence[Span],
    *,
    is_growth: bool,
    now: int,
    opens: Sequence[int] = (),
) -> list[dict[str, int | None]]:
    """The figures that the named figures are computed from, one mapping for each bucket.

    Args:
        spans: the buckets; each begins where the bucket before ends.
        is_growth: read the growth within each bucket instead of the value at its end.
        now: ms.
        opens: of growth, the starts of the windows that buckets belong to; the first bucket's start if absent.

    Raises:
        ReadsUnavailable: ClickHouse did not answer within the deadline, or answered with an error.
    """
    of_posts, own = subject.choose(names, is_growth=is_growth)
    values = {
        "workspace": subject.workspace_id,
        **subject.values,
        "start": spans[0].start,
        "end": spans[-1].end,
        "edges": [span.start for span in spans],
        **({"opens": list(opens) or [spans[0].start]} if is_growth else {}),
    }
    is_rated = ENGAGEMENT_RATE in names and not subject.is_own
    found = await asyncio.gather(
        _of_posts(store, subject, of_posts, values, is_growth=is_growth, is_rated=is_rated),
        _of_channels(store, subject, own, values, is_growth=is_growth),
    )
    if is_growth:
        points = merged([increments(changes, spans) for changes in found])
    else:
        points = merged([cumulative(changes, spans, _MEANS, now) for changes in found])
    if is_rated:
        for point in points:
            point.setdefault(RATE_BASE, None)  # no target has a rate, so the total has none
    return points


async def _of_posts(
    store: Store, subject: Subject, metrics: Chosen, values: dict[str, Any], *, is_growth: bool, is_rated: bool
) -> list[Change]:
    if not metrics.metrics:
        return []
    # Most workspaces' platforms speak of few metrics, and each further column costs as much as these.
    ((spoken, ranged),) = await store.rows(
        "spoken_metrics", steps.spoken(subject.scope), {"workspace": subject.workspace_id, **subject.values}, SECONDS
    )
    told = metrics.within(int(spoken))
    if not told.metrics:
        return []
    statement = (steps.post_growth if is_growth else steps.post_changes)(
        told, subject.scope, int(ranged), is_rated=is_rated
    )
    rows = await store.rows("post_series", statement, values, SECONDS)
    return [change for row in rows for change in _changes(row, told, is_rated=is_rated)]


async def _of_channels(
    store: Store, subject: Subject, metrics: Chosen, values: dict[str, Any], *, is_growth: bool
) -> list[Change]:
    if not metrics.metrics:
        return []
    statement = (steps.channel_growth if is_growth else steps.channel_changes)(metrics, subject.scope)
    rows = await store.rows("channel_series", statement, values, SECONDS)
    return [change for row in rows for change in _changes(row, metrics, is_rated=False)]


def _changes(row: Sequence[Any], metrics: Chosen, *, is_rated: bool) -> Iterator[Change]:
    """The changes of one bucket, as the statements of `steps` order them."""
    start, *sums = row
    for number, name in enumerate(metrics.names):
        yield Change(name, int(start), int(sums[2 * number]), int(sums[2 * number + 1]))
    if is_rated:
        engaged, base, count = sums[2 * len(metrics.names) :]
        yield Change(RATED, int(start), int(engaged), int(count))
        yield Change(RATE_BASE, int(start), int(base), int(count))


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
