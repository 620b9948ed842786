"""Windows of a channel: which of the platform's own days make one."""

from __future__ import annotations

import pytest

from schemas.metrics import CH_VIEWS, CHANNEL_NAMES, NO_CHANNEL_VALUES, POST_NAMES, VIEWS
from schemas.windows import DAY, HOUR, ChannelPeriod, WindowTarget, window_totals

# A midnight; days that are told end at it or a few days before.
MIDNIGHT = 20_000 * DAY


def day(start: int, end: int) -> ChannelPeriod:
    values = list(NO_CHANNEL_VALUES)
    values[CH_VIEWS] = 10
    return ChannelPeriod("day", start, end, tuple(values))


@pytest.mark.parametrize("shift", [-HOUR, 0, HOUR])
def test_a_change_of_the_clock_leaves_no_gap(shift: int) -> None:
    # Days before the change end an hour off the midnight at which the first day after it begins.
    after = [day(MIDNIGHT - (n + 1) * DAY, MIDNIGHT - n * DAY) for n in range(3)]
    before = [day(MIDNIGHT - (n + 1) * DAY + shift, MIDNIGHT - n * DAY + shift) for n in range(3, 7)]
    found = window_totals([], [*before, *after], 7 * DAY, MIDNIGHT + HOUR, is_measured=False)
    assert (found.source, found.start, found.end) == ("channel", MIDNIGHT - 7 * DAY + shift, MIDNIGHT)
    assert found.values[VIEWS] == 70


def test_a_missing_day_makes_no_window() -> None:
    days = [day(MIDNIGHT - (n + 1) * DAY, MIDNIGHT - n * DAY) for n in range(8) if n != 3]
    found = window_totals([], days, 7 * DAY, MIDNIGHT + HOUR, is_measured=True)
    assert found.source == "posts"
    assert window_totals([], days, DAY, MIDNIGHT + HOUR, is_measured=True).source == "channel"


def window(end: int = MIDNIGHT, length: int = DAY, **told: int) -> ChannelPeriod:
    return ChannelPeriod("window", end - length, end, tuple(told.get(name) for name in CHANNEL_NAMES))


def posted(at: int, **known: int) -> WindowTarget:
    return WindowTarget(at, tuple(known.get(name) for name in POST_NAMES))


POSTS = [
    posted(MIDNIGHT - DAY, likes=30, comments=3, reach=100, impressions=50),  # at the start: inside
    posted(MIDNIGHT - HOUR, likes=4, video_views=9),
    posted(MIDNIGHT, likes=1000, reach=1000),  # at the end: outside
    posted(MIDNIGHT - DAY - 1, likes=1000, reach=1000),
]


@pytest.mark.parametrize("late", [HOUR, 71 * HOUR])
def test_what_a_page_does_not_tell_is_the_sum_of_its_posts_within_the_same_bounds(late: int) -> None:
    own = window(views=5000, engagements=1965)
    found = window_totals(POSTS, [own], DAY, MIDNIGHT + late, is_measured=True)
    assert (found.source, found.start, found.end) == ("channel", MIDNIGHT - DAY, MIDNIGHT)
    shown = dict(zip(POST_NAMES, found.values, strict=False))
    assert (shown["views"], found.engagements) == (5000, 1965)
    assert (shown["likes"], shown["comments"], shown["shares"], shown["reach"]) == (34, 3, None, 100)
    assert (shown["impressions"], shown["video_views"]) == (50, 9)
    assert found.native == ("views", "engagements")
    # Of the channel's own figures, not of its engagements over its posts' impressions.
    assert found.engagement_rate == 1965 / 5000
    assert (found.views_or_impressions, found.impressions_or_views) == (5000, 5000)


def test_engagements_that_a_platform_does_not_tell_are_of_what_is_shown() -> None:
    found = window_totals(POSTS, [window(views=5000, comments=7)], DAY, MIDNIGHT + HOUR, is_measured=True)
    assert found.engagements == 34 + 7
    assert found.native == ("views", "comments")
    assert found.engagement_rate == 33 / 50, "of the posts that have one"


def test_a_window_of_posts_has_the_rate_of_those_that_have_one() -> None:
    found = window_totals(POSTS, [], DAY, MIDNIGHT, is_measured=True)
    assert (found.source, found.native) == ("posts", ())
    assert found.engagements == 37
    assert found.engagement_rate == 33 / 50


def test_every_total_that_is_told_is_native() -> None:
    """Whatever a platform tells of a window beside its views, and whatever it leaves out."""
    names = ("impressions", "reach", "likes", "comments", "shares", "saves", "watch_time_seconds", "engagements")
    for mask in range(1 << len(names)):
        told = {name: 10_000 + place for place, name in enumerate(names) if mask >> place & 1}
        found = window_totals(POSTS, [window(views=1, **told)], DAY, MIDNIGHT + HOUR, is_measured=True)
        assert set(found.native) == {"views", *told}
        shown = {**dict(zip(POST_NAMES, found.values, strict=False)), "engagements": found.engagements}
        assert {name: shown[name] for name in told} == told
        if "likes" not in told:
            assert shown["likes"] == 34
