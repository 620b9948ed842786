"""The project's tables with some weeks of two tenants in them, as an analyst's tools find them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from services.query_api.reads.query import Target
from services.runtime.clock import SystemClock, iso_millis
from services.runtime.migrations import migrate
from services.runtime.settings import ClickHouseSettings
from tests.integration.query_api.rows import Store
from tests.support.engines import Engines, in_database, query_clickhouse
from tests.support.query_api import target, values

DAY = 86_400_000
HOUR = 3_600_000
WORKSPACE = "acme"
OTHER_WORKSPACE = "o'brien"
"""A name that has to be quoted."""

CHANNELS = {"ch-x": "x", "ch-instagram": "instagram"}
POSTS = 6
"""Posts of each channel in a workspace, one a day, the newest a day old; the last of all was never measured."""


@dataclass(frozen=True, slots=True)
class Analyst:
    """The user analyst on a filled database.

    Attributes:
        url: with the analyst's password and the database.
        now: when the rows were made, ms.
    """

    url: str
    now: int

    def ask(self, sql: str) -> httpx.Response:
        """One statement's reply, as JSON where it succeeds."""
        parts = urlsplit(self.url)
        return httpx.post(
            f"{parts.scheme}://{parts.hostname}:{parts.port}/",
            params={"database": parts.path.strip("/"), "default_format": "JSON"},
            auth=(parts.username or "", parts.password or ""),
            content=sql,
            timeout=60,
            trust_env=False,
            # Without `verify` each call would read the authorities' certificates, for an address that has none.
            verify=False,
        )

    def rows(self, sql: str) -> list[dict[str, object]]:
        """The rows of a statement that has to succeed."""
        reply = self.ask(sql)
        assert reply.is_success, f"{reply.text.strip()}\n{sql}"
        found: list[dict[str, object]] = reply.json()["data"]
        return found


@contextmanager
def filled(engines: Engines) -> Iterator[Analyst]:
    """A database of the engines, migrated and filled."""
    name = f"t{secrets.token_hex(4)}"
    url = in_database(engines.clickhouse_url, name)
    list(migrate(ClickHouseSettings(clickhouse_url=SecretStr(url))))
    now = SystemClock().now()
    fill(Store(url), now)
    yield Analyst(in_database(engines.clickhouse_analyst_url, name), now)
    query_clickhouse(engines.clickhouse_url, f"DROP DATABASE {name}")


def fill(store: Store, now: int) -> None:
    """Put the rows of both workspaces into empty tables."""
    for workspace_id in (WORKSPACE, OTHER_WORKSPACE):
        for channel_id, platform in CHANNELS.items():
            store.channel(workspace_id, channel_id, platform, external_id="1001")
            for number in range(POSTS):
                _post(store, now, workspace_id, channel_id, platform, number)
            for days in range(5):
                at = now - days * DAY
                store.channel_snapshot(
                    workspace_id, channel_id, f"f-{days}", at, platform=platform, followers=1_000 - 10 * days
                )
            for length, days in (("24h", 1), ("7d", 7), ("28d", 28)):
                store.window(
                    workspace_id,
                    channel_id,
                    length,
                    parts=[values(likes=days, impressions=100 * days)],
                    window_start=now - days * DAY,
                    window_end=now,
                    followers=1_000,
                    source="posts",
                )


def _post(store: Store, now: int, workspace_id: str, channel_id: str, platform: str, number: int) -> None:
    post_id, target_id = f"{channel_id}-{number}", f"{channel_id}-{number}-t"
    published_at = now - (number + 1) * DAY
    is_measured = number < POSTS - 1
    likes, impressions = 10 * (number + 1), 1_000 * (number + 1)
    one: Target = target(
        target_id,
        channel_id,
        platform,
        published_at=published_at,
        captured_at=now - HOUR if is_measured else None,
        values=values(likes=likes, comments=number, impressions=impressions) if is_measured else values(),
    )
    store.post(workspace_id, post_id, [one], published_at=published_at)
    if not is_measured:
        return
    for step, share in enumerate((4, 2, 1)):
        event_id = f"{target_id}-{step}"
        captured_at = now - HOUR - (2 - step) * 6 * HOUR
        store.snapshot(
            workspace_id,
            target_id,
            event_id,
            captured_at,
            values(likes=likes // share, impressions=impressions // share),
            post_id=post_id,
            channel_id=channel_id,
            platform=platform,
        )
        store.raw_event(
            workspace_id,
            event_id,
            platform,
            [(target_id, "1")],
            {"data": []},
            channel_id=channel_id,
            captured_at=iso_millis(captured_at),
            ingested_at=iso_millis(captured_at),
            origin="SCHEDULE",
            topic="platform.raw",
            partition=0,
            offset=number * 3 + step,
        )
