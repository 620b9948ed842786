"""Finds the function that answers a kind of question. Pure but for the functions that it is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from services.query_api.reads.query import Answered, Answering, Question


class Dispatch:
    """A table of functions by the kind of question that each answers.

    The table itself forgets types. But `Question.answered_by` has checked each entry, and `answer` passes each question
    to the entry of its own kind, so the answer has the question's type.
    """

    def __init__(self, *entries: Answering) -> None:
        self._answers = dict(entries)

    def __contains__(self, question: Question[object]) -> bool:
        """Whether a function answers questions of this kind."""
        return type(question) in self._answers

    async def answer(self, question: Question[Answered]) -> Answered | None:
        """The answer of the function for this kind; see `query.ReadModel`.

        Raises:
            KeyError: no function answers questions of this kind.
        """
        answer: Callable[[Question[Answered]], Awaitable[Answered | None]] = self._answers[type(question)]
        return await answer(question)
