"""Reads a channel's own figures from ClickHouse: as they stand, and as they stood at each answer."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from itertools import groupby
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
from services.query_api.fairness import Desk
from services.query_api.merging import PeriodKey, merge_channel
from services.query_api.payloads import BATCH_BYTES, batches
from services.query_api.query import (
    Account,
    AccountFigures,
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
# Rows of snapshots that are read at a time; figures of one answer take some rows.
_PAGE_ROWS = 10_000
# A span's answer is made whole up to so many answers and bytes of payloads, else a part at a time.
_WHOLE_ROWS = 2_000


class AccountReads:
    """Answers the questions about accounts."""

    def __init__(self, clickhouse: ClickHouse, directory: Directory, desk: Desk) -> None:
        self._clickhouse = clickhouse
        self._desk = desk
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
            raw = (await self._bodies(question.workspace_id, [name])).get(name, b"{}")
        else:
            raw = await self._desk.run(question.workspace_id, _said, event.body)
        figures = account_figures(ChannelPeriod(*key, register.values) for key, register in registers.items())
        snapshot = AccountSnapshot(captured_at, figures, orjson.Fragment(raw))
        return Account(channel.channel_id, channel.platform, bool(said), snapshot)

    async def history(self, question: AccountHistoryQuestion) -> AccountHistory | None:
        """Each answer of a span, with the account as it then stood; a long span's by parts."""
        channel = self._channel(question)
        if channel is None:
            return None
        before = await self._clickhouse.rows(
            "channel_before",
            sql.CHANNEL_BEFORE,
            {
                "workspace": question.workspace_id,
                "channel": question.channel_id,
                "since": question.since,
                "limit": _PERIODS,
            },
        )
        parts = self._parts(question, _Standing(before))
        whole: list[AccountSnapshot] = []
        size = 0
        async for snapshots, size_bytes, is_last in parts:
            whole += snapshots
            size += size_bytes
            if is_last:
                return AccountHistory(channel.channel_id, channel.platform, whole)
            if size > BATCH_BYTES or len(whole) > _WHOLE_ROWS:
                return AccountHistory(channel.channel_id, channel.platform, whole, _rest(parts))
        return AccountHistory(channel.channel_id, channel.platform, whole)

    async def _parts(
        self, question: AccountHistoryQuestion, standing: _Standing
    ) -> AsyncGenerator[tuple[list[AccountSnapshot], int, bool], None]:
        """Snapshots of a span, oldest first, as many at a time as fit into memory: with their bytes, and whether they
        are the last."""
        after: tuple[int, str] = (-(2**63), "")
        is_last = False
        while not is_last:
            rows = await self._clickhouse.rows(
                "channel_snapshots",
                sql.CHANNEL_SNAPSHOTS,
                {
                    "workspace": question.workspace_id,
                    "channel": question.channel_id,
                    "since": question.since,
                    "until": question.until,
                    "after_at": after[0],
                    "after_event": after[1],
                    "limit": _PAGE_ROWS,
                },
            )
            is_last = len(rows) < _PAGE_ROWS
            if not is_last:
                # The last event may go on behind the page; one that fills a page alone is shown as far as it goes.
                whole = [row for row in rows if (row[0], row[1]) != (rows[-1][0], rows[-1][1])]
                rows = whole or rows
            if not rows:
                return
            after = (rows[-1][1], rows[-1][0])
            stood = await self._desk.run(question.workspace_id, standing.after, rows)
            ids = list(dict.fromkeys(event_id for event_id, _, _ in stood))
            left = len(ids)
            async for event_ids, size in batches(self._clickhouse, question.workspace_id, ids):
                bodies = await self._bodies(question.workspace_id, event_ids)
                left -= len(event_ids)
                shown = set(event_ids)
                snapshots = [
                    AccountSnapshot(at, figures, orjson.Fragment(bodies.get(event_id, b"{}")))
                    for event_id, at, figures in stood
                    if event_id in shown
                ]
                yield snapshots, size, is_last and not left

    async def health(self, question: HealthQuestion) -> Health | None:
        """Whether the connection works, by what is known without asking."""
        channel = self._channel(question)
        return None if channel is None else stored_health(channel, channel.token_expires_at, question.now)

    def _channel(self, question: AccountQuestion | AccountHistoryQuestion | HealthQuestion) -> CatalogChannel | None:
        return self._directory.get(question.workspace_id, question.channel_id)

    async def _bodies(self, workspace_id: str, event_ids: list[str]) -> dict[str, bytes]:
        """Payloads by event id, as JSON; one that is lost is left out."""
        wanted = {"workspace": workspace_id, "events": event_ids}
        rows = await self._clickhouse.rows("raw_bodies", sql.RAW_BODIES, wanted)
        # Off the loop: payloads are large, and hot reads go on meanwhile.
        return await self._desk.run(workspace_id, _payloads, rows)


async def _rest(
    parts: AsyncGenerator[tuple[list[AccountSnapshot], int, bool], None],
) -> AsyncGenerator[Sequence[AccountSnapshot], None]:
    async with aclosing(parts):
        async for snapshots, _, _ in parts:
            yield snapshots


def _payloads(rows: Iterable[list[Any]]) -> dict[str, bytes]:
    return {event_id: orjson.dumps(payload(base64.b64decode(encoded))) for event_id, encoded in rows}


def _said(body: bytes) -> bytes:
    return orjson.dumps(payload(blank_secret_bytes(body)))


def shown_bytes(value: Any) -> bytes | None:
    """A JSON value as text; None when a reply can't carry it: the encoder takes fewer levels (254) than the decoder
    does (1024), and callers may take fewer still."""
    for _ in range(_LEVELS_AROUND):
        value = [value]
    try:
        text = orjson.dumps(value)
    except TypeError:
        return None
    return text[_LEVELS_AROUND:-_LEVELS_AROUND]


def is_showable(value: Any) -> bool:
    """Whether a reply can carry a JSON value."""
    return shown_bytes(value) is not None


def payload(body: bytes) -> Any:
    """A payload as a JSON object; {} where it is no JSON, or too deep to be shown."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return {}
    if body.count(b"[") + body.count(b"{") > _SHALLOW and not is_showable(value):
        return {}
    return value if isinstance(value, dict) else {"data": value}


class _Standing:
    """An account as it stands after one answer and the next; answers come oldest first, so the last said counts."""

    def __init__(self, before: Iterable[list[Any]]) -> None:
        self._held: dict[PeriodKey, list[int | None]] = {
            (period, start, end): values for period, start, end, *values in before
        }

    def after(self, rows: Iterable[list[Any]]) -> list[tuple[str, int, AccountFigures]]:
        """Each answer's event and time, and the account right after it."""
        found: list[tuple[str, int, AccountFigures]] = []
        for (event_id, at), said in groupby(rows, key=lambda row: (row[0], row[1])):
            for _, _, period, start, end, spoken, *values in said:
                current = self._held.setdefault((period, start, end), list(NO_CHANNEL_VALUES))
                for index in range(_METRICS):
                    if spoken >> index & 1:
                        current[index] = values[index]
            figures = account_figures(ChannelPeriod(*key, tuple(values)) for key, values in self._held.items())
            found.append((event_id, at, figures))
        return found
