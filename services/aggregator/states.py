"""Reads the stored states of targets, posts and channels from ClickHouse.

States come from the tables that hold one row for each key (`latest_*_store`, `posts_store`, `channels_store`). A key
without a row is left out of the answer: its state is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from schemas.events import ChannelStatus
from schemas.metrics import CHANNEL_METRICS, POST_METRICS, Metric, Values, millis
from schemas.registers import Register, load_groups
from schemas.values import read_targets
from schemas.windows import WindowTarget
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.filling import StateReader
from services.aggregator.rows import CATALOG_TARGET_TYPE
from services.aggregator.state import (
    PERIOD_MEMORY,
    WINDOW_MEMORY,
    ChannelState,
    Key,
    Listing,
    PeriodKey,
    PostState,
    TargetState,
)

# The most keys in one query; longer lists are read in parts.
_KEYS_PER_QUERY = 2_000


def _instants(column: str) -> str:
    return f"toUnixTimestamp64Milli({column})"


def _metric_columns(metrics: Iterable[Metric]) -> str:
    return ", ".join(metric.name for metric in metrics)


def _values(metrics: Sequence[Metric], columns: Sequence[Any]) -> Values:
    return tuple(millis(value) if metric.is_duration else value for metric, value in zip(metrics, columns, strict=True))


class StoredStates(StateReader):
    """Reads the states of any partition; every call waits for as long as ClickHouse is away."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    async def fetch_targets(self, generation: int, keys: Sequence[Key]) -> dict[Key, TargetState]:
        """Targets with their registers, by key."""
        found: dict[Key, TargetState] = {}
        query = (
            "SELECT workspace_id, target_id, post_id, channel_id, is_listed, "
            f"{_instants('published_at')}, {_instants('captured_at')}, registers, {_metric_columns(POST_METRICS)} "
            "FROM latest_post_metrics_store FINAL WHERE generation = {generation:UInt16} "
            "AND (workspace_id, target_id) IN {keys:Array(Tuple(String, String))}"
        )
        for row in await self._by_keys(query, generation, keys):
            workspace_id, target_id, post_id, channel_id, is_listed, published_at, captured_at, registers = row[:8]
            register = Register(load_groups(registers), _values(POST_METRICS, row[8:]), captured_at)
            found[(workspace_id, target_id)] = TargetState(
                target_id, post_id, channel_id, bool(is_listed), published_at, register
            )
        return found

    async def fetch_posts(self, generation: int, keys: Sequence[Key]) -> dict[Key, PostState]:
        """Posts of the mirrored catalog, by key; the same for every generation."""
        query = (
            f"SELECT workspace_id, post_id, is_deleted, targets, {_instants('updated_at')} FROM posts_store FINAL "
            "WHERE (workspace_id, post_id) IN {keys:Array(Tuple(String, String))}"
        )
        found: dict[Key, PostState] = {}
        for workspace_id, post_id, is_deleted, targets, updated_at in await self._by_keys(query, generation, keys):
            ids = tuple(target["target_id"] for target in read_targets(targets))
            found[(workspace_id, post_id)] = PostState(post_id, not is_deleted, ids, updated_at)
        return found

    async def fetch_channels(self, generation: int, keys: Sequence[Key], now: int) -> dict[Key, ChannelState]:
        """Channels with their recent periods and the targets that windows can hold, by key.

        Args:
            now: ms; periods and targets older than `PERIOD_MEMORY` and `WINDOW_MEMORY` are left out.
        """
        found: dict[Key, ChannelState] = {}

        def state(workspace_id: str, channel_id: str) -> ChannelState:
            return found.setdefault((workspace_id, channel_id), ChannelState(channel_id))

        where = "(workspace_id, channel_id) IN {keys:Array(Tuple(String, String))}"
        held = self._by_keys(
            "SELECT workspace_id, channel_id, platform, status FROM channels_store FINAL "
            f"WHERE {where} AND is_deleted = 0",
            generation,
            keys,
        )
        periods = self._by_keys(
            f"SELECT workspace_id, channel_id, period, {_instants('period_start')}, {_instants('period_end')}, "
            f"{_instants('captured_at')}, registers, {_metric_columns(CHANNEL_METRICS)} "
            f"FROM latest_channel_metrics_store FINAL WHERE generation = {{generation:UInt16}} AND {where} "
            "AND (period_end IS NULL OR period_end >= fromUnixTimestamp64Milli({since:Int64}))",
            generation,
            keys,
            {"since": now - PERIOD_MEMORY},
        )
        windows = self._by_keys(
            f"SELECT workspace_id, channel_id, target_id, {_instants('published_at')}, "
            f"{_metric_columns(POST_METRICS)} FROM latest_post_metrics_store FINAL "
            f"WHERE generation = {{generation:UInt16}} AND {where} AND is_listed "
            "AND published_at >= fromUnixTimestamp64Milli({since:Int64})",
            generation,
            keys,
            {"since": now - WINDOW_MEMORY},
        )
        measured = self._by_keys(
            "SELECT workspace_id, channel_id, count() FROM latest_post_metrics_store FINAL "
            f"WHERE generation = {{generation:UInt16}} AND {where} AND is_listed AND captured_at IS NOT NULL "
            "GROUP BY workspace_id, channel_id",
            generation,
            keys,
        )
        for workspace_id, channel_id, platform, status in await held:
            channel = state(workspace_id, channel_id)
            channel.is_held, channel.platform, channel.is_active = True, platform, status == ChannelStatus.ACTIVE
        for row in await periods:
            register = Register(load_groups(row[6]), _values(CHANNEL_METRICS, row[7:]), row[5])
            state(row[0], row[1]).periods[(row[2], row[3], row[4])] = register
        for row in await windows:
            state(row[0], row[1]).window[row[2]] = WindowTarget(row[3], _values(POST_METRICS, row[4:]))
        for workspace_id, channel_id, count in await measured:
            state(workspace_id, channel_id).measured_count = int(count)
        return found

    async def fetch_periods(
        self, generation: int, keys: Sequence[tuple[Key, PeriodKey]]
    ) -> dict[tuple[Key, PeriodKey], Register]:
        """Registers of exactly these periods of channels, however old."""
        wanted = set(keys)
        query = (
            f"SELECT workspace_id, channel_id, period, {_instants('period_start')}, {_instants('period_end')}, "
            f"{_instants('captured_at')}, registers, {_metric_columns(CHANNEL_METRICS)} "
            "FROM latest_channel_metrics_store FINAL WHERE generation = {generation:UInt16} "
            "AND (workspace_id, channel_id) IN {keys:Array(Tuple(String, String))}"
        )
        found: dict[tuple[Key, PeriodKey], Register] = {}
        for row in await self._by_keys(query, generation, list(dict.fromkeys(key for key, _ in keys))):
            at = ((row[0], row[1]), (row[2], row[3], row[4]))
            if at in wanted:
                found[at] = Register(load_groups(row[6]), _values(CHANNEL_METRICS, row[7:]), row[5])
        return found

    async def fetch_channel_targets(self, generation: int, keys: Sequence[Key]) -> list[Key]:
        """Keys of the channels' listed targets, of any age."""
        query = (
            "SELECT workspace_id, target_id FROM latest_post_metrics_store FINAL "
            "WHERE generation = {generation:UInt16} AND is_listed "
            "AND (workspace_id, channel_id) IN {keys:Array(Tuple(String, String))}"
        )
        return [(row[0], row[1]) for row in await self._by_keys(query, generation, keys)]

    async def fetch_listings(self, keys: Sequence[Key]) -> dict[Key, list[Listing]]:
        """Every listing of the targets in the mirrored catalog, by target; targets without a listing are left out."""
        # The inner query uses the index to find posts of which any version lists a target. The outer query reads these
        # posts by key, since only a post's newest version says whether the post still lists the target.
        query = (
            f"SELECT workspace_id, target.target_id, {_instants('updated_at')}, post_id, target.channel_id, "
            f"ifNull(target.published_at, {_instants('published_at')}) FROM posts_store FINAL "
            f"ARRAY JOIN JSONExtract(targets, 'Array({CATALOG_TARGET_TYPE})') AS target "
            "WHERE (workspace_id, post_id) IN (SELECT workspace_id, post_id FROM posts_store "
            "WHERE workspace_id IN {workspaces:Array(String)} AND hasAny(target_ids, {targets:Array(String)})) "
            "AND is_deleted = 0 AND target.status != 'deleted' "
            "AND (workspace_id, target.target_id) IN {keys:Array(Tuple(String, String))}"
        )
        found: dict[Key, list[Listing]] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            workspaces, targets = sorted({key[0] for key in part}), sorted({key[1] for key in part})
            for row in await self._store.query(query, {"keys": part, "workspaces": workspaces, "targets": targets}):
                found.setdefault((row[0], row[1]), []).append(Listing(*row[2:]))
        return found

    async def expired_channels(self, generation: int, partition: int, now: int) -> list[Key]:
        """Channels of a partition whose stored totals are no longer exact; at most 500.

        Args:
            now: ms; totals that are valid until an earlier instant are no longer exact.
        """
        rows = await self._store.query(
            "SELECT DISTINCT workspace_id, channel_id FROM channel_totals_store FINAL "
            "WHERE generation = {generation:UInt16} AND partition = {partition:UInt32} AND is_deleted = 0 "
            "AND valid_until < fromUnixTimestamp64Milli({now:Int64}) ORDER BY workspace_id, channel_id LIMIT 500",
            {"generation": generation, "partition": partition, "now": now},
        )
        return [(row[0], row[1]) for row in rows]

    async def _by_keys(
        self, query: str, generation: int, keys: Sequence[Key], parameters: dict[str, Any] | None = None
    ) -> list[Sequence[Any]]:
        rows: list[Sequence[Any]] = []
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            rows.extend(await self._store.query(query, {"generation": generation, "keys": part, **(parameters or {})}))
        return rows
