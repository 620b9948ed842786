"""One batch of a partition: what has to be known first, and what follows from it. Pure.

    read -> (fill) -> fold_catalog -> fold_raw -> emit

`Needs` says which states a batch touches; the caller fills those that are missing; `fold_batch` folds the batch into
them and returns everything to write. Folding twice gives the same states, so a batch may be repeated whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.events import CatalogChannel, CatalogPost, DeadLetter, PostStatus
from schemas.registers import merge
from schemas.topic_names import CHANNEL_ROLLUPS, CHANNEL_SNAPSHOTS, POST_ROLLUPS, POST_SNAPSHOTS
from schemas.windows import RANGES, window_totals
from services.aggregator import rows
from services.aggregator.reading import Message, RawReading
from services.aggregator.state import (
    NO_CHANNEL_REGISTER,
    Key,
    Listing,
    PartitionState,
    PeriodKey,
    PostState,
    TargetState,
)
from services.runtime.kafka import key as message_key


@dataclass(frozen=True, slots=True)
class CatalogWrite:
    """One catalog message: the event, or None for a tombstone; `updated_at` is the broker's time of a tombstone."""

    workspace_id: str
    id: str
    event: CatalogChannel | CatalogPost | None
    is_post: bool
    updated_at: int


@dataclass(slots=True)
class Batch:
    """What one round of a partition works on.

    Attributes:
        raw: decoded raw events of this partition's tenants, in offset order.
        catalog: catalog writes, one a thing.
        dead: messages that can't be used.
        misplaced: raw messages whose tenant lives in another partition, with that partition.
        expired: channels whose windows have to be told again because time went by.
        retold: posts whose totals have to be told again though nothing of them changed.
    """

    raw: list[RawReading] = field(default_factory=list)
    catalog: list[CatalogWrite] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    misplaced: list[tuple[Message, int]] = field(default_factory=list)
    expired: list[Key] = field(default_factory=list)
    retold: list[Key] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Related:
    """What a batch touches without naming it.

    Attributes:
        flipped_targets: listed targets of the channels of `channels_flipped`.
        listings: of the targets of `targets_let_go`, all in the catalog as mirrored.
    """

    flipped_targets: Sequence[Key] = ()
    listings: Mapping[Key, Sequence[Listing]] = field(default_factory=dict)


Outgoing = tuple[str, bytes, rows.Row | None]
"""One message to publish: topic, key, and the fields of a value in the schema's order, None for a tombstone."""


Inserts = dict[tuple[str, tuple[str, ...]], list[rows.Row]]
"""Rows by (table, columns)."""


@dataclass(slots=True)
class Effects:
    """Everything that a batch leads to.

    Attributes:
        inserts: rows by (table, columns).
        metrics: what single answers said, for `metrics.*`.
        rollups: current totals, for `rollups.*`; to be published once the inserts are confirmed.
    """

    inserts: Inserts = field(default_factory=dict)
    metrics: list[Outgoing] = field(default_factory=list)
    rollups: list[Outgoing] = field(default_factory=list)

    def insert(self, table: tuple[str, tuple[str, ...]], row: rows.Row) -> None:
        """Add one row."""
        self.inserts.setdefault(table, []).append(row)


# What a target or a channel was tells what a catalog write touches, and the mirror tells what it replaces.
_STATES = (rows.LATEST_POST_METRICS, rows.LATEST_CHANNEL_METRICS)
_MIRRORS = (rows.CHANNELS, rows.POSTS)


def insert_stages(effects: Effects) -> list[Inserts]:
    """What to insert one after the other; the rollups are to be published after the first.

    A batch of answers touches the same things whenever it is repeated, so all of it goes at once. A catalog write
    touches what the old state says (the post that a target leaves, the targets of a channel that goes), so its
    consequences are stored and published first, the states next and the mirror last: a crash in between repeats the
    write against states that still know what it touched, or finds its consequences done.
    """
    inserts = effects.inserts
    if not any(table in inserts for table in _MIRRORS):
        return [inserts]
    later = (*_STATES, *_MIRRORS)
    return [
        {table: held for table, held in inserts.items() if table not in later},
        {table: inserts[table] for table in _STATES if table in inserts},
        {table: inserts[table] for table in _MIRRORS if table in inserts},
    ]


