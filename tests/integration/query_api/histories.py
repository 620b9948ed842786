"""Random histories of targets and channels, and their series worked out the slow way, answer by answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from schemas.metrics import AVG_WATCH_TIME, POST_METRICS, POST_NAMES, Kind

DAY = 86_400_000
HOUR = 3_600_000
METRICS = ("likes", "views", "comments", "watch_time_seconds", "avg_watch_time_seconds", "reach")


@dataclass(frozen=True)
class Answered:
    """What one answer said of one target: figures by name, None for a hidden count.

    Attributes:
        ranged: names of the figures that are of a range of dates.
    """

    event_id: str
    at: int
    figures: dict[str, int | None]
    ranged: frozenset[str] = frozenset()

    @property
    def order(self) -> tuple[int, bytes]:
        return self.at, self.event_id.encode()


@dataclass
class History:
    """One target with all that was said of it."""

    target_id: str
    post_id: str
    channel_id: str
    published_at: int
    answers: list[Answered] = field(default_factory=list)


def random_history(random: Random, number: int, start: int, end: int) -> History:
    """Answers before, in and after a span; counters that fall, hidden counts, times that several share."""
    history = History(
        f"t{number}",
        f"p{number // 2}",
        f"c{number % 2}",
        random.choice([start - 9 * DAY, start - HOUR, start, start + 3 * DAY, start + 30 * HOUR]),
    )
    times = [random.randrange(start - 2 * DAY, end + DAY) for _ in range(random.randrange(12))]
    # On the edges of buckets, and a millisecond before them.
    times += [start + random.randrange(8) * DAY - random.randrange(2) for _ in range(random.randrange(4))]
    times += random.sample(times, min(len(times), 2))
    for place, at in enumerate(times):
        spoken = random.sample(METRICS, random.randrange(1, len(METRICS) + 1))
        history.answers.append(
            Answered(
                f"e{random.randrange(1000):03d}-{number}-{place}",
                at,
                {name: None if random.random() < 0.1 else random.randrange(2000) for name in spoken},
                frozenset(name for name in spoken if random.random() < 0.2),
            )
        )
    return history


def stood(answers: Iterable[Answered], metric: str, end: int) -> int | None:
    """The figure that counts at an instant: a lifetime one before any other, then the latest."""
    spoken = [answer for answer in answers if answer.at < end and metric in answer.figures]
    if not spoken:
        return None
    return max(spoken, key=lambda answer: (metric not in answer.ranged, answer.order)).figures[metric]


def cumulative(histories: Sequence[History], metric: str, end: int) -> int | None:
    """The sum over targets of the figures that count."""
    found = [stood(history.answers, metric, end) for history in histories]
    known = [value for value in found if value is not None]
    if not known or (metric == POST_NAMES[AVG_WATCH_TIME] and len(known) > 1):
        return None
    return sum(known)


def growth(histories: Sequence[History], metric: str, span: tuple[int, int], bucket: tuple[int, int]) -> int | None:
    """What the targets grew by within a bucket of a span."""
    kind = next(held.kind for held in POST_METRICS if held.name == metric)
    if kind in (Kind.UNIQUE, Kind.MEAN):
        return None
    found = [
        amount
        for history in histories
        for at, amount in _differences(history, metric, span[0])
        if bucket[0] <= at < bucket[1]
    ]
    return sum(found) if found else None


def _differences(history: History, metric: str, span_start: int) -> Iterable[tuple[int, int]]:
    had_lifetime = False
    last: tuple[int, bool] | None = None
    for answer in sorted(history.answers, key=lambda held: held.order):
        if metric not in answer.figures:
            continue
        is_ranged = metric in answer.ranged
        if is_ranged and had_lifetime:
            continue
        had_lifetime = had_lifetime or not is_ranged
        value = answer.figures[metric]
        if value is None:
            continue
        if last is None:
            if history.published_at >= span_start or answer.at - history.published_at <= DAY:
                yield answer.at, max(value, 0)
        elif last[1] == is_ranged:
            yield answer.at, max(value - last[0], 0)
        last = value, is_ranged


def rate(parts: Iterable[dict[str, int | None]]) -> float | None:
    """The engagement rate over targets: of those that have one, all engagements over all that they are divided by."""
    engaged = shown = 0
    for part in parts:
        known = [value for name in ("likes", "comments") if (value := part.get(name)) is not None]
        base = next((value for name in ("reach", "views") if (value := part.get(name) or 0) > 0), 0)
        if known and base:
            engaged, shown = engaged + sum(known), shown + base
    return engaged / shown if shown else None
