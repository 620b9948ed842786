"""The questions that every product's endpoint asks, their answers, and the rules that all replies share. Pure.

A question carries the type of its answer, so whoever asks a `PostQuestion` is given a `Post`, and mypy knows. Questions
are frozen and comparable: equal requests give equal questions, so an answer may be shared or kept by its question.
Figures are tuples in the order of `schemas.metrics.POST_METRICS`, as the platforms said them; the fallback
between views and impressions is applied here, for replies only, never in storage.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

from schemas.metrics import IMPRESSIONS, VIDEO_VIEWS, VIEWS, Values, total
from schemas.windows import WindowTotals
from services.platforms import all_platforms

ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""Our ids; anything else in a path is the id of nothing."""

PUBLISHED = "published"

Answered = TypeVar("Answered")
Answered_co = TypeVar("Answered_co", covariant=True)


class Answering(NamedTuple):
    """A kind of question, and the function that answers it; made by `Question.answered_by` alone."""

    kind: type[Question[Any]]
    answer: Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Question(Generic[Answered_co]):
    """Base of the questions; its parameter is the type of their answer.

    Attributes:
        workspace_id: whose post, target or channel is asked about.
        holds_payloads: whether the answer holds what platforms sent: some megabytes of it.
    """

    workspace_id: str
    holds_payloads: ClassVar[bool] = False

    @classmethod
    def answered_by(cls, answer: Callable[[Self], Awaitable[Answered_co | None]]) -> Answering:
        """This kind of question with a function that answers it: see `dispatch`."""
        return Answering(cls, answer)


@dataclass(frozen=True, slots=True)
class Target:
    """One post on one channel, with its latest figures.

    Attributes:
        published_at: ms; the post's where the target has none of its own.
        detail: the product's extras as the catalog holds them.
        captured_at: ms of the freshest answer among the figures; None when never measured.
        values: in the order of POST_METRICS.
        post_id: its post.
    """

    target_id: str
    channel_id: str
    platform: str
    username: str
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
    post_id: str = ""


@dataclass(frozen=True, slots=True)
class Post:
    """A post and its targets in order, without those that are deleted or on a deleted channel. Instants in ms."""

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
    """A target as it stood right after one answer: each metric's latest value up to then.

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
        channel_id: only of this channel; None is all.
        since: ms, inclusive.
        limit: at most this many rows.
    """

    holds_payloads: ClassVar[bool] = True

    channel_id: str | None
    since: int
    limit: int


@dataclass(frozen=True, slots=True)
class PostHistory:
    """A post with its snapshots by target id, newest first; a target without any is absent."""

    post: Post
    snapshots: Mapping[str, Sequence[Snapshot]]


@dataclass(frozen=True, slots=True)
class PostHistoryQuestion(Question[PostHistory]):
    """A post's latest figures and its snapshots.

    Attributes:
        since: oldest snapshot shown, ms, inclusive.
        limit: at most this many rows a target.
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
    """The figures of one post, asked of its platforms now where that is possible."""

    post_id: str


@dataclass(frozen=True, slots=True)
class ChannelScores:
    """How the posts of one channel did, compared with each other.

    Attributes:
        tenths: by target id, tenths of a point (0 to 100) of each target of the set.
        counts: how many of them have a score above k - 1 and up to k, for k from 1 to 10.
    """

    tenths: Mapping[str, int]
    counts: tuple[int, ...]


GRADES = 10
NO_SCORES = ChannelScores({}, (0,) * GRADES)
"""Of a channel without any target in the set."""


@dataclass(frozen=True, slots=True)
class PostScores:
    """A post with the scores of each of its targets' channels, by channel id."""

    post: Post
    scores: Mapping[str, ChannelScores]


