"""Reads what an answer means, of all and of each target, and what follows with what is known so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from schemas.events import RawKind
from services.platforms.base import MappingError, Outcome, Platform, Verdict
from services.poller.asking.apart import decide_apart, is_of_all, of_all, verdicts_in
from services.poller.asking.arranging import searched_until
from services.poller.asking.decide import Decision, decide, gone_in, refused_metrics, unreadable
from services.poller.asking.exchange import Answer
from services.poller.asking.knowledge import Knowledge
from services.poller.asking.learning import Seen, doubted, was_given
from services.poller.asking.questions import Asked, ChannelQuestion, SharedQuestion, Subject


class Meaning(NamedTuple):
    """What an answer means.

    Attributes:
        verdict: of the answer as a whole.
        apart: of targets that it tells of apart.
        gone: targets that a successful answer says are gone, or leaves out.
    """

    verdict: Verdict
    apart: Mapping[Subject, Verdict]
    gone: frozenset[Subject]


def read_answer(platform: Platform, question: ChannelQuestion | SharedQuestion, answer: Answer) -> Meaning:
    """What an answer means; one that can't be read as its platform's is no success."""
    verdict, gone = answer.verdict, frozenset[Subject]()
    apart: Mapping[Subject, Verdict] = {}
    if question.call.targets:
        apart = verdicts_in(platform, answer.events, answer.headers, answer.at)
        verdict = of_all(question, verdict, apart)
    if verdict.outcome is Outcome.OK and question.call.kind != RawKind.IDENTITY:
        try:
            gone = gone_in(platform, answer.events)
        except MappingError as error:
            return Meaning(unreadable(error), {}, gone)
    return Meaning(verdict, apart, gone)


def follow(
    question: Asked,
    name: str,
    known: Knowledge,
    seen: Seen,
    meaning: Meaning,
    now: int,
    *,
    has_own_token: bool = True,
    is_scheduled: bool = True,
) -> Decision[Asked]:
    """What follows from an answer; see `decide`.

    Args:
        is_scheduled: the schedule asks. Whoever else asks is waited for: nothing waits for another question then.
    """
    verdict = meaning.verdict
    if meaning.apart and not is_of_all(verdict):
        return decide_apart(question, verdict, meaning.apart, meaning.gone, now)
    if verdict.outcome is Outcome.OK:
        return decide(question, verdict, meaning.gone, now)
    metrics = refused_metrics(question, verdict)
    was_answered = seen.is_answered if not metrics else was_given(question, name, known, metrics, now)
    return decide(
        question, verdict, (), now, was_answered=was_answered, doubted=doubted(question, name, known),
        is_searched=is_scheduled and searched_until(question, name, known, now) > 0, has_own_token=has_own_token,
    )  # fmt: skip