def newest_writes(writes: Sequence[CatalogWrite]) -> list[CatalogWrite]:
    """The last write of each thing, in order: earlier ones of the same batch would be replaced anyway."""
    newest: dict[tuple[bool, str, str], CatalogWrite] = {}
    for write in writes:
        at = (write.is_post, write.workspace_id, write.id)
        newest.pop(at, None)
        newest[at] = write
    return list(newest.values())


def posts_written(batch: Batch) -> list[Key]:
    """Posts that the catalog part of a batch speaks of."""
    return [(write.workspace_id, write.id) for write in batch.catalog if write.is_post]


def targets_named(batch: Batch) -> list[Key]:
    """Targets that a batch speaks of by itself: in answers, and in new versions of posts."""
    named: dict[Key, None] = {}
    for read in batch.raw:
        targets, workspace_id = read.event.targets, read.event.workspace_id
        for said in read.reading.posts:
            named[(workspace_id, targets[said.position].target_id)] = None
    for write in batch.catalog:
        if isinstance(write.event, CatalogPost):
            for target in write.event.targets:
                named[(write.workspace_id, target.target_id)] = None
    return list(named)


def targets_of_posts(state: PartitionState, posts: Iterable[Key]) -> list[Key]:
    """Targets of posts as held; the posts must be filled."""
    return [(post[0], target_id) for post in posts for target_id in state.posts[post].target_ids]


def _entries(write: CatalogWrite) -> list[tuple[str, Listing, bool]]:
    """A written post's entries: the target, the listing, and whether it counts."""
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
    """Targets whose post no longer lists them, or is no newer than it was: any other post may have them now.

    The targets that the posts of the batch list, and listed before, must be filled.
    """
    found: dict[Key, None] = {}
    for write in batch.catalog:
        if not write.is_post:
            continue
        before = state.posts[(write.workspace_id, write.id)]
        kept = {
            target_id
            for target_id, listing, counts in _entries(write)
            if counts and listing.updated_at >= before.updated_at
        }
        for target_id in before.target_ids:
            target = state.targets[(write.workspace_id, target_id)]
            if target.is_listed and target.post_id == write.id and target_id not in kept:
                found[(write.workspace_id, target_id)] = None
    return list(found)


def channels_named(batch: Batch) -> list[Key]:
    """Channels that a batch speaks of by itself."""
    named: dict[Key, None] = dict.fromkeys(batch.expired)
    for read in batch.raw:
        if read.reading.channels:
            named[(read.event.workspace_id, read.event.channel_id)] = None
    for write in batch.catalog:
        if not write.is_post:
            named[(write.workspace_id, write.id)] = None
        elif isinstance(write.event, CatalogPost):
            for target in write.event.targets:
                named[(write.workspace_id, target.channel_id)] = None
    return list(named)


def channels_flipped(state: PartitionState, batch: Batch) -> list[Key]:
    """Channels that the batch makes held, not held, or of another platform: all their posts are touched."""
    flipped: dict[Key, None] = {}
    for write in batch.catalog:
        if write.is_post:
            continue
        channel = state.channels[(write.workspace_id, write.id)]
        platform = write.event.platform if isinstance(write.event, CatalogChannel) else ""
        if channel.is_held != (write.event is not None) or channel.platform != platform:
            flipped[(write.workspace_id, write.id)] = None
    return list(flipped)


def posts_of_targets(state: PartitionState, targets: Iterable[Key]) -> list[Key]:
    """Posts that hold these targets; the targets must be filled."""
    posts: dict[Key, None] = {}
    for workspace_id, target_id in targets:
        target = state.targets[(workspace_id, target_id)]
        if target.is_listed:
            posts[(workspace_id, target.post_id)] = None
    return list(posts)


