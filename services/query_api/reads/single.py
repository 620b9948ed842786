"""Expensive questions: each has a query of its own, equal questions share it, and few queries run at once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from services.query_api.reads.batching import Batcher
from services.query_api.reads.dispatch import Dispatch
from services.query_api.reads.query import Answered, Answering, Question

MOST_AT_ONCE, MOST_AT_ONCE_EACH = 6, 2
"""The most loads at once: of all workspaces, and of one."""


class SingleQuestions:
    """Answers one question in each load; workspaces take turns.

    Args:
        entries: the kinds of questions with the functions that answer them.
    """

    def __init__(self, *entries: Answering) -> None:
        self._dispatch = Dispatch(*entries)
        self._loads: Batcher[Question[Any], Any] = Batcher(
            self._load,
            max_keys=1,
            max_loads=MOST_AT_ONCE,
            max_loads_each=MOST_AT_ONCE_EACH,
            linger_seconds=0,
            owner=_workspace,
        )

    async def answer(self, question: Question[Answered]) -> Answered | None:
        """See `query.ReadModel`."""
        # A batcher holds answers of all kinds; `Dispatch` gave this one to the question's own function.
        answer: Answered | None = await self._loads.get(question)
        return answer

    async def _load(self, questions: Sequence[Question[Any]]) -> Mapping[Question[Any], Any]:
        (question,) = questions
        return {question: await self._dispatch.answer(question)}


def _workspace(question: Question[Any]) -> Hashable:
    return question.workspace_id
