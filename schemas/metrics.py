"""The common metric columns: the one definition from which Avro fields, ClickHouse columns and API models follow.

A metric has a name, a unit and a kind, and the kind decides how values may be combined. All values are integers, so
that every sum is exact: counts as they are, durations as whole milliseconds. The edges (Avro, ClickHouse) turn
milliseconds into decimals of seconds. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from operator import itemgetter
from typing import NamedTuple

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1
# Decimal(18,3) holds 18 digits in all.
MILLIS_MAX = 10**18 - 1


class Kind(Enum):
    """The kind of a figure, which decides how values may be combined."""

    CUMULATIVE = "cumulative count"  # grows with the post; summed over targets; over time only as a difference
    UNIQUE = "unique count"  # people; never summed over time; over targets as the products' documents do
    DURATION = "cumulative duration"  # seconds; as a cumulative count
    MEAN = "mean"  # never summed; a total has it only where exactly one part has it
    GAUGE = "gauge"  # a level at an instant, such as followers; never summed over time


@dataclass(frozen=True, slots=True)
class Metric:
    """One common metric column.

    Attributes:
        name: column and field name.
        kind: how the figure may be combined.
        doc: one sentence for schema docs and column comments.
    """

    name: str
    kind: Kind
    doc: str

    @property
    def is_duration(self) -> bool:
        """Whether values are milliseconds inside and decimal seconds at the edges."""
        return self.name.endswith("_seconds")

    @property
    def summable(self) -> bool:
        """Whether a total over targets is the sum of the parts."""
        return self.kind is not Kind.MEAN

    @property
    def comment(self) -> str:
        """Column comment: meaning, kind, and what null means."""
        return f"{self.doc} Kind: {self.kind.value}. Null: the platform did not say."


POST_METRICS: tuple[Metric, ...] = (
    Metric("views", Kind.CUMULATIVE, "Times the post was viewed, by the platform's own definition."),
    Metric("impressions", Kind.CUMULATIVE, "Times the post was served."),
    Metric("reach", Kind.UNIQUE, "Unique accounts that saw the post."),
    Metric("likes", Kind.CUMULATIVE, "Likes, reactions or net votes."),
    Metric("dislikes", Kind.CUMULATIVE, "Dislikes."),
    Metric("comments", Kind.CUMULATIVE, "Comments or replies."),
    Metric("shares", Kind.CUMULATIVE, "Shares: reposts and quotes together where the platform reports both."),
    Metric("quotes", Kind.CUMULATIVE, "The part of shares that are quotes."),
    Metric("saves", Kind.CUMULATIVE, "Saves or bookmarks."),
    Metric("clicks", Kind.CUMULATIVE, "Clicks on the post's link, or on the post where only that is reported."),
    Metric("other_clicks", Kind.CUMULATIVE, "Clicks on anything else in the post."),
    Metric("profile_clicks", Kind.CUMULATIVE, "Clicks on the author's profile from the post."),
    Metric("follows", Kind.CUMULATIVE, "Follows or subscriptions gained from the post."),
    Metric("video_views", Kind.CUMULATIVE, "Video views, by the platform's own definition."),
    Metric("watch_time_seconds", Kind.DURATION, "Total time watched, in seconds."),
    Metric("avg_watch_time_seconds", Kind.MEAN, "Average time watched a view, in seconds."),
    Metric("poll_votes", Kind.CUMULATIVE, "Votes in the post's poll."),
)

CHANNEL_METRICS: tuple[Metric, ...] = (
    Metric("followers", Kind.GAUGE, "Followers or subscribers."),
    Metric("following", Kind.GAUGE, "Accounts that the channel follows."),
    Metric("posts_count", Kind.GAUGE, "Posts on the platform."),
    Metric("views", Kind.CUMULATIVE, "Views of the channel's content in the period."),
    Metric("impressions", Kind.CUMULATIVE, "Times the channel's content was served in the period."),
    Metric("reach", Kind.UNIQUE, "Unique accounts that saw the channel's content in the period."),
    Metric("profile_views", Kind.CUMULATIVE, "Views of the profile in the period."),
    Metric("engagements", Kind.CUMULATIVE, "Interactions in the period, by the platform's own definition."),
    Metric("likes", Kind.CUMULATIVE, "Likes or reactions in the period."),
    Metric("comments", Kind.CUMULATIVE, "Comments or replies in the period."),
    Metric("shares", Kind.CUMULATIVE, "Shares in the period."),
    Metric("saves", Kind.CUMULATIVE, "Saves in the period."),
    Metric("watch_time_seconds", Kind.DURATION, "Time watched in the period, in seconds."),
)

# Positions in the tuples above. A reading is a tuple of values in this order, and the metrics that an answer reports
# are a bit mask over the same positions; a test holds names and positions together.
(
    VIEWS, IMPRESSIONS, REACH, LIKES, DISLIKES, COMMENTS, SHARES, QUOTES, SAVES, CLICKS, OTHER_CLICKS,
    PROFILE_CLICKS, FOLLOWS, VIDEO_VIEWS, WATCH_TIME, AVG_WATCH_TIME, POLL_VOTES,
) = range(17)  # fmt: skip
(
    CH_FOLLOWERS, CH_FOLLOWING, CH_POSTS_COUNT, CH_VIEWS, CH_IMPRESSIONS, CH_REACH, CH_PROFILE_VIEWS,
    CH_ENGAGEMENTS, CH_LIKES, CH_COMMENTS, CH_SHARES, CH_SAVES, CH_WATCH_TIME,
) = range(13)  # fmt: skip

POST_NAMES: tuple[str, ...] = tuple(metric.name for metric in POST_METRICS)
CHANNEL_NAMES: tuple[str, ...] = tuple(metric.name for metric in CHANNEL_METRICS)

# Names of a channel window's figures: those of posts, and the gauges that only a channel has.
WINDOW_METRICS: tuple[Metric, ...] = POST_METRICS + tuple(
    metric for metric in CHANNEL_METRICS if metric.name in {"followers", "following", "posts_count", "profile_views"}
)

PLATFORMS: tuple[str, ...] = (
    "x", "linkedin", "instagram", "tiktok", "facebook", "threads", "bluesky", "youtube", "pinterest",
    "google_business", "reddit",
)  # fmt: skip

Values = tuple[int | None, ...]
"""One figure for each metric, in the order of POST_METRICS or CHANNEL_METRICS; None where unknown."""

NO_POST_VALUES: Values = (None,) * len(POST_METRICS)
NO_CHANNEL_VALUES: Values = (None,) * len(CHANNEL_METRICS)


def bounded(value: int) -> int:
    """A sum kept within 64 bits: beyond them it becomes the bound, so that no figure can stop a tenant's stream."""
    return value if INT64_MIN <= value <= INT64_MAX else INT64_MAX if value > 0 else INT64_MIN


