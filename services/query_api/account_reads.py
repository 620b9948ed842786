"""Reads a channel's own figures from ClickHouse: as they stand, and as they stood at each answer."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from schemas.events import CatalogChannel, PlatformRaw
from schemas.metrics import CHANNEL_METRICS, NO_CHANNEL_VALUES
from schemas.registers import Register, load_groups
from schemas.windows import ChannelPeriod
from services.query_api import sql
from services.query_api.accounts import account_figures, account_sources, stored_health
from services.query_api.clickhouse import ClickHouse
from services.query_api.directory import Directory
from services.query_api.merging import PeriodKey, merge_channel
from services.query_api.polls import LONGEST_POLL, Answer, polls, raw_of
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
from services.runtime.logging import blank_secret_bytes

_METRICS = len(CHANNEL_METRICS)
# Days and windows that are looked through for the latest that has a figure.
_PERIODS = 100
# The most levels that a reply's own shape puts around a payload, with room.
_LEVELS_AROUND = 16
# With fewer brackets than this a payload can't be too deep.
_SHALLOW = 200
_BODIES_AT_ONCE = 25
_ANSWERS_AT_ONCE = 1000
# Answers that are looked through for those of the newest poll.
_POLLED = 30


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
        workspace_id = question.workspace_id
        where = {"workspace": workspace_id, "channel": question.channel_id}
        rows, newest = await asyncio.gather(
            self._clickhouse.rows("channel_figures", sql.CHANNEL_FIGURES, {**where, "limit": _PERIODS}),
            self._clickhouse.rows("newest_channel_events", sql.NEWEST_CHANNEL_EVENTS, {**where, "limit": _POLLED}),
        )
        registers = {
            (period, start, end): Register(load_groups(groups), tuple(values), captured_at)
            for period, start, end, captured_at, groups, *values in rows
        }
        said = merge_channel(registers, events)
        periods = [ChannelPeriod(*key, register.values) for key, register in registers.items()]
        groups_of = {period[:3]: register.groups for period, register in zip(periods, registers.values(), strict=True)}
        sources = {
            stamp.event_id.decode()
            for period, metric in account_sources(periods)
            for stamp, mask in groups_of[period[:3]]
            if mask >> metric & 1
        }
        fresh = {event.event_id: _answer_of(event) for event in said}
        known = {name: at for name, at in newest if name not in fresh}
        answers = {**await self._answers(workspace_id, {*known, *sources} - set(fresh), known), **fresh}
        recent = sorted((answers[name] for name in (*known, *fresh)), key=_order)
        if not recent:
            return Account(channel.channel_id, channel.platform, False, None)
        poll = polls(recent)[-1]
        shown = sorted(
            {*(one.event_id for one in poll), *sources}, key=lambda name: _order(answers[name]), reverse=True
        )
        payloads = await self._bodies(workspace_id, [name for name in shown if name not in fresh])
        payloads |= {event.event_id: payload(blank_secret_bytes(event.body)) for event in said}
        raw = raw_of([answers[name] for name in shown], payloads)
        snapshot = AccountSnapshot(poll[-1].captured_at, account_figures(periods), raw)
        return Account(channel.channel_id, channel.platform, bool(said), snapshot)

    async def history(self, question: AccountHistoryQuestion) -> AccountHistory | None:
        """Each poll of a span, with the account as it then stood."""
        channel = self._channel(question)
        if channel is None:
            return None
        workspace_id = question.workspace_id
        # A poll counts where its last answer does; the others may lie before the span, and later ones past its end.
        since, until = question.since - LONGEST_POLL, question.until + LONGEST_POLL
        where: dict[str, Any] = {"workspace": workspace_id, "channel": question.channel_id, "since": since}
        before, rows = await asyncio.gather(
            self._clickhouse.rows("channel_before", sql.CHANNEL_BEFORE, {**where, "limit": _PERIODS}),
            self._clickhouse.rows("channel_snapshots", sql.CHANNEL_SNAPSHOTS, {**where, "until": until}),
        )
        times = {row[0]: row[1] for row in rows}
        answers = await self._answers(workspace_id, set(times), times)
        stood = await asyncio.to_thread(_stood, before, rows, answers)
        stood = [one for one in stood if question.since <= one.captured_at < question.until]
        names = {name for one in stood for name in one.event_ids}
        answers |= await self._answers(workspace_id, names - set(answers), {})
        payloads = await self._bodies(workspace_id, sorted(names))
        snapshots = []
        for one in stood:
            shown = sorted((answers[name] for name in one.event_ids), key=_order, reverse=True)
            snapshots.append(AccountSnapshot(one.captured_at, one.figures, raw_of(shown, payloads)))
        return AccountHistory(channel.channel_id, channel.platform, snapshots)

    async def health(self, question: HealthQuestion) -> Health | None:
        """Whether the connection works, by what is known without asking."""
        channel = self._channel(question)
        return None if channel is None else stored_health(channel, channel.token_expires_at, question.now)

    def _channel(self, question: AccountQuestion | AccountHistoryQuestion | HealthQuestion) -> CatalogChannel | None:
        return self._directory.get(question.workspace_id, question.channel_id)

    async def _answers(
        self, workspace_id: str, event_ids: Iterable[str], times: Mapping[str, int]
    ) -> dict[str, Answer]:
        """What was asked, by event id; of one whose raw event is not held any more, no more than its time.

        Args:
            times: when answers came, ms, as far as known otherwise.
        """
        wanted = sorted(event_ids)
        found = {name: Answer(name, times.get(name, 0), "", "", {}) for name in wanted}
        for first in range(0, len(wanted), _ANSWERS_AT_ONCE):
            names = {"workspace": workspace_id, "events": wanted[first : first + _ANSWERS_AT_ONCE]}
            for name, at, origin, endpoint, request in await self._clickhouse.rows(
                "raw_answers", sql.RAW_ANSWERS, names
            ):
                found[name] = Answer(name, times.get(name, at), origin, endpoint, dict(request))
        return found

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


class _Poll(NamedTuple):
    """The account right after a poll, with the answers that are shown of it."""

    captured_at: int
    figures: AccountFigures
    event_ids: tuple[str, ...]


def _answer_of(event: PlatformRaw) -> Answer:
    return Answer(event.event_id, event.captured_at, event.origin, event.endpoint, event.request)


def _order(answer: Answer) -> tuple[int, bytes]:
    return answer.captured_at, answer.event_id.encode()


def _stood(before: Iterable[list[Any]], rows: Sequence[list[Any]], answers: Mapping[str, Answer]) -> list[_Poll]:
    """The account as it stood right after each poll; answers come oldest first, so the last said counts."""
    held: dict[PeriodKey, list[int | None]] = {}
    said: dict[PeriodKey, list[str]] = {}
    for period, start, end, names, *values in before:
        held[period, start, end], said[period, start, end] = values, names
    ends = {poll[-1].event_id: poll for poll in polls(answers[name] for name in dict.fromkeys(row[0] for row in rows))}
    found: list[_Poll] = []

    def close(event_id: str) -> None:
        poll = ends.pop(event_id, None)
        if poll is None:
            return
        periods = [ChannelPeriod(*key, tuple(values)) for key, values in held.items()]
        sources = (said[period[:3]][metric] for period, metric in account_sources(periods))
        shown = dict.fromkeys((*(one.event_id for one in poll), *sources))
        found.append(_Poll(poll[-1].captured_at, account_figures(periods), tuple(shown)))

    last: str | None = None
    for event_id, _, period, start, end, spoken, *values in rows:
        if last is not None and event_id != last:
            close(last)
        last = event_id
        current = held.setdefault((period, start, end), list(NO_CHANNEL_VALUES))
        names = said.setdefault((period, start, end), [""] * _METRICS)
        for index in range(_METRICS):
            if spoken >> index & 1:
                current[index], names[index] = values[index], event_id
    if last is not None:
        close(last)
    return found
