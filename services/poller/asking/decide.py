"""Decides what follows from what came of a call; pure.

In: the question that was asked and what its answer means, or why there is no answer. Out: what became of each target,
what to ask at once, and what has to be done beyond this call. Nothing is done here: the rounds carry it out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple

from schemas.events import PlatformRaw
from services.platforms.base import Call, MappingError, Outcome, Platform, Verdict
from services.poller.asking.questions import Asked, ChannelQuestion, SharedQuestion, Subject
from services.poller.asking.smaller import metrics_of
from services.poller.errors import AnswerTooLarge, NoAnswer, RetryLater
from services.poller.schedule.batch import Fate

_LIMITS = frozenset({Outcome.RETRY_LATER, Outcome.QUOTA_EXHAUSTED})
# Answers about the token, or about the account behind it. A missing permission is one post's or metric's matter where
# a channel's own token asks; where our app's token asks, the token is of no use.
_CHANNEL_REFUSED = frozenset({Outcome.TOKEN_EXPIRED, Outcome.TOKEN_REVOKED, Outcome.ACCOUNT_DISABLED})
_APP_REFUSED = _CHANNEL_REFUSED | {Outcome.PERMISSION_MISSING}
# The platform refuses one of the metrics: the call is made again without it.
_WITHOUT_A_METRIC = frozenset({Outcome.REQUEST_WRONG, Outcome.METRIC_FORBIDDEN, Outcome.METRIC_NOT_OFFERED})


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


class LeaveOut(NamedTuple):
    """The platform refuses metrics: ask for this channel's figures without them for a while.

    Attributes:
        metrics: their names.
        accepted: the call without them; None where they were all that was asked for.
    """

    metrics: Sequence[str]
    accepted: Call | None


class Separate(NamedTuple):
    """A channel's targets make the platform refuse whole batches: ask for it alone for a while."""


Consequence = BackOff | Hold | Pause | LeaveOut | Separate


@dataclass(frozen=True, slots=True)
class Decision(Generic[Asked]):
    """What follows from a call.

    Attributes:
        fates: what became of each subject, less those that `again` asks about. Of RETRY the instant is missing: it
            follows from `consequence`.
        again: questions to ask at once, in this order.
        consequence: what else has to be done; None for nothing.
    """

    fates: Mapping[Subject, Fate]
    again: Sequence[Asked] = ()
    consequence: Consequence | None = None


def gone_in(platform: Platform, events: Iterable[PlatformRaw]) -> frozenset[Subject]:
    """The targets that successful answers say are gone."""
    gone = []
    for event in events:
        if not event.targets:
            continue
        try:
            positions = platform.read(event).gone
        except MappingError:
            continue  # the aggregator says so, in the dead letters
        channel = (event.workspace_id, event.channel_id)
        gone += [Subject(channel, event.targets[position].target_id) for position in positions]
    return frozenset(gone)


def decide(question: Asked, verdict: Verdict, gone: Collection[Subject], now: int) -> Decision[Asked]:
    """What follows from an answer.

    Args:
        gone: what a successful answer says is gone; see `gone_in`.
        now: ms.
    """
    outcome = verdict.outcome
    if outcome is Outcome.OK:
        return Decision({one: Fate.GONE if one in gone else Fate.CAPTURED for one in question.subjects})
    if outcome is Outcome.PLATFORM_DOWN:
        return Decision(_all(question, Fate.RETRY), consequence=BackOff(verdict.retry_after_seconds))
    is_apps = isinstance(question, SharedQuestion)
    if outcome in _LIMITS:
        # Where the app's budget is closed to everybody, whose turn it is when it opens goes by who has waited.
        fate = Fate.DEFERRED if is_apps else Fate.RETRY
        hold = Hold(verdict.retry_after_seconds, outcome is Outcome.QUOTA_EXHAUSTED, is_apps or verdict.is_app_wide)
        return Decision(_all(question, fate), consequence=hold)
    if outcome in (_APP_REFUSED if is_apps else _CHANNEL_REFUSED):
        return Decision(_all(question, Fate.RETRY), consequence=Pause(outcome))
    if isinstance(question, SharedQuestion):
        return _refused_together(question)
    if outcome in _WITHOUT_A_METRIC:
        return _refused_metric(question, verdict, now)
    return _refused_target(question, verdict, now)


def _refused_together(question: SharedQuestion) -> Decision[SharedQuestion]:
    """Something of one channel makes the platform refuse the batch: find out which, and let that one go alone."""
    again = question.halves_by_channel()
    if again:
        return Decision({}, again)
    return Decision(_all(question, Fate.RETRY), consequence=Separate())


def _refused_metric(question: ChannelQuestion, verdict: Verdict, now: int) -> Decision[ChannelQuestion]:
    """The platform refuses a metric, or the request: ask without the metric."""
    metric = verdict.refused_metric
    if metric == "":
        # Refused without being named: ask in halves until it stands alone.
        again = question.metric_halves()
        if again:
            return Decision({}, again)
        return Decision(_all(question, Fate.SKIPPED), consequence=LeaveOut(metrics_of(question.call), None))
    smaller = None if metric is None else question.without_metric(metric)
    if metric is None or smaller is None:
        return _refused_target(question, verdict, now)
    return Decision({}, [smaller], LeaveOut([metric], smaller.call))


_FATES_OF_REFUSALS = {Outcome.TARGET_GONE: Fate.GONE, Outcome.NO_DATA_EVER: Fate.NEVER}


def _refused_target(question: ChannelQuestion, verdict: Verdict, now: int) -> Decision[ChannelQuestion]:
    """The answer concerns a target: of several, find out which, and ask for the others again."""
    # Of the other refusals asking sooner won't help.
    fate = _FATES_OF_REFUSALS.get(verdict.outcome, Fate.SKIPPED)
    targets, named = question.call.targets, verdict.refused_target
    if named is not None and len(targets) > 1:
        again = question.without_target(named, now)
        # Where none is missing, the platform named something else: there is no way to ask without it.
        if again and sum(len(other.call.targets) for other in again) != len(targets):
            refused = zip(question.subjects, targets, strict=True)
            return Decision({subject: fate for subject, target in refused if target.external_id == named}, again)
    again = [] if fate is Fate.SKIPPED else question.halves(now)
    return Decision({}, again) if again else Decision(_all(question, fate))


def decide_unanswered(question: Asked, why: NoAnswer, now: int) -> Decision[Asked]:
    """What follows from a call that has no answer which could be published; `now` in ms."""
    if isinstance(why, RetryLater):
        return Decision(_all(question, Fate.RETRY), consequence=BackOff())
    again = question.halves(now) if isinstance(why, AnswerTooLarge) else []
    return Decision({}, again) if again else Decision(_all(question, Fate.SKIPPED))


def _all(question: ChannelQuestion | SharedQuestion, fate: Fate) -> dict[Subject, Fate]:
    return dict.fromkeys(question.subjects, fate)