def engagements(likes: int | None, comments: int | None, shares: int | None, saves: int | None) -> int | None:
    """Add up the four interactions, nulls as 0; None when all four are None."""
    if likes is None and comments is None and shares is None and saves is None:
        return None
    return bounded((likes or 0) + (comments or 0) + (shares or 0) + (saves or 0))


def post_engagements(values: Sequence[int | None]) -> int | None:
    """As `engagements`, of a tuple in the order of POST_METRICS."""
    likes, comments, shares, saves = values[LIKES], values[COMMENTS], values[SHARES], values[SAVES]
    if likes is None and comments is None and shares is None and saves is None:
        return None
    # Repeats `engagements` in line, since this runs for every snapshot.
    added = (likes or 0) + (comments or 0) + (shares or 0) + (saves or 0)
    return added if INT64_MIN <= added <= INT64_MAX else bounded(added)


def engagement_rate(
    engagements: int | None, impressions: int | None, reach: int | None, views: int | None
) -> float | None:
    """Engagements divided by impressions, else reach, else views: the first of the three above zero.

    Returns:
        A fraction (0.041 is 4.1 %); None when engagements are unknown, or none of the three is above zero.
    """
    if engagements is None:
        return None
    for base in (impressions, reach, views):
        if base is not None and base > 0:
            return engagements / base
    return None


def post_engagement_rate(values: Sequence[int | None]) -> float | None:
    """As `engagement_rate`, of a tuple in the order of POST_METRICS."""
    return engagement_rate(post_engagements(values), values[IMPRESSIONS], values[REACH], values[VIEWS])


# From so many targets on, columns are added up in place of rows.
_MANY_PARTS = 8
_RATED = itemgetter(LIKES, COMMENTS, SHARES, SAVES, IMPRESSIONS, REACH, VIEWS)


def rated(values: Sequence[int | None]) -> tuple[int, int] | None:
    """The numerator and the divisor of one target's engagement rate.

    Args:
        values: in the order of POST_METRICS.

    Returns:
        The target's engagements and their divisor (impressions, else reach, else views: the first above zero); None
        when the target has no rate.
    """
    engaged = post_engagements(values)
    if engaged is None:
        return None
    for base in (values[IMPRESSIONS], values[REACH], values[VIEWS]):
        if base is not None and base > 0:
            return engaged, base
    return None


def total_engagement_rate(parts: Iterable[Sequence[int | None]]) -> float | None:
    """The engagement rate of several targets together.

    Over the targets that have a rate: the sum of their engagements, divided by the sum of their divisors. So the result
    lies between the targets' lowest and highest rate. The quotient of two plain totals may not, since a target may
    count in one total and not in the other.

    Args:
        parts: one tuple for each target, in the order of POST_METRICS.

    Returns:
        A fraction; None when no target has a rate.
    """
    engaged, shown = _rated_sums(parts)
    return engaged / shown if shown else None


