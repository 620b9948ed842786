"""Finds what answers without figures change: the reasons that the query API shows for unknown figures. Pure.

A mirror of the API is moved by messages alone. So a post's totals, and a channel's, are emitted again when the reason
of an unknown figure may have changed, although no figure did. Decision: docs/decisions/0025-a-store-of-our-own.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.events import CatalogChannel, ChannelStatus, RawKind, RawTarget
from schemas.tiers import rule_of
from services.aggregator.batch import CatalogWrite
from services.aggregator.reading import RawReading
from services.aggregator.state import ChannelState, TargetState
from services.platforms import polled_metrics


def left_out(read: RawReading) -> Sequence[RawTarget]:
    """Targets that an answer was asked about and has no figures of, because it failed or leaves them out."""
    event, posts = read.event, read.reading.posts
    if len(posts) == len(event.targets) or event.kind != RawKind.POST_METRICS:
        return ()
    told = {post.position for post in posts}
    return [target for position, target in enumerate(event.targets) if position not in told]


def is_about_channel(read: RawReading) -> bool:
    """Whether an answer is about its channel's own figures, whether or not it has any."""
    return bool(read.reading.channels) or read.event.kind == RawKind.CHANNEL_METRICS


def is_open(target: TargetState, platform: str, now: int) -> bool:
    """Whether a figure of a target is unknown for a reason that answers, or the channel's status, may change.

    Args:
        now: ms; the reason of a target too old to be polled is its age.
    """
    if not target.is_listed or target.published_at is None:
        return False
    if rule_of(platform).interval(now - target.published_at) is None:
        return False
    spoken = 0
    for _, mask in target.register.groups:
        spoken |= mask
    return bool(polled_metrics(platform) & ~spoken)


def at_the_edge(channel: ChannelState, moved: int, now: int) -> list[str]:
    """Targets of a channel that may come among its newest, or leave them, when some of its targets change.

    On platforms that poll only a channel's newest targets, a newer one pushes the oldest of them out.

    Args:
        moved: how many targets change at most.
        now: ms.
    """
    rule = rule_of(channel.platform)
    if rule.newest is None or len(channel.window) + moved <= rule.newest:
        return []
    since = now - rule.tiers[-1][0]
    recent = sorted(
        ((held.published_at, id_) for id_, held in channel.window.items() if held.published_at >= since), reverse=True
    )
    return [id_ for _, id_ in recent[max(0, rule.newest - moved) : rule.newest + moved]]


def is_moved(channel: ChannelState, write: CatalogWrite) -> bool:
    """Whether a write adds or removes a channel, or moves it to another platform: all of its posts' totals change."""
    before = channel.platform if channel.is_held else None
    return any(_platform(each) != before for each in (*write.replaced, write))


def is_switched(channel: ChannelState, write: CatalogWrite) -> bool:
    """Whether a write turns a channel's polls on or off: the reasons of its posts' unknown figures may change."""
    return any(_is_active(each) != channel.is_active for each in (*write.replaced, write))


def _platform(write: CatalogWrite) -> str | None:
    return write.event.platform if isinstance(write.event, CatalogChannel) else None


def _is_active(write: CatalogWrite) -> bool:
    return isinstance(write.event, CatalogChannel) and write.event.status == ChannelStatus.ACTIVE
