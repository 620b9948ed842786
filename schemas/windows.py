"""Totals of a channel over its trailing windows (24h, 7d, 28d): pure, shared by the writer and the reader.

A window with end E and length R covers posts with `E - R <= published_at < E`, so a post published at P is inside for
every end in `(P, P + R]`. Totals therefore stay the same between such instants; `valid_from` and `valid_until` are the
nearest two, and the totals are exact for every end with `valid_from < end <= valid_until`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from schemas.metrics import (
    CH_COMMENTS,
    CH_ENGAGEMENTS,
    CH_FOLLOWERS,
    CH_FOLLOWING,
    CH_IMPRESSIONS,
    CH_LIKES,
    CH_POSTS_COUNT,
    CH_PROFILE_VIEWS,
    CH_REACH,
    CH_SAVES,
    CH_SHARES,
    CH_VIEWS,
    CH_WATCH_TIME,
    COMMENTS,
    IMPRESSIONS,
    LIKES,
    NO_POST_SUMS,
    POST_METRICS,
    REACH,
    SAVES,
    SHARES,
    VIEWS,
    WATCH_TIME,
    WINDOW_METRICS,
    Values,
    bounded,
    engagement_rate,
    engagements,
    post_engagements,
    total,
    total_engagement_rate,
)

HOUR = 3_600_000
DAY = 24 * HOUR
RANGES: dict[str, int] = {"24h": DAY, "7d": 7 * DAY, "28d": 28 * DAY}
"""Length of each window in milliseconds, by its public name."""

LONGEST_RANGE = RANGES["28d"]
# The platform's own days may be this old and still count as "the last days".
NATIVE_MAX_AGE = 72 * HOUR

# Positions of a channel's figures among the figures of a window.
_NATIVE_SUMS = (
    (CH_VIEWS, VIEWS),
    (CH_IMPRESSIONS, IMPRESSIONS),
    (CH_LIKES, LIKES),
    (CH_COMMENTS, COMMENTS),
    (CH_SHARES, SHARES),
    (CH_SAVES, SAVES),
    (CH_WATCH_TIME, WATCH_TIME),
)
_INTERACTIONS = (LIKES, COMMENTS, SHARES, SAVES)
FOLLOWERS = [metric.name for metric in WINDOW_METRICS].index("followers")


class ChannelPeriod(NamedTuple):
    """A channel's latest figures of one period.

    Attributes:
        period: `lifetime`, `day` or `window`.
        start: ms; None for lifetime.
        end: ms, exclusive; None for lifetime.
        values: in the order of CHANNEL_METRICS.
    """

    period: str
    start: int | None
    end: int | None
    values: Values


class WindowTarget(NamedTuple):
    """A target's publishing time, ms, and its latest figures in the order of POST_METRICS."""

    published_at: int
    values: Values


class WindowTotals(NamedTuple):
    """Totals of one channel over one window.

    Attributes:
        source: `channel`, `posts` or `none`.
        start: ms, inclusive.
        end: ms, exclusive.
        values: in the order of WINDOW_METRICS; gauges are the latest known, whatever the source.
        engagements: engagements in the window.
        engagement_rate: the rate of the channel's own figures, where its engagements are made of them alone; else the
            rate over the window's posts.
        native: names of the totals that the platform reported; all others are sums over posts within the same bounds.
        views_or_impressions: sum over targets, of views or, where a target lacks views, of impressions.
        impressions_or_views: sum over targets, of impressions or, where a target lacks impressions, of views.
        valid_from: the totals are exact for ends after this instant, ms; None: for all earlier ends.
        valid_until: the totals are exact for ends up to and including this instant, ms; None: until figures change.
    """

    source: str
    start: int
    end: int
    values: Values
    engagements: int | None
    engagement_rate: float | None
    native: tuple[str, ...]
    views_or_impressions: int | None
    impressions_or_views: int | None
    valid_from: int | None
    valid_until: int | None

    @property
    def has_native_engagements(self) -> bool:
        """Whether the engagements, and so their rate, are made of the platform's own figures alone."""
        return "engagements" in self.native or _are_told(
            {place for place in _INTERACTIONS if POST_METRICS[place].name in self.native}, self.values
        )


class _Native(NamedTuple):
    start: int
    end: int
    values: Values


def window_totals(
    targets: Iterable[WindowTarget],
    periods: Sequence[ChannelPeriod],
    range_ms: int,
    end: int,
    *,
    is_measured: bool,
) -> WindowTotals:
    """Totals of a channel over one window; see `all_window_totals`.

    Args:
        range_ms: length of the window.
    """
    (totals,) = all_window_totals(targets, periods, (range_ms,), end, is_measured=is_measured)
    return totals


