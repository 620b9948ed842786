"""Finds the reason why a figure is null. Pure.

`not_supported`: the platform never reports it, no poll asks for it, or an answer of this very post or channel was
without it. `retired`: it is not asked for any more, by age or because the platform says that the post is gone.
`permission`: by the last answer a permission, a plan or a working connection is missing. `error`: the last answer
failed otherwise. `pending`: there was no answer yet, or too little data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import compress
from operator import is_

import orjson

from schemas.events import ChannelStatus
from schemas.metrics import (
    AVG_WATCH_TIME,
    CHANNEL_NAMES,
    COMMENTS,
    IMPRESSIONS,
    LIKES,
    POST_NAMES,
    REACH,
    SAVES,
    SHARES,
    VIEWS,
    Values,
    post_engagement_rate,
)
from schemas.registers import Register
from services.platforms import all_platforms, polled_metrics
from services.platforms.base import Outcome
from services.query_api.tidemark.resources.due import has_ended, is_published
from services.query_api.tidemark.resources.states import (
    ChannelState,
    Evidence,
    TargetState,
    spoken_of,
    stamp_of,
)

ENGAGEMENTS = "engagements"
ENGAGEMENT_RATE = "engagement_rate"
_INTERACTIONS = (LIKES, COMMENTS, SHARES, SAVES)
_RATE_BASES = (IMPRESSIONS, REACH, VIEWS)
_BITS = tuple([1 << metric for metric in range(len(POST_NAMES))])
_NONES = (None,) * len(POST_NAMES)
_ALL = sum(_BITS)


class Reason(StrEnum):
    """Why a figure is null; a sum with several reasons has the first one in this order."""

    PENDING = "pending"
    ERROR = "error"
    PERMISSION = "permission"
    RETIRED = "retired"
    NOT_SUPPORTED = "not_supported"

    # An enumeration's own is written in Python, and takes longer than the look-ups that need it.
    __hash__ = str.__hash__


_ORDER = {reason: place for place, reason in enumerate(Reason)}
_OF_OUTCOME = {
    Outcome.OK: Reason.PENDING,
    Outcome.TOO_EARLY: Reason.PENDING,
    Outcome.PERMISSION_MISSING: Reason.PERMISSION,
    Outcome.METRIC_FORBIDDEN: Reason.PERMISSION,
    Outcome.METRIC_NOT_OFFERED: Reason.NOT_SUPPORTED,
    Outcome.TOKEN_EXPIRED: Reason.PERMISSION,
    Outcome.TOKEN_REVOKED: Reason.PERMISSION,
    Outcome.ACCOUNT_DISABLED: Reason.PERMISSION,
    Outcome.TARGET_GONE: Reason.RETIRED,
    Outcome.NO_DATA_EVER: Reason.RETIRED,
}


def first(reasons: Iterable[Reason]) -> Reason:
    """The first of several reasons in the order of `Reason`; PENDING without any."""
    return min(reasons, key=_ORDER.__getitem__, default=Reason.PENDING)


def is_channel_reported(platform: str, metric: int) -> bool:
    """Whether polls of a platform ever bring a channel metric."""
    known = all_platforms().get(platform)
    return known is not None and bool(known.facts.asked_periods(CHANNEL_NAMES[metric]))


def needs_answers(target: TargetState, now: int) -> bool:
    """Whether only the platform's answers can tell why a figure of a target is null; `now` in ms."""
    awaited = polled_metrics(target.channel.platform) & ~spoken_of(target.register)
    if not awaited or not is_published(target) or has_ended(target, now):
        return False
    return awaited & _unknown(target.register) != 0


def may_be_refused_apart(target: TargetState) -> bool:
    """Whether a figure of a target is unknown that its platform refuses of single posts within a good answer."""
    apart = _refused_apart(target.channel.platform)
    if not apart:
        return False
    return apart & ~spoken_of(target.register) & _unknown(target.register) != 0


@lru_cache(maxsize=64)
def _refused_apart(platform: str) -> int:
    """The figures that a platform refuses of single posts, as a bit mask; 0 for an unknown platform."""
    known = all_platforms().get(platform)
    return 0 if known is None else sum(1 << POST_NAMES.index(name) for name in known.facts.refused_apart)


class Reasons(dict[str, Reason]):
    """Reasons by column; shared by all that have the same, so nobody changes them."""

    # By identity: those of the same targets are the same object, as long as they are remembered.
    __hash__ = object.__hash__  # type: ignore[assignment]  # a dict has none

    @cached_property
    def written(self) -> orjson.Fragment:
        """The same as JSON."""
        return orjson.Fragment(orjson.dumps(self))


def target_reasons(target: TargetState, now: int) -> Reasons:
    """The reason for every null figure of a target, by column; `now` in ms."""
    return rated_target_reasons(target, now, is_rated=post_engagement_rate(target.register.values) is not None)


def rated_target_reasons(target: TargetState, now: int, *, is_rated: bool) -> Reasons:
    """The same where it is known whether the target has an engagement rate."""
    register = target.register
    awaited = polled_metrics(target.channel.platform) & ~spoken_of(register)
    unspoken = _unspoken(target, now) if awaited else Reason.NOT_SUPPORTED
    return _target_reasons(_unknown(register), awaited, unspoken, not is_rated)


