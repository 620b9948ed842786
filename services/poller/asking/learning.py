"""Learns from answers: what was given, what was refused, and when enough was refused to stop asking for a while; pure.

Knowledge is of the whole process (`knowledge.py`); what one round has seen of a shape of call is the round's (`Seen`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from services.platforms.base import Outcome, Verdict
from services.poller.asking.decide import (
    LIMITS,
    UNEXPLAINED,
    BackOff,
    Decision,
    Halved,
    Hold,
    LeaveOut,
    Lesson,
    Pause,
    Refused,
    Suspect,
    TooMany,
)
from services.poller.asking.knowledge import Knowledge
from services.poller.asking.owners import kinds_of, owner_of
from services.poller.asking.questions import Asked, ChannelQuestion, SharedQuestion, Subject
from services.poller.asking.refusals import Kind
from services.poller.asking.refused_shapes import STRIKES
from services.poller.asking.smaller import asks_for, metrics_of
from services.poller.keys import ChannelKey
from services.poller.schedule.batch import Fate
from services.runtime.clock import MILLIS_PER_HOUR

# Refused alone without anything else being refused alike, these are matters of that target alone.
_OF_ONE = frozenset({Outcome.TOO_EARLY, Outcome.NO_DATA_EVER})
# A channel that was answered since then is refused single targets, not the shape of the call.
_LATELY = MILLIS_PER_HOUR // 2


class Seen:
    """What a round has seen of one shape of call.

    Attributes:
        is_answered: something of it was answered.
        is_split: a call about several targets was refused.
        refused: the last refusal.
        given: the targets that the last answer had figures of.
        is_of_targets: it refused a target that was asked for alone.
        limited: who met a limit, and was asked for again after a witness was.
    """

    __slots__ = ("given", "is_answered", "is_of_targets", "is_split", "limited", "refused")

    def __init__(self) -> None:
        self.given: frozenset[Subject] = frozenset()
        self.limited: set[Subject] = set()
        self.is_answered = False
        self.is_split = False
        self.is_of_targets = False
        self.refused: Verdict | None = None


def doubted(question: Asked, name: str, known: Knowledge) -> list[str]:
    """Metrics that other targets of a lone target's kind in its channel were refused."""
    if len(question.call.targets) != 1:
        return []
    kind = Kind(name, question.shape, question.call.targets[0].post_type)
    return known.refusals.doubted(question.subjects[0].channel, kind)


def was_given(question: Asked, name: str, known: Knowledge, metrics: Sequence[str], now: int) -> bool:
    """Whether targets like those of a question were given metrics of late."""
    kinds = kinds_of(question, name)
    return all(
        any(known.refusals.was_given(plan.key, kinds, metric, now) for plan in question.plans) for metric in metrics
    )


def answered(
    question: ChannelQuestion | SharedQuestion,
    name: str,
    known: Knowledge,
    seen: Seen,
    given: Collection[Subject],
    now: int,
) -> set[ChannelKey]:
    """A call was answered.

    Args:
        given: the targets that have figures by it.

    Returns:
        The channels of which what was put off is asked again from now on.
    """
    shape = question.shape
    seen.is_answered = True
    resumed: set[ChannelKey] = set()
    struck = known.shapes.answered(owner_of(question, name), shape, now)
    for plan in question.plans:
        if struck is not None:
            # They were refused while everything was.
            known.culprits.forget(plan.key, struck)
            resumed.add(plan.key)
        known.sizes.answered(plan.key, shape)
        healed = known.incidents.answered(name, shape, plan.key, now)
        for key, external_ids in known.shapes.forget(healed, shape):
            known.culprits.forget(key, external_ids)
        resumed.update(healed)
    if not question.call.targets:
        return resumed
    if known.culprits:
        for subject, target in zip(question.subjects, question.call.targets, strict=True):
            if subject in given:
                known.culprits.answered(subject.channel, shape, target.external_id, now)
    if known.refusals:
        listed = metrics_of(question.call)
        for (key, kind), external_ids in _by_kind(question, name, given).items():
            # Fields, too, may be refused, which the call's lists of metrics don't name.
            others = [
                one for one in known.refusals.names_of(kind) if one not in listed and asks_for(question.call, one)
            ]
            known.refusals.given(key, kind, external_ids, [*listed, *others], now)
    seen.given = frozenset(given)
    return resumed


