"""Arranges what is to be asked by what is known: who is asked apart, without what, how many at once, or not now; pure.

In: a question as the platform's file describes it. Out: the questions to ask in its place, and what becomes of targets
that are not asked for now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic

from services.platforms.base import Target
from services.poller.asking.knowledge import Knowledge
from services.poller.asking.owners import kinds_of, owner_of
from services.poller.asking.questions import CHANNEL, Asked, ChannelQuestion, SharedQuestion, Subject
from services.poller.asking.refusals import Kind
from services.poller.asking.refused_shapes import WAITS, Turn
from services.poller.asking.smaller import metrics_of
from services.poller.asking.witnesses import waits_until, with_witness
from services.poller.keys import ChannelKey
from services.poller.schedule.batch import Fate, Settled


@dataclass(slots=True)
class Arranged(Generic[Asked]):
    """What a question became.

    Attributes:
        ask: in this order; those that are to be asked as they are say so (`is_arranged`).
        settled: what becomes of subjects that are not asked for now.
    """

    ask: list[Asked] = field(default_factory=list)
    settled: dict[Subject, Settled] = field(default_factory=dict)


def arranged(question: Asked, name: str, known: Knowledge, now: int, *, is_scheduled: bool) -> Arranged[Asked]:
    """What to ask in place of a question.

    Args:
        name: the platform's.
        now: ms.
        is_scheduled: the schedule asks. Whoever else asks is waited for: nothing is put off then.
    """
    if question.is_arranged or known.is_empty:
        return Arranged([question.arranged()])
    if is_scheduled:
        held = _held_back(question, name, known, now)
        if held is not None:
            return held
        waits = max(searched_until(question, name, known, now), waits_until(question, name, known, now))
        if waits:
            return Arranged(settled=dict.fromkeys(question.subjects, Settled(Fate.RETRY, waits)))
    if not question.call.targets:
        return _of_channel(question, name, known, now)
    found: Arranged[Asked] = Arranged()
    together = list(range(len(question.subjects)))
    if known.culprits:
        together = _apart(question, name, known, now, found, is_scheduled=is_scheduled)
    rest = [question] if len(together) == len(question.subjects) else question.only(together, now)
    for other in [part for one in rest for part in _in_parts(one, name, known, now)]:
        first, later = with_witness(other, name, known, now) if is_scheduled and known.may_doubt else ([other], [])
        for one in first:
            for part in _sized(one, known, now):
                found.ask += _without([part], known, name, now, found)
        # By then it may have shown who is to blame.
        found.ask += later
    return found


def _apart(
    question: Asked, name: str, known: Knowledge, now: int, found: Arranged[Asked], *, is_scheduled: bool
) -> list[int]:
    """Ask for culprits apart, or not now; returns the positions of all others."""
    together: list[int] = []
    shape, owner = question.shape, owner_of(question, name)
    due: list[int] = []
    failing: list[tuple[tuple[bool, int], int]] = []
    for position, (subject, target) in enumerate(_targets(question)):
        again_at = known.culprit_again_at(owner, subject.channel, shape, target.external_id)
        if again_at is None:
            together.append(position)
        elif is_scheduled and now < again_at:
            # Drawn early to fill a call, it would else miss its try by a whole interval.
            is_soon = known.culprits.is_soon(again_at, now)
            found.settled[subject] = Settled(Fate.RETRY, again_at) if is_soon else Settled(Fate.SKIPPED)
        elif is_scheduled and known.culprits.fails(subject.channel, shape, target.external_id):
            failing.append((known.culprits.turn(subject.channel, shape, target.external_id, now), position))
        else:
            due.append(position)
    later: list[int] = []
    tried: Counter[ChannelKey] = Counter()
    for _, position in sorted(failing):
        key = question.subjects[position].channel
        if (room := known.culprits.room(key, shape, now)) > tried[key]:
            tried[key] += 1
            due.append(position)
        elif room:
            later.append(position)
        else:
            again_at = known.culprits.room_at(key, shape, now)
            found.settled[question.subjects[position]] = Settled(Fate.RETRY, again_at)
    for position in due:
        found.ask += _without(question.only([position], now), known, name, now, found)
    # Arranged anew once those were asked: tried as well, or put off.
    found.ask += question.only(later, now) if later else []
    return together


def _held_back(question: Asked, name: str, known: Knowledge, now: int) -> Arranged[Asked] | None:
    """What becomes of a question whose shape is refused of its channel, or of all channels; None for any other."""
    shape, key, turn = question.shape, owner_of(question, name), Turn.FREE
    if question.call.targets:
        turn = known.shapes.turn(key, shape, now)
    if turn is Turn.WAIT:
        again_at = known.shapes.again_at(key)
        is_far = known.shapes.is_old(key, shape, now) and again_at - now > WAITS[-1]
        fate = Settled(Fate.SKIPPED) if is_far else Settled(Fate.RETRY, again_at)
        return Arranged(settled=dict.fromkeys(question.subjects, fate))
    until = known.incidents.wait_until(name, shape, now)
    if until:
        return Arranged(settled=dict.fromkeys(question.subjects, Settled(Fate.RETRY, until)))
    if not question.call.targets or (turn is Turn.FREE and not known.incidents.is_total(name, shape)):
        return None
    # A try: with a target that was not refused yet, where there is one.
    struck = [known.shapes.was_struck(key, target.external_id) for target in question.call.targets]
    first = struck.index(False) if False in struck else now // 1000 % len(struck)
    others = [position for position in range(len(struck)) if position != first]
    found: Arranged[Asked] = Arranged()
    found.ask += _without(question.only([first], now), known, name, now, found)
    # The others are arranged after the try, and so asked or put off by what came of it.
    found.ask += question.only(others, now) if others else []
    return found


def searched_until(question: ChannelQuestion | SharedQuestion, name: str, known: Knowledge, now: int) -> int:
    """Until when at most a metric is searched for with another target of a question's kinds; 0: it is not."""
    if not known.searches:
        return 0
    return max(
        (
            known.searches.wait_until(plan.key, kind, external_ids, now)
            for kind, external_ids in kinds_of(question, name).items()
            for plan in question.plans
        ),
        default=0,
    )


