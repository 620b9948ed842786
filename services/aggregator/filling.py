"""Loads the states that a batch touches and that memory lacks, before the batch is folded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from schemas.registers import Register
from services.aggregator import touched
from services.aggregator.batch import Batch, Related
from services.aggregator.state import ChannelState, Key, Listing, PartitionState, PeriodKey, PostState, TargetState


class StateReader(Protocol):
    """Reads stored states; `states.StoredStates` in production."""

    async def fetch_targets(self, generation: int, keys: Sequence[Key]) -> dict[Key, TargetState]:
        """Targets by key; keys without a stored target are left out."""

    async def fetch_posts(self, generation: int, keys: Sequence[Key]) -> dict[Key, PostState]:
        """Posts by key; keys without a stored post are left out."""

    async def fetch_channels(self, generation: int, keys: Sequence[Key], now: int) -> dict[Key, ChannelState]:
        """Channels by key with the targets and periods of windows at `now` (ms); unknown channels are left out."""

    async def fetch_periods(
        self, generation: int, keys: Sequence[tuple[Key, PeriodKey]]
    ) -> dict[tuple[Key, PeriodKey], Register]:
        """Registers of exactly these periods, however old; periods without a register are left out."""

    async def fetch_channel_targets(self, generation: int, keys: Sequence[Key]) -> list[Key]:
        """Keys of the channels' listed targets, of any age."""

    async def fetch_listings(self, keys: Sequence[Key]) -> dict[Key, list[Listing]]:
        """Every listing of the targets in the mirrored catalog; targets without a listing are left out."""


class SettledReader(StateReader):
    """Reads stored states once all earlier batches are stored, so that no state is read that is about to change.

    Args:
        settle: waits until all earlier batches are stored.
    """

    def __init__(self, reader: StateReader, settle: Callable[[], Awaitable[None]]) -> None:
        self._reader = reader
        self._settle = settle

    async def fetch_targets(self, generation: int, keys: Sequence[Key]) -> dict[Key, TargetState]:
        await self._settle()
        return await self._reader.fetch_targets(generation, keys)

    async def fetch_posts(self, generation: int, keys: Sequence[Key]) -> dict[Key, PostState]:
        await self._settle()
        return await self._reader.fetch_posts(generation, keys)

    async def fetch_channels(self, generation: int, keys: Sequence[Key], now: int) -> dict[Key, ChannelState]:
        await self._settle()
        return await self._reader.fetch_channels(generation, keys, now)

    async def fetch_periods(
        self, generation: int, keys: Sequence[tuple[Key, PeriodKey]]
    ) -> dict[tuple[Key, PeriodKey], Register]:
        await self._settle()
        return await self._reader.fetch_periods(generation, keys)

    async def fetch_channel_targets(self, generation: int, keys: Sequence[Key]) -> list[Key]:
        await self._settle()
        return await self._reader.fetch_channel_targets(generation, keys)

    async def fetch_listings(self, keys: Sequence[Key]) -> dict[Key, list[Listing]]:
        await self._settle()
        return await self._reader.fetch_listings(keys)


async def fill(state: PartitionState, batch: Batch, reader: StateReader, generation: int, now: int) -> Related:
    """Load the states that a batch touches and that memory lacks.

    One query for each kind of state is enough for most batches. Two kinds of batches touch further posts: a channel
    that comes or goes touches the posts on that channel, and a target that its post gives up touches every other post
    that lists the target.

    Args:
        state: the missing states are added to it; a key without a stored state is added as a new state.
        generation: the generation to read from.
        now: ms; decides which targets of a channel its windows can hold.

    Returns:
        The states that the batch touches without naming their keys.
    """
    filler = _Filler(state, reader, generation, now)
    named = touched.targets_named(batch)
    await filler.targets(named)
    targets = dict.fromkeys(named)
    written = touched.posts_written(batch)
    if written:
        await filler.posts(written)
        before = touched.targets_of_posts(state, written)
        await filler.targets(before)
        targets.update(dict.fromkeys(before))
    let_go = touched.targets_let_go(state, batch)
    listings = await reader.fetch_listings(let_go) if let_go else {}
    others = [(key[0], listing) for key, found in listings.items() for listing in found]
    await filler.channels(touched.channels_named(batch))
    await filler.periods(touched.periods_named(batch))
    flipped_channels = touched.channels_flipped(state, batch)
    flipped: list[Key] = []
    if flipped_channels:
        flipped = await reader.fetch_channel_targets(generation, flipped_channels)
        await filler.targets(flipped)
        targets.update(dict.fromkeys(flipped))
    edge: list[Key] = []
    if written:
        # A post that goes names its channels no more.
        await filler.channels(touched.channels_of_targets(state, targets))
        edge = touched.targets_at_the_edge(state, batch, now)
        await filler.targets(edge)
        targets.update(dict.fromkeys(edge))
    posts = [
        *touched.posts_of_targets(state, targets),
        *((workspace_id, listing.post_id) for workspace_id, listing in others),
        *batch.reemitted,
    ]
    await filler.posts(posts)
    siblings = [key for key in touched.targets_of_posts(state, posts) if key not in targets]
    if siblings:
        await filler.targets(siblings)
        targets.update(dict.fromkeys(siblings))
    await filler.channels(
        [
            *touched.channels_of_targets(state, targets),
            *((workspace_id, listing.channel_id) for workspace_id, listing in others),
        ]
    )
    return Related(flipped, listings, edge)


class _Filler:
    def __init__(self, state: PartitionState, reader: StateReader, generation: int, now: int) -> None:
        self._state = state
        self._reader = reader
        self._generation = generation
        self._now = now

    async def targets(self, keys: Sequence[Key]) -> None:
        missing = self._state.targets.missing(keys)
        if missing:
            found = await self._reader.fetch_targets(self._generation, missing)
            for key in missing:
                self._state.targets.put(key, found.get(key) or TargetState(key[1]))

    async def posts(self, keys: Sequence[Key]) -> None:
        missing = self._state.posts.missing(keys)
        if missing:
            found = await self._reader.fetch_posts(self._generation, missing)
            for key in missing:
                self._state.posts.put(key, found.get(key) or PostState(key[1]))

    async def channels(self, keys: Sequence[Key]) -> None:
        missing = self._state.channels.missing(keys)
        if missing:
            found = await self._reader.fetch_channels(self._generation, missing, self._now)
            for key in missing:
                self._state.channels.put(key, found.get(key) or ChannelState(key[1]))

    async def periods(self, keys: Sequence[tuple[Key, PeriodKey]]) -> None:
        """Load periods too old to be kept in memory: their registers must be read before figures are folded in."""
        channels = self._state.channels
        missing = [(channel, period) for channel, period in keys if period not in channels[channel].periods]
        if missing:
            found = await self._reader.fetch_periods(self._generation, missing)
            for (channel, period), register in found.items():
                channels[channel].periods[period] = register
