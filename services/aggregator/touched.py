"""Finds the states that a batch touches: their keys must be in memory before the batch is folded. Pure.

`filling.fill` calls the functions one after the other. Each docstring says which states must be filled before the call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from schemas.events import CatalogPost, PostStatus
from services.aggregator.batch import Batch, CatalogWrite
from services.aggregator.explaining import at_the_edge, is_about_channel, is_moved, is_switched, left_out
from services.aggregator.state import Key, Listing, PartitionState, PeriodKey


def posts_written(batch: Batch) -> list[Key]:
    """Posts that the batch's catalog writes change or delete."""
    return [(write.workspace_id, write.id) for write in batch.catalog if write.is_post]


def targets_named(batch: Batch) -> list[Key]:
    """Targets that a batch names in answers and in new versions of posts, each once."""
    named: dict[Key, None] = {}
    for read in batch.raw:
        targets, workspace_id = read.event.targets, read.event.workspace_id
        for post in read.reading.posts:
            named[(workspace_id, targets[post.position].target_id)] = None
        for asked in left_out(read):
            named[(workspace_id, asked.target_id)] = None
    for write in batch.catalog:
        for event in posts_told(write):
            for target in event.targets:
                named[(write.workspace_id, target.target_id)] = None
    return list(named)


def posts_told(write: CatalogWrite) -> list[CatalogPost]:
    """The versions of a post that a write and those that it replaces tell, oldest first; [] for a channel's."""
    told = (each.event for each in (*write.replaced, write))
    return [event for event in told if isinstance(event, CatalogPost)]


def targets_of_posts(state: PartitionState, posts: Iterable[Key]) -> list[Key]:
    """Targets of posts as the catalog lists them; the posts must be filled."""
    return [(post[0], target_id) for post in posts for target_id in state.posts[post].target_ids]


def entries(write: CatalogWrite) -> list[tuple[str, Listing, bool]]:
    """The entries of a written post: each target's id, its listing, and whether that listing counts.

    A listing counts while neither the post nor the entry has the status `deleted`. A channel and a tombstone have no
    entries.
    """
    event = write.event
    if not isinstance(event, CatalogPost):
        return []
    is_held = event.status != PostStatus.DELETED
    return [
        (
            entry.target_id,
            Listing(event.updated_at, write.id, entry.channel_id, event.published_at_of(entry)),
            is_held and entry.status != PostStatus.DELETED,
        )
        for entry in event.targets
    ]


def targets_let_go(state: PartitionState, batch: Batch) -> list[Key]:
    """Targets that their own post gives up: the post no longer lists the target, or the post's time went back.

    Any other post that lists such a target may own the target now, or was given it by an owner that knew only a part of
    the batch's writes. The posts of the batch, the targets that they list and the targets that they listed before must
    be filled.
    """
    found: dict[Key, None] = {}
    for write in batch.catalog:
        if not write.is_post:
            continue
        before = state.posts[(write.workspace_id, write.id)]
        versions = [
            {
                target_id
                for target_id, listing, counts in entries(version)
                if counts and listing.updated_at >= before.updated_at
            }
            for version in (*write.replaced, write)
        ]
        kept = set.intersection(*versions)
        for target_id in dict.fromkeys((*before.target_ids, *(id_ for version in versions for id_ in version))):
            target = state.targets[(write.workspace_id, target_id)]
            if target.is_listed and target.post_id == write.id and target_id not in kept:
                found[(write.workspace_id, target_id)] = None
    return list(found)


def channels_named(batch: Batch) -> list[Key]:
    """Channels that a batch names in answers, in catalog writes or as expired, each once."""
    named: dict[Key, None] = dict.fromkeys(batch.expired)
    for read in batch.raw:
        if is_about_channel(read):
            named[(read.event.workspace_id, read.event.channel_id)] = None
    for write in batch.catalog:
        if not write.is_post:
            named[(write.workspace_id, write.id)] = None
        for event in posts_told(write):
            for target in event.targets:
                named[(write.workspace_id, target.channel_id)] = None
    return list(named)


def periods_named(batch: Batch) -> list[tuple[Key, PeriodKey]]:
    """Periods of channels that the batch's answers report; one for each report."""
    return [
        (
            (read.event.workspace_id, read.event.channel_id),
            (channel.period, channel.period_start, channel.period_end),
        )
        for read in batch.raw
        for channel in read.reading.channels
    ]


def channels_flipped(state: PartitionState, batch: Batch) -> list[Key]:
    """Channels that the batch adds, removes, moves to another platform, or whose polls it turns on or off.

    Posts of such channels are touched. The channels that the batch names must be filled.
    """
    flipped: dict[Key, None] = {}
    for write in batch.catalog:
        if write.is_post:
            continue
        channel = state.channels[(write.workspace_id, write.id)]
        if is_moved(channel, write) or is_switched(channel, write):
            flipped[(write.workspace_id, write.id)] = None
    return list(flipped)


def targets_at_the_edge(state: PartitionState, batch: Batch, now: int) -> list[Key]:
    """Targets that catalog writes may push out of their channel's newest ones, or let back in.

    The channels that the batch names, the written posts and the targets that they list and listed must be filled.
    """
    moved: Counter[Key] = Counter()
    for write in batch.catalog:
        if not write.is_post:
            continue
        for target_id in state.posts[(write.workspace_id, write.id)].target_ids:
            channel_id = state.targets[(write.workspace_id, target_id)].channel_id
            moved[(write.workspace_id, channel_id)] += 1
        for event in posts_told(write):
            for target in event.targets:
                moved[(write.workspace_id, target.channel_id)] += 1
    channels = state.channels
    return [
        (channel_key[0], target_id)
        for channel_key, count in moved.items()
        if channel_key in channels
        for target_id in at_the_edge(channels[channel_key], count, now)
    ]


def posts_of_targets(state: PartitionState, targets: Iterable[Key]) -> list[Key]:
    """The posts of the targets, without targets that no post lists. The targets must be filled."""
    posts: dict[Key, None] = {}
    for workspace_id, target_id in targets:
        target = state.targets[(workspace_id, target_id)]
        if target.is_listed:
            posts[(workspace_id, target.post_id)] = None
    return list(posts)


def channels_of_targets(state: PartitionState, targets: Iterable[Key]) -> list[Key]:
    """The channels of the targets, without targets that no post lists. The targets must be filled."""
    channels: dict[Key, None] = {}
    for workspace_id, target_id in targets:
        target = state.targets[(workspace_id, target_id)]
        if target.is_listed:
            channels[(workspace_id, target.channel_id)] = None
    return list(channels)
