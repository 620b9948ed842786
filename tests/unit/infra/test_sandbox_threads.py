"""What is special about the sandbox's Threads."""

from __future__ import annotations

from itertools import pairwise

import pytest

from infra.sandbox.curves import period_value
from schemas.events import RawKind
from schemas.metrics import CHANNEL_NAMES
from services.platforms import platform
from services.platforms.base import Call, ChannelReading, Outcome
from tests.unit.infra.test_sandbox_routes import ACCOUNT, NOW, SEED, Bench, bench, channel_of, shown, target

__all__ = ["bench"]
NAME = "threads"


@pytest.mark.parametrize(("peculiar", "outcome"), [("gone", Outcome.TARGET_GONE), ("repost", Outcome.OK)])
async def test_posts_without_figures(bench: Bench, peculiar: str, outcome: Outcome) -> None:
    asked = target(NAME, 1, peculiar)
    (call,) = platform(NAME).post_calls(channel_of(NAME), [asked], NOW)
    _, verdict, reading = await bench.call(NAME, call)
    assert verdict.outcome is outcome
    assert verdict.refused_target == (asked.external_id if outcome is Outcome.TARGET_GONE else None)
    assert not reading.posts


async def test_views_can_be_missing(bench: Bench) -> None:
    (call,) = platform(NAME).post_calls(channel_of(NAME), [target(NAME, 1, "no_views")], NOW)
    _, _, reading = await bench.call(NAME, call)
    assert shown(reading)["views"] is None
    assert shown(reading)["likes"] is not None


async def test_profile_views_by_day_and_totals_of_the_window(bench: Bench) -> None:
    channels: list[ChannelReading] = []
    for call in platform(NAME).channel_calls(channel_of(NAME), NOW):
        _, _, reading = await bench.call(NAME, call)
        channels += reading.channels
    views = CHANNEL_NAMES.index("profile_views")
    days = [channel for channel in channels if channel.values[views] is not None]
    assert len(days) == 28
    assert all(first.period_end == second.period_start for first, second in pairwise(days))
    for day in days:
        assert day.period == "day"
        assert day.period_start is not None
        assert day.period_end is not None
        assert day.values[views] == period_value(SEED, NAME, ACCOUNT[NAME], "views", day.period_start, day.period_end)
    assert [channel.period for channel in channels if channel.values[CHANNEL_NAMES.index("likes")] is not None] == [
        "day",
        "window",
        "window",
    ]


@pytest.mark.parametrize(
    "query",
    [
        (("metric", "saves"),),
        (),
        (("metric", "followers_count"), ("since", "1795075200")),
        (("metric", "likes"), ("since", "1600000000")),
    ],
)
async def test_wrong_questions_are_refused(bench: Bench, query: tuple[tuple[str, str], ...]) -> None:
    path = f"/v1.0/{ACCOUNT[NAME]}/threads_insights"
    _, verdict, _ = await bench.call(NAME, Call(RawKind.CHANNEL_METRICS, "GET", path, query))
    assert verdict.outcome is Outcome.REQUEST_WRONG