def _by_kind(
    question: ChannelQuestion | SharedQuestion, name: str, subjects: Collection[Subject]
) -> dict[tuple[ChannelKey, Kind], list[str]]:
    """The ids of some of a question's targets, by their channels and kinds."""
    found: dict[tuple[ChannelKey, Kind], list[str]] = {}
    for subject, target in zip(question.subjects, question.call.targets, strict=True):
        if subject in subjects:
            kind = Kind(name, question.shape, target.post_type)
            found.setdefault((subject.channel, kind), []).append(target.external_id)
    return found


def note(
    question: Asked,
    name: str,
    known: Knowledge,
    decision: Decision[Asked],
    verdict: Verdict,
    apart: Mapping[Subject, Verdict],
    again_at: int,
) -> None:
    """Keep who failed without a reason, so that it shows who is to blame; forget it of those of whom more is known.

    Args:
        verdict: what the answer means, or that there was none.
        apart: the same for targets that the answer tells of apart.
        again_at: when what failed is asked for again, ms.
    """
    owner, shape, then = owner_of(question, name), question.shape, decision.consequence
    if verdict.outcome not in UNEXPLAINED and not isinstance(then, Hold | Pause):
        for doubts in (known.doubts, known.limited):
            doubts.answered(owner, name, shape)
    if isinstance(then, BackOff):
        known.doubts.failed(owner, shape, question.subjects, again_at)
        return
    waiting = {subject for subject, fate in decision.fates.items() if fate in (Fate.RETRY, Fate.DEFERRED)}
    refused = {lesson.subject for lesson in decision.lessons if isinstance(lesson, Refused)}
    down = [
        subject for subject, verdict in apart.items()
        if verdict.outcome in UNEXPLAINED and subject not in waiting and subject not in refused
    ]  # fmt: skip
    if isinstance(then, Hold):
        known.limited.failed(owner, shape, list(waiting), again_at)
    elif verdict.outcome in LIMITS and not decision.fates:
        known.limited.failed(owner, shape, question.subjects, again_at)
    memories = [memory for memory in (known.doubts, known.limited, known.parts) if memory]
    if memories:
        settled = decision.fates.keys() - waiting - set(down)
        for memory in memories:
            memory.settled(owner, shape, settled)
    if down:
        known.doubts.failed(owner, shape, down, again_at)


def put_off_part(question: ChannelQuestion | SharedQuestion, name: str, known: Knowledge) -> None:
    """The budget allows no such call: part of a question that fails stays a part."""
    if question.is_part:
        lone = metrics_of(question.call) if len(question.subjects) == 1 else ()
        known.parts.put_off(owner_of(question, name), question.shape, question.subjects, lone)


def found_out(lessons: Iterable[Lesson]) -> set[ChannelKey]:
    """Channels of which something is known now that their other targets may have waited for."""
    return {lesson.subject.channel for lesson in lessons if isinstance(lesson, LeaveOut)}


def learn(
    question: ChannelQuestion | SharedQuestion,
    name: str,
    known: Knowledge,
    seen: Seen,
    lessons: Iterable[Lesson],
    verdict: Verdict,
    now: int,
) -> bool:
    """Keep what an answer taught; returns whether the shape is taken for refused from now on.

    Args:
        verdict: what the answer means.
    """
    shape, is_concluded = question.shape, False
    if not question.call.targets:
        seen.refused = verdict
    was_split, seen.is_split = seen.is_split, seen.is_split or len(question.subjects) > 1
    lessons = list(lessons)
    _note_given_beside(question, name, known, seen, lessons, now)
    for lesson in lessons:
        known.taught(plan.key for plan in question.plans)
        if isinstance(lesson, Suspect):
            for plan in question.plans:
                known.refusals.suspect(plan.key, kinds_of(question, name), lesson.metric)
        elif isinstance(lesson, TooMany):
            for plan in question.plans:
                if lesson.is_slow and not lesson.is_again:
                    known.sizes.timed_out(plan.key, shape, lesson.targets, now)
                elif lesson.is_slow:
                    # Parts that time out as well say that one of them is to blame, and not their number.
                    if not was_split:
                        known.sizes.too_many(plan.key, shape, lesson.targets, now, is_slow=True)
                else:
                    known.sizes.too_many(plan.key, shape, lesson.targets, now)
        elif isinstance(lesson, Halved):
            kind = Kind(name, shape, lesson.target.post_type)
            known.searches.step(lesson.subject.channel, kind, lesson.target.external_id, now)
        elif isinstance(lesson, LeaveOut):
            if lesson.target is None:
                known.refusals.refuse_channel(lesson.subject.channel, shape, lesson.metrics, now)
            else:
                kind = Kind(name, shape, lesson.target.post_type)
                known.searches.end(lesson.subject.channel, kind)
                is_connections = lesson.outcome is Outcome.METRIC_FORBIDDEN
                known.refusals.refuse(
                    lesson.subject.channel, kind, lesson.target, lesson.metrics, now, is_connections=is_connections
                )
        else:
            is_concluded = _refused(lesson, question, name, known, seen, verdict, now) or is_concluded
    return is_concluded


