"""What of each question is kept, for how long, and what it is made of. Pure.

Live questions and health are not kept at all, nor are accounts: nothing tells when a channel's snapshot is written.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

from services.query_api.cache import LONGEST_SECONDS, channel_tag, channels_tag, post_tag, posts_tag
from services.query_api.reads.query import (
    ChannelWindowQuestion,
    PostHistoryQuestion,
    PostQuestion,
    PostScoresQuestion,
    Question,
    Snapshot,
    SnapshotsQuestion,
    TargetQuestion,
)

_SECOND = 1000


class Kept(NamedTuple):
    """How an answer is kept.

    Attributes:
        tags: what it is made of.
        seconds: how long it holds when nothing of that changes.
    """

    tags: tuple[bytes, ...]
    seconds: float


def key_of(question: Question, now: int) -> Hashable | None:
    """What a question is kept by: without the instant it was asked at, where the answer doesn't show it.

    Args:
        now: when it was asked, ms.

    Returns:
        None when its answer is not kept.
    """
    match question:
        case PostQuestion() | TargetQuestion():
            return question
        # Its window ends at a whole second, which the reply shows.
        case ChannelWindowQuestion():
            return question
        case PostScoresQuestion(workspace_id, post_id, _):
            return PostScoresQuestion, workspace_id, post_id
        case SnapshotsQuestion(workspace_id, channel_id, since, limit):
            return SnapshotsQuestion, workspace_id, channel_id, now - since, limit
        case PostHistoryQuestion(workspace_id, post_id, since, limit):
            return PostHistoryQuestion, workspace_id, post_id, now - since, limit
    return None


def kept(question: Question, answer: Any, now: int) -> Kept:
    """How an answer is kept; `now` as for `key_of`."""
    workspace = question.workspace_id
    channels = channels_tag(workspace)
    match question:
        case PostQuestion():
            return Kept((post_tag(workspace, question.post_id), channels), LONGEST_SECONDS)
        case TargetQuestion():
            return Kept((post_tag(workspace, answer.post_id), channels), LONGEST_SECONDS)
        case ChannelWindowQuestion():
            seconds = (question.end + _SECOND - now) / 1000
            return Kept((channel_tag(workspace, question.channel_id), channels), seconds)
        case PostScoresQuestion():
            return Kept((posts_tag(workspace), channels), LONGEST_SECONDS)
        case SnapshotsQuestion():
            return Kept((posts_tag(workspace), channels), _until_oldest_leaves(answer, question.since))
        case PostHistoryQuestion():
            rows = [row for shown in answer.snapshots.values() for row in shown]
            tags = (post_tag(workspace, question.post_id), channels)
            return Kept(tags, _until_oldest_leaves(rows, question.since))
    raise TypeError(f"answers of {type(question).__name__} are not kept")


def _until_oldest_leaves(rows: Iterable[Snapshot], since: int) -> float:
    """Seconds until the oldest row is older than the span of days that was asked for."""
    oldest = min((row.captured_at for row in rows), default=None)
    return LONGEST_SECONDS if oldest is None else min(LONGEST_SECONDS, (oldest - since + 1) / 1000)