def channels_of_targets(state: PartitionState, targets: Iterable[Key]) -> list[Key]:
    """Channels of listed targets; the targets must be filled."""
    channels: dict[Key, None] = {}
    for workspace_id, target_id in targets:
        target = state.targets[(workspace_id, target_id)]
        if target.is_listed:
            channels[(workspace_id, target.channel_id)] = None
    return list(channels)


def periods_named(batch: Batch) -> list[tuple[Key, PeriodKey]]:
    """Channel periods that the batch's answers speak of."""
    return [
        ((read.event.workspace_id, read.event.channel_id), (said.period, said.period_start, said.period_end))
        for read in batch.raw
        for said in read.reading.channels
    ]


class _Fold:
    """One batch being folded; see `fold_batch`."""

    def __init__(self, state: PartitionState, version: rows.Version, now: int) -> None:
        self.state = state
        self.version = version
        self.now = now
        self.effects = Effects()
        # Insertion-ordered, so that a batch repeated gives the same rows in the same order.
        self.targets: dict[Key, None] = {}
        self.posts: dict[Key, None] = {}
        self.channels: dict[Key, None] = {}
        self.periods: dict[tuple[Key, PeriodKey], None] = {}
        self.deleted_channels: set[Key] = set()

    def post_writes(self, writes: Sequence[CatalogWrite], listings: Mapping[Key, Sequence[Listing]]) -> None:
        """Fold posts, each written once.

        Args:
            listings: of the targets of `targets_let_go`; those of the written posts are passed over.
        """
        written = {(write.workspace_id, write.id) for write in writes}
        counting: dict[Key, list[Listing]] = {}
        idle: dict[Key, Listing] = {}
        for write in writes:
            workspace_id = write.workspace_id
            for target_id in self.state.posts[(workspace_id, write.id)].target_ids:
                counting.setdefault((workspace_id, target_id), [])
            for target_id, listing, counts in _entries(write):
                target_key = (workspace_id, target_id)
                found = counting.setdefault(target_key, [])
                if counts:
                    found.append(listing)
                else:
                    idle[target_key] = listing
        for target_key, found in counting.items():
            workspace_id = target_key[0]
            for listing in listings.get(target_key, ()):
                if (workspace_id, listing.post_id) not in written:
                    found.append(listing)
            self._award(workspace_id, self.state.targets[target_key], written, found, idle.get(target_key))
        for write in writes:
            self._keep_post(write)

    def _award(
        self, workspace_id: str, target: TargetState, written: set[Key], found: list[Listing], idle: Listing | None
    ) -> None:
        """Give a target to the greatest of its listings, or to none."""
        held_by = (workspace_id, target.post_id)
        if target.is_listed:
            self.posts[held_by] = None
            if held_by not in written:
                owner = self.state.posts[held_by]
                found.append(Listing(owner.updated_at, target.post_id, target.channel_id, target.published_at))
        if found:
            self._place(workspace_id, target, max(found, key=lambda listing: listing.rank), True)
        elif idle is not None:
            self._place(workspace_id, target, idle, False)
        else:
            self._place(workspace_id, target, Listing(0, target.post_id, target.channel_id, target.published_at), False)

    def _keep_post(self, write: CatalogWrite) -> None:
        event = write.event if isinstance(write.event, CatalogPost) else None
        post_key = (write.workspace_id, write.id)
        post = self.state.posts[post_key]
        post.is_held = event is not None and event.status != PostStatus.DELETED
        post.target_ids = tuple(target.target_id for target in event.targets) if event is not None else ()
        post.updated_at = event.updated_at if event is not None else write.updated_at
        self.posts[post_key] = None
        self.effects.insert(
            rows.POSTS,
            rows.post_row(self.version, event)
            if event is not None
            else rows.deleted_post_row(self.version, write.workspace_id, write.id, write.updated_at),
        )

    def _place(self, workspace_id: str, target: TargetState, listing: Listing, is_listed: bool) -> None:
        """Set what the catalog says of a target, and take it from its old channel's windows into its new one's."""
        self._leave(workspace_id, target)
        target.post_id, target.channel_id = listing.post_id, listing.channel_id
        target.is_listed, target.published_at = is_listed, listing.published_at
        self._enter(workspace_id, target)
        self.targets[(workspace_id, target.target_id)] = None

    def _leave(self, workspace_id: str, target: TargetState) -> None:
        if not target.is_listed:
            return
        channel = self.state.channels[(workspace_id, target.channel_id)]
        channel.window.pop(target.target_id, None)
        channel.measured_count -= target.is_measured
        self.channels[(workspace_id, target.channel_id)] = None

    def _enter(self, workspace_id: str, target: TargetState) -> None:
        if not target.is_listed:
            return
        channel = self.state.channels[(workspace_id, target.channel_id)]
        channel.take(target, self.now)
        channel.measured_count += target.is_measured
        self.channels[(workspace_id, target.channel_id)] = None

    def channel_write(self, write: CatalogWrite, flipped_targets: Sequence[Key]) -> None:
        channel_key = (write.workspace_id, write.id)
        channel = self.state.channels[channel_key]
        event = write.event if isinstance(write.event, CatalogChannel) else None
        channel.is_held = event is not None
        channel.platform = event.platform if event is not None else ""
        for workspace_id, target_id in flipped_targets:
            target = self.state.targets[(workspace_id, target_id)]
            if target.is_listed and target.channel_id == write.id and workspace_id == write.workspace_id:
                self.posts[(workspace_id, target.post_id)] = None
        self.channels[channel_key] = None
        if event is None:
            self.deleted_channels.add(channel_key)
        self.effects.insert(
            rows.CHANNELS,
            rows.channel_row(self.version, event)
            if event is not None
            else rows.deleted_channel_row(self.version, write.workspace_id, write.id, write.updated_at),
        )

    def raw(self, read: RawReading) -> None:
        event = read.event
        effects, state, workspace_id = self.effects, self.state, event.workspace_id
        effects.insert(rows.RAW_EVENTS, rows.raw_event_row(read))
        targets, channels = state.targets, state.channels
        snapshots = effects.inserts.setdefault(rows.POST_SNAPSHOTS, []) if read.reading.posts else []
        metrics, touched = effects.metrics, self.targets
        captured_at, event_id = event.captured_at, read.event_id
        asked_targets, channel_id = event.targets, event.channel_id
        for said in read.reading.posts:
            position, spoken, ranged, values = said
            asked = asked_targets[position]
            target_id = asked.target_id
            target_key = (workspace_id, target_id)
            target = targets[target_key]
            if not target.post_id and not target.is_listed:
                target.post_id, target.channel_id = asked.post_id, channel_id
            held = target.register
            target.register = merge(held, spoken, ranged, values, captured_at, event_id)
            touched[target_key] = None
            if held.captured_at is None and target.is_listed:
                channels[(workspace_id, target.channel_id)].measured_count += target.is_measured
            snapshots.append(rows.post_snapshot_row(self.version, event, target, said))
            metrics.append(
                (
                    POST_SNAPSHOTS,
                    f"{workspace_id}/{target_id}".encode(),
                    rows.post_snapshot_message(event, target, said),
                )
            )
        for of_channel in read.reading.channels:
            channel_key = (event.workspace_id, event.channel_id)
            channel = self.state.channels[channel_key]
            period = (of_channel.period, of_channel.period_start, of_channel.period_end)
            channel.periods[period] = merge(
                channel.periods.get(period, NO_CHANNEL_REGISTER),
                of_channel.spoken,
                0,
                of_channel.values,
                event.captured_at,
                read.event_id,
            )
            self.channels[channel_key] = None
            self.periods[(channel_key, period)] = None
            self.effects.insert(rows.CHANNEL_SNAPSHOTS, rows.channel_snapshot_row(self.version, read, of_channel))
            self.effects.metrics.append(
                (
                    CHANNEL_SNAPSHOTS,
                    message_key(event.workspace_id, event.channel_id),
                    rows.channel_snapshot_message(read, of_channel),
                )
            )

    def emit(self) -> Effects:
        """Rows of every touched state, and rollups of what the catalog holds; totals are always computed anew."""
        state, version, effects = self.state, self.version, self.effects
        latest = effects.inserts.setdefault(rows.LATEST_POST_METRICS, []) if self.targets else []
        for target_key in self.targets:
            workspace_id, target = target_key[0], state.targets[target_key]
            latest.append(rows.latest_post_row(version, workspace_id, target))
            if target.is_listed:
                channel_key = (workspace_id, target.channel_id)
                state.channels[channel_key].take(target, self.now)
                self.channels[channel_key] = None
                self.posts[(workspace_id, target.post_id)] = None
        for channel_key, period in self.periods:
            register = state.channels[channel_key].periods[period]
            if register.captured_at is not None:
                effects.insert(
                    rows.LATEST_CHANNEL_METRICS, rows.latest_channel_row(version, *channel_key, period, register)
                )
        for post_key in self.posts:
            self._emit_post(post_key)
        for channel_key in self.channels:
            self._emit_channel(channel_key)
        return effects

    def _emit_post(self, post_key: Key) -> None:
        workspace_id, post_id = post_key
        post = self.state.posts[post_key]
        parts = post_parts(self.state, workspace_id, post) if post.is_held else []
        totals = rows.post_totals(parts)
        self.effects.insert(rows.POST_TOTALS, rows.post_totals_row(self.version, workspace_id, post, parts, totals))
        fields = rows.post_rollup_message(self.version, workspace_id, post, parts, totals) if post.is_held else None
        self.effects.rollups.append((POST_ROLLUPS, message_key(workspace_id, post_id), fields))

    def _emit_channel(self, channel_key: Key) -> None:
        workspace_id, channel_id = channel_key
        channel = self.state.channels[channel_key]
        channel.forget_old(self.now)
        if not channel.is_held and channel_key not in self.deleted_channels:
            return  # not in the catalog: its figures wait in the registers
        periods = channel.channel_periods()
        for range_name, range_ms in RANGES.items():
            totals = window_totals(
                channel.window.values(), periods, range_ms, self.now, is_measured=channel.measured_count > 0
            )
            self.effects.insert(
                rows.CHANNEL_TOTALS, rows.channel_totals_row(self.version, workspace_id, channel, range_name, totals)
            )
            fields = (
                rows.channel_rollup_message(self.version, workspace_id, channel, range_name, totals)
                if channel.is_held
                else None
            )
            self.effects.rollups.append((CHANNEL_ROLLUPS, message_key(workspace_id, channel_id, range_name), fields))


