"""The questions that every product's endpoint asks, their answers, and the rules that all replies share. Pure.

A question carries the type of its answer: a `PostQuestion` is answered by a `Post`, and mypy checks it. Questions are
frozen and comparable: equal requests give equal questions, so an answer may be shared or kept by its question. Figures
are tuples in the order of `schemas.metrics.POST_METRICS`, as the platforms reported them; the fallback between views
and impressions is applied here, for replies only, never in storage.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

from schemas.metrics import IMPRESSIONS, VIDEO_VIEWS, VIEWS, Values, total
from schemas.windows import WindowTotals
from services.platforms import all_platforms, post_address

PUBLISHED = "published"

Answered = TypeVar("Answered")
Answered_co = TypeVar("Answered_co", covariant=True)


class Answering(NamedTuple):
    """A kind of question, and the function that answers it; made by `Question.answered_by` alone."""

    kind: type[Question[Any]]
    answer: Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Question(Generic[Answered_co]):
    """Base of the questions; the type parameter is the type of the answer.

    Attributes:
        workspace_id: the workspace of the post, target or channel.
        holds_payloads: whether the answer holds platforms' payloads, which may be some megabytes.
    """

    workspace_id: str
    holds_payloads: ClassVar[bool] = False

    @classmethod
    def answered_by(cls, answer: Callable[[Self], Awaitable[Answered_co | None]]) -> Answering:
        """This kind of question with the function that answers it; see `dispatch`."""
        return Answering(cls, answer)


class Target(NamedTuple):
    """One post on one channel, with its latest figures.

    Attributes:
        published_at: ms; the post's time where the target has none of its own.
        detail: the product's extras as the catalog holds them.
        captured_at: when the newest answer with one of the figures came, ms; None when never measured.
        values: in the order of POST_METRICS.
        post_id: the target's post.
    """

    target_id: str
    channel_id: str
    post_type: str
    status: str
    external_id: str
    permalink: str | None
    published_at: int | None
    content: str | None
    is_story: bool
    parent_target_id: str | None
    detail: Mapping[str, Any]
    captured_at: int | None
    values: Values
    platform: str
    username: str
    post_id: str = ""

    @property
    def url(self) -> str | None:
        """The permalink, or the platform's own address of the post where that follows from its id alone."""
        return self.permalink or post_address(self.platform, self.external_id)


class Post(NamedTuple):
    """A post and its targets in order, without deleted targets and those of deleted channels. Instants in ms."""

    post_id: str
    status: str
    created_at: int | None
    published_at: int | None
    updated_at: int
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class PostQuestion(Question[Post]):
    """The latest figures of one post."""

    post_id: str


@dataclass(frozen=True, slots=True)
class ChannelWindow:
    """Totals of one channel over a window.

    Attributes:
        range: 24h, 7d or 28d.
        source: `channel`, `posts` or `none`.
        start: ms, inclusive.
        end: ms, exclusive.
        values: in the order of POST_METRICS, as stored; without the fallback.
        views_or_impressions: views after the fallback.
        impressions_or_views: impressions after the fallback.
        followers: the latest known.
    """

    channel_id: str
    platform: str
    range: str
    source: str
    start: int
    end: int
    values: Values
    engagements: int | None
    views_or_impressions: int | None
    impressions_or_views: int | None
    followers: int | None


@dataclass(frozen=True, slots=True)
class ChannelWindowQuestion(Question[ChannelWindow]):
    """Totals of one channel over the window that ends at `end`, ms."""

    channel_id: str
    range: str
    end: int


@dataclass(frozen=True, slots=True)
class WindowTotalsQuestion(Question[WindowTotals]):
    """As `ChannelWindowQuestion`, computed from the latest figures."""

    channel_id: str
    range: str
    end: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A target's state right after one answer: each metric's latest value up to then.

    Attributes:
        values: in the order of POST_METRICS.
        part: the target's own part of the answer, JSON values or JSON text (`orjson.Fragment`).
    """

    event_id: str
    target_id: str
    channel_id: str
    captured_at: int
    values: Values
    part: Any


@dataclass(frozen=True, slots=True)
class SnapshotsQuestion(Question[tuple[Snapshot, ...]]):
    """A workspace's newest snapshots, the newest first.

    Attributes:
        channel_id: only this channel's snapshots; None means all channels'.
        since: ms, inclusive.
        limit: the most rows.
    """

    holds_payloads: ClassVar[bool] = True

    channel_id: str | None
    since: int
    limit: int


@dataclass(frozen=True, slots=True)
class PostHistory:
    """A post with its snapshots by target id, newest first; targets without snapshots are absent."""

    post: Post
    snapshots: Mapping[str, Sequence[Snapshot]]


@dataclass(frozen=True, slots=True)
class PostHistoryQuestion(Question[PostHistory]):
    """A post's latest figures and its snapshots.

    Attributes:
        since: ms, inclusive; older snapshots are left out.
        limit: the most rows for each target.
    """

    holds_payloads: ClassVar[bool] = True

    post_id: str
    since: int
    limit: int


@dataclass(frozen=True, slots=True)
class TargetQuestion(Question[Target]):
    """The latest figures of one target."""

    target_id: str


@dataclass(frozen=True, slots=True)
class LivePostQuestion(Question[Post]):
    """The figures of one post; its platforms are asked now where that is possible."""

    post_id: str


@dataclass(frozen=True, slots=True)
class ChannelScores:
    """The scores of one channel's posts, compared with each other.

    Attributes:
        tenths: each target's score in tenths of a point (0 to 100), by target id.
        counts: for k from 1 to 10, how many targets have a score above k - 1 and up to k.
    """

    tenths: Mapping[str, int]
    counts: tuple[int, ...]


GRADES = 10
NO_SCORES = ChannelScores({}, (0,) * GRADES)
"""The scores of a channel without targets in the set."""


@dataclass(frozen=True, slots=True)
class PostScores:
    """A post with the scores of each of its targets' channels, by channel id."""

    post: Post
    scores: Mapping[str, ChannelScores]


