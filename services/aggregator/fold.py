"""Folds one batch into the states of its partition. Pure.

Catalog writes are folded first and answers second, but the resulting states do not depend on this order.

Guarantee: folding a batch twice gives the same states, so a whole batch may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.events import CatalogChannel, CatalogPost, ChannelStatus, PostStatus
from schemas.registers import merge
from schemas.topic_names import CHANNEL_SNAPSHOTS, POST_SNAPSHOTS
from services.aggregator import rows
from services.aggregator.batch import Batch, CatalogWrite, Effects, Related
from services.aggregator.emit import Changes, emit
from services.aggregator.explaining import is_about_channel, is_moved, is_open, left_out
from services.aggregator.figures import figures_of
from services.aggregator.reading import RawReading
from services.aggregator.state import NO_CHANNEL_REGISTER, Key, Listing, PartitionState, TargetState
from services.aggregator.touched import entries
from services.runtime.kafka import key as message_key


def fold_batch(state: PartitionState, batch: Batch, related: Related, version: rows.Version, now: int) -> Effects:
    """Fold a batch into the states, and return every row and message that follows.

    Args:
        state: holds every state that the batch touches (`filling.fill`).
        batch: the batch; its dead letters and misplaced messages are not read.
        related: the result of `filling.fill`.
        version: carried by every row and rollup.
        now: the end of the emitted windows, ms.
    """
    fold = _Fold(state, version, now)
    for write in batch.catalog:
        if not write.is_post:
            fold.channel_write(write, related.flipped_targets)
    fold.post_writes([write for write in batch.catalog if write.is_post], related.listings)
    fold.pushed_out(related.edge)
    for read in batch.raw:
        fold.post_answers(read)
        fold.channel_answers(read)
    changes = fold.changes
    changes.channels.update(dict.fromkeys(batch.expired))
    changes.posts.update(dict.fromkeys(batch.reemitted))
    emit(state, changes, version, now, fold.effects)
    return fold.effects


class _Fold:
    """One batch being folded."""

    def __init__(self, state: PartitionState, version: rows.Version, now: int) -> None:
        self.state = state
        self.version = version
        self.now = now
        self.effects = Effects()
        self.changes = Changes()

    def channel_write(self, write: CatalogWrite, flipped_targets: Sequence[Key]) -> None:
        """Fold a write of a channel.

        Args:
            flipped_targets: the `Related.flipped_targets` of the batch, on this channel and others.
        """
        channel_key = (write.workspace_id, write.id)
        channel = self.state.channels[channel_key]
        event = write.event if isinstance(write.event, CatalogChannel) else None
        is_whole = is_moved(channel, write)
        channel.is_held = event is not None
        channel.platform = event.platform if event is not None else ""
        channel.is_active = event is not None and event.status == ChannelStatus.ACTIVE
        for workspace_id, target_id in flipped_targets:
            target = self.state.targets[(workspace_id, target_id)]
            if not target.is_listed or target.channel_id != write.id or workspace_id != write.workspace_id:
                continue
            if is_whole or is_open(target, channel.platform, self.now):
                self.changes.posts[(workspace_id, target.post_id)] = None
        self.changes.channels[channel_key] = None
        if event is None:
            self.changes.deleted_channels.add(channel_key)
        self.effects.insert(
            rows.CHANNELS,
            rows.channel_row(self.version, event)
            if event is not None
            else rows.deleted_channel_row(self.version, write.workspace_id, write.id, write.updated_at),
        )

    def post_writes(self, writes: Sequence[CatalogWrite], listings: Mapping[Key, Sequence[Listing]]) -> None:
        """Fold posts, each written once.

        All that these writes may ever have touched is emitted anew. An owner that died may have stored the consequences
        of some of them, without those that came later: a target may have gone to a post and into a channel's windows
        that none of the stored states names.

        Args:
            listings: listings of the targets of `touched.targets_let_go`; listings by the written posts are ignored.
        """
        written = {(write.workspace_id, write.id) for write in writes}
        counting: dict[Key, list[Listing]] = {}
        idle: dict[Key, Listing] = {}
        for write in writes:
            workspace_id = write.workspace_id
            for target_id in self.state.posts[(workspace_id, write.id)].target_ids:
                counting.setdefault((workspace_id, target_id), [])
            for version in (*write.replaced, write):
                for target_id, listing, counts in entries(version):
                    target_key = (workspace_id, target_id)
                    found = counting.setdefault(target_key, [])
                    if counts and version is write:
                        found.append(listing)
                    else:
                        idle[target_key] = listing
                    self.changes.channels[(workspace_id, listing.channel_id)] = None
        for target_key, found in counting.items():
            workspace_id = target_key[0]
            for listing in listings.get(target_key, ()):
                self.changes.posts[(workspace_id, listing.post_id)] = None
                self.changes.channels[(workspace_id, listing.channel_id)] = None
                if (workspace_id, listing.post_id) not in written:
                    found.append(listing)
            self._award(workspace_id, self.state.targets[target_key], written, found, idle.get(target_key))
        for write in writes:
            self._keep_post(write)

    def _award(
        self, workspace_id: str, target: TargetState, written: set[Key], found: list[Listing], idle: Listing | None
    ) -> None:
        """Give a target to the greatest of its listings, or to no post.

        Args:
            written: the posts of the batch; a post outside of the batch that owns the target keeps its listing.
            found: the listings that count.
            idle: a listing that does not count; it names the post and channel that the target had last.
        """
        held_by = (workspace_id, target.post_id)
        if target.is_listed:
            self.changes.posts[held_by] = None
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
        # Each once, whatever a writer repeats: a target's figures count once in its post.
        post.target_ids = (
            tuple(dict.fromkeys(target.target_id for target in event.targets)) if event is not None else ()
        )
        post.updated_at = event.updated_at if event is not None else write.updated_at
        self.changes.posts[post_key] = None
        self.effects.insert(
            rows.POSTS,
            rows.post_row(self.version, event)
            if event is not None
            else rows.deleted_post_row(self.version, write.workspace_id, write.id, write.updated_at),
        )

    def _place(self, workspace_id: str, target: TargetState, listing: Listing, is_listed: bool) -> None:
        """Set a target's place in the catalog, and move it from its old channel's windows to its new channel's."""
        self._leave(workspace_id, target)
        target.post_id, target.channel_id = listing.post_id, listing.channel_id
        target.is_listed, target.published_at = is_listed, listing.published_at
        self._enter(workspace_id, target)
        self.changes.targets[(workspace_id, target.target_id)] = None

    def _leave(self, workspace_id: str, target: TargetState) -> None:
        if not target.is_listed:
            return
        channel = self.state.channels[(workspace_id, target.channel_id)]
        channel.window.pop(target.target_id, None)
        channel.measured_count -= target.is_measured
        self.changes.channels[(workspace_id, target.channel_id)] = None

    def _enter(self, workspace_id: str, target: TargetState) -> None:
        if not target.is_listed:
            return
        channel = self.state.channels[(workspace_id, target.channel_id)]
        channel.take(target, self.now)
        channel.measured_count += target.is_measured
        self.changes.channels[(workspace_id, target.channel_id)] = None

    def pushed_out(self, targets: Sequence[Key]) -> None:
        """Emit the posts of targets that may have left their channel's newest ones, or come back to them."""
        for workspace_id, target_id in targets:
            target = self.state.targets[(workspace_id, target_id)]
            if target.is_listed and is_open(
                target, self.state.channels[(workspace_id, target.channel_id)].platform, self.now
            ):
                self.changes.posts[(workspace_id, target.post_id)] = None

    def post_answers(self, read: RawReading) -> None:
        """Fold an answer's figures of targets, and add the row of the raw event itself."""
        event, effects, state = read.event, self.effects, self.state
        version = self.version.of_answer(event.captured_at)
        workspace_id, channel_id = event.workspace_id, event.channel_id
        effects.insert(rows.RAW_EVENTS, rows.raw_event_row(read))
        # Attributes are looked up once: this loop runs for every snapshot.
        snapshots = effects.inserts.setdefault(rows.POST_SNAPSHOTS, []) if read.reading.posts else []
        targets, channels = state.targets, state.channels
        metrics, changed = effects.metrics, self.changes.targets
        captured_at, event_id, asked_targets = event.captured_at, read.event_id, event.targets
        for post in read.reading.posts:
            position, spoken, ranged, values = post
            asked = asked_targets[position]
            target_id = asked.target_id
            target_key = (workspace_id, target_id)
            target = targets[target_key]
            if not target.post_id and not target.is_listed:
                target.post_id, target.channel_id = asked.post_id, channel_id
            held = target.register
            target.register = merge(held, spoken, ranged, values, captured_at, event_id)
            figures = figures_of(values)
            changed[target_key] = figures if target.register.values is values else None
            if held.captured_at is None and target.is_listed:
                channels[(workspace_id, target.channel_id)].measured_count += target.is_measured
            snapshots.append(rows.post_snapshot_row(version, event, target, post))
            metrics.append(
                (
                    POST_SNAPSHOTS,
                    f"{workspace_id}/{target_id}".encode(),
                    rows.post_snapshot_message(event, target, post, figures),
                )
            )

        for asked in left_out(read):
            target = targets[(workspace_id, asked.target_id)]
            # The answer may say why a figure is unknown.
            if target.is_listed and is_open(target, channels[(workspace_id, target.channel_id)].platform, self.now):
                self.changes.posts[(workspace_id, target.post_id)] = None

    def channel_answers(self, read: RawReading) -> None:
        """Fold an answer's figures of its channel, period by period; one without figures may say why there are none."""
        event = read.event
        version = self.version.of_answer(event.captured_at)
        channel_key = (event.workspace_id, event.channel_id)
        if is_about_channel(read):
            self.changes.channels[channel_key] = None
        for reading in read.reading.channels:
            channel = self.state.channels[channel_key]
            period = (reading.period, reading.period_start, reading.period_end)
            held = channel.periods.get(period, NO_CHANNEL_REGISTER)
            channel.periods[period] = merge(held, reading.spoken, 0, reading.values, event.captured_at, read.event_id)
            self.changes.periods[(channel_key, period)] = None
            self.effects.insert(rows.CHANNEL_SNAPSHOTS, rows.channel_snapshot_row(version, read, reading))
            self.effects.metrics.append(
                (
                    CHANNEL_SNAPSHOTS,
                    message_key(event.workspace_id, event.channel_id),
                    rows.channel_snapshot_message(read, reading),
                )
            )