def post_parts(state: PartitionState, workspace_id: str, post: PostState) -> list[rows.PostPart]:
    """The listed targets of a post whose channels the catalog holds, in the post's order."""
    parts = []
    for target_id in post.target_ids:
        target = state.targets[(workspace_id, target_id)]
        if target.is_listed and target.post_id == post.post_id:
            channel = state.channels[(workspace_id, target.channel_id)]
            if channel.is_held:
                parts.append(rows.PostPart(target, channel))
    return parts


def fold_batch(state: PartitionState, batch: Batch, related: Related, version: rows.Version, now: int) -> Effects:
    """Fold a batch into the states and say everything that follows.

    Args:
        state: every state that the batch touches must be filled.
        batch: see there; catalog writes are folded before answers, which changes nothing in the end.
        related: what `fill` found besides.
        version: carried by every row and rollup.
        now: end of the emitted windows, ms.
    """
    fold = _Fold(state, version, now)
    for write in batch.catalog:
        if not write.is_post:
            fold.channel_write(write, related.flipped_targets)
    fold.post_writes([write for write in batch.catalog if write.is_post], related.listings)
    for read in batch.raw:
        fold.raw(read)
    for channel_key in batch.expired:
        fold.channels[channel_key] = None
    for post_key in batch.retold:
        fold.posts[post_key] = None
    return fold.emit()