@dataclass(frozen=True, slots=True)
class PostScoresQuestion(Question[PostScores]):
    """A post's latest figures, and scores among what its channels published before `end`, ms."""

    post_id: str
    end: int


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """A channel's own figures as replies show them: levels, and the latest reported period's sums."""

    followers: int | None = None
    following: int | None = None
    posts_count: int | None = None
    impressions: int | None = None
    reach: int | None = None
    profile_views: int | None = None


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """A channel as it stood right after one poll.

    Attributes:
        captured_at: of the poll's newest answer, ms.
        raw: the payloads of its answers, and of those that the figures shown are from; JSON values or JSON text
            (`orjson.Fragment`).
    """

    captured_at: int
    figures: AccountFigures
    raw: Any


@dataclass(frozen=True, slots=True)
class Account:
    """A channel's own figures.

    Attributes:
        is_live: whether the platform said them just now.
        snapshot: None when it was never measured.
    """

    channel_id: str
    platform: str
    is_live: bool
    snapshot: AccountSnapshot | None


@dataclass(frozen=True, slots=True)
class AccountQuestion(Question[Account]):
    """A channel's own figures, asked of its platform now where that is possible."""

    holds_payloads: ClassVar[bool] = True

    channel_id: str


@dataclass(frozen=True, slots=True)
class AccountHistory:
    """A channel's snapshots, oldest first.

    Attributes:
        rest: what comes after `snapshots`, some at a time, where it is too much to hold; None where they are all.
    """

    channel_id: str
    platform: str
    snapshots: Sequence[AccountSnapshot]
    rest: AsyncGenerator[Sequence[AccountSnapshot], None] | None = field(default=None, compare=False)

    async def parts_after(self) -> AsyncGenerator[AccountHistory, None]:
        """What comes after `snapshots` as histories of their own, none of which has a rest."""
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
        error_code: why not; None when it does.
        token_expires_at: ms, if known.
        is_live: whether the platform said so just now.
        checked_at: ms.
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
        """The answer, or None when the thing is not there, deleted, or another workspace's.

        Raises:
            ReadsUnavailable: nothing answers in time; say so to the caller.
        """


def with_fallback(values: Values) -> Values:
    """The one fallback: a target without views shows its impressions for them, one without impressions its views."""
    views, impressions = values[VIEWS], values[IMPRESSIONS]
    if (views is None) == (impressions is None):
        return values
    shown = list(values)
    shown[VIEWS] = shown[IMPRESSIONS] = views if views is not None else impressions
    return tuple(shown)


def totals(parts: Iterable[Values]) -> Values:
    """Sums over targets as every reply shows them: the fallback first, a target at a time, then the sum."""
    return total([with_fallback(values) for values in parts])


_VIDEO_WORDS = ("video", "reel", "short", "clip")


def _has_only_videos(platform: str) -> bool:
    known = all_platforms().get(platform)
    return known is not None and known.facts.has_only_videos


def video_views(values: Values, platform: str, post_type: str) -> int | None:
    """Video views as replies show them.

    Returns:
        The metric; else the views where every view is one of a video (YouTube, TikTok, reels); else None where the
        post type names a video, and 0 where it names none.
    """
    if values[VIDEO_VIEWS] is not None:
        return values[VIDEO_VIEWS]
    kind = post_type.lower()
    if values[VIEWS] is not None and (_has_only_videos(platform) or kind.endswith("-reel")):
        return values[VIEWS]
    return None if any(word in kind for word in _VIDEO_WORDS) else 0


def rate(engagements: int | None, base: int | None) -> Fraction | None:
    """Engagements as a fraction of something, exactly; None when there is nothing to divide, or to divide by."""
    return Fraction(engagements, base) if engagements is not None and base is not None and base > 0 else None


def or_zero(value: int | None) -> int:
    """Nulls as 0, where a product's reply says so."""
    return 0 if value is None else value


def latest(instants: Iterable[int | None]) -> int | None:
    """The latest of some instants, None when there is none."""
    return max((instant for instant in instants if instant is not None), default=None)