def all_window_totals(
    targets: Iterable[WindowTarget],
    periods: Sequence[ChannelPeriod],
    ranges: Sequence[int],
    end: int,
    *,
    is_measured: bool,
) -> list[WindowTotals]:
    """Totals of a channel over each `[end - range, end)`.

    Args:
        targets: the channel's targets with a publishing time; those that no window near `end` can hold may be left
            out. Unordered.
        periods: the channel's latest figures, any order.
        ranges: lengths of the windows, ms, ascending.
        end: the instant of the answer, ms.
        is_measured: whether any target of the channel was ever measured, inside the window or outside.

    Returns:
        For each window the platform's own figures where they cover it (`channel`), with the sums of the posts within
        the same bounds for figures that it does not report; else the sums of the window's posts (`posts`), else `none`.
    """
    gauges = _gauges(periods)
    # The platform's own figures can be used from the end of their period until 72 h later.
    instants = [
        instant
        for period in periods
        if period.end is not None and period.period != "lifetime"
        for instant in (period.end - 1, period.end + NATIVE_MAX_AGE)
    ]
    # Sorted once: the posts of a window are a slice, which begins with those of the shorter windows' slices.
    ordered = sorted(targets, key=_PUBLISHED)
    times, values = [target[0] for target in ordered], [target[1] for target in ordered]
    past = added_from = bisect_left(times, end)
    sums, firsts = NO_POST_SUMS, _NO_FIRSTS
    found: list[WindowTotals] = []
    for range_ms in ranges:
        native = _native(periods, range_ms, end)
        if native is not None:
            inside = values[bisect_left(times, native.start) : bisect_left(times, native.end)]
            found.append(_native_totals(native, inside, gauges, *_nearest(instants, end)))
            continue
        start = end - range_ms
        first = bisect_left(times, start)
        added = values[first:added_from]
        sums, firsts, added_from = sums.plus(added), firsts.plus(added), first
        # Of the posts' instants only those next to the window's bounds can be the nearest.
        entered, left = times[past - 1 : past + 1] if past else times[:1], times[max(0, first - 1) : first + 1]
        valid_from, valid_until = _nearest([*instants, *entered, *(time + range_ms for time in left)], end)
        total = sums.total
        found.append(
            WindowTotals(
                source="posts" if is_measured else "none",
                start=start,
                end=end,
                values=total + gauges,
                engagements=post_engagements(total),
                engagement_rate=sums.engagement_rate,
                native=(),
                views_or_impressions=_within(firsts.views),
                impressions_or_views=_within(firsts.impressions),
                # Targets too old for any window may be missing, and so may their instants: never reach back more than
                # a day.
                valid_from=max(valid_from if valid_from is not None else 0, end - DAY),
                valid_until=valid_until,
            )
        )
    return found


class _Firsts(NamedTuple):
    """Sums of views, or of impressions where a target lacks views, and the other way round; not yet bounded."""

    views: int | None
    impressions: int | None

    def plus(self, parts: Sequence[Values]) -> _Firsts:
        """These sums with those of further targets."""
        return _Firsts(
            _sum_first(self.views, parts, VIEWS, IMPRESSIONS), _sum_first(self.impressions, parts, IMPRESSIONS, VIEWS)
        )


_NO_FIRSTS = _Firsts(None, None)
_PUBLISHED = itemgetter(0)


def _nearest(instants: Iterable[int], end: int) -> tuple[int | None, int | None]:
    """The last instant before `end`, and the first instant at or after it."""
    before: int | None = None
    after: int | None = None
    for instant in instants:
        if instant < end:
            if before is None or instant > before:
                before = instant
        elif after is None or instant < after:
            after = instant
    return before, after


def _gauges(periods: Sequence[ChannelPeriod]) -> tuple[int | None, int | None, int | None, int | None]:
    for period in periods:
        if period.period == "lifetime":
            values = period.values
            return values[CH_FOLLOWERS], values[CH_FOLLOWING], values[CH_POSTS_COUNT], None
    return None, None, None, None


def _sum_first(held: int | None, parts: Iterable[Values], first: int, second: int) -> int | None:
    """A sum with those of further targets, of one figure, or of a second figure where a target lacks the first."""
    shown = [part[second] if part[first] is None else part[first] for part in parts]
    if shown.count(None) == len(shown):
        return held
    return (held or 0) + sum(filter(None, shown))


def _within(value: int | None) -> int | None:
    return None if value is None else bounded(value)


