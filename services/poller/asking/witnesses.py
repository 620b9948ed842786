"""Finds out who is to blame where a question fails without a reason: something else is asked first; pure.

A call that failed may fail for the whole platform, for the channel, or for one of its targets. Asked again and again
before all others, one target would silence its neighbours. So what failed is asked last. What failed twice is asked
after a witness: a single other target, whose answer shows that the platform works. While nothing is answered, a call
costs no more than before; only whom it asks for changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

from services.platforms.base import Target
from services.poller.asking.doubts import Doubts
from services.poller.asking.knowledge import Knowledge
from services.poller.asking.owners import owner_of
from services.poller.asking.questions import CHANNEL, Asked, ChannelQuestion, SharedQuestion, Subject
from services.poller.schedule.plan import Plan

# Failures in a row after which a witness is asked first.
TWICE = 2
# Single targets of a shape whose questions failed, while others of the shape wait for what becomes of them.
_SEVERAL = 3
# Entries of a channel that are looked at for a witness, and of these the ones that calls are made up for.
_LOOKED_AT = 200
_MADE_UP = 5


def least_doubted_first(questions: Iterable[Asked], name: str, known: Knowledge) -> list[Asked]:
    """Questions in the order in which a round asks them: what failed of late comes last."""
    listed = list(questions)
    return sorted(listed, key=lambda one: min(_times(one, name, known.doubts), default=0)) if known.doubts else listed


def waits_until(question: ChannelQuestion | SharedQuestion, name: str, known: Knowledge, now: int) -> int:
    """Until when (ms) a question that never failed waits for others of its shape that did; 0: it need not."""
    if not known.doubts or not question.call.targets or any(_times(question, name, known.doubts)):
        return 0
    until = known.doubts.waits_until(owner_of(question, name), question.shape, _SEVERAL)
    return until if until > now else 0


def with_witness(question: Asked, name: str, known: Knowledge, now: int) -> tuple[list[Asked], list[Asked]]:
    """What to ask in place of a question about targets, in this order, and what to arrange once that was asked."""
    for doubts in (known.limited, known.doubts):
        times = _times(question, name, doubts)
        fresh = [position for position, count in enumerate(times) if not count]
        if fresh and len(fresh) < len(times):
            doubtful = [position for position, count in enumerate(times) if count]
            first, later = question.only(fresh, now), question.only(doubtful, now)
            if doubts is known.doubts:
                # What failed comes last; but if the budget ends the round before, it comes first in the next one.
                later = [one.as_part() for one in later]
            return (first, later) if _count(first) + _count(later) == len(times) else ([question], [])
    if not all(times):
        return [question], []
    if min(times) < TWICE or is_own(question, name, known, now):
        return [question], []
    sample: list[int] = _sample(question, name, known.doubts)
    if sample:
        rest: list[int] = [position for position in range(len(times)) if position not in sample]
        first = [*question.only(sample, now), *question.only(rest, now)]
        return (first, []) if _count(first) == len(times) else ([question], [])
    witness = witness_for(question, name, known, now, is_any_kind=True)
    return [question] if witness is None else [witness, question], []


def is_own(question: ChannelQuestion | SharedQuestion, name: str, known: Knowledge, now: int) -> bool:
    """Whether a question that fails, fails for what it asks for: the platform answers others meanwhile.

    Answers to other channels count where the question's own channel has nothing else that could be asked for: an
    account that is refused everything is the account's matter.
    """
    owner, shape, subjects = owner_of(question, name), question.shape, question.subjects
    if known.shapes.is_refused(owner, shape):
        return True
    if len(subjects) == 1 and question.call.targets and _is_culprit(question, known):
        return True
    if not known.doubts:
        return False
    counts_others = len(subjects) == 1 and next(_others(question, now), None) is None
    return known.doubts.is_own(owner, name, shape, subjects, counts_others=counts_others)


def witness_to_a_limit(question: Asked, name: str, known: Knowledge, now: int) -> list[Asked]:
    """Whom to ask at once after a question met a limit, to see whether the limit is everybody's, and what after that.

    [] where the limit is taken for what it says: unless the question met it before, and then ever more seldom.
    """
    owner, shape = owner_of(question, name), question.shape
    times = min([known.limited.times(owner, shape, subject) for subject in question.subjects], default=0) + 1
    if times < TWICE or not known.limited.takes_witness(owner):
        return []
    sample: list[int] = _sample(question, name, known.limited)
    rest: list[int] = [position for position in range(len(question.subjects)) if position not in sample]
    if sample:
        parts: list[Asked] = [one.arranged() for one in question.only(sample, now)]
        parts += question.only(rest, now)
        return parts if _count(parts) == len(question.subjects) else []
    witness = witness_for(question, name, known, now)
    return [] if witness is None else [witness, question]


def witness_to_token(question: Asked, name: str, known: Knowledge, now: int) -> Asked | None:
    """Another target to ask for where one alone is refused for the token's sake; None where that is known of the token.

    A post of somebody else may be refused in words about a token that every other post is answered with.
    """
    is_known = any(plan.key in known.refused_tokens for plan in question.plans)
    return None if is_known else witness_for(question, name, known, now)


def witness_for(question: Asked, name: str, known: Knowledge, now: int, *, is_any_kind: bool = False) -> Asked | None:
    """Another single target of the question's channels, the least doubted; None where there is none.

    Args:
        is_any_kind: it may be asked for by calls of another shape, where that many of this shape failed.
    """
    owner, shape = owner_of(question, name), question.shape
    of_other_kinds = is_any_kind and known.doubts.alone(owner, shape) >= _SEVERAL
    found: list[tuple[int, int, Asked]] = []
    for plan, target in _others(question, now):
        of_kind = question.about(plan, target, now)[:1]
        for other in of_kind or (question.of_any_kind(target, now)[:1] if of_other_kinds else []):
            if known.culprits.again_at(plan.key, other.shape, target.external_id) is not None:
                continue
            times = known.doubts.times(owner, other.shape, other.subjects[0])
            if not times and bool(of_kind) is not of_other_kinds:
                return other.arranged()
            # Those of the shape that fails come after all of other shapes.
            rank = times + (_LOOKED_AT if of_kind and of_other_kinds else 0)
            found.append((rank, crc32(target.target_id.encode()), other))
        if len(found) >= _MADE_UP and not of_other_kinds:
            break
    return min(found, key=lambda one: one[:2])[2].arranged() if found else None


def _others(question: ChannelQuestion | SharedQuestion, now: int) -> Iterator[tuple[Plan, Target]]:
    """Other targets of a question's channels that the platform may be asked for, some at most."""
    asked = set(question.subjects)
    for plan in question.plans:
        count = len(plan.entries)
        for step in range(min(count, _LOOKED_AT)):
            # From another place each time, so that the same ones are not always looked at.
            entry = plan.entries[(now + step) % count]
            if entry is None or entry.dropped or entry.is_resting or entry.published_at > now:
                continue
            if Subject(plan.key, entry.target_id) not in asked:
                yield plan, entry.target()


