"""The replies of insights: when posts do best, how they age, and what is unusual."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from tidemark_client.models import Answer


class Insight(Answer):
    """What every insight repeats of its question, and the least number of samples behind a figure."""

    metric: str
    channel_id: str | None
    start: datetime = Field(alias="from")
    end: datetime = Field(alias="to")
    tz: str
    minimum: dict[str, int]


class Cell(Answer):
    """An hour of the week: what its posts had against their channel's usual; 1 is as usual, None for too few posts."""

    weekday: int
    hour: int
    score: float | None
    posts: int
    targets: int


class BestTimes(Insight):
    """All hours of the week, Monday first."""

    age_hours: int
    cells: list[Cell]


class Age(Answer):
    """The share of the figure at the base age that posts have reached at an age; None for too few targets."""

    age_hours: int
    share: float | None
    posts: int
    targets: int


class Decay(Insight):
    """How fast posts reach the figure that they have after `base_days`."""

    base_days: int
    ages: list[Age]


class UnusualPost(Answer):
    """A target whose figure is far from its channel's usual at the same age."""

    post_id: str
    target_id: str
    channel_id: str
    published_at: datetime
    age_hours: int
    value: int
    usual: float
    ratio: float
    direction: Literal["above", "below"]
    targets: int


class Fall(Answer):
    """A counter that fell from one answer to the next."""

    post_id: str
    target_id: str
    channel_id: str
    metric: str
    before: int
    value: int
    captured_at: datetime
    event_id: str


class LatePoll(Answer):
    """A target whose poll is late by more than its interval."""

    post_id: str
    target_id: str
    channel_id: str
    platform: str
    tier: str | None
    captured_at: datetime | None
    next_poll_at: datetime
    late_seconds: int


class Unusual(Insight):
    """What is out of the ordinary."""

    factor: float
    posts: list[UnusualPost]
    falls: list[Fall]
    late: list[LatePoll]