def _note_given_beside(
    question: ChannelQuestion | SharedQuestion,
    name: str,
    known: Knowledge,
    seen: Seen,
    lessons: Iterable[Lesson],
    now: int,
) -> None:
    """One answer refused metrics of some targets: note first that others of their kinds were given these by it."""
    refused = {
        metric for lesson in lessons if isinstance(lesson, LeaveOut) and lesson.target for metric in lesson.metrics
    }
    beside = _by_kind(question, name, seen.given) if refused and len(question.subjects) > 1 else {}
    for (key, kind), external_ids in beside.items():
        for metric in refused:
            known.refusals.suspect(key, [kind], metric)
        known.refusals.given(key, kind, external_ids, refused, now)


def _refused(
    lesson: Refused,
    question: ChannelQuestion | SharedQuestion,
    name: str,
    known: Knowledge,
    seen: Seen,
    verdict: Verdict,
    now: int,
) -> bool:
    owner, shape = owner_of(question, name), question.shape
    key, external_id, is_unexplained = lesson.subject.channel, lesson.target.external_id, lesson.outcome in UNEXPLAINED
    refused_at = known.culprits.refused_at(key, shape, external_id)
    was_known = known.culprits.again_at(key, shape, external_id) is not None
    # Nothing was answered since it failed the last time: it may have failed with everything else.
    is_sure = not is_unexplained or refused_at is None or known.shapes.was_answered(owner, shape, refused_at + 1)
    known.culprits.refused(key, shape, external_id, lesson.outcome, now, is_sure=is_sure)
    if is_unexplained:
        known.sizes.blameless(key, shape)
    is_total = known.incidents.is_total(name, shape)
    is_ones = was_known or (lesson.outcome in _OF_ONE and not seen.is_split)
    if is_ones and not (is_total or known.shapes.is_refused(owner, shape)):
        return False
    seen.refused, seen.is_of_targets = verdict, True
    if seen.is_answered:
        return False
    return known.shapes.refused(
        owner, shape, external_id, lesson.outcome, now, is_sample=seen.is_split, is_total=is_total
    )


def separated(question: SharedQuestion, name: str, known: Knowledge, seen: Seen, verdict: Verdict, now: int) -> bool:
    """A call of our app about one channel was refused; returns whether the shape is taken for refused of our app."""
    seen.refused, seen.is_split = verdict, True
    if seen.is_answered:
        return False
    (plan,) = question.plans
    owner, outcome = owner_of(question, name), verdict.outcome
    return known.shapes.refused(owner, question.shape, "/".join(plan.key), outcome, now, is_sample=True)


def over(
    name: str, key: ChannelKey, known: Knowledge, by_shape: Mapping[str, Seen], now: int, *, is_apps: bool = False
) -> list[tuple[str, Verdict]]:
    """A round of a channel is over: note which shapes were refused of it.

    Args:
        is_apps: they are refused of our app, and so of this channel.

    Returns:
        The shapes of which that is an incident from now on, with what the last answer means.
    """
    begun = []
    for shape, seen in by_shape.items():
        if seen.is_answered or seen.refused is None:
            continue
        if known.shapes.is_refused(key, shape) or not known.shapes.was_answered(key, shape, now - _LATELY):
            outcome, detail = seen.refused.outcome, seen.refused.detail
            samples = known.shapes.samples(key, shape) if seen.is_of_targets and not is_apps else STRIKES
            if known.incidents.refused(name, shape, key, outcome, detail, now, samples):
                begun.append((shape, seen.refused))
    return begun
