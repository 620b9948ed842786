"""From changes in ClickHouse's words to a series: one value a bucket and metric. Pure.

The rule of growth, computed by `sql.growth`: two answers of one target that follow each other in (captured_at,
event_id) and give a lifetime figure make a difference, counted in the bucket of the later one. A figure that fell
counts 0, and the next difference starts from the lower figure: a platform that corrects a count takes nothing back of
what was received in other buckets, and what grows after the correction is seen at once instead of only above the old
height. Levels such as followers count as they are, falls included. A target's first figure is only something to start
from, but counts from 0 if the target went out within the span asked for, or at most a day before that answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.query_api.tidemark.analysis.figures import Figures, held_within
from services.query_api.tidemark.analysis.ranges import Span


class Change(NamedTuple):
    """What happened to one metric of all targets within one bucket.

    Attributes:
        start: of the bucket, ms; anything earlier is before the first.
        amount: sum of differences.
        known: by how many more of the targets the metric is known (cumulative), or how many differences there were.
    """

    metric: str
    start: int
    amount: int
    known: int


def cumulative(
    changes: Iterable[Change], spans: Sequence[Span], means: frozenset[str], now: int
) -> list[dict[str, int | None]]:
    """Each metric's value at the end of each bucket.

    Args:
        means: metrics that are a total's only where exactly one target has them.
        now: buckets that begin later are not known yet, ms.
    """
    by_start = _by_start(changes, spans)
    amounts: dict[str, int] = defaultdict(int)
    counts: dict[str, int] = defaultdict(int)
    points = []
    for start in (spans[0].start - 1, *(span.start for span in spans)):
        for entry in by_start.get(start, ()):
            amounts[entry.metric] += entry.amount
            counts[entry.metric] += entry.known
        is_known = start <= now
        points.append(
            {
                name: held_within(amount, name)
                if is_known and (counts[name] == 1 if name in means else counts[name] > 0)
                else None
                for name, amount in amounts.items()
            }
        )
    return points[1:]


def increments(changes: Iterable[Change], spans: Sequence[Span]) -> list[dict[str, int | None]]:
    """Each metric's growth within each bucket; absent where there was no difference."""
    by_start = _by_start(changes, spans)
    return [
        {
            entry.metric: held_within(entry.amount, entry.metric)
            for entry in by_start.get(span.start, ())
            if entry.known > 0
        }
        for span in spans
    ]


def _by_start(changes: Iterable[Change], spans: Sequence[Span]) -> dict[int, list[Change]]:
    found: dict[int, list[Change]] = defaultdict(list)
    for entry in changes:
        found[max(entry.start, spans[0].start - 1)].append(entry)
    return found


def merged(series: Sequence[Sequence[Figures]]) -> list[dict[str, int | None]]:
    """Several series of the same buckets as one; each has metrics of its own."""
    return [{name: value for part in parts for name, value in part.items()} for parts in zip(*series, strict=True)]