@lru_cache(maxsize=4096)
def _target_reasons(nulls: int, awaited: int, unspoken: Reason, is_unrated: bool) -> Reasons:
    """The reasons of all targets that are alike.

    Args:
        nulls: the unknown figures, as a bit mask.
        awaited: figures that the platform reports and that no answer spoke of.
        unspoken: the reason of those.
        is_unrated: whether there is no engagement rate.
    """
    found = {
        metric: unspoken if awaited >> metric & 1 else Reason.NOT_SUPPORTED
        for metric in range(len(POST_NAMES))
        if nulls >> metric & 1
    }
    reasons = _with_engagements(found)
    if ENGAGEMENTS in reasons:
        reasons[ENGAGEMENT_RATE] = reasons[ENGAGEMENTS]
    elif is_unrated:
        # All known bases are zero or less, so there is no divisor yet.
        reasons[ENGAGEMENT_RATE] = first(found.get(metric, Reason.PENDING) for metric in _RATE_BASES)
    return reasons


def _unknown(register: Register) -> int:
    """The unknown figures of a register, as a bit mask."""
    values, spoken = register.values, spoken_of(register)
    # Mostly those that no answer held, which are all unknown: then they need only be counted.
    if values.count(None) + spoken.bit_count() == len(_BITS):
        return _ALL & ~spoken
    return _nulls(values)


def _nulls(values: Values) -> int:
    """The unknown figures, as a bit mask."""
    # Without a loop in Python, which takes twice as long.
    return sum(compress(_BITS, map(is_, values, _NONES)))


def _unspoken(target: TargetState, now: int) -> Reason:
    """Why no answer held a metric that the platform reports."""
    if not is_published(target):
        return Reason.PENDING
    if has_ended(target, now) or any(answer.is_gone for answer in target.evidence):
        return Reason.RETIRED
    return _failed(target.evidence, target.channel.status)


def _failed(evidence: Sequence[Evidence], channel_status: str) -> Reason:
    failed = [answer for answer in evidence if answer.outcome is not Outcome.OK]
    if failed:
        newest = max(failed, key=lambda answer: (answer.captured_at, answer.event_id))
        return _OF_OUTCOME.get(newest.outcome, Reason.ERROR)
    return Reason.PENDING if channel_status == ChannelStatus.ACTIVE else Reason.PERMISSION


def post_reasons(values: Values, rate: float | None, of_targets: Sequence[Reasons]) -> Reasons:
    """The reason for every null among a post's totals, by column.

    Args:
        values: the post's totals.
        rate: its engagement rate.
        of_targets: the result of `target_reasons` for each target.
    """
    return _post_reasons(_nulls(values), rate is None, tuple(of_targets))


@lru_cache(maxsize=4096)
def _post_reasons(nulls: int, is_unrated: bool, of_targets: tuple[Reasons, ...]) -> Reasons:
    """The reasons of all posts that are alike; arguments as of `_target_reasons`."""
    found: dict[int, Reason] = {}
    for metric, name in enumerate(POST_NAMES):
        if not nulls >> metric & 1:
            continue
        if metric == AVG_WATCH_TIME and any(name not in reasons for reasons in of_targets):
            # Several targets have a mean of their own, and means can't be added up.
            found[metric] = Reason.NOT_SUPPORTED
        else:
            found[metric] = first(reasons[name] for reasons in of_targets if name in reasons)
    reasons = _with_engagements(found)
    if is_unrated:
        # Each target has a reason of its own; one may have only engagements, and another only views.
        of_rates = [reasons[ENGAGEMENT_RATE] for reasons in of_targets if ENGAGEMENT_RATE in reasons]
        reasons[ENGAGEMENT_RATE] = first(of_rates)
    return reasons


def _with_engagements(found: dict[int, Reason]) -> Reasons:
    """Reasons by column, with the one of engagements where all of their parts are unknown."""
    reasons = Reasons({POST_NAMES[metric]: reason for metric, reason in found.items()})
    if all(metric in found for metric in _INTERACTIONS):
        reasons[ENGAGEMENTS] = first(found[metric] for metric in _INTERACTIONS)
    return reasons


def channel_needs_answers(channel: ChannelState) -> bool:
    """Whether only the platform's answers can tell why a figure of a channel is null."""
    return any(
        is_channel_reported(channel.channel.platform, metric) and not _spoken(channel, metric)
        for metric in range(len(CHANNEL_NAMES))
    )


def channel_reasons(channel: ChannelState, values: Values) -> dict[str, Reason]:
    """The reason for every null figure of a channel, by column."""
    reasons: dict[str, Reason] = {}
    for metric, value in enumerate(values):
        if value is not None:
            continue
        if not is_channel_reported(channel.channel.platform, metric) or _spoken(channel, metric):
            reasons[CHANNEL_NAMES[metric]] = Reason.NOT_SUPPORTED
        else:
            reasons[CHANNEL_NAMES[metric]] = _failed(channel.evidence, channel.channel.status)
    return reasons


def _spoken(channel: ChannelState, metric: int) -> bool:
    return any(stamp_of(period.register, metric) is not None for period in channel.periods)