def _targets(question: Asked) -> Sequence[tuple[Subject, Target]]:
    return list(zip(question.subjects, question.call.targets, strict=True))


def _of_channel(question: Asked, name: str, known: Knowledge, now: int) -> Arranged[Asked]:
    """A channel's own figures."""
    (subject,) = question.subjects or (Subject(question.plans[0].key, CHANNEL),)
    left_out = known.refusals.of_channel(subject.channel, question.shape, now)
    smaller = question.without_metrics(left_out) if left_out else question
    if smaller is None:
        return Arranged(settled={subject: Settled(Fate.SKIPPED)})
    return Arranged([part.arranged() for part in _in_metrics(smaller, name, known)])


def _in_parts(question: Asked, name: str, known: Knowledge, now: int) -> list[Asked]:
    """A question without what was put off as parts of a batch that fails, and before it these parts, smallest first."""
    if not known.parts:
        return [question]
    owner, shape = owner_of(question, name), question.shape
    rest: list[int] = []
    by_size: dict[int, list[int]] = {}
    for position, subject in enumerate(question.subjects):
        size = known.parts.size(owner, shape, subject)
        (rest if size is None else by_size.setdefault(size, [])).append(position)
    if not by_size:
        return [question]
    targets_apart: list[Asked] = [
        part.as_part()
        for size, positions in sorted(by_size.items())
        for begin in range(0, len(positions), size)
        for part in question.only(positions[begin : begin + size], now)
    ]
    found: list[Asked] = [smaller for part in targets_apart for smaller in _in_metrics(part, name, known)]
    return found + question.only(rest, now) if rest else found


def _in_metrics(question: Asked, name: str, known: Knowledge) -> list[Asked]:
    """A question about one subject, with the metrics together that were put off together."""
    if len(question.subjects) != 1 or not known.parts:
        return [question]
    owner, shape, (subject,) = owner_of(question, name), question.shape, question.subjects
    asked: list[Asked] = []
    names = metrics_of(question.call)
    for metrics in known.parts.take_metrics(owner, shape, subject):
        smaller = question.without_metrics([one for one in names if one not in metrics])
        if smaller is not None:
            asked.append(smaller.as_part())
    return asked or [question]


def _sized(question: Asked, known: Knowledge, now: int) -> list[Asked]:
    """A question in parts that the platform answers at once."""
    sizes = [known.sizes.most(plan.key, question.shape, now) for plan in question.plans]
    most = min([size for size in sizes if size is not None], default=None)
    count = len(question.subjects)
    if most is None or count <= most:
        return [question]
    return [
        part for begin in range(0, count, most) for part in question.only(range(begin, min(begin + most, count)), now)
    ]


def _without(questions: Sequence[Asked], known: Knowledge, name: str, now: int, found: Arranged[Asked]) -> list[Asked]:
    """The same without what each target is refused: one question for all targets that lack the same."""
    if not known.refusals:
        return [question.arranged() for question in questions]
    ask: list[Asked] = []
    for question in questions:
        groups: dict[tuple[frozenset[str], str], list[int]] = {}
        for position, (subject, target) in enumerate(_targets(question)):
            kind = Kind(name, question.shape, target.post_type)
            left_out, is_trial = known.refusals.left_out(subject.channel, kind, target, now)
            groups.setdefault((left_out, target.target_id if is_trial else ""), []).append(position)
        for (left_out, _), positions in groups.items():
            parts = [question] if len(groups) == 1 else question.only(positions, now)
            for part in parts:
                smaller = part.without_metrics(left_out) if left_out else part
                if smaller is None:
                    found.settled |= dict.fromkeys(part.subjects, Settled(Fate.SKIPPED))
                else:
                    ask.append(smaller.arranged())
    return ask
