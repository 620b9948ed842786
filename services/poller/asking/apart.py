"""Decides what follows from an answer that tells of each target apart whether it was answered; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from schemas.events import PlatformRaw
from services.platforms.abilities import AnswersApart, has
from services.platforms.base import Outcome, Platform, Verdict
from services.poller.asking.decide import (
    CHANNEL_REFUSED,
    FATES_OF_REFUSALS,
    LIMITS,
    UNEXPLAINED,
    Decision,
    Hold,
    LeaveOut,
    Lesson,
    Refused,
    TooMany,
    captured,
    hold_of,
    pairs,
    refused_metrics,
)
from services.poller.asking.questions import Asked, ChannelQuestion, SharedQuestion, Subject
from services.poller.asking.smaller import fields_left_out, metrics_of
from services.poller.asking.waits import obeyed
from services.poller.schedule.batch import Fate

# What is said of the token, of a limit or of the platform; said of every target, it is the whole answer's meaning.
_OF_ALL = LIMITS | CHANNEL_REFUSED | {Outcome.PLATFORM_DOWN}


def verdicts_in(
    platform: Platform, events: Sequence[PlatformRaw], headers: Mapping[str, str], now: int
) -> dict[Subject, Verdict]:
    """What an answer means for those targets that it tells of apart; {} where the platform has no such answers."""
    if not has(platform, AnswersApart):
        return {}
    found = {}
    for event in events:
        channel = (event.workspace_id, event.channel_id)
        for position, verdict in platform.verdicts(event, headers, now).items():
            found[Subject(channel, event.targets[position].target_id)] = obeyed(verdict)
    return found


def is_of_all(verdict: Verdict) -> bool:
    """Whether an answer's meaning is of the token, of a limit or of the platform, and so of all that was asked."""
    return verdict.outcome in _OF_ALL


def of_all(question: ChannelQuestion | SharedQuestion, whole: Verdict, apart: Mapping[Subject, Verdict]) -> Verdict:
    """The meaning of an answer: what is said of every target, where it is about what they share."""
    if not apart:
        return whole
    said = [apart.get(subject) for subject in question.subjects]
    first = said[0] if said else None
    if (
        first is None
        or first.outcome not in _OF_ALL
        or any(one is None or one.outcome != first.outcome for one in said)
    ):
        return whole
    waits = [one.retry_after_seconds for one in said if one is not None and one.retry_after_seconds is not None]
    return replace(first, retry_after_seconds=max(waits, default=None))


def decide_apart(
    question: Asked,
    whole: Verdict,
    apart: Mapping[Subject, Verdict],
    gone: Collection[Subject],
    now: int,
    failed_before: Collection[Subject] = (),
) -> Decision[Asked]:
    """What follows from an answer of which some targets are told of apart, and which is not one refusal of them all.

    Args:
        whole: what the answer means for targets that it does not tell of.
        gone: see `gone_in`.
        now: ms.
        failed_before: targets that failed without a reason when they were asked for the last time.
    """
    fates: dict[Subject, Fate] = {}
    is_answered = any(apart.get(subject, whole).outcome is Outcome.OK for subject in question.subjects)
    lessons: list[Lesson] = []
    hold: Hold | None = None
    answered: list[Subject] = []
    too_much: list[int] = []
    unlisted: list[int] = []
    by_metrics: dict[tuple[str, ...], list[int]] = {}
    for position, (subject, target) in enumerate(pairs(question)):
        verdict = apart.get(subject, whole)
        outcome = verdict.outcome
        metrics = refused_metrics(question, verdict)
        if outcome is Outcome.OK:
            answered.append(subject)
        elif outcome in UNEXPLAINED and is_answered and subject in failed_before:
            fates[subject] = Fate.SKIPPED
            lessons.append(Refused(subject, target, outcome))
        elif outcome in LIMITS:
            fates[subject] = Fate.RETRY
            held = hold_of(verdict, is_apps=False)
            hold = held if hold is None or (held.seconds or 0) > (hold.seconds or 0) else hold
        elif outcome in CHANNEL_REFUSED or outcome is Outcome.PLATFORM_DOWN:
            # Of one target among others that were answered: the token and the platform work.
            fates[subject] = Fate.SKIPPED
        elif outcome is Outcome.TOO_MUCH and len(question.subjects) > 1:
            too_much.append(position)
        elif outcome is Outcome.NOT_LISTED:
            unlisted.append(position)
        elif metrics is not None:
            by_metrics.setdefault(tuple(metrics), []).append(position)
            if metrics:
                lessons.append(LeaveOut(subject, target, metrics, outcome))
        else:
            fates[subject] = FATES_OF_REFUSALS.get(outcome, Fate.SKIPPED)
            lessons.append(Refused(subject, target, outcome))
    fates |= captured(answered, gone)
    again = _again(question, by_metrics, now)
    if len(question.subjects) > 1:
        # A lone one that is not listed can't be asked for otherwise.
        again += [lone for position in unlisted for lone in question.only([position], now)]
    if too_much:
        lessons.append(TooMany(len(question.subjects)))
        middle = (len(too_much) + 1) // 2
        for part in (too_much[:middle], too_much[middle:]):
            again += question.only(part, now) if part else []
    asked = {subject for other in again for subject in other.subjects}
    for subject in question.subjects:
        if subject not in asked:
            # What can't be asked for with less waits for its regular time.
            fates.setdefault(subject, Fate.SKIPPED)
    return Decision(fates, again, hold, lessons)


def _again(question: Asked, by_metrics: Mapping[tuple[str, ...], list[int]], now: int) -> list[Asked]:
    """The same about targets that were refused metrics, without these; in halves of the metrics where none is named."""
    again: list[Asked] = []
    asked: list[str] = metrics_of(question.call)
    for refused, positions in by_metrics.items():
        for lone in question.only(positions, now):
            # What the whole call left out is left out again.
            left_out = _left_out(refused, metrics_of(lone.call), asked) + fields_left_out(question.call, lone.call)
            less = lone.without_metrics(left_out)
            if less is not None:
                again.extend([less.arranged()] if refused else [half.arranged() for half in less.metric_halves()])
    return again


def _left_out(refused: Sequence[str], names: Sequence[str], asked: Collection[str]) -> list[str]:
    return [*refused, *(name for name in names if name not in asked)]
