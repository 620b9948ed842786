"""What a backfill asks for, and what of that is done already; pure. Instants are ms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.events import CatalogChannel, CatalogPost, ChannelStatus, PlatformRaw, PostStatus, PullTarget, RawKind
from services.platforms.base import Call, Channel, Outcome, Platform
from services.runtime.clock import MILLIS_PER_DAY

_NOON = MILLIS_PER_DAY // 2
# Answers after which asking for the same target again brings nothing new.
_FINAL = frozenset({Outcome.TARGET_GONE, Outcome.NO_DATA_EVER})

CallKey = tuple[str, frozenset[tuple[str, str]]]
"""Path and query of a call."""


class Part(NamedTuple):
    """One request of a backfill: some targets of one channel, or the channel's own figures as of an instant.

    Attributes:
        targets: at most one batch of the platform; () for the channel's own.
        as_of: for the channel's own: the last day asked for is this instant's.
    """

    channel: CatalogChannel
    targets: tuple[PullTarget, ...] = ()
    as_of: int | None = None


@dataclass(slots=True)
class Done:
    """What answers say of what is done.

    Attributes:
        targets: channel and target ids that were answered for.
        calls: the calls for channels' own figures that were answered, by channel id.
    """

    targets: set[tuple[str, str]] = field(default_factory=set)
    calls: dict[str, set[CallKey]] = field(default_factory=dict)

    def answered(self, event: PlatformRaw) -> None:
        """Note an answer that is one."""
        if event.kind == RawKind.CHANNEL_METRICS:
            self.calls.setdefault(event.channel_id, set()).add((event.endpoint, frozenset(event.request.items())))
        self.targets.update((event.channel_id, target.target_id) for target in event.targets)

    def replay(self, event: PlatformRaw, platform: Platform) -> None:
        """Note an answer as it was published, which may be a failed one."""
        outcome = platform.classify(event.http_status, {}, event.body, event.captured_at).outcome
        if outcome is Outcome.OK or (outcome in _FINAL and len(event.targets) == 1):
            self.answered(event)

    def left(self, part: Part, platform: Platform, now: int) -> Part | None:
        """What of a part is still to be asked for, None when nothing is."""
        channel_id = part.channel.channel_id
        if part.targets:
            targets = tuple(t for t in part.targets if (channel_id, t.target_id) not in self.targets)
            return part._replace(targets=targets) if targets else None
        calls = account_calls(platform, platform_channel(part.channel), part.as_of or now, now)
        answered = self.calls.get(channel_id, set())
        return None if all(key_of(call) in answered for call in calls) else part


def platform_channel(channel: CatalogChannel) -> Channel:
    """A channel as platforms know it."""
    return Channel(channel.workspace_id, channel.channel_id, channel.external_id, channel.username)


def key_of(call: Call) -> CallKey:
    """What a call is known again by in `platform.raw`."""
    return call.path, frozenset(call.request_map().items())


def account_calls(platform: Platform, channel: Channel, as_of: int, now: int) -> list[Call]:
    """Calls for a channel's own figures whose last day is an instant's; of the past only those that tell days."""
    calls = platform.channel_calls(channel, as_of)
    if now - as_of < MILLIS_PER_DAY:
        return calls
    present = platform.channel_calls(channel, now)
    return [call for call in calls if call not in present]


def instants(report_days: int, since: int, started_at: int) -> list[int]:
    """As of when to ask for a channel's own figures, so that the days since an instant are told, the newest first.

    Args:
        report_days: see `Facts.report_days`.
        started_at: when the backfill was begun.
    """
    found = [started_at]
    # A day of overlap, since platforms' days end at other hours; and at noon, which is well inside any day.
    step = max(1, report_days - 1) * MILLIS_PER_DAY
    while report_days and found[-1] - report_days * MILLIS_PER_DAY > since:
        found.append(found[-1] // MILLIS_PER_DAY * MILLIS_PER_DAY + _NOON - step)
    return found


def parts_of(
    channels: Mapping[str, CatalogChannel],
    posts: Iterable[CatalogPost],
    captured: Mapping[tuple[str, str], int],
    platforms: Mapping[str, Platform],
    *,
    since: int,
    started_at: int,
) -> list[Part]:
    """Everything that a backfill asks for, the newest targets of each channel first.

    Args:
        channels: those that it is for, by id; only active ones are asked.
        captured: when a post was last captured on a channel, by post and channel id.
        since: targets published or last captured since then are wanted.
    """
    # By their ids: catalogs may list a target under two posts, and an event names each target once.
    wanted: dict[str, dict[str, PullTarget]] = {}
    for post in posts:
        if post.status == PostStatus.DELETED:
            continue
        for t in post.targets:
            published_at = post.published_at_of(t)
            if t.channel_id not in channels or t.status != PostStatus.PUBLISHED or not t.external_id:
                continue
            if max(published_at or 0, captured.get((post.post_id, t.channel_id), 0)) >= since:
                wanted.setdefault(t.channel_id, {})[t.target_id] = PullTarget(
                    t.target_id, t.channel_id, post.post_id, t.external_id, t.post_type, published_at, t.is_story
                )
    parts: list[Part] = []
    for channel_id, channel in sorted(channels.items()):
        platform = platforms.get(channel.platform)
        if channel.status != ChannelStatus.ACTIVE or platform is None:
            continue
        targets = sorted(wanted.get(channel_id, {}).values(), key=lambda t: (-(t.published_at or 0), t.target_id))
        size = platform.facts.post_batch_size
        parts += [Part(channel, tuple(targets[at : at + size])) for at in range(0, len(targets), size)]
        parts += [Part(channel, (), at) for at in instants(platform.facts.report_days, since, started_at)]
    return parts
