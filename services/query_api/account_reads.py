"""Reads a channel's own figures from ClickHouse: as they stand, and as they stood at each answer."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from schemas.events import CatalogChannel, PlatformRaw
from schemas.metrics import CHANNEL_METRICS, NO_CHANNEL_VALUES
from schemas.registers import Register, load_groups
from schemas.windows import ChannelPeriod
from services.query_api import sql
from services.query_api.accounts import account_figures, stored_health
from services.query_api.clickhouse import ClickHouse
from services.query_api.directory import Directory
from services.query_api.merging import PeriodKey, merge_channel
from services.query_api.query import (
    Account,
    AccountHistory,
    AccountHistoryQuestion,
    AccountQuestion,
    AccountSnapshot,
    Health,
    HealthQuestion,
)
from services.runtime.redaction import blank_secret_bytes

_METRICS = len(CHANNEL_METRICS)
# Days and windows that are looked through for the latest that has a figure.
_PERIODS = 100
# The most levels that a reply's own shape puts around a payload, with room.
_LEVELS_AROUND = 16
# With fewer brackets than this a payload can't be too deep.
_SHALLOW = 200
_BODIES_AT_ONCE = 25


class AccountReads:
    """Answers the questions about accounts."""

    def __init__(self, clickhouse: ClickHouse, directory: Directory) -> None:
        self._clickhouse = clickhouse
        self._directory = directory

    async def account(self, question: AccountQuestion, events: Sequence[PlatformRaw] = ()) -> Account | None:
        """The latest figures: stored, and of fresh answers of the platform.

        Args:
            events: answers that storage may not hold yet.
        """
        channel = self._channel(question)
        if channel is None:
            return None
        where = {"workspace": question.workspace_id, "channel": question.channel_id}
        rows, newest = await asyncio.gather(
            self._clickhouse.rows("channel_figures", sql.CHANNEL_FIGURES, {**where, "limit": _PERIODS}),
            self._clickhouse.rows("newest_channel_event", sql.NEWEST_CHANNEL_EVENT, where),
        )
        registers = {
            (period, start, end): Register(load_groups(groups), tuple(values), captured_at)
            for period, start, end, captured_at, groups, *values in rows
        }
        stamps: list[tuple[int, bytes, PlatformRaw | None]] = [(at, name.encode(), None) for name, at in newest]
        said = merge_channel(registers, events)
        stamps += [(event.captured_at, event.event_id.encode(), event) for event in said]
        if not stamps:
            return Account(channel.channel_id, channel.platform, False, None)
        captured_at, event_id, event = max(stamps, key=lambda stamp: stamp[:2])
        if event is None:
            name = event_id.decode()
            raw = (await self._bodies(question.workspace_id, [name])).get(name, {})
        else:
            raw = payload(blank_secret_bytes(event.body))
        figures = account_figures(ChannelPeriod(*key, register.values) for key, register in registers.items())
        snapshot = AccountSnapshot(captured_at, figures, raw)
        return Account(channel.channel_id, channel.platform, bool(said), snapshot)

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
    return {event_id: payload(base64.b64decode(encoded)) for event_id, encoded in rows}


def is_showable(value: Any) -> bool:
    """Whether a reply can carry a JSON value: the encoder takes fewer levels (254) than the decoder does (1024)."""
    for _ in range(_LEVELS_AROUND):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def payload(body: bytes) -> Any:
    """A payload as a JSON object; {} where it is no JSON, or too deep to be shown."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return {}
    if body.count(b"[") + body.count(b"{") > _SHALLOW and not is_showable(value):
        return {}
    return value if isinstance(value, dict) else {"data": value}


def _stood(before: Iterable[list[Any]], rows: Iterable[list[Any]], bodies: dict[str, Any]) -> list[AccountSnapshot]:
    """The account as it stood right after each answer; answers come oldest first, so the last said counts."""
    held: dict[PeriodKey, list[int | None]] = {(period, start, end): values for period, start, end, *values in before}
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
