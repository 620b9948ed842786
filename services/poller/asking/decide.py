"""Decides what follows from what came of a call; pure.

In: the question that was asked and what its answer means, or why there is no answer. Out: what became of each target,
what to ask at once, what has to be done beyond this call, and what the answer teaches. Nothing is done here: the rounds
carry it out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple

from schemas.events import PlatformRaw
from services.platforms.base import MappingError, Outcome, Platform, Target, Verdict
from services.poller.asking.questions import Asked, ChannelQuestion, SharedQuestion, Subject
from services.poller.asking.smaller import asks_for, metrics_of
from services.poller.errors import AnswerTooLarge, NoAnswer, RetryLater, TimedOut
from services.poller.schedule.batch import Fate

LIMITS = frozenset({Outcome.RETRY_LATER, Outcome.QUOTA_EXHAUSTED})
# Answers that give no reason, or one that lies with everybody: asked of one target alone, they may be that target's.
UNEXPLAINED = LIMITS | {Outcome.PLATFORM_DOWN}
# Answers about the token, or about the account behind it. A missing permission is one post's or metric's matter where
# a channel's own token asks; where our app's token asks, the token is of no use.
CHANNEL_REFUSED = frozenset({Outcome.TOKEN_EXPIRED, Outcome.TOKEN_REVOKED, Outcome.ACCOUNT_DISABLED})
_APP_REFUSED = CHANNEL_REFUSED | {Outcome.PERMISSION_MISSING}
# The platform refuses one of the metrics: the call is made again without it.
_METRIC_REFUSED = frozenset({Outcome.METRIC_FORBIDDEN, Outcome.METRIC_NOT_OFFERED})
FATES_OF_REFUSALS = {Outcome.TARGET_GONE: Fate.GONE, Outcome.NO_DATA_EVER: Fate.NEVER}
# From so many targets on, one of them is asked alone first: where all are refused, that is found sooner.
_SAMPLED = 4


class BackOff(NamedTuple):
    """The platform did not answer, or said that it is down: back off from it.

    Attributes:
        seconds: for how long, where the platform said it.
    """

    seconds: float | None = None


class Hold(NamedTuple):
    """A limit is reached: no call of the limit group until the platform takes them again.

    Attributes:
        seconds: for how long, where the platform said it.
        is_exhausted: a quota of a day or a month is used up.
        is_app_wide: the answer says that the limit is our whole app's.
    """

    seconds: float | None
    is_exhausted: bool
    is_app_wide: bool


class Pause(NamedTuple):
    """The token, or the account behind it, does not work: ask nothing more with it, unless it can be renewed."""

    outcome: Outcome


class Separate(NamedTuple):
    """A channel's targets make the platform refuse whole batches: ask for it with its own token for a while."""


Consequence = BackOff | Hold | Pause | Separate


class Refused(NamedTuple):
    """A target is refused by itself, whatever else is asked: it is no longer asked for together with others."""

    subject: Subject
    target: Target
    outcome: Outcome


class LeaveOut(NamedTuple):
    """Metrics are refused of one target, or of the channel's own figures (None)."""

    subject: Subject
    target: Target | None
    metrics: Sequence[str]
    outcome: Outcome


class Halved(NamedTuple):
    """A target is asked for with half of its metrics at a time, to find the one that is refused of it."""

    subject: Subject
    target: Target


class Suspect(NamedTuple):
    """A metric is refused of a call about several targets; of whom is found by asking on."""

    metric: str


class TooMany(NamedTuple):
    """So many targets are too many for one call.

    Attributes:
        is_slow: a call about as many timed out, which may have another cause.
        is_again: not for the first time, and others are answered in time.
    """

    targets: int
    is_slow: bool = False
    is_again: bool = False


Lesson = Refused | LeaveOut | Halved | Suspect | TooMany


@dataclass(frozen=True, slots=True)
class Decision(Generic[Asked]):
    """What follows from a call.

    Attributes:
        fates: what became of each subject, less those that `again` asks about. Of RETRY the instant is missing: it
            follows from `consequence`.
        again: questions to ask at once, in this order.
        consequence: what else has to be done; None for nothing.
        lessons: what is to be known from now on.
    """

    fates: Mapping[Subject, Fate]
    again: Sequence[Asked] = ()
    consequence: Consequence | None = None
    lessons: Sequence[Lesson] = ()


def gone_in(platform: Platform, events: Iterable[PlatformRaw]) -> frozenset[Subject]:
    """The targets that successful answers say are gone, or leave out.

    Raises:
        MappingError: an answer can't be read.
    """
    gone = []
    for event in events:
        positions = platform.read(event).gone
        channel = (event.workspace_id, event.channel_id)
        gone += [Subject(channel, event.targets[position].target_id) for position in positions]
    return frozenset(gone)


