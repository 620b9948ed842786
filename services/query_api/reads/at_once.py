"""Answers that the store gives without anybody having to wait: the look-ups of posts, targets and windows, and scores.

A task and two turns of the loop cost as much as all of such a look-up, so it is tried first. Whatever needs more than
the store is asked as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.query_api.directory import Directory
from services.query_api.observability import STORE
from services.query_api.reads import own
from services.query_api.reads.query import (
    Answered,
    ChannelWindow,
    ChannelWindowQuestion,
    Post,
    PostQuestion,
    PostScores,
    PostScoresQuestion,
    Question,
    Target,
    TargetQuestion,
)
from services.query_api.reads.window_rows import shown_window, stored_window
from services.query_api.store.files import StoreError
from services.query_api.store.handle import Store, StoreUnavailable
from services.query_api.store.layout import Damaged
from services.query_api.store.reading import Incomplete, View


class NotAtOnce(Exception):
    """The store alone does not answer this: ask the read model."""


class AtOnce:
    """Answers out of the store, as far as it has them."""

    def __init__(self, store: Store, directory: Directory) -> None:
        self._store = store
        self._directory = directory
        self._answers: Mapping[type[Question[Any]], Callable[[View, Any], Any]] = {
            PostQuestion: self._post,
            TargetQuestion: self._target,
            ChannelWindowQuestion: self._window,
            PostScoresQuestion: self._scores,
        }
        self._answered = 0

    def answer(self, question: Question[Answered]) -> Answered | None:
        """The answer; None where the thing is not there.

        Raises:
            NotAtOnce: the store has it not, or may be old.
        """
        answer = self._answers.get(type(question))
        if answer is None:
            raise NotAtOnce
        try:
            found: Answered | None = answer(self._store.of_turn(), question)
        except (StoreUnavailable, Incomplete):
            raise NotAtOnce from None
        except (Damaged, StoreError) as error:
            self._store.damaged(str(error))
            raise NotAtOnce from None
        self._answered += 1
        return found

    def count(self) -> None:
        """Add what was answered since the last call to the metrics: each time would cost more than the look-up."""
        STORE.labels("store").inc(self._answered)
        self._answered = 0

    def _post(self, view: View, question: PostQuestion) -> Post | None:
        return own.post(view, self._directory, question.workspace_id, question.post_id)

    def _target(self, view: View, question: TargetQuestion) -> Target | None:
        post_id = view.post_of(question.workspace_id, question.target_id)
        if post_id is None:
            return None
        post = own.post(view, self._directory, question.workspace_id, post_id)
        targets = () if post is None else post.targets
        return next((target for target in targets if target.target_id == question.target_id), None)

    def _scores(self, view: View, question: PostScoresQuestion) -> PostScores | None:
        post = own.post(view, self._directory, question.workspace_id, question.post_id)
        if post is None:
            return None
        channel_ids = dict.fromkeys(target.channel_id for target in post.targets)
        scores = own.post_scores(view, question.workspace_id, channel_ids, question.end)
        if scores is None:
            raise NotAtOnce
        return PostScores(post, scores)

    def _window(self, view: View, question: ChannelWindowQuestion) -> ChannelWindow | None:
        channel = self._directory.get(question.workspace_id, question.channel_id)
        if channel is None:
            return None
        row = stored_window(view, question.workspace_id, question.channel_id, question.range)
        if row is None or not row.is_exact_at(question.end):
            raise NotAtOnce
        return shown_window(question, channel, row)
