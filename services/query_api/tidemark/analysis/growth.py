"""Makes a series of the changes that ClickHouse computed: one value for each bucket and metric. Pure.

The rule of growth, which `steps.post_growth` computes: two successive answers of one target, by
(captured_at, event_id), that hold a lifetime figure make a difference, and the difference counts in the bucket of the
later answer. A figure that fell counts 0, and the next difference starts from the lower figure. So a platform's
correction takes nothing away from other buckets, and growth after the correction counts at once. Differences of levels
such as followers count with their sign. A target's first figure makes no difference, except for a target that was
published within the span, or at most a day before the first answer: its first figure counts from 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.query_api.tidemark.analysis.figures import Figures, held_within
from services.query_api.tidemark.analysis.ranges import Span


class Change(NamedTuple):
    """The change of one metric over all targets within one bucket.

    Attributes:
        metric: the metric's name.
        start: the bucket's start, ms; an earlier instant stands for all time before the first bucket.
        amount: the sum of differences.
        known: for cumulative series, by how many targets the number of targets with a known figure changed; for
            increments, the number of differences.
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
        means: metrics whose total is known only if exactly one target has the figure.
        now: the values of buckets that begin later are None, ms.
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
    """Each metric's growth within each bucket; a metric without a difference is left out."""
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
    """Several series over the same buckets as one series; each has metrics of its own."""
    return [{name: value for part in parts for name, value in part.items()} for parts in zip(*series, strict=True)]
