"""An in-memory stand-in for the aggregator's tables: keeps rows as the storage engine does, reads states back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from schemas.codec import schema_text
from schemas.events import ChannelStatus
from schemas.metrics import CHANNEL_METRICS, POST_METRICS, Metric, Values, millis
from schemas.registers import Register, load_groups
from schemas.values import read_targets
from schemas.windows import WindowTarget
from services.aggregator.batch import Effects, Inserts
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
from tests.support.flat_fields import flat

_KEYS = {
    "raw_events_store": ("workspace_id", "event_id"),
    "post_snapshots_store": ("generation", "workspace_id", "target_id", "event_id"),
    "channel_snapshots_store": (
        "generation", "workspace_id", "channel_id", "event_id", "period", "period_start", "period_end",
    ),
    "latest_channel_metrics_store": (
        "generation", "workspace_id", "channel_id", "period", "period_start", "period_end",
    ),
    "latest_post_metrics_store": ("generation", "workspace_id", "target_id"),
    "channels_store": ("workspace_id", "channel_id"),
    "posts_store": ("workspace_id", "post_id"),
    "post_totals_store": ("generation", "workspace_id", "post_id"),
    "channel_totals_store": ("generation", "workspace_id", "channel_id", "range"),
}  # fmt: skip


def _values(metrics: tuple[Metric, ...], row: dict[str, Any]) -> Values:
    return tuple(millis(row[m.name]) if m.is_duration else row[m.name] for m in metrics)


class StateStore:
    """Tables by name; the row with the greatest version of a key counts, the last one inserted among equals."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {name: {} for name in _KEYS}
        self.topics: dict[str, dict[bytes, dict[str, Any]]] = {"rollups.posts": {}, "rollups.channels": {}}

    def insert(self, inserts: Inserts) -> None:
        """Take the rows of a batch."""
        for (name, columns), rows in inserts.items():
            table = self.tables[name]
            version = "captured_at" if name == "raw_events_store" else "version"
            for values in rows:
                row = dict(zip(columns, values, strict=True))
                key = tuple(row[column] for column in _KEYS[name])
                if key not in table or row[version] >= table[key][version]:
                    table[key] = row

    def publish(self, effects: Effects) -> None:
        """Take the rollups of a batch, as a compacted topic keeps them."""
        for topic, message_key, fields in effects.rollups:
            if fields is None:
                self.topics[topic].pop(message_key, None)
            else:
                names = [field["name"] for field in orjson.loads(schema_text(topic))["fields"]]
                self.topics[topic][message_key] = dict(zip(names, flat(fields), strict=True))

    async def fetch_targets(self, generation: int, keys: Sequence[Key]) -> dict[Key, TargetState]:
        found = {}
        for key in keys:
            row = self.tables["latest_post_metrics_store"].get((generation, *key))
            if row:
                register = Register(load_groups(row["registers"]), _values(POST_METRICS, row), row["captured_at"])
                found[key] = TargetState(
                    key[1], row["post_id"], row["channel_id"], bool(row["is_listed"]), row["published_at"], register
                )
        return found

    async def fetch_posts(self, generation: int, keys: Sequence[Key]) -> dict[Key, PostState]:
        found = {}
        for key in keys:
            row = self.tables["posts_store"].get(key)
            if row:
                ids = tuple(target["target_id"] for target in read_targets(row["targets"]))
                found[key] = PostState(key[1], not row["is_deleted"], ids, row["updated_at"])
        return found

    async def fetch_channels(self, generation: int, keys: Sequence[Key], now: int) -> dict[Key, ChannelState]:
        found = {}
        for key in keys:
            channel = found[key] = ChannelState(key[1])
            row = self.tables["channels_store"].get(key)
            if row and not row["is_deleted"]:
                channel.is_held, channel.platform = True, row["platform"]
                channel.is_active = row["status"] == ChannelStatus.ACTIVE
            for held in self.tables["latest_channel_metrics_store"].values():
                recent = held["period_end"] is None or held["period_end"] >= now - PERIOD_MEMORY
                if (held["generation"], held["workspace_id"], held["channel_id"]) == (generation, *key) and recent:
                    period = (held["period"], held["period_start"], held["period_end"])
                    channel.periods[period] = Register(
                        load_groups(held["registers"]), _values(CHANNEL_METRICS, held), held["captured_at"]
                    )
            for held in self.tables["latest_post_metrics_store"].values():
                place = (held["generation"], held["workspace_id"], held["channel_id"])
                if place == (generation, *key) and held["is_listed"]:
                    channel.measured_count += held["captured_at"] is not None
                    if held["published_at"] is not None and held["published_at"] >= now - WINDOW_MEMORY:
                        channel.window[held["target_id"]] = WindowTarget(
                            held["published_at"], _values(POST_METRICS, held)
                        )
        return found

    async def fetch_periods(
        self, generation: int, keys: Sequence[tuple[Key, PeriodKey]]
    ) -> dict[tuple[Key, PeriodKey], Register]:
        found = {}
        for key, period in keys:
            row = self.tables["latest_channel_metrics_store"].get((generation, *key, *period))
            if row:
                found[(key, period)] = Register(
                    load_groups(row["registers"]), _values(CHANNEL_METRICS, row), row["captured_at"]
                )
        return found

    async def fetch_channel_targets(self, generation: int, keys: Sequence[Key]) -> list[Key]:
        wanted = set(keys)
        return [
            (row["workspace_id"], row["target_id"])
            for row in self.tables["latest_post_metrics_store"].values()
            if row["is_listed"]
            and row["generation"] == generation
            and (row["workspace_id"], row["channel_id"]) in wanted
        ]

    async def fetch_listings(self, keys: Sequence[Key]) -> dict[Key, list[Listing]]:
        found: dict[Key, list[Listing]] = {}
        for (workspace_id, post_id), row in self.tables["posts_store"].items():
            for entry in read_targets(row["targets"]):
                key = (workspace_id, entry["target_id"])
                if key in keys and not row["is_deleted"] and entry["status"] != "deleted":
                    published_at = row["published_at"] if entry["published_at"] is None else entry["published_at"]
                    listing = Listing(row["updated_at"], post_id, entry["channel_id"], published_at)
                    found.setdefault(key, []).append(listing)
        return found
