"""Windows of a channel: which of the platform's own days make one."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.metrics import (
    AVG_WATCH_TIME,
    CH_VIEWS,
    CHANNEL_NAMES,
    IMPRESSIONS,
    NO_CHANNEL_VALUES,
    POST_METRICS,
    POST_NAMES,
    VIEWS,
    WATCH_TIME,
    post_engagements,
    rated,
    total_engagement_rate,
)
from schemas.windows import (
    DAY,
    HOUR,
    RANGES,
    ChannelPeriod,
    WindowTarget,
    WindowTotals,
    all_window_totals,
    window_totals,
)

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


INTERACTIONS = ("likes", "comments", "shares", "saves")
FEW = st.integers(0, 9)
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


def test_an_interaction_that_nobody_has_leaves_the_rate_the_platforms_own() -> None:
    """YouTube reports views, likes, comments and shares; neither it nor its videos have saves."""
    video = posted(MIDNIGHT - HOUR, views=300, likes=30, comments=3)
    own = window(views=7000, likes=100, comments=30, shares=10)
    for posts in ([video], []):
        found = window_totals(posts, [own], DAY, MIDNIGHT + HOUR, is_measured=True)
        assert (found.engagements, found.engagement_rate) == (140, 140 / 7000)
        assert found.has_native_engagements


@pytest.mark.hypothesis
@given(
    st.dictionaries(st.sampled_from(["views", "impressions", "reach", *INTERACTIONS, "engagements"]), FEW),
    st.dictionaries(st.sampled_from(["views", "impressions", "reach", *INTERACTIONS]), FEW),
)
def test_the_rate_is_of_the_platforms_figures_where_the_engagements_are(
    told: dict[str, int], known: dict[str, int]
) -> None:
    """Against the definition: engagements of the platform's alone are divided by a figure of the platform's alone."""
    told = {"views": 0, **told}
    post = posted(MIDNIGHT - HOUR, **known)
    found = window_totals([post], [window(**told)], DAY, MIDNIGHT, is_measured=True)
    parts = [name for name in INTERACTIONS if name in told or name in known]
    is_native = "engagements" in told or (bool(parts) and all(name in told for name in parts))
    if is_native:
        engaged = told.get("engagements", sum(told.get(name, 0) for name in INTERACTIONS))
        base = next((told[name] for name in ("impressions", "reach", "views") if told.get(name, 0) > 0), None)
        expected = None if base is None else engaged / base
    else:
        expected = total_engagement_rate([post.values])
    assert (found.engagement_rate, found.has_native_engagements) == (expected, is_native)


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


def _sum(told: Iterable[int | None]) -> int | None:
    known = [value for value in told if value is not None]
    return max(-(2**63), min(2**63 - 1, sum(known))) if known else None


def _expected(posts: list[WindowTarget], length: int, end: int) -> WindowTotals:
    """The totals of a window without figures of the platform's own, as the definitions say them."""
    inside = [post.values for post in posts if end - length <= post.published_at < end]
    values = [_sum(part[place] for part in inside) for place in range(len(POST_NAMES))]
    if sum(part[AVG_WATCH_TIME] is not None for part in inside) > 1:
        values[AVG_WATCH_TIME] = None
    for place in (WATCH_TIME, AVG_WATCH_TIME):
        value = values[place]
        if value is not None:
            values[place] = max(-(10**18 - 1), min(10**18 - 1, value))
    rates = [pair for part in inside if (pair := rated(part)) is not None]
    instants = [instant for post in posts for instant in (post.published_at, post.published_at + length)]
    return WindowTotals(
        source="posts",
        start=end - length,
        end=end,
        values=(*values, None, None, None, None),
        engagements=post_engagements(values),
        engagement_rate=sum(pair[0] for pair in rates) / sum(pair[1] for pair in rates) if rates else None,
        native=(),
        views_or_impressions=_sum(part[IMPRESSIONS] if part[VIEWS] is None else part[VIEWS] for part in inside),
        impressions_or_views=_sum(part[VIEWS] if part[IMPRESSIONS] is None else part[IMPRESSIONS] for part in inside),
        valid_from=max((instant for instant in instants if end - DAY <= instant < end), default=end - DAY),
        valid_until=min((instant for instant in instants if instant >= end), default=None),
    )


_FIGURE = st.none() | st.integers(0, 5) | st.integers(-(2**63), 2**63 - 1)
_MILLIS = st.none() | st.integers(0, 5) | st.integers(-(10**18 - 1), 10**18 - 1)
_AGE = st.sampled_from([0, 1, -1, HOUR, DAY - 1, DAY, DAY + 1, 7 * DAY, 7 * DAY + 1, 28 * DAY - 1, 28 * DAY, 29 * DAY])


@pytest.mark.hypothesis
@given(
    st.lists(
        st.builds(
            WindowTarget,
            _AGE.map(lambda age: MIDNIGHT - age) | st.integers(MIDNIGHT - 30 * DAY, MIDNIGHT + DAY),
            st.tuples(*(_MILLIS if metric.is_duration else _FIGURE for metric in POST_METRICS)),
        ),
        max_size=24,
    )
)
def test_all_windows_at_once_are_each_as_defined(posts: list[WindowTarget]) -> None:
    lengths = list(RANGES.values())
    found = all_window_totals(posts, [], lengths, MIDNIGHT, is_measured=True)
    assert found == [_expected(posts, length, MIDNIGHT) for length in lengths]
    assert found == [window_totals(posts, [], length, MIDNIGHT, is_measured=True) for length in lengths]


def test_a_window_of_the_platform_leaves_the_posts_of_the_longer_ones_alone() -> None:
    posts = [*POSTS, posted(MIDNIGHT - 3 * DAY, likes=2), posted(MIDNIGHT - 20 * DAY, likes=1)]
    own = window(length=7 * DAY, likes=900, views=1)
    found = all_window_totals(posts, [own], list(RANGES.values()), MIDNIGHT, is_measured=True)
    assert [totals.source for totals in found] == ["posts", "channel", "posts"]
    assert [totals.values[POST_NAMES.index("likes")] for totals in found] == [34, 900, 1037]