def _sample(question: ChannelQuestion | SharedQuestion, name: str, doubts: Doubts) -> list[int]:
    """The position of a target that was not asked for alone yet; [] where each was, or there is only one."""
    owner, shape, subjects = owner_of(question, name), question.shape, question.subjects
    left = [position for position, one in enumerate(subjects) if not doubts.times_alone(owner, shape, one)]
    if len(subjects) < TWICE or not left:
        return []
    # Wherever culprits stand in the order: those beside one another may be alike.
    return [min(left, key=lambda position: crc32(subjects[position].target_id.encode()))]


def _count(questions: Sequence[ChannelQuestion] | Sequence[SharedQuestion]) -> int:
    return sum(len(question.subjects) for question in questions)


def _times(question: ChannelQuestion | SharedQuestion, name: str, doubts: Doubts) -> Sequence[int]:
    owner, shape = owner_of(question, name), question.shape
    subjects = question.subjects or (Subject(question.plans[0].key, CHANNEL),)
    return [doubts.times(owner, shape, subject) for subject in subjects]


def _is_culprit(question: ChannelQuestion | SharedQuestion, known: Knowledge) -> bool:
    (subject,), (target,) = question.subjects, question.call.targets
    return known.culprits.again_at(subject.channel, question.shape, target.external_id) is not None
