"""Makes rows and rollups of changed states. Pure.

Guarantee: emitting a state twice gives the same totals, since totals are always computed anew from the registers and
never adjusted by a difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.encoder import Shared
from schemas.topic_names import CHANNEL_ROLLUPS, POST_ROLLUPS
from schemas.windows import RANGES, all_window_totals
from services.aggregator import rows
from services.aggregator.batch import Effects
from services.aggregator.figures import PostPart, figures_of, post_totals
from services.aggregator.state import Key, PartitionState, PeriodKey, PostState
from services.runtime.kafka import key as message_key


@dataclass(slots=True)
class Changes:
    """The keys whose states a fold changed, in the order of the changes.

    The order makes a repeated batch give the same rows in the same order.

    Attributes:
        targets: targets whose rows are written; their posts and channels are emitted too. Each has the figures of its
            register where an answer's snapshot has these figures too, so that they are encoded once.
        posts: posts whose totals are emitted.
        channels: channels whose window totals are emitted.
        periods: channels' periods whose rows are written.
        deleted_channels: channels that the batch removed from the catalog.
    """

    targets: dict[Key, Shared | None] = field(default_factory=dict)
    posts: dict[Key, None] = field(default_factory=dict)
    channels: dict[Key, None] = field(default_factory=dict)
    periods: dict[tuple[Key, PeriodKey], None] = field(default_factory=dict)
    deleted_channels: set[Key] = field(default_factory=set)


def emit(state: PartitionState, changes: Changes, version: rows.Version, now: int, effects: Effects) -> None:
    """Add the rows and rollups of every changed state to `effects`.

    Args:
        state: holds every changed target, post and channel; the channels' windows are updated with changed targets.
        changes: the keys to emit; the posts and channels of the changed targets are added to `changes`.
        version: carried by every row and rollup.
        now: the end of the emitted windows, ms.
    """
    _emit_targets(state, changes, version, now, effects)
    for channel_key, period in changes.periods:
        register = state.channels[channel_key].periods[period]
        if register.captured_at is not None:
            effects.insert(
                rows.LATEST_CHANNEL_METRICS, rows.latest_channel_row(version, *channel_key, period, register)
            )
    _emit_posts(state, changes, version, effects)
    for channel_key in changes.channels:
        _emit_channel(state, channel_key, version, now, effects, was_deleted=channel_key in changes.deleted_channels)


def _emit_targets(state: PartitionState, changes: Changes, version: rows.Version, now: int, effects: Effects) -> None:
    latest = effects.inserts.setdefault(rows.LATEST_POST_METRICS, []) if changes.targets else []
    targets, channels = state.targets, state.channels
    for target_key in changes.targets:
        workspace_id, target = target_key[0], targets[target_key]
        latest.append(rows.latest_post_row(version, workspace_id, target))
        if target.is_listed:
            channel_key = (workspace_id, target.channel_id)
            channels[channel_key].take(target, now)
            changes.channels[channel_key] = None
            changes.posts[(workspace_id, target.post_id)] = None


def _emit_posts(state: PartitionState, changes: Changes, version: rows.Version, effects: Effects) -> None:
    # Attributes are looked up once: this loop runs for nearly every snapshot.
    inserted = effects.inserts.setdefault(rows.POST_TOTALS, []) if changes.posts else []
    rollups, posts = effects.rollups, state.posts
    for post_key in changes.posts:
        workspace_id, post_id = post_key
        post = posts[post_key]
        parts = _post_parts(state, changes, workspace_id, post) if post.is_held else []
        totals = post_totals(parts)
        inserted.append(rows.post_totals_row(version, workspace_id, post, parts, totals))
        fields = rows.post_rollup_message(version, workspace_id, post, parts, totals) if post.is_held else None
        rollups.append((POST_ROLLUPS, message_key(workspace_id, post_id), fields))


def _post_parts(state: PartitionState, changes: Changes, workspace_id: str, post: PostState) -> list[PostPart]:
    """The listed targets of a post whose channels the catalog holds, in the post's order."""
    parts = []
    for target_id in post.target_ids:
        target_key = (workspace_id, target_id)
        target = state.targets[target_key]
        if target.is_listed and target.post_id == post.post_id:
            channel = state.channels[(workspace_id, target.channel_id)]
            if channel.is_held:
                figures = changes.targets.get(target_key) or figures_of(target.register.values)
                parts.append(PostPart(target, channel, figures))
    return parts


def _emit_channel(
    state: PartitionState, channel_key: Key, version: rows.Version, now: int, effects: Effects, *, was_deleted: bool
) -> None:
    workspace_id, channel_id = channel_key
    channel = state.channels[channel_key]
    channel.forget_old(now)
    if not channel.is_held and not was_deleted:
        return  # the catalog does not hold the channel: its figures stay in the registers
    windows = all_window_totals(
        channel.window.values(),
        channel.channel_periods(),
        list(RANGES.values()),
        now,
        is_measured=channel.measured_count > 0,
    )
    for range_name, totals in zip(RANGES, windows, strict=True):
        effects.insert(rows.CHANNEL_TOTALS, rows.channel_totals_row(version, workspace_id, channel, range_name, totals))
        fields = (
            rows.channel_rollup_message(version, workspace_id, channel, range_name, totals) if channel.is_held else None
        )
        effects.rollups.append((CHANNEL_ROLLUPS, message_key(workspace_id, channel_id, range_name), fields))
