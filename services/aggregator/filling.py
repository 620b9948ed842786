"""Loads the states that a batch touches and memory lacks, before the batch is folded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from schemas.registers import Register
from services.aggregator import touched
from services.aggregator.batch import Batch, Related
from services.aggregator.state import ChannelState, Key, Listing, PartitionState, PeriodKey, PostState, TargetState


class StateReader(Protocol):
    """Where states are read back from; `states.StoredStates` in production."""

    async def fetch_targets(self, generation: int, keys: Sequence[Key]) -> dict[Key, TargetState]:
        """Targets by key; absent ones are new."""

    async def fetch_posts(self, generation: int, keys: Sequence[Key]) -> dict[Key, PostState]:
        """Posts by key; absent ones are new."""

    async def fetch_channels(self, generation: int, keys: Sequence[Key], now: int) -> dict[Key, ChannelState]:
        """Channels by key with what windows at `now` (ms) can hold; absent ones are new."""

    async def fetch_periods(
        self, generation: int, keys: Sequence[tuple[Key, PeriodKey]]
    ) -> dict[tuple[Key, PeriodKey], Register]:
        """Registers of exact periods, however old."""

    async def fetch_channel_targets(self, generation: int, keys: Sequence[Key]) -> list[Key]:
        """Listed targets of channels, of any age."""

    async def fetch_listings(self, keys: Sequence[Key]) -> dict[Key, list[Listing]]:
        """Every listing of targets in the catalog as mirrored."""


class SettledReader(StateReader):
    """Reads states back once everything folded before is stored, so that none is read that is about to change."""

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

    One query for each kind of state is enough unless the batch leads to further posts: those of a channel that comes or
    goes, and those that list a target which its own post gave up.

    Args:
        state: the missing states are added to it; a state that is not stored either is added as new.
        generation: read from.
        now: ms; decides which targets of a channel its windows can hold.

    Returns:
        States that the batch touches without naming their keys.
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
    return Related(flipped, listings)


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
        """Periods too old to be held in memory: their registers must be read before they are folded into."""
        channels = self._state.channels
        missing = [(channel, period) for channel, period in keys if period not in channels[channel].periods]
        if missing:
            found = await self._reader.fetch_periods(self._generation, missing)
            for (channel, period), register in found.items():
                channels[channel].periods[period] = register