def unreadable(error: MappingError) -> Verdict:
    """What a successful answer means that can't be read: no JSON is none of the platform's, anything else is new."""
    outcome = Outcome.PLATFORM_DOWN if error.reason == "body_not_json" else Outcome.REQUEST_WRONG
    return Verdict(outcome, detail=f"unreadable answer: {error.reason}")


def decide(
    question: Asked,
    verdict: Verdict,
    gone: Collection[Subject],
    now: int,
    *,
    was_answered: bool = True,
    doubted: Sequence[str] = (),
    is_searched: bool = False,
    has_own_token: bool = True,
    is_own: bool = False,
) -> Decision[Asked]:
    """What follows from an answer.

    Args:
        gone: what a successful answer says is gone; see `gone_in`.
        now: ms.
        was_answered: whether something alike was answered just now, so that not everything is refused.
        doubted: metrics that other targets of the same kind were refused.
        is_searched: whether the refused metric of the same kind is being searched for with another target, so that
            it is better to wait for that.
        has_own_token: of a call with our app's token about one channel: whether that can be asked by itself.
        is_own: whether the question fails for what it asks for, if it fails: the platform answers others meanwhile.
    """
    outcome = verdict.outcome
    if is_own and outcome in UNEXPLAINED:
        return _refused_target(question, verdict, now, was_answered=was_answered)
    if outcome is Outcome.OK:
        return Decision(captured(question.subjects, gone))
    if outcome is Outcome.PLATFORM_DOWN:
        return Decision(_all(question, Fate.RETRY), consequence=BackOff(verdict.retry_after_seconds))
    is_apps = isinstance(question, SharedQuestion)
    if outcome in LIMITS:
        # Where the app's budget is closed to everybody, whose turn it is when it opens goes by who has waited.
        fate = Fate.DEFERRED if is_apps else Fate.RETRY
        return Decision(_all(question, fate), consequence=hold_of(verdict, is_apps=is_apps))
    if outcome in (_APP_REFUSED if is_apps else CHANNEL_REFUSED):
        return Decision(_all(question, Fate.RETRY), consequence=Pause(outcome))
    if outcome is Outcome.TOO_MUCH:
        return _too_much(question, verdict, now)
    if isinstance(question, SharedQuestion) and (len(question.plans) > 1 or has_own_token):
        return _refused_together(question, was_answered=was_answered)
    metrics = refused_metrics(question, verdict)
    if metrics is not None:
        return _refused_metric(
            question, verdict, metrics, now, was_answered=was_answered, doubted=doubted, is_searched=is_searched
        )
    return _refused_target(question, verdict, now, was_answered=was_answered)


def _refused_together(question: SharedQuestion, *, was_answered: bool) -> Decision[SharedQuestion]:
    """Something of one channel makes the platform refuse the batch: find out which, and let that one go alone."""
    again = [part.as_part() for part in question.by_channel(was_answered=was_answered)]
    return Decision({}, again) if again else Decision(_all(question, Fate.RETRY), consequence=Separate())


def captured(subjects: Iterable[Subject], gone: Collection[Subject]) -> dict[Subject, Fate]:
    """What became of the targets of a successful answer; one that leaves out all of several says nothing of any."""
    fates = {one: Fate.GONE if one in gone else Fate.CAPTURED for one in subjects}
    if len(fates) > 1 and Fate.CAPTURED not in fates.values():
        return dict.fromkeys(fates, Fate.SKIPPED)
    return fates


def hold_of(verdict: Verdict, *, is_apps: bool) -> Hold:
    """The hold that a limit asks for."""
    return Hold(verdict.retry_after_seconds, verdict.outcome is Outcome.QUOTA_EXHAUSTED, is_apps or verdict.is_app_wide)


def refused_metrics(question: ChannelQuestion | SharedQuestion, verdict: Verdict) -> list[str] | None:
    """The metrics that an answer refuses: [] where it doesn't say which, None where it refuses none.

    A name or place counts only where the call asks for it: platforms also name the valid ones, or words of their own.
    """
    call, named, position = question.call, verdict.refused_metric, verdict.refused_position
    if named and asks_for(call, named):
        return [named]
    listed = metrics_of(call)
    if position is not None and 0 <= position < len(listed):
        return [listed[position]]
    if verdict.outcome in _METRIC_REFUSED or (
        verdict.outcome is Outcome.REQUEST_WRONG and (named is not None or position is not None)
    ):
        return [] if listed else None
    return None


