"""Tells in which tier a target or channel is polled, and when next, by the poller's own rules. Pure."""

from __future__ import annotations

from typing import NamedTuple

from schemas.events import ChannelStatus, PostStatus
from schemas.tiers import MILLIS_PER_DAY, MILLIS_PER_HOUR, Rule, next_due, rule_of, spread
from services.query_api.tidemark.resources.states import ChannelState, TargetState, last_answered_at

_MILLIS_PER_MINUTE = 60_000
# Two texts are compared in half the time that a text and a member of an enumeration take.
_PUBLISHED = PostStatus.PUBLISHED.value


class Due(NamedTuple):
    """When a target or channel is polled.

    Attributes:
        tier: the interval between polls, such as 30m, 6h or 1d; None when there is no regular poll.
        next_at: when the next poll is due, ms; in the past when the poll is late, None when no poll is to come.
    """

    tier: str | None
    next_at: int | None


NEVER = Due(None, None)


def is_published(target: TargetState) -> bool:
    """Whether the target is published and has a platform's id, so that the platform can be asked for it."""
    return target.status == _PUBLISHED and target.published_at is not None and bool(target.external_id)


def is_too_old(target: TargetState, now: int) -> bool:
    """Whether the target's age or its place among the channel's posts has ended its scheduled polls."""
    return is_published(target) and has_ended(target, now)


def has_ended(target: TargetState, now: int) -> bool:
    """The same of a target that is published."""
    if not target.is_newest:
        return True
    published_at = target.published_at
    return published_at is not None and rule_of(target.channel.platform).interval(now - published_at) is None


def is_past(target: TargetState, rule: Rule, now: int) -> bool:
    """Whether a target is not published, or its age has ended its scheduled polls.

    Args:
        rule: of its platform.
        now: ms.
    """
    published_at = target.published_at
    return published_at is None or not is_published(target) or rule.interval(now - published_at) is None


def target_due(target: TargetState, now: int, speed: float) -> Due:
    """When a target is polled.

    Args:
        now: ms.
        speed: intervals are divided by this number.
    """
    published_at = target.published_at
    if published_at is None or not is_published(target) or target.channel.status != ChannelStatus.ACTIVE:
        return NEVER
    if is_too_old(target, now) or any(answer.is_gone for answer in target.evidence):
        return NEVER
    rule = rule_of(target.channel.platform)
    interval = rule.interval(now - published_at)
    asked_at = last_answered_at(target.register.captured_at, target.evidence)
    if asked_at is None:
        next_at: int | None = max(published_at, target.updated_at)
    else:
        next_at = next_due(rule, published_at, asked_at, target.target_id, speed)
    return Due(None if interval is None else interval_name(interval), next_at)


def channel_due(channel: ChannelState, speed: float) -> Due:
    """When a channel's own figures are polled; intervals are divided by `speed`."""
    held = channel.channel
    if held.status != ChannelStatus.ACTIVE:
        return NEVER
    captured_at = max((p.register.captured_at for p in channel.periods if p.register.captured_at), default=None)
    asked_at = last_answered_at(captured_at, channel.evidence)
    interval = rule_of(held.platform).channel_interval
    if asked_at is None:
        return Due(interval_name(interval), held.updated_at)
    identity = f"{held.workspace_id}/{held.channel_id}"
    return Due(interval_name(interval), asked_at + spread(interval, identity, speed))


def interval_name(interval: int) -> str:
    """`30m`, `6h`, `1d`: an interval in the largest unit that divides it."""
    for unit, name in ((MILLIS_PER_DAY, "d"), (MILLIS_PER_HOUR, "h")):
        if interval % unit == 0:
            return f"{interval // unit}{name}"
    return f"{interval // _MILLIS_PER_MINUTE}m"
