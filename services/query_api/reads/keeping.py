"""How answers to each kind of question are kept: under which key, for how long, and with which tags. Pure.

Answers to live questions, health and accounts are not kept: no message tells when a channel's snapshot is written.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from services.query_api.cache import LONGEST_SECONDS, channel_tag, channels_tag, post_tag, posts_tag
from services.query_api.reads.query import (
    ChannelWindow,
    ChannelWindowQuestion,
    Post,
    PostHistory,
    PostHistoryQuestion,
    PostQuestion,
    PostScores,
    PostScoresQuestion,
    Question,
    Snapshot,
    SnapshotsQuestion,
    Target,
    TargetQuestion,
)

_SECOND = 1000
Answered = TypeVar("Answered")


class Kept(NamedTuple):
    """How an answer is kept.

    Attributes:
        tags: the things that the answer is made of.
        seconds: how long the answer holds when none of these things changes.
    """

    tags: tuple[bytes, ...]
    seconds: float


class _Rule(NamedTuple, Generic[Answered]):
    """How answers to one kind of question are kept.

    Attributes:
        key: makes the key from the question and the instant of asking, ms; None where the question itself is the key.
        kept: makes the `Kept` from the question, its answer and the instant of asking, ms.
    """

    key: Callable[[Any, int], Hashable] | None
    kept: Callable[[Any, Answered, int], Kept]


def key_of(question: Question[object], now: int) -> Hashable | None:
    """The key under which a question's answer is kept, without the instant of asking where no reply shows it.

    Args:
        now: when the question was asked, ms.

    Returns:
        the key; None when answers to this kind of question are not kept.
    """
    rule = _RULES.get(type(question))
    if rule is None:
        return None
    return question if rule.key is None else rule.key(question, now)


def kept(question: Question[Answered], answer: Answered, now: int) -> Kept:
    """How an answer is kept; `now` as for `key_of`.

    Raises:
        TypeError: answers to this kind of question are not kept.
    """
    rule: _Rule[Answered] | None = _RULES.get(type(question))
    if rule is None:
        raise TypeError(f"answers of {type(question).__name__} are not kept")
    return rule.kept(question, answer, now)


# Tuples of texts are hashed and compared in C, which each look-up does several times; questions are not.
def _post_key(question: PostQuestion, now: int) -> Hashable:
    return PostQuestion, question.workspace_id, question.post_id


def _target_key(question: TargetQuestion, now: int) -> Hashable:
    return TargetQuestion, question.workspace_id, question.target_id


def _post(question: PostQuestion, answer: Post, now: int) -> Kept:
    workspace = question.workspace_id
    return Kept((post_tag(workspace, question.post_id), channels_tag(workspace)), LONGEST_SECONDS)


def _target(question: TargetQuestion, answer: Target, now: int) -> Kept:
    workspace = question.workspace_id
    return Kept((post_tag(workspace, answer.post_id), channels_tag(workspace)), LONGEST_SECONDS)


def _window(question: ChannelWindowQuestion, answer: ChannelWindow, now: int) -> Kept:
    workspace = question.workspace_id
    # The reply shows the window's end, which is a whole second.
    seconds = (question.end + _SECOND - now) / 1000
    return Kept((channel_tag(workspace, question.channel_id), channels_tag(workspace)), seconds)


def _scores_key(question: PostScoresQuestion, now: int) -> Hashable:
    return PostScoresQuestion, question.workspace_id, question.post_id


def _scores(question: PostScoresQuestion, answer: PostScores, now: int) -> Kept:
    return Kept((posts_tag(question.workspace_id), channels_tag(question.workspace_id)), LONGEST_SECONDS)


def _snapshots_key(question: SnapshotsQuestion, now: int) -> Hashable:
    return SnapshotsQuestion, question.workspace_id, question.channel_id, now - question.since, question.limit


def _snapshots(question: SnapshotsQuestion, answer: tuple[Snapshot, ...], now: int) -> Kept:
    tags = (posts_tag(question.workspace_id), channels_tag(question.workspace_id))
    return Kept(tags, _until_oldest_leaves(answer, question.since))


def _history_key(question: PostHistoryQuestion, now: int) -> Hashable:
    return PostHistoryQuestion, question.workspace_id, question.post_id, now - question.since, question.limit


def _history(question: PostHistoryQuestion, answer: PostHistory, now: int) -> Kept:
    rows = [row for shown in answer.snapshots.values() for row in shown]
    tags = (post_tag(question.workspace_id, question.post_id), channels_tag(question.workspace_id))
    return Kept(tags, _until_oldest_leaves(rows, question.since))


def _until_oldest_leaves(rows: Iterable[Snapshot], since: int) -> float:
    """Seconds until the oldest row is older than the requested days."""
    oldest = min((row.captured_at for row in rows), default=None)
    return LONGEST_SECONDS if oldest is None else min(LONGEST_SECONDS, (oldest - since + 1) / 1000)


def _rule(
    kind: type[Question[Answered]],
    key: Callable[[Any, int], Hashable] | None,
    kept: Callable[[Any, Answered, int], Kept],
) -> tuple[type[Question[Any]], _Rule[Any]]:
    return kind, _Rule(key, kept)


_RULES: Mapping[type[Question[Any]], _Rule[Any]] = dict(
    (
        _rule(PostQuestion, _post_key, _post),
        _rule(TargetQuestion, _target_key, _target),
        _rule(ChannelWindowQuestion, None, _window),
        _rule(PostScoresQuestion, _scores_key, _scores),
        _rule(SnapshotsQuestion, _snapshots_key, _snapshots),
        _rule(PostHistoryQuestion, _history_key, _history),
    )
)