def _refused_metric(
    question: Asked,
    verdict: Verdict,
    metrics: list[str],
    now: int,
    *,
    was_answered: bool,
    doubted: Sequence[str],
    is_searched: bool,
) -> Decision[Asked]:
    """The platform refuses a metric: find out of whom, and ask those without it."""
    if len(question.subjects) > 1:
        again = _split(question, now, was_answered=was_answered)
        lessons = [Suspect(metric) for metric in metrics or metrics_of(question.call)]
        return Decision({}, again, lessons=lessons) if again else Decision(_all(question, Fate.SKIPPED))
    (subject,) = question.subjects
    target = question.call.targets[0] if question.call.targets else None
    if not metrics:
        asked = metrics_of(question.call)
        metrics = [metric for metric in doubted if metric in asked]
        if not metrics and (halves := question.metric_halves()):
            if is_searched:
                return Decision({subject: Fate.RETRY})
            return Decision({}, halves, lessons=[Halved(subject, target)] if target is not None else [])
        metrics = metrics or asked
    smaller = question.without_metrics(metrics)
    lesson = LeaveOut(subject, target, metrics, verdict.outcome)
    if smaller is None:
        return Decision({subject: Fate.SKIPPED}, lessons=[lesson])
    return Decision({}, [smaller], lessons=[lesson])


def _refused_target(question: Asked, verdict: Verdict, now: int, *, was_answered: bool) -> Decision[Asked]:
    """The answer concerns a target: of several, find out which, and ask for the others again."""
    # Of the other refusals asking sooner won't help.
    fate = FATES_OF_REFUSALS.get(verdict.outcome, Fate.SKIPPED)
    targets, named = question.call.targets, verdict.refused_target
    if len(targets) < 2:
        lessons = [Refused(subject, target, verdict.outcome) for subject, target in pairs(question)]
        return Decision(_all(question, fate), lessons=lessons)
    refused = [(subject, target) for subject, target in pairs(question) if target.external_id == named]
    if refused and named is not None:
        again = question.without_target(named, now)
        # Where none is missing, the platform named something else: there is no way to ask without it.
        if len(refused) + _count(again) == len(targets):
            lessons = [Refused(subject, target, verdict.outcome) for subject, target in refused]
            return Decision(dict.fromkeys([subject for subject, _ in refused], fate), again, lessons=lessons)
    again = _split(question, now, was_answered=was_answered)
    return Decision({}, again) if again else Decision(_all(question, fate))


def _too_much(question: Asked, verdict: Verdict, now: int) -> Decision[Asked]:
    """The call asks for too much: ask for half, of the targets, or of a lone one's metrics."""
    count = len(question.call.targets)
    if count > 1 and (again := _split(question, now, was_answered=True)):
        return Decision({}, again, lessons=[TooMany(count)])
    if halves := question.metric_halves():
        return Decision({}, halves)
    lessons = [Refused(subject, target, verdict.outcome) for subject, target in pairs(question)]
    return Decision(_all(question, Fate.SKIPPED), lessons=lessons)


def _split(question: Asked, now: int, *, was_answered: bool) -> list[Asked]:
    """The same about fewer targets each; [] where that can't be asked.

    Where nothing was answered yet, one is asked alone first, far from the half that comes next.
    """
    count = len(question.subjects)
    if was_answered or count < _SAMPLED:
        again = question.halves(now)
    else:
        last = count - 1
        parts = ([last], range(last // 2), range(last // 2, last))
        again = [other for part in parts for other in question.only(part, now)]
    return [part.as_part() for part in again] if _count(again) == count else []


def unanswered(why: NoAnswer) -> Verdict:
    """What it means that no answer came which could be published."""
    return Verdict(Outcome.PLATFORM_DOWN, detail=why.code)


def decide_unanswered(
    question: Asked, why: NoAnswer, now: int, *, was_answered: bool = True, is_own: bool = False
) -> Decision[Asked]:
    """What follows from a call that has no answer which could be published; see `decide`."""
    count = len(question.call.targets)
    if isinstance(why, RetryLater):
        is_slow = isinstance(why, TimedOut) and count > 1
        lessons: list[Lesson] = [TooMany(count, is_slow=True, is_again=is_own)] if is_slow else []
        if not is_own:
            return Decision(_all(question, Fate.RETRY), consequence=BackOff(), lessons=lessons)
        found: Decision[Asked] = _refused_target(question, unanswered(why), now, was_answered=was_answered)
        return replace(found, lessons=[*lessons, *found.lessons])
    if not isinstance(why, AnswerTooLarge):
        return Decision(_all(question, Fate.SKIPPED))
    return _too_much(question, Verdict(Outcome.TOO_MUCH), now)


def pairs(question: ChannelQuestion | SharedQuestion) -> list[tuple[Subject, Target]]:
    """Subjects with their targets; [] for a channel's own figures."""
    return list(zip(question.subjects, question.call.targets, strict=True)) if question.call.targets else []


def _count(questions: Sequence[ChannelQuestion] | Sequence[SharedQuestion]) -> int:
    return sum(len(question.call.targets) for question in questions)


def _all(question: ChannelQuestion | SharedQuestion, fate: Fate) -> dict[Subject, Fate]:
    return dict.fromkeys(question.subjects, fate)
