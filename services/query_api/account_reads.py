"""Reads a channel's own figures from ClickHouse: as they stand, and as they stood at each answer."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from typing import Any

import orjson

from schemas.events import CatalogChannel
from schemas.metrics import CHANNEL_METRICS, NO_CHANNEL_VALUES
from schemas.windows import ChannelPeriod
from services.query_api import sql
from services.query_api.accounts import account_figures, stored_health
from services.query_api.clickhouse import ClickHouse
from services.query_api.directory import Directory
from services.query_api.query import (
    Account,
    AccountHistory,
    AccountHistoryQuestion,
    AccountQuestion,
    AccountSnapshot,
    Health,
    HealthQuestion,
)

_METRICS = len(CHANNEL_METRICS)
# Days and windows that are looked through for the latest that has a figure.
_PERIODS = 100
_BODIES_AT_ONCE = 25

_Key = tuple[str, int | None, int | None]


class AccountReads:
    """Answers the questions about accounts."""

    def __init__(self, clickhouse: ClickHouse, directory: Directory) -> None:
        self._clickhouse = clickhouse
        self._directory = directory

    async def account(self, question: AccountQuestion) -> Account | None:
        """The latest figures, from storage."""
        channel = self._channel(question)
        if channel is None:
            return None
        where = {"workspace": question.workspace_id, "channel": question.channel_id}
        periods, newest = await asyncio.gather(
            self._clickhouse.rows("channel_figures", sql.CHANNEL_FIGURES, {**where, "limit": _PERIODS}),
            self._clickhouse.rows("newest_channel_event", sql.NEWEST_CHANNEL_EVENT, where),
        )
        if not newest:
            return Account(channel.channel_id, channel.platform, False, None)
        ((event_id, captured_at),) = newest
        bodies = await self._bodies(question.workspace_id, [event_id])
        figures = account_figures(
            ChannelPeriod(period, start, end, tuple(values)) for period, start, end, _, _, *values in periods
        )
        snapshot = AccountSnapshot(captured_at, figures, bodies.get(event_id, {}))
        return Account(channel.channel_id, channel.platform, False, snapshot)

    async def history(self, question: AccountHistoryQuestion) -> AccountHistory | None:
        """Each answer of a span, with the account as it then stood."""
        channel = self._channel(question)
        if channel is None:
            return None
        where: dict[str, Any] = {
            "workspace": question.workspace_id,
            "channel": question.channel_id,
            "since": question.since,
        }
        before, rows = await asyncio.gather(
            self._clickhouse.rows("channel_before", sql.CHANNEL_BEFORE, {**where, "limit": _PERIODS}),
            self._clickhouse.rows("channel_snapshots", sql.CHANNEL_SNAPSHOTS, {**where, "until": question.until}),
        )
        bodies = await self._bodies(question.workspace_id, list(dict.fromkeys(row[0] for row in rows)))
        snapshots = await asyncio.to_thread(_stood, before, rows, bodies)
        return AccountHistory(channel.channel_id, channel.platform, snapshots)

    async def health(self, question: HealthQuestion) -> Health | None:
        """Whether the connection works, by what is known without asking."""
        channel = self._channel(question)
        return None if channel is None else stored_health(channel, channel.token_expires_at, question.now)

    def _channel(self, question: AccountQuestion | AccountHistoryQuestion | HealthQuestion) -> CatalogChannel | None:
        return self._directory.get(question.workspace_id, question.channel_id)

    async def _bodies(self, workspace_id: str, event_ids: list[str]) -> dict[str, Any]:
        """Payloads by event id, as JSON values; one that is lost is left out."""
        found: dict[str, Any] = {}
        for first in range(0, len(event_ids), _BODIES_AT_ONCE):
            wanted = {"workspace": workspace_id, "events": event_ids[first : first + _BODIES_AT_ONCE]}
            rows = await self._clickhouse.rows("raw_bodies", sql.RAW_BODIES, wanted)
            # Off the loop: payloads are large, and hot reads go on meanwhile.
            found.update(await asyncio.to_thread(_payloads, rows))
        return found


def _payloads(rows: Iterable[list[Any]]) -> dict[str, Any]:
    return {event_id: payload(encoded) for event_id, encoded in rows}


def payload(encoded: str | bytes) -> Any:
    """A payload in Base64 as a JSON object; {} where it is no JSON."""
    try:
        value = orjson.loads(base64.b64decode(encoded))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {"data": value}


def _stood(before: Iterable[list[Any]], rows: Iterable[list[Any]], bodies: dict[str, Any]) -> list[AccountSnapshot]:
    """The account as it stood right after each answer; answers come oldest first, so the last said counts."""
    held: dict[_Key, list[int | None]] = {(period, start, end): values for period, start, end, *values in before}
    snapshots: list[AccountSnapshot] = []
    event_id: str | None = None
    at = 0

    def close() -> None:
        if event_id is not None:
            figures = account_figures(ChannelPeriod(*key, tuple(values)) for key, values in held.items())
            snapshots.append(AccountSnapshot(at, figures, bodies.get(event_id, {})))

    for said_by, captured_at, period, start, end, spoken, *values in rows:
        if (said_by, captured_at) != (event_id, at):
            close()
            event_id, at = said_by, captured_at
        current = held.setdefault((period, start, end), list(NO_CHANNEL_VALUES))
        for index in range(_METRICS):
            if spoken >> index & 1:
                current[index] = values[index]
    close()
    return snapshots
