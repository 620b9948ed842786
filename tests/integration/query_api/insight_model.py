"""Random histories for insights, and insights worked out the slow way, target by target."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from statistics import median
from zoneinfo import ZoneInfo

from tests.integration.query_api.histories import DAY, HOUR, Answered, History

AGES = tuple(age * HOUR for age in (1, 3, 6, 12, 24, 48, 72, 168, 336, 672, 1344, 2160))
PARTS = {"engagements": ("likes", "comments", "shares", "saves"), "views": ("views",), "reach": ("reach",)}
SAID = ("likes", "comments", "shares", "saves", "views", "reach")


def aging_history(random: Random, number: int, start: int) -> History:
    """A target that was published at one of few hours of two weeks, with answers about each of the ages."""
    published = start + random.randrange(14) * DAY + random.choice((1, 9, 17)) * HOUR + random.randrange(HOUR)
    history = History(f"t{number}", f"p{number // 2}", f"c{number % 2}", published)
    size = random.choice((5, 40, 200, 3000))
    for place, age in enumerate(AGES[:11]):
        if random.random() < 0.15:
            continue
        back = max(HOUR, age // 4)
        # Inside, outside, and on both edges of the time in which an answer counts for its age.
        for at in random.sample((0, back, back - 1, -1, random.randrange(back), random.randrange(back * 2)), 2):
            said = random.sample(SAID, random.randrange(2, len(SAID) + 1))
            history.answers.append(
                Answered(
                    f"e{random.randrange(1000):03d}-{number}-{place}-{at}",
                    published + age - at,
                    {
                        name: None if random.random() < 0.05 else random.randrange(size) * (place + 1) // 10
                        for name in said
                    },
                    frozenset(name for name in said if random.random() < 0.1),
                )
            )
    return history


def figure_at(history: History, metric: str, age: int) -> int | None:
    """A target's figure at an age."""
    found = [_part_at(history, name, age) for name in PARTS[metric]]
    known = [value for value in found if value is not None]
    return sum(known) if known else None


def _part_at(history: History, name: str, age: int) -> int | None:
    until = history.published_at + age
    held = [
        answer
        for answer in history.answers
        if answer.at <= until and name in answer.figures and name not in answer.ranged
    ]
    if not held:
        return None
    latest = max(held, key=lambda answer: answer.order)
    return latest.figures[name] if latest.at > until - max(HOUR, age // 4) else None


Cells = dict[tuple[int, int], tuple[int, int, float | None]]
"""By weekday and hour: posts, targets and the score."""


def best_times(histories: Sequence[History], metric: str, age: int, tz: ZoneInfo) -> Cells:
    """What posts of each hour of the week earned."""
    by_channel: dict[str, list[tuple[History, int]]] = defaultdict(list)
    for history in histories:
        value = figure_at(history, metric, age)
        if value is not None:
            by_channel[history.channel_id].append((history, value))
    cells: dict[tuple[int, int], list[tuple[str, float]]] = defaultdict(list)
    for held in by_channel.values():
        usual = median(value for _, value in held)
        if len(held) < 5 or usual <= 0:
            continue
        for history, value in held:
            local = datetime.fromtimestamp(history.published_at / 1000, UTC).astimezone(tz)
            cells[(local.isoweekday(), local.hour)].append((history.post_id, value / usual))
    return {
        cell: (
            len({post for post, _ in held}),
            len(held),
            median(ratio for _, ratio in held) if len({post for post, _ in held}) >= 3 else None,
        )
        for cell, held in cells.items()
    }


def decay(histories: Sequence[History], metric: str, base: int) -> list[tuple[int, int, int, float | None]]:
    """For each age: its hours, posts, targets and the share of the figure at the base."""
    rows = []
    for age in [*(one for one in AGES if one < base), base]:
        shares = [
            (history.post_id, value / whole)
            for history in histories
            if (whole := figure_at(history, metric, base) or 0) > 0
            and (value := figure_at(history, metric, age)) is not None
        ]
        share = median(one for _, one in shares) if len(shares) >= 5 else None
        rows.append((age // HOUR, len({post for post, _ in shares}), len(shares), share))
    return rows


def unusual(
    histories: Sequence[History], metric: str, factor: float, now: int
) -> dict[str, tuple[int, int, float, int]]:
    """By target: its age in hours, its figure, the usual figure, and the targets behind the usual."""
    found = {}
    for history in histories:
        age = max(age for age in AGES if history.published_at + age <= now)
        value = figure_at(history, metric, age)
        others = [
            other
            for one in histories
            if one.channel_id == history.channel_id and one.published_at + age <= now
            if (other := figure_at(one, metric, age)) is not None
        ]
        if value is None or len(others) < 5:
            continue
        usual = median(others)
        if usual > 0 and max(value, usual) >= 10 and (value >= usual * factor or value * factor <= usual):
            found[history.target_id] = (age // HOUR, value, usual, len(others))
    return found


def falls(histories: Iterable[History], metric: str) -> set[tuple[str, str, int, int, str]]:
    """(target, metric, figure before, figure after, event) of each counter that fell."""
    found = set()
    for history in histories:
        for name in PARTS[metric]:
            known = [
                (answer.event_id, value)
                for answer in sorted(history.answers, key=lambda held: held.order)
                if name not in answer.ranged and (value := answer.figures.get(name)) is not None
            ]
            for (_, before), (event_id, value) in pairwise(known):
                if value < before:
                    found.add((history.target_id, name, before, value, event_id))
    return found