def _has_views(values: Values) -> bool:
    return values[CH_VIEWS] is not None or values[CH_IMPRESSIONS] is not None


def _native(periods: Sequence[ChannelPeriod], range_ms: int, end: int) -> _Native | None:
    """The platform's own figures for the window: a figure for the whole window, else those of its last whole days."""
    whole: dict[tuple[int, int], Values] = {}
    days: dict[int, tuple[int, Values]] = {}
    for period in periods:
        if (
            period.start is None
            or period.end is None
            or period.end > end
            or end - period.end > NATIVE_MAX_AGE + 60 * DAY
        ):
            continue
        if period.period == "window":
            whole[(period.start, period.end)] = period.values
        elif period.period == "day" and _has_views(period.values):
            days[period.end] = (period.start, period.values)
    fitting = [
        (last, first)
        for (first, last), values in whole.items()
        # In a zone with summer time a day may have 23 or 25 hours.
        if abs(last - first - range_ms) <= HOUR and end - last <= NATIVE_MAX_AGE and _has_views(values)
    ]
    if fitting:
        last, first = max(fitting)
        return _Native(first, last, whole[(first, last)])
    return _native_days(days, whole, range_ms // DAY, end)


def _native_days(
    days: dict[int, tuple[int, Values]], whole: dict[tuple[int, int], Values], length: int, end: int
) -> _Native | None:
    if not days:
        return None
    last = max(days)
    if end - last > NATIVE_MAX_AGE:
        return None
    covered: list[Values] = []
    first = last
    for _ in range(length):
        end_before = _day_end(days, first)
        if end_before is None:
            return None
        first, values = days[end_before]
        covered.append(values)
    sums: list[int | None] = [None] * len(covered[0])
    for values in covered:
        for index, value in enumerate(values):
            if value is not None:
                held = sums[index]
                sums[index] = value if held is None else bounded(held + value)
    # Unique people can't be summed over days, so reach comes only from a figure for the whole span.
    exact = whole.get((first, last)) or (covered[0] if length == 1 else None)
    sums[CH_REACH] = exact[CH_REACH] if exact is not None else None
    return _Native(first, last, tuple(sums))


def _day_end(days: dict[int, tuple[int, Values]], instant: int) -> int | None:
    """The end of the day that ends at an instant; without such a day, of the last day that ends within an hour of it.

    A platform whose days end at the same hour all year is an hour off on one side of a change to summer time.
    """
    if instant in days:
        return instant
    return max((end for end in days if abs(end - instant) <= HOUR), default=None)


def _are_told(told: Container[int], figures: Sequence[int | None]) -> bool:
    """Whether the platform reports every interaction that is known; False where none is known.

    An interaction that neither the platform nor any post has (saves on YouTube) adds nothing to the engagements.
    """
    shown = [place for place in _INTERACTIONS if figures[place] is not None]
    return bool(shown) and all(place in told for place in shown)


def _native_totals(
    native: _Native,
    inside: Sequence[Values],
    gauges: tuple[int | None, int | None, int | None, int | None],
    valid_from: int | None,
    valid_until: int | None,
) -> WindowTotals:
    """Totals of a window: the platform's own figures, and sums over posts for figures that it does not report."""
    told: dict[int, int] = {}
    for source, place in (*_NATIVE_SUMS, (CH_REACH, REACH)):
        figure = native.values[source]
        if figure is not None:
            told[place] = figure
    summed = total(inside)
    figures = tuple(told.get(place, value) for place, value in enumerate(summed))
    own = native.values[CH_ENGAGEMENTS]
    names = [POST_METRICS[place].name for place in told]
    if own is None:
        engaged = engagements(figures[LIKES], figures[COMMENTS], figures[SHARES], figures[SAVES])
    else:
        engaged = own
        names.append("engagements")
    if own is not None or _are_told(told, figures):
        # Computed from the channel's own figures alone, since posts' impressions are no divisor for them.
        rate = engagement_rate(engaged, told.get(IMPRESSIONS), told.get(REACH), told.get(VIEWS))
    else:
        rate = total_engagement_rate(inside)
    views, impressions = told.get(VIEWS), told.get(IMPRESSIONS)
    followers, following, posts_count, _ = gauges
    return WindowTotals(
        source="channel",
        start=native.start,
        end=native.end,
        values=(*figures, followers, following, posts_count, native.values[CH_PROFILE_VIEWS]),
        engagements=engaged,
        engagement_rate=rate,
        native=tuple(names),
        views_or_impressions=views if views is not None else impressions,
        impressions_or_views=impressions if impressions is not None else views,
        valid_from=valid_from,
        valid_until=valid_until,
    )