def _rated_sums(parts: Iterable[Sequence[int | None]]) -> tuple[int, int]:
    engaged = shown = 0
    # Repeats `rated` in line, since a channel's windows rate all its posts at every change.
    for likes, comments, shares, saves, impressions, reach, views in map(_RATED, parts):
        if impressions is not None and impressions > 0:
            base = impressions
        elif reach is not None and reach > 0:
            base = reach
        elif views is not None and views > 0:
            base = views
        else:
            continue
        if likes is None and comments is None and shares is None and saves is None:
            continue
        added = (likes or 0) + (comments or 0) + (shares or 0) + (saves or 0)
        engaged += added if INT64_MIN <= added <= INT64_MAX else bounded(added)
        shown += base
    return engaged, shown


def total(parts: Sequence[Values]) -> Values:
    """Sum post figures over targets.

    Args:
        parts: one tuple for each target, in the order of POST_METRICS.

    Returns:
        Each metric's sum over the targets that have the metric; None where no target has it. The mean watch time is
        given only where exactly one target has it, since means don't add up. Sums stay within the columns' range.
    """
    if not parts:
        return NO_POST_VALUES
    if len(parts) == 1:
        return parts[0]
    return _bounded_sums(_plain_sums(parts), len([part for part in parts if part[AVG_WATCH_TIME] is not None]))


class PostSums(NamedTuple):
    """Sums over some targets, to which those over others can be added without adding up any target again.

    Attributes:
        values: not yet within the columns' range.
        means: how many of the targets have a mean watch time.
        engaged: the sum of the engagements of targets that have a rate.
        shown: the sum of their divisors.
    """

    values: Sequence[int | None]
    means: int
    engaged: int
    shown: int

    def plus(self, parts: Sequence[Values]) -> PostSums:
        """These sums with those of further targets, in the order of POST_METRICS."""
        if not parts:
            return self
        engaged, shown = _rated_sums(parts)
        return PostSums(
            _plain_sums([self.values, _plain_sums(parts)]),
            self.means + len([part for part in parts if part[AVG_WATCH_TIME] is not None]),
            self.engaged + engaged,
            self.shown + shown,
        )

    @property
    def total(self) -> Values:
        """As `total` of all targets."""
        return _bounded_sums(list(self.values), self.means)

    @property
    def engagement_rate(self) -> float | None:
        """As `total_engagement_rate` of all targets."""
        return self.engaged / self.shown if self.shown else None


NO_POST_SUMS = PostSums(NO_POST_VALUES, 0, 0, 0)


def _plain_sums(parts: Sequence[Sequence[int | None]]) -> list[int | None]:
    if len(parts) < _MANY_PARTS:
        sums = list(parts[0])
        for part in parts[1:]:
            sums = [
                new if held is None else held if new is None else held + new
                for held, new in zip(sums, part, strict=True)
            ]
        return sums
    # Twice as fast for a channel's posts, half as fast for a post's targets.
    count = len(parts)
    return [None if column.count(None) == count else sum(filter(None, column)) for column in zip(*parts, strict=True)]


def _bounded_sums(sums: list[int | None], means: int) -> Values:
    known = [*filter(None, sums)]
    if known and (max(known) > INT64_MAX or min(known) < INT64_MIN):
        sums = [None if value is None else bounded(value) for value in sums]
    if means > 1:
        sums[AVG_WATCH_TIME] = None
    watched = sums[WATCH_TIME]
    if watched is not None and not -MILLIS_MAX <= watched <= MILLIS_MAX:
        sums[WATCH_TIME] = MILLIS_MAX if watched > 0 else -MILLIS_MAX
    return tuple(sums)


def seconds(millis: int | None) -> Decimal | None:
    """Whole milliseconds as decimal seconds."""
    return None if millis is None else Decimal(millis).scaleb(-3)


def millis(value: Decimal | None) -> int | None:
    """Decimal seconds with at most three places as whole milliseconds."""
    return None if value is None else int(value.scaleb(3))


def round_half_up(value: Fraction | Decimal) -> int:
    """Round to the nearest integer, halves up, as for a reply's integer fields."""
    fraction = Fraction(value)
    return (fraction.numerator * 2 + fraction.denominator) // (fraction.denominator * 2)


def whole_seconds(millis: int | None) -> int | None:
    """Milliseconds as whole seconds, halves up."""
    return None if millis is None else (millis + 500) // 1000


def mask_of(values: Sequence[int | None]) -> int:
    """The bit mask of the positions that are not None."""
    mask = 0
    for index, value in enumerate(values):
        if value is not None:
            mask |= 1 << index
    return mask
