"""Reads what an answer means, of all and of each target, and what follows with what is known so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from schemas.events import RawKind
from services.platforms.base import MappingError, Outcome, Platform, Verdict
from services.poller.asking.apart import decide_apart, is_of_all, of_all, verdicts_in
from services.poller.asking.arranging import searched_until
from services.poller.asking.decide import (
    LIMITS,
    UNEXPLAINED,
    Decision,
    decide,
    decide_unanswered,
    gone_in,
    refused_metrics,
    unreadable,
)
from services.poller.asking.exchange import Answer
from services.poller.asking.knowledge import Knowledge
from services.poller.asking.learning import Seen, doubted, was_given
from services.poller.asking.owners import owner_of
from services.poller.asking.questions import Asked, ChannelQuestion, SharedQuestion, Subject
from services.poller.asking.witnesses import is_own, witness_to_a_limit
from services.poller.errors import NoAnswer

_OF_TOKENS = frozenset({Outcome.TOKEN_EXPIRED, Outcome.TOKEN_REVOKED})


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
    if question.call.is_public and verdict.outcome in _OF_TOKENS:
        # No token was shown, so the answer says nothing of the channel's.
        verdict = replace(verdict, outcome=Outcome.PERMISSION_MISSING)
    with answer.parsed:
        if question.call.targets:
            apart = verdicts_in(platform, answer.events, answer.headers, answer.at)
            verdict = of_all(question, verdict, apart)
        if verdict.outcome is Outcome.OK and question.call.kind != RawKind.IDENTITY:
            try:
                gone = gone_in(platform, answer.events)
            except MappingError as error:
                return Meaning(unreadable(error), {}, gone)
    return Meaning(verdict, apart, gone)


def vanished(question: ChannelQuestion | SharedQuestion, meaning: Meaning) -> bool:
    """Whether an answer leaves out every one of several targets, which says nothing of any of them."""
    subjects = question.subjects
    return meaning.verdict.outcome is Outcome.OK and len(subjects) > 1 and meaning.gone.issuperset(subjects)


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
        failed_before = _failed_before(question, name, known)
        return decide_apart(question, verdict, meaning.apart, meaning.gone, now, failed_before)
    if verdict.outcome is Outcome.OK:
        return decide(question, verdict, meaning.gone, now)
    if verdict.outcome in UNEXPLAINED:
        return _unexplained(question, name, known, seen, verdict, now, is_scheduled=is_scheduled)
    metrics = refused_metrics(question, verdict)
    was_answered = seen.is_answered if not metrics else was_given(question, name, known, metrics, now)
    return decide(
        question, verdict, (), now, was_answered=was_answered, doubted=doubted(question, name, known),
        is_searched=is_scheduled and searched_until(question, name, known, now) > 0, has_own_token=has_own_token,
    )  # fmt: skip


def follow_unanswered(
    question: Asked, name: str, known: Knowledge, seen: Seen, why: NoAnswer, now: int, *, is_scheduled: bool = True
) -> Decision[Asked]:
    """What follows from a call without an answer that could be published; see `decide_unanswered`."""
    return decide_unanswered(
        question, why, now, was_answered=_was_answered(question, name, known, seen),
        is_own=_may_be_own(question, is_scheduled) and is_own(question, name, known, now),
    )  # fmt: skip


def _unexplained(
    question: Asked, name: str, known: Knowledge, seen: Seen, verdict: Verdict, now: int, *, is_scheduled: bool
) -> Decision[Asked]:
    """What follows from a failure, or from a limit, that may be of what was asked for alone."""
    if verdict.outcome not in LIMITS:
        is_its_own = _may_be_own(question, is_scheduled) and is_own(question, name, known, now)
    elif not (is_its_own := seen.limited.issuperset(question.subjects)) and not seen.limited:
        again: list[Asked] = witness_to_a_limit(question, name, known, now)
        if again:
            # Where the witness is answered, the others are asked once more, and then the limit is theirs.
            seen.limited.update([subject for other in again[1:] for subject in other.subjects])
            return Decision({}, again)
    was_answered = _was_answered(question, name, known, seen)
    return decide(question, verdict, (), now, was_answered=was_answered, is_own=is_its_own)


def _may_be_own(question: ChannelQuestion | SharedQuestion, is_scheduled: bool) -> bool:
    """Whether it may be given up until its regular time; a part of a backfill has none."""
    return is_scheduled or bool(question.call.targets)


def _was_answered(question: Asked, name: str, known: Knowledge, seen: Seen) -> bool:
    """Whether something alike was answered just now, or since the question failed."""
    owner, shape = owner_of(question, name), question.shape
    return seen.is_answered or known.doubts.was_answered(owner, shape, question.subjects)


def _failed_before(question: Asked, name: str, known: Knowledge) -> frozenset[Subject]:
    owner, shape = owner_of(question, name), question.shape
    return frozenset(
        subject
        for subject in question.subjects
        if known.doubts.times(owner, shape, subject) or known.limited.times(owner, shape, subject)
    )
