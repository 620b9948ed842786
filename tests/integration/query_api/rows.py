"""Rows as the aggregator stores them, put into ClickHouse by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from schemas.metrics import CHANNEL_NAMES, POST_METRICS, POST_NAMES, Values, mask_of, post_engagements, seconds, total
from services.query_api.reads.query import Target, totals
from services.runtime.clock import iso_millis


class Store:
    """A ClickHouse database with the project's tables.

    Args:
        url: with user, password and database.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        # One client for all: each new one reads the authorities' certificates anew, some tens of milliseconds.
        self._client = httpx.Client(
            base_url=f"{parts.scheme}://{parts.hostname}:{parts.port}",
            params={"database": parts.path.strip("/")},
            auth=(parts.username or "", parts.password or ""),
            timeout=30,
            trust_env=False,
        )
        self._version = 0
        self._held: dict[str, list[str]] | None = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Rows that are inserted meanwhile come at the end, those of a table in one block."""
        held: dict[str, list[str]] = {}
        self._held = held
        try:
            yield
        finally:
            self._held = None
        for table, lines in held.items():
            self._send(table, lines)

    def insert(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        """Insert rows; each insert is newer than the ones before."""
        self._version += 1
        lines = [json.dumps({"version": self._version, **row}) for row in rows]
        if self._held is None:
            self._send(table, lines)
        else:
            self._held.setdefault(table, []).extend(lines)

    def _send(self, table: str, lines: Sequence[str]) -> None:
        reply = self._client.post(
            "/",
            params={"date_time_input_format": "best_effort"},
            content=f"INSERT INTO {table} FORMAT JSONEachRow\n" + "\n".join(lines),
        )
        assert reply.is_success, reply.text

    def execute(self, sql: str) -> None:
        """Run a statement."""
        reply = self._client.post("/", content=sql)
        assert reply.is_success, reply.text

    def ask(self, sql: str) -> list[str]:
        """Run a query; returns the lines of its answer."""
        reply = self._client.post("/", content=sql)
        assert reply.is_success, reply.text
        return reply.text.splitlines()

    def clear(self) -> None:
        """Take every row out of the tables."""
        filled = (
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND total_rows > 0"
            " AND (name LIKE '%store' OR name = 'active_generations')"
        )
        reply = self._client.post("/", content=filled)
        assert reply.is_success, reply.text
        for table in reply.text.split():
            self.execute(f"TRUNCATE TABLE {table}")

    def post(
        self,
        workspace_id: str,
        post_id: str,
        targets: Sequence[Target],
        *,
        is_deleted: int = 0,
        generation: int = 0,
        status: str = "published",
        published_at: int | None = None,
        registers: Mapping[str, str] | None = None,
    ) -> None:
        """A post with its figures in every table that holds them; `registers` as stored, by target id."""
        listed = [
            {
                "target_id": target.target_id,
                "channel_id": target.channel_id,
                "post_type": target.post_type,
                "status": target.status,
                "external_id": target.external_id,
                "permalink": target.permalink,
                "published_at": target.published_at,
                "content": target.content,
                "is_story": target.is_story,
                "parent_target_id": target.parent_target_id,
                "detail": dict(target.detail),
            }
            for target in targets
        ]
        common = {"workspace_id": workspace_id, "post_id": post_id, "is_deleted": is_deleted}
        self.insert(
            "posts_store",
            [
                {
                    **common,
                    "status": status,
                    "published_at": instant(published_at),
                    "updated_at": iso_millis(0),
                    "targets": json.dumps(listed),
                }
            ],
        )
        figures = [
            {
                "target_id": target.target_id,
                "channel_id": target.channel_id,
                "captured_at": target.captured_at,
                "values": list(target.values),
            }
            for target in targets
        ]
        sums = total([target.values for target in targets])
        self.insert(
            "post_totals_store",
            [{**common, "generation": generation, "targets": json.dumps(figures), **metric_columns(sums)}],
        )
        self.insert(
            "latest_post_metrics_store",
            [
                {
                    "generation": generation,
                    "workspace_id": workspace_id,
                    "target_id": target.target_id,
                    "post_id": post_id,
                    "channel_id": target.channel_id,
                    "is_listed": 1 - is_deleted,
                    "published_at": instant(target.published_at),
                    "captured_at": instant(target.captured_at),
                    "registers": (registers or {}).get(target.target_id, ""),
                    **metric_columns(target.values),
                }
                for target in targets
            ],
        )

    def channel(
        self, workspace_id: str, channel_id: str, platform: str = "x", *, is_deleted: int = 0, external_id: str = ""
    ) -> None:
        """A channel of the catalog."""
        self.insert(
            "channels_store",
            [
                {
                    "workspace_id": workspace_id,
                    "channel_id": channel_id,
                    "platform": platform,
                    "external_id": external_id,
                    "status": "active",
                    "updated_at": iso_millis(0),
                    "is_deleted": is_deleted,
                }
            ],
        )

    def window(self, workspace_id: str, channel_id: str, length: str, *, parts: Sequence[Values], **row: Any) -> None:
        """Stored totals of a channel's window; `row` has instants in ms."""
        sums = total(parts)
        shown = totals(parts)
        times = {name: instant(row.pop(name, None)) for name in ("valid_from", "valid_until")}
        bounds = {name: instant(row.pop(name)) for name in ("window_start", "window_end")}
        self.insert(
            "channel_totals_store",
            [
                {
                    "generation": 0,
                    "workspace_id": workspace_id,
                    "channel_id": channel_id,
                    "platform": "x",
                    "range": length,
                    **times,
                    **bounds,
                    **metric_columns(sums),
                    "engagements": post_engagements(sums),
                    "views_or_impressions": shown[0],
                    "impressions_or_views": shown[1],
                    **row,
                }
            ],
        )

    def channel_period(
        self,
        workspace_id: str,
        channel_id: str,
        period: str,
        start: int | None,
        end: int | None,
        *,
        registers: str = "",
        **figures: int,
    ) -> None:
        """A channel's latest figures of one period; `registers` as stored."""
        assert set(figures) <= set(CHANNEL_NAMES)
        self.insert(
            "latest_channel_metrics_store",
            [
                {
                    "workspace_id": workspace_id,
                    "channel_id": channel_id,
                    "period": period,
                    "period_start": instant(start),
                    "period_end": instant(end),
                    "captured_at": iso_millis(0),
                    "registers": registers,
                    **figures,
                }
            ],
        )

    def snapshot(
        self,
        workspace_id: str,
        target_id: str,
        event_id: str,
        captured_at: int,
        figures: Values,
        *,
        ranged: int = 0,
        spoken: int | None = None,
        **row: Any,
    ) -> None:
        """What one answer said of one target; it spoke of what is not None, unless told."""
        self.insert(
            "post_snapshots_store",
            [
                {
                    "workspace_id": workspace_id,
                    "target_id": target_id,
                    "event_id": event_id,
                    "captured_at": instant(captured_at),
                    "platform": "x",
                    "origin": "SCHEDULE",
                    "spoken": mask_of(figures) if spoken is None else spoken,
                    "ranged": ranged,
                    **metric_columns(figures),
                    **row,
                }
            ],
        )

    def channel_snapshot(
        self,
        workspace_id: str,
        channel_id: str,
        event_id: str,
        captured_at: int,
        period: tuple[str, int | None, int | None] = ("lifetime", None, None),
        *,
        hidden: Sequence[str] = (),
        platform: str = "",
        **figures: int,
    ) -> None:
        """What one answer said of one channel and period; it spoke of what is named, and of hidden counts."""
        assert {*figures, *hidden} <= set(CHANNEL_NAMES)
        name, start, end = period
        self.insert(
            "channel_snapshots_store",
            [
                {
                    "workspace_id": workspace_id,
                    "channel_id": channel_id,
                    "platform": platform,
                    "origin": "SCHEDULE",
                    "event_id": event_id,
                    "captured_at": instant(captured_at),
                    "period": name,
                    "period_start": instant(start),
                    "period_end": instant(end),
                    "spoken": sum(1 << CHANNEL_NAMES.index(metric) for metric in {*figures, *hidden}),
                    **figures,
                }
            ],
        )

    def raw_event(
        self, workspace_id: str, event_id: str, platform: str, targets: Sequence[tuple[str, str]], body: Any, **row: Any
    ) -> None:
        """An answer as received; targets are (target id, external id)."""
        self.insert(
            "raw_events_store",
            [
                {
                    "workspace_id": workspace_id,
                    "event_id": event_id,
                    "channel_id": "c1",
                    "platform": platform,
                    "kind": "POST_METRICS",
                    "endpoint": "/2/tweets",
                    "targets.target_id": [target_id for target_id, _ in targets],
                    "targets.post_id": ["" for _ in targets],
                    "targets.external_id": [external_id for _, external_id in targets],
                    "http_status": 200,
                    "body": json.dumps(body),
                    "captured_at": iso_millis(0),
                    "ingested_at": iso_millis(0),
                    **row,
                }
            ],
        )


def metric_columns(figures: Values) -> dict[str, Any]:
    """Columns of post figures; durations as decimal seconds."""
    assert len(figures) == len(POST_NAMES)
    return {
        metric.name: (None if value is None else str(seconds(value))) if metric.is_duration else value
        for metric, value in zip(POST_METRICS, figures, strict=True)
    }


def instant(at: int | None) -> str | None:
    """A column of time."""
    return None if at is None else iso_millis(at)