@dataclass(frozen=True, slots=True)
class PostScoresQuestion(Question[PostScores]):
    """A post's latest figures, and its scores among the posts that its channels published before `end`, ms."""

    post_id: str
    end: int


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """A channel's own figures as replies show them: levels, and the sums of the latest reported period."""

    followers: int | None = None
    following: int | None = None
    posts_count: int | None = None
    impressions: int | None = None
    reach: int | None = None
    profile_views: int | None = None


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """A channel's state right after one poll.

    Attributes:
        captured_at: when the poll's newest answer came, ms.
        raw: the payloads of the poll's answers and of the answers behind the shown figures; JSON values or JSON text
            (`orjson.Fragment`).
    """

    captured_at: int
    figures: AccountFigures
    raw: Any


@dataclass(frozen=True, slots=True)
class Account:
    """A channel's own figures.

    Attributes:
        is_live: whether the platform was asked just now.
        snapshot: None when the channel was never measured.
    """

    channel_id: str
    platform: str
    is_live: bool
    snapshot: AccountSnapshot | None


@dataclass(frozen=True, slots=True)
class AccountQuestion(Question[Account]):
    """A channel's own figures; its platform is asked now where that is possible."""

    holds_payloads: ClassVar[bool] = True

    channel_id: str


@dataclass(frozen=True, slots=True)
class AccountHistory:
    """A channel's snapshots, oldest first.

    Attributes:
        rest: the snapshots after `snapshots`, some at a time, where all are too many to hold; None where there are no
            more.
    """

    channel_id: str
    platform: str
    snapshots: Sequence[AccountSnapshot]
    rest: AsyncGenerator[Sequence[AccountSnapshot], None] | None = field(default=None, compare=False)

    async def parts_after(self) -> AsyncGenerator[AccountHistory, None]:
        """The snapshots in `rest`, as histories that have no rest themselves."""
        assert self.rest is not None
        async with aclosing(self.rest) as rest:
            async for snapshots in rest:
                yield replace(self, snapshots=snapshots, rest=None)


@dataclass(frozen=True, slots=True)
class AccountHistoryQuestion(Question[AccountHistory]):
    """A channel's snapshots with `since <= captured_at < until`, ms."""

    holds_payloads: ClassVar[bool] = True

    channel_id: str
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a channel's connection works.

    Attributes:
        error_code: why the connection does not work; None when it works.
        token_expires_at: ms; None when unknown.
        is_live: whether the platform was asked just now.
        checked_at: when the health was determined, ms.
    """

    channel_id: str
    platform: str
    is_healthy: bool
    status: str
    error_code: str | None
    token_expires_at: int | None
    is_live: bool
    checked_at: int


@dataclass(frozen=True, slots=True)
class HealthQuestion(Question[Health]):
    """Whether a channel's connection works at `now`, ms."""

    channel_id: str
    now: int


class ReadModel(Protocol):
    """Answers questions of the products' APIs, from whatever store."""

    async def answer(self, question: Question[Answered]) -> Answered | None:
        """The answer; None when the thing does not exist, is deleted, or belongs to another workspace.

        Raises:
            ReadsUnavailable: the store did not answer in time; the caller gets a 503.
        """


def with_fallback(values: Values) -> Values:
    """The one fallback: a target without views shows its impressions as views, and the other way round."""
    views, impressions = values[VIEWS], values[IMPRESSIONS]
    if (views is None) == (impressions is None):
        return values
    shown = list(values)
    shown[VIEWS] = shown[IMPRESSIONS] = views if views is not None else impressions
    return tuple(shown)


def totals(parts: Iterable[Values]) -> Values:
    """Sums over targets as every reply shows them: first the fallback for each target, then the sum."""
    return total([with_fallback(values) for values in parts])


_VIDEO_WORDS = ("video", "reel", "short", "clip")


def _has_only_videos(platform: str) -> bool:
    known = all_platforms().get(platform)
    return known is not None and known.facts.has_only_videos


def video_views(values: Values, platform: str, post_type: str) -> int | None:
    """Video views as replies show them.

    Returns:
        The metric. Without it: the views, where every view is a video's (YouTube, TikTok, reels); else None where the
        post type names a video, and 0 for other post types.
    """
    if values[VIDEO_VIEWS] is not None:
        return values[VIDEO_VIEWS]
    kind = post_type.lower()
    if values[VIEWS] is not None and (_has_only_videos(platform) or kind.endswith("-reel")):
        return values[VIEWS]
    return None if any(word in kind for word in _VIDEO_WORDS) else 0


def rate(engagements: int | None, base: int | None) -> Fraction | None:
    """Engagements divided by a base, as an exact fraction; None without engagements, or without a base above 0."""
    return Fraction(engagements, base) if engagements is not None and base is not None and base > 0 else None


def or_zero(value: int | None) -> int:
    """A figure with null as 0, for products whose replies show nulls so."""
    return 0 if value is None else value


def latest(instants: Iterable[int | None]) -> int | None:
    """The latest of some instants; None when there is none."""
    return max([instant for instant in instants if instant is not None], default=None)
